//! Topics that were deleted, and perhaps made again: capture stops in front of the next row and goes on when an operator
//! says so.

use capture::Options;
use coordination::{FrozenTopic, Growth};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use schemas::moment::Moment;
use schemas::names;
use schemas::request::{Outcome, OutcomeState, Request, SourceAction};
use schemas::status::{ErrorStatus, SourceState};
use tokio_util::sync::CancellationToken;

use crate::T;
use crate::barriers::assert_between;
use crate::partitions::{OF_FOUR, OF_SIX, admin, assert_placed, insert, spread};
use crate::repartition::ask as repartition;
use crate::reset::answered;
use crate::site::{Running, SOURCE, Site, wait_for};
use crate::topic::partitions;

async fn delete(topic: &str) {
    let results = admin().delete_topics(&[topic], &AdminOptions::new()).await.expect("an answer");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    wait_for("the topic to go", || async {
        if partitions(topic) == 0 { Ok(()) } else { Err("it is there".to_owned()) }
    })
    .await;
}

async fn create(topic: &str, partitions: i32) {
    // A broker may still be at the deletion of the one before.
    wait_for("a new topic", || async {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin().create_topics([&new], &AdminOptions::new()).await.expect("an answer");
        if made.iter().all(Result::is_ok) { Ok(()) } else { Err(format!("{made:?}")) }
    })
    .await;
}

fn adoption(site: &Site, table: &str) -> Request<SourceAction> {
    let action = SourceAction::Adopt { table: format!("{}.{table}", site.name) };
    let time = Moment::now();
    Request { id: format!("adopt-{}", time.ms()), by: "test".to_owned(), time, action }
}

async fn adopt(site: &Site, table: &str) -> Outcome {
    let request = adoption(site, table);
    site.coordination.requests().submit(SOURCE, &request).await.expect("stored");
    answered(site, &request.id).await
}

async fn stopped(capture: &Running) -> ErrorStatus {
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    stopped.error.expect("an error")
}

async fn frozen(site: &Site) -> FrozenTopic {
    site.coordination.frozen_topic(SOURCE, &site.topic("t")).await.expect("an answer").expect("frozen")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_is_not_made_again_in_silence() {
    let mut site = Site::new(&[T]).await;
    spread(&mut site, 4);
    site.put(&["t"]).await;
    let topic = site.topic("t");
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=6).await;
    site.wait_events("t", 6).await;
    capture.stop().await;
    let before = frozen(&site).await.id.expect("an id");
    delete(&topic).await;

    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 7..=12).await;
    let error = stopped(&capture).await;
    assert_eq!(error.code, "OT4017", "{error:?}");
    for part in ["is gone", &topic, &before, "otter adopt"] {
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    assert_eq!(partitions(&topic), 0, "it is not made");

    let outcome = adopt(&site, "t").await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    let events = site.wait_events("t", 6).await;
    assert_placed(&events, 7..=12, &OF_FOUR);
    let now = frozen(&site).await;
    let id = now.id.as_deref().expect("an id");
    assert!(id != before && outcome.details[0]["topic_id"] == id, "{outcome:?} {now:?}");
    assert_eq!((now.partitions, partitions(&topic)), (4, 4));
    capture.stop().await;
    let capture = site.run("b", Options::default()).await;
    insert(&mut site, 13..=14).await;
    site.wait_events("t", 8).await;
    assert_eq!(frozen(&site).await, now, "adopted once");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_under_the_same_name_is_another_one() {
    let mut site = Site::new(&[T, "other LIKE t"]).await;
    spread(&mut site, 4);
    site.put(&["*"]).await;
    let topic = site.topic("t");
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=6).await;
    site.wait_events("t", 6).await;
    for (table, code, cause) in [
        ("t", "OT1024", "nothing to adopt"),
        ("other", "OT1024", "no row was ever published"),
        ("t*", "OT1024", "one table"),
    ] {
        let outcome = adopt(&site, table).await;
        assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some(code)), "{outcome:?}");
        assert!(outcome.message.contains(cause), "{outcome:?}");
    }
    capture.stop().await;

    // As many partitions, fewer as by Kafka's own making, more.
    for (count, rows) in [(4, 7..=8), (1, 9..=12)] {
        delete(&topic).await;
        create(&topic, count).await;
        let capture = site.run("a", Options::default()).await;
        let expected = rows.clone().count();
        insert(&mut site, rows.clone()).await;
        let error = stopped(&capture).await;
        assert!(error.code == "OT4017" && error.message.contains("made again"), "{error:?}");
        assert!(site.events("t").await.is_empty(), "nothing in front of the operator's word");
        assert_eq!(repartition(&site, "t", 6).await.code.as_deref(), Some("OT4017"), "no way around it");
        assert_eq!(adopt(&site, "t").await.state, OutcomeState::Done);
        assert_placed(&site.wait_events("t", expected).await, rows, &OF_FOUR);
        capture.stop().await;
    }
    delete(&topic).await;
    create(&topic, 6).await;
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 13..=14).await;
    assert_eq!(stopped(&capture).await.code, "OT4017");
    let outcome = adopt(&site, "t").await;
    assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some("OT4016")), "{outcome:?}");
    delete(&topic).await;
    assert_eq!(adopt(&site, "t").await.state, OutcomeState::Done);
    assert_placed(&site.wait_events("t", 2).await, 13..=14, &OF_FOUR);
    capture.stop().await;
}

