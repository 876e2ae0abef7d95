//! What a worker says about itself: the JSON of `/status`, and the board that its roles write on.
//!
//! The board is a shared handle. Writers take its lock for one small update; nobody holds it across I/O. Entries are
//! kept in order of their names, so that snapshots are stable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::gtid::GtidPosition;

/// An error as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorStatus {
    /// Such as `OT3002`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Where the admin API explains the code.
    #[serde(default)]
    pub link: String,
    /// Since when, milliseconds since 1970-01-01 UTC.
    pub since: i64,
}

impl ErrorStatus {
    /// The error, since a moment in milliseconds since 1970-01-01 UTC.
    pub fn new(error: &Error, since: i64) -> Self {
        Self {
            code: error.code().id().to_owned(),
            message: error.message().to_owned(),
            remedy: error.code().remedy().to_owned(),
            link: format!("/api/v1/codes/{}", error.code().id()),
            since,
        }
    }
}

/// What a source is doing on this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Another worker leads it.
    #[default]
    Waiting,
    /// This worker leads it and is about to read.
    Starting,
    /// This worker reads and publishes.
    Running,
    /// Something went wrong that is expected to go away; see `error`.
    Retrying,
    /// It stands still until somebody changes something; see `error`.
    Stopped,
}

/// A source on a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// Name of the document.
    pub name: String,
    /// What it is doing.
    pub state: SourceState,
    /// Count of leaderships; 0 before the first.
    pub epoch: u64,
    /// GTID position of the last committed checkpoint.
    #[schemars(with = "String")]
    pub gtid: GtidPosition,
    /// Binlog file of the last committed checkpoint.
    pub file: String,
    /// Position in the file.
    pub position: u64,
    /// Ordinal of the last committed checkpoint.
    pub ordinal: i64,
    /// Age of the last published event when it was committed to Kafka, in milliseconds; null before the first.
    pub lag_ms: Option<i64>,
    /// Row events published since the worker started.
    pub rows: u64,
    /// What is wrong, if something is.
    pub error: Option<ErrorStatus>,
}

/// What a pipeline is doing on this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PipelineState {
    /// Its consumer is about to start.
    #[default]
    Starting,
    /// It applies.
    Running,
    /// Its document says `paused`.
    Paused,
    /// Something went wrong that is expected to go away; see `error`.
    Retrying,
    /// It stands still until somebody changes something; see `error`.
    Stopped,
}

/// What a lane is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LaneState {
    /// It claims its progress row.
    #[default]
    Claiming,
    /// It applies.
    Running,
    /// Something went wrong that is expected to go away; see `error`.
    Retrying,
    /// It stands still until somebody changes something; see `error`.
    Paused,
}

/// What a lane did since this worker took it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LaneCounters {
    /// Target transactions committed.
    pub batches: u64,
    /// Insert events applied.
    pub inserts: u64,
    /// Update events applied.
    pub updates: u64,
    /// Delete events applied.
    pub deletes: u64,
    /// Events dropped because their ordinal was applied before.
    pub repeats: u64,
    /// Updates and deletes of missing rows that the policy let pass.
    pub missing: u64,
    /// Inserts of existing rows that the policy let pass.
    pub existing: u64,
    /// Rows that a replay wrote over a row of their key.
    #[serde(default)]
    pub rewritten: u64,
    /// Rows that a replay wrote where there was none.
    #[serde(default)]
    pub restored: u64,
    /// Rows that a replay removed.
    #[serde(default)]
    pub removed: u64,
}

/// One partition of one topic of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneStatus {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What it is doing.
    pub state: LaneState,
    /// Offset of the next record to read, as committed at the target; null before it is claimed.
    pub next_offset: Option<i64>,
    /// The partition's last stable offset, when known.
    pub end_offset: Option<i64>,
    /// Time from the change at the source to its commit at the target, of the last batch, in milliseconds.
    pub lag_ms: Option<i64>,
    /// Events applied since this worker took the lane.
    pub rows: u64,
    /// The same by kind.
    pub counters: LaneCounters,
    /// Whether events are written a second time, after a position was set back.
    #[serde(default)]
    pub replaying: bool,
    /// What is wrong, if something is.
    pub error: Option<ErrorStatus>,
}

/// A pipeline on a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineStatus {
    /// Name of the document.
    pub name: String,
    /// What it is doing.
    pub state: PipelineState,
    /// The lanes that this worker has, by topic and partition.
    pub lanes: Vec<LaneStatus>,
    /// What is wrong with the pipeline as a whole, if something is.
    pub error: Option<ErrorStatus>,
}

/// A worker: one running process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// The worker's id.
    pub worker: String,
    /// The host it runs on.
    pub host: String,
    /// Otter's version.
    pub version: String,
    /// Its roles: `capture`, `apply`, `admin`.
    pub roles: Vec<String>,
    /// The sources it knows, by name.
    pub sources: Vec<SourceStatus>,
    /// The pipelines it works on, by name.
    pub pipelines: Vec<PipelineStatus>,
}

