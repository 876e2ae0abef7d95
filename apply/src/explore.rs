//! Looking at single records of a partition: what stands at an offset, before it, and where a condition begins.
//!
//! Everything here blocks, so callers run it beside the runtime. Reads see committed records only, as lanes do.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use coordination::SchemaStore;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use schemas::barrier::{Barrier, BarrierKind};
use schemas::decode::EventDecoder;
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result, framing};
use tokio::runtime::Handle;

use crate::consumer::lanes::Part;
use crate::consumer::{Callbacks, inquiry_config, is_barrier, payload_of};

/// How long a record may take to come.
const WAIT: Duration = Duration::from_secs(10);
/// How far before the place that bisecting finds single stragglers are looked for, in offsets.
const LOOK_BACK: i64 = 1000;

/// What a record says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its offset.
    pub(crate) offset: i64,
    /// The event's ordinal.
    pub(crate) ordinal: i64,
    /// Generation of the source's capture.
    pub(crate) generation: i32,
    /// When the change was made at the source, in milliseconds since 1970.
    pub(crate) time: i64,
    /// The transaction's GTID.
    pub(crate) gtid: Option<String>,
    /// Binlog file.
    pub(crate) file: String,
    /// Position in it.
    pub(crate) pos: i64,
    /// Whether the record has a key.
    pub(crate) keyed: bool,
    /// Whether it is no event but a barrier, and then its kind.
    pub(crate) barrier: Option<BarrierKind>,
}

/// A reader of one partition.
pub(crate) struct Explorer {
    consumer: BaseConsumer<Callbacks>,
    part: Part,
    schemas: SchemaStore,
    runtime: Handle,
    decoders: HashMap<u32, EventDecoder>,
}

impl Explorer {
    /// A client of its own. Called within the runtime.
    ///
    /// # Errors
    /// `OT1004` when librdkafka refuses a property.
    pub(crate) fn new(kafka: &KafkaOptions, schemas: SchemaStore, part: Part) -> Result<Self> {
        let mut config = inquiry_config(kafka);
        // Partitions are assigned by hand; librdkafka wants a group's name all the same, and never joins it.
        config
            .set("group.id", "otter-explorer")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            // Each place looked at is an assignment of its own, which a fetch in flight at the end would hold up.
            .set("fetch.wait.max.ms", "10")
            .set("fetch.message.max.bytes", "65536")
            .set("queued.max.messages.kbytes", "1024");
        let consumer = config
            .create_with_context(Callbacks::default())
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")))?;
        Ok(Self { consumer, part, schemas, runtime: Handle::current(), decoders: HashMap::new() })
    }

    /// The first event at an offset or behind it, before `end`.
    ///
    /// # Errors
    /// `OT4001` without an answer, `OT4006` when a record is no event, `OT4005` when its schema is not known.
    pub(crate) fn at(&mut self, offset: i64, end: i64) -> Result<Option<Facts>> {
        let mut found = None;
        self.events(offset, end, |facts| {
            found = Some(facts);
            true
        })?;
        Ok(found)
    }

