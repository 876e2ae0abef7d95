//! A worker that is frozen (SIGSTOP) is replaced, and does no harm when it wakes.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::status::LaneState;

use crate::strain::Strain;
use crate::world::Change::Insert;
use crate::world::{Worker, World};

/// Names the cluster for which the test binary, started again as a child, plays a worker.
const PLAY: &str = "OTTER_TEST_LANES_WORKER";
/// How long a lane may stand still after its worker froze.
const TAKEOVER: Duration = Duration::from_secs(10);

/// Not a test by itself: the worker that `a_frozen_worker_is_replaced` starts as a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn worker_process() {
    if let Ok(cluster) = std::env::var(PLAY) {
        Worker::start(&cluster).await.run_for_ever().await;
    }
}

/// A worker in a process of its own.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(cluster: &str) -> Self {
        // It ends with the test also when that is killed.
        let mut child = Command::new("setpriv");
        child.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().expect("this program"));
        child.args(["--exact", "frozen::worker_process", "--nocapture"]).env(PLAY, cluster);
        Self(child.spawn().expect("a child"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"));
        kill(pid, signal).expect("a signal");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process.
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_replaced_and_does_not_fight() {
    let mut world = World::new("frozen").await;
    world.pipeline("").await;
    let process = Process::start(&world.name);
    world.publish(&[Insert((0, "x"))]);
    world.wait_for_rows(&[(0, "x")]).await;
    let other = Worker::start(&world.name).await;

    process.signal(Signal::SIGSTOP);
    let (frozen, strain) = (Instant::now(), Strain::begin());
    let mut rows = vec![(0, "x")];
    for id in 1..20 {
        world.publish(&[Insert((id, "x"))]);
        rows.push((id, "x"));
    }
    world.wait_for_rows(&rows).await;
    let took = frozen.elapsed();
    println!("replaced {took:?} after the freeze, under a strain of {:.1}", strain.mean());
    assert!(took < strain.stretched(TAKEOVER), "replaced after {took:?}");
    other.wait_for_lane(LaneState::Running).await;
    let owner = world.owner().await;

    process.signal(Signal::SIGCONT);
    let awake = Instant::now();
    let mut id = 20;
    // Longer than it takes the woken worker to notice, to try, and to be given lanes again if the group likes.
    while awake.elapsed() < Duration::from_secs(8) {
        world.publish(&[Insert((id, "x"))]);
        rows.push((id, "x"));
        world.wait_for_rows(&rows).await;
        id += 1;
    }
    assert_eq!(world.owner().await, owner, "the lane stays where it is");
    assert_eq!(other.lane().and_then(|l| l.error), None);
    drop(process);
    other.stop().await;
    world.end().await;
}
