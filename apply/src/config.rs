//! What a pipeline is to do now: made of its documents, asked by topic.
//!
//! A topic's name tells its table, also of tables that nobody has named: capture's escaping can be undone. Only names
//! beyond Kafka's limit end in a hash; their table stands in their schema's properties. A topic that is not exactly the
//! one of a table that the source publishes and a mapping matches is never read, whatever the subscription brought.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordination::SchemaStore;
use schemas::documents::{
    Columns, ForeignKeys, Mapping, Pipeline, PipelineStart, Routes, Source, TablePattern, Target, Truncate, World,
};
use schemas::table::TableName;
use schemas::{Code, Error, Result, escape, names};
use serde::Deserialize;

use crate::consumer::pattern;
use crate::lane::intake::Limits;
use crate::options::Options;
use crate::pool::Pool;
use crate::target::mapping::Rules;
use crate::target::writer::Policies;

/// Tables of a range whose topics are subscribed one by one.
const SINGLE_TOPICS: usize = 256;
/// Topics that a pattern is taken for when memory is shared out.
const TOPICS_OF_PATTERN: usize = 64;

/// What a table's lane needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TablePlan {
    /// The source's table.
    pub(crate) from: TableName,
    /// The target's tables, at least one; each batch is written to all in one transaction.
    pub(crate) to: Vec<TableName>,
    /// Whether the mapping names the table, rather than match it by a pattern.
    pub(crate) named: bool,
    /// Of each of them: whether other tables may be written to it.
    pub(crate) merges: Vec<bool>,
    /// Which columns, under which names.
    pub(crate) columns: Columns,
    /// Columns of the target that have the same text in every row of this table.
    pub(crate) constants: BTreeMap<String, String>,
    /// What happens to rows that are not as their events expect.
    pub(crate) policies: Policies,
    /// What a TRUNCATE of the source's table does. Never `apply` where the table's rows cannot be told from others'.
    pub(crate) truncate: Truncate,
    /// Whether foreign keys of the target are checked.
    pub(crate) foreign_keys: ForeignKeys,
    /// Where batches end.
    pub(crate) limits: Limits,
    /// How long a batch waits for records that are known to follow.
    pub(crate) wait: Duration,
    /// Where the table begins when it is new to the pipeline.
    pub(crate) start: PipelineStart,
    /// Whether that stands in the mapping itself, so that it holds for a table which goes to another target, too.
    pub(crate) own_start: bool,
    /// Whether the document says that it stands still.
    pub(crate) paused: bool,
}

impl TablePlan {
    /// How its target at this position is written.
    pub(crate) fn rules(&self, at: usize) -> Rules {
        Rules {
            columns: self.columns.clone(),
            constants: self.constants.clone(),
            merges: self.merges.get(at).copied().unwrap_or_default(),
        }
    }
}

/// The documents that a configuration is made of. A version alone says little: a document that was deleted and put again
/// counts from the beginning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents {
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
    /// Its source.
    pub(crate) source: Source,
    /// Its target.
    pub(crate) target: Target,
    /// The versions of the three. A document that is put again unchanged makes paused lanes try again.
    pub(crate) versions: [i32; 3],
}

/// A pipeline as it is to run now.
#[derive(Debug)]
pub(crate) struct Config {
    /// The pipeline's name.
    pub(crate) name: String,
    /// Version of the pipeline document.
    pub(crate) version: i32,
    /// What it was made of.
    of: Documents,
    routes: Routes,
    /// All documents, to see whether tables meet.
    pub(crate) world: Arc<World>,
    backlog_factor: usize,
    join_bytes: usize,
    /// The connections to the target.
    pub(crate) pool: Arc<Pool>,
}

impl Config {
    /// Makes the configuration; the pool of the one before is kept where it fits.
    ///
    /// # Errors
    /// `OT1001` when the documents do not fit together, naming the mapping.
    pub(crate) fn new(of: Documents, world: Arc<World>, options: &Options, before: Option<&Self>) -> Result<Self> {
        let Documents { pipeline, source, target, versions } = &of;
        for (at, mapping) in pipeline.mappings.iter().enumerate() {
            let unpublished = mapping.from.exact().filter(|from| !source.follows(from));
            if let Some(from) = unpublished {
                let message = format!("mappings[{at}].from: the source {} does not publish {from}", source.name);
                return Err(Error::new(Code::DocumentInvalid, message));
            }
        }
        let writers = pipeline.writers();
        let pool = before.map(|b| &b.pool).filter(|pool| pool.fits(target, writers));
        let pool = pool.map_or_else(|| Pool::new(target.clone(), writers, options.group_commit), Arc::clone);
        Ok(Self {
            name: pipeline.name.as_str().to_owned(),
            version: versions[0],
            routes: Routes::new(pipeline),
            world,
            backlog_factor: options.backlog_factor.max(1) as usize,
            join_bytes: options.join_batch.as_usize(),
            pool,
            of,
        })
    }

