//! A running pipeline: the runtime that keeps its consumers going.
//!
//! The runtime starts a consumer thread, or several where there are very many partitions (`consumer::handles`), and follows the configuration: a change reaches the lanes through a watch, and
//! each looks whether it concerns its table (`settings`); only a change of the topics is told to the consumer. When the
//! consumer fails it is started again after a wait; the group, the offsets and the progress rows make that safe.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;
use std::time::Duration;

use coordination::{Coordination, SchemaStore};
use schemas::kafka::KafkaOptions;
use schemas::status::{ErrorStatus, PipelineState, StatusBoard};
use schemas::{Code, Error, Result, names};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::chunk::{LaneQueue, Waiting};
use crate::config::Config;
use crate::consumer::handles::{Ending, Handles, Start, follow_count, partitions};
use crate::consumer::lanes::{LaneHandle, LaneId, Lanes, Part};
use crate::consumer::rounds::{ConsumerLoop, Hooks};
use crate::consumer::{Callbacks, Mailbox, config as consumer_config};
use crate::inquiry::{Inquiry, follow_ends};
use crate::joined::members::LastListed;
use crate::lane::report::{Report, now_ms};
use crate::lane::{LaneTask, Progress, Services};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::{Backoff, Pool};
use crate::settings::Settings;

/// What all pipelines of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) cluster: String,
    pub(crate) kafka: KafkaOptions,
    pub(crate) schemas: SchemaStore,
    pub(crate) inquiry: Inquiry,
    pub(crate) catalog: Catalog,
    pub(crate) coordination: Coordination,
    pub(crate) board: StatusBoard,
    pub(crate) metrics: Metrics,
    pub(crate) waiting: Arc<Waiting>,
}

/// The runtime of a pipeline.
pub(crate) struct Runtime {
    pub(crate) shared: Shared,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) stop: CancellationToken,
}

