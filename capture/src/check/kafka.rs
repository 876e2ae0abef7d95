//! Whether Kafka lets Otter work: brokers that answer, and the rights of the principal in `[kafka.client]`, each tried on
//! names that no document can have, so that nothing that runs is touched.
//!
//! Nothing is left behind but an idle transactional id, which the brokers forget by themselves. Each try is bounded; a
//! broker that does not answer is one finding, not one for every try.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::check::Finding;
use schemas::documents::Source;
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result, names};

use crate::kafka::producer::Reports;
use crate::kafka::{Logs, MessageSizes, admin_config, consumer_config, kafka_error, producer_config};
use crate::options::Options;

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a question may take that is asked again.
const BRIEF: Duration = Duration::from_secs(2);
/// The first transactional id of a cluster has the brokers make a topic of their own first.
const FIRST: Duration = Duration::from_secs(30);
/// Stands where the name of a source or pipeline would; documents' names cannot begin with `_`.
const PROBE: &str = "_check";
/// No topic can have this name, so asking for it brings the brokers' own facts and makes no topic, whatever their settings.
const NO_TOPIC: &str = "otter check";

/// Checks what `sources` and their appliers will ask of Kafka.
pub async fn check_kafka(cluster: &str, kafka: &KafkaOptions, options: &Options, sources: &[Source]) -> Vec<Finding> {
    let probe = Probe { cluster: cluster.to_owned(), kafka: kafka.clone(), options: options.clone() };
    let answered = match probe.blocking(Probe::brokers).await {
        Ok(count) => Finding::ok("kafka", format!("{count} brokers answer")),
        Err(error) => return vec![Finding::error("kafka", &error)],
    };
    let mut findings = vec![answered];
    findings.push(finding("kafka: transactions", probe.blocking(Probe::transactions).await));
    findings.push(finding("kafka: consumer groups", probe.blocking(Probe::groups).await));
    for source in sources {
        let subject = format!("kafka: topics of source {}", source.name);
        findings.push(finding(&subject, probe.topics(source).await));
    }
    findings
}

fn finding(subject: &str, result: Result<String>) -> Finding {
    match result {
        Ok(text) => Finding::ok(subject, text),
        Err(error) => Finding::error(subject, &error),
    }
}

#[derive(Clone)]
struct Probe {
    cluster: String,
    kafka: KafkaOptions,
    options: Options,
}

impl Probe {
    async fn blocking<T: Send + 'static>(&self, ask: fn(&Self) -> Result<T>) -> Result<T> {
        let probe = self.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&probe)).await;
        answer.unwrap_or_else(|e| Err(Error::new(Code::CaptureFailed, format!("a question to Kafka ended: {e}"))))
    }

    fn brokers(&self) -> Result<usize> {
        let client: AdminClient<Logs> = admin_config(&self.kafka)
            .create_with_context(Logs)
            .map_err(|e| kafka_error(e, "create the Kafka admin client"))?;
        let metadata = client.inner().fetch_metadata(Some(NO_TOPIC), PATIENCE);
        Ok(metadata.map_err(|e| kafka_error(e, "ask the brokers"))?.brokers().len())
    }

    /// The right to the transactional ids, and the timeout that oversize transactions need.
    fn transactions(&self) -> Result<String> {
        let id = names::transactional_id(&self.cluster, PROBE);
        let timeout = self.options.oversize_timeout.get().max(self.options.transaction_timeout.get());
        let sizes = MessageSizes { largest: 1 << 20, smallest: 1 << 20 };
        let config = producer_config(&self.kafka, &self.options, &id, timeout, sizes);
        let doing = format!("use transactional ids that begin with {}", names::transactional_id(&self.cluster, ""));
        let producer = config
            .create_with_context::<_, BaseProducer<Reports>>(Reports::default())
            .map_err(|e| kafka_error(e, &doing))?;
        producer.init_transactions(FIRST).map_err(|e| kafka_error(e, &doing))?;
        Ok(format!("allowed, with a timeout of {timeout:?}"))
    }

    /// The right to the consumer groups of pipelines.
    fn groups(&self) -> Result<String> {
        let group = names::group(&self.cluster, PROBE);
        let doing = format!("use consumer groups that begin with {}", names::group(&self.cluster, ""));
        let config: ClientConfig = consumer_config(&self.kafka, &group);
        let consumer = config.create_with_context::<_, BaseConsumer<Logs>>(Logs).map_err(|e| kafka_error(e, &doing))?;
        let until = Instant::now() + FIRST;
        loop {
            let Err(error) = committed(&consumer) else { return Ok("allowed".to_owned()) };
            // A client that may not use the group is not told so by the question, which ends without an answer.
            let error = consumer.poll(Duration::ZERO).and_then(std::result::Result::err).unwrap_or(error);
            let error = kafka_error(error, &doing);
            // The first group of a cluster has the brokers make a topic of their own first.
            if error.code() != Code::KafkaUnavailable || Instant::now() > until {
                return Err(error);
            }
        }
    }

    /// The right to make topics, and whether the brokers take the settings of the document. Nothing is made.
    async fn topics(&self, source: &Source) -> Result<String> {
        let client: AdminClient<Logs> = admin_config(&self.kafka)
            .create_with_context(Logs)
            .map_err(|e| kafka_error(e, "create the Kafka admin client"))?;
        let rows = format!("{}.{PROBE}.{PROBE}", source.prefix());
        let checkpoints = names::checkpoint_topic(&self.cluster, source.name.as_str());
        let replication = source.topics.replication.map_or(-1, i32::from);
        let partitions = source.topics.partitions.unwrap_or(1).try_into().unwrap_or(i32::MAX);
        let wanted = [
            NewTopic::new(&rows, partitions, TopicReplication::Fixed(replication)),
            NewTopic::new(&checkpoints, 1, TopicReplication::Fixed(replication)),
        ];
        let only = AdminOptions::new().validate_only(true).request_timeout(Some(PATIENCE));
        let doing = format!("make topics like {rows} and {checkpoints}");
        for result in client.create_topics(&wanted, &only).await.map_err(|e| kafka_error(e, &doing))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(kafka_error(KafkaError::AdminOp(code), &format!("make topics like {topic}")));
                }
            }
        }
        Ok(format!("may be made, with {partitions} partitions and the replication asked for"))
    }
}

/// Asks for an offset that the group cannot have.
fn committed(consumer: &BaseConsumer<Logs>) -> std::result::Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(NO_TOPIC, 0);
    let asked = consumer.committed_offsets(list, BRIEF)?;
    asked.elements().into_iter().try_for_each(|element| match element.error() {
        // No topic has the name.
        Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(()),
        result => result,
    })
}
