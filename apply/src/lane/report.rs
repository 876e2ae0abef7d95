//! What a lane tells people: its entry on the status board, and its metrics.

use std::time::{SystemTime, UNIX_EPOCH};

use schemas::Error;
use schemas::status::{ErrorStatus, LaneState, LaneStatus, StatusBoard, Waiting};

use crate::consumer::lanes::Part;
use crate::lane::batches::Written;
use crate::metrics::{LaneMetrics, Metrics};

/// The voice of one lane.
#[derive(Debug)]
pub(crate) struct Report {
    board: StatusBoard,
    pipeline: String,
    part: Part,
    metrics: LaneMetrics,
}

impl Report {
    /// Puts the lane on the board.
    pub(crate) fn new(board: StatusBoard, metrics: &Metrics, pipeline: &str, part: &Part) -> Self {
        let metrics = metrics.lane(pipeline, part);
        let report = Self { board, pipeline: pipeline.to_owned(), part: part.clone(), metrics };
        report.change(|lane| lane.state = LaneState::Claiming);
        report
    }

    fn change(&self, change: impl FnOnce(&mut LaneStatus)) {
        self.board.lane(&self.pipeline, &self.part.topic, self.part.partition, change);
    }

    /// The lane is claimed and goes on from here; the partition ends there.
    pub(crate) fn running(&self, next_offset: i64, end_offset: i64) {
        self.metrics.paused.set(0);
        self.metrics.next_offset.set(next_offset);
        self.change(|lane| {
            lane.state = LaneState::Running;
            lane.next_offset = Some(next_offset);
            lane.end_offset = Some(end_offset.max(next_offset));
            (lane.error, lane.waiting) = (None, None);
        });
    }

    /// A batch is committed.
    pub(crate) fn wrote(&self, written: &Written) {
        let lag = written.source_ts_ms.map(|at| (now_ms() - at).max(0));
        let (outcome, metrics) = (&written.outcome, &self.metrics);
        metrics.events.inc_by(outcome.events);
        metrics.batches.inc();
        metrics.repeats.inc_by(written.repeats);
        metrics.missing.inc_by(outcome.missing);
        metrics.existing.inc_by(outcome.existing);
        metrics.next_offset.set(written.next_offset);
        if let Some(lag) = lag {
            metrics.lag.set(lag);
        }
        self.change(|lane| {
            lane.next_offset = Some(written.next_offset);
            lane.end_offset = Some(lane.end_offset.unwrap_or_default().max(written.next_offset));
            lane.lag_ms = lag.or(lane.lag_ms);
            lane.rows += outcome.events;
            lane.counters.batches += 1;
            lane.counters.inserts += outcome.inserted;
            lane.counters.updates += outcome.updated;
            lane.counters.deletes += outcome.deleted;
            lane.counters.repeats += written.repeats;
            lane.counters.missing += outcome.missing;
            lane.counters.existing += outcome.existing;
            lane.counters.rewritten += outcome.rewritten;
            lane.counters.restored += outcome.restored;
            lane.counters.removed += outcome.removed;
        });
    }

    /// The lane has committed a transaction.
    pub(crate) fn committed(&self) {
        self.metrics.commits.inc();
    }

    /// The lane stands at the end of its partition.
    pub(crate) fn passed(&self, next_offset: i64) {
        self.metrics.next_offset.set(next_offset);
        self.change(|lane| {
            lane.next_offset = Some(next_offset);
            lane.end_offset = Some(next_offset);
        });
    }

    /// The lane stands here, not necessarily at the end.
    pub(crate) fn passed_to(&self, next_offset: i64) {
        self.metrics.next_offset.set(next_offset);
        self.change(|lane| lane.next_offset = Some(next_offset));
    }

    /// Another lane leads this one; it stands here.
    pub(crate) fn stands_by(&self, (leader, until): (&str, Option<i64>), next_offset: Option<i64>) {
        let (for_topic, why) = (leader.to_owned(), "it applies the events of several lanes in one order".to_owned());
        self.metrics.paused.set(0);
        if let Some(next_offset) = next_offset {
            self.metrics.next_offset.set(next_offset);
        }
        tracing::trace!(topic = self.part.topic, partition = self.part.partition, leader, "stands by");
        self.change(|lane| {
            let since = match &lane.waiting {
                Some(waiting) if lane.state == LaneState::Joined => waiting.since,
                _ => now_ms(),
            };
            lane.state = LaneState::Joined;
            lane.next_offset = next_offset.or(lane.next_offset);
            lane.error = None;
            lane.waiting =
                Some(Waiting { for_topic, for_partition: 0, ordinal: until.unwrap_or(i64::MAX), since, why });
        });
    }

    /// The lane stands until another has come further.
    pub(crate) fn waits(&self, waiting: &Waiting) {
        self.change(|lane| {
            lane.state = LaneState::Waiting;
            (lane.error, lane.waiting) = (None, Some(waiting.clone()));
        });
    }

    /// What another lane of the topic has stopped with, when this worker has it.
    pub(crate) fn error_of(&self, partition: i32) -> Option<ErrorStatus> {
        self.board.lane_error(&self.pipeline, &self.part.topic, partition)
    }

    /// The lane waits no longer.
    pub(crate) fn goes_on(&self) {
        self.change(|lane| (lane.state, lane.waiting) = (LaneState::Running, None));
    }

    /// Whether the lane replays.
    pub(crate) fn replays(&self, replaying: bool) {
        self.change(|lane| lane.replaying = replaying);
    }

    /// Something went wrong that is expected to go away.
    pub(crate) fn retrying(&self, error: &Error) {
        tracing::warn!(pipeline = self.pipeline, topic = self.part.topic, %error, "lane retries");
        self.wrong(LaneState::Retrying, error);
    }

    /// The lane stands still until somebody changes something.
    pub(crate) fn paused(&self, error: &Error) {
        tracing::error!(pipeline = self.pipeline, topic = self.part.topic, %error, "lane paused");
        self.metrics.paused.set(1);
        self.wrong(LaneState::Paused, error);
    }

    /// The lane stands still because its document says so.
    pub(crate) fn held(&self) {
        self.metrics.paused.set(1);
        self.change(|lane| {
            lane.state = LaneState::Paused;
            (lane.error, lane.waiting) = (None, None);
        });
    }

    fn wrong(&self, state: LaneState, error: &Error) {
        let status = ErrorStatus::new(error, now_ms());
        self.change(|lane| {
            // The same trouble keeps its beginning.
            let same = lane.error.as_ref().filter(|e| e.code == status.code && e.message == status.message);
            lane.error = Some(same.cloned().unwrap_or(status));
            (lane.state, lane.waiting) = (state, None);
        });
    }

    /// The lane has ended.
    pub(crate) fn gone(&self) {
        self.board.remove_lane(&self.pipeline, &self.part.topic, self.part.partition);
    }
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
