//! One source transaction on its way: its rows are held until its end shows which of them count.
//!
//! Pure: it takes what the binlog says and answers what is to be published. Rows of tables that are not followed only
//! move the offset. A transaction that outgrew the memory budget is streamed: its rows have gone into an open Kafka
//! transaction already, so a rollback of some of them voids it, and it is read again with those ranges known beforehand.

use std::sync::Arc;

use bytes::Bytes;
use schemas::Result;
use schemas::gtid::Gtid;

use super::ordinal::Ordinals;
use super::plans::Plan;
use super::savepoints::{Dropped, Savepoints};
use crate::binlog::event::RawEvent;

/// What a held event costs beside its body, in bytes.
const OVERHEAD: usize = std::mem::size_of::<HeldRows>();

/// A rows event of a followed table.
#[derive(Debug)]
pub(crate) struct HeldRows {
    /// The event.
    pub(crate) event: RawEvent,
    /// How its rows are encoded and where they go.
    pub(crate) plan: Arc<Plan>,
    /// Ordinal of its first image.
    pub(crate) ordinal: i64,
    /// Where the event starts in its binlog file.
    pub(crate) position: u64,
    /// Offset of its first image in the transaction.
    offset: i64,
}

/// What has become of the rows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All are held.
    Held,
    /// They go out as they come; the offset of the last one that went.
    Streamed(Option<i64>),
    /// Some that went out were rolled back: nothing more goes out.
    Void,
}

/// Ranges of a transaction known to be rolled back, from an earlier reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolledBack {
    /// The transaction, by the ordinal at which it starts: the same in every reading.
    pub(crate) base: i64,
    /// Its ranges.
    pub(crate) ranges: Vec<Dropped>,
}

/// The transaction that is being read.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its GTID; none where the server gives out none.
    pub(crate) gtid: Option<Gtid>,
    /// The server_id of the server that logged it first.
    pub(crate) server_id: u32,
    /// When it was made, milliseconds since 1970 UTC; of MariaDB whole seconds.
    pub(crate) time_ms: i64,
    /// One statement and no end event follow the GTID; none while only that statement can tell.
    pub(crate) standalone: Option<bool>,
    ordinals: Ordinals,
    savepoints: Savepoints,
    rows: Vec<HeldRows>,
    bytes: usize,
    /// Rows that are not followed have passed.
    mixed: bool,
    dropped: Vec<Dropped>,
    stage: Stage,
}

impl Group {
    /// A transaction at ordinal `base`; `known` are ranges of it that an earlier reading found rolled back.
    pub(crate) fn new(gtid: Option<Gtid>, time_ms: i64, base: i64, known: Option<&RolledBack>) -> Self {
        let known = known.filter(|k| k.base == base).map(|k| k.ranges.clone());
        Self {
            gtid,
            server_id: 0,
            time_ms,
            standalone: None,
            ordinals: Ordinals::new(base),
            savepoints: Savepoints::default(),
            rows: Vec::new(),
            bytes: 0,
            mixed: false,
            dropped: known.unwrap_or_default(),
            stage: Stage::Held,
        }
    }

    /// Takes a rows event that starts at `position` in its file and has `rows_bytes` of images; `plan` is none for a
    /// table that is not followed.
    pub(crate) fn take(&mut self, event: RawEvent, position: u64, rows_bytes: usize, plan: Option<&Arc<Plan>>) {
        let offset = self.ordinals.offset();
        let ordinal = self.ordinals.pass(rows_bytes);
        let Some(plan) = plan else {
            self.mixed = true;
            return;
        };
        if self.stage == Stage::Void || self.dropped.iter().any(|range| range.contains(offset)) {
            return;
        }
        self.bytes += event.body.len() + OVERHEAD;
        // Small bodies share allocations with their neighbours, which then live as long: beside rows that are not
        // followed a held event gets bytes of its own, or the memory would not be what is counted here.
        let event = if self.mixed { RawEvent { body: Bytes::copy_from_slice(&event.body), ..event } } else { event };
        self.rows.push(HeldRows { event, plan: Arc::clone(plan), ordinal, position, offset });
    }

    /// SAVEPOINT.
    pub(crate) fn savepoint(&mut self, name: &str) {
        self.savepoints.set(name, self.ordinals.offset());
    }