/// Which worker a board is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerFacts {
    /// The worker's id.
    pub worker: String,
    /// The host it runs on.
    pub host: String,
    /// Otter's version.
    pub version: String,
    /// Its roles.
    pub roles: Vec<String>,
}

/// Where the roles of a process write what they are doing. Clones share one board.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    facts: Arc<WorkerFacts>,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    sources: BTreeMap<String, SourceStatus>,
    pipelines: BTreeMap<String, PipelineStatus>,
}

impl StatusBoard {
    /// An empty board.
    pub fn new(facts: WorkerFacts) -> Self {
        Self { facts: Arc::new(facts), entries: Arc::default() }
    }

    /// Changes a source's entry, which is made when it is not there.
    pub fn source(&self, name: &str, change: impl FnOnce(&mut SourceStatus)) {
        let mut entries = self.lock();
        let entry = entries.sources.entry(name.to_owned()).or_default();
        name.clone_into(&mut entry.name);
        change(entry);
    }

    /// Takes a source off the board.
    pub fn remove_source(&self, name: &str) {
        self.lock().sources.remove(name);
    }

    /// Changes a pipeline's entry, which is made when it is not there.
    pub fn pipeline(&self, name: &str, change: impl FnOnce(&mut PipelineStatus)) {
        let mut entries = self.lock();
        let entry = entries.pipelines.entry(name.to_owned()).or_default();
        name.clone_into(&mut entry.name);
        change(entry);
    }

    /// Takes a pipeline off the board, with its lanes.
    pub fn remove_pipeline(&self, name: &str) {
        self.lock().pipelines.remove(name);
    }

    /// Changes a lane's entry, which is made when it is not there, as is its pipeline's.
    pub fn lane(&self, pipeline: &str, topic: &str, partition: i32, change: impl FnOnce(&mut LaneStatus)) {
        self.pipeline(pipeline, |entry| {
            let lanes = &mut entry.lanes;
            let at = lanes.binary_search_by(|l| (l.topic.as_str(), l.partition).cmp(&(topic, partition)));
            let at = at.unwrap_or_else(|at| {
                lanes.insert(at, LaneStatus { topic: topic.to_owned(), partition, ..LaneStatus::default() });
                at
            });
            if let Some(lane) = lanes.get_mut(at) {
                change(lane);
            }
        });
    }

    /// Takes a lane off the board.
    pub fn remove_lane(&self, pipeline: &str, topic: &str, partition: i32) {
        if let Some(entry) = self.lock().pipelines.get_mut(pipeline) {
            entry.lanes.retain(|l| l.topic != topic || l.partition != partition);
        }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> WorkerStatus {
        let entries = self.lock();
        WorkerStatus {
            worker: self.facts.worker.clone(),
            host: self.facts.host.clone(),
            version: self.facts.version.clone(),
            roles: self.facts.roles.clone(),
            sources: entries.sources.values().cloned().collect(),
            pipelines: entries.pipelines.values().cloned().collect(),
        }
    }

    /// A writer that panicked leaves an entry half updated at worst; the board is for reading by people.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_keep_their_order() {
        let board = StatusBoard::new(WorkerFacts { worker: "w".into(), ..WorkerFacts::default() });
        for (topic, partition) in [("b", 1), ("a", 0), ("b", 0)] {
            board.lane("p", topic, partition, |l| l.rows += 1);
        }
        board.lane("p", "b", 1, |l| l.rows += 1);
        board.source("s", |s| s.state = SourceState::Running);
        let snapshot = board.clone().snapshot();
        let lanes: Vec<_> =
            snapshot.pipelines[0].lanes.iter().map(|l| (l.topic.as_str(), l.partition, l.rows)).collect();
        assert_eq!(lanes, [("a", 0, 1), ("b", 0, 1), ("b", 1, 2)]);
        board.remove_lane("p", "b", 0);
        assert_eq!(board.snapshot().pipelines[0].lanes.len(), 2);
        board.remove_pipeline("p");
        board.remove_source("s");
        let empty = board.snapshot();
        assert!(empty.pipelines.is_empty() && empty.sources.is_empty());
        assert_eq!(empty.worker, "w");
    }

    #[test]
    fn status_travels_as_json() {
        let board = StatusBoard::default();
        board.lane("p", "t", 0, |l| l.error = Some(ErrorStatus::new(&Error::new(crate::Code::RowMissing, "gone"), 5)));
        let snapshot = board.snapshot();
        let json = serde_json::to_string(&snapshot).unwrap();
        assert!(json.contains("\"code\":\"OT5004\""));
        assert_eq!(serde_json::from_str::<WorkerStatus>(&json).unwrap(), snapshot);
    }
}
