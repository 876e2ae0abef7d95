//! The apply role: follows the documents and keeps one runtime per running pipeline.
//!
//! Whatever happens to the documents of one pipeline touches no other. A pipeline whose documents are wrong or missing
//! stands still with its error on the board until they change; one that is paused or deleted finishes the batches in
//! flight and leaves its group. An outage of ZooKeeper changes nothing: the watches keep their last state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordination::{Coordination, Snapshot};
use prometheus_client::registry::Registry;
use schemas::documents::{Document, Kind, Pipeline, Source, Target, World};
use schemas::kafka::KafkaOptions;
use schemas::status::{PipelineState, StatusBoard};
use schemas::{Code, Error, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::chunk::Waiting;
use crate::config::{Config, Documents};
use crate::inquiry::Inquiry;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pipeline::{Shared, keep_running, show};
use crate::seeks::Seeks;

/// What the role needs from the process.
#[derive(Debug)]
pub struct Context<'a> {
    /// Name of the installation.
    pub cluster: String,
    /// How to reach Kafka.
    pub kafka: KafkaOptions,
    /// Documents and schemas.
    pub coordination: Coordination,
    /// Where to say what is going on.
    pub status: StatusBoard,
    /// Where to count it.
    pub metrics: &'a mut Registry,
}

/// The apply role of a process.
pub struct Apply {
    shared: Shared,
    coordination: Coordination,
    running: BTreeMap<String, Running>,
}

impl std::fmt::Debug for Apply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apply").field("pipelines", &self.running.keys()).finish_non_exhaustive()
    }
}

struct Running {
    config: watch::Sender<Arc<Config>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a pipeline's documents ask for.
enum Wanted {
    Run(Arc<Config>),
    Keep,
    Pause,
    Wrong(Error),
}

struct Snapshots {
    sources: Arc<Snapshot>,
    targets: Arc<Snapshot>,
    pipelines: Arc<Snapshot>,
    /// All documents that can be read, together.
    world: Arc<World>,
}

impl Snapshots {
    fn new(sources: Arc<Snapshot>, targets: Arc<Snapshot>, pipelines: Arc<Snapshot>) -> Self {
        let mut world = World::default();
        for entry in [&sources, &targets, &pipelines].into_iter().flat_map(|snapshot| snapshot.values()) {
            if let Ok(document) = &entry.value {
                world.insert(document.clone());
            }
        }
        Self { sources, targets, pipelines, world: Arc::new(world) }
    }
}

impl Apply {
    /// Prepares the role; nothing runs yet.
    ///
    /// # Errors
    /// `OT1004` when librdkafka refuses a property of `kafka.client`.
    pub fn new(options: Options, context: Context<'_>) -> Result<Self> {
        let metrics = Metrics::default();
        metrics.register(context.metrics);
        let inquiry = Inquiry::new(&context.kafka, context.coordination.schemas())?;
        let shared = Shared {
            catalog: Catalog::new(inquiry.clone()),
            inquiry,
            coordination: context.coordination.clone(),
            options,
            cluster: context.cluster,
            kafka: context.kafka,
            schemas: context.coordination.schemas(),
            board: context.status,
            metrics,
            waiting: Arc::new(Waiting::default()),
        };
        Ok(Self { shared, coordination: context.coordination, running: BTreeMap::new() })
    }

