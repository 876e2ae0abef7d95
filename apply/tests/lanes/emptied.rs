//! TRUNCATE amid lanes that are applied as one: those that were joined, and tables that keep their order.

use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::barrier::BarrierKind::Truncate;

use crate::frozen::Process;
use crate::joined::{self, Source};
use crate::ordered::{self, ORDERED, stopped};
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{MARIADB, MYSQL, Row, Worker, World, wait_for};

/// Joins the lanes of the first table up to an ordinal, as a conflict would.
async fn join(world: &mut World, until: i64) {
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.progress SET joined_until = {until}, owner = ''")).await;
}

async fn amid_conflicts(test: &str, target: &str) {
    let seed = joined::seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut world = joined::world_on(test, 4, target).await;
    world.pipeline("").await;
    let mut source = Source::new(seed, 4);
    let mut workers = [Process::start(&world.name), Process::start(&world.name)];
    source.publish(&mut world, 20);
    world.wait_for_rows(&source.rows()).await;
    for _ in 0..4 {
        let last = source.publish(&mut world, 15);
        // Some of what follows is applied by one, some by each for itself.
        join(&mut world, last + chance.random_range(0..1000)).await;
        source.truncate(&mut world);
        source.publish(&mut world, chance.random_range(0..10));
        workers[chance.random_range(0..2)] = Process::start(&world.name);
        source.truncate(&mut world);
        source.truncate(&mut world);
        source.publish(&mut world, 15);
        world.wait_for_rows(&source.rows()).await;
    }
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_lanes_are_emptied_amid_conflicts_and_kills_on_mariadb() {
    amid_conflicts("emptied", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_lanes_are_emptied_amid_conflicts_and_kills_on_mysql() {
    amid_conflicts("emptied8", MYSQL).await;
}

async fn killed_while_it_deletes(test: &str, target: &str) {
    const ROWS: i32 = 12_000;
    let mut world = World::with_partitions_on(test, 2, target).await;
    world.pipeline("").await;
    let worker = Process::start(&world.name);
    world.publish_backlog(0..ROWS, 2);
    let count = "SELECT COUNT(*) FROM tb_user2";
    let counted = async |world: &mut World, wanted: i32| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while world.first::<i32>(count).await != wanted {
            assert!(std::time::Instant::now() < until, "{} rows, not {wanted}", world.first::<i32>(count).await);
        }
    };
    counted(&mut world, ROWS).await;
    join(&mut world, i64::MAX).await;
    // A lock on a row of the last chunk holds the deletion up when the others are committed.
    let (schema, mut other) = (world.schema(), world.another().await);
    other.query_drop("START TRANSACTION").await.expect("begun");
    let lock = format!("SELECT id FROM `{schema}`.tb_user2 WHERE id = 11000 FOR UPDATE");
    other.query_drop(lock).await.expect("locked");
    let at = world.publish_barrier(Truncate, 2);
    world.publish_at(&[(1, Insert((1, "new"))), (0, Insert((2, "new")))]);
    counted(&mut world, ROWS - 10_000).await;
    for partition in 0..2 {
        let standing = world.standing(partition).await.expect("a row");
        assert!(standing.1 < at, "partition {partition} has passed: {standing:?}");
    }
    drop(worker);
    other.query_drop("ROLLBACK").await.expect("unlocked");
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "new"), (2, "new")]).await;
    wait_for("the rows that went are counted", || async {
        let deleted: u64 = worker.lanes().iter().map(|lane| lane.counters.deletes).sum();
        if deleted == 2000 { Ok(()) } else { Err(worker.lanes()) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_next_deletes_what_is_left_on_mariadb() {
    killed_while_it_deletes("leads", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_next_deletes_what_is_left_on_mysql() {
    killed_while_it_deletes("leads8", MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_says_what_a_truncate_does_to_joined_lanes() {
    let mut world = World::with_partitions("tells", 2).await;
    world.pipeline("apply: {truncate: pause}").await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    join(&mut world, i64::MAX).await;
    let at = world.publish_barrier(Truncate, 2);
    world.publish_at(&[(0, Insert((3, "c"))), (1, Insert((4, "d")))]);
    let error = stopped(&worker, "OT5014").await;
    assert!(error.message.contains(&format!("at ordinal {at}; put truncate: apply")), "{error:?}");
    world.pipeline("apply: {truncate: ignore}").await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    worker.stop().await;
    // Partition 1 is behind the next one, partition 0 in front of it.
    world.pipeline("").await;
    let before = world.standing(0).await.expect("a row");
    let next = world.publish_barrier(Truncate, 2);
    let last = world.publish_at(&[(1, Insert((5, "e"))), (0, Insert((6, "f")))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(5, "e"), (6, "f")]).await;
    world.wait_for_standing(1, |standing| standing.1 == last - 10).await;
    worker.stop().await;
    let (schema, offset, ordinal) = (world.schema(), before.0, before.1);
    let back = format!("SET next_offset = {offset}, ordinal = {ordinal} WHERE `partition` = 0");
    world.run(&format!("UPDATE `{schema}`.progress {back}")).await;
    world.run(&format!("DELETE FROM `{schema}`.tb_user2 WHERE id = 6")).await;
    let worker = Worker::start(&world.name).await;
    let error = stopped(&worker, "OT5014").await;
    assert!(error.message.contains(&format!("ordinal {next}; partition 1 has events from behind it")), "{error:?}");
    world.wait_for_rows(&[(5, "e")]).await;
    world.pipeline("apply: {truncate: ignore}").await;
    world.wait_for_rows(&[(5, "e"), (6, "f")]).await;
    worker.stop().await;
    world.end().await;
}

async fn families(test: &str, target: &str) {
    let seed = joined::seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut world = World::with_tables_on(test, 2, target).await;
    ordered::with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let (end, watching) = ordered::watch(&world, target);
    let mut workers = [Process::start(&world.name), Process::start(&world.name)];
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..6 {
        for id in 0..20 {
            if round == 0 || rows.is_empty() {
                world.publish_to(0, &[Insert((id, "p"))]);
            }
            world.publish_to(1, &[Insert((id, "p"))]);
            world.publish_to(1, &[Update((id, "p"), (id, "q"))]);
        }
        rows = (0..20).map(|id| (id, "p")).collect();
        world.publish_barrier_to(1, Truncate, 1);
        workers[chance.random_range(0..2)] = Process::start(&world.name);
        // The parents go at the source in a session that checks no foreign keys, or one by one.
        match round % 3 {
            0 => {
                world.publish_barrier_to(0, Truncate, 1);
                rows.clear();
            }
            1 => {
                for id in 0..20 {
                    world.publish_to(0, &[Delete((id, "p"))]);
                }
                rows.clear();
            }
            _ => {}
        }
        if chance.random_bool(0.5) {
            world.wait_for_rows_of(0, &rows).await;
        }
    }
    world.wait_for_rows_of(0, &rows).await;
    world.wait_for_rows_of(1, &[]).await;
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watching.await.expect("no child was alone") > 0);
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_order_are_emptied_in_their_place_on_mariadb() {
    families("place", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_order_are_emptied_in_their_place_on_mysql() {
    families("place8", MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_that_pauses_holds_up_the_whole_set() {
    let mut world = World::with_tables("holds", 2).await;
    ordered::with_key(&mut world).await;
    world.pipeline("apply: {foreign_keys: ordered, truncate: pause}").await;
    let worker = Worker::start(&world.name).await;
    world.publish_to(0, &[Insert((1, "a"))]);
    world.publish_to(1, &[Insert((1, "a"))]);
    let at = world.publish_barrier_to(1, Truncate, 1);
    world.publish_to(0, &[Insert((2, "b"))]);
    let error = stopped(&worker, "OT5014").await;
    assert!(error.message.contains(&format!("shop.tb_user_1 was truncated at ordinal {at}")), "{error:?}");
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.wait_for_rows_of(0, &[(1, "a")]).await;
    world.pipeline(ORDERED).await;
    world.wait_for_rows_of(1, &[]).await;
    world.wait_for_rows_of(0, &[(1, "a"), (2, "b")]).await;
    world.publish_to(1, &[Insert((2, "b"))]);
    world.publish_barrier_to(1, Truncate, 1);
    world.publish_to(1, &[Insert((1, "c"))]);
    world.wait_for_rows_of(1, &[(1, "c")]).await;
    worker.stop().await;
    world.end().await;
}
