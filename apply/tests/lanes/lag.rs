//! What ordinary lag tools see: the group's committed offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::world::Change::{Insert, Update};
use crate::world::{Worker, World, wait_for};

const PARTITIONS: i32 = 3;
const WAIT: Duration = Duration::from_secs(10);

/// The committed offset of each partition, and its end.
fn seen_by_a_plain_client(group: &str, topic: &str) -> BTreeMap<i32, (Option<i64>, i64)> {
    let kafka = std::env::var("OTTER_SERVERS_KAFKA").expect("the servers");
    let config = ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", group).clone();
    let client: BaseConsumer = config.create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, PARTITIONS - 1);
    let committed = client.committed_offsets(list, WAIT).expect("offsets");
    let of = |partition| client.fetch_watermarks(topic, partition, WAIT).expect("the ends").1;
    committed.elements().iter().map(|e| (e.partition(), (e.offset().to_raw(), of(e.partition())))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_offsets_are_those_of_the_progress() {
    let mut world = World::with_partitions("lag", PARTITIONS).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    for id in 0..10 {
        world.publish_at(&[(0, Insert((id, "x"))), (id % 2, Insert((100 + id, "x")))]);
    }
    world.publish_at(&[(0, Update((0, "x"), (0, "y")))]);
    let group = schemas::names::group(&world.name, "users");
    let topic = world.topic.clone();
    let standing = |world: Vec<(String, i32, i64)>| world.into_iter().map(|(_, p, offset)| (p, offset)).collect();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let progress: BTreeMap<i32, i64> = standing(world.standings().await);
        let (group, topic) = (group.clone(), topic.clone());
        let seen = tokio::task::spawn_blocking(move || seen_by_a_plain_client(&group, &topic)).await.expect("no panic");
        // The third partition has no record: there is nothing to commit, and no lag.
        let fits = |(partition, (committed, end)): (&i32, &(Option<i64>, i64))| {
            let at_end = progress.get(partition) == Some(end);
            at_end && (*committed == Some(*end) || (*end == 0 && committed.is_none_or(|offset| offset <= 0)))
        };
        if seen.len() == 3 && seen.iter().all(fits) {
            println!("progress {progress:?}, the group's offsets and ends {seen:?}");
            break;
        }
        assert!(std::time::Instant::now() < until, "progress {progress:?}, the group's offsets and ends {seen:?}");
    }
    wait_for("the status shows every lane at its end", || async {
        let lanes = worker.lanes();
        let at_end =
            |lane: &schemas::status::LaneStatus| lane.next_offset.is_some() && lane.next_offset == lane.end_offset;
        if lanes.len() == 3 && lanes.iter().all(at_end) { Ok(()) } else { Err(lanes) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}
