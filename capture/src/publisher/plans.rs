//! Plans: how the rows of one version of one table are encoded and where they go.
//!
//! A plan is found by table id and the very bytes of the TABLE_MAP, so a row can never be read by another version's
//! plan. A server gives a table a new id whenever it opens it anew; the same bytes behind the id then find the plan
//! again. Making one registers the schemas and makes the topic, which takes round trips, so the caller closes its Kafka
//! transaction first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use coordination::{Coordination, SchemaStore};
use schemas::documents::{SYSTEM_SCHEMAS, Source, TopicSettings};
use schemas::encode::{EventEncoder, SchemaIds};
use schemas::table::{TableName, TableStructure};
use schemas::{Code, Error, Result, avro, names};
use tokio::runtime::Handle;

use crate::binlog::event::RawEvent;
use crate::binlog::server::{SourceServer, verify_binary_columns};
use crate::binlog::statement::Statement;
use crate::binlog::table_map;
use crate::kafka::topics::{Topics, Wanted};
use crate::kafka::watch::InUse;
use crate::metrics::{SourceMetrics, TableMetrics};

/// Bytes before what describes the table: the table id.
const TABLE_ID: usize = 6;
/// Entries after which a cache starts anew: ids and versions only ever grow.
const CACHE: usize = 20_000;
/// Otter's tables in a target's own schema.
const OWN_TABLES: [&str; 2] = ["progress", "dead_letters"];

/// The plan of a followed table.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The table.
    pub(crate) name: TableName,
    /// Its topic.
    pub(crate) topic: String,
    /// Its partitions.
    pub(crate) spread: Arc<Spread>,
    /// Columns of a row image.
    pub(crate) columns: u64,
    /// Row image to Avro.
    pub(crate) encoder: EventEncoder,
    /// Counters.
    pub(crate) metrics: TableMetrics,
}

/// The partitions of a topic, over which its rows are spread.
#[derive(Debug)]
pub(crate) struct Spread {
    /// Per partition, the Kafka transaction that touched it last, by number.
    touched: Box<[AtomicU64]>,
}

impl Spread {
    /// Over so many partitions, none of them touched.
    fn new(partitions: u32) -> Self {
        Self { touched: (0..partitions).map(|_| AtomicU64::new(0)).collect() }
    }

    /// How many partitions.
    pub(crate) fn partitions(&self) -> usize {
        self.touched.len()
    }

    /// The partition of rows whose key has this hash.
    pub(crate) fn partition(&self, hash: u32) -> i32 {
        i32::try_from(u64::from(hash) % self.touched.len().max(1) as u64).unwrap_or_default()
    }

    /// Whether this is the first touch of the partition within the Kafka transaction of that number.
    pub(crate) fn touch(&self, partition: i32, transaction: u64) -> bool {
        let touched = usize::try_from(partition).ok().and_then(|partition| self.touched.get(partition));
        // Two steps instead of a swap: the publisher's thread is the only one, and most rows only read.
        touched.is_some_and(|touched| {
            let first = touched.load(Ordering::Relaxed) != transaction;
            if first {
                touched.store(transaction, Ordering::Relaxed);
            }
            first
        })
    }
}

/// A TABLE_MAP's answer: the plan, or none for a table that is not followed.
pub(crate) type Found = Option<Arc<Plan>>;

/// Which tables a source publishes, its document and Otter's own tables considered.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    /// The document.
    pub(crate) source: Arc<Source>,
    /// The schemas in which targets keep Otter's own tables.
    pub(crate) own: Arc<BTreeSet<String>>,
}

impl Followed {
    /// Whether the table's rows are published.
    pub(crate) fn contains(&self, table: &TableName) -> bool {
        let own = OWN_TABLES.contains(&table.table.as_str()) && self.own.contains(&table.schema);
        !own && self.source.follows(table)
    }

    /// Whether a table of the schema could be published; yes when in doubt.
    pub(crate) fn may_contain(&self, schema: &str) -> bool {
        let rules = &self.source.tables;
        let everything = rules.first().is_none_or(|first| first.exclude);
        let named = rules.iter().any(|rule| !rule.exclude && rule.pattern.exact_schema().is_none_or(|s| s == schema));
        !SYSTEM_SCHEMAS.iter().any(|s| s.eq_ignore_ascii_case(schema)) && (everything || named)
    }
}

/// What it takes to make a plan.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// Which tables.
    pub(crate) followed: Followed,
    /// The server, for its collations.
    pub(crate) server: SourceServer,
    /// Where schemas are registered.
    pub(crate) schemas: SchemaStore,
    /// Where a topic's id and its count of partitions are frozen.
    pub(crate) coordination: Coordination,
    /// Where topics are made.
    pub(crate) topics: Topics,
    /// The topics that rows are published to.
    pub(crate) used: InUse,
    /// Counters of the source.
    pub(crate) metrics: SourceMetrics,
    /// The runtime that carries the round trips; the publisher's thread waits for it.
    pub(crate) runtime: Handle,
}

