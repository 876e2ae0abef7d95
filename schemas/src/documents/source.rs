//! The source document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Interval;
use super::names::{Address, Name};
use super::patterns::{Rule, TablePattern};
use super::size::Size;
use super::start::{PositionMode, Start};
use super::target::{DEFAULT_SCHEMA, Tls};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::names;
use crate::secret::SecretRef;
use crate::table::TableName;

/// The servers' own schemas, never published whatever the rules say.
pub const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// Rows larger than this stop their table unless `max_message` says otherwise.
const DEFAULT_MAX_MESSAGE: Size = Size::mebibytes(64);

/// The most partitions that a topic may have.
pub const MAX_PARTITIONS: u32 = 1000;

/// A server whose binlog is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The document's name.
    pub name: Name,
    /// Addresses of one server and its replicas; each is tried in turn.
    pub addresses: Vec<Address>,
    /// The user, with the privileges of a replica.
    pub user: String,
    /// Where the password is, `env:NAME` or `file:PATH`; without it the user has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretRef>,
    /// Encryption.
    #[serde(default)]
    pub tls: Tls,
    /// Where a source without a checkpoint begins.
    #[serde(default)]
    pub start: Start,
    /// By what the position is kept.
    #[serde(default, skip_serializing_if = "PositionMode::is_auto")]
    pub position: PositionMode,
    /// What is published: `schema.table` with `*`, `!` leaves out, the last rule that matches decides.
    #[serde(default)]
    pub tables: Vec<Rule>,
    /// The topics.
    #[serde(default)]
    pub topics: Topics,
}

/// The topics of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// First part of every topic's name; the source's name by default. It belongs to one source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Partitions of a new topic, 1 to 1000; 1 by default. A topic that is there keeps its own.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Replicas of a new topic; the broker's default when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// How long events are kept; the broker's default when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Interval>,
    /// The largest event; 64 MiB by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message: Option<Size>,
    /// Other settings for some tables; the last one that matches and has the setting decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<TopicOverride>,
}

/// Other settings for the topics of some tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicOverride {
    /// Which tables.
    pub tables: TablePattern,
    /// Partitions of a new topic, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Replicas of a new topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// How long events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Interval>,
    /// The largest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message: Option<Size>,
}

/// What a table's topic is made with, overrides considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// Partitions, at least 1.
    pub partitions: u32,
    /// Replicas; `None`: the broker's default.
    pub replication: Option<u16>,
    /// How long events are kept; `None`: the broker's default.
    pub retention: Option<Interval>,
    /// The largest event.
    pub max_message: Size,
}

impl Source {
    /// Whether the table's rows are published. System schemas and Otter's own never are.
    pub fn follows(&self, table: &TableName) -> bool {
        !is_system_schema(&table.schema)
            && !table.schema.eq_ignore_ascii_case(DEFAULT_SCHEMA)
            && Rule::all_admit(&self.tables, table)
    }

    /// First part of every topic's name.
    pub fn prefix(&self) -> &str {
        self.topics.prefix.as_deref().unwrap_or(self.name.as_str())
    }

    /// The topic of a table's row events.
    ///
    /// # Errors
    /// `OT1001` when the source does not follow the table.
    pub fn topic_for(&self, table: &TableName) -> Result<String> {
        if !self.follows(table) {
            let message = format!("source {} does not publish {table}; see its `tables`", self.name);
            return Err(Error::new(Code::DocumentInvalid, message));
        }
        Ok(names::topic(self.prefix(), table))
    }

    /// What the table's topic is made with.
    pub fn topic_settings(&self, table: &TableName) -> TopicSettings {
        let topics = &self.topics;
        let mut settings = TopicSettings {
            partitions: topics.partitions.unwrap_or(1),
            replication: topics.replication,
            retention: topics.retention,
            max_message: topics.max_message.unwrap_or(DEFAULT_MAX_MESSAGE),
        };
        for o in topics.overrides.iter().filter(|o| o.tables.matches(table)) {
            settings.partitions = o.partitions.unwrap_or(settings.partitions);
            settings.replication = o.replication.or(settings.replication);
            settings.retention = o.retention.or(settings.retention);
            settings.max_message = o.max_message.unwrap_or(settings.max_message);
        }
        settings
    }

    /// The largest event of any table, for the producer's own limit.
    pub fn max_message(&self) -> Size {
        let overrides = self.topics.overrides.iter().filter_map(|o| o.max_message);
        let base = self.topics.max_message.unwrap_or(DEFAULT_MAX_MESSAGE);
        overrides.fold(base, Ord::max)
    }

    /// What types cannot say: path and reason of the first thing that is wrong.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        let wrong = |path: String, why: &str| Err((path, why.to_owned()));
        if self.addresses.is_empty() {
            return wrong("addresses".to_owned(), "there is no address");
        }
        if self.user.is_empty() {
            return wrong("user".to_owned(), "the user is empty");
        }
        self.tls.validate()?;
        for (i, rule) in self.tables.iter().enumerate() {
            let schema = rule.pattern.exact_schema().filter(|_| !rule.exclude);
            if let Some(schema) = schema.filter(|s| is_system_schema(s) || s.eq_ignore_ascii_case(DEFAULT_SCHEMA)) {
                return wrong(format!("tables[{i}]"), &format!("the schema {schema} is never published"));
            }
        }
        self.topics.validate()
    }
}

impl Topics {
    fn validate(&self) -> Result<(), (String, String)> {
        if let Some(prefix) = &self.prefix {
            let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if prefix.is_empty() || prefix.len() > 63 || !prefix.chars().all(ok) || prefix.starts_with("__") {
                let why = "a prefix has 1 to 63 of A-Z, a-z, 0-9, _ and -, and does not begin with __";
                return Err(("topics.prefix".to_owned(), why.to_owned()));
            }
        }
        let own = ("topics".to_owned(), self.partitions, self.replication, self.max_message);
        let overrides = self
            .overrides
            .iter()
            .enumerate()
            .map(|(i, o)| (format!("topics.overrides[{i}]"), o.partitions, o.replication, o.max_message));
        for (path, partitions, replication, max_message) in std::iter::once(own).chain(overrides) {
            if partitions.is_some_and(|p| !(1..=MAX_PARTITIONS).contains(&p)) {
                return Err((format!("{path}.partitions"), "the number of partitions is 1 to 1000".to_owned()));
            }
            if replication.is_some_and(|r| r == 0 || r > 1000) {
                return Err((format!("{path}.replication"), "the number of replicas is 1 to 1000".to_owned()));
            }
            // librdkafka's message.max.bytes ends at 1,000,000,000.
            let range = Size::bytes(1024)..=Size::bytes(900_000_000);
            if max_message.is_some_and(|m| !range.contains(&m)) {
                return Err((format!("{path}.max_message"), "the largest event is 1KiB to 900000000B".to_owned()));
            }
        }
        Ok(())
    }
}

/// Whether the schema is one of the servers' own.
pub(super) fn is_system_schema(schema: &str) -> bool {
    SYSTEM_SCHEMAS.iter().any(|s| schema.eq_ignore_ascii_case(s))
}