    /// Whether it says the same as these would. Other pipelines matter only where tables may meet unforeseen.
    pub(crate) fn is_of(&self, documents: &Documents, world: &World) -> bool {
        self.of == *documents && (!self.routes.has_patterns() || *self.world == *world)
    }

    /// Name of the source document.
    pub(crate) fn source_name(&self) -> &str {
        self.of.source.name.as_str()
    }

    /// The target document.
    pub(crate) fn target(&self) -> &Target {
        &self.of.target
    }

    /// What the table's lane does; `None` when the topic is not that of a table which goes by a mapping.
    ///
    /// # Errors
    /// `OT1031` when two mappings match.
    pub(crate) fn plan(&self, topic: &str, table: &TableName) -> Result<Option<TablePlan>> {
        let Documents { pipeline, source, .. } = &self.of;
        if !source.follows(table) || names::topic(source.prefix(), table) != topic {
            return Ok(None);
        }
        let found = self.routes.find(pipeline, table)?;
        Ok(found.and_then(|at| pipeline.mappings.get(at)).map(|mapping| self.plan_of(mapping, table)))
    }

    fn plan_of(&self, mapping: &Mapping, table: &TableName) -> TablePlan {
        let pipeline = &self.of.pipeline;
        let settings = pipeline.settings_for(mapping);
        let merges = mapping.merges();
        let (rows, bytes) = (settings.batch_rows as usize, settings.batch_bytes.as_usize());
        TablePlan {
            from: table.clone(),
            to: mapping.to.of(table),
            constants: mapping.columns.constants(self.source_name(), table),
            named: mapping.from.exact().is_some(),
            columns: mapping.columns.clone(),
            policies: Policies::from(&settings),
            truncate: match settings.truncate {
                Truncate::Apply if mapping.columns.set.is_empty() && merges.contains(&true) => Truncate::Pause,
                other => other,
            },
            merges,
            foreign_keys: settings.foreign_keys,
            limits: Limits {
                rows,
                bytes,
                hard_rows: rows.saturating_mul(self.backlog_factor),
                hard_bytes: bytes.saturating_mul(2),
                elastic: mapping.batch.rows.is_none() && pipeline.apply.batch.rows.is_none(),
                join_bytes: self.join_bytes,
            },
            wait: settings.batch_wait,
            start: pipeline.start_for(mapping),
            own_start: mapping.start.is_some(),
            paused: mapping.is_paused(),
        }
    }

    /// The topics that tables can have which keep their order among each other, there or not; `None` when a pattern leaves
    /// them open.
    ///
    /// # Errors
    /// As [`Config::plan`].
    pub(crate) fn ordered_names(&self) -> Result<Option<BTreeSet<String>>> {
        let Documents { pipeline, source, .. } = &self.of;
        let ordered = |mapping: &&Mapping| pipeline.settings_for(mapping).foreign_keys == ForeignKeys::Ordered;
        let mut topics = BTreeSet::new();
        for mapping in pipeline.mappings.iter().filter(ordered) {
            let Some(tables) = mapping.from.tables(SINGLE_TOPICS) else { return Ok(None) };
            for table in tables {
                let topic = names::topic(source.prefix(), &table);
                let plan = self.plan(&topic, &table)?;
                if plan.is_some_and(|plan| plan.foreign_keys == ForeignKeys::Ordered) {
                    topics.insert(topic);
                }
            }
        }
        Ok(Some(topics))
    }

    /// The table of a topic, if its name tells; `None` when it is cut, or no topic of this source's tables.
    pub(crate) fn table_of(&self, topic: &str) -> Option<TableName> {
        table_of(self.of.source.prefix(), topic)
    }

    /// Whether a topic whose name does not tell its table may be one of the source's.
    pub(crate) fn may_have(&self, topic: &str) -> bool {
        may_be_cut(topic) && topic.starts_with(&format!("{}.", self.of.source.prefix()))
    }

