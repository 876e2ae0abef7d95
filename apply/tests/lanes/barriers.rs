//! Barriers: TRUNCATE, and more partitions.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable as _;
use schemas::barrier::BarrierKind::{Repartition, Truncate};
use schemas::status::LaneState;

use crate::frozen::Process;
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Row, Worker, World, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_takes_the_rows_of_one_partition() {
    let mut world = World::new("truncate").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish_barrier(Truncate, 1);
    world.publish(&[Insert((1, "c"))]);
    world.wait_for_rows(&[(1, "c")]).await;
    wait_for("the rows that went are counted", || async {
        worker.lane().filter(|lane| lane.counters.deletes == 2).map(drop).ok_or_else(|| worker.lane())
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_says_what_a_truncate_does() {
    let mut world = World::with_partitions("says", 2).await;
    world.pipeline("apply: {truncate: pause}").await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    let at = world.publish_barrier(Truncate, 2);
    world.publish_at(&[(0, Insert((3, "c"))), (1, Insert((4, "d")))]);
    wait_for("the first lane stops, and the other says so", || async {
        let code = worker.lane_of(0).and_then(|lane| lane.error).map(|error| error.code);
        let waiting = worker.lane_of(1).and_then(|lane| lane.waiting);
        let said = waiting.filter(|w| w.for_partition == 0 && w.ordinal == at && w.why.contains("OT5014"));
        if code.as_deref() == Some("OT5014") && said.is_some() { Ok(()) } else { Err(worker.lanes()) }
    })
    .await;
    world.wait_for_standing(0, |standing| standing.2 == Some(at)).await;
    world.wait_for_standing(1, |standing| standing.2 == Some(at)).await;
    world.pipeline("apply: {truncate: ignore}").await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    let ignored = world.publish_barrier(Truncate, 2);
    for partition in [0, 1] {
        world.wait_for_standing(partition, |standing| standing.1 >= ignored).await;
    }
    let version = "SELECT MIN(document_version) FROM progress";
    let before = world.first::<i64>(version).await;
    world.pipeline("apply: {truncate: apply}").await;
    // The lanes hear of it a moment later, and say so with their next rows.
    let mut id = 10;
    while world.first::<i64>(version).await == before {
        world.publish_at(&[(0, Insert((id, "x"))), (1, Insert((id + 1, "y")))]);
        id += 2;
        assert!(id < 20_000, "the lanes do not hear of the new document");
    }
    world.publish_barrier(Truncate, 2);
    world.publish_at(&[(1, Insert((5, "e")))]);
    world.wait_for_rows(&[(5, "e")]).await;
    worker.stop().await;
    world.end().await;
}

/// What the source holds, and where its rows lie.
struct Source {
    rows: BTreeMap<i32, &'static str>,
    partitions: i32,
    count: usize,
}

impl Source {
    fn new(partitions: i32) -> Self {
        Self { rows: BTreeMap::new(), partitions, count: 0 }
    }

    fn publish(&mut self, world: &mut World, transactions: usize) {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        for _ in 0..transactions {
            let mut changes = Vec::new();
            for step in 0..3 {
                self.count += 1;
                let id = (self.count * 7 % 40) as i32;
                let name = NAMES[(self.count + step) % NAMES.len()];
                let before = self.rows.get(&id).copied();
                let change = match before {
                    None => Insert((id, name)),
                    Some(before) if self.count.is_multiple_of(4) => Delete((id, before)),
                    Some(before) => Update((id, before), (id, name)),
                };
                if matches!(change, Delete(_)) {
                    self.rows.remove(&id);
                } else {
                    self.rows.insert(id, name);
                }
                changes.push((id % self.partitions, change));
            }
            world.publish_at(&changes);
        }
    }

    fn truncate(&mut self, world: &mut World) {
        world.publish_barrier(Truncate, self.partitions);
        self.rows.clear();
    }

    fn rows(&self) -> Vec<Row> {
        self.rows.iter().map(|(id, name)| (*id, *name)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_amid_load_over_four_partitions_and_a_kill() {
    let mut world = World::with_partitions("amid", 4).await;
    world.pipeline("").await;
    let mut source = Source::new(4);
    let mut workers = vec![Process::start(&world.name), Process::start(&world.name)];
    source.publish(&mut world, 20);
    world.wait_for_rows(&source.rows()).await;
    for round in 0..4 {
        source.publish(&mut world, 15);
        source.truncate(&mut world);
        source.publish(&mut world, 5);
        if round % 2 == 1 {
            drop(workers.remove(0));
            workers.push(Process::start(&world.name));
        }
        source.truncate(&mut world);
        source.publish(&mut world, 15);
        world.wait_for_rows(&source.rows()).await;
    }
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_begins_behind_the_barrier_is_no_obstacle() {
    let mut world = World::with_partitions("behind", 2).await;
    world.pipeline("start: latest").await;
    let worker = Worker::start(&world.name).await;
    worker.wait_for_running(2).await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    worker.stop().await;
    let at = world.publish_barrier(Truncate, 2);
    world.wait_for_markers().await;
    let schema = world.schema();
    world.run(&format!("DELETE FROM `{schema}`.progress WHERE `partition` = 1")).await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[]).await;
    world.wait_for_standing(1, |standing| standing.1 == at && standing.2.is_none()).await;
    world.wait_for_standing(0, |standing| standing.1 == at && standing.2.is_none()).await;
    // And the other way: the one that acts begins behind it.
    worker.stop().await;
    let at = world.publish_barrier(Truncate, 2);
    world.wait_for_markers().await;
    world.run(&format!("DELETE FROM `{schema}`.progress WHERE `partition` = 0")).await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_standing(1, |standing| standing.1 == at && standing.2.is_none()).await;
    world.publish_at(&[(1, Insert((3, "c")))]);
    world.wait_for_rows(&[(3, "c")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_deletes_what_is_left() {
    const ROWS: i64 = 12_000;
    let mut world = World::with_partitions("left", 2).await;
    world.pipeline("").await;
    let worker = Process::start(&world.name);
    for partition in 0..2 {
        world.wait_for_standing(partition, |_| true).await;
    }
    let schema = world.schema();
    let numbers = format!("WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < {ROWS})");
    let limit = "SET SESSION max_recursive_iterations = 100000";
    world.run(limit).await;
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 {numbers} SELECT id, 'x' FROM n")).await;
    // A lock on a row of the last chunk holds the deletion up when the others are committed.
    let mut other = world.another().await;
    other.query_drop("START TRANSACTION").await.expect("begun");
    let lock = format!("SELECT id FROM `{schema}`.tb_user2 WHERE id = 11000 FOR UPDATE");
    other.query_drop(lock).await.expect("locked");
    let at = world.publish_barrier(Truncate, 2);
    world.publish_at(&[(1, Insert((1, "new")))]);
    let count = "SELECT COUNT(*) FROM tb_user2";
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while world.first::<i64>(count).await != ROWS - 10_000 {
        assert!(std::time::Instant::now() < until, "{} rows", world.first::<i64>(count).await);
    }
    assert_eq!(world.standing(0).await.and_then(|standing| standing.2), Some(at), "it stands there still");
    drop(worker);
    other.query_drop("ROLLBACK").await.expect("unlocked");
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "new")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_move_to_new_partitions_keep_their_order() {
    let mut world = World::with_partitions("split", 2).await;
    world.pipeline("start: latest").await;
    let workers = [Process::start(&world.name), Process::start(&world.name)];
    for partition in 0..2 {
        world.wait_for_standing(partition, |_| true).await;
    }
    let mut source = Source::new(2);
    source.publish(&mut world, 30);
    world.add_partitions(4).await;
    source.publish(&mut world, 10);
    world.publish_barrier(Repartition, 4);
    source.partitions = 4;
    source.publish(&mut world, 30);
    world.wait_for_rows(&source.rows()).await;
    source.truncate(&mut world);
    source.publish(&mut world, 10);
    world.wait_for_rows(&source.rows()).await;
    drop(workers);
    world.end().await;
}

/// Capture was set back, and while it publishes again the topic gets more partitions: a row that lies in a new one from
/// there on is at the target already.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_added_during_a_replay_replays_too() {
    let mut world = World::with_partitions("grown", 1).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    for id in 1..=4 {
        world.publish_at(&[(0, Insert((id, "a")))]);
    }
    world.publish_at(&[(0, Update((2, "a"), (2, "b")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "a"), (4, "a")]).await;
    world.reset(1);
    world.publish_at(&[(0, Insert((1, "a")))]);
    world.add_partitions(2).await;
    world.publish_barrier(Repartition, 2);
    for id in 2..=4 {
        world.publish_at(&[(id % 2, Insert((id, "a")))]);
    }
    world.publish_at(&[(0, Update((2, "a"), (2, "b")))]);
    let last = world.publish_at(&[(0, Insert((6, "f"))), (1, Insert((5, "e")))]);
    world.wait_for_standing(1, |standing| standing.1 >= last).await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "e"), (6, "f")]).await;
    wait_for("both lanes are strict again", || async {
        let lanes = worker.lanes();
        let still = lanes.iter().any(|lane| lane.replaying || lane.error.is_some());
        if lanes.len() == 2 && !still { Ok(()) } else { Err(lanes) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_beyond_a_truncate_is_not_emptied() {
    let mut world = World::with_partitions("beyond", 2).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b")))]);
    world.publish_barrier(Truncate, 2);
    let last = world.publish_at(&[(0, Insert((3, "c"))), (1, Insert((4, "d")))]);
    world.wait_for_rows(&[(3, "c"), (4, "d")]).await;
    world.wait_for_standing(1, |standing| standing.1 == last).await;
    worker.stop().await;
    // Somebody moves the first partition back, alone.
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.progress SET next_offset = 0, ordinal = -1 WHERE `partition` = 0")).await;
    world.run(&format!("DELETE FROM `{schema}`.tb_user2 WHERE id = 3")).await;
    let worker = Worker::start(&world.name).await;
    wait_for("it stops", || async {
        let lane = worker.lane_of(0).filter(|lane| lane.state == LaneState::Paused);
        lane.and_then(|lane| lane.error).filter(|error| error.code == "OT5014").ok_or_else(|| worker.lanes())
    })
    .await;
    world.pipeline("apply: {truncate: ignore}").await;
    world.wait_for_rows(&[(1, "a"), (3, "c"), (4, "d")]).await;
    worker.stop().await;
    world.end().await;
}