impl Runtime {
    /// Runs until `stop`; then the lanes have finished their batches in flight and the group has been left.
    pub(crate) async fn run(mut self) {
        let name = self.config.borrow().name.clone();
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            let started = std::time::Instant::now();
            let Err(error) = self.consume(&name).await else { continue };
            if started.elapsed() > Duration::from_secs(60) {
                backoff.reset();
            }
            tracing::error!(pipeline = name, %error, "the consumer starts again");
            show(&self.shared.board, &name, PipelineState::Retrying, Some(&error));
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    /// One life of the consumer.
    async fn consume(&mut self, name: &str) -> Result<()> {
        self.reach_target().await?;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let (topics, occasions) = {
            let config = self.config.borrow_and_update();
            (config.subscription(), self.shared.coordination.watch_topics(config.source_name()))
        };
        let tasks = TaskTracker::new();
        let (mut handles, count) = self.start_consumers(name, &topics, &tasks).await?;
        show(&self.shared.board, name, PipelineState::Running, None);
        let stop_helpers = CancellationToken::new();
        let inquiry = self.shared.inquiry.clone();
        tasks.spawn(follow_ends(inquiry, self.shared.board.clone(), name.to_owned(), stop_helpers.clone()));
        let _stop = stop_helpers.drop_guard();
        let result = self.follow(&mut handles, topics, (occasions, count)).await;
        drop((_stop, handles));
        tasks.close();
        tasks.wait().await;
        result
    }

    /// The first consumers, and how many partitions there are from here on.
    async fn start_consumers(
        &self,
        name: &str,
        topics: &[String],
        tasks: &TaskTracker,
    ) -> Result<(Handles<Consumers>, watch::Receiver<usize>)> {
        let shared = &self.shared;
        let config = Arc::clone(&self.config.borrow());
        let counted = tokio::select! {
            () = self.stop.cancelled() => Ok(0),
            counted = partitions(&shared.inquiry, &config) => counted,
        };
        // One consumer is never wrong; they are counted again.
        let counted = counted.unwrap_or_else(|error| {
            tracing::debug!(%error, "the partitions were not counted");
            0
        });
        let (sender, count) = watch::channel(counted);
        tasks.spawn(follow_count(shared.inquiry.clone(), shared.coordination.clone(), self.config.clone(), sender));
        let start = Consumers {
            shared: shared.clone(),
            name: name.to_owned(),
            expected: counted.max(config.expected_topics()),
            config: self.config.clone(),
            tasks: tasks.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let mut handles = Handles::new(start);
        handles.resize(shared.options.consumers(counted), topics)?;
        Ok((handles, count))
    }

    /// Connects once before the group is joined: lanes come only with topics, and until then nobody would see that the
    /// target cannot be reached or that its password is missing.
    async fn reach_target(&self) -> Result<()> {
        let pool = Arc::clone(&self.config.borrow().pool);
        let table = Arc::from("");
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            pooled = pool.acquire(&table) => pooled?.give_back(),
        }
        Ok(())
    }

    /// Passes changes on until the consumers have ended.
    async fn follow(
        &mut self,
        handles: &mut Handles<Consumers>,
        mut topics: Vec<String>,
        (mut new_topics, mut count): (watch::Receiver<u64>, watch::Receiver<usize>),
    ) -> Result<()> {
        let pool = Arc::clone(&self.config.borrow().pool);
        let mut kept = (keep(&pool), pool);
        let mut stopping = false;
        let mut source = self.config.borrow().source_name().to_owned();
        loop {
            tokio::select! {
                biased;
                result = handles.end() => return result,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    handles.stop();
                }
                told = new_topics.changed(), if !stopping => match told {
                    Ok(()) => handles.refresh(),
                    // The connection to ZooKeeper was closed, so the process is about to end.
                    Err(_) => new_topics = watch::channel(0).1,
                },
                Ok(()) = count.changed(), if !stopping => {
                    let wanted = self.shared.options.consumers(*count.borrow_and_update());
                    if wanted != handles.count() {
                        tracing::info!(from = handles.count(), to = wanted, "consumers of the pipeline");
                        handles.resize(wanted, &topics)?;
                    }
                }
                changed = self.config.changed(), if !stopping => {
                    if changed.is_err() {
                        stopping = true;
                        handles.stop();
                        continue;
                    }
                    let config = Arc::clone(&self.config.borrow_and_update());
                    let now = config.subscription();
                    if now != topics {
                        topics.clone_from(&now);
                        handles.follow(&topics);
                    }
                    if config.source_name() != source {
                        config.source_name().clone_into(&mut source);
                        new_topics = self.shared.coordination.watch_topics(&source);
                    }
                    if !Arc::ptr_eq(&kept.1, &config.pool) {
                        kept = (keep(&config.pool), Arc::clone(&config.pool));
                    }
                }
            }
        }
    }
}

