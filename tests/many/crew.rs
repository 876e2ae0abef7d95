//! The processes of a case, and what befalls them: kill -9, a freeze shorter or longer than the session, a graceful stop,
//! workers that come and go. Whatever was taken away is back at the end.

use crate::harness::{Otter, Result, Site, wait_for};
use rand::RngExt as _;
use rand::rngs::StdRng;
use schemas::status::{LaneState, LaneStatus, PipelineState, SourceState, WorkerStatus};
use std::time::Duration;

/// A process asked to stop must do so within this time.
const STOP: Duration = Duration::from_secs(20);
/// At the end all lanes must be at rest within this time.
const REST: Duration = Duration::from_secs(30);
/// The most workers.
const MOST: usize = 3;
/// Longer than the session of a consumer and of ZooKeeper.
const LONG_FREEZE: f64 = 8.0;

/// One capture and up to three workers.
#[derive(Debug)]
pub(super) struct Crew<'s> {
    site: &'s Site,
    capture: Otter,
    workers: Vec<Otter>,
}

impl<'s> Crew<'s> {
    /// Starts capture and so many workers.
    pub(super) async fn start(site: &'s Site, workers: usize) -> Result<Self> {
        let mut crew = Self { site, capture: site.start("capture").await?, workers: Vec::new() };
        for _ in 0..workers {
            crew.workers.push(site.start("apply").await?);
        }
        Ok(crew)
    }

    /// So many faults, one after another; what they were.
    pub(super) async fn trouble(&mut self, random: &mut StdRng, faults: u32) -> Result<String> {
        let mut told = Vec::new();
        for _ in 0..faults {
            // The one place where time passes without a condition: a fault comes whenever it comes.
            pause(random.random_range(0.3..1.5)).await;
            told.push(self.fault(random).await?);
        }
        Ok(told.join(", "))
    }

    async fn fault(&mut self, random: &mut StdRng) -> Result<&'static str> {
        let one = random.random_range(0..self.workers.len());
        let short = random.random_range(0.2..2.0);
        Ok(match random.random_range(0..12) {
            0..3 => {
                self.lose(one).await?;
                "a worker killed"
            }
            3 => {
                for worker in 0..self.workers.len() {
                    self.lose(worker).await?;
                }
                "all workers killed"
            }
            4 => {
                self.capture.kill().await?;
                self.capture = self.site.spawn("capture")?;
                "capture killed"
            }
            5 => {
                frozen(&mut self.capture, short).await?;
                "capture frozen"
            }
            6..8 => {
                frozen(&mut self.workers[one], short).await?;
                "a worker frozen"
            }
            8 => {
                frozen(&mut self.workers[one], LONG_FREEZE).await?;
                "a worker frozen for longer than its session"
            }
            9 => {
                let fresh = self.site.spawn("apply")?;
                std::mem::replace(&mut self.workers[one], fresh).stop(STOP).await?;
                "a worker replaced"
            }
            10 => {
                let fresh = self.site.spawn("capture")?;
                std::mem::replace(&mut self.capture, fresh).stop(STOP).await?;
                "capture replaced"
            }
            _ if self.workers.len() < MOST => {
                self.workers.push(self.site.start("apply").await?);
                "a worker more"
            }
            _ => {
                self.workers.swap_remove(one).stop(STOP).await?;
                "a worker less"
            }
        })
    }

    /// Waits until every process runs and no lane is in trouble.
    pub(super) async fn at_rest(&mut self) -> Result<()> {
        let mut last = String::new();
        wait_for("every lane to be at rest", REST, async || {
            let (calm, seen) = self.look().await;
            last = seen;
            if calm { Ok(()) } else { Err(last.clone()) }
        })
        .await
    }

    /// For each worker, the partitions of a topic that it applies.
    pub(super) async fn shares(&mut self, topic: &str) -> Result<Vec<Vec<i32>>> {
        let mut shares = Vec::new();
        for worker in &mut self.workers {
            let status = worker.status().await?.map_err(anyhow::Error::msg)?;
            let lanes = status.pipelines.iter().flat_map(|pipeline| &pipeline.lanes);
            let own = lanes.filter(|lane| lane.topic == topic && lane.state == LaneState::Running);
            shares.push(own.map(|lane| lane.partition).collect());
        }
        Ok(shares)
    }

    /// kill -9 for a worker, and another one in its place.
    pub(super) async fn lose(&mut self, worker: usize) -> Result<()> {
        self.workers[worker].kill().await?;
        self.workers[worker] = self.site.spawn("apply")?;
        Ok(())
    }

    /// The state of every process and lane, for people.
    pub(super) async fn status(&mut self) -> String {
        self.look().await.1
    }

    async fn look(&mut self) -> (bool, String) {
        let (mut calm, mut seen) = (true, String::new());
        for otter in std::iter::once(&mut self.capture).chain(&mut self.workers) {
            match otter.status().await {
                Ok(Ok(status)) => {
                    calm &= is_calm(&status);
                    seen += &describe(&status);
                }
                Ok(Err(why)) => {
                    calm = false;
                    seen += &format!("{why}\n");
                }
                Err(ended) => {
                    calm = false;
                    seen += &format!("{ended:#}\n");
                }
            }
        }
        (calm, seen)
    }

    /// SIGTERM for all of them.
    pub(super) async fn stop(self) -> Result<()> {
        for otter in std::iter::once(self.capture).chain(self.workers) {
            otter.stop(STOP).await?;
        }
        Ok(())
    }
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

async fn frozen(otter: &mut Otter, seconds: f64) -> Result<()> {
    otter.freeze()?;
    pause(seconds).await;
    otter.thaw()
}

fn is_calm(status: &WorkerStatus) -> bool {
    let lanes = status.pipelines.iter().flat_map(|pipeline| &pipeline.lanes);
    status.sources.iter().all(|source| source.state == SourceState::Running && source.error.is_none())
        && status.pipelines.iter().all(|p| p.state == PipelineState::Running && p.error.is_none())
        && lanes.into_iter().all(|lane| at_rest(lane.state) && lane.error.is_none() && is_at_its_end(lane))
}

/// Whether a lane has read all that it knows of.
fn is_at_its_end(lane: &LaneStatus) -> bool {
    lane.next_offset.zip(lane.end_offset).is_none_or(|(next, end)| next >= end)
}

fn at_rest(state: LaneState) -> bool {
    matches!(state, LaneState::Running | LaneState::Joined)
}

fn describe(status: &WorkerStatus) -> String {
    let mut text = format!("worker {}\n", status.worker);
    for source in &status.sources {
        text += &format!("  source {:?} {:?}\n", source.state, source.error);
    }
    for pipeline in &status.pipelines {
        text += &format!("  pipeline {:?} {:?}\n", pipeline.state, pipeline.error);
        for lane in &pipeline.lanes {
            text += &format!("    {lane:?}\n");
        }
    }
    text
}
