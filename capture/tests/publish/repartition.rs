//! More partitions by an operator's request: rows before and behind the barrier, and whoever dies on the way.

use capture::Options;
use coordination::Growth;
use rdkafka::admin::{AdminOptions, NewPartitions};
use schemas::barrier::BarrierKind;
use schemas::moment::Moment;
use schemas::names;
use schemas::request::{Outcome, OutcomeState, Request, SourceAction};
use tokio_util::sync::CancellationToken;

use crate::T;
use crate::barriers::assert_between;
use crate::partitions::{OF_FOUR, OF_SIX, admin, assert_placed, frozen, insert, spread};
use crate::reset::answered;
use crate::site::{SOURCE, Site};
use crate::topic::partitions;

fn request(site: &Site, table: &str, partitions: u32) -> Request<SourceAction> {
    let table = format!("{}.{table}", site.name);
    let action = SourceAction::Repartition { table, partitions };
    Request { id: format!("to{partitions}"), by: "test".to_owned(), time: Moment::now(), action }
}

/// Asks and waits for the answer.
pub(crate) async fn ask(site: &Site, table: &str, partitions: u32) -> Outcome {
    let request = request(site, table, partitions);
    let request = Request { id: format!("{}-{}", request.id, request.time.ms()), ..request };
    site.coordination.requests().submit(SOURCE, &request).await.expect("stored");
    answered(site, &request.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_more_partitions_and_rows_behind_the_barrier_lie_elsewhere() {
    let mut site = Site::new(&[T, "never LIKE t", "other LIKE t"]).await;
    spread(&mut site, 4);
    site.put(&["t", "never"]).await;
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=24).await;
    site.wait_events("t", 24).await;
    let outcome = ask(&site, "t", 6).await;
    assert_eq!((outcome.state, &outcome.details[0]["partitions"]), (OutcomeState::Done, &6.into()), "{outcome:?}");
    assert_eq!(frozen(&site, "t").await, Some(6));
    assert_eq!(site.coordination.growth(SOURCE).await.expect("an answer"), None);
    site.sql("DELETE FROM t").await;
    insert(&mut site, 1..=24).await;
    let events = site.wait_events("t", 72).await;
    let barrier = site.wait_barriers("t", 6).await;
    let said = &barrier[0].barrier;
    assert_eq!((said.kind, said.partitions, said.ends.len()), (BarrierKind::Repartition, 6, 4));
    assert!(said.gtid.is_none() && said.generation == 0);
    assert_between(&events, &barrier);
    let (before, behind): (Vec<_>, Vec<_>) = events.into_iter().partition(|e| e.ordinal < said.ordinal);
    assert_eq!((before.len(), behind.len()), (24, 48));
    assert_placed(&before, 1..=24, &OF_FOUR);
    assert_placed(&behind, 1..=24, &OF_SIX);
    // Deletes too.
    for gone in behind.iter().filter(|e| e.after.is_none()) {
        let id: usize = gone.before.as_ref().expect("a row")[0].parse().expect("a number");
        assert_eq!(gone.partition, OF_SIX[id - 1]);
    }

    for (table, count, code, cause) in [
        ("t", 5, "OT1024", "has 6 partitions"),
        ("t", 6, "OT1024", "has 6 partitions"),
        ("t", 1001, "OT1024", "at most 1000"),
        ("t*", 8, "OT1024", "one table"),
        ("other", 8, "OT1001", "does not publish"),
        ("never", 8, "OT4003", "no topic"),
    ] {
        let outcome = ask(&site, table, count).await;
        assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some(code)), "{outcome:?}");
        assert!(outcome.message.contains(cause), "{outcome:?}");
    }
    assert_eq!((partitions(&site.topic("t")), partitions(&site.topic("never"))), (6, 0));
    site.sql("INSERT INTO t VALUES (100,'y')").await;
    site.wait_events("t", 73).await;
    assert_eq!(site.barriers("t").await.len(), 6);
    capture.stop().await;
}

/// How far a worker got before it died.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Died {
    Taken,
    Noted,
    /// As the one before, and the request was answered for another reason, or nobody knows of it any more.
    NotedWithoutRequest,
    Grown,
    Published,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repartition_happens_once_whoever_dies_on_the_way() {
    for died in [Died::Taken, Died::Noted, Died::NotedWithoutRequest, Died::Grown, Died::Published] {
        once(died).await;
    }
}

async fn once(died: Died) {
    let mut site = Site::new(&[T]).await;
    spread(&mut site, 4);
    site.put(&["t"]).await;
    let topic = site.topic("t");
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=12).await;
    site.wait_events("t", 12).await;
    if died == Died::Published {
        site.coordination.requests().submit(SOURCE, &request(&site, "t", 6)).await.expect("stored");
        assert_eq!(answered(&site, "to6").await.state, OutcomeState::Done);
    }
    capture.stop().await;

    let requests = site.coordination.requests();
    if died != Died::NotedWithoutRequest {
        requests.submit(SOURCE, &request(&site, "t", 6)).await.expect("stored");
        requests.take::<SourceAction>(SOURCE, "dead").await.expect("an answer").expect("taken");
    }
    let never = CancellationToken::new();
    let lease = site.coordination.acquire(&names::lease_path(SOURCE), "dead", &never).await.expect("free");
    if died != Died::Taken {
        let growth = Growth { request: "to6".to_owned(), topic: topic.clone(), from: 4, to: 6 };
        site.coordination.write_growth(&lease, SOURCE, Some(&growth)).await.expect("noted");
    }
    if died == Died::Grown {
        let results = admin().create_partitions([&NewPartitions::new(&topic, 6)], &AdminOptions::new()).await;
        assert!(results.expect("an answer").iter().all(Result::is_ok));
    }
    if died == Died::Published {
        let node = names::frozen_topic_path(SOURCE, &topic);
        lease.write_fenced(&node, br#"{"partitions":4}"#).await.expect("written");
    }
    lease.release().await;

    let capture = site.run("b", Options::default()).await;
    if died != Died::NotedWithoutRequest {
        let outcome = answered(&site, "to6").await;
        assert_eq!(outcome.state, OutcomeState::Done, "{died:?}: {outcome:?}");
    }
    insert(&mut site, 13..=24).await;
    let events = site.wait_events("t", 24).await;
    assert_placed(&events, 1..=12, &OF_FOUR);
    assert_placed(&events, 13..=24, &OF_SIX);
    assert_between(&events, &site.wait_barriers("t", 6).await);
    assert_eq!(frozen(&site, "t").await, Some(6), "{died:?}");
    assert_eq!(site.coordination.growth(SOURCE).await.expect("an answer"), None);
    capture.stop().await;
    // And nothing more of it later.
    let capture = site.run("c", Options::default()).await;
    site.sql("INSERT INTO t VALUES (100,'y')").await;
    site.wait_events("t", 25).await;
    assert_eq!(site.barriers("t").await.len(), 6, "{died:?}");
    capture.stop().await;
}
