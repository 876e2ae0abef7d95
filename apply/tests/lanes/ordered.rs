//! Tables that keep their order among each other, under the foreign keys of the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schemas::barrier::BarrierKind;
use schemas::request::{OutcomeState, SeekTo};
use schemas::status::{ErrorStatus, LaneState};

use crate::frozen::Process;
use crate::replay::seek_part;
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{MARIADB, MYSQL, Row, Worker, World, wait_for};

pub(crate) const ORDERED: &str = "apply: {foreign_keys: ordered}";

/// The second table's rows belong to rows of the first.
pub(crate) async fn with_key(world: &mut World) {
    let schema = world.schema();
    world
        .run(&format!(
            "ALTER TABLE `{schema}`.tb_user2_1 ADD FOREIGN KEY (id) REFERENCES `{schema}`.tb_user2 (id) ON DELETE CASCADE"
        ))
        .await;
}

/// Looks for children without parents, which a table whose keys are not checked would show, until the end.
pub(crate) fn watch(world: &World, target: &str) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let (schema, address) = (world.schema(), std::env::var(target).expect("a target"));
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let watching = tokio::spawn(async move {
        let mut connection = mysql_async::Conn::from_url(format!("mysql://root@{address}/")).await.expect("connected");
        let mut looks = 0;
        while !ended.load(Ordering::Relaxed) {
            let sql = format!(
                "SELECT COUNT(*) FROM `{schema}`.tb_user2_1 c LEFT JOIN `{schema}`.tb_user2 p ON p.id = c.id WHERE p.id IS NULL"
            );
            let alone: Option<u64> =
                mysql_async::prelude::Queryable::query_first(&mut connection, sql).await.expect("a count");
            assert_eq!(alone, Some(0), "children without parents");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        looks
    });
    (end, watching)
}

