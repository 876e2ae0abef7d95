//! Two hundred lanes over workers that come, go and die: how long the lanes that move stand still, and those that stay.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use schemas::status::LaneState;

use crate::frozen::Process;
use crate::quiet::alone;
use crate::strain::Strain;
use crate::world::{Worker, World};

const TABLES: usize = 25;
const PARTITIONS: i32 = 8;
const LANES: usize = TABLES * PARTITIONS as usize;
/// A row comes to every lane this often.
const EVERY: Duration = Duration::from_millis(100);
/// A lane that moves to a worker which joins, or from one which leaves, stands still no longer.
const GRACEFUL: Duration = Duration::from_secs(2);
/// And one whose worker was killed.
const KILLED: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(90);

type Part = (String, i32);

/// A load over all lanes, and when each of them moved.
struct Watch {
    world: World,
    rounds: i32,
    next: Instant,
    lanes: HashMap<Part, Seen>,
    strain: Strain,
}

/// When a lane moved last, and its longest stop so far.
struct Seen {
    offset: i64,
    at: Instant,
    longest: Duration,
}

impl Watch {
    /// Publishes if it is time, looks where the lanes are.
    async fn step(&mut self) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            let (first, world) = (self.rounds * PARTITIONS, &mut self.world);
            tokio::task::block_in_place(|| world.publish_to_all_partitions(first, PARTITIONS));
            self.rounds += 1;
        }
        let standings = self.world.standings().await;
        let now = Instant::now();
        for (topic, partition, offset) in standings {
            let new = Seen { offset, at: now, longest: Duration::ZERO };
            let seen = self.lanes.entry((topic, partition)).or_insert(new);
            if seen.offset != offset {
                seen.longest = seen.longest.max(now - seen.at);
                (seen.offset, seen.at) = (offset, now);
            }
        }
    }

    /// Goes on until a condition holds, and then until all lanes have moved once more.
    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
            self.step().await;
        }
        let after = Instant::now();
        while self.lanes.len() < LANES || self.lanes.values().any(|seen| seen.at <= after) {
            assert!(Instant::now() < until, "{what}: not all lanes move within {PATIENCE:?}");
            self.step().await;
        }
    }

    /// The longest stops from here on.
    fn begin(&mut self) {
        self.lanes.values_mut().for_each(|seen| seen.longest = Duration::ZERO);
        self.strain = Strain::begin();
    }

    /// The longest stop of the lanes of a worker that stayed, and of the others.
    fn stops(&self, stayed: &HashSet<Part>) -> Stops {
        let longest = |of_stayed: bool| {
            let lanes = self.lanes.iter().filter(|(part, _)| stayed.contains(*part) == of_stayed);
            lanes.map(|(_, seen)| seen.longest).max().unwrap_or_default()
        };
        Stops { stayed: longest(true), moved: longest(false), strain: self.strain.mean() }
    }
}

/// The longest stops of lanes, and how strained the machine was meanwhile.
struct Stops {
    stayed: Duration,
    moved: Duration,
    strain: f64,
}

fn running(worker: &Worker) -> HashSet<Part> {
    let lanes = worker.lanes().into_iter().filter(|lane| lane.state == LaneState::Running);
    lanes.map(|lane| (lane.topic, lane.partition)).collect()
}

fn report(what: &str, moved: usize, stops: &Stops) {
    println!(
        "{what}: {moved} of {LANES} lanes moved and stood still for at most {:.2} s; those that stayed for at most {:.2} s; strain {:.1}",
        stops.moved.as_secs_f64(),
        stops.stayed.as_secs_f64(),
        stops.strain
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_lanes_move_when_workers_join_leave_and_die() {
    let world = World::with_tables_of("scale", &[PARTITIONS; TABLES]).await;
    let alone = alone().await;
    world.pipeline("").await;
    let name = world.name.clone();
    let mut watch = Watch { world, rounds: 0, next: Instant::now(), lanes: HashMap::new(), strain: Strain::begin() };
    let first = Worker::start(&name).await;
    watch.until("all lanes run", || running(&first).len() == LANES).await;
    let undisturbed = Instant::now() + Duration::from_secs(2);
    watch.begin();
    watch.until("undisturbed", || Instant::now() > undisturbed).await;
    let calm = watch.stops(&running(&first));
    report("undisturbed", 0, &calm);

    watch.begin();
    let second = Worker::start(&name).await;
    let half = || running(&second).len() == LANES / 2 && running(&first).len() == LANES / 2;
    watch.until("the second worker has half of the lanes", half).await;
    let joined = watch.stops(&running(&first));
    report("a worker joined", LANES / 2, &joined);

    let stayed = running(&first);
    watch.begin();
    let leaving = tokio::spawn(second.stop());
    watch.until("the first worker has all lanes", || leaving.is_finished() && running(&first).len() == LANES).await;
    leaving.await.expect("no panic");
    let left = watch.stops(&stayed);
    report("a worker left", LANES / 2, &left);

    let third = Process::start(&name);
    watch.until("a third worker has half of the lanes", || running(&first).len() == LANES / 2).await;
    let stayed = running(&first);
    watch.begin();
    drop(third);
    watch.until("the first worker has all lanes again", || running(&first).len() == LANES).await;
    let killed = watch.stops(&stayed);
    report("a worker was killed", LANES / 2, &killed);

    for (what, stops, limit) in [("join", joined, GRACEFUL), ("leave", left, GRACEFUL), ("kill", killed, KILLED)] {
        // Whatever stops lanes of a machine that is busy with something else is no matter of the move.
        let under = |bound: Duration| bound.mul_f64(stops.strain) + calm.stayed;
        let Stops { stayed, moved, .. } = stops;
        assert!(moved < under(limit), "{what}: a lane that moved stood still for {moved:?}");
        assert!(stayed < under(GRACEFUL / 2), "{what}: a lane that stayed stood still for {stayed:?}");
    }
    let Watch { mut world, rounds, .. } = watch;
    let sum: Vec<String> = (0..TABLES).map(|t| format!("(SELECT COUNT(*) FROM {})", world.target_table(t))).collect();
    let (count, wanted) = (format!("SELECT {}", sum.join(" + ")), i64::from(rounds) * LANES as i64);
    let until = Instant::now() + PATIENCE;
    while world.first::<i64>(&count).await < wanted {
        assert!(Instant::now() < until, "rows are missing");
    }
    assert!(first.lanes().iter().all(|lane| lane.error.is_none()), "{:?}", first.lanes());
    println!("{wanted} rows, {} batches in {} commits", first.total("batches"), first.total("commits"));
    first.stop().await;
    world.end().await;
    drop(alone);
}
