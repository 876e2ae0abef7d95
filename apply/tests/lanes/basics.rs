//! Rows arrive, once, wherever workers stop and start.

use schemas::status::LaneState;

use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Worker, World, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_and_the_progress_passes_control_records() {
    let mut world = World::new("arrive").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    world.publish_all(&[&[Update((1, "a"), (1, "A")), Delete((2, "b"))], &[Insert((4, "d"))]]);
    world.wait_for_rows(&[(1, "A"), (3, "c"), (4, "d")]).await;
    // Three rows and a control record, three rows and a control record.
    world.wait_for_offset(8).await;
    let lane = worker.wait_for_events(6).await;
    assert_eq!((lane.rows, lane.counters.repeats), (6, 0), "{lane:?}");
    let caught_up = wait_for("the lane shows that it is at the end", || async {
        worker.lane().filter(|l| l.next_offset == Some(8) && l.end_offset == Some(8)).ok_or_else(|| worker.lane())
    })
    .await;
    assert!(caught_up.lag_ms.is_some_and(|lag| lag < 30_000), "{caught_up:?}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &worker.metrics).expect("metrics");
    assert!(
        text.contains(&format!(
            "otter_apply_events_total{{pipeline=\"users\",topic=\"{}\",partition=\"0\"}} 6",
            world.topic
        )),
        "{text}"
    );
    worker.stop().await;
    assert_eq!(world.progress().await, (8, 60));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_exactly() {
    let mut world = World::new("restart").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a")]).await;
    worker.stop().await;
    // A row applied twice would be a duplicate key and pause the lane.
    world.publish(&[Insert((2, "b"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    let lane = worker.wait_for_events(1).await;
    assert_eq!(lane.rows, 1, "{lane:?}");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_dropped_and_counted() {
    let mut world = World::new("repeats").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.repeat(Insert((1, "a")), 10);
    world.repeat(Insert((2, "b")), 20);
    world.publish(&[Insert((3, "c"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    let lane = worker.wait_for_events(3).await;
    assert_eq!((lane.rows, lane.counters.repeats), (3, 2), "{lane:?}");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_takes_over() {
    let mut world = World::new("takeover").await;
    world.pipeline("").await;
    let first = Worker::start(&world.name).await;
    first.wait_for_lane(LaneState::Running).await;
    let second = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a"))]);
    world.wait_for_rows(&[(1, "a")]).await;
    first.stop().await;
    world.publish(&[Insert((2, "b"))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    assert!(second.lane().is_some());
    second.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_lanes() {
    let mut world = World::with_tables("share", 4).await;
    world.pipeline("").await;
    let (first, second) = (Worker::start(&world.name).await, Worker::start(&world.name).await);
    wait_for("each has two lanes", || async {
        let counts = (first.lanes().len(), second.lanes().len());
        if counts == (2, 2) { Ok(()) } else { Err(counts) }
    })
    .await;
    for table in 0..4 {
        world.publish_to(table, &[Insert((1, "a"))]);
        world.wait_for_rows_of(table, &[(1, "a")]).await;
    }
    first.stop().await;
    for table in 0..4 {
        world.publish_to(table, &[Update((1, "a"), (1, "b"))]);
        world.wait_for_rows_of(table, &[(1, "b")]).await;
    }
    second.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_begins_with_what_comes() {
    let mut world = World::new("latest").await;
    world.publish(&[Insert((1, "old"))]);
    world.wait_for_markers().await;
    world.pipeline("start: latest").await;
    let worker = Worker::start(&world.name).await;
    worker.wait_for_lane(LaneState::Running).await;
    world.publish(&[Insert((2, "new"))]);
    world.wait_for_rows(&[(2, "new")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_later_is_followed() {
    let mut world = World::without_topics("later", 1).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.create_topic(&world.topic, 1).await;
    world.publish(&[Insert((1, "a"))]);
    world.wait_for_rows(&[(1, "a")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pipeline_stands_still_and_goes_on() {
    let mut world = World::new("pause").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a")]).await;
    world.pipeline("state: paused").await;
    wait_for("the pipeline is paused", || async {
        let pipelines = worker.board.snapshot().pipelines;
        let paused = schemas::status::PipelineState::Paused;
        if pipelines.iter().any(|p| p.state == paused && p.lanes.is_empty()) { Ok(()) } else { Err(pipelines) }
    })
    .await;
    world.publish(&[Insert((2, "b"))]);
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_applied_in_order() {
    let mut world = World::new("backlog").await;
    world.pipeline("").await;
    // Each row goes through a chain of updates in which every step needs the one before.
    let name = |cycle: i32| if cycle % 2 == 0 { "even" } else { "odd" };
    let mut changes = Vec::new();
    for cycle in 0..40 {
        for id in 0..500 {
            let after = (id, name(cycle));
            changes.push(if cycle == 0 { Insert(after) } else { Update((id, name(cycle - 1)), after) });
        }
    }
    let transactions: Vec<&[_]> = changes.chunks(7).collect();
    for transactions in transactions.chunks(100) {
        world.publish_all(transactions);
    }
    let worker = Worker::start(&world.name).await;
    world.wait_for_offset(20_000).await;
    let lane = worker.wait_for_events(20_000).await;
    assert_eq!(lane.rows, 20_000, "{lane:?}");
    let rows = world.rows().await;
    assert_eq!(rows.len(), 500);
    assert!(rows.iter().all(|(_, name)| name == "odd"), "{rows:?}");
    worker.stop().await;
    world.end().await;
}
