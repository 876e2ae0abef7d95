//! Reads topics as a subscriber does: read_committed, Avro decoded by the schema that the record names.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use schemas::barrier::Barrier;
use schemas::checkpoint::Record;
use schemas::decode::{Datum, EventDecoder};
use schemas::encode::Op;
use schemas::framing;

use crate::site::{SOURCE, Site, server, wait_for};
use crate::wire;

/// A row event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) op: Op,
    pub(crate) before: Option<Vec<String>>,
    pub(crate) after: Option<Vec<String>>,
    pub(crate) ordinal: i64,
    pub(crate) generation: i32,
    pub(crate) gtid: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Seen {
    /// Operation and values in one line.
    pub(crate) fn line(&self) -> String {
        let op = match self.op {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete => "d",
        };
        let image = |image: &Option<Vec<String>>| image.as_ref().map_or_else(|| "-".to_owned(), |v| v.join(","));
        format!("{op} {} {}", image(&self.before), image(&self.after))
    }
}

/// A committed record.
pub(crate) struct Raw {
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// A barrier where it was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) barrier: Barrier,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Raw {
    /// The barrier that it is, if it is one.
    fn barrier(&self) -> Option<Found> {
        let (_, json) = self.headers.iter().find(|(name, _)| name == "otter.barrier")?;
        assert!(self.key.is_none() && self.value.is_none() && self.headers.len() == 1, "only a header");
        let barrier = Barrier::from_json(json).expect("a barrier");
        Some(Found { barrier, partition: self.partition, offset: self.offset })
    }
}

/// Every committed record of a topic, one partition after another; none when there is no topic.
pub(crate) fn records(topic: &str) -> Vec<Raw> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", server("OTTER_SERVERS_KAFKA"))
        .set("group.id", "tests")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    // All topics: to ask for one by name can make it.
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).expect("metadata");
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Vec::new() };
    let partitions = found.partitions().iter().map(|p| p.id());
    partitions.flat_map(|partition| records_of(&consumer, (topic, partition))).collect()
}

/// How many partitions a topic has.
pub(crate) fn partitions(topic: &str) -> usize {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", server("OTTER_SERVERS_KAFKA")).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).expect("metadata");
    metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len())
}

fn records_of(consumer: &BaseConsumer, (topic, partition): (&str, i32)) -> Vec<Raw> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("assigned");
    let mut found = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(10)).expect("an answer of Kafka") {
            Err(KafkaError::PartitionEOF(_)) => return found,
            Err(error) => panic!("{topic}: {error}"),
            Ok(message) => {
                let headers = message.headers().map_or_else(Vec::new, |headers| {
                    headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
                });
                found.push(Raw {
                    partition,
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers,
                });
            }
        }
    }
}

impl Site {
    /// Waits until readers of what is committed see all that capture has committed: a commit is answered before its markers
    /// are in the partitions, in one after the other.
    pub(crate) async fn wait_for_markers(&self) {
        let id = schemas::names::transactional_id(&self.name, SOURCE);
        wait_for("the markers of what was committed", || async {
            let producer = tokio::task::spawn_blocking({
                let id = id.clone();
                move || wire::describe(&id)
            });
            let producer = producer.await.expect("described");
            let written = !["PrepareCommit", "PrepareAbort"].contains(&producer.state.as_str());
            if written { Ok(()) } else { Err(format!("{producer:?}")) }
        })
        .await;
    }

    /// The row events of a table so far.
    pub(crate) async fn events(&self, table: &str) -> Vec<Seen> {
        self.wait_for_markers().await;
        let topic = self.topic(table);
        let raw = tokio::task::spawn_blocking(move || records(&topic)).await.expect("read");
        let mut decoders: HashMap<u32, EventDecoder> = HashMap::new();
        let mut seen = Vec::with_capacity(raw.len());
        for record in raw.into_iter().filter(|record| record.barrier().is_none()) {
            let Raw { partition, offset, key, value, headers } = record;
            let value = value.expect("a value");
            let (id, avro) = framing::split(&value).expect("framed");
            let schema = self.coordination.schemas().schema(id).await.expect("registered");
            let decoder = decoders.entry(id).or_insert_with(|| EventDecoder::compile(&schema).expect("our schema"));
            let (mut before, mut after) = (Vec::new(), Vec::new());
            let head = decoder.decode(avro, &mut before, &mut after).expect("our event");
            seen.push(Seen {
                op: head.op,
                before: head.has_before.then(|| before.iter().map(text).collect()),
                after: head.has_after.then(|| after.iter().map(text).collect()),
                ordinal: head.ordinal,
                generation: head.generation,
                gtid: head.gtid.map(str::to_owned),
                key,
                headers,
                partition,
                offset,
            });
        }
        seen
    }

    /// The barriers of a table so far.
    pub(crate) async fn barriers(&self, table: &str) -> Vec<Found> {
        self.wait_for_markers().await;
        let topic = self.topic(table);
        let raw = tokio::task::spawn_blocking(move || records(&topic)).await.expect("read");
        raw.iter().filter_map(Raw::barrier).collect()
    }

    /// Waits for so many records of barriers of a table.
    pub(crate) async fn wait_barriers(&self, table: &str, count: usize) -> Vec<Found> {
        let what = format!("{count} barriers of {table}");
        let found = wait_for(&what, || async {
            let barriers = self.barriers(table).await;
            if barriers.len() >= count { Ok(barriers) } else { Err(format!("{} barriers", barriers.len())) }
        });
        let barriers = found.await;
        assert_eq!(barriers.len(), count, "{barriers:?}");
        barriers
    }

    /// Waits for so many row events of a table.
    pub(crate) async fn wait_events(&self, table: &str, count: usize) -> Vec<Seen> {
        let what = format!("{count} events of {table}");
        let found = wait_for(&what, || async {
            let events = self.events(table).await;
            if events.len() >= count { Ok(events) } else { Err(format!("{} events", events.len())) }
        });
        let events = found.await;
        assert_eq!(events.len(), count, "{:?}", events.iter().map(Seen::line).collect::<Vec<_>>());
        events
    }

    /// The committed begin and checkpoint records, those of what was committed last among them.
    pub(crate) async fn checkpoint_records(&self) -> Vec<Record> {
        self.wait_for_markers().await;
        let topic = self.checkpoints();
        let raw = tokio::task::spawn_blocking(move || records(&topic)).await.expect("read");
        raw.iter()
            .map(|r| {
                let (key, value) = (r.key.as_deref().unwrap_or_default(), r.value.as_deref().unwrap_or_default());
                Record::read(key, value).expect("ours")
            })
            .collect()
    }
}

/// Ordinals must grow strictly within a partition.
pub(crate) fn assert_growing(events: &[Seen]) {
    for pair in events.windows(2) {
        assert!(pair[0].ordinal < pair[1].ordinal, "{:?} before {:?}", pair[0], pair[1]);
    }
}

fn text(datum: &Datum<'_>) -> String {
    match datum {
        Datum::Null => "null".to_owned(),
        Datum::Int(n) => n.to_string(),
        Datum::Text(text) | Datum::Exact(text) => (*text).to_owned(),
        other => format!("{other:?}"),
    }
}
