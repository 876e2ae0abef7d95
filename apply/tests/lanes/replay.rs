//! Positions set by request: events written a second time end equal, wrong positions are refused with what there is.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::moment::Moment;
use schemas::request::{Outcome, OutcomeState, PipelineAction, PipelineRequest, SeekTo, Ticket};
use schemas::status::LaneState;

use crate::world::Change::{self, Delete, Insert, Update};
use crate::world::{Worker, World, wait_for};

/// Asks for a position of the first table and waits for the answer.
async fn seek(world: &World, to: SeekTo) -> Outcome {
    seek_part(world, None, to).await
}

/// The same for one partition.
pub(crate) async fn seek_part(world: &World, partition: Option<i32>, to: SeekTo) -> Outcome {
    let id = format!("{:016x}", rand::random::<u64>());
    let action = PipelineAction::Seek { table: Some("shop.tb_user".into()), partition, to };
    let request = PipelineRequest { id: id.clone(), by: "test".into(), time: Moment::now(), action };
    let requests = world.coordination.requests();
    requests.submit("users", &request).await.expect("submitted");
    wait_for("the answer", || async {
        let ticket: Ticket<PipelineAction> = requests.read("users").await.expect("read").expect("a request");
        assert_eq!(ticket.request.id, id);
        if ticket.is_open() { Err(ticket) } else { Ok(ticket.outcome.expect("an answer")) }
    })
    .await
}

/// Moves the first table while the pipeline is paused, and lets it go on.
pub(crate) async fn replay_from(world: &mut World, to: SeekTo, more: &str) -> Outcome {
    world.pipeline("state: paused").await;
    let outcome = seek(world, to).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    world.pipeline(more).await;
    outcome
}

