//! Lanes of one topic that stand in each other's way.

use schemas::status::LaneState;

use crate::frozen::Process;
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Worker, World, wait_for};

/// A world whose target table has a second unique index.
async fn world(test: &str, partitions: i32) -> World {
    let mut world = World::with_partitions(test, partitions).await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 ADD UNIQUE (name)")).await;
    world.pipeline("").await;
    world
}

/// Waits until each partition's lane has claimed its row.
async fn wait_for_lanes(world: &mut World, partitions: i32) {
    for partition in 0..partitions {
        world.wait_for_standing(partition, |_| true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_moves_to_another_lane_is_waited_for() {
    let mut world = world("moves", 2).await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "x"))), (1, Insert((2, "y")))]);
    world.wait_for_rows(&[(1, "x"), (2, "y")]).await;
    // Whichever lane is first: 2 takes what 1 gives away.
    for _ in 0..20 {
        world.publish_at(&[(0, Update((1, "x"), (1, "z"))), (1, Update((2, "y"), (2, "x")))]);
        world.publish_at(&[(1, Update((2, "x"), (2, "y"))), (0, Update((1, "z"), (1, "x")))]);
    }
    let last = world.publish_at(&[(0, Update((1, "x"), (1, "end"))), (1, Update((2, "y"), (2, "x")))]);
    world.wait_for_rows(&[(1, "end"), (2, "x")]).await;
    world.wait_for_standing(1, |(_, ordinal, pending)| ordinal == last && pending.is_none()).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_lanes_in_two_processes_swap_their_values() {
    let mut world = world("swap", 3).await;
    let (first, second) = (Worker::start(&world.name).await, Worker::start(&world.name).await);
    wait_for("both workers have lanes", || async {
        let counts = (first.lanes().len(), second.lanes().len());
        if counts.0 > 0 && counts.1 > 0 && counts.0 + counts.1 == 3 { Ok(()) } else { Err(counts) }
    })
    .await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b"))), (2, Insert((3, "c")))]);
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    let mut names = ["a", "b", "c"];
    for _ in 0..10 {
        // a → b → c → a by way of a fourth value, as an application has to do it.
        let next = [names[1], names[2], names[0]];
        world.publish_at(&[
            (0, Update((1, names[0]), (1, "-"))),
            (2, Update((3, names[2]), (3, next[2]))),
            (1, Update((2, names[1]), (2, next[1]))),
            (0, Update((1, "-"), (1, next[0]))),
        ]);
        names = next;
    }
    world.wait_for_rows(&[(1, names[0]), (2, names[1]), (3, names[2])]).await;
    first.stop().await;
    second.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_lane_names_its_blocker_and_goes_on_behind_it() {
    let mut world = world("names", 2).await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "x"))), (1, Insert((2, "y")))]);
    world.wait_for_rows(&[(1, "x"), (2, "y")]).await;
    // A row that the target does not have stops lane 0 in front of what lane 1 needs.
    let schema = world.schema();
    let first = world.publish_at(&[(0, Update((9, "q"), (9, "r")))]);
    world.publish_at(&[(0, Update((1, "x"), (1, "z")))]);
    let waits = world.publish_at(&[(1, Update((2, "y"), (2, "x")))]);
    let lane = wait_for("lane 1 waits", || async {
        let lane = worker.lane_of(1).filter(|lane| lane.state == LaneState::Waiting);
        let why = |w: &schemas::status::Waiting| w.why.contains("OT5004");
        lane.filter(|lane| lane.waiting.as_ref().is_some_and(why)).ok_or_else(|| worker.lanes())
    })
    .await;
    let waiting = lane.waiting.expect("it says so");
    assert_eq!((waiting.for_partition, waiting.ordinal), (0, waits), "{waiting:?}");
    assert!(waiting.why.contains(&format!("in front of ordinal {first}")), "{waiting:?}");
    assert_eq!(waiting.for_topic, world.topic);
    world.wait_for_standing(1, |at| at.2 == Some(waits)).await;
    world.wait_for_standing(0, |at| at.2 == Some(first)).await;
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (9, 'q')")).await;
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "z"), (2, "x"), (9, "r")]).await;
    wait_for("lane 1 runs", || async {
        let runs = |lane: &schemas::status::LaneStatus| lane.state == LaneState::Running && lane.waiting.is_none();
        worker.lane_of(1).filter(runs).ok_or_else(|| worker.lanes())
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_was_overtaken_passes_over_the_state_in_one_batch() {
    let mut world = world("overtaken", 2).await;
    // Lane 1 is ahead: its row has the value that row 1 had for a moment.
    world.publish_at(&[(1, Insert((2, "x")))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(2, "x")]).await;
    // Held up in front of the next event: a row that is not there.
    let schema = world.schema();
    world.publish_at(&[(0, Update((9, "q"), (9, "r")))]);
    wait_for("lane 0 has stopped", || async {
        worker.lane_of(0).filter(|l| l.state == LaneState::Paused).map(drop).ok_or_else(|| worker.lanes())
    })
    .await;
    world.publish_at(&[(1, Update((2, "x"), (2, "y"))), (0, Insert((1, "x")))]);
    world.publish_at(&[(0, Update((1, "x"), (1, "z"))), (1, Update((2, "y"), (2, "x")))]);
    world.wait_for_rows(&[(2, "x")]).await;
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (9, 'q')")).await;
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "z"), (2, "x"), (9, "r")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_one_key_in_two_lanes() {
    let mut world = World::with_partitions("spellings", 2).await;
    let schema = world.schema();
    let alter =
        "DROP PRIMARY KEY, MODIFY name varchar(200) COLLATE utf8mb4_general_ci NOT NULL, ADD PRIMARY KEY (name)";
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 {alter}")).await;
    world.pipeline("apply: {existing_row: overwrite}").await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "é")))]);
    world.wait_for_rows(&[(1, "é")]).await;
    for _ in 0..10 {
        world.publish_at(&[(0, Delete((1, "é"))), (1, Insert((1, "e")))]);
        world.publish_at(&[(1, Delete((1, "e"))), (0, Insert((1, "é")))]);
    }
    let last = world.publish_at(&[(0, Delete((1, "é"))), (1, Insert((1, "E")))]);
    world.wait_for_standing(1, |at| at.1 == last).await;
    world.wait_for_rows(&[(1, "E")]).await;
    assert!(worker.lanes().iter().all(|lane| lane.counters.existing + lane.counters.missing == 0));
    worker.stop().await;
    world.end().await;
}

