//! The Kafka side of the publisher: the open transaction, from its begin record to its checkpoint.
//!
//! One Kafka transaction is a begin record on the checkpoint partition, then the events of whole source transactions,
//! then the checkpoint. The begin record makes sure that a late duplicate of an earlier EndTxn cannot end the
//! transaction between its events and its checkpoint unnoticed: the checkpoint's partition belongs to the transaction
//! from its first request on, so what is committed or aborted early makes the real commit fail.
//!
//! The checkpoint is handed over when every event is written, not only queued: partitions are written side by side, and
//! a late commit that found the checkpoint in the log with an event still on its way would commit the position and lose
//! the row.
//!
//! Any error leaves the outbox unusable; the caller drops it and starts again from the last committed checkpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use schemas::barrier::{Barrier, HEADER};
use schemas::checkpoint::{BEGIN_KEY, Begin, CHECKPOINT_KEY, Checkpoint, Flavor};
use schemas::encode::{SourceBlock, SourceFacts};
use schemas::gtid::Gtid;
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result};

use super::clock::now_us;
use super::cut::{Limits, Load};
use super::emit::{Destination, Emitter};
use super::group::HeldRows;
use super::plans::Plan;
use crate::kafka::checkpoints::recover;
use crate::kafka::ends::ends;
use crate::kafka::producer::{Outgoing, TransactionalProducer};
use crate::kafka::{MessageSizes, producer_config};
use crate::options::Options;

/// Makes the source's producers.
#[derive(Debug, Clone)]
pub(crate) struct Producers {
    /// How to reach Kafka.
    pub(crate) kafka: KafkaOptions,
    /// Sizes and times.
    pub(crate) options: Options,
    /// The source's id among producers.
    pub(crate) transactional_id: String,
    /// What its topics take.
    pub(crate) sizes: MessageSizes,
}

impl Producers {
    /// A producer that has fenced its predecessors. Blocks for about half a second.
    ///
    /// # Errors
    /// Of Kafka; `TransactionTimeoutRefused` when the brokers allow less than `timeout`.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<TransactionalProducer> {
        let patience = timeout.max(self.options.transaction_timeout.get());
        let config = producer_config(&self.kafka, &self.options, &self.transactional_id, timeout, self.sizes);
        // Only the records' own waits may take as long as an oversize transaction; the initialisation fails sooner.
        TransactionalProducer::connect(&config, self.options.transaction_timeout.get(), patience)
    }
}

/// What the events of one source transaction have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The ordinal at which it starts, which tells it from every other.
    pub(crate) base: i64,
    /// Its GTID; none where the server gives out none.
    pub(crate) gtid: Option<Gtid>,
    /// The server_id of the server that logged it first.
    pub(crate) server_id: u32,
    /// When it was made, milliseconds since 1970 UTC.
    pub(crate) time_ms: i64,
    /// The binlog file it is in.
    pub(crate) file: &'a str,
}

/// The producer and its open transaction.
#[derive(Debug)]
pub(crate) struct Outbox {
    producers: Producers,
    producer: Option<TransactionalProducer>,
    limits: Limits,
    checkpoint_topic: String,
    prefix: String,
    epoch: u64,
    generation: i32,
    flavor: Flavor,
    open: Option<Load>,
    /// Number of the Kafka transaction, to count the topics it touches.
    number: u64,
    emitter: Emitter,
    blocks: Blocks,
}

/// The `source` blocks of the source transaction being published.
#[derive(Debug, Default)]
struct Blocks {
    of: Option<i64>,
    by_plan: Vec<(Arc<Plan>, SourceBlock)>,
}

impl Outbox {
    /// An outbox with a fresh producer. `last` is the checkpoint from which it goes on, with the new epoch.
    pub(crate) fn new(
        producers: Producers,
        producer: TransactionalProducer,
        checkpoint_topic: String,
        prefix: &str,
        last: &Checkpoint,
    ) -> Self {
        let limits = Limits::new(&producers.options);
        Self {
            producers,
            producer: Some(producer),
            limits,
            checkpoint_topic,
            prefix: prefix.to_owned(),
            epoch: last.epoch,
            generation: last.generation,
            flavor: last.server.flavor,
            open: None,
            number: 0,
            emitter: Emitter::default(),
            blocks: Blocks::default(),
        }
    }