    /// Runs until `shutdown`; then every pipeline has finished its batches in flight and left its group.
    ///
    /// # Errors
    /// `OT2001` when the documents cannot be read at the start.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let documents = self.coordination.documents();
        let mut sources = documents.watch(Kind::Source).await?;
        let mut targets = documents.watch(Kind::Target).await?;
        let mut pipelines = documents.watch(Kind::Pipeline).await?;
        let seeks = Seeks {
            coordination: self.coordination.clone(),
            inquiry: self.shared.inquiry.clone(),
            worker: self.shared.board.snapshot().worker,
        };
        let end_seeks = shutdown.child_token();
        let seeks = tokio::spawn(seeks.run(pipelines.clone(), end_seeks.clone()));
        loop {
            let now = Snapshots::new(
                Arc::clone(&sources.borrow_and_update()),
                Arc::clone(&targets.borrow_and_update()),
                Arc::clone(&pipelines.borrow_and_update()),
            );
            self.reconcile(&now).await;
            let changed = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = pipelines.changed() => changed,
                changed = sources.changed() => changed,
                changed = targets.changed() => changed,
            };
            if changed.is_err() {
                break;
            }
        }
        let names: Vec<String> = self.running.keys().cloned().collect();
        self.stop(&names).await;
        end_seeks.cancel();
        if let Err(error) = seeks.await {
            tracing::error!(%error, "the task for requests panicked");
        }
        Ok(())
    }

    async fn reconcile(&mut self, now: &Snapshots) {
        let known: BTreeSet<String> = now.pipelines.keys().chain(self.running.keys()).cloned().collect();
        let mut ending = Vec::new();
        let mut after = Vec::new();
        for name in known {
            if !now.pipelines.contains_key(&name) {
                ending.push(name.clone());
                after.push((name, None));
                continue;
            }
            match self.wanted(&name, now) {
                Wanted::Keep => {}
                Wanted::Run(config) => self.start_or_change(&name, config),
                Wanted::Pause => {
                    ending.push(name.clone());
                    after.push((name, Some((PipelineState::Paused, None))));
                }
                Wanted::Wrong(error) => {
                    ending.push(name.clone());
                    after.push((name, Some((PipelineState::Stopped, Some(error)))));
                }
            }
        }
        self.stop(&ending).await;
        for (name, state) in after {
            match state {
                Some((state, error)) => {
                    self.shared.board.remove_pipeline(&name);
                    show(&self.shared.board, &name, state, error.as_ref());
                }
                None => self.shared.board.remove_pipeline(&name),
            }
        }
    }

    fn wanted(&self, name: &str, now: &Snapshots) -> Wanted {
        match self.config(name, now) {
            Ok(wanted) => wanted,
            Err(error) => Wanted::Wrong(error),
        }
    }

    fn config(&self, name: &str, now: &Snapshots) -> Result<Wanted> {
        let (pipeline, version) = find::<Pipeline>(&now.pipelines, Kind::Pipeline, name)?;
        if pipeline.is_paused() {
            return Ok(Wanted::Pause);
        }
        let (source, source_version) = find::<Source>(&now.sources, Kind::Source, pipeline.source.as_str())?;
        let (target, target_version) = find::<Target>(&now.targets, Kind::Target, pipeline.target.as_str())?;
        let versions = [version, source_version, target_version];
        let of = Documents { pipeline: pipeline.clone(), source: source.clone(), target: target.clone(), versions };
        let before = self.running.get(name).map(|r| Arc::clone(&r.config.borrow()));
        if before.as_ref().is_some_and(|b| b.is_of(&of, &now.world)) {
            return Ok(Wanted::Keep);
        }
        Config::new(of, Arc::clone(&now.world), &self.shared.options, before.as_deref())
            .map(|config| Wanted::Run(Arc::new(config)))
    }

    fn start_or_change(&mut self, name: &str, config: Arc<Config>) {
        if let Some(running) = self.running.get(name) {
            tracing::info!(pipeline = name, version = config.version, "pipeline changed");
            running.config.send_replace(config);
            return;
        }
        tracing::info!(pipeline = name, version = config.version, "pipeline started");
        show(&self.shared.board, name, PipelineState::Starting, None);
        let (sender, receiver) = watch::channel(config);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_running(self.shared.clone(), receiver, stop.clone()));
        self.running.insert(name.to_owned(), Running { config: sender, stop, task });
    }

    /// Stops pipelines, all at the same time.
    async fn stop(&mut self, names: &[String]) {
        let stopping: Vec<_> = names.iter().filter_map(|n| self.running.remove(n).map(|r| (n, r))).collect();
        for (_, running) in &stopping {
            running.stop.cancel();
        }
        for (name, running) in stopping {
            if let Err(error) = running.task.await {
                tracing::error!(pipeline = name, %error, "the pipeline's task panicked");
            }
            tracing::info!(pipeline = name, "pipeline stopped");
        }
    }
}

/// A kind of document.
trait OfDocument: Sized {
    fn of(document: &Document) -> Option<&Self>;
}

impl OfDocument for Pipeline {
    fn of(document: &Document) -> Option<&Self> {
        if let Document::Pipeline(pipeline) = document { Some(pipeline) } else { None }
    }
}

impl OfDocument for Source {
    fn of(document: &Document) -> Option<&Self> {
        if let Document::Source(source) = document { Some(source) } else { None }
    }
}

impl OfDocument for Target {
    fn of(document: &Document) -> Option<&Self> {
        if let Document::Target(target) = document { Some(target) } else { None }
    }
}

fn find<'a, D: OfDocument>(snapshot: &'a Snapshot, kind: Kind, name: &str) -> Result<(&'a D, i32)> {
    let missing = || Error::new(Code::NotFound, format!("there is no {kind} {name}"));
    let entry = snapshot.get(name).ok_or_else(missing)?;
    match &entry.value {
        Ok(document) => D::of(document).map(|d| (d, entry.version)).ok_or_else(missing),
        Err(error) => Err(Error::new(error.code(), format!("{kind} {name}: {}", error.message()))),
    }
}
