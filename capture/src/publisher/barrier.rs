//! Barriers in the stream: TRUNCATE.
//!
//! What came before is committed, so that the ends of the partitions lie behind it. Then one Kafka transaction holds the
//! barrier in every partition and the checkpoint behind the statement. The barrier has the ordinal at which the
//! statement's transaction starts, which no row has, as the statement is all of it; read again it is the same, whatever
//! is followed by then.

use schemas::barrier::{Barrier, BarrierKind};
use schemas::table::TableName;

use super::{Publisher, Step};

impl Publisher {
    /// A statement of its own between `start` and `end` has emptied a followed table.
    pub(super) fn truncate(&mut self, table: &TableName, (start, end): (u64, u64)) -> Step {
        let Some(group) = self.group.take() else { return Ok(()) };
        self.commit_if_moved()?;
        // Also where no row was ever published: targets may have been seeded with some.
        let (topic, spread) = self.plans.topic(table).map_err(|e| self.refuse(e))?;
        let ends = self.outbox.ends(&topic, spread.partitions())?;
        let barrier = Barrier {
            kind: BarrierKind::Truncate,
            generation: self.progress.at.generation,
            ordinal: group.base(),
            partitions: u32::try_from(ends.len()).unwrap_or(u32::MAX),
            ends,
            gtid: group.gtid.map(|gtid| gtid.to_string()),
            file: self.file.clone(),
            pos: start,
            ts_ms: group.time_ms,
        };
        tracing::info!(source = self.progress.source, %table, ordinal = barrier.ordinal, "a followed table is truncated");
        self.outbox.barrier(&topic, &barrier)?;
        self.open.transactions += 1;
        self.open.newest = Some(group.time_ms);
        self.pass(&group, end);
        self.commit()
    }
}
