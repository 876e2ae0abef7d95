//! Lanes of a table whose rows may conflict across partitions: applied as one, whoever leads, whatever happens to it.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::barrier::BarrierKind;
use schemas::request::{OutcomeState, SeekTo};

use crate::frozen::Process;
use crate::world::Change::{self, Delete, Insert, Update};
use crate::world::{MARIADB, MYSQL, Row, Worker, World, wait_for};

/// Values that the unique index compares without case.
const NAMES: [&str; 12] = ["a", "B", "c", "D", "e", "F", "g", "H", "i", "J", "k", "L"];
const OTHER_CASE: [&str; 12] = ["A", "b", "C", "d", "E", "f", "G", "h", "I", "j", "K", "l"];

/// A source table with a unique index on the name.
pub(crate) struct Source {
    rng: StdRng,
    rows: BTreeMap<i32, &'static str>,
    partitions: i32,
    /// Every transaction.
    all: Vec<Vec<(i32, Change)>>,
}

impl Source {
    pub(crate) fn new(seed: u64, partitions: i32) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), rows: BTreeMap::new(), partitions, all: Vec::new() }
    }

    fn free(&mut self) -> Option<&'static str> {
        let at = self.rng.random_range(0..NAMES.len());
        let used = self.rows.values().any(|name| name.eq_ignore_ascii_case(NAMES[at]));
        let name = if self.rng.random_bool(0.5) { NAMES[at] } else { OTHER_CASE[at] };
        (!used).then_some(name)
    }

    fn some_row(&mut self) -> Option<Row> {
        let at = self.rng.random_range(0..self.rows.len().max(1));
        self.rows.iter().nth(at).map(|(id, name)| (*id, *name))
    }

    fn set(&mut self, changes: &mut Vec<(i32, Change)>, id: i32, name: Option<&'static str>) {
        let before = self.rows.get(&id).copied();
        let change = match (before, name) {
            (None, Some(name)) => Insert((id, name)),
            (Some(before), Some(name)) => Update((id, before), (id, name)),
            (Some(before), None) => Delete((id, before)),
            (None, None) => return,
        };
        match name {
            Some(name) => self.rows.insert(id, name),
            None => self.rows.remove(&id),
        };
        changes.push((id % self.partitions, change));
    }

    /// A transaction of the source.
    fn transaction(&mut self) -> Vec<(i32, Change)> {
        let mut changes = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let id = self.rng.random_range(0..16);
            match (self.rng.random_range(0..10), self.free(), self.some_row()) {
                (0..4, Some(name), _) => self.set(&mut changes, id, Some(name)),
                (4, _, Some(row)) => self.set(&mut changes, row.0, None),
                // Deleted, and its value at once another's.
                (5..7, _, Some(row)) if !self.rows.contains_key(&id) => {
                    self.set(&mut changes, row.0, None);
                    self.set(&mut changes, id, Some(row.1));
                }
                // Two rows swap their values by way of a third one.
                (7..10, Some(free), Some(one)) => {
                    let Some(other) = self.some_row().filter(|other| other.0 != one.0) else { continue };
                    self.set(&mut changes, one.0, Some(free));
                    self.set(&mut changes, other.0, Some(one.1));
                    self.set(&mut changes, one.0, Some(other.1));
                }
                _ => {}
            }
        }
        changes
    }

    /// Publishes so many transactions; answers the ordinal of the last event.
    pub(crate) fn publish(&mut self, world: &mut World, transactions: usize) -> i64 {
        let mut last = -1;
        for _ in 0..transactions {
            let changes = self.transaction();
            if !changes.is_empty() {
                last = world.publish_at(&changes);
                self.all.push(changes);
            }
        }
        last
    }

    pub(crate) fn truncate(&mut self, world: &mut World) {
        world.publish_barrier(BarrierKind::Truncate, self.partitions);
        self.rows.clear();
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.iter().map(|(id, name)| (*id, *name)).collect()
    }
}

async fn world(test: &str, partitions: i32) -> World {
    world_on(test, partitions, MARIADB).await
}

pub(crate) async fn world_on(test: &str, partitions: i32, target: &str) -> World {
    let mut world = World::with_partitions_on(test, partitions, target).await;
    let schema = world.schema();
    world
        .run(&format!(
            "ALTER TABLE `{schema}`.tb_user2 MODIFY name varchar(20) COLLATE utf8mb4_general_ci, ADD UNIQUE (name)"
        ))
        .await;
    world
}

