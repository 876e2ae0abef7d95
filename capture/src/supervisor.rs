//! Keeps one runner per source document, and restarts it when the document changes.
//!
//! A runner whose source cannot go on stays stopped until its document changes or its operator resets it; the others
//! never notice. A document that cannot be read stops its source, for nobody knows what it should say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordination::{Coordination, Snapshot, Versioned};
use prometheus_client::registry::Registry;
use schemas::documents::{Document, Kind, Source};
use schemas::kafka::KafkaOptions;
use schemas::status::{SourceState, StatusBoard};
use schemas::{Code, Error, Result};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::options::Options;
use crate::runner::{Runner, Site, show};

/// What capture needs of the process that it runs in.
#[derive(Debug)]
pub struct Context<'a> {
    /// Name of the installation.
    pub cluster: String,
    /// Id of this worker, the holder's name in leases.
    pub worker: String,
    /// How to reach Kafka.
    pub kafka: KafkaOptions,
    /// ZooKeeper.
    pub coordination: Coordination,
    /// Where the sources' status is shown.
    pub status: StatusBoard,
    /// Where the metrics are registered.
    pub metrics: &'a mut Registry,
}

/// The capture role: publishes every source of which this worker has the lease.
#[derive(Debug)]
pub struct Capture {
    site: Arc<Site>,
    metrics: Metrics,
    runners: BTreeMap<String, Entry>,
    tasks: JoinSet<()>,
}

/// A source that is there, its runner alive or not.
#[derive(Debug)]
struct Entry {
    version: i32,
    /// The document; none when it cannot be read.
    source: Option<Arc<Source>>,
    own: Arc<BTreeSet<String>>,
    task: Option<(Id, CancellationToken)>,
    /// What to run once the old runner has ended.
    next: Option<Arc<Source>>,
    removed: bool,
}

impl Capture {
    /// Capture, not running yet.
    pub fn new(options: Options, context: Context<'_>) -> Self {
        let Context { cluster, worker, kafka, coordination, status, metrics } = context;
        let site = Site { cluster, worker, kafka, coordination, board: status, options };
        let metrics = Metrics::register(metrics);
        Self { site: Arc::new(site), metrics, runners: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Runs until shutdown; sources finish their open Kafka transactions and give their leases up.
    ///
    /// # Errors
    /// When the documents cannot be read at the beginning. Errors of sources are shown on the status board instead.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let documents = self.site.coordination.documents();
        let mut sources = documents.watch(Kind::Source).await?;
        let mut targets = documents.watch(Kind::Target).await?;
        loop {
            let own = Arc::new(own_schemas(&targets.borrow_and_update()));
            let snapshot = Arc::clone(&sources.borrow_and_update());
            self.reconcile(&snapshot, &own);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = changed(&mut sources) => {}
                () = changed(&mut targets) => {}
            }
        }
        for (_, stop) in self.runners.values().filter_map(|entry| entry.task.as_ref()) {
            stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
        Ok(())
    }

    /// Makes the runners what the documents say.
    fn reconcile(&mut self, snapshot: &Snapshot, own: &Arc<BTreeSet<String>>) {
        for (name, entry) in &mut self.runners {
            if !snapshot.contains_key(name) && !entry.removed {
                entry.removed = true;
                entry.next = None;
                entry.stop();
            }
        }
        for (name, document) in snapshot {
            let source = readable(name, document);
            let (known, now) = (self.runners.get(name), source.as_ref().ok());
            if known.is_some_and(|entry| entry.is_of(document.version, own, now)) {
                continue;
            }
            if let Err(error) = &source {
                show(&self.site.board, name, SourceState::Stopped, Some(error));
            }
            let entry = self.runners.entry(name.clone()).or_insert_with(|| Entry::new(own));
            (entry.version, entry.own, entry.removed) = (document.version, Arc::clone(own), false);
            entry.source = source.ok();
            entry.next.clone_from(&entry.source);
            entry.stop();
        }
        self.runners.retain(|name, entry| {
            let gone = entry.removed && entry.task.is_none();
            if gone {
                self.site.board.remove_source(name);
            }
            !gone
        });
        for (name, entry) in &mut self.runners {
            if entry.task.is_some() {
                continue; // the one before is still ending; what comes next waits for it
            }
            let Some(source) = entry.next.take() else { continue };
            let runner = Runner {
                site: Arc::clone(&self.site),
                source,
                own: Arc::clone(&entry.own),
                metrics: self.metrics.source(name),
            };
            let stop = CancellationToken::new();
            let handle = self.tasks.spawn(runner.run(stop.clone()));
            entry.task = Some((handle.id(), stop));
        }
    }

    /// A runner has ended: it was asked to, or it panicked, which stays on the board until the document changes.
    fn ended(&mut self, ended: std::result::Result<(Id, ()), tokio::task::JoinError>) {
        let (id, failed) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => {
                let failed = Error::new(Code::CaptureFailed, format!("the source's task ended unexpectedly: {error}"));
                (error.id(), Some(failed))
            }
        };
        let found = self.runners.iter_mut().find(|(_, entry)| entry.task.as_ref().is_some_and(|(task, _)| *task == id));
        let Some((name, entry)) = found else { return };
        entry.task = None;
        if let Some(error) = failed {
            tracing::error!(source = %name, %error, remedy = error.code().remedy(), "source stopped");
            show(&self.site.board, name, SourceState::Stopped, Some(&error));
        }
    }
}

impl Entry {
    fn new(own: &Arc<BTreeSet<String>>) -> Self {
        Self { version: -1, source: None, own: Arc::clone(own), task: None, next: None, removed: false }
    }

    /// Whether it is of this document. The version alone does not tell: a document that was deleted and made again
    /// begins with the same one, and what was in between may not have been seen.
    fn is_of(&self, version: i32, own: &BTreeSet<String>, source: Option<&Arc<Source>>) -> bool {
        !self.removed && self.version == version && *self.own == *own && self.source.as_ref() == source
    }

    fn stop(&self) {
        if let Some((_, stop)) = &self.task {
            stop.cancel();
        }
    }
}

fn readable(name: &str, document: &Versioned<Result<Document, Arc<Error>>>) -> Result<Arc<Source>> {
    match &document.value {
        Ok(Document::Source(source)) => Ok(Arc::new(source.clone())),
        Ok(other) => Err(Error::new(Code::DocumentInvalid, format!("{other} stands where the source {name} belongs"))),
        Err(error) => Err(Error::new(error.code(), error.message())),
    }
}

/// The schemas in which targets keep progress and dead letters.
fn own_schemas(targets: &Snapshot) -> BTreeSet<String> {
    let documents = targets.values().filter_map(|versioned| versioned.value.as_ref().ok());
    let schemas = documents.filter_map(|document| match document {
        Document::Target(target) => Some(target.schema.clone()),
        _ => None,
    });
    schemas.collect()
}

/// Returns at the next change; never when the watch is over, which it is only after the connection was closed.
async fn changed(snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
    if snapshots.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
