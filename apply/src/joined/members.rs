//! The lanes of a set: which they are, and their claim by the leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::documents::ForeignKeys;
use schemas::{Error, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{Config, TablePlan, table_by_schema};
use crate::consumer::lanes::Part;
use crate::inquiry::check_position;
use crate::lane::plans::Plans;
use crate::lane::{Beginning, LaneTask, Services, Turn};
use crate::target::progress::{self, Lane, LaneKey};

/// How old a list of topics may be that says who leads.
const RECENT: Duration = Duration::from_secs(1);

/// A topic of a set.
#[derive(Debug)]
pub(crate) struct Topic {
    /// What its table does.
    pub(crate) table: TablePlan,
    /// Decoders and mappings by schema.
    pub(crate) plans: Plans,
}

/// The lanes of a set as claimed; the vectors go by the same index.
#[derive(Debug)]
pub(crate) struct Members {
    /// The topics, by name.
    pub(crate) topics: Vec<Topic>,
    /// The partition of each lane, by topic and number.
    pub(crate) parts: Vec<Part>,
    /// Its topic, as an index of `topics`.
    pub(crate) topic_of: Vec<usize>,
    /// Its progress row.
    pub(crate) lanes: Vec<Lane>,
    /// Events since the last one that its start contains.
    pub(crate) beyond_start: Vec<u64>,
    /// The token in all rows.
    pub(crate) token: String,
}

impl Members {
    /// Whether some lane replays; then all do.
    pub(crate) fn is_replaying(&self) -> bool {
        self.lanes.iter().any(Lane::is_replaying)
    }
}

/// The topics of a pipeline whose tables keep their order among each other, by name, with what their tables do.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Those that are there.
    pub(crate) topics: BTreeMap<String, TablePlan>,
    /// Whether another one may come without a change of the documents.
    pub(crate) is_open: bool,
}

/// What was listed last. Many lanes of a set ask who leads, and a list of thousands of topics is dear.
#[derive(Clone, Default)]
pub(crate) struct LastListed(Arc<Mutex<Option<Last>>>);

struct Last {
    at: Instant,
    of: Arc<Config>,
    listed: Listed,
}

impl LastListed {
    /// A list that may be a second old: a leader makes one of its own before anything goes out.
    ///
    /// # Errors
    /// Those of Kafka, the registry and the documents.
    pub(crate) async fn recent(&self, config: &Arc<Config>, services: &Services) -> Result<Listed> {
        let mut last = self.0.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < RECENT && Arc::ptr_eq(&last.of, config)) {
            return Ok(last.listed.clone());
        }
        let listed = list(config, services).await?;
        *last = Some(Last { at: Instant::now(), of: Arc::clone(config), listed: listed.clone() });
        Ok(listed)
    }

    /// A list that is made now.
    ///
    /// # Errors
    /// As [`LastListed::recent`].
    pub(crate) async fn now(&self, config: &Arc<Config>, services: &Services) -> Result<Listed> {
        let listed = list(config, services).await?;
        *self.0.lock().await = Some(Last { at: Instant::now(), of: Arc::clone(config), listed: listed.clone() });
        Ok(listed)
    }
}

/// Only where a pattern leaves the tables open all topics of the cluster are looked at.
async fn list(config: &Config, services: &Services) -> Result<Listed> {
    let names = config.ordered_names()?;
    let there = match &names {
        Some(names) => services.inquiry.existing(names).await?,
        None => services.inquiry.topics().await?,
    };
    let mut topics = BTreeMap::new();
    for topic in there {
        let table = match config.table_of(&topic) {
            Some(table) => table,
            None if !config.may_have(&topic) => continue,
            None => match table_by_schema(&services.schemas, &topic).await? {
                Some(table) => table,
                None => continue,
            },
        };
        if let Some(plan) = config.plan(&topic, &table)?.filter(|plan| plan.foreign_keys == ForeignKeys::Ordered) {
            topics.insert(topic, plan);
        }
    }
    let is_open = names.is_none_or(|names| names.len() > topics.len());
    Ok(Listed { topics, is_open })
}

impl LaneTask {
    /// Claims all lanes of the topics, in the order of their keys.
    pub(crate) async fn claim_all(
        &mut self,
        config: &Config,
        topics: BTreeMap<String, TablePlan>,
    ) -> Result<Members, Turn> {
        let own =
            LaneKey { pipeline: config.name.clone(), topic: self.part.topic.clone(), partition: self.part.partition };
        let mut pooled = config.pool.acquire(&self.table).await?;
        let owner = progress::owner(pooled.session(), config.pool.schema(), &own).await?.map(|(owner, _)| owner);
        pooled.give_back();
        let token = self.token(&own, owner.as_deref())?;
        let mut members = Members {
            topics: Vec::new(),
            parts: Vec::new(),
            topic_of: Vec::new(),
            lanes: Vec::new(),
            beyond_start: Vec::new(),
            token,
        };
        for (name, table) in topics {
            let count = self.services.inquiry.partitions(&name).await?;
            for partition in (0_i32..).take(count) {
                let part = Part { topic: name.clone(), partition };
                let lane = self.claim_part(config, &table, &part, &members.token).await?;
                members.lanes.push(lane);
                members.parts.push(part);
                members.topic_of.push(members.topics.len());
                members.beyond_start.push(0);
            }
            members.topics.push(Topic { table, plans: Plans::default() });
        }
        Ok(members)
    }

    async fn claim_part(&self, config: &Config, table: &TablePlan, part: &Part, token: &str) -> Result<Lane, Turn> {
        let Beginning { key, mut now, owner: _, start, mut pooled } = self.beginning(config, table, part).await?;
        let (mut lane, claimed) = Lane::claim(pooled.session(), config.pool.schema(), key, token, &start).await?;
        lane.set_document_version(config.version);
        pooled.give_back();
        if claimed.next_offset > now.high {
            now = self.services.inquiry.topic(part).await?;
        }
        check_position(part, claimed.next_offset, &claimed.topic_id, &now).map_err(Turn::from)?;
        Ok(lane)
    }
}

/// The error of a set that must not be written.
pub(crate) fn refused(config: &Config, topics: &BTreeMap<String, TablePlan>) -> Option<Error> {
    topics.values().find_map(|table| crate::settings::refused(config, table))
}
