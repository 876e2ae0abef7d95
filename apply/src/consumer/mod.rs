//! The pipeline's Kafka consumer: its configuration, what its callbacks tell the thread, and the thread's mailbox.
//!
//! A rebalance callback runs inside `poll` on the polling thread. It does nothing but note what came; the thread looks at
//! the notes before anything else (`rounds`). Nothing here blocks.

pub(crate) mod deliveries;
pub(crate) mod handles;
pub(crate) mod lanes;
pub(crate) mod refresh;
pub(crate) mod rounds;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr::{
    self, RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS,
};
use schemas::kafka::KafkaOptions;
use tokio::sync::oneshot;

use crate::consumer::lanes::{LaneId, Part};
use crate::options::Options;

/// What librdkafka's callbacks noted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// The group gave partitions.
    Assign(Vec<Part>),
    /// The group takes partitions; `lost`: it has done so already, others may own them.
    Revoke { parts: Vec<Part>, lost: bool },
}

/// The consumer's callbacks.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    notes: Mutex<VecDeque<Note>>,
    /// While the consumer closes nobody reads notes, so a revocation is answered in the callback.
    closing: AtomicBool,
}

impl Callbacks {
    fn note(&self, note: Note) {
        // Bounded by what librdkafka sends between two polls: one event each.
        self.notes.lock().push_back(note);
    }

    /// The oldest note.
    pub(crate) fn next(&self) -> Option<Note> {
        self.notes.lock().pop_front()
    }

    /// Whether a note waits.
    pub(crate) fn any(&self) -> bool {
        !self.notes.lock().is_empty()
    }

    /// From now on revocations are answered at once.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes this way too; what matters is returned by poll.
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match err {
            RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.note(Note::Assign(parts(list))),
            RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if self.closing.load(Ordering::Relaxed) => {
                if let Err(error) = consumer.unassign() {
                    tracing::debug!(%error, "unassign at close");
                }
            }
            RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.note(Note::Revoke { parts: parts(list), lost: consumer.assignment_lost() });
            }
            other => tracing::warn!(?other, "rebalance"),
        }
    }
}

fn parts(list: &TopicPartitionList) -> Vec<Part> {
    list.elements().iter().map(|e| Part { topic: e.topic().to_owned(), partition: e.partition() }).collect()
}

/// What lanes and the pipeline ask of the consumer thread. Requests of lanes that are gone are dropped.
#[derive(Debug)]
pub(crate) enum Request {
    /// Deliver the lane's records from an offset on, in a new stream.
    Position { lane: LaneId, stream: u64, offset: i64 },
    /// Deliver nothing until the next position.
    Halt { lane: LaneId },
    /// A lane that was full has room again.
    Resume,
    /// Whether the group still counts the lane's partition as this worker's; asked after another's token was seen.
    Prove { lane: LaneId, next_offset: i64, answer: oneshot::Sender<bool> },
    /// The lane's task has ended.
    Ended { lane: LaneId },
    /// Follow the topics of these patterns from now on.
    Topics(Vec<String>),
    /// There may be a new topic.
    Refresh,
    /// Stop the lanes, leave the group, end.
    Shutdown,
}

/// The way to the consumer thread. It holds at most a few requests of each lane.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    requests: Mutex<Vec<Request>>,
    thread: Mutex<Option<Thread>>,
}

impl Mailbox {
    /// Says which thread reads; requests that came before wait for it.
    pub(crate) fn attach(&self, thread: Thread) {
        *self.thread.lock() = Some(thread);
    }

    /// Leaves a request and wakes the thread.
    pub(crate) fn send(&self, request: Request) {
        self.requests.lock().push(request);
        self.wake();
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }

    /// All requests, oldest first.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock())
    }
}

/// The consumer's configuration: the operator's properties first, then what correctness needs.
///
/// Each lane has a queue of its own in librdkafka, bounded apart from the others', so the pipeline's `prefetch` is shared
/// out among its `partitions`; below 128 KiB a lane would wait for the broker all the time.
pub(crate) fn config(kafka: &KafkaOptions, options: &Options, group: &str, partitions: usize) -> ClientConfig {
    let mut config = base(kafka);
    let share = options.prefetch.get() / 1024 / u64::try_from(partitions.max(1)).unwrap_or(u64::MAX);
    let prefetch = share.clamp(128, 8192).to_string();
    config
        .set("group.id", group)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        // How soon a new topic is seen by the subscription.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.min.bytes", "1")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("queued.max.messages.kbytes", prefetch)
        .set("fetch.max.bytes", "8388608")
        .set("check.crcs", "true");
    config
}

/// What a record says; a barrier says it in its header. Another record without a value says nothing.
pub(crate) fn payload_of<'m>(message: &'m BorrowedMessage<'_>) -> &'m [u8] {
    let in_header = || {
        let headers = message.headers()?;
        headers.iter().find(|header| header.key == schemas::barrier::HEADER).and_then(|header| header.value)
    };
    message.payload().or_else(in_header).unwrap_or_default()
}

/// Whether what a record says is a barrier: no framed record begins so.
pub(crate) fn is_barrier(value: &[u8]) -> bool {
    value.first() == Some(&b'{')
}

/// A client for questions about topics, without a group.
pub(crate) fn inquiry_config(kafka: &KafkaOptions) -> ClientConfig {
    base(kafka)
}

fn base(kafka: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in kafka.properties() {
        config.set(key, value);
    }
    config.set("isolation.level", "read_committed").set("client.id", "otter-apply");
    config
}

/// A subscription that matches one topic. A pattern, because a topic that does not exist yet is then no error.
pub(crate) fn pattern(topic: &str) -> String {
    let mut out = String::from("^");
    for c in topic.chars() {
        if !c.is_ascii_alphanumeric() && c != '_' && c != '-' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_one_name() {
        assert_eq!(pattern("shop.my_db.a-b"), r"^shop\.my_db\.a-b$");
    }

    #[test]
    fn requests_wait_for_the_thread() {
        let mailbox = Mailbox::default();
        mailbox.send(Request::Shutdown);
        mailbox.attach(std::thread::current());
        assert!(matches!(mailbox.take()[..], [Request::Shutdown]));
        assert!(mailbox.take().is_empty());
    }
}
