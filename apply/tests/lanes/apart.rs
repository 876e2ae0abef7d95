//! Lanes that are far apart when they are joined: further than the largest batch reaches.

use apply::Options;
use schemas::documents::Size;

use crate::joined::world_on;
use crate::ordered::stopped;
use crate::world::Change::{self, Insert, Update};
use crate::world::{MARIADB, MYSQL, Row, Worker, World, wait_for};

/// Batches of two rows and at most 2 KiB.
const SMALL: &str = "apply: {batch: {rows: 2, bytes: 1KiB}}";

/// The largest batch has 64 KiB.
fn options() -> Options {
    Options { join_batch: Size::bytes(64 * 1024), ..Options::default() }
}

fn name(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// Values that go from lane to lane by way of one that a third lane takes later.
struct Swaps {
    rows: Vec<Row>,
    changes: Vec<(i32, Change)>,
}

impl Swaps {
    fn new(rows: Vec<Row>) -> Self {
        Self { rows, changes: Vec::new() }
    }

    /// Rows `id` and `id` + 1, which have these values, swap them, with some inserts before the second half and behind.
    fn add(&mut self, id: i32, [x, y]: [&'static str; 2], (between, behind): (i32, i32)) {
        let third = name(format!("third {id}"));
        let inserts = |from: i32, count: i32| {
            (from..from + count).map(|id| (1, Insert((id, name(format!("{id:100}")))))).collect::<Vec<_>>()
        };
        let others = (inserts(id + 10, between), inserts(id + 10 + between, behind));
        self.rows.extend(others.0.iter().chain(&others.1).filter_map(|(_, change)| match change {
            Insert(row) => Some(*row),
            _ => None,
        }));
        self.changes.extend([(0, Update((id, x), (id, third))), (1, Update((id + 1, y), (id + 1, x)))]);
        self.changes.extend(others.0);
        self.changes.extend([(0, Update((id, third), (id, y))), (2, Insert((id + 2, third)))]);
        self.changes.extend(others.1);
        self.rows.extend([(id, y), (id + 1, x), (id + 2, third)]);
    }

    fn publish(&mut self, world: &mut World) {
        world.publish_each(&self.changes);
        self.rows.sort_unstable();
    }
}

/// The values of the first two rows of a swap.
fn values(id: i32) -> [&'static str; 2] {
    [name(format!("x {id}")), name(format!("y {id}"))]
}

/// Lanes 0 and 1 stand in front of rows that are not there, and lane 2 is at its end: all of the swaps behind lie between.
async fn apart(world: &mut World, worker: &Worker, swaps: &mut Swaps, before: &[Row]) {
    world.publish_at(&before.iter().map(|row| (row.0 % 2, Insert(*row))).collect::<Vec<_>>());
    world.wait_for_rows(before).await;
    world.publish_at(&[(0, Update((1_000_000, "q"), (1_000_000, "r")))]);
    world.publish_at(&[(1, Update((1_000_001, "s"), (1_000_001, "t")))]);
    wait_for("two lanes stand", || async {
        let stopped = worker.lanes().iter().filter(|lane| lane.error.is_some()).count();
        if stopped == 2 { Ok(()) } else { Err(worker.lanes()) }
    })
    .await;
    swaps.rows.extend([(1_000_000, "r"), (1_000_001, "t")]);
    swaps.publish(world);
    let last = "SELECT COUNT(*) FROM tb_user2 WHERE name LIKE 'third %'";
    let wanted = swaps.rows.iter().filter(|row| row.1.starts_with("third")).count() as i64;
    wait_for_count(world, worker, last, wanted).await;
    let schema = world.schema();
    world.run(&format!("INSERT INTO `{schema}`.tb_user2 VALUES (1000000, 'q'), (1000001, 's')")).await;
    world.pipeline(SMALL).await;
}

async fn wait_for_count(world: &mut World, worker: &Worker, sql: &str, wanted: i64) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while world.first::<i64>(sql).await != wanted {
        assert!(std::time::Instant::now() < until, "{sql} is not {wanted}: {:?}", worker.lanes());
    }
}

async fn piece_by_piece(test: &str, target: &str) {
    let mut world = world_on(test, 3, target).await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 MODIFY name varchar(200)")).await;
    world.pipeline(SMALL).await;
    let worker = Worker::start_with(&world.name, options()).await;
    let mut swaps = Swaps::new(Vec::new());
    let ids = || (0..100).map(|n| n * 20);
    let before: Vec<Row> = ids().flat_map(|id| [(id, values(id)[0]), (id + 1, values(id)[1])]).collect();
    for id in ids() {
        swaps.add(id, values(id), (0, id / 20 % 9));
    }
    apart(&mut world, &worker, &mut swaps, &before).await;
    let last = "SELECT COUNT(*) FROM tb_user2 WHERE id = 1980 AND name = 'y 1980'";
    wait_for_count(&mut world, &worker, last, 1).await;
    world.wait_for_rows(&swaps.rows).await;
    // One whose row was taken for the join may still be about to claim it again.
    wait_for("no lane has an error", || async {
        let lanes = worker.lanes();
        if lanes.iter().all(|lane| lane.error.is_none()) { Ok(()) } else { Err(lanes) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_far_apart_come_together_piece_by_piece_on_mariadb() {
    piece_by_piece("pieces", MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_far_apart_come_together_piece_by_piece_on_mysql() {
    piece_by_piece("pieces8", MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_batch_reaches_stops_with_a_code_until_it_may_be_larger() {
    let mut world = world_on("unreached", 3, MARIADB).await;
    let schema = world.schema();
    world.run(&format!("ALTER TABLE `{schema}`.tb_user2 MODIFY name varchar(200)")).await;
    world.pipeline(SMALL).await;
    let worker = Worker::start_with(&world.name, options()).await;
    let mut swaps = Swaps::new(Vec::new());
    let [x, y] = values(0);
    swaps.add(0, [x, y], (600, 0));
    apart(&mut world, &worker, &mut swaps, &[(0, x), (1, y)]).await;
    let error = stopped(&worker, "OT5015").await;
    assert!(error.message.contains("65536 bytes") && error.message.contains("join_batch"), "{error:?}");
    let kept = "SELECT COUNT(*) FROM tb_user2 WHERE name IN ('x 0', 'y 0')";
    assert_eq!(world.first::<i64>(kept).await, 2);
    worker.stop().await;
    let worker = Worker::start(&world.name).await;
    world.wait_for_rows(&swaps.rows).await;
    worker.stop().await;
    world.end().await;
}