pub(crate) fn seed() -> u64 {
    let seed = std::env::var("OTTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("OTTER_TEST_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_goes_from_row_to_row_over_partitions_conflicts_nowhere() {
    conflicts_nowhere("joined", &[2, 5, 8], MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_goes_from_row_to_row_conflicts_nowhere_on_mysql() {
    conflicts_nowhere("joined8", &[3, 8], MYSQL).await;
}

async fn conflicts_nowhere(test: &str, partitions: &[i32], target: &str) {
    let seed = seed();
    for partitions in partitions.iter().copied() {
        let mut world = world_on(test, partitions, target).await;
        world.pipeline("").await;
        let mut source = Source::new(seed + partitions as u64, partitions);
        source.publish(&mut world, 40);
        let worker = Worker::start(&world.name).await;
        world.wait_for_rows(&source.rows()).await;
        for _ in 0..5 {
            source.publish(&mut world, 10);
            world.wait_for_rows(&source.rows()).await;
        }
        // One whose row was taken for a join may still be about to claim it again.
        wait_for("no lane has an error", || async {
            let lanes = worker.lanes();
            if lanes.iter().all(|lane| lane.error.is_none()) { Ok(()) } else { Err(lanes) }
        })
        .await;
        worker.stop().await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_may_be_killed_frozen_and_cut_off() {
    leaders("leaders", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_may_be_killed_frozen_and_cut_off_on_mysql() {
    leaders("leaders8", MYSQL).await;
}

async fn leaders(test: &str, target: &str) {
    let seed = seed();
    let mut world = world_on(test, 4, target).await;
    world.pipeline("").await;
    let mut source = Source::new(seed, 4);
    let mut chance = StdRng::seed_from_u64(seed);
    let mut workers = vec![Process::start(&world.name), Process::start(&world.name)];
    for _ in 0..6 {
        source.publish(&mut world, 15);
        let at = chance.random_range(0..workers.len());
        match chance.random_range(0..4) {
            0 => drop(std::mem::replace(&mut workers[at], Process::start(&world.name))),
            1 => {
                workers[at].signal(Signal::SIGSTOP);
                source.publish(&mut world, 15);
                world.wait_for_rows(&source.rows()).await;
                workers[at].signal(Signal::SIGCONT);
            }
            2 => world.kill_connections().await,
            _ => {}
        }
        source.publish(&mut world, 15);
        world.wait_for_rows(&source.rows()).await;
    }
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_anywhere_ends_as_it_was() {
    replays("again", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_anywhere_ends_as_it_was_on_mysql() {
    replays("again8", MYSQL).await;
}

async fn replays(test: &str, target: &str) {
    let seed = seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut world = world_on(test, 4, target).await;
    world.pipeline("").await;
    let mut source = Source::new(seed, 4);
    let worker = Worker::start(&world.name).await;
    for _ in 0..4 {
        source.publish(&mut world, 25);
        world.wait_for_rows(&source.rows()).await;
        // Some of it is spoiled, and all of it written again from somewhere.
        let until = world.standing(1).await.expect("a row").0;
        let from = chance.random_range(0..=until);
        world.pipeline("state: paused").await;
        let outcome = crate::replay::seek_part(&world, Some(1), SeekTo::Offset(from)).await;
        assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
        if from == 0 {
            let schema = world.schema();
            world.run(&format!("DELETE FROM `{schema}`.tb_user2 WHERE id > 7")).await;
        }
        source.publish(&mut world, 5);
        world.pipeline("").await;
        world.wait_for_rows(&source.rows()).await;
        wait_for("no lane replays", || async {
            let lanes = worker.lanes();
            if lanes.iter().any(|lane| lane.replaying || lane.error.is_some()) { Err(lanes) } else { Ok(()) }
        })
        .await;
    }
    // A reset of capture: everything is published again.
    let all = source.all.clone();
    world.reset(1);
    for changes in &all {
        world.publish_at(changes);
    }
    source.publish(&mut world, 10);
    world.wait_for_rows(&source.rows()).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_applied_stops_all_in_front_of_it() {
    let mut world = world("stops", 3).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    let good = world.publish_at(&[(1, Insert((1, "a"))), (2, Insert((2, "b")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.progress SET joined_until = {}, owner = ''", i64::MAX)).await;
    // The lane of partition 0 notices while it is idle, and puts its token into all rows.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while world.first::<(i64, i64)>("SELECT COUNT(DISTINCT owner), CAST(SUM(owner = '') AS SIGNED) FROM progress").await
        != (1, 0)
    {
        assert!(std::time::Instant::now() < until, "nobody leads: {:?}", worker.lanes());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The row is not there; what comes before it is applied, in all partitions, what comes behind it in none.
    world.publish_at(&[
        (0, Insert((3, "c"))),
        (1, Update((4, "x"), (4, "y"))),
        (2, Delete((2, "b"))),
        (0, Insert((6, "f"))),
    ]);
    wait_for("the leader is paused", || async {
        let error = worker.lanes().into_iter().find_map(|lane| lane.error);
        error.filter(|error| error.code == "OT5004").ok_or_else(|| worker.lanes())
    })
    .await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    let at = world.standing(1).await.expect("a row");
    assert_eq!(at.1, good - 10, "in front of the update");
    // Put right by hand, all go on.
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (4, 'x')")).await;
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "a"), (3, "c"), (4, "y"), (6, "f")]).await;
    worker.stop().await;
    world.end().await;
}
