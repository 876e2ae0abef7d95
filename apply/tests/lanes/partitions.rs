//! Topics of several partitions: a lane for each.

use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Worker, World};

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_is_a_lane() {
    let mut world = World::with_partitions("several", 3).await;
    world.pipeline("").await;
    world.publish_at(&[(0, Insert((1, "a"))), (2, Insert((2, "b"))), (2, Insert((3, "c")))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    let last = world.publish_at(&[(0, Update((1, "a"), (1, "A"))), (1, Insert((4, "d"))), (2, Delete((2, "b")))]);
    world.wait_for_rows(&[(1, "A"), (3, "c"), (4, "d")]).await;
    assert_eq!(worker.lanes().iter().map(|lane| lane.partition).collect::<Vec<_>>(), [0, 1, 2]);
    world.wait_for_standing(0, |at| at == (4, last - 20, None)).await;
    world.wait_for_standing(1, |at| at == (2, last - 10, None)).await;
    world.wait_for_standing(2, |at| at == (5, last, None)).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_begins_at_the_end_knows_the_ordinal_before() {
    let mut world = World::with_partitions("begins", 2).await;
    world.publish_at(&[(0, Insert((1, "a"))), (0, Insert((2, "b")))]);
    world.wait_for_markers().await;
    world.pipeline("start: latest").await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_standing(0, |at| at == (3, 20, None)).await;
    world.wait_for_standing(1, |at| at == (0, -1, None)).await;
    worker.stop().await;
    world.end().await;
}