async fn families(test: &str, target: &str) {
    let mut world = World::with_tables_on(test, 2, target).await;
    with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let (end, watching) = watch(&world, target);
    // Much is there before the first worker comes: all parents' topic could be read before the children's, or after.
    let mut rows: Vec<Row> = Vec::new();
    for id in 0..40 {
        world.publish_to(0, &[Insert((id, "p"))]);
        world.publish_to(1, &[Insert((id, "p"))]);
        rows.push((id, "p"));
    }
    let mut workers = vec![Process::start(&world.name), Process::start(&world.name)];
    world.wait_for_rows_of(1, &rows).await;
    for round in 0..3 {
        for id in 0..10 {
            // The cascade at the source is not in its binlog: the target's takes the child, once.
            world.publish_to(0, &[Delete((id, "p"))]);
            world.publish_to(0, &[Insert((id, "p"))]);
            world.publish_to(1, &[Insert((id, "p"))]);
            world.publish_to(1, &[Update((id + 20, "p"), (id + 20, "q"))]);
            world.publish_to(1, &[Update((id + 20, "q"), (id + 20, "p"))]);
        }
        // One of the two leads.
        workers[round % 2] = Process::start(&world.name);
    }
    let last = [Delete((39, "p"))];
    world.publish_to(0, &last);
    rows.pop();
    world.wait_for_rows_of(0, &rows).await;
    world.wait_for_rows_of(1, &rows).await;
    end.store(true, Ordering::Relaxed);
    assert!(watching.await.expect("no child was alone") > 0);
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_never_comes_before_its_parent_on_mariadb() {
    families("families", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_never_comes_before_its_parent_on_mysql() {
    families("families8", MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_comes_later_joins_the_others() {
    let mut world = World::without_topics("later", 2).await;
    with_key(&mut world).await;
    let (parents, children) = (world.topic.clone(), format!("{}_1", world.topic));
    world.create_topic(&parents, 1).await;
    world.pipeline(ORDERED).await;
    let worker = Worker::start(&world.name).await;
    world.publish_to(0, &[Insert((1, "a"))]);
    world.wait_for_rows_of(0, &[(1, "a")]).await;
    world.create_topic(&children, 1).await;
    world.publish_to(0, &[Insert((2, "b"))]);
    world.publish_to(1, &[Insert((2, "b"))]);
    world.publish_to(0, &[Delete((2, "b"))]);
    world.publish_to(1, &[Insert((1, "a"))]);
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.wait_for_rows_of(0, &[(1, "a")]).await;
    worker.stop().await;
    world.end().await;
}

/// Waits for the error of a lane.
pub(crate) async fn stopped(worker: &Worker, code: &str) -> ErrorStatus {
    wait_for(&format!("a lane stops with {code}"), || async {
        let error = worker.lanes().into_iter().find_map(|lane| lane.error);
        error.filter(|error| error.code == code).ok_or_else(|| worker.lanes())
    })
    .await
}

/// Waits until one lane leads and the other stands by.
async fn in_order(worker: &Worker) {
    wait_for("the tables are one set", || async {
        let lanes = worker.lanes();
        let joined = lanes.iter().filter(|lane| lane.state == LaneState::Joined).count();
        if lanes.len() == 2 && joined == 1 { Ok(()) } else { Err(lanes) }
    })
    .await;
}

/// Puts a pipeline in which each table says for itself what it does.
async fn put(world: &World, tables: &[(usize, &str)]) {
    let schema = world.schema();
    let mapping = |(at, foreign_keys): &(usize, &str)| {
        let suffix = if *at == 0 { String::new() } else { format!("_{at}") };
        format!("{{from: shop.tb_user{suffix}, to: {schema}.tb_user2{suffix}, foreign_keys: {foreign_keys}}}")
    };
    let mappings: Vec<String> = tables.iter().map(mapping).collect();
    let text =
        format!("kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{}]\n", mappings.join(", "));
    world.put(&text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_join_and_leave_while_the_others_go_on() {
    const ON: &str = "ordered";
    let mut world = World::with_tables("members", 3).await;
    let schema = world.schema();
    let key = "ADD FOREIGN KEY (id) REFERENCES tb_user2_1 (id) ON DELETE CASCADE";
    world.run(&format!("USE `{schema}`")).await;
    world.run(&format!("ALTER TABLE tb_user2_2 {key}")).await;
    put(&world, &[(1, ON), (2, ON)]).await;
    let (worker, process) = (Worker::start(&world.name).await, Process::start(&world.name));
    let mut rows: Vec<Row> = Vec::new();
    let pipelines: [&[(usize, &str)]; 7] = [
        &[(1, ON), (2, ON)],
        // One whose topic comes first leads from now on; it goes alone; it goes away; all come back.
        &[(0, ON), (1, ON), (2, ON)],
        &[(0, "off"), (1, ON), (2, ON)],
        &[(1, ON), (2, ON)],
        &[(0, ON), (1, ON), (2, ON)],
        &[(1, ON)],
        &[(0, ON), (1, ON), (2, ON)],
    ];
    for tables in pipelines {
        put(&world, tables).await;
        let began = std::time::Instant::now();
        for _ in 0..10 {
            let id = rows.len() as i32;
            (0..3).for_each(|table| world.publish_to(table, &[Insert((id, "x"))]));
            rows.push((id, "x"));
        }
        for (table, _) in tables {
            world.wait_for_rows_of(*table, &rows).await;
        }
        println!("{tables:?} after {:?}", began.elapsed());
    }
    wait_for("no lane has an error", || async {
        let lanes = worker.lanes();
        if lanes.iter().all(|lane| lane.error.is_none()) { Ok(()) } else { Err(lanes) }
    })
    .await;
    drop(process);
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_goes_forward_and_not_back() {
    let mut world = World::with_tables("seek", 2).await;
    with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let worker = Worker::start(&world.name).await;
    world.publish_to(0, &[Insert((1, "a"))]);
    world.publish_to(1, &[Insert((1, "a"))]);
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.pipeline(&format!("{ORDERED}\nstate: paused")).await;
    let refused = seek_part(&world, None, SeekTo::Earliest).await;
    assert_eq!(refused.state, OutcomeState::Refused, "{refused:?}");
    assert_eq!(refused.code.as_deref(), Some("OT5011"), "{refused:?}");
    assert!(refused.message.contains("shop.tb_user keeps its order") && refused.message.contains("foreign_keys: off"));
    // Parents that are not to come: what is published is passed over.
    world.publish_to(0, &[Insert((2, "skipped"))]);
    let forward = seek_part(&world, None, SeekTo::Latest).await;
    assert_eq!(forward.state, OutcomeState::Done, "{forward:?}");
    world.pipeline(ORDERED).await;
    world.publish_to(0, &[Insert((3, "c"))]);
    world.publish_to(1, &[Insert((3, "c"))]);
    world.wait_for_rows_of(1, &[(1, "a"), (3, "c")]).await;
    world.wait_for_rows_of(0, &[(1, "a"), (3, "c")]).await;
    // The way that the message names; in order again before it is at its end, nothing is written.
    world.pipeline("state: paused").await;
    let back = seek_part(&world, None, SeekTo::Offset(1)).await;
    assert_eq!(back.state, OutcomeState::Done, "{back:?}");
    world.pipeline(ORDERED).await;
    let error = stopped(&worker, "OT5011").await;
    assert!(error.message.contains("foreign_keys: off"), "{error:?}");
    world.wait_for_rows_of(1, &[(1, "a"), (3, "c")]).await;
    world.pipeline("").await;
    world.wait_for_rows_of(0, &[(1, "a"), (2, "skipped"), (3, "c")]).await;
    wait_for("the replay is over", || async {
        let lanes = worker.lanes();
        if lanes.iter().any(|lane| lane.replaying || lane.error.is_some()) { Err(lanes) } else { Ok(()) }
    })
    .await;
    world.pipeline(ORDERED).await;
    in_order(&worker).await;
    world.publish_to(0, &[Delete((1, "a"))]);
    world.wait_for_rows_of(1, &[(3, "c")]).await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_capture_that_publishes_nothing_again_is_no_obstacle() {
    let mut world = World::with_tables("onward", 2).await;
    with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let worker = Worker::start(&world.name).await;
    world.publish_to(0, &[Insert((1, "a"))]);
    world.publish_to(1, &[Insert((1, "a"))]);
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.reset_behind(1, 2);
    world.publish_barrier_to(1, BarrierKind::Truncate, 1);
    world.publish_to(0, &[Insert((2, "b"))]);
    world.publish_to(1, &[Insert((2, "b"))]);
    world.wait_for_rows_of(1, &[(2, "b")]).await;
    // Of the children nothing comes before the next one.
    world.reset_behind(2, 5);
    world.publish_to(0, &[Insert((3, "c"))]);
    world.wait_for_rows_of(0, &[(1, "a"), (2, "b"), (3, "c")]).await;
    world.reset_behind(3, 6);
    world.publish_to(1, &[Insert((3, "c"))]);
    world.publish_to(0, &[Delete((2, "b"))]);
    world.wait_for_rows_of(1, &[(3, "c")]).await;
    wait_for("no lane has an error or replays", || async {
        let lanes = worker.lanes();
        if lanes.iter().all(|lane| lane.error.is_none() && !lane.replaying) { Ok(()) } else { Err(lanes) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_backwards_stops_the_set_in_front_of_what_comes_again() {
    let mut world = World::with_tables("backward", 2).await;
    with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let worker = Worker::start(&world.name).await;
    let publish = |world: &mut World| {
        world.publish_barrier_to(1, BarrierKind::Truncate, 1);
        world.publish_to(0, &[Insert((1, "a"))]);
        world.publish_to(1, &[Insert((1, "a"))]);
    };
    publish(&mut world);
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.reset_behind(1, 0);
    publish(&mut world);
    let error = stopped(&worker, "OT5011").await;
    assert!(error.message.contains("capture was reset") && error.message.contains("0-1-1"), "{error:?}");
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    // The way that the message names.
    world.pipeline("").await;
    world.publish_to(0, &[Insert((2, "b"))]);
    world.wait_for_rows_of(0, &[(1, "a"), (2, "b")]).await;
    wait_for("the children's last event is written again", || async {
        let children = worker.lanes().into_iter().find(|lane| lane.topic != world.topic);
        children.filter(|lane| lane.counters.restored + lane.counters.rewritten > 0).ok_or_else(|| worker.lanes())
    })
    .await;
    world.pipeline(ORDERED).await;
    in_order(&worker).await;
    world.publish_to(1, &[Insert((2, "b"))]);
    world.publish_to(0, &[Delete((1, "a"))]);
    world.wait_for_rows_of(1, &[(2, "b")]).await;
    world.wait_for_rows_of(0, &[(2, "b")]).await;
    worker.stop().await;
    world.end().await;
}

/// Rows of the first table, one after the other: how long each takes to be at the target.
async fn latency(world: &mut World, first: i32, count: i32) -> Duration {
    let began = std::time::Instant::now();
    for id in first..first + count {
        world.publish_to(0, &[Insert((id, "x"))]);
        let sql = format!("SELECT COUNT(*) FROM tb_user2 WHERE id = {id}");
        while world.first::<i64>(&sql).await == 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "row {id} does not come");
        }
    }
    began.elapsed() / count.cast_unsigned()
}

/// What the list of topics costs; prints figures. Only with `OTTER_TEST_LONG`.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_amid_two_thousand_topics() {
    const ROWS: i32 = 200;
    if std::env::var_os("OTTER_TEST_LONG").is_none() {
        return;
    }
    let mut world = World::with_tables("amid", 2).await;
    let schema = world.schema();
    let open = format!(
        "kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{{from: 'shop.tb_user', to: {schema}.tb_user2}}, \
                        {{from: 'shop.tb_user_*', to: '{schema}.tb_user2_1'}}]\n{ORDERED}\n"
    );
    let worker = Worker::start(&world.name).await;
    let mut first = 0;
    for others in [0, 2000] {
        let names: Vec<String> = (0..others).map(|at| format!("{}.other.t{at}", world.name)).collect();
        world.create_topics(&names).await;
        println!("the list of topics takes {:?}", world.time_to_list());
        for (kind, text) in [("named", None), ("by a pattern", Some(&open))] {
            match text {
                Some(text) => world.put(text).await,
                None => world.pipeline(ORDERED).await,
            }
            latency(&mut world, first, 20).await;
            let each = latency(&mut world, first + 20, ROWS).await;
            let began = std::time::Instant::now();
            first += 20 + ROWS;
            (0..ROWS).for_each(|id| world.publish_to(0, &[Insert((first + id, "x"))]));
            first += ROWS;
            let last = format!("SELECT COUNT(*) FROM tb_user2 WHERE id = {}", first - 1);
            while world.first::<i64>(&last).await == 0 {
                assert!(began.elapsed() < Duration::from_secs(120), "the last row does not come");
            }
            println!("{others} other topics, tables {kind}: {each:?} a row, {ROWS} at once in {:?}", began.elapsed());
        }
    }
    worker.stop().await;
    world.end().await;
}