/// Nobody writes a row: it is seen all the same, and the source does not wait for what it cannot write.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_goes_while_capture_runs_is_noticed() {
    for (again, busy) in [(false, false), (false, true), (true, true)] {
        let mut site = Site::new(&[T]).await;
        site.put(&["t"]).await;
        let topic = site.topic("t");
        let capture = site.run("a", Options::default()).await;
        insert(&mut site, 1..=1).await;
        site.wait_events("t", 1).await;
        delete(&topic).await;
        if again {
            create(&topic, 1).await;
        }
        if busy {
            insert(&mut site, 2..=9).await;
        }
        let error = stopped(&capture).await;
        let says = if again { "made again" } else { "is gone" };
        assert!(error.code == "OT4017" && error.message.contains(says), "{again} {busy}: {error:?}");
        assert_eq!(adopt(&site, "t").await.state, OutcomeState::Done, "{again} {busy}");
        if busy {
            let events = site.wait_events("t", 8).await;
            assert!(events.iter().all(|e| e.after.as_ref().is_some_and(|row| row[0] != "1")), "{events:?}");
        }
        capture.stop().await;
    }
}

/// A worker that died left this in ZooKeeper, under the lease.
async fn left(site: &Site, path: &str, data: &[u8]) {
    let never = CancellationToken::new();
    let lease = site.coordination.acquire(&names::lease_path(SOURCE), "dead", &never).await.expect("free");
    lease.write_fenced(path, data).await.expect("written");
    lease.release().await;
}

/// What an earlier version froze has no id; its topic's is taken at its next use.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_frozen_without_an_id_gets_it() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let topic = site.topic("t");
    let node = names::frozen_topic_path(SOURCE, &topic);
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=1).await;
    site.wait_events("t", 1).await;
    capture.stop().await;
    let complete = frozen(&site).await;
    left(&site, &node, br#"{"partitions":1}"#).await;
    assert_eq!(frozen(&site).await.id, None);
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 2..=2).await;
    site.wait_events("t", 2).await;
    assert_eq!(frozen(&site).await, complete);
    capture.stop().await;

    left(&site, &node, br#"{"partitions":1}"#).await;
    delete(&topic).await;
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 3..=3).await;
    assert_eq!(stopped(&capture).await.code, "OT4017", "it was there once");
    assert_eq!(adopt(&site, "t").await.state, OutcomeState::Done);
    site.wait_events("t", 1).await;
    capture.stop().await;
}

/// The worker that adopted it died in front of its answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_happens_once_whoever_dies_on_the_way() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let topic = site.topic("t");
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=1).await;
    site.wait_events("t", 1).await;
    capture.stop().await;
    let requests = site.coordination.requests();
    let request = adoption(&site, "t");
    requests.submit(SOURCE, &request).await.expect("stored");
    requests.take::<SourceAction>(SOURCE, "dead").await.expect("an answer").expect("taken");
    let adopted = FrozenTopic { request: Some(request.id.clone()), ..frozen(&site).await };
    let json = serde_json::to_vec(&adopted).expect("JSON");
    left(&site, &names::frozen_topic_path(SOURCE, &topic), &json).await;
    let capture = site.run("b", Options::default()).await;
    let outcome = answered(&site, &request.id).await;
    assert_eq!((outcome.state, &outcome.details[0]["topic_id"]), (OutcomeState::Done, &adopted.id.clone().into()));
    insert(&mut site, 2..=2).await;
    site.wait_events("t", 2).await;
    assert_eq!(frozen(&site).await, adopted);
    capture.stop().await;
}

/// The topic goes while a repartition of it is under way, which ends on the one that takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_repartition_waits_for_the_topic_that_takes_its_place() {
    let mut site = Site::new(&[T]).await;
    spread(&mut site, 4);
    site.put(&["t"]).await;
    let topic = site.topic("t");
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=6).await;
    site.wait_events("t", 6).await;
    capture.stop().await;
    let growth = Growth { request: "gone".to_owned(), topic: topic.clone(), from: 4, to: 6 };
    left(&site, &names::growth_path(SOURCE), &serde_json::to_vec(&growth).expect("JSON")).await;
    delete(&topic).await;
    let capture = site.start("a", Options::default());
    assert_eq!(stopped(&capture).await.code, "OT4017");
    assert_eq!(adopt(&site, "t").await.state, OutcomeState::Done);
    insert(&mut site, 7..=12).await;
    let events = site.wait_events("t", 6).await;
    assert_placed(&events, 7..=12, &OF_SIX);
    assert_between(&events, &site.wait_barriers("t", 6).await);
    assert_eq!(frozen(&site).await.partitions, 6);
    assert_eq!(site.coordination.growth(SOURCE).await.expect("an answer"), None);
    capture.stop().await;
}