/// The plans in use.
#[derive(Debug)]
pub(crate) struct Plans {
    workshop: Workshop,
    maps: Maps,
    spreads: HashMap<String, Arc<Spread>>,
}

/// TABLE_MAPs and what was made of them.
#[derive(Debug, Default)]
struct Maps {
    /// What the TABLE_MAP says behind the id, whose bytes it shares with `by_version`.
    by_id: HashMap<u64, (Bytes, Found)>,
    by_version: HashMap<Bytes, Found>,
}

impl Maps {
    fn knows(&mut self, table_id: u64, event: &RawEvent) -> bool {
        let Some(version) = event.body.get(TABLE_ID..) else { return false };
        if self.by_id.get(&table_id).is_some_and(|(known, _)| known == version) {
            return true;
        }
        let Some((version, found)) = self.by_version.get_key_value(version) else { return false };
        self.by_id.insert(table_id, (version.clone(), found.clone()));
        true
    }

    fn insert(&mut self, table_id: u64, event: &RawEvent, found: Found) {
        // A copy of its own: the event's bytes are part of a larger buffer.
        let version = Bytes::copy_from_slice(event.body.get(TABLE_ID..).unwrap_or_default());
        self.by_version.insert(version.clone(), found.clone());
        self.by_id.insert(table_id, (version, found));
    }

    fn get(&self, table_id: u64) -> Option<&Found> {
        self.by_id.get(&table_id).map(|(_, found)| found)
    }

    fn trim(&mut self) {
        if self.by_id.len() >= CACHE {
            self.by_id.clear();
        }
        if self.by_version.len() >= CACHE {
            self.by_version.clear();
        }
    }
}

impl Plans {
    /// No plans yet.
    pub(crate) fn new(workshop: Workshop) -> Self {
        Self { workshop, maps: Maps::default(), spreads: HashMap::new() }
    }

    /// Which tables are published.
    pub(crate) fn followed(&self) -> &Followed {
        &self.workshop.followed
    }

    /// A statement with its names as the server keeps them, and as TABLE_MAPs have them.
    pub(crate) fn spelled(&self, statement: Statement) -> Statement {
        if self.workshop.server.folds_names { statement.in_lower_case() } else { statement }
    }

    /// Whether the TABLE_MAP's plan is there, so that [`Plans::map`] will take no round trip.
    pub(crate) fn knows(&mut self, table_id: u64, event: &RawEvent) -> bool {
        self.maps.knows(table_id, event)
    }

    /// Bounds the caches. Only between source transactions: within one, rows may follow of every table mapped so far.
    pub(crate) fn trim(&mut self) {
        self.maps.trim();
    }

    /// Makes the plan of a TABLE_MAP.
    ///
    /// # Errors
    /// `TypeUnsupported` and what else the table may have that is not carried; Kafka's and ZooKeeper's.
    pub(crate) fn map(&mut self, table_id: u64, event: &RawEvent) -> Result<()> {
        let name = table_name(&event.body)?;
        let found = if self.workshop.followed.contains(&name) {
            let structure = table_map::parse_table_map(&event.body, &self.workshop.server.collations)?;
            Some(Arc::new(self.compile(&structure)?))
        } else {
            None
        };
        self.maps.insert(table_id, event, found);
        Ok(())
    }

    /// The plan behind a rows event's table id.
    ///
    /// # Errors
    /// `BinlogCorrupt` when no TABLE_MAP came before.
    pub(crate) fn get(&self, table_id: u64) -> Result<Option<&Arc<Plan>>> {
        let found = self.maps.get(table_id).ok_or_else(|| {
            Error::new(Code::BinlogCorrupt, format!("rows of table id {table_id} without a table map before them"))
        })?;
        Ok(found.as_ref())
    }

    fn compile(&mut self, structure: &TableStructure) -> Result<Plan> {
        let Workshop { followed, server, schemas, metrics, runtime, .. } = &self.workshop;
        let source = &followed.source;
        let topic = source.topic_for(&structure.name)?;
        let texts = avro::event_schemas(structure, &topic, server.flavor)?;
        let ids = runtime.block_on(async {
            verify_binary_columns(server, structure).await?;
            let value = schemas.register(&names::value_subject(&topic), &texts.value).await?;
            let key = match &texts.key {
                Some(text) => Some(schemas.register(&names::key_subject(&topic), text).await?),
                None => None,
            };
            Ok::<_, Error>(SchemaIds { key, value })
        })?;
        let metrics = metrics.table(&structure.name.to_string());
        let (topic, spread) = self.topic(&structure.name)?;
        let source = &self.workshop.followed.source;
        tracing::info!(source = %source.name, table = %structure.name, topic, schema = ids.value, "table mapped");
        Ok(Plan {
            columns: structure.columns.len() as u64,
            encoder: EventEncoder::compile(structure, ids)?,
            metrics,
            name: structure.name.clone(),
            spread,
            topic,
        })
    }