    /// Publishes rows of one source transaction, beginning a Kafka transaction when none is open.
    ///
    /// # Errors
    /// Of the rows (`Stop`) and of Kafka. Part of the rows may be in the transaction then.
    pub(crate) fn publish(&mut self, origin: Origin<'_>, rows: &[HeldRows]) -> Result<()> {
        self.begin()?;
        if self.blocks.of != Some(origin.base) {
            self.blocks.of = Some(origin.base);
            self.blocks.by_plan.clear();
        }
        let (Some(producer), Some(load)) = (&mut self.producer, &mut self.open) else { return Err(gone()) };
        let now_us = now_us();
        for held in rows {
            let known = self.blocks.by_plan.iter().position(|(of, _)| Arc::ptr_eq(of, &held.plan));
            let known = known.unwrap_or_else(|| {
                let block = block(&self.prefix, self.generation, self.flavor, origin, &held.plan);
                self.blocks.by_plan.push((Arc::clone(&held.plan), block));
                self.blocks.by_plan.len() - 1
            });
            let block = &self.blocks.by_plan[known].1;
            let number = self.number;
            self.emitter.rows(held, &mut Destination { producer, load, number, block, now_us })?;
        }
        Ok(())
    }

    /// Puts a barrier into every partition of a topic, beginning a Kafka transaction. None may be open: a barrier is alone
    /// in its own.
    ///
    /// # Errors
    /// Of Kafka.
    pub(crate) fn barrier(&mut self, topic: &str, barrier: &Barrier) -> Result<()> {
        self.begin()?;
        let json = barrier.to_json();
        let timestamp = now_us() / 1000;
        for partition in 0..i32::try_from(barrier.partitions).unwrap_or(i32::MAX) {
            let header = Header { key: HEADER, value: Some(&json) };
            let headers = Some(OwnedHeaders::new_with_capacity(1).insert(header));
            self.producer()?.send(Outgoing { topic, partition, key: None, value: None, timestamp, headers })?;
        }
        Ok(())
    }

    /// Where each of a topic's first partitions ends now, with all that was ever written to it.
    ///
    /// # Errors
    /// Of Kafka.
    pub(crate) fn ends(&self, topic: &str, partitions: usize) -> Result<Vec<i64>> {
        ends(&self.producers.kafka, topic, partitions)
    }

