//! A capture and an applier of one site, and what must hold after a load went through them.

use super::database::wait_equal;
use super::topics::{Counts, check_topic};
use super::{Otter, Result, Site, ensure};
use schemas::status::{LaneState, SourceState, WorkerStatus};
use std::time::Duration;

/// How long until everything has arrived after the last fault.
const RECOVERY: Duration = Duration::from_secs(60);

/// The two processes.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) capture: Otter,
    pub(crate) apply: Otter,
}

impl Pair {
    /// Starts both and waits until they answer.
    pub(crate) async fn start(site: &Site) -> Result<Self> {
        Ok(Self { capture: site.start("capture").await?, apply: site.start("apply").await? })
    }
}

/// After a load into the tables `load`: the target equals the source, both processes end within seconds of SIGTERM, and the
/// topic holds exactly the events that were written.
pub(crate) async fn check_all(site: &Site, pair: Pair, written: Counts) -> Result<()> {
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    wait_equal((&mut source, &site.from("load")), (&mut target, &site.to("load")), RECOVERY).await?;
    pair.capture.stop(Duration::from_secs(10)).await?;
    pair.apply.stop(Duration::from_secs(10)).await?;
    let seen = check_topic(site, "load").await?;
    ensure!(seen == written, "the topic holds {seen:?}, written were {written:?}");
    println!("{} events", seen.events());
    Ok(())
}

/// Whether a worker captures.
pub(crate) fn capturing(status: &WorkerStatus) -> Option<()> {
    status.sources.iter().any(|source| source.state == SourceState::Running).then_some(())
}

/// Whether a worker waits for another that captures.
pub(crate) fn waiting(status: &WorkerStatus) -> Option<()> {
    status.sources.iter().any(|source| source.state == SourceState::Waiting).then_some(())
}

/// Whether a worker applies at least one lane.
pub(crate) fn applying(status: &WorkerStatus) -> Option<()> {
    status.pipelines.iter().flat_map(|p| &p.lanes).any(|lane| lane.state == LaneState::Running).then_some(())
}