    /// A followed table's topic, made unless it is there, and its partitions.
    ///
    /// # Errors
    /// `TopicReplaced`, `PartitionsChanged`, `TopicInvalid`; Kafka's and ZooKeeper's.
    pub(crate) fn topic(&mut self, table: &TableName) -> Result<(String, Arc<Spread>)> {
        let Workshop { followed, coordination, topics, used, runtime, .. } = &self.workshop;
        let source = &followed.source;
        let topic = source.topic_for(table)?;
        if let Some(spread) = self.spreads.get(&topic) {
            return Ok((topic, Arc::clone(spread)));
        }
        let wanted = wanted(&source.topic_settings(table));
        let frozen = runtime.block_on(topics.ensure_frozen(coordination, source.name.as_str(), (&topic, &wanted)))?;
        used.add(&topic, &frozen);
        let spread = Arc::new(Spread::new(frozen.partitions));
        self.spreads.insert(topic.clone(), Arc::clone(&spread));
        Ok((topic, spread))
    }
}

fn table_name(body: &[u8]) -> Result<TableName> {
    let corrupt = || Error::new(Code::BinlogCorrupt, "a table map does not name its table in UTF-8");
    let (schema, table) = table_map::table_name(body).ok_or_else(corrupt)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|e| corrupt().with_source(e));
    Ok(TableName::new(text(schema)?, text(table)?))
}

/// The topic of row events that a document asks for.
pub(crate) fn wanted(settings: &TopicSettings) -> Wanted {
    let mut config =
        vec![("cleanup.policy", "delete".to_owned()), ("max.message.bytes", settings.max_message.get().to_string())];
    if let Some(retention) = settings.retention {
        config.push(("retention.ms", retention.as_millis().to_string()));
    }
    Wanted {
        partitions: i32::try_from(settings.partitions).unwrap_or(i32::MAX),
        replication: settings.replication.map_or(-1, i32::from),
        settings: config,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use schemas::table::{Column, ColumnType};

    use super::*;

    /// The plan of a table with one number as its key.
    pub(crate) fn plan() -> Arc<Plan> {
        let ty = ColumnType::Int { bytes: 4, unsigned: false };
        let name = TableName::new("shop", "t");
        let columns = vec![Column { name: "id".into(), ty, nullable: false }];
        let structure = TableStructure { name: name.clone(), columns, key: vec![0] };
        let encoder = EventEncoder::compile(&structure, SchemaIds { key: Some(1), value: 2 }).unwrap();
        Arc::new(Plan {
            topic: "shop.shop.t".into(),
            spread: Arc::new(Spread::new(1)),
            columns: 1,
            encoder,
            metrics: TableMetrics::default(),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_forgets_nothing_until_it_is_trimmed() {
        let event = |id: u64, version: u8| RawEvent {
            event_type: 19,
            timestamp: 0,
            server_id: 1,
            log_pos: 100,
            flags: 0,
            body: Bytes::from([&id.to_le_bytes()[..TABLE_ID], &[version; 4]].concat()),
        };
        let mut maps = Maps::default();
        maps.insert(1, &event(1, b'a'), Some(testing::plan()));
        for id in 2..=CACHE as u64 + 1 {
            maps.insert(id, &event(id, b'b'), None);
        }
        assert!(maps.get(1).is_some_and(|found| found.is_some()), "rows of it may still come");
        assert!(maps.knows(7, &event(7, b'a')), "another id of a known version");
        assert!(maps.get(7).is_some_and(|found| found.is_some()));
        maps.trim();
        assert!(maps.get(1).is_none());
    }

    #[test]
    fn a_transaction_touches_each_partition_once() {
        let spread = Spread::new(2);
        assert!(spread.touch(0, 1) && !spread.touch(0, 1) && spread.touch(1, 1));
        assert!(spread.touch(0, 2) && !spread.touch(2, 2));
        assert_eq!([0, 1, 2, u32::MAX].map(|hash| spread.partition(hash)), [0, 1, 0, 1]);
    }

    #[test]
    fn the_topic_is_as_the_document_says() {
        let mut settings = TopicSettings {
            partitions: 1,
            replication: None,
            retention: None,
            max_message: schemas::documents::Size::mebibytes(1),
        };
        let plain = wanted(&settings);
        assert_eq!((plain.partitions, plain.replication), (1, -1));
        assert!(plain.settings.contains(&("max.message.bytes", "1048576".to_owned())));
        settings.retention = Some(schemas::documents::Interval::from_secs(60));
        settings.replication = Some(3);
        let more = wanted(&settings);
        assert_eq!(more.replication, 3);
        assert!(more.settings.contains(&("retention.ms", "60000".to_owned())));
    }
}
