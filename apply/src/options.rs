//! Settings of the apply role: `[apply]` of otter.toml.

use std::num::NonZeroU32;

use schemas::documents::{Interval, Size};
use serde::{Deserialize, Serialize};

use crate::chunk::Limits;

/// What an operator may set. The defaults let a process with a few hundred lanes live in 256 MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Bytes of records that may wait for one lane (one partition); beyond it the lane gets nothing more for a while.
    pub lane_queue: Size,
    /// Bytes of records that may wait for all lanes of the process together; beyond it every lane gets no more than
    /// its equal share.
    pub queues: Size,
    /// Bytes that librdkafka may prefetch for each pipeline, before they are handed to the lanes: in equal shares of
    /// 128 KiB to 8 MiB for each partition.
    pub prefetch: Size,
    /// A pipeline has a consumer, a member of its group, for each so many partitions of its topics.
    pub partitions_per_consumer: NonZeroU32,
    /// When a lane is behind, its batches may grow to this many times the `rows` of its batch settings.
    pub backlog_factor: u32,
    /// Bytes of records in the largest batch by which lanes that are joined (their rows conflict) and far apart may be
    /// brought together.
    pub join_batch: Size,
    /// Whether lanes with small batches may share a target transaction when more of them have something to write than
    /// there are connections.
    pub group_commit: bool,
    /// How long a lane that stops for a rebalance or a shutdown may take to finish the batch in flight.
    pub drain: Interval,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lane_queue: Size::mebibytes(4),
            queues: Size::mebibytes(32),
            prefetch: Size::mebibytes(16),
            partitions_per_consumer: NonZeroU32::new(1000).unwrap_or(NonZeroU32::MIN),
            backlog_factor: 5,
            join_batch: Size::mebibytes(256),
            group_commit: true,
            drain: Interval::from_secs(5),
        }
    }
}

impl Options {
    /// Consumers for so many partitions.
    pub(crate) fn consumers(&self, partitions: usize) -> usize {
        partitions.div_ceil(self.partitions_per_consumer.get() as usize).max(1)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { lane: self.lane_queue.as_usize().max(1), total: self.queues.as_usize().max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"lane_queue": "1MiB"}"#).is_ok());
        let error = serde_json::from_str::<Options>(r#"{"lanes": 3}"#).expect_err("refused");
        assert!(error.to_string().contains("unknown field `lanes`"));
    }
}
