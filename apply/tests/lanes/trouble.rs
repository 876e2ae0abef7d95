//! What stops a lane, what is said about it, and what makes it go on.

use schemas::status::{LaneState, LaneStatus};

use crate::world::Change::{Insert, Update};
use crate::world::{Worker, World, wait_for};

/// Waits for a paused lane and compares its code and what its message must hold.
pub(crate) async fn paused(worker: &Worker, code: &str, words: &[&str]) -> LaneStatus {
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    let error = lane.error.clone().expect("an error");
    assert_eq!(error.code, code, "{error:?}");
    assert!(words.iter().all(|word| error.message.contains(word)), "{words:?} in {:?}", error.message);
    lane
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_pauses_its_lane_alone_until_the_document_is_put_again() {
    let mut world = World::with_tables("missing", 2).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Update((7, "x"), (7, "y")), Insert((3, "c"))]);
    let lane = paused(&worker, "OT5004", &["id=7", "offset 2"]).await;
    assert_eq!(lane.next_offset, Some(2));
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    world.publish_to(1, &[Insert((1, "other"))]);
    world.wait_for_rows_of(1, &[(1, "other")]).await;
    wait_for("the paused lane shows how far it is behind", || async {
        worker.lane().filter(|l| l.end_offset == Some(5)).map(drop).ok_or_else(|| worker.lane())
    })
    .await;

    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (7, 'x')")).await;
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (7, "y")]).await;
    let lane = worker.wait_for_events(4).await;
    assert_eq!((lane.error, lane.rows), (None, 4));
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_lets_the_lane_go_on() {
    let mut world = World::new("policy").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Update((7, "x"), (7, "y")), Insert((3, "c"))]);
    paused(&worker, "OT5004", &["id=7"]).await;
    world.pipeline("apply: {missing_row: ignore}").await;
    world.wait_for_rows(&[(3, "c")]).await;
    let lane = worker.wait_for_events(1).await;
    assert_eq!(lane.counters.missing, 1, "{lane:?}");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_table_that_was_dropped_is_made_again_when_somebody_says_so() {
    let mut world = World::new("dropped").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a"))]);
    world.wait_for_rows(&[(1, "a")]).await;
    let schema = world.schema();
    world.run(&format!("DROP TABLE `{schema}`.progress")).await;
    world.publish(&[Insert((2, "b"))]);
    paused(&worker, "OT5003", &["progress"]).await;
    world.pipeline("apply: {existing_row: overwrite}").await;
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_offsets_are_named() {
    let mut world = World::new("lost").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a")]).await;
    world.wait_for_offset(2).await;
    worker.stop().await;
    world.publish(&[Insert((2, "b")), Insert((3, "c"))]);
    world.delete_records_before(4).await;
    let worker = Worker::start(&world.name).await;
    paused(&worker, "OT4004", &["2 to 3", &world.topic]).await;
    assert_eq!(world.rows().await, [(1, "a".to_owned())]);
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_lost_under_a_running_lane_are_named() {
    let mut world = World::new("under").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a")]).await;
    world.wait_for_offset(2).await;
    // The progress goes back to what is not in the topic any more: a target restored from a backup that is too old.
    world.delete_records_before(2).await;
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.progress SET next_offset = 0, ordinal = -1")).await;
    world.publish(&[Insert((2, "b"))]);
    paused(&worker, "OT4004", &["0 to 1"]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_stops_the_lane() {
    let mut world = World::new("anew").await;
    world.pipeline("").await;
    world.publish(&[Insert((1, "a"))]);
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(1, "a")]).await;
    worker.stop().await;
    world.delete_topic().await;
    world.create_topic(&world.topic, 1).await;
    let worker = Worker::start(&world.name).await;
    paused(&worker, "OT4003", &["made again"]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_event_pauses_the_lane_there() {
    let mut world = World::new("garbage").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a"))]);
    world.publish_garbage();
    paused(&worker, "OT4006", &["offset 2"]).await;
    world.wait_for_rows(&[(1, "a")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_restored_from_a_backup_is_applied_again_from_there() {
    let mut world = World::new("restored").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A"))]);
    world.wait_for_rows(&[(1, "A"), (2, "b")]).await;
    let schema = world.schema();
    world
        .run(&format!(
            "START TRANSACTION; UPDATE `{schema}`.progress SET next_offset = 0, ordinal = -1; \
             DELETE FROM `{schema}`.tb_user2; COMMIT"
        ))
        .await;
    world.publish(&[Insert((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (2, "b"), (3, "c")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_survives_the_loss_of_its_connections() {
    let mut world = World::new("killed").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    let names = ["even", "odd"];
    for id in 0..50 {
        world.publish(&[Insert((id, names[0])), Update((id, names[0]), (id, names[1]))]);
        if id % 5 == 0 {
            world.kill_connections().await;
        }
    }
    let rows: Vec<_> = (0..50).map(|id| (id, names[1])).collect();
    world.wait_for_rows(&rows).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_fit_are_said_so_and_followed_when_they_do() {
    let mut world = World::new("documents").await;
    world.put("kind: pipeline\nname: users\nsource: nowhere\ntarget: report\nmappings: [{from: a.b, to: c.d}]\n").await;
    let worker = Worker::start(&world.name).await;
    wait_for("the pipeline says what is missing", || async {
        let pipelines = worker.board.snapshot().pipelines;
        let says = |e: &schemas::status::ErrorStatus| e.code == "OT1006" && e.message.contains("nowhere");
        if pipelines.iter().any(|p| p.error.as_ref().is_some_and(says)) { Ok(()) } else { Err(pipelines) }
    })
    .await;
    world.publish(&[Insert((1, "a"))]);
    world.pipeline("").await;
    world.wait_for_rows(&[(1, "a")]).await;
    worker.stop().await;
    world.end().await;
}
