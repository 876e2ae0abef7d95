//! Barriers: records that every partition of a topic has at the same place in the source's order, for what concerns a
//! table as a whole.
//!
//! A barrier is a record with neither key nor value in each partition of the topic, alone in its Kafka transaction; the
//! header [`HEADER`] holds a [`Barrier`] as JSON, the same in all of them. Appliers stop each lane in front of it until
//! all partitions have come that far, then act. A reader takes unknown fields for additions of a later version, but
//! refuses a kind that it does not know: passing over it would leave the table as the source does not have it.

use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::error::{Error, Result};

/// The record header that makes a record without key and value a barrier.
pub const HEADER: &str = "otter.barrier";

/// What happens at a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BarrierKind {
    /// All rows of the table went, by TRUNCATE.
    Truncate,
    /// The topic has more partitions from here on: rows lie elsewhere than before.
    Repartition,
}

impl BarrierKind {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Repartition => "repartition",
        }
    }
}

impl std::fmt::Display for BarrierKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// What happens.
    pub kind: BarrierKind,
    /// `source.generation` of the events around it.
    pub generation: i32,
    /// Where it stands among the source's events; as with them, one that is not beyond an earlier one is a repeat.
    pub ordinal: i64,
    /// For each partition that may hold events before the barrier, an offset: all of them lie before it, and it is not
    /// beyond the barrier's own. Partitions that a repartition added are not in it.
    pub ends: Vec<i64>,
    /// The GTID of the statement's transaction; none where the server gives out none, and of a repartition.
    pub gtid: Option<String>,
    /// The binlog file of the statement; of a repartition that of the position at which it was made.
    pub file: String,
    /// The offset in it.
    pub pos: u64,
    /// When the statement was made, milliseconds since 1970 UTC, in the binlog's precision.
    pub ts_ms: i64,
    /// How many partitions the topic has behind the barrier.
    pub partitions: u32,
}

impl Barrier {
    /// The header's value.
    pub fn to_json(&self) -> Vec<u8> {
        // Only maps with keys that are no strings cannot be written, and there is none.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the header's value.
    ///
    /// # Errors
    /// `RecordInvalid` when it is not a barrier that this version knows.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let invalid = |why: String| Error::new(Code::RecordInvalid, format!("the header {HEADER}: {why}"));
        let barrier: Self = serde_json::from_slice(json).map_err(|e| invalid(e.to_string()).with_source(e))?;
        let (ends, partitions) = (barrier.ends.len(), barrier.partitions);
        let fits = match barrier.kind {
            BarrierKind::Truncate => ends == partitions as usize,
            BarrierKind::Repartition => ends < partitions as usize,
        };
        if ends == 0 || !fits {
            return Err(invalid(format!("{ends} ends do not fit a {} to {partitions} partitions", barrier.kind)));
        }
        Ok(barrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truncate() -> Barrier {
        Barrier {
            kind: BarrierKind::Truncate,
            generation: 1,
            ordinal: 1_000,
            ends: vec![5, 0],
            gtid: Some("0-1-42".to_owned()),
            file: "binlog.000003".to_owned(),
            pos: 1234,
            ts_ms: 1_795_355_130_000,
            partitions: 2,
        }
    }

    #[test]
    fn the_header_is_as_published() {
        let json = r#"{"kind":"truncate","generation":1,"ordinal":1000,"ends":[5,0],"gtid":"0-1-42","file":"binlog.000003","pos":1234,"ts_ms":1795355130000,"partitions":2}"#;
        assert_eq!(truncate().to_json(), json.as_bytes());
        assert_eq!(Barrier::from_json(json.as_bytes()).unwrap(), truncate());
        let more = Barrier { kind: BarrierKind::Repartition, gtid: None, partitions: 4, ..truncate() };
        assert!(more.to_json().starts_with(br#"{"kind":"repartition","#));
        assert_eq!(Barrier::from_json(&more.to_json()).unwrap(), more);
        let later = json.replace("\"pos\"", "\"lsn\":1,\"pos\"");
        assert_eq!(Barrier::from_json(later.as_bytes()).unwrap(), truncate());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let json = String::from_utf8(truncate().to_json()).unwrap();
        for wrong in [
            String::new(),
            json.replace("\"kind\":\"truncate\"", "\"kind\":\"rename\""),
            json.replace("\"ordinal\":1000,", ""),
            json.replace("[5,0]", "[5]"),
            json.replace("[5,0]", "[]").replace("\"partitions\":2", "\"partitions\":0"),
            json.replace("\"partitions\":2", "\"partitions\":3"),
            json.replace("truncate", "repartition"),
        ] {
            assert_eq!(Barrier::from_json(wrong.as_bytes()).map_err(|e| e.code()), Err(Code::RecordInvalid), "{wrong}");
        }
    }
}