    /// Ends the open Kafka transaction with the checkpoint; makes one of begin and checkpoint alone when none is open.
    /// Returns the row events in it.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<u64> {
        self.begin()?;
        self.producer()?.drain()?;
        self.record(CHECKPOINT_KEY, &checkpoint.to_json(), checkpoint.time)?;
        self.producer()?.commit()?;
        Ok(self.open.take().map_or(0, |load| load.rows))
    }

    /// Replaces the producer by one with another transaction timeout. No transaction may be open.
    ///
    /// # Errors
    /// Of Kafka; `ProducerFenced` when somebody else has led the source since the last commit.
    pub(crate) fn reconnect(&mut self, timeout: Duration) -> Result<()> {
        self.producer = None;
        self.producer = Some(self.producers.connect(timeout)?);
        // The new producer fences everybody, also a successor that is in the right. Had one committed, going on from
        // here would publish its rows again and move the checkpoint back; every session has an epoch of its own.
        let last = recover(&self.producers.kafka, &self.checkpoint_topic)?.last_epoch();
        if last != self.epoch {
            self.producer = None;
            let message = format!("epoch {last} has taken over from epoch {}", self.epoch);
            return Err(Error::new(Code::ProducerFenced, message));
        }
        Ok(())
    }

    /// Aborts the open Kafka transaction, if there is one; nothing can be published afterwards.
    pub(crate) fn abandon(&mut self) {
        if let (Some(_), Some(producer)) = (self.open.take(), self.producer.take()) {
            producer.abandon();
        }
    }

    /// Whether a Kafka transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the open transaction is to be committed at the end of this source transaction.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|load| self.limits.full(load, now))
    }

    /// How long the next event may be awaited before the open transaction is to be committed; none when none is open.
    pub(crate) fn patience(&self, now: Instant) -> Option<Duration> {
        self.open.as_ref().map(|load| self.limits.patience(load, now))
    }

    /// Notices what went wrong meanwhile.
    pub(crate) fn serve(&mut self) -> Result<()> {
        self.producer()?.serve()
    }

    fn begin(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        self.producer()?.begin()?;
        self.number += 1;
        self.open = Some(Load::new(Instant::now()));
        let time = now_us() / 1000;
        let begin = Begin { epoch: self.epoch, generation: self.generation, time };
        self.record(BEGIN_KEY, &begin.to_json(), time)
    }

    fn record(&mut self, key: &str, value: &[u8], timestamp: i64) -> Result<()> {
        let Some(producer) = &mut self.producer else { return Err(gone()) };
        producer.send(Outgoing {
            topic: &self.checkpoint_topic,
            partition: 0,
            key: Some(key.as_bytes()),
            value: Some(value),
            timestamp,
            headers: None,
        })
    }

    fn producer(&mut self) -> Result<&mut TransactionalProducer> {
        self.producer.as_mut().ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::new(Code::TransactionFailed, "the producer was given up")
}

fn block(prefix: &str, generation: i32, flavor: Flavor, origin: Origin<'_>, plan: &Plan) -> SourceBlock {
    SourceBlock::new(&SourceFacts {
        flavor,
        version: env!("CARGO_PKG_VERSION"),
        name: prefix,
        ts_ms: origin.time_ms,
        db: &plan.name.schema,
        table: &plan.name.table,
        server_id: i64::from(origin.server_id),
        gtid: origin.gtid.map(|gtid| gtid.to_string()).as_deref(),
        file: origin.file,
        thread: None,
        generation,
    })
}

#[cfg(test)]
mod tests {
    use schemas::checkpoint::ServerIdentity;

    use super::*;
    use crate::kafka::topics::{Topics, Wanted};

    fn checkpoint(epoch: u64) -> Checkpoint {
        Checkpoint { epoch, ..Checkpoint::new(ServerIdentity::mariadb(1), schemas::gtid::GtidPosition::default()) }
    }

    /// A leader that slept through a change of leadership must not go on because its new producer fences the other.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_producer_does_not_pass_a_successor() {
        let brokers =
            std::env::var("OTTER_SERVERS_KAFKA").expect("OTTER_SERVERS_KAFKA: run the tests by ./deploy/test");
        let kafka = KafkaOptions { brokers, client: std::collections::BTreeMap::new() };
        let name = format!("outbox-{:x}", now_us());
        let wanted = Wanted::checkpoints(-1);
        Topics::new(&kafka).expect("a client").ensure(&name, &wanted).await.expect("a topic");
        let options = Options::default();
        let timeout = options.transaction_timeout.get();
        let sizes = MessageSizes { largest: 1 << 20, smallest: 1 << 20 };
        let producers = Producers { kafka, options, transactional_id: name.clone(), sizes };
        let lead = move |epoch| {
            let producer = producers.connect(timeout).expect("a producer");
            let mut outbox = Outbox::new(producers.clone(), producer, name.clone(), "p", &checkpoint(epoch));
            outbox.commit(&checkpoint(epoch)).expect("committed");
            outbox
        };
        let work = move || {
            let mut first = lead(1);
            first.reconnect(timeout).expect("nobody came in between");
            first.commit(&checkpoint(1)).expect("committed");
            let second = lead(2);
            assert_eq!(first.reconnect(timeout).expect_err("replaced").code(), Code::ProducerFenced);
            drop(second);
        };
        tokio::task::spawn_blocking(work).await.expect("no panic");
    }
}
