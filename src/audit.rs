//! The audit trail: a record of each change on the topic `__otter.<cluster>.audit` (docs/formats/audit.md).
//!
//! A change is not held up by its record: records wait in a bounded queue and are sent one after the other, tried again
//! until Kafka takes them. Every record is also a line of the log, so that what is still waiting when the process ends
//! is not lost without a trace.

use std::time::Duration;

use admin::control::audit::AuditRecord;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result, names};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How many records may wait.
const QUEUE: usize = 1024;
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Takes records.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    queue: mpsc::Sender<AuditRecord>,
}

/// The task that sends them.
#[derive(Debug)]
pub(crate) struct Trail {
    task: JoinHandle<()>,
    end: CancellationToken,
}

impl Audit {
    /// Starts the task. Kafka is connected to with the first record.
    pub(crate) fn start(kafka: KafkaOptions, cluster: &str) -> (Self, Trail) {
        let (queue, records) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        let sender = Sender { kafka, topic: names::audit_topic(cluster), producer: None };
        let task = tokio::spawn(sender.run(records, end.clone()));
        (Self { queue }, Trail { task, end })
    }

    /// Hands a record over.
    pub(crate) fn record(&self, record: AuditRecord) {
        info!(target: "audit", record = %text(&record), "changed");
        if let Err(refused) = self.queue.try_send(record) {
            error!(error = %refused, "a record does not get into the audit trail; the log has it");
        }
    }
}

impl Trail {
    /// Waits until the records so far are delivered; later ones are not taken any more.
    ///
    /// # Errors
    /// `OT4001` when they could not be delivered in time.
    pub(crate) async fn finish(mut self, limit: Duration) -> Result<()> {
        self.end.cancel();
        let reason = match tokio::time::timeout(limit, &mut self.task).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => e.to_string(),
            Err(_) => {
                self.task.abort();
                format!("Kafka did not take it within {} s", limit.as_secs())
            }
        };
        let message = format!("the change was made, but it is not in the audit trail: {reason}");
        Err(Error::new(Code::KafkaUnavailable, message))
    }
}

/// Sends records.
struct Sender {
    kafka: KafkaOptions,
    topic: String,
    producer: Option<FutureProducer>,
}

impl Sender {
    async fn run(mut self, mut records: mpsc::Receiver<AuditRecord>, end: CancellationToken) {
        loop {
            let record = tokio::select! {
                biased;
                record = records.recv() => record,
                () = end.cancelled() => None,
            };
            let Some(record) = record else { return };
            let mut pause = PAUSES.0;
            while let Err(e) = self.deliver(&record).await {
                warn!(error = %e, topic = self.topic, "a record of the audit trail waits");
                self.producer = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    async fn deliver(&mut self, record: &AuditRecord) -> Result<(), KafkaError> {
        let producer = match &self.producer {
            Some(producer) => producer.clone(),
            None => {
                let producer = self.connect().await?;
                self.producer.insert(producer).clone()
            }
        };
        let key = format!("{}/{}", record.kind, record.name);
        let payload = text(record);
        let message = FutureRecord::to(&self.topic).partition(0).timestamp(record.time).key(&key).payload(&payload);
        producer.send(message, PATIENCE).await.map(drop).map_err(|(e, _)| e)
    }

    /// The topic first, so that brokers do not make it with their own settings.
    async fn connect(&self) -> Result<FutureProducer, KafkaError> {
        let mut config = ClientConfig::new();
        for (key, value) in self.kafka.properties() {
            config.set(key, value);
        }
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        // Kept for ever: who changed what is asked for after years.
        let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1)).set("retention.ms", "-1");
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        for created in admin.create_topics([&topic], &options).await? {
            match created {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
        config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
        config.create()
    }
}

fn text(record: &AuditRecord) -> String {
    // Its types have nothing that JSON cannot hold.
    serde_json::to_string(record).unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}
