//! Where pipelines and sources stand, as people ask for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::moment::Moment;

/// A record of a topic: its offset, and the event's place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordPlace {
    /// The record's offset.
    pub offset: i64,
    /// When the transaction was committed at the source.
    pub time: Moment,
    /// The transaction's GTID, where the source has them.
    pub gtid: Option<String>,
    /// Binlog file.
    pub file: String,
    /// Position in the file.
    pub position: i64,
    /// The event's ordinal.
    pub ordinal: i64,
    /// Generation of the source's capture.
    pub generation: i32,
}

/// What the last replay of a lane did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Rows written over a row of their key.
    pub rewritten: i64,
    /// Rows written where there was none.
    pub restored: i64,
    /// Rows removed: they went, or held a unique value of a row that came.
    pub removed: i64,
    /// Rows that were to go and were not there.
    pub missing: i64,
}

/// Where a lane stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneOffset {
    /// The source's table, where a mapping names it.
    pub table: Option<String>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to read; null while the lane has no progress.
    pub next_offset: Option<i64>,
    /// What stands there; null when the lane is at the end.
    pub next: Option<RecordPlace>,
    /// The last record before it; null when the topic has none any more.
    pub last: Option<RecordPlace>,
    /// Ordinal of the last event applied.
    pub ordinal: Option<i64>,
    /// Offset of the oldest record that the topic still has.
    pub low_offset: i64,
    /// What stands there.
    pub oldest: Option<RecordPlace>,
    /// The end: offset of the next record to be published.
    pub end_offset: i64,
    /// Records between the next offset and the end, control records included.
    pub lag: Option<i64>,
    /// Whether a worker has claimed the lane.
    pub owned: bool,
    /// Whether events are written a second time.
    pub replaying: bool,
    /// In front of this offset.
    pub replay_until: Option<i64>,
    /// What the last replay did.
    pub replayed: Replayed,
    /// The last request carried out.
    pub request: Option<String>,
    /// Why Kafka could not be asked, where that is so; the fields it fills are then 0 or null.
    pub error: Option<String>,
}

/// Where a source stands: its last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourcePlace {
    /// When it was committed.
    pub time: Moment,
    /// GTID position; empty where the server has none.
    pub gtid: String,
    /// Binlog file.
    pub file: String,
    /// Position in the file.
    pub position: u64,
    /// Ordinal that the next transaction begins with.
    pub ordinal: i64,
    /// Generation of the source's capture.
    pub generation: i32,
}

impl From<&Checkpoint> for SourcePlace {
    fn from(at: &Checkpoint) -> Self {
        Self {
            time: Moment::from_ms(at.time),
            gtid: at.gtid.to_string(),
            file: at.file.clone(),
            position: at.position,
            ordinal: at.ordinal,
            generation: at.generation,
        }
    }
}

/// Where a pipeline stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineOffsets {
    /// The pipeline.
    pub pipeline: String,
    /// Its source.
    pub source: String,
    /// The source's last checkpoint, as mirrored; null before there is one.
    pub checkpoint: Option<SourcePlace>,
    /// Its lanes, by topic and partition.
    pub lanes: Vec<LaneOffset>,
    /// Why the lanes are not known, where that is so.
    pub error: Option<String>,
}
