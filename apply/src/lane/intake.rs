//! What a lane has taken from its queue, and where a batch ends. Pure.
//!
//! Records stay in the [`Intake`] until their batch is committed, so a batch that was rolled back is simply cut again.
//! A batch holds whole source transactions: it ends where the next record is of another transaction, unless the
//! transaction outgrows what is left up to the hard limits. Events whose ordinal is not beyond the last applied one are repeats: they are
//! counted and dropped, and the progress passes them; so are events that the lane's start contains. A batch ends where a
//! replay ends and where the generation rises, so all of its events are written in the same way.

use std::collections::VecDeque;

use schemas::barrier::Barrier;
use schemas::decode::{Datum, EventDecoder, EventHead};
use schemas::gtid::{Gtid, GtidPosition};
use schemas::{Error, framing};

use crate::chunk::{Chunk, RecordRef};
use crate::consumer::is_barrier;
use crate::lane::replay::is_past;
use crate::target::batch::Batch;
use crate::target::progress::Lane;

/// Values in one batch, whatever its rows: each takes 24 bytes in memory, and a row of 250 columns has up to 500.
const MAX_DATUMS: usize = 400_000;

/// Records taken from the queue and not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    chunks: VecDeque<Chunk>,
    /// Records of the first chunk that are committed.
    front: usize,
    records: usize,
    bytes: usize,
    /// The consumer stands here, with no record before it that is not in `chunks`.
    mark: Option<i64>,
}

impl Intake {
    /// Adds a chunk behind the others.
    pub(crate) fn add(&mut self, chunk: Chunk) {
        self.records += chunk.len();
        self.bytes += chunk.weight();
        self.chunks.push_back(chunk);
        self.mark = None;
    }

    /// Notes where the consumer stands.
    pub(crate) fn set_mark(&mut self, mark: i64) {
        self.mark = Some(mark);
    }

    /// Where the consumer stands, when that is known.
    pub(crate) fn mark(&self) -> Option<i64> {
        self.mark
    }

    /// Whether there is no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it holds as much as a batch may.
    pub(crate) fn fills(&self, limits: &Limits) -> bool {
        self.records >= limits.hard_rows || self.bytes >= limits.hard_bytes
    }

    /// Whether nothing more was to be polled when the last record was handed over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.chunks.back().is_none_or(|chunk| chunk.quiet)
    }

    /// Count of records.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the first `count` records: they are committed.
    pub(crate) fn consume(&mut self, mut count: usize) {
        self.records = self.records.saturating_sub(count);
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.len() - self.front;
            if count < left {
                self.front += count;
                return;
            }
            count -= left;
            self.bytes = self.bytes.saturating_sub(chunk.weight());
            self.front = 0;
            self.chunks.pop_front();
        }
    }

    /// Forgets the records before an offset: they are committed.
    pub(crate) fn consume_before(&mut self, offset: i64) {
        let count = self.records().take_while(|record| record.offset < offset).count();
        self.consume(count);
    }

    /// The offset behind the last record, or where the consumer stands when that is known.
    pub(crate) fn reaches(&self) -> Option<i64> {
        let last = || self.chunks.back().and_then(|chunk| chunk.get(chunk.len().checked_sub(1)?));
        self.mark.or_else(|| last().map(|record| record.offset + 1))
    }

    fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(at, chunk)| {
            let start = if at == 0 { self.front } else { 0 };
            (start..chunk.len()).filter_map(|i| chunk.get(i))
        })
    }

    /// Schema id of the first record.
    ///
    /// # Errors
    /// `OT4006` when it is not framed; the offset is in the message.
    pub(crate) fn schema_id(&self) -> Option<Result<u32, Error>> {
        let record = self.records().next()?;
        Some(framing::split(record.value).map(|(id, _)| id).map_err(|e| at(record.offset, &e)))
    }
}

impl Intake {
    /// The barrier that is the first record, and its offset.
    ///
    /// # Errors
    /// `OT4006` when it is none that this version knows; the offset is in the message.
    pub(crate) fn barrier(&self) -> Option<Result<(i64, Barrier), Error>> {
        let record = self.records().next().filter(|record| is_barrier(record.value))?;
        let barrier = Barrier::from_json(record.value).map(|barrier| (record.offset, barrier));
        Some(barrier.map_err(|e| at(record.offset, &e)))
    }
}

