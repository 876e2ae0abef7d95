//! What a worker says about itself: the JSON of `/status`, and the board that its roles write on.
//!
//! The board is a shared handle. Writers take its lock for one small update; nobody holds it across I/O. Entries are
//! kept in order of their names, so that snapshots are stable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Row events a second, over the last ten seconds.
    #[serde(default)]
    pub rate: u64,
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
    /// It stands until another lane has come further; see `waiting`.
    Waiting,
    /// Another lane applies its events together with its own; see `waiting`.
    Joined,
}

/// The lane that another one waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Topic of the lane that has to come further, or that leads.
    pub for_topic: String,
    /// Its partition.
    pub for_partition: i32,
    /// Ordinal of the event in front of which the waiting lane stands; of a joined one, up to which it is.
    pub ordinal: i64,
    /// Since when, milliseconds since 1970-01-01 UTC.
    pub since: i64,
    /// Why it waits, and how far the other lane is.
    pub why: String,
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
    /// Events a second, over the last ten seconds.
    #[serde(default)]
    pub rate: u64,
    /// The same by kind.
    pub counters: LaneCounters,
    /// Whether events are written a second time, after a position was set back.
    #[serde(default)]
    pub replaying: bool,
    /// The lane that it waits for, or that leads it.
    #[serde(default)]
    pub waiting: Option<Waiting>,
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

/// Over how long a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(10);
/// How far apart the counts are that are kept for it.
const RATE_STEP: Duration = Duration::from_secs(1);

/// What a counter stood at, at some moments of the last seconds.
#[derive(Debug, Default)]
struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    /// The counter is about to leave `count`.
    fn note(&mut self, now: Instant, count: u64) {
        if self.0.back().is_some_and(|(_, last)| *last > count) {
            self.0.clear(); // it began anew
        }
        if self.0.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= RATE_STEP) {
            self.0.push_back((now, count));
        }
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_OVER) {
            self.0.pop_front();
        }
    }

    /// What the counter gains a second, now that it stands at `count`.
    fn rate(&self, now: Instant, count: u64) -> u64 {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let Some((at, then)) = self.0.iter().find(|(at, _)| age(at) <= RATE_OVER) else { return 0 };
        let millis = age(at).max(RATE_STEP).as_millis();
        u64::try_from(u128::from(count.saturating_sub(*then)) * 1000 / millis).unwrap_or(u64::MAX)
    }
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
    source_meters: BTreeMap<String, Meter>,
    /// By pipeline, then topic and partition.
    lane_meters: BTreeMap<String, BTreeMap<(String, i32), Meter>>,
}

impl StatusBoard {
    /// An empty board.
    pub fn new(facts: WorkerFacts) -> Self {
        Self { facts: Arc::new(facts), entries: Arc::default() }
    }

    /// Changes a source's entry, which is made when it is not there.
    pub fn source(&self, name: &str, change: impl FnOnce(&mut SourceStatus)) {
        let mut entries = self.lock();
        let entries = &mut *entries;
        let entry = entries.sources.entry(name.to_owned()).or_default();
        name.clone_into(&mut entry.name);
        let before = entry.rows;
        change(entry);
        if entry.rows != before {
            entries.source_meters.entry(name.to_owned()).or_default().note(Instant::now(), before);
        }
    }

    /// Takes a source off the board.
    pub fn remove_source(&self, name: &str) {
        let mut entries = self.lock();
        entries.sources.remove(name);
        entries.source_meters.remove(name);
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
        let mut entries = self.lock();
        entries.pipelines.remove(name);
        entries.lane_meters.remove(name);
    }

    /// What is wrong with a lane that is on the board.
    pub fn lane_error(&self, pipeline: &str, topic: &str, partition: i32) -> Option<ErrorStatus> {
        let entries = self.lock();
        let lanes = &entries.pipelines.get(pipeline)?.lanes;
        let at = lanes.binary_search_by(|l| (l.topic.as_str(), l.partition).cmp(&(topic, partition))).ok()?;
        lanes.get(at)?.error.clone()
    }

    /// Changes a lane's entry, which is made when it is not there, as is its pipeline's.
    pub fn lane(&self, pipeline: &str, topic: &str, partition: i32, change: impl FnOnce(&mut LaneStatus)) {
        let mut rows = (0, 0);
        self.pipeline(pipeline, |entry| {
            let lanes = &mut entry.lanes;
            let at = lanes.binary_search_by(|l| (l.topic.as_str(), l.partition).cmp(&(topic, partition)));
            let at = at.unwrap_or_else(|at| {
                lanes.insert(at, LaneStatus { topic: topic.to_owned(), partition, ..LaneStatus::default() });
                at
            });
            if let Some(lane) = lanes.get_mut(at) {
                rows.0 = lane.rows;
                change(lane);
                rows.1 = lane.rows;
            }
        });
        if rows.0 != rows.1 {
            let mut entries = self.lock();
            let meters = entries.lane_meters.entry(pipeline.to_owned()).or_default();
            meters.entry((topic.to_owned(), partition)).or_default().note(Instant::now(), rows.0);
        }
    }

    /// Takes a lane off the board.
    pub fn remove_lane(&self, pipeline: &str, topic: &str, partition: i32) {
        let mut entries = self.lock();
        if let Some(entry) = entries.pipelines.get_mut(pipeline) {
            entry.lanes.retain(|l| l.topic != topic || l.partition != partition);
        }
        if let Some(meters) = entries.lane_meters.get_mut(pipeline) {
            meters.remove(&(topic.to_owned(), partition));
        }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> WorkerStatus {
        let entries = self.lock();
        let now = Instant::now();
        let mut sources: Vec<_> = entries.sources.values().cloned().collect();
        for source in &mut sources {
            source.rate = entries.source_meters.get(&source.name).map_or(0, |m| m.rate(now, source.rows));
        }
        let mut pipelines: Vec<_> = entries.pipelines.values().cloned().collect();
        for pipeline in &mut pipelines {
            let Some(meters) = entries.lane_meters.get(&pipeline.name) else { continue };
            for lane in &mut pipeline.lanes {
                let meter = meters.get(&(lane.topic.clone(), lane.partition));
                lane.rate = meter.map_or(0, |m| m.rate(now, lane.rows));
            }
        }
        WorkerStatus {
            worker: self.facts.worker.clone(),
            host: self.facts.host.clone(),
            version: self.facts.version.clone(),
            roles: self.facts.roles.clone(),
            sources,
            pipelines,
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
    fn rates_are_of_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meter.rate(at(0), 0), 0);
        for second in 0..20 {
            meter.note(at(second), second * 100);
        }
        assert_eq!(meter.rate(at(20), 2000), 100);
        assert!(meter.0.len() <= 12);
        assert_eq!(meter.rate(at(40), 2000), 0, "idle");
        meter.note(at(40), 2000);
        assert_eq!(meter.rate(at(42), 2600), 300);
        meter.note(at(43), 0);
        assert_eq!(meter.rate(at(44), 50), 50, "a counter that began anew");
        let board = StatusBoard::default();
        board.lane("p", "t", 0, |l| l.rows += 7);
        assert_eq!(board.snapshot().pipelines[0].lanes[0].rate, 7);
    }

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
