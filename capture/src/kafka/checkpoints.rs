//! Finds a source's last committed checkpoint: backwards from the end of its topic, read_committed.
//!
//! It is read after `init_transactions`, which has ended whatever transaction a predecessor left open, so what is
//! committed now is all that will ever be of it. The active segment is never compacted and holds the newest records;
//! transaction markers take offsets too, hence the growing window instead of "the record before the end".

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use schemas::checkpoint::{Begin, Checkpoint, Record};
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result};

use super::{Logs, consumer_config, kafka_error};

/// Offsets looked at first; a transaction of one row takes three on this topic.
const FIRST_WINDOW: i64 = 64;
const PATIENCE: Duration = Duration::from_secs(15);

/// What the checkpoint topic says.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The last committed checkpoint.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// A begin record behind it: its transaction was committed late, after its producer was given up. Its rows will be
    /// published again with the same ordinals.
    pub(crate) unfinished: Option<Begin>,
}

impl Recovered {
    /// The highest epoch seen.
    pub(crate) fn last_epoch(&self) -> u64 {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |c| c.epoch);
        checkpoint.max(self.unfinished.as_ref().map_or(0, |b| b.epoch))
    }

    /// Takes a record in the order of the topic.
    fn take(&mut self, record: Record) {
        match record {
            Record::Checkpoint(checkpoint) => {
                self.checkpoint = Some(checkpoint);
                self.unfinished = None;
            }
            Record::Begin(begin) => self.unfinished = Some(begin),
        }
    }
}

/// Reads the topic's end; blocks for its round trips.
///
/// # Errors
/// Of Kafka, and `RecordInvalid` for a record that is not Otter's: going on without it could lose rows.
pub(crate) fn recover(kafka: &KafkaOptions, topic: &str) -> Result<Recovered> {
    let consumer: BaseConsumer<Logs> = consumer_config(kafka, topic)
        .create_with_context(Logs)
        .map_err(|e| kafka_error(e, "create the checkpoint reader"))?;
    let (low, high) = consumer
        .fetch_watermarks(topic, 0, PATIENCE)
        .map_err(|e| kafka_error(e, &format!("read the offsets of {topic}")))?;
    let mut window = FIRST_WINDOW;
    loop {
        let start = high.saturating_sub(window).max(low);
        let recovered = read(&consumer, topic, start, high)?;
        if recovered.checkpoint.is_some() || start == low {
            return Ok(recovered);
        }
        window = window.saturating_mul(8);
    }
}

/// Reads the committed records from `start` to the end.
fn read(consumer: &BaseConsumer<Logs>, topic: &str, start: i64, high: i64) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    if start >= high {
        return Ok(recovered);
    }
    let doing = || format!("read the checkpoints of {topic}");
    let mut list = TopicPartitionList::new();
    let assigned = list.add_partition_offset(topic, 0, Offset::Offset(start)).and_then(|()| consumer.assign(&list));
    assigned.map_err(|e| kafka_error(e, &doing()))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(recovered),
            Some(Err(e)) => return Err(kafka_error(e, &doing())),
            Some(Ok(message)) => {
                let record = Record::read(message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                recovered.take(record.map_err(|e| located(e, topic, message.offset()))?);
            }
        }
    }
    Err(Error::new(Code::KafkaUnavailable, format!("the end of {topic} was not reached in {PATIENCE:?}")))
}

fn located(error: Error, topic: &str, offset: i64) -> Error {
    let message = format!("{topic} at offset {offset}: {}", error.message());
    Error::new(Code::CheckpointInvalid, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use schemas::checkpoint::ServerIdentity;

    use super::*;

    fn checkpoint(epoch: u64) -> Record {
        let empty = Checkpoint::new(ServerIdentity::mariadb(1), schemas::gtid::GtidPosition::default());
        Record::Checkpoint(Checkpoint { epoch, ..empty })
    }

    #[test]
    fn a_begin_behind_the_checkpoint_is_noticed() {
        let begin = |epoch| Record::Begin(Begin { epoch, generation: 0, time: 0 });
        let mut recovered = Recovered::default();
        for record in [begin(1), checkpoint(1), begin(2)] {
            recovered.take(record);
        }
        assert_eq!(recovered.checkpoint.as_ref().map(|c| c.epoch), Some(1));
        assert_eq!(recovered.last_epoch(), 2);
        recovered.take(checkpoint(3));
        assert!(recovered.unfinished.is_none());
        assert_eq!(recovered.last_epoch(), 3);
    }
}
