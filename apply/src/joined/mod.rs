//! Lanes that are applied as one, merged by their place in the source.
//!
//! ```text
//!  partition 0 ─┐                                  ┌─ advance of every lane concerned ─┐
//!  partition 1 ─┼─▶ reader ─▶ merge ─▶ feed ─▶ cut ─┤                                   ├─ one commit
//!  partition 2 ─┘   (own consumer)                  └─ rows in the merged order ────────┘
//! ```
//! A set is all lanes of one topic while their rows say so (`target::join`), or all lanes of the tables of a pipeline
//! that keep their order among each other (`foreign_keys: ordered`). Its leader is whoever has partition 0 of the set's
//! first topic by the group; the lanes of the others stand by, look at their rows, and claim when the set is over.
//!
//! Exactly once rests on the progress rows as in a single lane: the leader's token is in every row, and a batch
//! advances each lane that it has an event of from where the leader believes it to be. A leader that was replaced can
//! at most commit a batch whose lanes have not been claimed yet; it then moved the same vector that the next one reads.

mod apart;
mod cut;
mod feed;
mod leader;
pub(crate) mod members;
mod merge;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::documents::ForeignKeys;

use crate::config::{Config, TablePlan};
use crate::consumer::lanes::Part;
use crate::lane::intake::Limits;
use crate::lane::{LaneTask, Turn};
use crate::pool::{Backoff, Pooled};
use crate::settings::News;
use crate::target::join::{self, Standing};
use crate::target::mapping::TableMapping;
use crate::target::progress::{Lane, LaneKey};

/// How often a lane that stands by looks at its row, when the set is soon over and when it stays.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// After so many looks one of an open set asks who leads: a topic whose name comes first may be new.
const ASK_WHO_LEADS: u32 = 5;

/// Lanes that are applied as one.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    /// The topics, and what their tables do.
    topics: BTreeMap<String, TablePlan>,
    /// Whether the tables keep their order among each other.
    ordered: bool,
    /// Whether another topic may come without a change of the documents.
    is_open: bool,
    /// Up to this ordinal the lanes are one; `None`: as long as the documents say.
    until: Option<i64>,
    /// Where batches end.
    limits: Limits,
}

/// What a lane is to do.
#[derive(Debug)]
pub(crate) enum Role {
    /// It goes by itself.
    Alone,
    /// It leads.
    Leads(Set),
    /// It stands by while the lane of this topic's partition 0 leads.
    StandsBy(String, Set),
}

impl LaneTask {
    /// What the lane is to do, by the documents and the progress rows of its topic.
    pub(crate) async fn role(&self, config: &Arc<Config>, table: &TablePlan) -> Result<Role, Turn> {
        let (topics, until, is_open) = if table.foreign_keys == ForeignKeys::Ordered {
            let mut listed = self.services.ordered.recent(config, &self.services).await?;
            listed.topics.entry(self.part.topic.clone()).or_insert_with(|| table.clone());
            (listed.topics, None, listed.is_open)
        } else {
            let mut pooled = config.pool.acquire(&self.table).await?;
            let (_, until) = self.standing(config, &mut pooled).await?;
            pooled.give_back();
            if until.is_none() {
                return Ok(Role::Alone);
            }
            (BTreeMap::from([(self.part.topic.clone(), table.clone())]), until, false)
        };
        let Some(first) = topics.keys().next().cloned() else { return Ok(Role::Alone) };
        let set = Set { topics, ordered: until.is_none(), is_open, until, limits: table.limits };
        Ok(match first == self.part.topic && self.part.partition == 0 {
            true => Role::Leads(set),
            false => Role::StandsBy(first, set),
        })
    }