    /// The first record at an offset or behind it, before `end`; a barrier too.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) fn record(&mut self, offset: i64, end: i64) -> Result<Option<Facts>> {
        let mut found = None;
        self.scan(offset, end, |facts| {
            found = Some(facts);
            true
        })?;
        Ok(found)
    }

    /// The kind and the position of the barrier that is the first record at an offset or behind it, before `end`.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) fn barrier(&mut self, offset: i64, end: i64) -> Result<Option<(BarrierKind, (i32, i64))>> {
        let mut found = None;
        self.scan(offset, end, |facts| {
            found = facts.barrier.map(|kind| (kind, (facts.generation, facts.ordinal)));
            true
        })?;
        Ok(found)
    }

    /// The last record before an offset, from `low` on; a barrier too, as it has a place among the events.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) fn before(&mut self, offset: i64, low: i64) -> Result<Option<Facts>> {
        let mut step = 2; // a control record stands between the events of two transactions
        loop {
            let from = offset.saturating_sub(step).max(low);
            let mut last = None;
            self.scan(from, offset, |facts| {
                last = Some(facts);
                false
            })?;
            if last.is_some() || from <= low {
                return Ok(last);
            }
            step *= 4;
        }
    }

    /// The first offset in `low..high` whose record meets a condition that, but for stragglers within [`LOOK_BACK`], holds
    /// for all records behind it; `high` when there is none. Records of which it says nothing are passed over.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) fn first_where(&mut self, low: i64, high: i64, holds: impl Fn(&Facts) -> Option<bool>) -> Result<i64> {
        let (mut from, mut to) = (low, high);
        while from < to {
            let middle = from + (to - from) / 2;
            let mut seen = None;
            self.scan(middle, to, |facts| {
                seen = holds(&facts).map(|holds| (holds, facts.offset));
                seen.is_some()
            })?;
            match seen {
                Some((false, offset)) => from = offset + 1,
                _ => to = middle,
            }
        }
        let mut first = None;
        self.scan((from - LOOK_BACK).max(low), high, |facts| {
            let found = holds(&facts) == Some(true);
            if found {
                first = Some(facts.offset);
            }
            found
        })?;
        Ok(first.unwrap_or(high))
    }

    /// Counts the records in `from..to`, as far as it gets within `limit`; and whether these are all.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) fn count(&mut self, from: i64, to: i64, limit: Duration) -> Result<(i64, bool)> {
        let until = Instant::now() + limit;
        let (mut count, mut complete) = (0, true);
        self.events(from, to, |_| {
            count += 1;
            complete = Instant::now() < until;
            !complete
        })?;
        Ok((count, complete))
    }

    /// Hands over the events in `from..to` until `see` has enough.
    fn events(&mut self, from: i64, to: i64, mut see: impl FnMut(Facts) -> bool) -> Result<()> {
        self.scan(from, to, |facts| facts.barrier.is_none() && see(facts))
    }

    /// Hands over the records in `from..to` until `see` has enough.
    fn scan(&mut self, from: i64, to: i64, mut see: impl FnMut(Facts) -> bool) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let Part { topic, partition } = self.part.clone();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(from)).map_err(|e| self.failed(&e))?;
        self.consumer.assign(&list).map_err(|e| self.failed(&e))?;
        let mut until = Instant::now() + WAIT;
        loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                None if Instant::now() < until => {}
                None => {
                    let message = format!("{topic}/{partition}: no record from offset {from} within {WAIT:?}");
                    return Err(Error::new(Code::KafkaUnavailable, message));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(is_transient) => {}
                Some(Err(e)) => return Err(self.failed(&e)),
                Some(Ok(message)) if message.offset() >= to => return Ok(()),
                Some(Ok(message)) if message.offset() < from => {} // of an assignment before
                Some(Ok(message)) => {
                    until = Instant::now() + WAIT;
                    let (offset, keyed) = (message.offset(), message.key().is_some_and(|key| !key.is_empty()));
                    let facts = facts(
                        (&mut self.decoders, &self.schemas, &self.runtime),
                        (offset, keyed),
                        payload_of(&message),
                    )
                    .map_err(|e| {
                        let what = format!("{topic}/{partition}: the record at offset {offset}: {}", e.message());
                        Error::new(e.code(), what).with_source(e)
                    })?;
                    if see(facts) || offset + 1 >= to {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let Part { topic, partition } = &self.part;
        Error::new(Code::KafkaUnavailable, format!("{topic}/{partition}: {error}")).with_source(error.clone())
    }
}

/// Errors that librdkafka gets over by itself.
fn is_transient(code: rdkafka::error::RDKafkaErrorCode) -> bool {
    use rdkafka::error::RDKafkaErrorCode as C;
    matches!(code, C::BrokerTransportFailure | C::AllBrokersDown | C::Resolve | C::OperationTimedOut)
}

fn facts(
    (decoders, schemas, runtime): (&mut HashMap<u32, EventDecoder>, &SchemaStore, &Handle),
    (offset, keyed): (i64, bool),
    value: &[u8],
) -> Result<Facts> {
    if is_barrier(value) {
        return Ok(of_barrier(Barrier::from_json(value)?, offset));
    }
    let (id, avro) = framing::split(value)?;
    let decoder = match decoders.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let text = runtime.block_on(schemas.schema(id))?;
            place.insert(EventDecoder::compile(&text)?)
        }
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let head = decoder.decode(avro, &mut old, &mut new)?;
    Ok(Facts {
        offset,
        ordinal: head.ordinal,
        generation: head.generation,
        time: head.source_ts_ms,
        gtid: head.gtid.map(str::to_owned),
        file: head.file.to_owned(),
        pos: head.pos,
        keyed,
        barrier: None,
    })
}

fn of_barrier(barrier: Barrier, offset: i64) -> Facts {
    Facts {
        offset,
        ordinal: barrier.ordinal,
        generation: barrier.generation,
        time: barrier.ts_ms,
        gtid: barrier.gtid,
        file: barrier.file,
        pos: i64::try_from(barrier.pos).unwrap_or(i64::MAX),
        keyed: true,
        barrier: Some(barrier.kind),
    }
}