    /// ROLLBACK TO.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<()> {
        let range = self.savepoints.rollback_to(name, self.ordinals.offset())?;
        self.drop_rows(range);
        Ok(())
    }

    /// ROLLBACK of the whole.
    pub(crate) fn rollback(&mut self) {
        self.savepoints.clear();
        self.drop_rows(Dropped { start: 0, end: self.ordinals.offset() });
    }

    fn drop_rows(&mut self, range: Dropped) {
        let gone = self.rows.iter().filter(|rows| range.contains(rows.offset));
        let gone: usize = gone.map(|rows| rows.event.body.len() + OVERHEAD).sum();
        self.rows.retain(|rows| !range.contains(rows.offset));
        self.bytes = self.bytes.saturating_sub(gone);
        match self.stage {
            Stage::Held => {}
            // Nothing of the range went out: rows known to be rolled back, or none of a followed table.
            Stage::Streamed(last) if last.is_none_or(|last| last < range.start) => {}
            Stage::Streamed(_) | Stage::Void => {
                self.stage = Stage::Void;
                self.dropped.push(range);
                self.rows.clear();
            }
        }
    }

    /// Its name in messages: the GTID, or where there is none its first ordinal.
    pub(crate) fn name(&self) -> String {
        self.gtid.map_or_else(|| format!("at ordinal {}", self.base()), |gtid| gtid.to_string())
    }

    /// Bytes of the rows events held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether rows are held, or have gone out.
    pub(crate) fn has_rows(&self) -> bool {
        !self.rows.is_empty() || matches!(self.stage, Stage::Streamed(Some(_)))
    }

    /// Whether it is being streamed.
    pub(crate) fn is_streamed(&self) -> bool {
        self.stage != Stage::Held
    }

    /// From here on rows go out as they come.
    pub(crate) fn stream(&mut self) {
        self.stage = Stage::Streamed(None);
    }

    /// The rows held, to be sent now.
    pub(crate) fn drain(&mut self) -> Vec<HeldRows> {
        self.bytes = 0;
        if let Stage::Streamed(last) = &mut self.stage {
            *last = self.rows.last().map(|rows| rows.offset).or(*last);
        }
        std::mem::take(&mut self.rows)
    }

    /// The ranges to leave out in the next reading, when this one went wrong.
    pub(crate) fn void(&self) -> Option<RolledBack> {
        (self.stage == Stage::Void).then(|| RolledBack { base: self.base(), ranges: self.dropped.clone() })
    }

    /// It has no end. What to leave out in the next reading, when rows may have gone out.
    pub(crate) fn cut_off(self) -> Option<RolledBack> {
        let whole = Dropped { start: 0, end: self.ordinals.offset() };
        self.is_streamed().then(|| RolledBack { base: self.base(), ranges: vec![whole] })
    }

    /// The ordinal at which the transaction starts.
    pub(crate) fn base(&self) -> i64 {
        self.ordinals.base()
    }

    /// The ordinal at which the next one starts.
    pub(crate) fn next_base(&self) -> i64 {
        self.ordinals.next_base()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::plans::testing::plan;

    fn rows(bytes: usize) -> RawEvent {
        let body = Bytes::from(vec![0; bytes]);
        RawEvent { event_type: 23, timestamp: 0, server_id: 1, log_pos: 100, flags: 0, body }
    }

    fn group(known: Option<&RolledBack>) -> Group {
        Group::new("0-1-5".parse().ok(), 7, 1000, known)
    }

    fn ordinals(group: &mut Group) -> Vec<i64> {
        group.drain().iter().map(|rows| rows.ordinal).collect()
    }

    #[test]
    fn rolled_back_rows_are_dropped_and_still_counted() {
        let plan = plan();
        let mut group = group(None);
        group.take(rows(10), 4, 10, Some(&plan));
        group.savepoint("a");
        group.take(rows(5), 4, 5, None);
        group.take(rows(20), 4, 20, Some(&plan));
        group.rollback_to("a").unwrap();
        group.take(rows(30), 4, 30, Some(&plan));
        assert_eq!(group.bytes(), 40 + 2 * OVERHEAD);
        assert_eq!(ordinals(&mut group), [1000, 1035]);
        assert_eq!(group.next_base(), 1066);
        assert_eq!(group.void(), None);
    }

    #[test]
    fn a_whole_rollback_leaves_nothing() {
        let mut group = group(None);
        group.take(rows(10), 4, 10, Some(&plan()));
        group.rollback();
        assert!(!group.has_rows());
        assert_eq!(group.next_base(), 1011);
    }

    #[test]
    fn a_streamed_group_is_void_once_sent_rows_are_rolled_back() {
        let plan = plan();
        let mut first = group(None);
        first.stream();
        first.take(rows(10), 4, 10, Some(&plan));
        assert_eq!(ordinals(&mut first), [1000]);
        first.savepoint("a");
        // A range in which nothing went out does no harm.
        first.take(rows(5), 4, 5, None);
        first.rollback_to("a").unwrap();
        assert_eq!(first.void(), None);
        first.take(rows(20), 4, 20, Some(&plan));
        assert_eq!(ordinals(&mut first), [1015]);
        first.rollback_to("a").unwrap();
        first.take(rows(30), 4, 30, Some(&plan));
        let known = first.void().expect("void");
        assert_eq!(known.ranges, [Dropped { start: 10, end: 35 }]);

        let mut second = group(Some(&known));
        second.stream();
        second.take(rows(10), 4, 10, Some(&plan));
        assert_eq!(ordinals(&mut second), [1000]);
        second.savepoint("a");
        second.take(rows(5), 4, 5, None);
        second.rollback_to("a").unwrap();
        second.take(rows(20), 4, 20, Some(&plan));
        second.rollback_to("a").unwrap();
        assert_eq!(second.void(), None);
        second.take(rows(30), 4, 30, Some(&plan));
        assert_eq!(ordinals(&mut second), [1035]);
    }

    #[test]
    fn a_streamed_group_without_end_is_left_out_as_a_whole() {
        let plan = plan();
        let mut held = group(None);
        held.take(rows(10), 4, 10, Some(&plan));
        assert_eq!(held.cut_off(), None);
        let mut first = group(None);
        first.stream();
        first.take(rows(10), 4, 10, Some(&plan));
        first.take(rows(20), 4, 20, None);
        let known = first.cut_off().expect("rows may be out");
        let mut second = group(Some(&known));
        second.take(rows(10), 4, 10, Some(&plan));
        assert!(!second.has_rows());
    }
}
