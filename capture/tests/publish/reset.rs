//! Resets by an operator's request: what was published is published again, once, under a raised generation.

use capture::Options;
use schemas::checkpoint::{Checkpoint, Record, ServerIdentity};
use schemas::documents::Start;
use schemas::gtid::GtidPosition;
use schemas::moment::Moment;
use schemas::names;
use schemas::request::{Outcome, OutcomeState, Request, SourceAction};
use schemas::status::SourceState;
use tokio_util::sync::CancellationToken;

use crate::lines;
use crate::site::{SOURCE, Site, wait_for};
use crate::topic::assert_growing;

const T: &str = "t (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT '')";

fn request(id: &str, to: Start) -> Request<SourceAction> {
    Request { id: id.to_owned(), by: "test".to_owned(), time: Moment::now(), action: SourceAction::Reset { to } }
}

/// Asks and waits for the answer.
async fn ask(site: &Site, id: &str, to: Start) -> Outcome {
    site.coordination.requests().submit(SOURCE, &request(id, to)).await.expect("stored");
    answered(site, id).await
}

pub(crate) async fn answered(site: &Site, id: &str) -> Outcome {
    let found = wait_for("the answer", || async {
        let ticket = site.coordination.requests().read::<SourceAction>(SOURCE).await.expect("an answer of ZooKeeper");
        let outcome = ticket.clone().filter(|t| t.request.id == id && !t.is_open()).and_then(|t| t.outcome);
        outcome.ok_or_else(|| format!("{ticket:?}"))
    });
    found.await
}

/// The GTID position of the last checkpoint.
async fn published(site: &Site) -> GtidPosition {
    let Some(Record::Checkpoint(last)) = site.checkpoint_records().await.pop() else { panic!("no checkpoint") };
    last.gtid
}

/// The file of the last checkpoint.
async fn file(site: &Site) -> String {
    let Some(Record::Checkpoint(last)) = site.checkpoint_records().await.pop() else { panic!("no checkpoint") };
    last.file
}

