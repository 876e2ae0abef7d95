//! Several consumers of one pipeline in one process.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use apply::Options;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::strain::Strain;
use crate::world::Change::Insert;
use crate::world::{Worker, World, wait_for};

/// Members of the pipeline's group.
fn members(world: &World) -> usize {
    let kafka = std::env::var("OTTER_SERVERS_KAFKA").expect("the servers");
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", kafka).create().expect("a client");
    let group = schemas::names::group(&world.name, "users");
    let list = client.client().fetch_group_list(Some(&group), Duration::from_secs(10)).expect("groups");
    list.groups().iter().map(|group| group.members().len()).sum()
}

async fn wait_for_members(world: &World, count: usize) {
    wait_for(&format!("{count} members"), || async {
        let seen = tokio::task::block_in_place(|| members(world));
        if seen == count { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_a_consumer_for_so_many_partitions() {
    const TABLES: usize = 10;
    let mut world = World::with_tables("handles", TABLES).await;
    world.pipeline_of(0..3, "").await;
    let options = Options { partitions_per_consumer: NonZeroU32::new(4).expect("four"), ..Options::default() };
    let worker = Worker::start_with(&world.name, options).await;
    worker.wait_for_running(3).await;
    wait_for_members(&world, 1).await;

    // More tables while it runs: they reach all consumers, also those that were not there yet.
    world.pipeline_of(0..TABLES, "").await;
    worker.wait_for_running(TABLES).await;
    wait_for_members(&world, 3).await;
    for id in 0..5 {
        world.publish_to_all(Insert((id, "x")));
    }
    let rows: Vec<_> = (0..5).map(|id| (id, "x")).collect();
    for table in 0..TABLES {
        world.wait_for_rows_of(table, &rows).await;
    }
    worker.wait_for_running(TABLES).await;

    // Fewer: a consumer leaves, and the tables go on in the others.
    world.pipeline_of(0..6, "").await;
    wait_for_members(&world, 2).await;
    worker.wait_for_running(6).await;
    world.publish_to_all(Insert((5, "x")));
    let more: Vec<_> = (0..6).map(|id| (id, "x")).collect();
    for table in 0..6 {
        world.wait_for_rows_of(table, &more).await;
    }

    let (stopping, strain) = (Instant::now(), Strain::begin());
    worker.stop().await;
    let took = stopping.elapsed();
    assert!(took < strain.stretched(Duration::from_secs(5)), "stopped after {took:?}");
    wait_for_members(&world, 0).await;
    world.end().await;
}
