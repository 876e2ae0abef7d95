//! Where partitions end, with everything that was ever written to them, committed or not.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::kafka::KafkaOptions;
use schemas::{Error, Result};

use super::{Logs, consumer_config, kafka_error};

const PATIENCE: Duration = Duration::from_secs(10);

/// The end of each of the first `partitions` partitions of a topic. Blocks for a round trip each.
///
/// Uncommitted ones count: the marker of a transaction that was just committed may still be on its way, and until it is
/// there the end of what is committed lies before that transaction.
///
/// # Errors
/// Kafka's.
pub(crate) fn ends(kafka: &KafkaOptions, topic: &str, partitions: usize) -> Result<Vec<i64>> {
    let mut config = consumer_config(kafka, topic);
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer<Logs> =
        config.create_with_context(Logs).map_err(|e| kafka_error(e, "create a reader of offsets"))?;
    let end = |partition: usize| -> Result<i64> {
        let doing = || format!("read the end of {topic}, partition {partition}");
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let watermarks = consumer.fetch_watermarks(topic, partition, PATIENCE);
        watermarks.map(|(_, high)| high).map_err(|e| -> Error { kafka_error(e, &doing()) })
    };
    (0..partitions).map(end).collect()
}
