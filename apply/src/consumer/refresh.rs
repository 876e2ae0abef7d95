//! Asking Kafka for the topics there are, sooner than librdkafka does by itself.
//!
//! librdkafka compares a subscription by patterns with the topics whenever a full list of them comes in, whoever asked
//! for it. So a full list is asked for when there may be a new topic: a few times, for brokers hear of it one after the
//! other. The question blocks, and must not hold up the delivery of records: each runs on a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::consumer::Callbacks;

/// Questions after each occasion.
const TIMES: u32 = 3;
/// Time between two.
const EVERY: Duration = Duration::from_millis(300);
/// How long an answer may take. The end of the consumer waits for it.
const WAIT: Duration = Duration::from_secs(1);

/// The questions still to be asked.
#[derive(Debug)]
pub(crate) struct Refresh {
    left: u32,
    next: Instant,
    asking: Option<JoinHandle<()>>,
}

impl Refresh {
    /// Nothing to ask.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: 0, next: now, asking: None }
    }

    /// There may be a new topic.
    pub(crate) fn ask(&mut self, now: Instant) {
        (self.left, self.next) = (TIMES, now);
    }

    /// Asks if it is time to.
    pub(crate) fn serve(&mut self, now: Instant, consumer: &Arc<BaseConsumer<Callbacks>>) {
        if self.left == 0 || now < self.next || self.asking.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.end();
        (self.left, self.next) = (self.left - 1, now + EVERY);
        let consumer = Arc::clone(consumer);
        let ask = move || match consumer.fetch_metadata(None, WAIT) {
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the list of topics"),
        };
        match std::thread::Builder::new().name("apply-topics".into()).spawn(ask) {
            Ok(thread) => self.asking = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to ask for the topics"),
        }
    }

    /// Waits for the question that is being asked: it holds the consumer.
    pub(crate) fn end(&mut self) {
        if self.asking.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("asking for the topics panicked");
        }
    }
}
