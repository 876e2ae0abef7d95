//! Row images into records: the hot loop.
//!
//! Nothing is allocated or looked up per row: the plan is the table's, the buffers are reused, librdkafka copies from
//! them. Only a change of key, which becomes two records with headers, allocates.

use rdkafka::message::{Header, OwnedHeaders};
use schemas::encode::{Op, RowEvent, RowPosition, SourceBlock};
use schemas::{Code, Error, Result};

use super::cut::Load;
use super::group::HeldRows;
use super::plans::Plan;
use crate::binlog::event::{Event, RowsEvent, RowsKind};
use crate::kafka::producer::{Outgoing, TransactionalProducer};

/// Header of the delete that a change of key begins with; its value is the new key, framed.
const NEW_KEY: &str = "__debezium.newkey";
/// Header of the insert that follows; its value is the old key, framed.
const OLD_KEY: &str = "__debezium.oldkey";

/// Buffers for one record at a time.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    key: Vec<u8>,
    other_key: Vec<u8>,
    value: Vec<u8>,
}

/// Where the records of a rows event go and what is the same for all of them.
pub(crate) struct Destination<'a> {
    /// The producer, in a transaction.
    pub(crate) producer: &'a mut TransactionalProducer,
    /// What the transaction holds.
    pub(crate) load: &'a mut Load,
    /// The transaction's number.
    pub(crate) number: u64,
    /// The constant part of `source`.
    pub(crate) block: &'a SourceBlock,
    /// Now, microseconds since 1970 UTC.
    pub(crate) now_us: i64,
}

/// One change, with the images it has.
struct Change<'a> {
    op: Op,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    position: RowPosition,
}

impl Emitter {
    /// Publishes a rows event.
    ///
    /// # Errors
    /// `ImageIncomplete`, `BinlogCorrupt` of the rows; else Kafka's. Part of the rows may be out then.
    pub(crate) fn rows(&mut self, held: &HeldRows, to: &mut Destination<'_>) -> Result<()> {
        let Event::Rows(event) = held.event.parse()? else {
            return Err(Error::new(Code::BinlogCorrupt, "a held event is not a rows event"));
        };
        let plan = &*held.plan;
        self.event(held, &event, to).map_err(|e| {
            let message = format!("{}, event ending at {}: {}", plan.name, held.event.log_pos, e.message());
            Error::new(e.code(), message).with_source(e)
        })
    }

    fn event(&mut self, held: &HeldRows, event: &RowsEvent<'_>, to: &mut Destination<'_>) -> Result<()> {
        let plan = &*held.plan;
        let encoder = &plan.encoder;
        if event.columns != plan.columns {
            return Err(Error::new(Code::BinlogCorrupt, "the rows have another number of columns than the table map"));
        }
        if !event.is_full() {
            return Err(Error::new(Code::ImageIncomplete, "a row image lacks columns"));
        }
        let before = *to.load;
        let (mut rest, mut row, mut ordinal) = (event.rows, 0, held.ordinal);
        while !rest.is_empty() {
            let position = RowPosition { pos: held.position, row, ordinal };
            let (image, tail) = split(rest, encoder.image_len(rest)?)?;
            rest = tail;
            ordinal += length(image);
            match event.kind {
                RowsKind::Write => {
                    self.change(plan, &Change { op: Op::Create, before: None, after: Some(image), position }, to)?;
                }
                RowsKind::Delete => {
                    self.change(plan, &Change { op: Op::Delete, before: Some(image), after: None, position }, to)?;
                }
                RowsKind::Update => {
                    let (after, tail) = split(rest, encoder.image_len(rest)?)?;
                    rest = tail;
                    self.update(plan, (image, after), position, to)?;
                    ordinal += length(after);
                }
            }
            row += 1;
        }
        plan.metrics.rows.inc_by(to.load.rows - before.rows);
        plan.metrics.bytes.inc_by(to.load.bytes - before.bytes);
        Ok(())
    }

    /// An update, or, when the key changes, a delete of the old row and an insert of the new one.
    fn update(
        &mut self,
        plan: &Plan,
        (before, after): (&[u8], &[u8]),
        position: RowPosition,
        to: &mut Destination<'_>,
    ) -> Result<()> {
        if plan.encoder.same_key(before, after)? {
            let change = Change { op: Op::Update, before: Some(before), after: Some(after), position };
            return self.change(plan, &change, to);
        }
        self.key.clear();
        self.other_key.clear();
        plan.encoder.encode_key(before, &mut self.key)?;
        plan.encoder.encode_key(after, &mut self.other_key)?;
        let old = link(OLD_KEY, &self.key);
        let delete = Change { op: Op::Delete, before: Some(before), after: None, position };
        self.send(plan, &delete, Some(link(NEW_KEY, &self.other_key)), to)?;
        std::mem::swap(&mut self.key, &mut self.other_key);
        let position = RowPosition { ordinal: position.ordinal + length(before), ..position };
        let insert = Change { op: Op::Create, before: None, after: Some(after), position };
        self.send(plan, &insert, Some(old), to)
    }

    /// One record, its key encoded from the image that stays, or else from the one that went.
    fn change(&mut self, plan: &Plan, change: &Change<'_>, to: &mut Destination<'_>) -> Result<()> {
        self.key.clear();
        if plan.encoder.has_key() {
            plan.encoder.encode_key(change.after.or(change.before).unwrap_or_default(), &mut self.key)?;
        }
        self.send(plan, change, None, to)
    }

    fn send(
        &mut self,
        plan: &Plan,
        change: &Change<'_>,
        headers: Option<OwnedHeaders>,
        to: &mut Destination<'_>,
    ) -> Result<()> {
        self.value.clear();
        let row = RowEvent {
            op: change.op,
            before: change.before,
            after: change.after,
            source: to.block,
            position: change.position,
            ts_us: to.now_us,
        };
        plan.encoder.encode_value(&row, &mut self.value)?;
        let partition = match plan.spread.partitions() {
            1 => 0,
            _ => {
                let image = change.after.or(change.before).unwrap_or_default();
                plan.spread.partition(plan.encoder.partition_hash(image)?)
            }
        };
        if plan.spread.touch(partition, to.number) {
            to.load.partitions += 1;
        }
        to.load.rows += 1;
        to.load.bytes += (self.key.len() + self.value.len()) as u64;
        to.producer.send(Outgoing {
            topic: &plan.topic,
            partition,
            key: plan.encoder.has_key().then_some(self.key.as_slice()),
            value: Some(&self.value),
            timestamp: to.now_us / 1000,
            headers,
        })
    }
}

fn link(name: &str, key: &[u8]) -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(1).insert(Header { key: name, value: Some(key) })
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    if at == 0 {
        return Err(Error::new(Code::BinlogCorrupt, "a row image is empty"));
    }
    bytes.split_at_checked(at).ok_or_else(|| Error::new(Code::BinlogCorrupt, "a row image is cut short"))
}

fn length(image: &[u8]) -> i64 {
    i64::try_from(image.len()).unwrap_or(i64::MAX)
}
