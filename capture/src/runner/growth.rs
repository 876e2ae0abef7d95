//! More partitions for the topic of a table, by an operator's request.
//!
//! It takes four steps, of which each may be the last of a worker: a note in ZooKeeper, fenced by the lease; the
//! partitions in Kafka; the barrier in every partition, in one Kafka transaction with a checkpoint that holds the
//! request's id; the count frozen anew and the note taken away. Whoever begins a session ends what is noted before it
//! publishes, so no row goes by the new count in front of the barrier or by the old one behind it. The barrier takes an
//! ordinal of its own, between the last row published and the next one.

use coordination::{Growth, Lease};
use schemas::barrier::{Barrier, BarrierKind};
use schemas::checkpoint::Checkpoint;
use schemas::documents::{MAX_PARTITIONS, TablePattern};
use schemas::table::TableName;
use schemas::{Code, Error, Reaction, Result};

use super::Runner;
use super::session::blocking;
use crate::kafka::topics::{Topics, as_found};
use crate::publisher::{Outbox, now_ms};

/// Changes what is frozen of topics, for one session: repartitions here, and [adoptions](super::adoption).
#[derive(Debug)]
pub(super) struct Caretaker<'a> {
    /// The source's runner.
    pub(super) runner: &'a Runner,
    /// The lease that fences the notes.
    pub(super) lease: &'a Lease,
    /// Kafka's topics.
    pub(super) topics: &'a Topics,
}

impl Caretaker<'_> {
    /// Notes what was asked, after a look whether it can be.
    ///
    /// # Errors
    /// `RequestInvalid`, `DocumentInvalid`, `TopicInvalid`, `TopicReplaced` for what cannot be; Kafka's and ZooKeeper's.
    pub(super) async fn note(&self, id: &str, table: &str, to: u32) -> Result<()> {
        let (coordination, source) = (&self.runner.site.coordination, &self.runner.source);
        let name = source.name.as_str();
        let wrong = |why: String| Error::new(Code::RequestInvalid, why);
        let topic = source.topic_for(&one_table(table)?)?;
        if to > MAX_PARTITIONS {
            return Err(wrong(format!("a topic has at most {MAX_PARTITIONS} partitions")));
        }
        let begun = coordination.growth(name).await?;
        if let Some(other) = begun.as_ref().filter(|g| g.request != id) {
            let message = format!("a repartition of {} has begun and is being ended; ask again", other.topic);
            return Err(Error::new(Code::RequestOpen, message));
        }
        let (frozen, shown) = match coordination.frozen_topic(name, &topic).await? {
            Some(frozen) => {
                let shown = self.topics.check(name, &topic, &frozen).await?;
                (frozen, shown)
            }
            None => {
                let missing =
                    || format!("there is no topic {topic} yet; it is made with `topics.partitions` of the source");
                let shown = self.topics.facts(&topic).await?;
                let shown = shown.ok_or_else(|| Error::new(Code::TopicInvalid, missing()))?;
                (coordination.freeze_topic(name, &topic, &as_found(&shown)).await?, shown)
            }
        };
        let (from, shown) = (frozen.partitions, u32::try_from(shown.partitions).unwrap_or(u32::MAX));
        if to <= from {
            return Err(wrong(format!("the topic {topic} has {from} partitions; it can only get more")));
        }
        if shown != from && shown != to {
            let message = format!("the topic {topic} has {shown} partitions, and its rows were published over {from}");
            return Err(Error::new(Code::PartitionsChanged, message));
        }
        let growth = Growth { request: id.to_owned(), topic, from, to };
        coordination.write_growth(self.lease, name, Some(&growth)).await
    }

    /// Ends the repartition that is noted, if one is. `at` is the checkpoint to go on from; it moves behind the barrier.
    /// Kafka may refuse the partitions for good: then nothing has changed, and the second answer says why.
    ///
    /// # Errors
    /// `TopicReplaced` in front of a topic that is another one by now; Kafka's and ZooKeeper's.
    pub(super) async fn end(&self, outbox: Outbox, at: Checkpoint) -> Result<(Outbox, Checkpoint, Option<Error>)> {
        let (coordination, name) = (&self.runner.site.coordination, self.runner.source.name.as_str());
        let Some(growth) = coordination.growth(name).await? else { return Ok((outbox, at, None)) };
        if at.request.as_deref() == Some(growth.request.as_str()) {
            coordination.end_growth(self.lease, name, &growth).await?;
            return Ok((outbox, at, None));
        }
        if let Some(frozen) = coordination.frozen_topic(name, &growth.topic).await? {
            self.topics.check(name, &growth.topic, &frozen).await?;
        }
        match self.topics.grow(&growth.topic, growth.to).await {
            Ok(()) => {}
            Err(error) if error.code().reaction() == Reaction::Retry => return Err(error),
            Err(error) => {
                tracing::warn!(source = name, topic = growth.topic, %error, "Kafka refuses a repartition");
                coordination.write_growth(self.lease, name, None).await?;
                return Ok((outbox, at, Some(error)));
            }
        }
        let at = Checkpoint { ordinal: at.ordinal + 1, request: Some(growth.request.clone()), time: now_ms(), ..at };
        let (behind, of) = (at.clone(), growth.clone());
        let outbox = blocking(move || publish(outbox, &of, &behind)).await?;
        coordination.end_growth(self.lease, name, &growth).await?;
        tracing::warn!(
            source = name,
            topic = growth.topic,
            before = growth.from,
            partitions = growth.to,
            "topic repartitioned"
        );
        Ok((outbox, at, None))
    }
}

/// The one table that a request is about.
///
/// # Errors
/// `RequestInvalid`.
pub(super) fn one_table(text: &str) -> Result<TableName> {
    let wrong = |why: String| Error::new(Code::RequestInvalid, why);
    let pattern: TablePattern = text.parse().map_err(wrong)?;
    pattern.exact().ok_or_else(|| wrong(format!("{text}: the request is of one table")))
}

/// The barrier, and the checkpoint behind it.
fn publish(mut outbox: Outbox, growth: &Growth, behind: &Checkpoint) -> Result<Outbox> {
    let ends = outbox.ends(&growth.topic, usize::try_from(growth.from).unwrap_or(usize::MAX))?;
    let barrier = Barrier {
        kind: BarrierKind::Repartition,
        generation: behind.generation,
        ordinal: behind.ordinal - 1,
        ends,
        gtid: None,
        file: behind.file.clone(),
        pos: behind.position,
        ts_ms: behind.time,
        partitions: growth.to,
    };
    outbox.barrier(&growth.topic, &barrier)?;
    outbox.commit(behind)?;
    Ok(outbox)
}
