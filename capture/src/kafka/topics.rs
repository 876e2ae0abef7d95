//! Makes the topics that capture needs and checks those that are there.
//!
//! A topic is made before the Kafka transaction that first writes to it, by a client of its own. Nothing here asks in a
//! way that would have brokers with `auto.create.topics.enable` make a missing topic with their own settings.
//!
//! A topic of rows is made first, and its id and count of partitions are frozen behind it, before any row: whoever dies in
//! between is followed by one that freezes what Kafka shows. From then on it is that topic or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ConstantBuilder, Retryable};
use brokers::TopicFacts;
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

/// The client for topics. Cheap to clone.
#[derive(Clone)]
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
        let found = self.shown(topic, 1).await?.partitions;
        if usize::try_from(wanted.partitions) != Ok(found) {
            let message = format!("the topic {topic} has {found} partitions instead of {}", wanted.partitions);
            return Err(Error::new(Code::TopicInvalid, message));
        }
        Ok(())
    }

    /// Makes the topic of a table's rows at its first use. Answers what is frozen of it, which is now if nothing is frozen
    /// yet; a topic that was there before keeps its count. One that was frozen is never made again: whoever had not read
    /// the one before would miss its rows and not know.
    ///
    /// # Errors
    /// `TopicReplaced` when the frozen topic is gone, or another one has its name; `PartitionsChanged` when the brokers
    /// show another count than is frozen; `TopicInvalid` when Kafka refuses the name or the settings; else Kafka's and
    /// ZooKeeper's.
    pub(crate) async fn ensure_frozen(
        &self,
        coordination: &Coordination,
        source: &str,
        (topic, wanted): (&str, &Wanted),
    ) -> Result<FrozenTopic> {
        if let Some(frozen) = coordination.frozen_topic(source, topic).await? {
            let shown = self.check(source, topic, &frozen).await?;
            same_count(topic, &frozen, &shown)?;
            // What an earlier version froze has no id.
            return if frozen.id.is_some() {
                Ok(frozen)
            } else {
                coordination.freeze_topic(source, topic, &as_found(&shown)).await
            };
        }
        let made = self.make(topic, wanted).await?;
        let shown = self.shown(topic, 1).await?;
        let frozen = coordination.freeze_topic(source, topic, &as_found(&shown)).await?;
        if !is_same(&frozen, &shown) {
            return Err(replaced(source, topic, &frozen, Some(&shown)));
        }
        same_count(topic, &frozen, &shown)?;
        if made {
            self.announce(coordination, source, topic).await;
        }
        Ok(frozen)
    }

    /// What Kafka shows of a topic that was frozen.
    ///
    /// # Errors
    /// `TopicReplaced` when it is gone, or another one has its name; else Kafka's.
    pub(crate) async fn check(&self, source: &str, topic: &str, frozen: &FrozenTopic) -> Result<TopicFacts> {
        match self.facts(topic).await? {
            Some(shown) if is_same(frozen, &shown) => Ok(shown),
            shown => Err(replaced(source, topic, frozen, shown.as_ref())),
        }
    }

    /// What Kafka shows of a topic; none when there is no such topic.
    ///
    /// # Errors
    /// Kafka's.
    pub(crate) async fn facts(&self, topic: &str) -> Result<Option<TopicFacts>> {
        if let Some(facts) = self.describe(&[topic]).await?.remove(topic) {
            return Ok(Some(facts));
        }
        // A broker that has just come back may not know it yet. Who makes topics knows whether it could be made.
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).validate_only(true);
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
        let doing = format!("look for the topic {topic}");
        let results = self.admin.create_topics([&new], &options).await.map_err(|e| kafka_error(e, &doing))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.shown(topic, 1).await.map(Some),
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
        if self.shown(topic, 1).await?.partitions < to {
            let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
            let doing = format!("give the topic {topic} {to} partitions");
            let results = self.admin.create_partitions([&NewPartitions::new(topic, to)], &options).await;
            for result in results.map_err(|e| kafka_error(e, &doing))? {
                if let Err((_, code)) = result {
                    return Err(kafka_error(KafkaError::AdminOp(code), &doing));
                }
            }
        }
        let found = self.shown(topic, to).await?.partitions;
        if found > to {
            let message = format!("the topic {topic} has {found} partitions already, more than {to}");
            return Err(Error::new(Code::TopicInvalid, message));
        }
        Ok(())
    }

    /// Makes the topic unless it is there; whether it did.
    ///
    /// # Errors
    /// `TopicInvalid` when Kafka refuses the name or the settings; else Kafka's.
    pub(crate) async fn make(&self, topic: &str, wanted: &Wanted) -> Result<bool> {
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

    /// Waits until the brokers show the topic with so many partitions, or more.
    ///
    /// # Errors
    /// Kafka's.
    pub(crate) async fn shown(&self, topic: &str, least: usize) -> Result<TopicFacts> {
        let began = Instant::now();
        let look = || async {
            let found = self.describe(&[topic]).await?.remove(topic);
            let partitions = found.as_ref().map_or(0, |found| found.partitions);
            let missing =
                || format!("the brokers show {partitions} of the {least} partitions of the topic {topic} yet");
            let enough = found.filter(|found| found.partitions >= least);
            enough.ok_or_else(|| Error::new(Code::KafkaUnavailable, missing()))
        };
        let policy = ConstantBuilder::default().with_delay(LOOK_EVERY).without_max_times();
        // The time counts, not the attempts: each may itself have waited for a broker.
        let again = |e: &Error| e.code() == Code::KafkaUnavailable && began.elapsed() < PATIENCE;
        look.retry(policy).when(again).await
    }

    /// What the brokers show of topics; those that they do not know are missing.
    ///
    /// # Errors
    /// Kafka's.
    pub(crate) async fn describe(&self, topics: &[&str]) -> Result<HashMap<String, TopicFacts>> {
        let (admin, topics) = (Arc::clone(&self.admin), topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        // It blocks, which must not stop the other tasks of this thread.
        let look = tokio::task::spawn_blocking(move || {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            brokers::describe(admin.inner(), &topics, PATIENCE)
        });
        let ended = |e| Error::new(Code::CaptureFailed, format!("a look at the topics ended: {e}"));
        look.await.unwrap_or_else(|e| Err(ended(e)))
    }

    /// Tells appliers of a new topic. A hint: they see it without, only later.
    pub(crate) async fn announce(&self, coordination: &Coordination, source: &str, topic: &str) {
        match tokio::time::timeout(HINT, coordination.announce_topic(source, topic)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(topic, %error, "appliers are not told of a new topic"),
            Err(_) => tracing::debug!(topic, "appliers are not told of a new topic in time"),
        }
    }
}

/// What is frozen of a topic as Kafka shows it.
pub(crate) fn as_found(shown: &TopicFacts) -> FrozenTopic {
    FrozenTopic::new(u32::try_from(shown.partitions).unwrap_or(u32::MAX), &shown.id)
}

/// Whether what Kafka shows is the topic that was frozen.
pub(crate) fn is_same(frozen: &FrozenTopic, shown: &TopicFacts) -> bool {
    frozen.id.as_ref().is_none_or(|id| *id == shown.id)
}

fn replaced(source: &str, topic: &str, frozen: &FrozenTopic, shown: Option<&TopicFacts>) -> Error {
    let before = frozen.id.as_ref().map_or_else(String::new, |id| format!(", of the id {id}"));
    let now = match shown {
        None => "is gone".to_owned(),
        Some(shown) => format!("was deleted and made again: the one there now has the id {}", shown.id),
    };
    let message = format!(
        "the topic {topic}{before}, {now}; what it held is lost to everybody who had not read it. When that is settled, \
         `otter adopt {source} --table …` publishes on to the topic of that name"
    );
    Error::new(Code::TopicReplaced, message)
}

fn same_count(topic: &str, frozen: &FrozenTopic, shown: &TopicFacts) -> Result<()> {
    if usize::try_from(frozen.partitions) == Ok(shown.partitions) {
        return Ok(());
    }
    let message = format!(
        "the topic {topic} has {} partitions, but its rows were published over {}",
        shown.partitions, frozen.partitions
    );
    Err(Error::new(Code::PartitionsChanged, message))
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> Error {
    let hint = match code {
        RDKafkaErrorCode::InvalidTopic => {
            ": Kafka takes `.` and `_` for the same when it compares names, so another topic may collide with it; \
             exclude one of the tables or give the source another prefix"
        }
        RDKafkaErrorCode::InvalidReplicationFactor => ": fewer brokers are up than `topics.replication` asks for",
        _ => "",
    };
    let error = kafka_error(KafkaError::AdminOp(code), &format!("create the topic {topic}"));
    let code = match code {
        // Brokers that stand still or start again are not counted meanwhile.
        RDKafkaErrorCode::InvalidReplicationFactor => Code::KafkaUnavailable,
        _ => error.code(),
    };
    Error::new(code, format!("{}{hint}", error.message())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_attempt_can_change_is_final() {
        let code = |kafka| refused("t", kafka).code();
        assert_eq!(code(RDKafkaErrorCode::InvalidTopic), Code::TopicInvalid);
        assert_eq!(code(RDKafkaErrorCode::InvalidReplicationFactor), Code::KafkaUnavailable);
        assert_eq!(code(RDKafkaErrorCode::TopicAuthorizationFailed), Code::KafkaDenied);
        assert_eq!(code(RDKafkaErrorCode::RequestTimedOut), Code::KafkaUnavailable);
    }
}
