//! One source on this worker: waits for the lease, then runs sessions under it until shutdown or a definite error.
//!
//! A session is one producer, one dump and one publisher. Whatever ends it, the next one begins with a new producer,
//! whose initialisation fences the last, and goes on from the last committed checkpoint. Errors whose reaction is to
//! retry are retried with growing pauses under the same lease; when somebody else has the lease, this worker gets in
//! line again. A definite error gives the lease up and is
//! shown; the source stays stopped until its document changes or an operator resets it.

mod adoption;
mod growth;
mod requests;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use coordination::{Coordination, Lease, LeaseState};
use schemas::documents::Source;
use schemas::kafka::KafkaOptions;
use schemas::status::{ErrorStatus, SourceState, StatusBoard};
use schemas::{Code, Error, Reaction, Result, names};
use tokio_util::sync::CancellationToken;

use crate::metrics::SourceMetrics;
use crate::options::Options;
use crate::publisher::{Exit, Resume, now_ms};
use requests::{Requests, wake};
use session::Session;

const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What the runners of a worker have in common.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Name of the installation.
    pub(crate) cluster: String,
    /// Id of this worker, the holder's name in leases.
    pub(crate) worker: String,
    /// How to reach Kafka.
    pub(crate) kafka: KafkaOptions,
    /// ZooKeeper.
    pub(crate) coordination: Coordination,
    /// Where the status is shown.
    pub(crate) board: StatusBoard,
    /// `[capture]`.
    pub(crate) options: Options,
}

/// The runner of one version of one source document.
#[derive(Debug)]
pub(crate) struct Runner {
    /// The worker's things.
    pub(crate) site: Arc<Site>,
    /// The document.
    pub(crate) source: Arc<Source>,
    /// The schemas in which targets keep Otter's own tables.
    pub(crate) own: Arc<BTreeSet<String>>,
    /// Counters of the source.
    pub(crate) metrics: SourceMetrics,
}

/// Why a leadership ended without a definite error.
enum Led {
    Shutdown,
    Deposed,
}

impl Runner {
    /// Runs until shutdown. A definite error stops the source, shown on the board, until a request sets it going again.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let path = names::lease_path(self.source.name.as_str());
        self.show(SourceState::Waiting, None);
        let mut requests = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            requests = self.follow_requests() => requests,
        };
        loop {
            self.show(SourceState::Waiting, None);
            let site = &self.site;
            let Some(lease) = site.coordination.acquire(&path, &site.worker, &shutdown).await else { return };
            tracing::info!(source = %self.source.name, "lease taken");
            let led = self.lead(&lease, &mut requests, &shutdown).await;
            lease.release().await;
            match led {
                Ok(Led::Shutdown) => return,
                Ok(Led::Deposed) => tracing::info!(source = %self.source.name, "another worker has the lease"),
                Err(error) => self.stopped(&error, &mut requests, &shutdown).await,
            }
            if shutdown.is_cancelled() {
                return;
            }
        }
    }

    /// Shows why the source has stopped, until a request may change that; another document ends this runner.
    async fn stopped(&self, error: &Error, requests: &mut Requests, shutdown: &CancellationToken) {
        let remedy = error.code().remedy();
        tracing::error!(source = %self.source.name, %error, remedy, "source stopped");
        self.show(SourceState::Stopped, Some(error));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = wake(requests) => {}
        }
    }

    /// Sessions, one after another, while the lease is ours.
    async fn lead(&self, lease: &Lease, requests: &mut Requests, shutdown: &CancellationToken) -> Result<Led> {
        let mut resume = Resume::default();
        let mut pauses = self.pauses();
        loop {
            self.show_state(SourceState::Starting);
            let began = Instant::now();
            let outcome = Session::new(self, lease, shutdown).run(&mut resume, requests).await;
            if shutdown.is_cancelled() {
                return Ok(Led::Shutdown);
            }
            let error = match outcome {
                Ok(Exit::Again(known)) => {
                    resume = known;
                    continue;
                }
                // Only shutdown and the loss of the lease stop a publisher.
                Ok(Exit::Stopped | Exit::ReaderGone) => return Ok(Led::Deposed),
                Err(error) if error.code().reaction() != Reaction::Retry => return Err(error),
                Err(error) => error,
            };
            tracing::warn!(source = %self.source.name, %error, "starting again from the last checkpoint");
            self.show(SourceState::Retrying, Some(&error));
            self.metrics.reconnects.inc();
            resume.in_pieces |= writing_failed(&error);
            if began.elapsed() > 2 * self.site.options.retry_max.get() {
                pauses = self.pauses();
            }
            if deposed(lease) {
                return Ok(Led::Deposed);
            }
            let pause = pauses.next().unwrap_or(self.site.options.retry_max.get());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(Led::Shutdown),
                () = lost(lease) => return Ok(Led::Deposed),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(self.site.options.retry_max.get())
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// The state; an earlier error stays until something is committed.
    fn show_state(&self, state: SourceState) {
        self.site.board.source(self.source.name.as_str(), |status| status.state = state);
    }

    fn show(&self, state: SourceState, error: Option<&Error>) {
        show(&self.site.board, self.source.name.as_str(), state, error);
    }
}

/// Puts a source's state on the board; an error that is there already keeps its `since`.
pub(crate) fn show(board: &StatusBoard, source: &str, state: SourceState, error: Option<&Error>) {
    board.source(source, |status| {
        status.state = state;
        let since = |code: &str| status.error.as_ref().filter(|e| e.code == code).map_or_else(now_ms, |e| e.since);
        status.error = error.map(|e| ErrorStatus::new(e, since(e.code().id())));
    });
}

/// Whether Kafka did not take what was written, in time or at all.
fn writing_failed(error: &Error) -> bool {
    [Code::KafkaUnavailable, Code::ProducerFenced, Code::TransactionFailed].contains(&error.code())
}

fn deposed(lease: &Lease) -> bool {
    matches!(*lease.state().borrow(), LeaseState::HeldByOther(_))
}

/// Returns once somebody else has the lease.
async fn lost(lease: &Lease) {
    let mut state = lease.state();
    let seen = state.wait_for(|state| matches!(state, LeaseState::HeldByOther(_))).await.is_ok();
    if !seen {
        // The connection was closed: nothing will be learned any more, and a shutdown is on its way.
        std::future::pending::<()>().await;
    }
}
