//! Several lanes in one target transaction, and turns by table.
//!
//! One connection for all lanes makes them wait for it; each round of events comes to all lanes at once.

use std::time::{Duration, Instant};

use apply::Options;
use nix::sys::signal::Signal;
use schemas::status::LaneState;

use crate::frozen::Process;
use crate::world::Change::Insert;
use crate::world::{Row, Worker, World, wait_for};

const LANES: usize = 16;
const ONE_CONNECTION: &str = "apply: {writers: 1}";

/// The rows of so many rounds.
fn rows(rounds: i32) -> Vec<Row> {
    (0..rounds).map(|id| (id, "x")).collect()
}

/// Publishes rounds, each when the one before has arrived in the last table.
async fn rounds(world: &mut World, ids: std::ops::Range<i32>) {
    for id in ids {
        world.publish_to_all(Insert((id, "x")));
        let wanted = i64::from(id) + 1;
        let tables = format!("SELECT COUNT(*) FROM {}", world.target_table(LANES - 1));
        let until = Instant::now() + Duration::from_secs(30);
        while world.first::<i64>(&tables).await < wanted {
            if Instant::now() > until {
                let sql = "SELECT GROUP_CONCAT(topic, ' ', next_offset, ' ', LEFT(owner, 6)) FROM progress";
                let standing: String = world.first(sql).await;
                let sql = "SELECT GROUP_CONCAT(id, ' ', user, ' ', time, ' ', COALESCE(info, '')) FROM information_schema.processlist";
                panic!("round {id} does not arrive; {standing}; {}", world.first::<String>(sql).await);
            }
        }
    }
}

async fn all_have(world: &mut World, rows: &[Row]) {
    for table in 0..LANES {
        world.wait_for_rows_of(table, rows).await;
    }
}