/// Where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Events after which it ends with the source transaction.
    pub(crate) rows: usize,
    /// Bytes after which it ends with the source transaction.
    pub(crate) bytes: usize,
    /// Events after which it ends in any case.
    pub(crate) hard_rows: usize,
    /// Bytes after which it ends in any case.
    pub(crate) hard_bytes: usize,
    /// Whether `rows` may grow while the lane is behind.
    pub(crate) elastic: bool,
    /// Bytes of a batch that brings joined lanes together.
    pub(crate) join_bytes: usize,
}

impl Limits {
    /// The limits for a batch that is to hold all that there is.
    pub(crate) fn whole(self) -> Self {
        Self { rows: self.hard_rows, bytes: self.hard_bytes, ..self }
    }

    /// The limits for a batch of so many times the size.
    pub(crate) fn times(self, factor: usize) -> Self {
        Self {
            rows: self.rows.saturating_mul(factor),
            bytes: self.bytes.saturating_mul(factor),
            hard_rows: self.hard_rows.saturating_mul(factor),
            hard_bytes: self.hard_bytes.saturating_mul(factor),
            ..self
        }
    }

    /// The limits for a batch when so many records wait: larger batches are cheaper per row, and a lane that is behind
    /// has nothing to gain from small ones. A fifth is left for the last transaction to end in.
    pub(crate) fn within_backlog(self, waiting: usize) -> Self {
        if self.elastic && waiting > self.rows {
            Self { rows: self.rows.max(self.hard_rows / 5 * 4), ..self }
        } else {
            self
        }
    }
}

/// What comes before the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'b> {
    /// The lane as last committed.
    pub(crate) lane: &'b Lane,
    /// Whether the rest of the last transaction may still come, so that it should wait for the next batch.
    pub(crate) more: bool,
    /// The batch must not go beyond this ordinal.
    pub(crate) to: Option<i64>,
}

/// What the lane has to do before the event that ended an empty batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Border {
    /// The event is of a higher generation.
    Generation {
        /// Its offset.
        offset: i64,
        /// Its generation.
        generation: i32,
        /// Its ordinal.
        ordinal: i64,
    },
    /// The event is past the position up to which the generation is replayed.
    Past,
    /// The event is behind the offset up to which the lane replays.
    Until,
}

/// A batch and what it stands for.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    /// The changes, without repeats.
    pub(crate) batch: Batch<'a>,
    /// How many records of the intake it covers.
    pub(crate) records: usize,
    /// How many of them were repeats, or of transactions that the lane's start contains.
    pub(crate) repeats: u64,
    /// Events since the last one that the lane's start contains; `None`: none was contained.
    pub(crate) since_start: Option<u64>,
    /// Offset after the last of them; `None` when it covers none.
    pub(crate) next_offset: Option<i64>,
    /// Ordinal of the last event.
    pub(crate) ordinal: i64,
    /// Bytes of its records.
    pub(crate) bytes: usize,
    /// When the last event was made at the source, in milliseconds since 1970.
    pub(crate) source_ts_ms: Option<i64>,
    /// The record after the batch cannot be applied: the lane pauses there once the batch is committed.
    pub(crate) stop: Option<Error>,
    /// What is to be done before the first record can be taken.
    pub(crate) border: Option<Border>,
}

