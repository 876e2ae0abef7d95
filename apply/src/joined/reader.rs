//! Reads all partitions of a set by a consumer of its own, assigned by hand, without a group.
//!
//! Every partition has its queue in librdkafka; one that is full here is not polled, and fetching it stops by itself.
//! Polling never blocks, so the task that leads the set does it itself; librdkafka rings a bell when something comes.
//! The ends of partitions are asked for by a second client that also sees open transactions, all in one question.
//!
//! Failure: errors that librdkafka mends are passed over; one of a position makes the reader doubtful, and its user
//! compares every position with its topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result};
use tokio::sync::Notify;

use crate::consumer::lanes::Part;
use crate::consumer::{Callbacks, inquiry_config, payload_of};

/// How long the answer about the ends may take.
const WAIT: Duration = Duration::from_secs(5);
/// What librdkafka keeps of a partition, in KiB: the set's share among its partitions, within these.
const PREFETCH: (usize, usize) = (128, 4096);
/// What it keeps of all, in KiB.
const PREFETCH_ALL: usize = 64 * 1024;

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its offset.
    pub(crate) offset: i64,
    bytes: Box<[u8]>,
    key_end: usize,
}

impl Record {
    /// Copies a record.
    pub(crate) fn new(offset: i64, key: &[u8], value: &[u8]) -> Self {
        Self { offset, bytes: [key, value].concat().into_boxed_slice(), key_end: key.len() }
    }

    /// Its key, framed; empty when it has none.
    pub(crate) fn key(&self) -> &[u8] {
        self.bytes.get(..self.key_end).unwrap_or_default()
    }

    /// Its value, framed, or a barrier's text; empty when it has none.
    pub(crate) fn value(&self) -> &[u8] {
        self.bytes.get(self.key_end..).unwrap_or_default()
    }

    /// Bytes of memory it stands for.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// The consumer of a set.
pub(crate) struct Reader {
    consumer: Arc<BaseConsumer<Callbacks>>,
    ends: Arc<BaseConsumer<Callbacks>>,
    parts: HashMap<Part, usize>,
    queues: Vec<PartitionQueue<Callbacks>>,
    bell: Arc<Notify>,
    doubtful: bool,
}

impl Reader {
    /// Reads partitions, each from an offset on.
    ///
    /// # Errors
    /// `OT1004` when librdkafka refuses a property, `OT4001` when it does not take a partition.
    pub(crate) fn open(kafka: &KafkaOptions, from: &[(Part, i64)]) -> Result<Self> {
        let prefetch = (PREFETCH_ALL / from.len().max(1)).clamp(PREFETCH.0, PREFETCH.1).to_string();
        let consumer = client(kafka, |config| {
            config
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                .set("fetch.queue.backoff.ms", "10")
                .set("fetch.error.backoff.ms", "100")
                .set("queued.max.messages.kbytes", &prefetch)
                .set("check.crcs", "true");
        })?;
        let ends = client(kafka, |config| {
            config.set("isolation.level", "read_uncommitted");
        })?;
        let (mut queues, bell, mut list) = (Vec::new(), Arc::new(Notify::new()), TopicPartitionList::new());
        for (part, offset) in from {
            let what =
                |why: &str| Error::new(Code::KafkaUnavailable, format!("{}/{}: {why}", part.topic, part.partition));
            list.add_partition_offset(&part.topic, part.partition, Offset::Offset(*offset))
                .map_err(|e| what(&e.to_string()))?;
            let mut queue = consumer
                .split_partition_queue(&part.topic, part.partition)
                .ok_or_else(|| what("no queue for the partition"))?;
            let ring = Arc::clone(&bell);
            queue.set_nonempty_callback(move || ring.notify_one());
            queues.push(queue);
        }
        consumer
            .assign(&list)
            .map_err(|e| Error::new(Code::KafkaUnavailable, format!("assign: {e}")).with_source(e))?;
        let parts = from.iter().enumerate().map(|(at, (part, _))| (part.clone(), at)).collect();
        Ok(Self { consumer, ends, parts, queues, bell, doubtful: false })
    }

    /// Waits until something may have come since the last call.
    pub(crate) async fn news(&self) {
        self.bell.notified().await;
    }

