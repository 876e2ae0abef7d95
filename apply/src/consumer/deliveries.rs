//! The queues of single partitions in librdkafka, and which of them have something waiting.
//!
//! Each lane is polled by itself, so a full one holds up no other and needs no `pause`, which would throw away what was
//! fetched. A queue is split off before its partition is assigned; nothing of it comes by the consumer's common queue
//! then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use schemas::{Code, Error, Result};

use crate::consumer::lanes::{LaneId, Part};
use crate::consumer::{Callbacks, Mailbox};

/// One lane's queue.
pub(crate) struct Delivery {
    queue: PartitionQueue<Callbacks>,
    waiting: Arc<AtomicBool>,
}

impl Delivery {
    /// The next record or event of the partition.
    pub(crate) fn poll(&self) -> Option<std::result::Result<BorrowedMessage<'_>, KafkaError>> {
        self.queue.poll(Duration::ZERO)
    }

    /// From here on only what comes later counts as waiting.
    pub(crate) fn take_notice(&self) {
        self.waiting.store(false, Ordering::Release);
    }

    /// Something is left in the queue.
    pub(crate) fn note(&self) {
        self.waiting.store(true, Ordering::Release);
    }
}

/// The queues of all lanes that fetch.
#[derive(Default)]
pub(crate) struct Deliveries(HashMap<LaneId, Arc<Delivery>>);

impl Deliveries {
    /// Splits off the queue of a partition that is about to be assigned.
    ///
    /// # Errors
    /// `OT4001` when librdkafka does not take the name.
    pub(crate) fn begin(
        &mut self,
        lane: LaneId,
        consumer: &Arc<BaseConsumer<Callbacks>>,
        part: &Part,
        mailbox: &Arc<Mailbox>,
    ) -> Result<()> {
        // The queue of an earlier stream first: two of one partition would share the callback.
        self.0.remove(&lane);
        let Some(mut queue) = consumer.split_partition_queue(&part.topic, part.partition) else {
            let message = format!("{}/{}: no queue for the partition", part.topic, part.partition);
            return Err(Error::new(Code::KafkaUnavailable, message));
        };
        let waiting = Arc::new(AtomicBool::new(true));
        let (notice, bell) = (Arc::clone(&waiting), Arc::clone(mailbox));
        queue.set_nonempty_callback(move || {
            notice.store(true, Ordering::Release);
            bell.wake();
        });
        self.0.insert(lane, Arc::new(Delivery { queue, waiting }));
        Ok(())
    }

    /// Forgets a lane's queue.
    pub(crate) fn end(&mut self, lane: LaneId) {
        self.0.remove(&lane);
    }

    /// The lanes that have something waiting.
    pub(crate) fn waiting(&self) -> Vec<(LaneId, Arc<Delivery>)> {
        let waiting = self.0.iter().filter(|(_, delivery)| delivery.waiting.load(Ordering::Acquire));
        waiting.map(|(lane, delivery)| (*lane, Arc::clone(delivery))).collect()
    }
}