/// What a pipeline's consumers are made of.
struct Consumers {
    shared: Shared,
    name: String,
    /// Partitions that memory is shared out for.
    expected: usize,
    config: watch::Receiver<Arc<Config>>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl Start for Consumers {
    fn start(&self, number: u64, mailbox: Arc<Mailbox>, ending: Ending) -> Result<JoinHandle<()>> {
        let shared = &self.shared;
        let group = names::group(&shared.cluster, &self.name);
        let consumer = consumer_config(&shared.kafka, &shared.options, &group, self.expected)
            .create_with_context::<_, rdkafka::consumer::BaseConsumer<Callbacks>>(Callbacks::default())
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")).with_source(e))?;
        let lanes = Lanes::new(shared.options.limits(), Arc::clone(&shared.waiting));
        let hooks = self.hooks(&mailbox);
        let run = move || ending.with(ConsumerLoop::new(consumer, mailbox, lanes, hooks).run());
        let thread = std::thread::Builder::new().name(format!("apply-{number}-{}", self.name)).spawn(run);
        thread.map_err(|e| Error::new(Code::KafkaUnavailable, "no thread for the consumer").with_source(e))
    }
}

impl Consumers {
    fn hooks(&self, mailbox: &Arc<Mailbox>) -> Hooks {
        let shared = self.shared.clone();
        let catalog = shared.catalog.clone();
        let services = Services {
            catalog,
            inquiry: shared.inquiry.clone(),
            ordered: LastListed::default(),
            schemas: shared.schemas.clone(),
            mailbox: Arc::clone(mailbox),
        };
        let (config, tasks, pipeline) = (self.config.clone(), self.tasks.clone(), self.name.clone());
        let runtime = self.runtime.clone();
        let (board, of) = (shared.board.clone(), pipeline.clone());
        let spawn = move |id: LaneId, part: &Part| {
            let handle = LaneHandle {
                queue: Arc::new(LaneQueue::new(Arc::clone(&shared.waiting))),
                stop: CancellationToken::new(),
                abandon: CancellationToken::new(),
                recheck: Arc::default(),
                committed: Arc::new(AtomicI64::new(-1)),
            };
            let task = LaneTask {
                id,
                part: part.clone(),
                table: Arc::from(part.topic.as_str()),
                handle: handle.clone(),
                services: services.clone(),
                settings: Settings::new(config.clone(), &part.topic),
                report: Report::new(shared.board.clone(), &shared.metrics, &pipeline, part),
                state: Progress::default(),
            };
            tasks.spawn_on(task.run(), &runtime);
            handle
        };
        let report = move |error: Option<Error>| {
            let state = if error.is_some() { PipelineState::Retrying } else { PipelineState::Running };
            show(&board, &of, state, error.as_ref());
        };
        Hooks { spawn: Box::new(spawn), report: Box::new(report), drain: self.shared.options.drain.get() }
    }
}

/// Runs a pipeline until `stop`. A runtime that panics is started again after a wait, with the error on the board.
pub(crate) async fn keep_running(shared: Shared, config: watch::Receiver<Arc<Config>>, stop: CancellationToken) {
    let name = config.borrow().name.clone();
    let board = shared.board.clone();
    let run = || Runtime { shared: shared.clone(), config: config.clone(), stop: stop.clone() }.run();
    again_after_panic(run, &stop, |error| {
        tracing::error!(pipeline = name, %error, "the pipeline starts again");
        show(&board, &name, PipelineState::Retrying, Some(error));
    })
    .await;
}

/// Runs a task to its end, and another in its place as long as they panic.
async fn again_after_panic<F: Future<Output = ()> + Send + 'static>(
    mut run: impl FnMut() -> F,
    stop: &CancellationToken,
    mut report: impl FnMut(&Error),
) {
    let mut backoff = Backoff::default();
    while let Err(panic) = tokio::spawn(run()).await {
        report(&Error::new(Code::LaneFailed, format!("the pipeline's task ended unexpectedly: {panic}")));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// Starts the task that keeps a pool's idle connections alive; it ends with the guard.
fn keep(pool: &Arc<Pool>) -> DropGuard {
    let stop = CancellationToken::new();
    drop(tokio::spawn(Arc::clone(pool).keep(stop.clone())));
    stop.drop_guard()
}

/// Puts a pipeline's state on the board.
pub(crate) fn show(board: &StatusBoard, pipeline: &str, state: PipelineState, error: Option<&Error>) {
    board.pipeline(pipeline, |entry| {
        entry.state = state;
        entry.error = error.map(|e| ErrorStatus::new(e, now_ms()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again() {
        let (mut runs, mut reports) = (0, Vec::new());
        let run = || {
            runs += 1;
            let fails = runs < 3;
            async move { assert!(!fails, "run {fails}") }
        };
        again_after_panic(run, &CancellationToken::new(), |error| reports.push(error.code())).await;
        assert_eq!((runs, reports), (3, vec![Code::LaneFailed; 2]));
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_with_its_pipeline() {
        let stop = CancellationToken::new();
        again_after_panic(|| async { panic!("always") }, &stop, |_| stop.cancel()).await;
    }
}