    /// What to subscribe, as librdkafka's patterns, sorted.
    pub(crate) fn subscription(&self) -> Vec<String> {
        let prefix = self.of.source.prefix();
        let mut patterns = Vec::new();
        let mut cut = false;
        for mapping in &self.of.pipeline.mappings {
            match mapping.from.tables(SINGLE_TOPICS) {
                Some(tables) => patterns.extend(tables.iter().map(|table| pattern(&names::topic(prefix, table)))),
                None => {
                    patterns.push(topics_of(prefix, &mapping.from));
                    cut = true;
                }
            }
        }
        if cut {
            let digits = "[0-9a-f]".repeat(16);
            patterns.push(format!("^{}\\.[A-Za-z0-9_.-]*_h{digits}$", escape_regex(prefix)));
        }
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// About how many topics that will be.
    pub(crate) fn expected_topics(&self) -> usize {
        let count = |mapping: &Mapping| mapping.from.tables(SINGLE_TOPICS).map_or(TOPICS_OF_PATTERN, |t| t.len());
        self.of.pipeline.mappings.iter().map(count).sum()
    }
}

/// The table whose topic this is under a prefix; `None` when the name is cut, or of no table.
pub(crate) fn table_of(prefix: &str, topic: &str) -> Option<TableName> {
    if may_be_cut(topic) {
        return None;
    }
    let rest = topic.strip_prefix(prefix)?.strip_prefix('.')?;
    let (schema, table) = rest.split_once('.')?;
    let table = TableName::new(escape::unescape(schema)?, escape::unescape(table)?);
    (names::topic(prefix, &table) == topic).then_some(table)
}

/// Whether a topic's name may be cut: it may decode to some table then, but only its schema tells which.
fn may_be_cut(topic: &str) -> bool {
    topic.len() == names::MAX_TOPIC
}

/// What the properties of a table's schema say.
#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "otter.schema")]
    schema: String,
    #[serde(rename = "otter.table")]
    table: String,
}

/// The table of a topic whose name is cut, from the schema of its events; `None` when it is no table's topic.
///
/// # Errors
/// `OT4005` while nothing is registered for it, those of the store.
pub(crate) async fn table_by_schema(store: &SchemaStore, topic: &str) -> Result<Option<TableName>> {
    if !may_be_cut(topic) {
        return Ok(None);
    }
    let subject = names::value_subject(topic);
    let Some(text) = store.newest(&subject).await? else {
        return Err(Error::new(Code::SchemaUnknown, format!("nothing is registered under {subject} yet")));
    };
    Ok(serde_json::from_str::<Properties>(&text).ok().map(|p| TableName::new(p.schema, p.table)))
}

/// A regular expression for the topics of all tables of a pattern; it may match a few more.
fn topics_of(prefix: &str, pattern: &TablePattern) -> String {
    let mut out = format!("^{}", escape_regex(prefix));
    for side in pattern.literals() {
        out.push_str("\\.");
        for piece in side {
            match piece {
                None => out.push_str("[A-Za-z0-9_-]*"),
                Some(text) => text.chars().for_each(|c| match c {
                    // An underscore is escaped itself where it would look like an escape with what follows.
                    '_' => out.push_str("_(u005f_)?"),
                    c => out.push_str(&escape::topic_component(c.encode_utf8(&mut [0; 4]))),
                }),
            }
        }
    }
    out.push('$');
    out
}

fn escape_regex(text: &str) -> String {
    pattern(text).trim_start_matches('^').trim_end_matches('$').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_tell_their_tables() {
        for table in [("shop", "tb_user"), ("my db", "a.b"), ("用户", "_u00e9_"), ("a", "x_u1234y")] {
            let table = TableName::new(table.0, table.1);
            assert_eq!(table_of("p", &names::topic("p", &table)), Some(table));
        }
        let long = TableName::new("a", "用".repeat(64));
        assert_eq!(table_of("p", &names::topic("p", &long)), None, "it is cut");
        for other in ["p", "p.a", "q.a.b", "p.a.b.c", "p.transaction", "pp.a.b"] {
            assert_eq!(table_of("p", other), None, "{other}");
        }
    }

    #[test]
    fn a_subscription_takes_every_topic_of_its_pattern_and_few_others() {
        let matches = |from: &str, schema: &str, table: &str| {
            let regex = topics_of("p", &from.parse().expect("a pattern"));
            let regex = regex::Regex::new(&regex).unwrap_or_else(|e| panic!("{regex}: {e}"));
            regex.is_match(&names::topic("p", &TableName::new(schema, table)))
        };
        assert!(matches("crm_*.*", "crm_1", "orders"));
        assert!(matches("crm_*.*", "crm_", "a.b c"));
        assert!(!matches("crm_*.*", "shop", "orders"));
        assert!(matches("s.用户_*", "s", "用户_1"));
        assert!(matches("s._u00*", "s", "_u00e9_"));
        assert!(matches("s.x_*", "s", "x_u1234"));
        assert!(matches("s.t[000-999]*", "s", "t123"));
        assert!(matches("[eu,us]*.t", "us1", "t"));
        assert!(!matches("shop.*", "shop2", "t"));
    }
}
