//! Reads topics as a subscriber does: read_committed, Avro decoded by the schema that the record names.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use schemas::checkpoint::Record;
use schemas::decode::{Datum, EventDecoder};
use schemas::encode::Op;
use schemas::framing;

use crate::site::{Site, server, wait_for};

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

type Raw = (Option<Vec<u8>>, Vec<u8>, Vec<(String, Vec<u8>)>);

/// Every committed record of a topic's one partition; none when there is no topic.
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
    if !metadata.topics().iter().any(|t| t.name() == topic) {
        return Vec::new();
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
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
                found.push((
                    message.key().map(<[u8]>::to_vec),
                    message.payload().unwrap_or_default().to_vec(),
                    headers,
                ));
            }
        }
    }
}

impl Site {
    /// The row events of a table so far.
    pub(crate) async fn events(&self, table: &str) -> Vec<Seen> {
        let topic = self.topic(table);
        let raw = tokio::task::spawn_blocking(move || records(&topic)).await.expect("read");
        let mut decoders: HashMap<u32, EventDecoder> = HashMap::new();
        let mut seen = Vec::with_capacity(raw.len());
        for (key, value, headers) in raw {
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
            });
        }
        seen
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

    /// The committed begin and checkpoint records.
    pub(crate) async fn checkpoint_records(&self) -> Vec<Record> {
        let topic = self.checkpoints();
        let raw = tokio::task::spawn_blocking(move || records(&topic)).await.expect("read");
        raw.iter()
            .map(|(key, value, _)| Record::read(key.as_deref().unwrap_or_default(), value).expect("ours"))
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
