//! Capture on real servers: rows committed at the source are in Kafka once, in order, and nothing else is.

mod barriers;
mod kafka_check;
mod partitions;
mod repartition;
mod replaced;
mod reset;
mod site;
mod topic;
mod wire;
mod xa;

use capture::Options;
use schemas::checkpoint::Record;
use schemas::documents::{Interval, Size};
use schemas::gtid::Gtid;
use schemas::status::{SourceState, SourceStatus};

use site::{Site, wait_for};
use topic::{Seen, assert_growing};

/// Late commits that meet an open transaction in one test.
const LATE_COMMITS: usize = 12;

const T: &str = "t (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT '')";

pub(crate) fn lines(events: &[Seen]) -> Vec<String> {
    events.iter().map(Seen::line).collect()
}

/// The sequence of a MariaDB GTID.
fn sequence(gtid: Gtid) -> u64 {
    match gtid {
        Gtid::Mariadb(gtid) => gtid.sequence,
        Gtid::Mysql(gtid) => panic!("{gtid} is not of MariaDB"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_decoded_in_order_and_once() {
    let mut site = Site::new(&[T, "other LIKE t"]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a'),(2,'b'); INSERT INTO other VALUES (1,'x')").await;
    site.sql(
        "BEGIN; UPDATE t SET name='A' WHERE id=1; INSERT INTO other VALUES (2,'y'); DELETE FROM t WHERE id=2; COMMIT",
    )
    .await;
    let events = site.wait_events("t", 4).await;
    assert_eq!(lines(&events), ["c - 1,a", "c - 2,b", "u 1,a 1,A", "d 2,b -"]);
    assert_growing(&events);
    // In one transaction the row of the other table counts too: 1 null bitmap + 4 id + 1 length + text.
    let (image, update) = (1 + 4 + 1 + 1, 2 * (1 + 4 + 1 + 1));
    assert_eq!(events[1].ordinal - events[0].ordinal, image);
    assert_eq!(events[3].ordinal - events[2].ordinal, update + image);
    assert_eq!(events[2].gtid, events[3].gtid);
    capture.stop().await;
    let records = site.checkpoint_records().await;
    for pair in records.chunks(2) {
        assert!(matches!(pair, [Record::Begin(_), Record::Checkpoint(_)]), "{pair:?}");
    }
    assert_eq!(site.events("other").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stopped() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    for round in 0..3 {
        let capture = site.run("a", Options::default()).await;
        site.sql(&format!("INSERT INTO t VALUES ({round}1,'run')")).await;
        site.wait_events("t", 2 * round + 1).await;
        capture.stop().await;
        site.sql(&format!("INSERT INTO t VALUES ({round}2,'stopped')")).await;
    }
    let capture = site.run("a", Options::default()).await;
    let events = site.wait_events("t", 6).await;
    assert_growing(&events);
    let status = capture.status().expect("a status");
    assert_eq!(status.epoch, 4);
    capture.stop().await;
    let mirrored = site.coordination.read_position(site::SOURCE).await.expect("an answer").expect("a mirror");
    assert_eq!(site.checkpoint_records().await.pop(), Some(Record::Checkpoint(mirrored)));
}

/// Rolled back rows stay in the binlog when the transaction also changed a table that cannot be rolled back.
const MIXED: &str = "BEGIN; INSERT INTO t VALUES (1,'kept'); SAVEPOINT a; INSERT INTO m VALUES (1,'myisam'); \
     INSERT INTO t VALUES (2,'dropped'); ROLLBACK TO a; INSERT INTO t VALUES (3,'kept'); COMMIT; \
     BEGIN; INSERT INTO m VALUES (2,'myisam'); INSERT INTO t VALUES (4,'dropped'); ROLLBACK";

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_rows_do_not_count() {
    let mut site = Site::new(&[T, "m (id INT PRIMARY KEY, name VARCHAR(20)) ENGINE=MyISAM"]).await;
    site.put(&["*"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql(MIXED).await;
    site.sql("INSERT INTO t VALUES (9,'last')").await;
    let events = site.wait_events("t", 3).await;
    assert_eq!(lines(&events), ["c - 1,kept", "c - 3,kept", "c - 9,last"]);
    assert_growing(&events);
    let others = site.wait_events("m", 2).await;
    assert_eq!(lines(&others), ["c - 1,myisam", "c - 2,myisam"]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_key_is_a_linked_pair() {
    let mut site = Site::new(&[T, "keyless (a INT, b INT)"]).await;
    site.put(&["*"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a'); UPDATE t SET id=7 WHERE id=1").await;
    site.sql("INSERT INTO keyless VALUES (1,1); UPDATE keyless SET a=2").await;
    let events = site.wait_events("t", 3).await;
    assert_eq!(lines(&events), ["c - 1,a", "d 1,a -", "c - 7,a"]);
    assert_growing(&events);
    let key = |n: usize| events[n].key.clone().expect("a key");
    assert_eq!(key(0), key(1));
    assert_ne!(key(1), key(2));
    assert_eq!(events[1].headers, [("__debezium.newkey".to_owned(), key(2))]);
    assert_eq!(events[2].headers, [("__debezium.oldkey".to_owned(), key(1))]);
    let keyless = site.wait_events("keyless", 2).await;
    assert_eq!(lines(&keyless), ["c - 1,1", "u 1,1 2,1"]);
    assert!(keyless.iter().all(|event| event.key.is_none()));
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_carried_stops_the_source_before_it() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO t VALUES (1,'a'); ALTER TABLE t ADD COLUMN n INT; INSERT INTO t VALUES (2,'b',5)").await;
    site.sql("ALTER TABLE t MODIFY n BIGINT").await;
    let alter = site.last_gtid().await;
    site.sql("INSERT INTO t VALUES (3,'c',6)").await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    let error = stopped.error.clone().expect("an error");
    assert_eq!(error.code, "OT3009");
    assert!(error.message.contains("ALTER TABLE") && !error.remedy.is_empty(), "{error:?}");
    assert_eq!(lines(&site.events("t").await), ["c - 1,a", "c - 2,b,5"]);
    let Some(Record::Checkpoint(last)) = site.checkpoint_records().await.pop() else { panic!("no checkpoint") };
    assert_eq!(last.gtid.last(0).expect("a GTID").sequence, sequence(alter) - 1);
    // A new document starts it again; what stopped it is still there.
    site.put(&["*"]).await;
    let again = |status: &SourceStatus| status.state == SourceState::Stopped && status.epoch > stopped.epoch;
    capture.state("stopped again", again).await;
    site.put(&["nothing"]).await;
    capture.state("past it", |status| status.gtid.contains(&alter)).await;
    assert_eq!(site.events("t").await.len(), 2);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_carried_stops_behind_the_rows_before_it() {
    let mut site = Site::new(&["t (id INT PRIMARY KEY, d DATE)", "places (id INT PRIMARY KEY, p POINT)"]).await;
    site.put(&["*"]).await;
    let slow = Options { quiet: Interval::from_secs(2), commit_interval: Interval::from_secs(2), ..Options::default() };
    let capture = site.run("a", slow).await;
    site.sql("INSERT INTO t VALUES (1,NULL); INSERT INTO t VALUES (2,NULL)").await;
    site.sql("BEGIN; INSERT INTO t VALUES (3,NULL); INSERT INTO places VALUES (4,NULL); COMMIT").await;
    let culprit = site.last_gtid().await;
    site.sql("INSERT INTO t VALUES (5,NULL)").await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    assert_eq!(stopped.error.expect("an error").code, "OT3007");
    assert_eq!(stopped.gtid.last(0).expect("a GTID").sequence, sequence(culprit) - 1);
    assert_eq!(lines(&site.events("t").await), ["c - 1,null", "c - 2,null"]);
    capture.stop().await;
}

/// Debezium stops at the date, has stored an offset behind it by then, and goes on after a restart without the four rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_outside_the_calendar_amid_an_insert_loses_no_row() {
    let mut site = Site::new(&["t (id INT PRIMARY KEY, d DATE, n DATE NOT NULL)"]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("SET sql_mode='ALLOW_INVALID_DATES'").await;
    site.sql("INSERT INTO t VALUES (1,'1970-01-02','1970-01-02'),(2,'2026-02-31','2026-02-31'),(3,NULL,'0000-00-00'),(4,NULL,'2026-02-00')")
        .await;
    site.sql("INSERT INTO t VALUES (5,NULL,'1970-01-03')").await;
    site.wait_events("t", 5).await;
    capture.stop().await;
    site.sql("UPDATE t SET d=NULL WHERE id=2; DELETE FROM t WHERE id=3").await;
    let capture = site.run("a", Options::default()).await;
    let events = site.wait_events("t", 7).await;
    assert_growing(&events);
    let expected = [
        "c - 1,1,1",
        "c - 2,2026-02-31,2026-02-31",
        "c - 3,null,0000-00-00",
        "c - 4,null,2026-02-00",
        "c - 5,null,2",
        "u 2,2026-02-31,2026-02-31 2,null,2026-02-31",
        "d 3,null,0000-00-00 -",
    ];
    assert_eq!(lines(&events), expected);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_moves_while_nothing_is_followed() {
    let mut site = Site::new(&[T, "other LIKE t"]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO other VALUES (1,'a'); INSERT INTO other VALUES (2,'b')").await;
    let last = site.last_gtid().await;
    let status = capture.state("moved", |status| status.gtid.contains(&last)).await;
    assert_eq!(status.rows, 0);
    let mirror = wait_for("the mirror", || async {
        let mirror = site.coordination.read_position(site::SOURCE).await.map_err(|e| e.to_string())?;
        let reached = mirror.as_ref().is_some_and(|m| m.gtid.contains(&last));
        mirror.clone().filter(|_| reached).ok_or_else(|| format!("{mirror:?}"))
    });
    assert!(mirror.await.ordinal >= status.ordinal);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_waits_and_takes_over() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let first = site.run("a", Options::default()).await;
    let second = site.start("b", Options::default());
    second.state("waiting", |status| status.state == SourceState::Waiting).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    site.wait_events("t", 1).await;
    assert_eq!(second.status().expect("a status").state, SourceState::Waiting);
    first.stop().await;
    site.sql("INSERT INTO t VALUES (2,'b')").await;
    let events = site.wait_events("t", 2).await;
    assert_growing(&events);
    let status = second.state("running", |status| status.state == SourceState::Running).await;
    assert_eq!(status.epoch, 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_above_the_memory_budget_is_streamed_whole() {
    let mut site = Site::new(&[T, "m (id INT) ENGINE=MyISAM", "wide (id INT PRIMARY KEY, v VARCHAR(200))"]).await;
    site.put(&["*"]).await;
    let small = Options { memory: Size::bytes(100_000), ..Options::default() };
    let capture = site.run("a", small).await;
    let fill = |from: u32, to: u32| format!("INSERT INTO wide SELECT seq, REPEAT('x', 150) FROM seq_{from}_to_{to}");
    site.sql(&format!("INSERT INTO t VALUES (1,'before'); {}; INSERT INTO t VALUES (2,'after')", fill(1, 5000))).await;
    site.wait_events("wide", 5000).await;
    // Rows that it rolls back itself are read again and left out.
    let part = [fill(5001, 8000), fill(8001, 9000), fill(9001, 9500)];
    site.sql(&format!(
        "BEGIN; INSERT INTO m VALUES (1); {}; SAVEPOINT a; {}; ROLLBACK TO a; {}; COMMIT",
        part[0], part[1], part[2]
    ))
    .await;
    site.sql("INSERT INTO t VALUES (3,'last')").await;
    let events = site.wait_events("wide", 8500).await;
    assert_growing(&events);
    assert!(
        events.iter().all(|e| e.after.as_ref().is_some_and(|row| !(8001..=9000).contains(&row[0].parse().unwrap())))
    );
    assert_eq!(lines(&site.wait_events("t", 3).await), ["c - 1,before", "c - 2,after", "c - 3,last"]);
    capture.stop().await;
}

/// Its timeout is long: left open, readers of every table in it would wait for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_transaction_that_stops_the_source_is_aborted() {
    let mut site =
        Site::new(&["wide (id INT PRIMARY KEY, v VARCHAR(200))", "places (id INT PRIMARY KEY, p POINT)"]).await;
    site.put(&["*"]).await;
    let capture = site.run("a", Options { memory: Size::bytes(100_000), ..Options::default() }).await;
    let fill = "INSERT INTO wide SELECT seq, REPEAT('x', 150) FROM seq_1_to_5000";
    site.sql(&format!("BEGIN; {fill}; INSERT INTO places VALUES (0, NULL); COMMIT")).await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    assert_eq!(stopped.error.expect("an error").code, "OT3007");
    let id = schemas::names::transactional_id(&site.name, site::SOURCE);
    // The broker answers before it has written the markers; what it never heard of leaves no trace.
    let ended = wait_for("the abort", || async {
        let producer = wire::describe(&id);
        if ["CompleteAbort", "Empty"].contains(&producer.state.as_str()) {
            Ok(())
        } else {
            Err(format!("{producer:?}"))
        }
    });
    ended.await;
    assert_eq!(site.events("wide").await, []);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_checkpoint_where_zookeeper_mirrors_one_stops() {
    let site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    capture.stop().await;
    // Another cluster name has other topics, but the same nodes.
    let lost = site.beside(format!("{}b", site.name)).await;
    let capture = lost.start("a", Options::default());
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    assert_eq!(stopped.error.expect("an error").code, "OT3010");
    capture.stop().await;
}

/// A request of a worker that died comes late and fences the first commit of a new source. Nothing is mirrored that was
/// not committed: the next session would take the checkpoint for lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_commit_that_fails_leaves_a_source_that_begins() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let id = schemas::names::transactional_id(&site.name, site::SOURCE);
    let capture = site.start("a", Options::default());
    let fenced = wait_for("the first commit to be refused", || {
        wire::init_producer(&id);
        let code = capture.status().and_then(|status| status.error).map(|error| error.code);
        std::future::ready(if code.as_deref() == Some("OT4002") { Ok(()) } else { Err(format!("{code:?}")) })
    });
    fenced.await;
    capture.state("running", |status| status.state == SourceState::Running).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    site.wait_events("t", 1).await;
    capture.stop().await;
}

/// A late EndTxn meets the open transaction: the begin record makes the commit fail instead of losing rows.
async fn late_end_txn(commit: bool) -> Vec<Seen> {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let wait = Interval::from_secs(8);
    // What others write to the server must not end the transaction sooner either.
    let slow = Options { quiet: wait, commit_interval: wait, checkpoint_interval: wait, ..Options::default() };
    let capture = site.run("a", slow).await;
    site.sql("INSERT INTO t VALUES (1,'a'),(2,'b')").await;
    let id = schemas::names::transactional_id(&site.name, site::SOURCE);
    let mut seen = std::collections::BTreeSet::new();
    let open = wait_for("an open transaction", || {
        let producer = wire::describe(&id);
        seen.insert(format!("{producer:?}"));
        // With the checkpoint's topic alone the rest would rightly begin a transaction of its own.
        let open = producer.state == "Ongoing" && producer.topics == 2;
        std::future::ready(if open { Ok(producer) } else { Err(format!("{seen:?}")) })
    });
    assert_eq!(wire::end_txn(&id, &open.await, commit), 0, "the broker takes it for the producer's own");
    site.sql("INSERT INTO t VALUES (3,'c')").await;
    let events = wait_for("all rows", || async {
        let events = site.events("t").await;
        let distinct: std::collections::BTreeSet<i64> = events.iter().map(|event| event.ordinal).collect();
        if distinct.len() == 3 { Ok(events) } else { Err(format!("{:?}", lines(&events))) }
    });
    events.await;
    // Row 3 may have got in front of the marker, and all is to be read before the producer's own commit fails.
    let failed = wait_for("the producer's own commit to fail", || async {
        let reconnects = capture.metric("otter_capture_reconnects_total");
        let records = site.checkpoint_records().await;
        if reconnects >= 1.0 { Ok(()) } else { Err(format!("{records:?}")) }
    });
    failed.await;
    capture.state("running", |status| status.state == SourceState::Running).await;
    capture.stop().await;
    site.events("t").await
}

/// Whatever a late commit meets, a checkpoint is never committed without the rows in front of it: they are written first.
#[tokio::test(flavor = "multi_thread")]
async fn late_commits_at_any_moment_lose_nothing() {
    // A large row is on its way for longer than the checkpoint behind it.
    let mut site = Site::new(&[T, "u (id INT PRIMARY KEY, name MEDIUMTEXT)"]).await;
    site.put(&["t", "u"]).await;
    let options = Options { retry_max: Interval::from_millis(20), ..Options::default() };
    let capture = site.run("a", options).await;
    let id = schemas::names::transactional_id(&site.name, site::SOURCE);
    let met = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let forging = tokio::task::spawn_blocking({
        let met = std::sync::Arc::clone(&met);
        move || {
            while met.load(std::sync::atomic::Ordering::Relaxed) < LATE_COMMITS {
                let producer = wire::describe(&id);
                // A refusal: it was over in the meantime.
                if producer.state == "Ongoing" && producer.topics > 1 && wire::end_txn(&id, &producer, true) == 0 {
                    met.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    });
    let mut rows = 0;
    while !forging.is_finished() {
        rows += 1;
        let large =
            format!("INSERT INTO u SELECT {rows}, GROUP_CONCAT(SHA2(RAND(), 256) SEPARATOR '') FROM seq_1_to_10000");
        site.sql(&format!(
            "SET group_concat_max_len=1000000; BEGIN; INSERT INTO t VALUES ({rows},''); {large}; COMMIT"
        ))
        .await;
    }
    forging.await.expect("no panic");
    for table in ["t", "u"] {
        let all = wait_for("all rows", || async {
            let seen = site.events(table).await;
            let distinct: std::collections::BTreeSet<i64> = seen.iter().map(|event| event.ordinal).collect();
            if distinct.len() == rows { Ok(()) } else { Err(format!("{} of {rows} rows of {table}", distinct.len())) }
        });
        all.await;
    }
    println!("{rows} transactions, {} new producers", capture.metric("otter_capture_reconnects_total"));
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_abort_loses_nothing() {
    let events = late_end_txn(false).await;
    assert_eq!(lines(&events), ["c - 1,a", "c - 2,b", "c - 3,c"]);
    assert_growing(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_repeats_the_same_ordinals() {
    let mut events = late_end_txn(true).await;
    events.sort_by_key(|event| event.ordinal);
    events.dedup_by(|a, b| a.ordinal == b.ordinal && a.after == b.after);
    assert_eq!(lines(&events), ["c - 1,a", "c - 2,b", "c - 3,c"]);
}
