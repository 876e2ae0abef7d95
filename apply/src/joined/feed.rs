//! The merged records of a set, from the reader to the batch.
//!
//! Memory is bounded: a partition that has its share waiting is not polled, and what is ready is bounded by the batch's
//! limits, which are larger only while lanes are brought together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use coordination::SchemaStore;
use schemas::barrier::Barrier;
use schemas::decode::EventDecoder;
use schemas::{Error, Reaction, Result, framing};

use crate::joined::merge::{Merge, Position};
use crate::joined::reader::{Reader, Record};
use crate::lane::intake::Limits;

/// Bytes that may wait for the merge, of all partitions; one may always have `LANE_BYTES`.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
const LANE_BYTES: usize = 128 * 1024;
/// Records of one partition polled before the others have their turn.
const TURN: usize = 1000;

/// What a record is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An event of this schema.
    Event(u32),
    /// All partitions have it at this place.
    Barrier(Barrier),
    /// It cannot be read.
    Broken(Error),
}

/// A record in the merged order.
#[derive(Debug)]
pub(crate) struct Element {
    /// Index of its lane.
    pub(crate) lane: usize,
    /// Where it stands.
    pub(crate) at: Position,
    /// The record.
    pub(crate) record: Record,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What has been read and not been written.
pub(crate) struct Feed {
    reader: Reader,
    merge: Merge<(Record, Kind)>,
    /// Bytes of each lane in `merge`; `usize::MAX`: it ends with a record that cannot be read.
    waiting: Vec<usize>,
    ready: VecDeque<Element>,
    ready_bytes: usize,
    /// How many of them end a batch: they are no events.
    ends: usize,
    /// How far each lane has been read.
    read: Vec<i64>,
    decoders: HashMap<u32, Arc<EventDecoder>>,
    /// Records dropped because they were applied before, since last asked.
    repeats: u64,
}

impl Feed {
    /// Of lanes that stand at these offsets and positions.
    pub(crate) fn new(reader: Reader, at: &[(i64, Position)]) -> Self {
        Self {
            reader,
            merge: Merge::new(at.iter().map(|(_, position)| *position)),
            waiting: vec![0; at.len()],
            ready: VecDeque::new(),
            ready_bytes: 0,
            ends: 0,
            read: at.iter().map(|(offset, _)| *offset).collect(),
            decoders: HashMap::new(),
            repeats: 0,
        }
    }

    /// The reader.
    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Takes in what has come; whether there may be more.
    ///
    /// # Errors
    /// `OT4001` when the consumer failed, those of the registry that are to be tried again.
    pub(crate) async fn pump(&mut self, store: &SchemaStore) -> Result<bool> {
        let share = (WAITING_BYTES / self.waiting.len().max(1)).max(LANE_BYTES);
        let mut more = false;
        let mut records = Vec::new();
        for lane in 0..self.waiting.len() {
            let mut room = share.saturating_sub(self.waiting[lane]);
            if room == 0 {
                continue;
            }
            let all = self.reader.poll(lane, |record| {
                room = room.saturating_sub(record.weight());
                records.push(record);
                room > 0 && records.len() < TURN
            })?;
            more |= !all && room > 0;
            for record in records.drain(..) {
                self.take(lane, record, store).await?;
            }
        }
        for (lane, position) in self.reader.positions()?.into_iter().enumerate() {
            if let Some(position) = position.filter(|_| self.waiting[lane] != usize::MAX) {
                self.read[lane] = self.read[lane].max(position);
                self.merge.has_read(lane, self.read[lane]);
            }
        }
        Ok(more)
    }

    async fn take(&mut self, lane: usize, record: Record, store: &SchemaStore) -> Result<()> {
        if self.waiting[lane] == usize::MAX {
            return Ok(());
        }
        let weight = record.weight();
        match self.look(&record, store).await {
            Ok((at, kind)) => {
                if self.merge.push(lane, at, (record, kind)) {
                    self.waiting[lane] += weight;
                } else {
                    self.repeats += 1;
                }
            }
            Err(error) if error.code().reaction() == Reaction::Retry => return Err(error),
            Err(error) => {
                let what = format!("the record at offset {}: {}", record.offset, error.message());
                let error = Error::new(error.code(), what).with_source(error);
                self.merge.push_behind(lane, (record, Kind::Broken(error)));
                self.waiting[lane] = usize::MAX;
            }
        }
        Ok(())
    }