/// What becomes of a row that has a value which was never the source's.
async fn foreign(test: &str, policy: &str) -> (World, Worker) {
    let mut world = World::with_partitions(test, 2).await;
    world.pipeline(policy).await;
    let worker = Worker::start(&world.name).await;
    wait_for_lanes(&mut world, 2).await;
    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (7, 'foreign')")).await;
    world.publish_at(&[(0, Insert((1, "a"))), (1, Insert((2, "b")))]);
    world.publish_at(&[(0, Insert((7, "ours"))), (0, Insert((3, "c")))]);
    (world, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_row_follows_the_policy_once_nobody_is_behind() {
    let (mut world, worker) = foreign("overwrite", "apply: {existing_row: overwrite}").await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (7, "ours")]).await;
    worker.stop().await;
    world.end().await;

    let (mut world, worker) = foreign("ignore", "apply: {existing_row: ignore}").await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (7, "foreign")]).await;
    worker.stop().await;
    world.end().await;

    let (mut world, worker) = foreign("error", "").await;
    let lane = wait_for("lane 0 pauses", || async {
        worker.lane_of(0).filter(|lane| lane.state == LaneState::Paused).ok_or_else(|| worker.lanes())
    })
    .await;
    assert_eq!(lane.error.expect("an error").code, "OT5005");
    world.wait_for_rows(&[(1, "a"), (2, "b"), (7, "foreign")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_interrupted_by_documents_and_by_the_end() {
    let mut world = world("interrupted", 2).await;
    let worker = Worker::start(&world.name).await;
    world.publish_at(&[(0, Insert((1, "x"))), (1, Insert((2, "y")))]);
    world.wait_for_rows(&[(1, "x"), (2, "y")]).await;
    world.publish_at(&[(0, Update((9, "q"), (9, "r"))), (0, Update((1, "x"), (1, "z")))]);
    let waits = world.publish_at(&[(1, Update((2, "y"), (2, "x")))]);
    world.wait_for_standing(1, |at| at.2 == Some(waits)).await;
    // Each put begins the wait anew.
    world.pipeline("apply: {batch: {rows: 7}}").await;
    wait_for("lane 1 waits again", || async {
        worker.lane_of(1).filter(|lane| lane.state == LaneState::Waiting).ok_or_else(|| worker.lanes())
    })
    .await;
    world.pipeline("apply: {missing_row: ignore}").await;
    world.wait_for_rows(&[(1, "z"), (2, "x")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_the_workers_of_both_lanes() {
    let mut world = world("outlives", 2).await;
    let (first, second) = (Process::start(&world.name), Process::start(&world.name));
    world.publish_at(&[(0, Insert((1, "x"))), (1, Insert((2, "y")))]);
    world.wait_for_rows(&[(1, "x"), (2, "y")]).await;
    let blocks = world.publish_at(&[(0, Update((9, "q"), (9, "r")))]);
    world.publish_at(&[(0, Update((1, "x"), (1, "z")))]);
    let waits = world.publish_at(&[(1, Update((2, "y"), (2, "x")))]);
    world.wait_for_standing(1, |at| at.2 == Some(waits)).await;
    world.wait_for_standing(0, |at| at.2 == Some(blocks)).await;
    drop(first);
    let third = Process::start(&world.name);
    drop(second);
    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (9, 'q')")).await;
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "z"), (2, "x"), (9, "r")]).await;
    drop(third);
    world.end().await;
}
