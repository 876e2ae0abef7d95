//! Makes the topics that capture needs and checks those that are there.
//!
//! A topic is made before the Kafka transaction that first writes to it, by a client of its own. Creation is tried
//! first and an existing topic accepted afterwards, in this order: to ask for the metadata of a missing topic would have
//! brokers with `auto.create.topics.enable` make it with their own settings.
//!
//! A topic of rows is made first and its count of partitions frozen behind it, before any row: whoever dies in between
//! is followed by one that freezes what Kafka shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ConstantBuilder, Retryable};
use coordination::{Coordination, FrozenTopic};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result};

use super::{Logs, admin_config, kafka_error};

/// How long telling appliers of a new topic may take.
const HINT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the metadata is asked for a topic that was just made.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a topic is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Number of partitions.
    pub(crate) partitions: i32,
    /// Replicas of each; -1 is the brokers' default.
    pub(crate) replication: i32,
    /// Settings of the topic, by their Kafka names.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Wanted {
    /// The checkpoint topic: compacted, in small segments so that little is kept and read.
    pub(crate) fn checkpoints(replication: i32) -> Self {
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "16777216"),
            ("segment.ms", "86400000"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        Self { partitions: 1, replication, settings: settings.map(|(key, value)| (key, value.to_owned())).to_vec() }
    }
}

/// The client for topics.
pub(crate) struct Topics {
    admin: Arc<AdminClient<Logs>>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topics")
    }
}

impl Topics {
    /// A client; connects when first used.
    pub(crate) fn new(kafka: &KafkaOptions) -> Result<Self> {
        let admin = admin_config(kafka).create_with_context(Logs);
        let admin = admin.map_err(|e| kafka_error(e, "create the Kafka admin client"))?;
        Ok(Self { admin: Arc::new(admin) })
    }

    /// Makes the topic unless it is there, and checks its partitions.
    ///
    /// # Errors
    /// `TopicInvalid` when Kafka refuses the name or the settings, or when the partitions differ; else Kafka's.
    pub(crate) async fn ensure(&self, topic: &str, wanted: &Wanted) -> Result<()> {
        self.make(topic, wanted).await?;
        let found = self.shown(topic, 1).await?;
        if usize::try_from(wanted.partitions) != Ok(found) {
            let message = format!("the topic {topic} has {found} partitions instead of {}", wanted.partitions);
            return Err(Error::new(Code::TopicInvalid, message));
        }
        Ok(())
    }

    /// Makes the topic of a table's rows unless it is there. Answers over how many partitions its rows are spread: what
    /// was frozen at its first use, which is now if nothing is frozen yet; a topic that was there before keeps its count.
    ///
    /// # Errors
    /// `PartitionsChanged` when the brokers show another count than is frozen; `TopicInvalid` when Kafka refuses the name
    /// or the settings; else Kafka's and ZooKeeper's.
    pub(crate) async fn ensure_frozen(
        &self,
        coordination: &Coordination,
        source: &str,
        (topic, wanted): (&str, &Wanted),
    ) -> Result<u32> {
        let frozen = coordination.frozen_topic(source, topic).await?;
        let partitions = frozen.as_ref().map_or(wanted.partitions, |f| i32::try_from(f.partitions).unwrap_or(i32::MAX));
        let made = self.make(topic, &Wanted { partitions, ..wanted.clone() }).await?;
        let found = u32::try_from(self.shown(topic, 1).await?).unwrap_or(u32::MAX);
        let frozen = match frozen {
            Some(frozen) => frozen,
            None => coordination.freeze_topic(source, topic, &FrozenTopic { partitions: found }).await?,
        };
        if frozen.partitions != found {
            let message = format!(
                "the topic {topic} has {found} partitions, but its rows were published over {}",
                frozen.partitions
            );
            return Err(Error::new(Code::PartitionsChanged, message));
        }
        if made {
            announce(coordination, source, topic).await;
        }
        Ok(found)
    }