    async fn look(&mut self, record: &Record, store: &SchemaStore) -> Result<(Position, Kind)> {
        if record.value().first() == Some(&b'{') {
            let barrier = Barrier::from_json(record.value())?;
            let at = Position { generation: barrier.generation, ordinal: barrier.ordinal };
            return Ok((at, Kind::Barrier(barrier)));
        }
        let (schema, avro) = framing::split(record.value())?;
        let decoder = match self.decoders.get(&schema) {
            Some(decoder) => Arc::clone(decoder),
            None => {
                let decoder = Arc::new(EventDecoder::compile(&store.schema(schema).await?)?);
                self.decoders.insert(schema, Arc::clone(&decoder));
                decoder
            }
        };
        let head = decoder.decode(avro, &mut Vec::new(), &mut Vec::new())?;
        Ok((Position { generation: head.generation, ordinal: head.ordinal }, Kind::Event(schema)))
    }

    /// Whether a round of ends is to be taken: what is there is not known to be safe.
    pub(crate) fn wants_round(&self) -> bool {
        self.merge.wants_round()
    }

    /// Whether a round is on its way.
    pub(crate) fn in_round(&self) -> bool {
        self.merge.in_round()
    }

    /// Where the next element stands, safe or not.
    pub(crate) fn next_at(&self) -> Option<Position> {
        self.ready.front().map(|element| element.at).or_else(|| self.merge.next_at())
    }

    /// The greatest position that has been read.
    pub(crate) fn greatest(&self) -> Option<Position> {
        self.merge.greatest()
    }

    /// There may be lanes that are not of the set yet with records beyond this position.
    pub(crate) fn set_listed(&mut self, upto: Position) {
        self.merge.set_listed(upto);
    }

    /// Begins a round with ends that were taken when `upto` had been read.
    pub(crate) fn begin_round(&mut self, upto: Position, ends: Vec<i64>) {
        self.merge.begin_round(upto, ends);
        for (lane, read) in self.read.iter().enumerate() {
            self.merge.has_read(lane, *read);
        }
    }

    /// Makes ready what is safe, as much as a batch takes; and everything up to `upto` where that is set.
    pub(crate) fn drain(&mut self, limits: &Limits, upto: Option<Position>) {
        loop {
            let wanted = upto.is_some() && self.merge.next_at() <= upto;
            if !wanted && self.fills(limits) {
                return;
            }
            let Some((lane, at, (record, kind))) = self.merge.next() else { return };
            if self.waiting[lane] != usize::MAX {
                self.waiting[lane] = self.waiting[lane].saturating_sub(record.weight());
            }
            self.ready_bytes += record.weight();
            self.ends += usize::from(!matches!(kind, Kind::Event(_)));
            self.ready.push_back(Element { lane, at, record, kind });
        }
    }

    fn fills(&self, limits: &Limits) -> bool {
        self.ready.len() >= limits.hard_rows || self.ready_bytes >= limits.hard_bytes
    }

    /// Whether a batch of these limits would not become larger by waiting: it is full, or ends earlier, or there is nothing
    /// more up to the goal.
    pub(crate) fn is_complete(&self, limits: &Limits, goal: Position) -> bool {
        self.fills(limits) || self.ends > 0 || self.is_through(goal)
    }

    /// Whether everything up to a position has been read and made ready.
    pub(crate) fn is_through(&self, position: Position) -> bool {
        self.merge.safe() >= Some(position) && self.merge.next_at().is_none_or(|next| next > position)
    }

    /// What is ready, in order.
    pub(crate) fn ready(&self) -> &VecDeque<Element> {
        &self.ready
    }

    /// Forgets the first `count`: they are committed.
    pub(crate) fn consume(&mut self, count: usize) {
        for element in self.ready.drain(..count.min(self.ready.len())) {
            self.ready_bytes = self.ready_bytes.saturating_sub(element.record.weight());
            self.ends -= usize::from(!matches!(element.kind, Kind::Event(_)));
        }
    }

    /// The offset up to which there is nothing of a lane that is still to be written.
    pub(crate) fn stands_at(&self, lane: usize) -> i64 {
        let first = self.ready.iter().find(|element| element.lane == lane).map(|element| element.record.offset);
        first.or_else(|| self.merge.head(lane).map(|(record, _)| record.offset)).unwrap_or(self.read[lane])
    }

    /// Takes the count of repeats.
    pub(crate) fn take_repeats(&mut self) -> u64 {
        std::mem::take(&mut self.repeats)
    }
}
