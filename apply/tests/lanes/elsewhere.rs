//! A topic in the place of one that was deleted: a lane that is moved into it writes what comes, and nothing of it twice.

use schemas::request::SeekTo;
use schemas::status::LaneState;

use crate::replay::replay_from;
use crate::trouble::paused;
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Worker, World};

/// A lane that has applied some changes of a topic that was deleted and made again since.
async fn left_behind(test: &str) -> (World, Worker) {
    let mut world = World::new(test).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (2, "b")]).await;
    worker.stop().await;
    world.delete_topic().await;
    world.create_topic(&world.topic, 1).await;
    let worker = Worker::start(&world.name).await;
    paused(&worker, "OT4003", &["made again"]).await;
    (world, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_in_another_topic_is_written_strictly() {
    let (mut world, worker) = left_behind("goes_on").await;
    // Published by a transaction whose end was not seen: once to the old topic, once to the new one.
    let (_, applied) = world.progress().await;
    world.repeat(Update((1, "a"), (1, "A")), applied - 1);
    world.repeat(Delete((3, "c")), applied);
    world.publish(&[Insert((4, "d"))]);
    let outcome = replay_from(&mut world, SeekTo::Earliest, "").await;
    assert_eq!((&outcome.details[0]["replays"], &outcome.details[0]["skipped"]), (&false.into(), &0.into()));
    world.wait_for_rows(&[(1, "A"), (2, "b"), (4, "d")]).await;
    world.publish(&[Insert((4, "again"))]);
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    assert_eq!(lane.error.expect("an error").code, "OT5005");
    worker.stop().await;
    world.end().await;
}

/// Capture was reset to before the loss: the new topic begins with a later generation, of which the lane has applied some.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_again_into_another_topic_is_written_again() {
    let (mut world, worker) = left_behind("again").await;
    world.reset(1);
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((3, "c"))]);
    world.publish(&[Insert((4, "d")), Update((2, "b"), (2, "B"))]);
    let outcome = replay_from(&mut world, SeekTo::Earliest, "").await;
    assert_eq!(outcome.details[0]["replays"], true, "{outcome:?}");
    world.wait_for_rows(&[(1, "A"), (2, "B"), (4, "d")]).await;
    // Behind what the topic held then it is strict again.
    world.publish(&[Insert((4, "again"))]);
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    assert_eq!(lane.error.expect("an error").code, "OT5005");
    assert!(!lane.replaying);
    worker.stop().await;
    world.end().await;
}
