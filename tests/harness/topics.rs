//! A read_committed subscriber that checks what Otter promises: each changed row once, in order.
//!
//! Any Kafka client with the schemas of the registry could be in its place.

use super::{Context as _, Result, Site, bail, ensure};
use coordination::SchemaStore;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use schemas::barrier::{Barrier, HEADER};
use schemas::decode::{Datum, EventDecoder};
use schemas::encode::Op;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// How long the topic may stay silent before its end must have come.
const SILENCE: Duration = Duration::from_secs(30);

/// What a topic holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) deletes: u64,
}

impl Counts {
    /// Events in all.
    pub(crate) fn events(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            inserts: self.inserts + other.inserts,
            updates: self.updates + other.updates,
            deletes: self.deletes + other.deletes,
        }
    }
}

/// Reads a table's topic from its beginning to its present end. Fails when ordinals do not rise strictly, when an event's
/// row before is not what the previous event of its key left, or when a record is no event.
pub(crate) async fn check_topic(site: &Site, table: &str) -> Result<Counts> {
    let (brokers, topic) = (site.servers.kafka.clone(), site.topic(table));
    let (sender, mut records) = tokio::sync::mpsc::channel(1000);
    let reader = tokio::task::spawn_blocking(move || {
        read_all(&brokers, &topic, 0, |record| sender.blocking_send(record).is_ok())
    });
    let mut checker = Checker::new(site.coordination().await?.schemas());
    while let Some(record) = records.recv().await {
        checker.record(&record).await.with_context(|| format!("at offset {}", record.offset()))?;
    }
    reader.await??;
    Ok(checker.counts)
}

/// The payloads of every committed record of partition 0.
pub(crate) async fn payloads(brokers: &str, topic: &str) -> Result<Vec<Vec<u8>>> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let read = move || {
        let mut found = Vec::new();
        read_all(&brokers, &topic, 0, |record| {
            found.extend(record.payload().map(<[u8]>::to_vec));
            true
        })?;
        Ok(found)
    };
    tokio::task::spawn_blocking(read).await?
}

/// Every committed record of a partition of a table's topic.
async fn all(site: &Site, (table, partition): (&str, i32)) -> Result<Vec<OwnedMessage>> {
    let (brokers, topic) = (site.servers.kafka.clone(), site.topic(table));
    let read = move || {
        let mut found = Vec::new();
        read_all(&brokers, &topic, partition, |record| {
            found.push(record);
            true
        })?;
        Ok(found)
    };
    tokio::task::spawn_blocking(read).await?
}

/// Hands ordinal and rows before and after of every event of a partition to `look`, in order.
pub(crate) async fn changes(
    site: &Site,
    (table, partition): (&str, i32),
    mut look: impl FnMut(i64, &[Datum<'_>], &[Datum<'_>]),
) -> Result<()> {
    let schemas = site.coordination().await?.schemas();
    let mut decoders = HashMap::new();
    for record in all(site, (table, partition)).await? {
        let (id, avro) = schemas::framing::split(record.payload().context("no value")?)?;
        if let Entry::Vacant(place) = decoders.entry(id) {
            place.insert(EventDecoder::compile(&schemas.schema(id).await?)?);
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let head = decoders[&id].decode(avro, &mut before, &mut after)?;
        look(head.ordinal, &before, &after);
    }
    Ok(())
}

/// A record of a topic of rows.
#[derive(Debug)]
pub(crate) enum Marked {
    /// A row event: its first column as text, and the rows as text.
    Event { ordinal: i64, id: String, before: Option<String>, after: Option<String> },
    /// A mark between events.
    Barrier(Barrier),
}

impl Marked {
    /// Its ordinal.
    pub(crate) fn ordinal(&self) -> i64 {
        match self {
            Self::Event { ordinal, .. } => *ordinal,
            Self::Barrier(barrier) => barrier.ordinal,
        }
    }
}

/// Every committed record of a partition of a table's topic, barriers among them.
pub(crate) async fn marked(site: &Site, (table, partition): (&str, i32)) -> Result<Vec<Marked>> {
    let schemas = site.coordination().await?.schemas();
    let (mut decoders, mut marked) = (HashMap::new(), Vec::new());
    for record in all(site, (table, partition)).await? {
        if let Some(header) = record.headers().and_then(|headers| headers.iter().find(|h| h.key == HEADER)) {
            marked.push(Marked::Barrier(Barrier::from_json(header.value.context("an empty header")?)?));
            continue;
        }
        let (id, avro) = schemas::framing::split(record.payload().context("no value")?)?;
        if let Entry::Vacant(place) = decoders.entry(id) {
            place.insert(EventDecoder::compile(&schemas.schema(id).await?)?);
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let head = decoders[&id].decode(avro, &mut before, &mut after)?;
        let Some(Datum::Int(id)) = after.first().or(before.first()) else { bail!("no number: {after:?}") };
        marked.push(Marked::Event {
            ordinal: head.ordinal,
            id: id.to_string(),
            before: head.has_before.then(|| format!("{before:?}")),
            after: head.has_after.then(|| format!("{after:?}")),
        });
    }
    Ok(marked)
}

/// Hands every committed record of a partition to `take`, until the end or until it answers false.
fn read_all(brokers: &str, topic: &str, partition: i32, mut take: impl FnMut(OwnedMessage) -> bool) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "otter-tests")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&partitions)?;
    let mut heard = Instant::now();
    while heard.elapsed() < SILENCE {
        match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(record)) if !take(record.detach()) => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => return Err(error).context(format!("reading {topic}")),
        }
        heard = Instant::now();
    }
    bail!("{topic} {partition} has no end: nothing came for {SILENCE:?}")
}

struct Checker {
    schemas: SchemaStore,
    decoders: HashMap<u32, EventDecoder>,
    /// Hash of each living row by its framed key.
    rows: HashMap<Vec<u8>, u64>,
    hasher: RandomState,
    ordinal: i64,
    counts: Counts,
}

impl Checker {
    fn new(schemas: SchemaStore) -> Self {
        Self {
            schemas,
            decoders: HashMap::new(),
            rows: HashMap::new(),
            hasher: RandomState::new(),
            ordinal: i64::MIN,
            counts: Counts::default(),
        }
    }

    async fn record(&mut self, record: &OwnedMessage) -> Result<()> {
        let key = record.key().context("no key")?;
        let value = record.payload().context("no value")?;
        let (id, avro) = schemas::framing::split(value)?;
        if !self.decoders.contains_key(&id) {
            let decoder = EventDecoder::compile(&self.schemas.schema(id).await?)?;
            self.decoders.insert(id, decoder);
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let head = self.decoders[&id].decode(avro, &mut before, &mut after)?;
        ensure!(head.ordinal > self.ordinal, "ordinal {} follows {}", head.ordinal, self.ordinal);
        self.ordinal = head.ordinal;
        match head.op {
            Op::Create => self.counts.inserts += 1,
            Op::Update => self.counts.updates += 1,
            Op::Delete => self.counts.deletes += 1,
        }
        let hash = |row: &[Datum<'_>]| self.hasher.hash_one(format!("{row:?}"));
        let before = head.has_before.then(|| hash(&before));
        let after = head.has_after.then(|| hash(&after));
        let known = match after {
            Some(row) => self.rows.insert(key.to_vec(), row),
            None => self.rows.remove(key),
        };
        ensure!(before == known, "{:?} of key {key:02x?}: the row before is not what the event before left", head.op);
        Ok(())
    }
}