/// Cuts a batch off the intake's head; `decoder` is that of its first record's `schema`.
pub(crate) fn cut<'a>(
    intake: &'a Intake,
    schema: u32,
    decoder: &EventDecoder,
    limits: &Limits,
    before: Before<'_>,
) -> Cut<'a> {
    let mut cutter = Cutter::new(*limits);
    let mut cut = Cut {
        batch: Batch::new(),
        records: 0,
        repeats: 0,
        since_start: None,
        next_offset: None,
        ordinal: before.lane.ordinal(),
        bytes: 0,
        source_ts_ms: None,
        stop: None,
        border: None,
    };
    let mut start = StartFilter::new(before.lane.replay().start.as_ref());
    // Without knowing how many events the transaction has, only a batch without its rest is whole. Where that is
    // everything, there is no boundary and all is taken.
    let whole = if before.more { boundary(intake, schema, decoder) } else { None };
    let (mut old, mut new): (Vec<Datum<'a>>, Vec<Datum<'a>>) = (Vec::new(), Vec::new());
    let mut last_gtid: Option<&'a str> = None;
    for record in intake.records() {
        if whole.is_some_and(|whole| cut.records >= whole) {
            break;
        }
        if is_barrier(record.value) {
            break;
        }
        let avro = match framing::split(record.value) {
            Ok((id, avro)) if id == schema => avro,
            Ok(_) => break,
            Err(error) => {
                cut.stop = Some(at(record.offset, &error));
                break;
            }
        };
        let head = match decoder.decode(avro, &mut old, &mut new) {
            Ok(head) => head,
            Err(error) => {
                cut.stop = Some(at(record.offset, &error));
                break;
            }
        };
        if let Some(border) = border(before.lane, record.offset, &head) {
            cut.border = (cut.records == 0).then_some(border);
            break;
        }
        if before.to.is_some_and(|to| head.ordinal > to) {
            break;
        }
        let same = cut.records > 0 && head.gtid.is_some() && head.gtid == last_gtid;
        if !cutter.admits(record.value.len() + record.key.len(), old.len() + new.len(), same) {
            break;
        }
        last_gtid = head.gtid;
        cut.records += 1;
        cut.bytes = cutter.bytes;
        cut.next_offset = Some(record.offset + 1);
        if head.ordinal <= cut.ordinal {
            cut.repeats += 1;
            continue;
        }
        cut.ordinal = head.ordinal;
        cut.source_ts_ms = Some(head.source_ts_ms);
        if start.contains(head.gtid) {
            cut.repeats += 1;
            cut.since_start = Some(0);
            continue;
        }
        cut.since_start = cut.since_start.map(|events| events + 1);
        let (old, new) = (if head.has_before { &old[..] } else { &[] }, if head.has_after { &new[..] } else { &[] });
        cut.batch.push((record.offset, head.ordinal), record.key, head.op, old, new);
    }
    cut
}

/// What is to be done in front of an event, if anything.
pub(crate) fn border(lane: &Lane, offset: i64, head: &EventHead<'_>) -> Option<Border> {
    let replay = lane.replay();
    if head.generation > replay.generation {
        return Some(Border::Generation { offset, generation: head.generation, ordinal: head.ordinal });
    }
    if !replay.past.is_empty() && is_past(&replay.past, head) {
        return Some(Border::Past);
    }
    (lane.next_offset() < replay.until && offset >= replay.until).then_some(Border::Until)
}

/// Whether transactions are contained in the position that a lane began behind, asked once for each.
struct StartFilter<'s, 'a> {
    start: Option<&'s GtidPosition>,
    last: Option<(&'a str, bool)>,
}

impl<'s, 'a> StartFilter<'s, 'a> {
    fn new(start: Option<&'s GtidPosition>) -> Self {
        Self { start, last: None }
    }

    fn contains(&mut self, gtid: Option<&'a str>) -> bool {
        let (Some(start), Some(gtid)) = (self.start, gtid) else { return false };
        match self.last {
            Some((last, contained)) if last == gtid => contained,
            _ => {
                let contained = gtid.parse::<Gtid>().is_ok_and(|gtid| start.contains(&gtid));
                self.last = Some((gtid, contained));
                contained
            }
        }
    }
}

/// Count of records before the last transaction of the intake; `None` when there is no boundary, or the batch ends
/// before it anyway.
fn boundary(intake: &Intake, schema: u32, decoder: &EventDecoder) -> Option<usize> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let mut last: Option<&str> = None;
    let mut start = 0;
    for (at, record) in intake.records().enumerate() {
        let Ok((id, avro)) = framing::split(record.value) else { return None };
        if id != schema {
            return None;
        }
        let Ok(head) = decoder.decode(avro, &mut old, &mut new) else { return None };
        if at > 0 && (head.gtid.is_none() || head.gtid != last) {
            start = at;
        }
        last = head.gtid;
    }
    (start > 0).then_some(start)
}

/// Decides record by record whether it still belongs to the batch.
#[derive(Debug)]
struct Cutter {
    limits: Limits,
    rows: usize,
    bytes: usize,
    datums: usize,
}

impl Cutter {
    fn new(limits: Limits) -> Self {
        Self { limits, rows: 0, bytes: 0, datums: 0 }
    }

