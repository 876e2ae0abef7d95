//! A running pipeline: its configuration made from three documents, and the runtime that keeps its consumer going.
//!
//! The runtime starts a consumer thread and follows the configuration: a change reaches the lanes through a watch, and
//! each lane then claims again under the new settings; only a change of the topics is told to the consumer. When the
//! consumer fails it is started again after a wait; the group, the offsets and the progress rows make that safe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use coordination::SchemaStore;
use schemas::documents::{Columns, Pipeline, PipelineStart, Source, Target};
use schemas::kafka::KafkaOptions;
use schemas::status::{ErrorStatus, PipelineState, StatusBoard};
use schemas::table::TableName;
use schemas::{Code, Error, Result, names};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::chunk::{LaneQueue, Waiting};
use crate::consumer::lanes::{LaneHandle, LaneId, Lanes, Part};
use crate::consumer::rounds::{ConsumerLoop, Hooks};
use crate::consumer::{Callbacks, Mailbox, Request, config as consumer_config};
use crate::inquiry::{Inquiry, follow_ends};
use crate::lane::intake::Limits;
use crate::lane::report::{Report, now_ms};
use crate::lane::{LaneTask, Progress, Services};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pool::{Backoff, Pool};
use crate::target::writer::Policies;

/// What a table's lane needs to know.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    /// The target's table.
    pub(crate) to: TableName,
    /// Which columns, under which names.
    pub(crate) columns: Columns,
    /// What happens to rows that are not as their events expect.
    pub(crate) policies: Policies,
    /// Where batches end.
    pub(crate) limits: Limits,
    /// How long a batch waits for records that are known to follow.
    pub(crate) wait: Duration,
    /// Where the table begins when it is new to the pipeline.
    pub(crate) start: PipelineStart,
}

/// The documents that a configuration is made of. A version alone says little: a document that was deleted and put again
/// counts from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Documents {
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
    /// Its source.
    pub(crate) source: Source,
    /// Its target.
    pub(crate) target: Target,
    /// The versions of the three. A document that is put again unchanged makes paused lanes try again.
    pub(crate) versions: [i32; 3],
}

/// A pipeline as it is to run now.
#[derive(Debug)]
pub(crate) struct Config {
    /// The pipeline's name.
    pub(crate) name: String,
    /// Version of the pipeline document.
    pub(crate) version: i32,
    /// What it was made of.
    of: Documents,
    /// The tables by topic.
    pub(crate) tables: BTreeMap<String, Arc<TablePlan>>,
    /// The connections to the target.
    pub(crate) pool: Arc<Pool>,
}

impl Config {
    /// Makes the configuration; the pool of the one before is kept where it fits.
    ///
    /// # Errors
    /// `OT1001` and `OT1002` when the documents do not fit together, naming the mapping.
    pub(crate) fn new(of: Documents, options: &Options, before: Option<&Self>) -> Result<Self> {
        let Documents { pipeline, source, target, versions } = &of;
        let mut tables = BTreeMap::new();
        for (at, mapping) in pipeline.mappings.iter().enumerate() {
            let from = mapping.from_table()?;
            if !source.follows(&from) {
                let message = format!("mappings[{at}].from: the source {} does not publish {from}", source.name);
                return Err(Error::new(Code::DocumentInvalid, message));
            }
            let settings = pipeline.settings_for(mapping);
            let elastic = mapping.batch.rows.is_none() && pipeline.apply.batch.rows.is_none();
            let rows = settings.batch_rows as usize;
            let bytes = settings.batch_bytes.as_usize();
            let plan = TablePlan {
                to: mapping.to_table()?,
                columns: mapping.columns.clone(),
                policies: Policies::from(&settings),
                limits: Limits {
                    rows,
                    bytes,
                    hard_rows: rows.saturating_mul(options.backlog_factor.max(1) as usize),
                    hard_bytes: bytes.saturating_mul(2),
                    elastic,
                },
                wait: settings.batch_wait,
                start: pipeline.start_for(mapping),
            };
            tables.insert(source.topic_for(&from)?, Arc::new(plan));
        }
        let writers = pipeline.writers();
        let pool = before.map(|b| &b.pool).filter(|pool| pool.fits(target, writers));
        let pool = pool.map_or_else(|| Pool::new(target.clone(), writers), Arc::clone);
        let name = pipeline.name.as_str().to_owned();
        let version = versions[0];
        Ok(Self { name, version, of, tables, pool })
    }

