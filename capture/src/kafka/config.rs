//! librdkafka's configuration for each kind of client: the operator's properties first, then what correctness needs.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use schemas::kafka::KafkaOptions;

use crate::options::Options;

fn base(kafka: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in kafka.properties() {
        config.set(key, value);
    }
    config
}

/// Most bytes of a batch, unless a topic takes less.
const BATCH: u64 = 1 << 20;

/// What the topics of a source take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageSizes {
    /// `max_message` of the topic that takes most.
    pub(crate) largest: u64,
    /// `max_message` of the topic that takes least.
    pub(crate) smallest: u64,
}

/// The transactional producer. Throughput settings are defaults that `[kafka.client]` may change; the rest is fixed.
pub(crate) fn producer_config(
    kafka: &KafkaOptions,
    options: &Options,
    transactional_id: &str,
    timeout: Duration,
    sizes: MessageSizes,
) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("compression.type", "lz4")
        .set("batch.size", BATCH.to_string())
        .set("batch.num.messages", "20000")
        .set("queue.buffering.max.messages", "100000")
        .set("socket.nagle.disable", "true");
    for (key, value) in kafka.properties() {
        config.set(key, value);
    }
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Capture makes the topics it needs. One that was deleted is not to come back by being written to.
        .set("allow.auto.create.topics", "false")
        // Linger would be added to every commit; behind a busy queue librdkafka batches without it.
        .set("linger.ms", "0")
        // A record larger than the whole queue would find it full for ever.
        .set("queue.buffering.max.kbytes", (options.producer_queue.get().max(sizes.largest) / 1024 + 1).to_string())
        .set("message.max.bytes", sizes.largest.to_string());
    if sizes.smallest < BATCH {
        // A topic's max.message.bytes bounds whole batches: together, small rows could be refused as too large.
        config.set("batch.size", sizes.smallest.to_string());
    }
    config
}

/// A consumer that reads committed records of given partitions, without a group's offsets.
pub(crate) fn consumer_config(kafka: &KafkaOptions, group: &str) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50");
    config
}

/// A client for metadata and the creation of topics.
pub(crate) fn admin_config(kafka: &KafkaOptions) -> ClientConfig {
    base(kafka)
}

/// Sends librdkafka's lines to tracing; for clients that need nothing else of a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logs;

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition also comes this way; what matters is returned by the calls themselves.
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Logs {}

/// One line of librdkafka's log.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "librdkafka: {message}");
        }
        RDKafkaLogLevel::Warning => tracing::info!(facility, "librdkafka: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, "librdkafka: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(largest: u64, smallest: u64) -> ClientConfig {
        let kafka = KafkaOptions { brokers: "b:9092".to_owned(), client: std::collections::BTreeMap::new() };
        let sizes = MessageSizes { largest, smallest };
        producer_config(&kafka, &Options::default(), "id", Duration::from_secs(10), sizes)
    }

    #[test]
    fn the_queue_holds_the_largest_record() {
        let queue = |largest| {
            let config = producer(largest, largest);
            config.get("queue.buffering.max.kbytes").and_then(|k| k.parse::<u64>().ok()).expect("a number") * 1024
        };
        assert!(queue(1 << 20) >= 64 << 20);
        assert!(queue(900_000_000) >= 900_000_000);
    }

    #[test]
    fn a_topic_is_not_made_by_being_written_to() {
        assert_eq!(producer(1 << 20, 1 << 20).get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn a_batch_fits_the_topic_with_the_smallest_limit() {
        assert_eq!(producer(64 << 20, 64 << 20).get("batch.size"), Some("1048576"));
        assert_eq!(producer(64 << 20, 100_000).get("batch.size"), Some("100000"));
    }
}