    /// How many partitions the brokers show of a topic; none when there is no such topic.
    ///
    /// # Errors
    /// Kafka's.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        // Asked whether it could be made: to ask for the metadata of a missing topic can make it.
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).validate_only(true);
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
        let doing = format!("look for the topic {topic}");
        let results = self.admin.create_topics([&new], &options).await.map_err(|e| kafka_error(e, &doing))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(u32::try_from(self.shown(topic, 1).await?).ok()),
            Some(Err((_, code))) => Err(kafka_error(KafkaError::AdminOp(code), &doing)),
            _ => Ok(None),
        }
    }

    /// Gives a topic so many partitions, unless it has them, and waits until they are seen.
    ///
    /// # Errors
    /// `TopicInvalid` when it has more, or Kafka refuses; else Kafka's.
    pub(crate) async fn grow(&self, topic: &str, to: u32) -> Result<()> {
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        if self.shown(topic, 1).await? < to {
            let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
            let doing = format!("give the topic {topic} {to} partitions");
            let results = self.admin.create_partitions([&NewPartitions::new(topic, to)], &options).await;
            for result in results.map_err(|e| kafka_error(e, &doing))? {
                if let Err((_, code)) = result {
                    return Err(kafka_error(KafkaError::AdminOp(code), &doing));
                }
            }
        }
        let found = self.shown(topic, to).await?;
        if found > to {
            let message = format!("the topic {topic} has {found} partitions already, more than {to}");
            return Err(Error::new(Code::TopicInvalid, message));
        }
        Ok(())
    }

    /// Makes the topic unless it is there; whether it did.
    async fn make(&self, topic: &str, wanted: &Wanted) -> Result<bool> {
        let mut new = NewTopic::new(topic, wanted.partitions, TopicReplication::Fixed(wanted.replication));
        for (key, value) in &wanted.settings {
            new = new.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let doing = format!("create the topic {topic}");
        let results = self.admin.create_topics([&new], &options).await.map_err(|e| kafka_error(e, &doing))?;
        let mut made = false;
        for result in results {
            match result {
                Ok(_) => {
                    made = true;
                    tracing::info!(topic, partitions = wanted.partitions, "topic created");
                }
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(refused(topic, code)),
            }
        }
        Ok(made)
    }

    /// Deletes a topic, if it is there.
    ///
    /// # Errors
    /// Kafka's.
    pub(crate) async fn delete(&self, topic: &str) -> Result<()> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let doing = format!("delete the topic {topic}");
        let results = self.admin.delete_topics(&[topic], &options).await.map_err(|e| kafka_error(e, &doing))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((_, code)) => return Err(kafka_error(KafkaError::AdminOp(code), &doing)),
            }
        }
        Ok(())
    }

    /// Waits until the metadata has the topic with so many partitions, or more; how many it has.
    async fn shown(&self, topic: &str, least: usize) -> Result<usize> {
        let began = Instant::now();
        let look = || async {
            let (admin, topic) = (Arc::clone(&self.admin), topic.to_owned());
            // It blocks, which must not stop the other tasks of this thread.
            let look = tokio::task::spawn_blocking(move || count(&admin, &topic)).await;
            let look = look
                .unwrap_or_else(|e| Err(Error::new(Code::CaptureFailed, format!("a look at the topics ended: {e}"))));
            let missing = |found| format!("the brokers show {found} of the {least} partitions yet");
            look.and_then(|found| {
                if found >= least { Ok(found) } else { Err(Error::new(Code::KafkaUnavailable, missing(found))) }
            })
        };
        let policy = ConstantBuilder::default().with_delay(LOOK_EVERY).without_max_times();
        // The time counts, not the attempts: each may itself have waited for a broker.
        let again = |e: &Error| e.code() == Code::KafkaUnavailable && began.elapsed() < PATIENCE;
        look.retry(policy).when(again).await
    }
}

/// Tells appliers of a new topic. A hint: they see it without, only later.
async fn announce(coordination: &Coordination, source: &str, topic: &str) {
    match tokio::time::timeout(HINT, coordination.announce_topic(source, topic)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(topic, %error, "appliers are not told of a new topic"),
        Err(_) => tracing::debug!(topic, "appliers are not told of a new topic in time"),
    }
}

/// Partitions of a topic that the brokers show.
fn count(admin: &AdminClient<Logs>, topic: &str) -> Result<usize> {
    let doing = || format!("read the metadata of {topic}");
    let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).map_err(|e| kafka_error(e, &doing()))?;
    let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
    match found.map(|t| t.partitions().len()) {
        Some(count) if count > 0 => Ok(count),
        _ => Err(Error::new(Code::KafkaUnavailable, format!("the brokers do not show {topic} yet"))),
    }
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> Error {
    let hint = match code {
        RDKafkaErrorCode::InvalidTopic => {
            ": Kafka takes `.` and `_` for the same when it compares names, so another topic may collide with it; \
             exclude one of the tables or give the source another prefix"
        }
        RDKafkaErrorCode::InvalidReplicationFactor => ": fewer brokers than `topics.replication`",
        _ => "",
    };
    let error = kafka_error(KafkaError::AdminOp(code), &format!("create the topic {topic}"));
    Error::new(error.code(), format!("{}{hint}", error.message())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_attempt_can_change_is_final() {
        let code = |kafka| refused("t", kafka).code();
        assert_eq!(code(RDKafkaErrorCode::InvalidTopic), Code::TopicInvalid);
        assert_eq!(code(RDKafkaErrorCode::InvalidReplicationFactor), Code::TopicInvalid);
        assert_eq!(code(RDKafkaErrorCode::TopicAuthorizationFailed), Code::KafkaDenied);
        assert_eq!(code(RDKafkaErrorCode::RequestTimedOut), Code::KafkaUnavailable);
    }
}