    /// Plays a part in a set.
    pub(crate) async fn play(&mut self, role: Role, backoff: &mut Backoff) -> Turn {
        match role {
            Role::Alone => Turn::Again,
            Role::Leads(set) => {
                let config = Arc::clone(self.settings.config());
                if let Some(error) = members::refused(&config, &set.topics) {
                    return error.into();
                }
                if set.topics.values().any(|table| table.paused) {
                    return Turn::Held;
                }
                self.lead(set, backoff).await
            }
            Role::StandsBy(leader, set) => self.stand_by(&leader, &set).await,
        }
    }

    async fn stand_by(&mut self, leader: &str, set: &Set) -> Turn {
        self.halt();
        let every = if set.ordered { LOOK_EVERY.1 } else { LOOK_EVERY.0 };
        let config = Arc::clone(self.settings.config());
        tracing::info!(topic = self.part.topic, partition = self.part.partition, leader, "standing by");
        for look in 1_u32.. {
            match self.look_at_row(leader, set).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(turn) => return turn,
            }
            // Other documents may say that another lane leads, also those that do not concern this table.
            let changed = set.ordered && !Arc::ptr_eq(&config, self.settings.config());
            if changed || (set.is_open && look.is_multiple_of(ASK_WHO_LEADS)) {
                break;
            }
            let stop = self.handle.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Turn::Stop,
                news = self.settings.concern() => match news {
                    News::End => return Turn::Stop,
                    News::Concern => return Turn::Again,
                    News::Others | News::Nothing => {}
                },
                () = tokio::time::sleep(every) => {}
            }
        }
        Turn::Again
    }

    /// Follows what the leader does with the lane's row; false when the set is over.
    async fn look_at_row(&mut self, leader: &str, set: &Set) -> Result<bool, Turn> {
        let config = Arc::clone(self.settings.config());
        let mut pooled = config.pool.acquire(&self.table).await?;
        let (standing, until) = self.standing(&config, &mut pooled).await?;
        pooled.give_back();
        let next_offset = standing.map(|standing| standing.next_offset);
        if let Some(next_offset) = next_offset {
            self.handle.committed.store(next_offset, Ordering::Relaxed);
        }
        self.report.stands_by((leader, set.until), next_offset);
        Ok(set.ordered || until.is_some())
    }

    async fn standing(&self, config: &Config, pooled: &mut Pooled) -> Result<(Option<Standing>, Option<i64>), Turn> {
        let Part { topic, partition } = &self.part;
        let key = LaneKey { pipeline: config.name.clone(), topic: topic.clone(), partition: *partition };
        let schema = config.pool.schema();
        let own = join::standing(pooled.session(), schema, &key).await?;
        let of_topic = join::joined_until(pooled.session(), schema, &config.name, topic).await?;
        Ok((own, of_topic))
    }

    /// Whether the lane may go by itself, by the rows of its topic.
    pub(crate) async fn is_alone(&self, config: &Config, pooled: &mut Pooled) -> Result<(), Turn> {
        let of_topic =
            join::joined_until(pooled.session(), config.pool.schema(), &config.name, &self.part.topic).await?;
        if of_topic.is_some() { Err(Turn::Again) } else { Ok(()) }
    }

    /// Whether rows of different lanes of the topic may conflict. Such lanes replay as one.
    pub(crate) fn may_conflict(&self, mappings: &[TableMapping]) -> bool {
        self.state.partitions > 1 && mappings.iter().any(TableMapping::lanes_may_conflict)
    }

    /// Joins the lanes of the topic until none replays and no other generation waits; no transaction may be open.
    pub(crate) async fn join_to_replay(&self, pooled: &mut Pooled) -> Turn {
        let (config, until) = (self.settings.config(), self.state.held.as_ref().map_or(-1, Lane::ordinal));
        let of = (config.name.as_str(), self.part.topic.as_str());
        if let Err(failure) = join::join(pooled.session(), config.pool.schema(), of, until).await {
            return failure.into();
        }
        tracing::info!(topic = self.part.topic, "the lanes are joined to replay: their rows may conflict");
        Turn::Again
    }
}
