//! A topic in the place of one that was deleted, by an operator's request.
//!
//! The topic that has the name now is frozen; where there is none, one is made, with as many partitions as before. The node
//! that is written, fenced by the lease, holds the request's id, so whoever takes the request again finds what was done.
//! Nothing is published for it: the lanes of appliers and the operator's own subscribers find the topic by its id.

use coordination::FrozenTopic;
use schemas::request::Outcome;
use schemas::{Code, Error, Result};

use super::Runner;
use super::growth::{Caretaker, one_table};
use crate::kafka::topics::{Wanted, as_found, is_same};
use crate::publisher::wanted;

impl Caretaker<'_> {
    /// Freezes the topic of a table as it is now; makes it if it is gone.
    ///
    /// # Errors
    /// `RequestInvalid`, `DocumentInvalid` and `PartitionsChanged` for what cannot be; Kafka's and ZooKeeper's.
    pub(super) async fn adopt(&self, id: &str, table: &str) -> Result<Outcome> {
        let (coordination, source) = (&self.runner.site.coordination, &self.runner.source);
        let name = source.name.as_str();
        let table = one_table(table)?;
        let topic = source.topic_for(&table)?;
        let wrong = |why: String| Err(Error::new(Code::RequestInvalid, why));
        let Some(before) = coordination.frozen_topic(name, &topic).await? else {
            return wrong(format!("no row was ever published to the topic {topic}; it is used as it is"));
        };
        if before.request.as_deref() == Some(id) {
            return Ok(adopted(&table.to_string(), &topic, &before));
        }
        let found = self.topics.facts(&topic).await?;
        if found.as_ref().is_some_and(|found| is_same(&before, found)) && before.id.is_some() {
            return wrong(format!(
                "the topic {topic} is the one that rows are published to: there is nothing to adopt"
            ));
        }
        if found.is_none() {
            let partitions = i32::try_from(before.partitions).unwrap_or(i32::MAX);
            self.topics.make(&topic, &Wanted { partitions, ..wanted(&source.topic_settings(&table)) }).await?;
        }
        let shown = self.topics.shown(&topic, 1).await?;
        if as_found(&shown).partitions > before.partitions {
            let message = format!(
                "the topic {topic} has {} partitions, more than the {} that rows are published over; delete it and adopt \
                 again, and it is made as it was",
                shown.partitions, before.partitions
            );
            return Err(Error::new(Code::PartitionsChanged, message));
        }
        // Made by somebody else, or by Kafka itself. Nothing was published to the partitions that it lacks.
        self.topics.grow(&topic, before.partitions).await?;
        let frozen = FrozenTopic { request: Some(id.to_owned()), ..FrozenTopic::new(before.partitions, shown.id) };
        coordination.refreeze_topic(self.lease, name, &topic, &frozen).await?;
        self.topics.announce(coordination, name, &topic).await;
        tracing::warn!(source = name, topic, before = before.id, id = frozen.id, request = id, "topic adopted");
        Ok(adopted(&table.to_string(), &topic, &frozen))
    }
}

impl Runner {
    /// What came of a request to adopt a topic, if it was carried out.
    ///
    /// # Errors
    /// ZooKeeper's.
    pub(super) async fn adopted(&self, id: &str, table: &str) -> Result<Option<Outcome>> {
        let Ok(topic) = one_table(table).and_then(|table| self.source.topic_for(&table)) else { return Ok(None) };
        let frozen = self.site.coordination.frozen_topic(self.source.name.as_str(), &topic).await?;
        let done = frozen.filter(|frozen| frozen.request.as_deref() == Some(id));
        Ok(done.map(|frozen| adopted(table, &topic, &frozen)))
    }
}

fn adopted(table: &str, topic: &str, frozen: &FrozenTopic) -> Outcome {
    let id = frozen.id.as_deref().unwrap_or_default();
    let message = format!("the rows of {table} are published to the topic {topic} of the id {id} from now on");
    let detail = serde_json::json!({"table": table, "topic": topic, "topic_id": id, "partitions": frozen.partitions});
    Outcome::done("", message, vec![detail])
}
