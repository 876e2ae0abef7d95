//! Tables set back in front of a TRUNCATE: what it took away is written again, and must go again.

use schemas::barrier::BarrierKind::Truncate;
use schemas::request::{OutcomeState, SeekTo};
use schemas::status::LaneState;

use crate::replay::seek_part;
use crate::world::Change::{Insert, Update};
use crate::world::{Row, Worker, World, wait_for};

/// What is there in the end.
const ROWS: [Row; 2] = [(3, "c"), (4, "d")];

/// Two rows in the second partition, the TRUNCATE, one row in each.
fn publish(world: &mut World) {
    world.publish_at(&[(1, Insert((1, "a")))]);
    world.publish_at(&[(1, Insert((2, "b")))]);
    world.publish_barrier(Truncate, 2);
    world.publish_at(&[(0, Insert((4, "d"))), (1, Insert((3, "c")))]);
}

/// A world in which all that has been applied.
async fn applied(test: &str, unique: bool) -> (World, Worker) {
    let mut world = World::with_partitions(test, 2).await;
    if unique {
        let schema = world.schema();
        world.run(&format!("ALTER TABLE `{schema}`.tb_user2 ADD UNIQUE (name)")).await;
    }
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    publish(&mut world);
    world.wait_for_rows(&ROWS).await;
    (world, worker)
}

/// Sets the table back, and waits until it is where it was and one event more has come.
async fn back(world: &mut World, worker: &Worker, to: SeekTo, names: [&'static str; 2]) {
    world.pipeline("state: paused").await;
    let outcome = seek_part(world, None, to.clone()).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{to}: {outcome:?}");
    world.pipeline("").await;
    let [old, new] = names;
    let last = world.publish_at(&[(0, Update((4, old), (4, new))), (1, Update((3, old), (3, new)))]);
    wait_for("both lanes are beyond, and replay no more", || async {
        let lanes = worker.lanes();
        let replays = lanes.iter().any(|lane| lane.replaying || lane.error.is_some());
        if lanes.len() == 2 && !replays { Ok(()) } else { Err(lanes) }
    })
    .await;
    world.wait_for_standing(1, |standing| standing.1 >= last).await;
    world.wait_for_rows(&[(3, new), (4, new)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_set_back_in_front_of_a_truncate_is_emptied_again() {
    let (mut world, worker) = applied("back", false).await;
    world.publish_at(&[(0, Update((4, "d"), (4, "x"))), (1, Update((3, "c"), (3, "x")))]);
    world.wait_for_rows(&[(3, "x"), (4, "x")]).await;
    // The first record of partition 0 is the TRUNCATE.
    back(&mut world, &worker, SeekTo::Earliest, ["x", "y"]).await;
    // Its first event that the position does not contain is behind the TRUNCATE, that of partition 1 in front of it.
    back(&mut world, &worker, SeekTo::Gtid("0-1-1".parse().expect("a position")), ["y", "z"]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_lanes_set_back_in_front_of_a_truncate_are_emptied_again() {
    let (mut world, worker) = applied("backjoin", true).await;
    // Both rows never have one name at a time.
    let outcome = async |world: &mut World, to: SeekTo| {
        world.pipeline("state: paused").await;
        let outcome = seek_part(world, None, to.clone()).await;
        assert_eq!(outcome.state, OutcomeState::Done, "{to}: {outcome:?}");
        world.pipeline("").await;
    };
    let mut names = ["c", "d"];
    for (to, new) in [(SeekTo::Earliest, ["e", "f"]), (SeekTo::Gtid("0-1-1".parse().expect("a position")), ["g", "h"])]
    {
        outcome(&mut world, to).await;
        let last =
            world.publish_at(&[(0, Update((4, names[1]), (4, new[1]))), (1, Update((3, names[0]), (3, new[0])))]);
        names = new;
        world.wait_for_standing(1, |standing| standing.1 >= last).await;
        world.wait_for_rows(&[(3, names[0]), (4, names[1])]).await;
    }
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_set_back_alone_in_front_of_a_truncate_stops_there() {
    let (mut world, worker) = applied("backalone", false).await;
    world.pipeline("state: paused").await;
    let outcome = seek_part(&world, Some(1), SeekTo::Earliest).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    world.pipeline("").await;
    let error = wait_for("it stops", || async {
        let lane = worker.lane_of(1).filter(|lane| lane.state == LaneState::Paused);
        lane.and_then(|lane| lane.error).ok_or_else(|| worker.lanes())
    })
    .await;
    assert_eq!(error.code, "OT5014", "{error:?}");
    assert!(error.message.contains("move all partitions back"), "{error:?}");
    // The way on: all of them.
    world.pipeline("state: paused").await;
    let outcome = seek_part(&world, None, SeekTo::Earliest).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    world.pipeline("").await;
    world.wait_for_rows(&ROWS).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_starts_behind_a_gtid_meets_the_truncate_behind_it() {
    let mut world = World::with_partitions("seeded", 2).await;
    publish(&mut world);
    // Seeded from a dump behind the second transaction: what comes next is the TRUNCATE.
    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (1, 'a'), (2, 'b')")).await;
    world.pipeline("start: {gtid: '0-1-2'}").await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&ROWS).await;
    worker.stop().await;
    world.end().await;
}