    /// Takes records of a partition as long as the taker wants more; false when there may be more.
    ///
    /// # Errors
    /// `OT4001` when the consumer has failed for good.
    pub(crate) fn poll(&mut self, lane: usize, mut take: impl FnMut(Record) -> bool) -> Result<bool> {
        // What is not of a partition, such as errors of connections; also drives the client.
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            if let Err(error) = polled {
                trouble(&self.consumer, &mut self.doubtful, &error)?;
            }
        }
        let Some(queue) = self.queues.get(lane) else { return Ok(true) };
        loop {
            match queue.poll(Duration::ZERO) {
                None => return Ok(true),
                Some(Ok(message)) => {
                    let record = Record::new(message.offset(), message.key().unwrap_or_default(), payload_of(&message));
                    if !take(record) {
                        return Ok(false);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => trouble(&self.consumer, &mut self.doubtful, &error)?,
            }
        }
    }

    /// Whether some position may not be in its topic any more; says so once.
    pub(crate) fn takes_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubtful)
    }

    /// Where the consumer stands in each partition, behind control records too; `None` before the first record.
    ///
    /// # Errors
    /// `OT4001` when the consumer does not say.
    pub(crate) fn positions(&self) -> Result<Vec<Option<i64>>> {
        let said = self.consumer.position().map_err(|e| failed("positions", &e))?;
        Ok(self.offsets(&said))
    }

    /// The ends of all partitions, those of open transactions included.
    ///
    /// # Errors
    /// `OT4001` without an answer.
    pub(crate) async fn ends(&self) -> Result<Vec<i64>> {
        let mut list = TopicPartitionList::new();
        for part in self.parts.keys() {
            list.add_partition_offset(&part.topic, part.partition, Offset::End).map_err(|e| failed("ends", &e))?;
        }
        let client = Arc::clone(&self.ends);
        let asked = tokio::task::spawn_blocking(move || {
            while client.poll(Duration::ZERO).is_some() {}
            client.offsets_for_times(list, WAIT)
        });
        let answer = asked.await.map_err(|e| Error::new(Code::KafkaUnavailable, format!("ends: {e}")))?;
        let answer = answer.map_err(|e| failed("ends", &e))?;
        let ends: Option<Vec<i64>> = self.offsets(&answer).into_iter().collect();
        ends.ok_or_else(|| Error::new(Code::KafkaUnavailable, "some partitions have no end"))
    }

    /// The offsets of a list in the order of the set's partitions.
    fn offsets(&self, list: &TopicPartitionList) -> Vec<Option<i64>> {
        let mut offsets = vec![None; self.parts.len()];
        for element in list.elements() {
            let part = Part { topic: element.topic().to_owned(), partition: element.partition() };
            if let (Some(at), Offset::Offset(offset)) = (self.parts.get(&part), element.offset()) {
                offsets[*at] = Some(offset);
            }
        }
        offsets
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // librdkafka waits for its threads when the last handle goes: not on a thread of the runtime.
        self.queues.clear();
        let clients = (Arc::clone(&self.consumer), Arc::clone(&self.ends));
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(tokio::task::spawn_blocking(move || drop(clients)));
        }
    }
}

fn client(kafka: &KafkaOptions, set: impl FnOnce(&mut rdkafka::ClientConfig)) -> Result<Arc<BaseConsumer<Callbacks>>> {
    let mut config = inquiry_config(kafka);
    // Partitions are assigned by hand; librdkafka wants a group's name all the same, and never joins it.
    config.set("group.id", "otter-joined").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    set(&mut config);
    let client = config
        .create_with_context(Callbacks::default())
        .map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")).with_source(e))?;
    Ok(Arc::new(client))
}

fn trouble(consumer: &BaseConsumer<Callbacks>, doubtful: &mut bool, error: &KafkaError) -> Result<()> {
    if let Some((code, text)) = consumer.client().fatal_error() {
        return Err(Error::new(Code::KafkaUnavailable, format!("{code}: {text}")).with_source(error.clone()));
    }
    let positions = [
        RDKafkaErrorCode::AutoOffsetReset,
        RDKafkaErrorCode::OffsetOutOfRange,
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::UnknownTopicId,
    ];
    *doubtful |= error.rdkafka_error_code().is_some_and(|code| positions.contains(&code));
    tracing::debug!(%error, "joined lanes");
    Ok(())
}

fn failed(what: &str, error: &KafkaError) -> Error {
    Error::new(Code::KafkaUnavailable, format!("{what}: {error}")).with_source(error.clone())
}