/// Rewritten, restored, removed, missing.
async fn counts(world: &mut World) -> (i64, i64, i64, i64) {
    let sql = "SELECT replay_rewritten, replay_restored, replay_removed, replay_missing FROM progress";
    world.first(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_moved_back_writes_again_and_is_strict_behind_the_old_position() {
    let mut world = World::new("replay").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((2, "b"))]);
    world.publish(&[Insert((2, "b2")), Delete((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (2, "b2")]).await;
    // Three, a control record, two, a control record, two.
    world.wait_for_offset(10).await;
    // What somebody spoiled at the target is repaired, but only for rows whose events come again.
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.tb_user2 SET name = 'spoiled' WHERE id = 1")).await;
    world.run(&format!("DELETE FROM `{schema}`.tb_user2 WHERE id = 2")).await;
    let outcome = replay_from(&mut world, SeekTo::Earliest, "").await;
    let detail = &outcome.details[0];
    assert_eq!((detail["from"].as_i64(), detail["to"].as_i64()), (Some(10), Some(0)), "{detail}");
    assert_eq!(detail["at"]["gtid"], "0-1-1", "{detail}");
    world.wait_for_rows(&[(1, "A"), (2, "b2")]).await;
    world.wait_for_offset(10).await;
    let (rewritten, restored, removed, missing) = counts(&mut world).await;
    assert!(rewritten >= 1 && restored >= 1, "{:?}", (rewritten, restored, removed, missing));
    // Strict again: an insert of a row that is there pauses the lane.
    world.publish(&[Insert((2, "again"))]);
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    assert_eq!(lane.error.expect("an error").code, "OT5005");
    assert!(!lane.replaying);
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_found_by_offset_time_and_gtid() {
    let mut world = World::new("positions").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    let mut moments = Vec::new();
    for id in 1..=30 {
        // So that each transaction has a millisecond of its own.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        moments.push(Moment::now());
        world.publish(&[Insert((id, "x"))]);
    }
    world.wait_for_offset(60).await;
    world.pipeline("state: paused").await;
    for (to, offset) in [
        (SeekTo::Earliest, 0),
        (SeekTo::Latest, 60),
        (SeekTo::Offset(24), 24),
        (SeekTo::Timestamp(moments[7]), 14),
        (SeekTo::Timestamp(Moment::from_ms(0)), 0),
        (SeekTo::Timestamp(Moment::from_ms(i64::MAX)), 60),
        (SeekTo::Gtid("0-1-20".parse().expect("a position")), 40),
        (SeekTo::Gtid("7-1-20".parse().expect("a position")), 0),
        (SeekTo::Gtid("0-1-99".parse().expect("a position")), 60),
    ] {
        let outcome = seek(&world, to.clone()).await;
        assert_eq!(outcome.state, OutcomeState::Done, "{to}: {outcome:?}");
        assert_eq!(outcome.details[0]["to"].as_i64(), Some(offset), "{to}: {outcome:?}");
        assert_eq!(world.progress().await.0, offset, "{to}");
        assert_eq!(world.owner().await, "");
    }
    // The last move was from 0 to the end, over all 30 events.
    let outcome = seek(&world, SeekTo::Offset(20)).await;
    assert_eq!(outcome.details[0]["replays"], true, "{outcome:?}");
    let outcome = seek(&world, SeekTo::Offset(24)).await;
    assert_eq!(outcome.details[0]["skipped"], 2, "{outcome:?}");

    world.delete_records_before(10).await;
    for wrong in [61, 9, -1] {
        let outcome = seek(&world, SeekTo::Offset(wrong)).await;
        assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some("OT5012")), "{outcome:?}");
        let there = &outcome.details[0];
        assert_eq!((there["low_offset"].as_i64(), there["end_offset"].as_i64()), (Some(10), Some(60)), "{there}");
        assert_eq!((&there["oldest"]["gtid"], &there["newest"]["gtid"]), (&"0-1-6".into(), &"0-1-30".into()));
    }
    assert_eq!(world.progress().await.0, 24, "a refusal moves nothing");
    world.pipeline("").await;
    let outcome = seek(&world, SeekTo::Earliest).await;
    assert_eq!((outcome.state, outcome.code.as_deref()), (OutcomeState::Refused, Some("OT5013")), "{outcome:?}");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_unique_key_and_swaps_end_equal() {
    let mut world = World::new("swaps").await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 ADD UNIQUE (name)")).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    // A swap by way of a third value, a value handed on, a row that goes and comes with another's.
    world.publish(&[Update((1, "a"), (1, "-")), Update((2, "b"), (2, "a")), Update((1, "-"), (1, "b"))]);
    world.publish(&[Delete((3, "c")), Insert((4, "c"))]);
    world.publish(&[Update((4, "c"), (4, "d")), Insert((3, "c"))]);
    let rows = [(1, "b"), (2, "a"), (3, "c"), (4, "d")];
    world.wait_for_rows(&rows).await;
    world.wait_for_offset(14).await;
    for from in [0, 1, 2, 4, 6, 8, 9, 11] {
        for batch in ["", "apply: {batch: {rows: 1}}"] {
            replay_from(&mut world, SeekTo::Offset(from), batch).await;
            world.wait_for_offset(14).await;
            world.wait_for_rows(&rows).await;
        }
    }
    world.publish(&[Insert((5, "e"))]);
    world.wait_for_rows(&[(1, "b"), (2, "a"), (3, "c"), (4, "d"), (5, "e")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_not_mapped_survive_a_replay() {
    let mut world = World::new("unmapped").await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 ADD note varchar(20) DEFAULT 'none'")).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A"))]);
    world.wait_for_offset(5).await;
    world.run(&format!("UPDATE `{schema}`.tb_user2 SET note = 'kept'")).await;
    replay_from(&mut world, SeekTo::Earliest, "").await;
    world.wait_for_offset(5).await;
    world.wait_for_rows(&[(1, "A"), (2, "b")]).await;
    let kept: (i64,) = world.first("SELECT COUNT(*) FROM tb_user2 WHERE note = 'kept'").await;
    assert_eq!(kept, (2,));
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_targets_of_a_list_are_replayed() {
    let mut world = World::new("list").await;
    let schema = world.schema();
    world.run(&format!("CREATE TABLE `{schema}`.copy (name varchar(200) UNIQUE, id int PRIMARY KEY)")).await;
    let list = format!("mappings: [{{from: shop.tb_user, to: [{schema}.tb_user2, {schema}.copy]}}]");
    let put = async |world: &World, state: &str| {
        let head = "kind: pipeline\nname: users\nsource: shop\ntarget: report";
        world.put(&format!("{head}\n{list}\nstate: {state}\n")).await;
    };
    put(&world, "running").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b")), Insert((3, "c"))]);
    world.publish(&[Update((1, "a"), (1, "-")), Update((2, "b"), (2, "a")), Delete((3, "c"))]);
    world.wait_for_offset(8).await;
    // Each is spoiled in its own way; the copy has what the other must not have, by its second unique key.
    world.run(&format!("DELETE FROM `{schema}`.tb_user2 WHERE id = 1")).await;
    world.run(&format!("UPDATE `{schema}`.copy SET name = 'c' WHERE id = 2")).await;
    put(&world, "paused").await;
    let outcome = seek(&world, SeekTo::Earliest).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    put(&world, "running").await;
    world.wait_for_offset(8).await;
    world.wait_for_rows(&[(1, "-"), (2, "a")]).await;
    let copy: (String,) = world.first("SELECT GROUP_CONCAT(id, name ORDER BY id) FROM copy").await;
    assert_eq!(copy.0, "1-,2a");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_carried_out_but_not_answered_is_answered_from_the_rows() {
    let mut world = World::new("twice").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a"))]);
    world.wait_for_offset(2).await;
    worker.stop().await;
    world.pipeline("state: paused").await;
    // As a worker that was killed between its transaction and its answer leaves it.
    let requests = world.coordination.requests();
    let action = PipelineAction::Seek { table: None, partition: None, to: SeekTo::Earliest };
    let request = PipelineRequest { id: "r1".into(), by: "test".into(), time: Moment::now(), action };
    requests.submit("users", &request).await.expect("submitted");
    requests.take::<PipelineAction>("users", "killed").await.expect("taken").expect("open");
    let schema = world.schema();
    world.run(&format!("UPDATE `{schema}`.progress SET next_offset = 1, request_id = 'r1', replay_until = 2")).await;
    let worker = Worker::start(&world.name).await;
    let outcome = wait_for("the answer", || async {
        let ticket: Ticket<PipelineAction> = requests.read("users").await.expect("read").expect("a request");
        if ticket.is_open() { Err(ticket) } else { Ok(ticket.outcome.expect("an answer")) }
    })
    .await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    assert_eq!(world.progress().await.0, 1, "moved once");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_reset_backwards_is_replayed_until_its_old_position() {
    let mut world = World::new("generation").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((2, "b"))]);
    world.publish(&[Insert((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c")]).await;
    // Once more from the first transaction on, with ordinals that begin again.
    world.reset(1);
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((2, "b"))]);
    world.publish(&[Insert((3, "c"))]);
    world.publish(&[Insert((4, "d"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c"), (4, "d")]).await;
    let lane = wait_for("the replay is over", || async {
        worker.lane().filter(|lane| !lane.replaying).ok_or_else(|| worker.lane())
    })
    .await;
    assert_eq!(lane.state, LaneState::Running, "{lane:?}");
    // A lane that begins at the oldest event meets both generations.
    replay_from(&mut world, SeekTo::Earliest, "").await;
    world.publish(&[Update((4, "d"), (4, "D"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c"), (4, "D")]).await;
    // Strict again.
    world.publish(&[Insert((4, "again"))]);
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    assert_eq!(lane.error.expect("an error").code, "OT5005");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_reset_again_while_a_lane_replays_is_replayed_as_far_as_the_lane_had_come() {
    let mut world = World::new("twogenerations").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((2, "b"))]);
    world.publish(&[Insert((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c")]).await;
    world.reset(1);
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c")]).await;
    world.reset(2);
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A")), Delete((2, "b"))]);
    world.publish(&[Insert((3, "c"))]);
    world.publish(&[Insert((4, "d"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c"), (4, "d")]).await;
    let lane = wait_for("the replay is over", || async {
        worker.lane().filter(|lane| !lane.replaying).ok_or_else(|| worker.lane())
    })
    .await;
    assert_eq!(lane.state, LaneState::Running, "{lane:?}");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_by_gtid_passes_over_what_the_target_was_seeded_with() {
    let mut world = World::new("seeded").await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.publish(&[Update((1, "a"), (1, "A"))]);
    // Seeded behind the second transaction.
    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (1, 'A'), (2, 'b')")).await;
    world.pipeline("start: {gtid: 0-1-3}").await;
    let worker = Worker::start(&world.name).await;
    worker.wait_for_lane(LaneState::Running).await;
    // Published only now, and still in the set; applied, it would be a missing row.
    world.publish(&[Delete((9, "x"))]);
    world.publish(&[Delete((2, "b")), Insert((3, "c"))]);
    world.wait_for_rows(&[(1, "A"), (3, "c")]).await;
    worker.stop().await;
    let kept: (Option<String>,) = world.first("SELECT start_gtid FROM progress").await;
    assert_eq!(kept.0.as_deref(), Some("0-1-3"), "honoured after a restart too");
    let worker = Worker::start(&world.name).await;
    for id in 0..1001 {
        world.publish(&[Insert((100 + id, "x"))]);
    }
    worker.wait_for_events(1001).await;
    let kept: (Option<String>,) = world.first("SELECT start_gtid FROM progress").await;
    assert_eq!(kept.0, None, "nothing of it can come any more");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_by_time_begins_with_the_first_event_then() {
    let mut world = World::new("timed").await;
    world.publish(&[Insert((1, "old"))]);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let moment = Moment::now();
    world.publish(&[Insert((2, "new"))]);
    world.wait_for_markers().await;
    world.pipeline(&format!("start: {{timestamp: \"{moment}\"}}")).await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&[(2, "new")]).await;
    worker.stop().await;
    world.end().await;
}

/// A change that fits what is there: ids 1 to 6, names unique.
fn change(random: &mut StdRng, rows: &mut BTreeMap<i32, &'static str>) -> Change {
    const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let id = random.random_range(1..=6);
    let free: Vec<&'static str> = NAMES.into_iter().filter(|name| rows.values().all(|used| used != name)).collect();
    let name = free[random.random_range(0..free.len())];
    match rows.get(&id).copied() {
        None => {
            rows.insert(id, name);
            Insert((id, name))
        }
        Some(old) if random.random_bool(0.3) => {
            rows.remove(&id);
            Delete((id, old))
        }
        Some(old) => {
            rows.insert(id, name);
            Update((id, old), (id, name))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_replayed_from_a_random_point_is_equal() {
    let seed = std::env::var("OTTER_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTER_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new("history").await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 ADD UNIQUE (name)")).await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    let (mut rows, mut end) = (BTreeMap::new(), 0);
    for round in 0..6 {
        for _ in 0..15 {
            let changes: Vec<Change> =
                (0..random.random_range(1..=4)).map(|_| change(&mut random, &mut rows)).collect();
            end += i64::try_from(changes.len()).expect("few") + 1;
            world.publish(&changes);
        }
        let wanted: Vec<(i32, &'static str)> = rows.iter().map(|(id, name)| (*id, *name)).collect();
        world.wait_for_offset(end).await;
        world.wait_for_rows(&wanted).await;
        let batch = if round % 2 == 0 { "" } else { "apply: {batch: {rows: 1}}" };
        replay_from(&mut world, SeekTo::Offset(random.random_range(0..end)), batch).await;
        world.wait_for_offset(end).await;
        world.wait_for_rows(&wanted).await;
    }
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_goes_elsewhere_begins_there_at_its_start() {
    let mut world = World::new("elsewhere").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    let schema = world.schema();
    for copy in ["copy", "copy2"] {
        world.run(&format!("CREATE TABLE `{schema}`.{copy} LIKE `{schema}`.tb_user2")).await;
    }
    let document = |to: &str, start: &str| {
        let mapping = format!("{{from: shop.tb_user, to: {to}{start}}}");
        format!("kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{mapping}]\n")
    };
    // Stored without the checks of a put, as after a mapping that was taken out in between.
    world.put(&document(&format!("{schema}.copy"), "")).await;
    let lane = worker.wait_for_lane(LaneState::Paused).await;
    assert_eq!(lane.error.expect("an error").code, "OT1033");
    world.publish(&[Insert((3, "c"))]);
    world.put(&document(&format!("{schema}.copy"), ", start: earliest")).await;
    let count = |table: &str| format!("SELECT COUNT(*) FROM `{schema}`.{table}");
    wait_for_count(&mut world, &count("copy"), 3).await;
    assert_eq!(world.rows().await.len(), 2, "the old one stays");
    // One that stays in the list is replayed, one that comes begins empty; then strict at both.
    world.put(&document(&format!("[{schema}.copy, {schema}.copy2]"), ", start: earliest")).await;
    wait_for_count(&mut world, &count("copy2"), 3).await;
    world.publish(&[Insert((4, "d"))]);
    wait_for_count(&mut world, &count("copy2"), 4).await;
    wait_for_count(&mut world, &count("copy"), 4).await;
    // Leaving one out asks for nothing and begins nothing anew. The lane hears of it amid events; from the claim on that takes
    // the table out of the progress row nothing more goes there.
    world.put(&document(&format!("{schema}.copy2"), "")).await;
    let (mut last, until) = (4, std::time::Instant::now() + std::time::Duration::from_secs(60));
    let left = loop {
        last += 1;
        world.publish(&[Insert((last, "e"))]);
        // One statement, so both are of the same moment.
        let sql = "SELECT targets LIKE '%copy\"%', (SELECT COUNT(*) FROM copy) FROM progress";
        let (named, rows): (bool, i64) = world.first(sql).await;
        if !named {
            break rows;
        }
        assert!(std::time::Instant::now() < until, "the lane does not hear of it");
    };
    for _ in 0..20 {
        last += 1;
        world.publish(&[Insert((last, "e"))]);
    }
    wait_for_count(&mut world, &count("copy2"), i64::from(last)).await;
    assert_eq!(world.first::<i64>(&count("copy")).await, left, "of {last} events");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_stays_in_a_list_misses_nothing() {
    let mut world = World::new("stays").await;
    world.pipeline("").await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((1, "a")), Insert((2, "b"))]);
    world.wait_for_rows(&[(1, "a"), (2, "b")]).await;
    let schema = world.schema();
    world.run(&format!("CREATE TABLE `{schema}`.copy LIKE `{schema}`.tb_user2")).await;
    worker.stop().await;
    world.publish(&[Insert((3, "c")), Insert((4, "d"))]);
    world.wait_for_markers().await;
    let to = format!("[{schema}.tb_user2, {schema}.copy]");
    let document = |start: &str| {
        let mapping = format!("{{from: shop.tb_user, to: {to}, start: {start}}}");
        format!("kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{mapping}]\n")
    };
    world.put(&document("{gtid: 0-1-1}")).await;
    let worker = Worker::start(&world.name).await;
    assert_eq!(worker.wait_for_lane(LaneState::Paused).await.error.expect("an error").code, "OT1033");
    // The start is behind the position: what is between both is written to both.
    world.put(&document("latest")).await;
    world.wait_for_rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    let count = format!("SELECT COUNT(*) FROM `{schema}`.copy");
    wait_for_count(&mut world, &count, 2).await;
    // Claimed again, the same start is not gone to again.
    worker.stop().await;
    let worker = Worker::start(&world.name).await;
    world.publish(&[Insert((5, "e"))]);
    wait_for_count(&mut world, &count, 3).await;
    worker.stop().await;
    world.end().await;
}

async fn wait_for_count(world: &mut World, count: &str, wanted: i64) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let seen: i64 = world.first(count).await;
        if seen == wanted {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{count}: {seen}, not {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