    /// Whether it was made of just these.
    pub(crate) fn is_of(&self, documents: &Documents) -> bool {
        self.of == *documents
    }

    fn topics(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }
}

/// What all pipelines of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) cluster: String,
    pub(crate) kafka: KafkaOptions,
    pub(crate) schemas: SchemaStore,
    pub(crate) inquiry: Inquiry,
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
        let shared = &self.shared;
        let group = names::group(&shared.cluster, name);
        let topics = self.config.borrow_and_update().topics();
        let consumer = consumer_config(&shared.kafka, &shared.options, &group, topics.len())
            .create_with_context::<_, rdkafka::consumer::BaseConsumer<Callbacks>>(Callbacks::default())
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")).with_source(e))?;
        let mailbox = Arc::new(Mailbox::default());
        let tasks = TaskTracker::new();
        let hooks = self.hooks(name, &mailbox, &tasks);
        let lanes = Lanes::new(shared.options.limits(), Arc::clone(&shared.waiting));
        mailbox.send(Request::Topics(topics.clone()));
        let (ended, end) = tokio::sync::oneshot::channel();
        let thread_mailbox = Arc::clone(&mailbox);
        let thread = std::thread::Builder::new()
            .name(format!("apply-{name}"))
            .spawn(move || {
                let result = ConsumerLoop::new(consumer, thread_mailbox, lanes, hooks).run();
                // Nobody waits any more when the process is being torn down.
                drop(ended.send(result));
            })
            .map_err(|e| Error::new(Code::KafkaUnavailable, "no thread for the consumer").with_source(e))?;
        show(&shared.board, name, PipelineState::Running, None);
        let stop_ends = CancellationToken::new();
        let ends = follow_ends(shared.inquiry.clone(), shared.board.clone(), name.to_owned(), stop_ends.clone());
        tasks.spawn(ends);
        let result = self.follow(&mailbox, topics, end).await;
        stop_ends.cancel();
        tasks.close();
        tasks.wait().await;
        drop(tokio::task::spawn_blocking(move || thread.join()).await);
        result
    }

    /// Connects once before the group is joined: lanes come only with topics, and until then nobody would see that the
    /// target cannot be reached or that its password is missing.
    async fn reach_target(&self) -> Result<()> {
        let pool = Arc::clone(&self.config.borrow().pool);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            pooled = pool.acquire() => pooled?.give_back(),
        }
        Ok(())
    }

    /// Passes changes on until the consumer's thread has ended.
    async fn follow(
        &mut self,
        mailbox: &Mailbox,
        mut topics: Vec<String>,
        end: tokio::sync::oneshot::Receiver<Result<()>>,
    ) -> Result<()> {
        let pool = Arc::clone(&self.config.borrow().pool);
        let mut kept = (keep(&pool), pool);
        tokio::pin!(end);
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                result = &mut end => {
                    return result.unwrap_or_else(|e| {
                        Err(Error::new(Code::LaneFailed, "the consumer's thread panicked").with_source(e))
                    });
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    mailbox.send(Request::Shutdown);
                }
                changed = self.config.changed(), if !stopping => {
                    if changed.is_err() {
                        stopping = true;
                        mailbox.send(Request::Shutdown);
                        continue;
                    }
                    let config = Arc::clone(&self.config.borrow_and_update());
                    let now = config.topics();
                    if now != topics {
                        topics.clone_from(&now);
                        mailbox.send(Request::Topics(now));
                    }
                    if !Arc::ptr_eq(&kept.1, &config.pool) {
                        kept = (keep(&config.pool), Arc::clone(&config.pool));
                    }
                }
            }
        }
    }

    fn hooks(&self, name: &str, mailbox: &Arc<Mailbox>, tasks: &TaskTracker) -> Hooks {
        let shared = self.shared.clone();
        let services =
            Services { inquiry: shared.inquiry.clone(), schemas: shared.schemas.clone(), mailbox: Arc::clone(mailbox) };
        let (config, tasks, pipeline) = (self.config.clone(), tasks.clone(), name.to_owned());
        let runtime = tokio::runtime::Handle::current();
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
                handle: handle.clone(),
                services: services.clone(),
                config: config.clone(),
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