async fn share_commits(target: &str, kind: &str) {
    const ROUNDS: i32 = 25;
    let mut world = World::with_tables_on("group", LANES, target).await;
    world.pipeline(ONE_CONNECTION).await;
    let worker = Worker::start(&world.name).await;
    rounds(&mut world, 0..1).await;
    worker.wait_for_running(LANES).await;
    let before = (worker.total("batches"), worker.total("commits"));
    rounds(&mut world, 1..ROUNDS).await;
    all_have(&mut world, &rows(ROUNDS)).await;
    wait_for("all lanes say so", || async {
        let seen = worker.total("events");
        if seen == LANES as u64 * ROUNDS as u64 { Ok(()) } else { Err(seen) }
    })
    .await;
    let (batches, commits) = (worker.total("batches") - before.0, worker.total("commits") - before.1);
    println!("{kind}: {batches} batches in {commits} commits");
    assert!(batches >= 2 * commits, "{batches} batches took {commits} commits");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_share_commits_on_mariadb() {
    share_commits("OTTER_SERVERS_TARGET", "MariaDB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_share_commits_on_mysql() {
    share_commits("OTTER_SERVERS_MYSQL_TARGET", "MySQL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_groups_each_batch_is_committed_alone() {
    let mut world = World::with_tables("alone", LANES).await;
    world.pipeline(ONE_CONNECTION).await;
    let worker = Worker::start_with(&world.name, Options { group_commit: false, ..Options::default() }).await;
    rounds(&mut world, 0..5).await;
    all_have(&mut world, &rows(5)).await;
    wait_for("all lanes say so", || async {
        let (events, batches, commits) = (worker.total("events"), worker.total("batches"), worker.total("commits"));
        if events == 5 * LANES as u64 && batches == commits { Ok(()) } else { Err((events, batches, commits)) }
    })
    .await;
    worker.stop().await;
    world.end().await;
}

/// The row of one table is at the target already: that lane pauses in front of it, the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_in_a_group_hurts_only_its_lane() {
    const WRONG: usize = 5;
    let mut world = World::with_tables("groupconflict", LANES).await;
    world.pipeline(ONE_CONNECTION).await;
    let worker = Worker::start(&world.name).await;
    rounds(&mut world, 0..3).await;
    let table = world.target_table(WRONG);
    world.run(&format!("INSERT INTO {table} VALUES (7, 'foreign')")).await;
    rounds(&mut world, 3..15).await;
    for table in (0..LANES).filter(|table| *table != WRONG) {
        world.wait_for_rows_of(table, &rows(15)).await;
    }
    let wanted: Vec<Row> = (0..7).map(|id| (id, "x")).chain([(7, "foreign")]).collect();
    world.wait_for_rows_of(WRONG, &wanted).await;
    wait_for("one lane is paused", || async {
        let paused: Vec<_> = worker.lanes().into_iter().filter(|lane| lane.state == LaneState::Paused).collect();
        match &paused[..] {
            [lane] if lane.error.as_ref().is_some_and(|e| e.code == "OT5005") => Ok(()),
            _ => Err(paused),
        }
    })
    .await;
    assert!(worker.total("commits") < worker.total("batches"), "the others still share");
    worker.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_amid_groups_lose_and_double_nothing() {
    let mut world = World::with_tables("groupkill", LANES).await;
    world.pipeline(ONE_CONNECTION).await;
    let worker = Worker::start(&world.name).await;
    rounds(&mut world, 0..1).await;
    for id in 1..40 {
        world.publish_to_all(Insert((id, "x")));
        world.kill_connections().await;
    }
    all_have(&mut world, &rows(40)).await;
    worker.wait_for_running(LANES).await;
    assert!(worker.total("commits") < worker.total("batches"));
    worker.stop().await;
    world.end().await;
}

/// A lock makes one lane's statement wait while others have their parts in the same transaction; then the worker freezes.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_of_a_group_that_freezes_are_taken_over() {
    let mut world = World::with_tables("groupfrozen", LANES).await;
    world.pipeline(ONE_CONNECTION).await;
    let process = Process::start(&world.name);
    rounds(&mut world, 0..3).await;
    let last = world.target_table(LANES - 1);
    world.run(&format!("START TRANSACTION; INSERT INTO {last} VALUES (3, 'lock')")).await;
    world.publish_to_all(Insert((3, "x")));
    // Whoever is behind the lock holds a transaction; the server says so.
    let waits = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE 'insert%'",
        world.user()
    );
    let until = Instant::now() + Duration::from_secs(30);
    while world.first::<i64>(&waits).await == 0 {
        assert!(Instant::now() < until, "no statement waits for the lock");
    }
    process.signal(Signal::SIGSTOP);
    world.run("ROLLBACK").await;
    let frozen = Instant::now();
    let other = Worker::start(&world.name).await;
    all_have(&mut world, &rows(4)).await;
    println!("all lanes moved {:.1} s after the freeze", frozen.elapsed().as_secs_f64());
    process.signal(Signal::SIGCONT);
    rounds(&mut world, 4..8).await;
    all_have(&mut world, &rows(8)).await;
    // The woken one may have been given lanes again; whoever lost one to it may say so for a moment.
    wait_for("no lane is in trouble", || async {
        let lanes = other.lanes();
        if lanes.iter().all(|lane| lane.error.is_none()) { Ok(()) } else { Err(lanes) }
    })
    .await;
    drop(process);
    other.stop().await;
    world.end().await;
}

/// How long rows of the second table take to arrive, one after the other: the median and the longest of a few.
async fn latency(world: &mut World, ids: std::ops::Range<i32>) -> (Duration, Duration) {
    let mut times = Vec::new();
    for id in ids {
        let began = Instant::now();
        world.publish_to(1, &[Insert((id, "x"))]);
        let arrived = format!("SELECT COUNT(*) FROM {} WHERE id = {id}", world.target_table(1));
        while world.first::<i64>(&arrived).await == 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "row {id} does not arrive");
        }
        times.push(began.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

/// One table has a backlog in eight lanes, many more than there are connections; a row of another is not held up by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_table_does_not_starve_a_cold_one() {
    const PARTITIONS: i32 = 8;
    const BACKLOG: i32 = 300_000;
    let mut world = World::with_tables_of("fair", &[PARTITIONS, 1]).await;
    world.pipeline("apply: {writers: 2, batch: {rows: 500}}").await;
    let worker = Worker::start(&world.name).await;
    worker.wait_for_running(PARTITIONS as usize + 1).await;
    let idle = latency(&mut world, 0..15).await;
    world.publish_backlog(0..BACKLOG, PARTITIONS);
    let busy = latency(&mut world, 15..30).await;
    let left =
        i64::from(BACKLOG) - world.first::<i64>(&format!("SELECT COUNT(*) FROM {}", world.target_table(0))).await;
    println!(
        "cold rows took {idle:?} (median, longest) with nothing else, {busy:?} beside the backlog; {left} rows left"
    );
    assert!(left > 0, "the backlog was gone before the measurement ended");
    // A connection comes free after one batch of the hot table; in turn of lanes it would be four of them.
    assert!(busy.0 < idle.0 * 4 + Duration::from_millis(500), "{busy:?} beside a backlog, {idle:?} without");
    worker.stop().await;
    world.end().await;
}

/// A worker with 64 lanes, which get a row each in every round; a round begins when the one before is committed in all.
struct Pace {
    world: World,
    worker: Worker,
    rounds: i32,
    times: Vec<Duration>,
}

impl Pace {
    async fn start(groups: bool) -> Self {
        let world = World::with_tables("pace", 64).await;
        world.pipeline("").await;
        let worker = Worker::start_with(&world.name, Options { group_commit: groups, ..Options::default() }).await;
        worker.wait_for_running(64).await;
        Self { world, worker, rounds: 0, times: Vec::new() }
    }

    async fn rounds(&mut self, count: i32) {
        for id in self.rounds..self.rounds + count {
            let began = Instant::now();
            self.world.publish_to_all(Insert((id, "x")));
            // A round is a record and a control record.
            let passed = format!("SELECT COUNT(*) FROM progress WHERE next_offset > {}", 2 * id);
            while self.world.first::<i64>(&passed).await < 64 {
                assert!(began.elapsed() < Duration::from_secs(60), "round {id} does not arrive");
            }
            self.times.push(began.elapsed());
        }
        self.rounds += count;
    }

    /// The median of the rounds; batches and commits.
    async fn end(mut self) -> (Duration, u64, u64) {
        self.times.sort();
        let counts = (self.worker.total("batches"), self.worker.total("commits"));
        self.worker.stop().await;
        self.world.end().await;
        (self.times[self.times.len() / 2], counts.0, counts.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_lanes_of_small_transactions_with_and_without_groups() {
    let (mut shared, mut alone) = (Pace::start(true).await, Pace::start(false).await);
    for _ in 0..12 {
        shared.rounds(5).await;
        alone.rounds(5).await;
    }
    let (shared, alone) = (shared.end().await, alone.end().await);
    let ratio = alone.0.as_secs_f64() / shared.0.as_secs_f64();
    println!(
        "a round of 64 rows, batches, commits: {shared:?} in groups, {alone:?} alone; rate in groups to alone {ratio:.2}"
    );
    assert!(shared.1 >= 2 * shared.2, "{shared:?}");
    // The target's commits cost little here; where each is a flush of a disk, groups gain.
    assert!(ratio > 0.5, "{shared:?} in groups, {alone:?} alone");
}