    /// Whether a record belongs to the batch; `same`: it is of the same source transaction as the one before.
    fn admits(&mut self, bytes: usize, datums: usize, same: bool) -> bool {
        let (rows, bytes, datums) = (self.rows + 1, self.bytes + bytes, self.datums + datums);
        let (row_limit, byte_limit) =
            if same { (self.limits.hard_rows, self.limits.hard_bytes) } else { (self.limits.rows, self.limits.bytes) };
        // The first record is always taken: whatever its size, it cannot be cut.
        if self.rows > 0 && (rows > row_limit || bytes > byte_limit || datums > MAX_DATUMS) {
            return false;
        }
        (self.rows, self.bytes, self.datums) = (rows, bytes, datums);
        true
    }
}

fn at(offset: i64, error: &Error) -> Error {
    Error::new(error.code(), format!("the record at offset {offset}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits =
        Limits { rows: 3, bytes: 1000, hard_rows: 5, hard_bytes: 2000, elastic: false, join_bytes: 0 };

    /// Sizes of the batches that a run of transactions (given by their counts of rows) is cut into.
    fn batches(limits: Limits, transactions: &[usize], bytes: usize) -> Vec<usize> {
        let mut rows: VecDeque<bool> = transactions.iter().flat_map(|n| (0..*n).map(|at| at > 0)).collect();
        let mut out = Vec::new();
        while !rows.is_empty() {
            let mut cutter = Cutter::new(limits);
            let mut taken = 0;
            while let Some(same) = rows.front() {
                if !cutter.admits(bytes, 2, *same && taken > 0) {
                    break;
                }
                rows.pop_front();
                taken += 1;
            }
            out.push(taken);
        }
        out
    }

    #[test]
    fn batches_end_with_transactions() {
        assert_eq!(batches(LIMITS, &[1, 1, 1, 1], 10), [3, 1]);
        assert_eq!(batches(LIMITS, &[1, 1, 3, 1], 10), [5, 1], "the third transaction is finished");
        assert_eq!(batches(LIMITS, &[2, 2, 2], 10), [4, 2]);
    }

    #[test]
    fn batches_grow_while_the_lane_is_behind() {
        let limits = Limits { rows: 2000, hard_rows: 10_000, elastic: true, ..LIMITS };
        assert_eq!(limits.within_backlog(2000).rows, 2000);
        assert_eq!(limits.within_backlog(2001).rows, 8000);
        assert_eq!(Limits { elastic: false, ..limits }.within_backlog(9000).rows, 2000);
    }

    #[test]
    fn an_oversized_transaction_is_cut() {
        assert_eq!(batches(LIMITS, &[12], 10), [5, 5, 2]);
        assert_eq!(batches(LIMITS, &[3], 1500), [1, 1, 1], "by bytes, a record each at least");
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_batch_within_the_hard_limits(
            transactions in proptest::collection::vec(1usize..20, 1..30), bytes in 1usize..3000,
        ) {
            let cut = batches(LIMITS, &transactions, bytes);
            prop_assert_eq!(cut.iter().sum::<usize>(), transactions.iter().sum::<usize>());
            prop_assert!(cut.iter().all(|n| *n > 0 && *n <= LIMITS.hard_rows));
        }
    }

    fn intake(offsets: &[&[i64]]) -> Intake {
        let mut intake = Intake::default();
        for offsets in offsets {
            let mut chunk = Chunk::default();
            for offset in *offsets {
                chunk.push(*offset, b"k", b"\0\0\0\0\x07x");
            }
            intake.add(chunk);
        }
        intake
    }

    #[test]
    fn consumed_records_are_gone() {
        let mut intake = intake(&[&[1, 2, 3], &[4], &[5, 6]]);
        let left = |intake: &Intake| intake.records().map(|r| r.offset).collect::<Vec<_>>();
        intake.consume(2);
        assert_eq!(left(&intake), [3, 4, 5, 6]);
        intake.consume(3);
        assert_eq!(left(&intake), [6]);
        assert!(matches!(intake.schema_id(), Some(Ok(7))));
        intake.set_mark(9);
        intake.consume(1);
        assert!(intake.is_empty());
        assert_eq!((intake.len(), intake.bytes, intake.mark()), (0, 0, Some(9)));
        assert!(intake.schema_id().is_none());
    }
}
