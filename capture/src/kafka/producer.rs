//! The transactional producer of one source.
//!
//! Calls block, so it lives on the publisher's own thread. One handle is good for one unbroken row of commits: after any
//! error it is dropped and a new one initialised, since librdkafka may still have a late EndTxn on its way, and only
//! `init_transactions` of a successor makes that harmless. So an abort is the last thing that is done with a handle, and
//! only when there is no successor at once; else dropping the handle leaves the transaction to the successor's
//! initialisation, which aborts it.
//!
//! Delivery failures come through the callback. The first one is kept and makes every later call fail, so no commit can
//! follow a record that was not written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use schemas::{Code, Error, Result};

use super::config::log_line;
use super::kafka_error;

/// How long to wait for reports before looking again; `poll(1ms)` would spin and longer ones overshoot.
const NAP: Duration = Duration::from_micros(300);
/// Records between two looks at the delivery reports.
const SERVE_EVERY: u32 = 512;

/// How long each step of a last abort may take.
const ABANDON: Duration = Duration::from_secs(2);

/// Keeps the first delivery failure.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    failed: AtomicBool,
    first: Mutex<Option<KafkaError>>,
}

impl Reports {
    fn fail(&self, error: KafkaError) {
        self.first.lock().get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    fn failure(&self) -> Option<KafkaError> {
        if self.failed.load(Ordering::Acquire) { self.first.lock().clone() } else { None }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::Fatal)) {
            self.fail(error);
        } else {
            tracing::info!(%error, reason, "kafka producer");
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.fail(error.clone());
        }
    }
}

/// One record to publish; borrowed, since librdkafka copies it.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// The topic.
    pub(crate) topic: &'a str,
    /// The partition, always explicit.
    pub(crate) partition: i32,
    /// The key; none for tables without one, and for barriers.
    pub(crate) key: Option<&'a [u8]>,
    /// The value; none for barriers.
    pub(crate) value: Option<&'a [u8]>,
    /// Milliseconds since 1970 UTC.
    pub(crate) timestamp: i64,
    /// Headers; only changes of key and barriers have any.
    pub(crate) headers: Option<OwnedHeaders>,
}

/// A producer whose earlier incarnations are fenced.
pub(crate) struct TransactionalProducer {
    producer: BaseProducer<Reports>,
    /// Bound of every wait: librdkafka gives a record up after the transaction's timeout.
    patience: Duration,
    unserved: u32,
}

impl std::fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionalProducer").field("in_flight", &self.producer.in_flight_count()).finish()
    }
}

impl TransactionalProducer {
    /// Connects and calls `init_transactions`, for at most `initial`: the transaction that a predecessor left open is
    /// aborted when this returns. Later waits are bounded by `patience`.
    ///
    /// # Errors
    /// Of configuration and of Kafka; `TransactionTimeoutRefused` when the brokers allow less than asked for.
    pub(crate) fn connect(config: &ClientConfig, initial: Duration, patience: Duration) -> Result<Self> {
        let producer: BaseProducer<Reports> = config
            .create_with_context(Reports::default())
            .map_err(|e| kafka_error(e, "create the transactional producer"))?;
        let initialised = producer.init_transactions(initial);
        initialised.map_err(|e| kafka_error(e, "initialise the transactional producer"))?;
        Ok(Self { producer, patience, unserved: 0 })
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<()> {
        self.check()?;
        self.producer.begin_transaction().map_err(|e| kafka_error(e, "begin a Kafka transaction"))
    }

    /// Hands a record to librdkafka, waiting while its queue is full.
    pub(crate) fn send(&mut self, outgoing: Outgoing<'_>) -> Result<()> {
        self.unserved += 1;
        if self.unserved >= SERVE_EVERY {
            self.unserved = 0;
            self.serve()?;
        }
        let mut record = BaseRecord::to(outgoing.topic).partition(outgoing.partition).timestamp(outgoing.timestamp);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.headers = outgoing.headers;
        let mut full_since = None;
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((error, record)) => {
                    return Err(self.cause(error, &format!("publish to {}", record.topic)));
                }
            };
            let since = *full_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience {
                return Err(Error::new(
                    Code::KafkaUnavailable,
                    "Kafka took no record for as long as a transaction may last",
                ));
            }
            self.serve()?;
            std::thread::sleep(NAP);
        }
    }

    /// Serves waiting delivery reports without blocking; fails after the first bad one.
    pub(crate) fn serve(&self) -> Result<()> {
        let mut before = self.producer.in_flight_count();
        loop {
            self.producer.poll(Duration::ZERO);
            let now = self.producer.in_flight_count();
            if now >= before {
                break;
            }
            before = now;
        }
        self.check()
    }

    /// Waits until every record handed over so far is written.
    ///
    /// rdkafka's own flush takes 100 ms whatever is queued.
    pub(crate) fn drain(&self) -> Result<()> {
        let started = Instant::now();
        let mut before = self.producer.in_flight_count();
        while before > 0 {
            self.producer.poll(Duration::ZERO);
            let now = self.producer.in_flight_count();
            if now == before {
                self.check()?;
                if started.elapsed() > self.patience {
                    return Err(Error::new(
                        Code::KafkaUnavailable,
                        "records were not written within the transaction's timeout",
                    ));
                }
                std::thread::sleep(NAP);
            }
            before = now;
        }
        self.check()
    }

    /// Waits until every record is written, then commits: with nothing left to flush, the library's commit returns after
    /// the round trip.
    pub(crate) fn commit(&self) -> Result<()> {
        self.drain()?;
        let committed = self.producer.commit_transaction(self.patience);
        committed.map_err(|e| self.cause(e, "commit a Kafka transaction"))
    }

    /// Aborts the open transaction as well as it can be done at once, when nobody is going to initialise a successor
    /// soon: readers would wait for the transaction's timeout. The handle is of no use afterwards.
    pub(crate) fn abandon(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let started = Instant::now();
        while self.producer.in_flight_count() > 0 && started.elapsed() < ABANDON {
            self.producer.poll(Duration::ZERO);
        }
        match self.producer.abort_transaction(ABANDON) {
            Ok(()) => tracing::debug!("the open Kafka transaction was aborted"),
            Err(error) => tracing::info!(%error, "the open Kafka transaction was not aborted; it ends by its timeout"),
        }
    }

    fn check(&self) -> Result<()> {
        match self.producer.context().failure() {
            None => Ok(()),
            Some(error) => Err(self.cause(error, "publish")),
        }
    }

    /// The fatal error behind an error, if there is one: what failed first explains more than what followed.
    fn cause(&self, error: KafkaError, doing: &str) -> Error {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            tracing::info!(%code, reason, "the producer is unusable");
            return kafka_error(KafkaError::Global(code), doing);
        }
        let first = self.producer.context().failure().unwrap_or(error);
        kafka_error(first, doing)
    }
}