async fn what_was_published_comes_again(variable: &str, position: &str) {
    let mut site = Site::on(variable, &[T]).await;
    site.settings.insert("position".to_owned(), position.into());
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a'),(2,'b')").await;
    site.wait_events("t", 2).await;
    let behind = published(&site).await;
    site.sql("UPDATE t SET name='c' WHERE id=2; DELETE FROM t WHERE id=1").await;
    site.wait_events("t", 4).await;
    let outcome = ask(&site, "r1", Start::Gtid(behind)).await;
    assert_eq!((outcome.state, outcome.by.as_str()), (OutcomeState::Done, "a"), "{outcome:?}");
    assert_eq!(outcome.details[0]["generation"], 1, "{outcome:?}");
    let events = site.wait_events("t", 6).await;
    assert_eq!(lines(&events[4..]), ["u 2,b 2,c", "d 1,a -"]);
    assert_growing(&events);
    assert!(events[..4].iter().all(|e| e.generation == 0) && events[4..].iter().all(|e| e.generation == 1));
    // What cannot be is refused and changes nothing.
    let nowhere = Start::File { file: "nosuch.000001".into(), position: 4 };
    let outcome = ask(&site, "r2", nowhere).await;
    assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some("OT3016")), "{outcome:?}");
    assert!(outcome.message.contains("it has "), "{outcome:?}");
    site.sql("INSERT INTO t VALUES (3,'d')").await;
    let events = site.wait_events("t", 7).await;
    assert_eq!((events[6].line().as_str(), events[6].generation), ("c - 3,d", 1));
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_comes_again_from_mariadb() {
    what_was_published_comes_again("OTTER_SERVERS_SOURCE", "auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_comes_again_from_mysql() {
    what_was_published_comes_again("OTTER_SERVERS_MYSQL_SOURCE", "auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_comes_again_from_mysql_by_file() {
    what_was_published_comes_again("OTTER_SERVERS_MYSQL_SOURCE", "file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_carried_out_once_whoever_dies_on_the_way() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    site.wait_events("t", 1).await;
    let begin = published(&site).await;
    site.sql("INSERT INTO t VALUES (2,'b')").await;
    site.wait_events("t", 2).await;
    capture.stop().await;
    // A worker that died once it had taken the request: it is not announced any more.
    let requests = site.coordination.requests();
    requests.submit(SOURCE, &request("r1", Start::Gtid(begin.clone()))).await.expect("stored");
    requests.take::<SourceAction>(SOURCE, "dead").await.expect("an answer").expect("taken");
    let capture = site.run("b", Options::default()).await;
    assert_eq!(answered(&site, "r1").await.state, OutcomeState::Done);
    site.wait_events("t", 3).await;
    capture.stop().await;
    // One that died behind the checkpoint, before the answer: the request is open, and the checkpoint holds its id.
    requests.submit(SOURCE, &request("r1", Start::Gtid(begin))).await.expect("stored");
    let capture = site.run("c", Options::default()).await;
    let outcome = answered(&site, "r1").await;
    assert_eq!((outcome.state, &outcome.details[0]["generation"]), (OutcomeState::Done, &1.into()), "{outcome:?}");
    site.sql("INSERT INTO t VALUES (3,'c')").await;
    let events = site.wait_events("t", 4).await;
    assert_eq!(lines(&events[2..]), ["c - 2,b", "c - 3,c"]);
    assert_eq!(events.iter().map(|e| e.generation).collect::<Vec<_>>(), [0, 0, 1, 1]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_source_is_set_going_by_a_reset() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a'); ALTER TABLE t MODIFY name VARCHAR(30)").await;
    capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    let outcome = ask(&site, "r1", Start::Latest).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    capture.state("running", |status| status.state == SourceState::Running).await;
    site.sql("INSERT INTO t VALUES (2,'b')").await;
    let events = site.wait_events("t", 2).await;
    assert_eq!((events[1].line().as_str(), events[1].generation), ("c - 2,b", 1));
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_checkpoint_the_numbers_go_on_above_what_is_remembered() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let never = CancellationToken::new();
    let lease = site.coordination.acquire(&names::lease_path(SOURCE), "purge", &never).await.expect("free");
    let before = Checkpoint::new(ServerIdentity::mariadb(1), GtidPosition::default());
    let before = Checkpoint { epoch: 9, generation: 4, ordinal: 1_000_000, ..before };
    site.coordination.write_purged(&lease, SOURCE, &before).await.expect("written");
    lease.release().await;
    let requests = site.coordination.requests();
    requests.submit(SOURCE, &request("r1", Start::Latest)).await.expect("stored");
    let capture = site.run("a", Options::default()).await;
    let outcome = answered(&site, "r1").await;
    assert_eq!((outcome.state, &outcome.details[0]["generation"]), (OutcomeState::Done, &5.into()), "{outcome:?}");
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    let events = site.wait_events("t", 1).await;
    assert!(events[0].generation == 5 && events[0].ordinal >= 1_000_000, "{events:?}");
    capture.stop().await;
}

/// A source without changes, whose server starts new files and purges old ones, goes on after a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_source_by_file_follows_the_files() {
    let mut site = Site::on("OTTER_SERVERS_MYSQL_SOURCE", &[T]).await;
    site.settings.insert("position".to_owned(), "file".into());
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    site.wait_events("t", 1).await;
    let old = file(&site).await;
    site.sql("FLUSH BINARY LOGS").await;
    wait_for("the new file", || async {
        let now = file(&site).await;
        if now == old { Err(now) } else { Ok(()) }
    })
    .await;
    capture.stop().await;
    let capture = site.run("b", Options::default()).await;
    site.sql("INSERT INTO t VALUES (2,'b')").await;
    let events = site.wait_events("t", 2).await;
    assert_eq!(lines(&events), ["c - 1,a", "c - 2,b"]);
    assert_growing(&events);
    capture.stop().await;
}
