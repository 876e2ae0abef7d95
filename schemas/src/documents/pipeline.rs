//! The pipeline document.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Interval;
use super::filling::Filling;
use super::names::Name;
use super::patterns::TablePattern;
use super::routes::Routes;
use super::size::Size;
use super::templates::Targets;
use crate::gtid::GtidPosition;
use crate::moment::Moment;
use crate::table::TableName;

/// What goes from a source to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The document's name.
    pub name: Name,
    /// Name of the source document.
    pub source: Name,
    /// Name of the target document.
    pub target: Name,
    /// Whether it runs. A put without it leaves the state as it is; a new pipeline runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Which table goes where.
    pub mappings: Vec<Mapping>,
    /// Where tables begin that are new to this pipeline.
    #[serde(default)]
    pub start: PipelineStart,
    /// How batches are made and what happens to rows that do not fit; mappings can say otherwise.
    #[serde(default)]
    pub apply: ApplySettings,
}

/// Whether a pipeline, or a mapping of it, runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    #[default]
    Running,
    /// It stands still and keeps its progress.
    Paused,
}

/// Where a table begins that is new to a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PipelineStart {
    /// With the oldest event that the topic still has.
    #[default]
    Earliest,
    /// With what is published from now on.
    Latest,
    /// With the first event whose transaction was committed at the source at this moment or later.
    Timestamp(Moment),
    /// Behind this GTID position: events of transactions in it are passed over, as the target was seeded with them.
    #[schemars(with = "String")]
    Gtid(GtidPosition),
}

/// Source tables and the tables they go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The source's tables.
    pub from: TablePattern,
    /// Tables of `from` that this mapping leaves out; another mapping may have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<TablePattern>,
    /// The target's tables.
    pub to: Targets,
    /// Whether its tables run. A put without it leaves the state as it is; the tables of a new mapping run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Whether other mappings, which must say so too, may write the same target tables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// Which columns, under which names.
    #[serde(default, skip_serializing_if = "Columns::is_default")]
    pub columns: Columns,
    /// Where this table begins when it is new to the pipeline; the pipeline's `start` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<PipelineStart>,
    /// For this table: how batches are made.
    #[serde(default, skip_serializing_if = "BatchSettings::is_default")]
    pub batch: BatchSettings,
    /// For this table: what an error does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// For this table: what happens to a row to update or delete that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_row: Option<MissingRow>,
    /// For this table: what happens to a row to insert that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_row: Option<ExistingRow>,
    /// For this table: what a TRUNCATE of the source's table does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<Truncate>,
    /// For this table: whether foreign keys of the target are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_keys: Option<ForeignKeys>,
}

/// Which columns of a table, under which names at the target. All by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// Only these source columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<BTreeSet<String>>,
    /// Not these source columns.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<String>,
    /// Source column to target column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Target column to the text that it has in every row; they tell rows of several source tables apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Filling>,
}

/// How batches are made and what happens to rows that do not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApplySettings {
    /// How batches are made.
    #[serde(skip_serializing_if = "BatchSettings::is_default")]
    pub batch: BatchSettings,
    /// Connections that write at a time, 1 to 64; 4 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writers: Option<u32>,
    /// What an error does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// What happens to a row to update or delete that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_row: Option<MissingRow>,
    /// What happens to a row to insert that is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_row: Option<ExistingRow>,
    /// What a TRUNCATE of a source's table does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<Truncate>,
    /// Whether foreign keys of the target are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_keys: Option<ForeignKeys>,
}

/// How batches are made: whichever limit comes first ends one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Events, 1 to 100,000; 2,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Bytes of events; 4 MiB by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Time from the first event; 5 ms by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Interval>,
}

/// What an error of one table does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The table's lane pauses; other tables go on.
    #[default]
    PauseTable,
}

/// What happens to a row to update or delete that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingRow {
    /// `OT5004`.
    #[default]
    Error,
    /// An update inserts the row; a delete has nothing to do.
    Overwrite,
    /// The event is counted and dropped.
    Ignore,
}

/// What happens to a row to insert that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExistingRow {
    /// `OT5005`.
    #[default]
    Error,
    /// The new row takes the old one's place.
    Overwrite,
    /// The event is counted and dropped.
    Ignore,
}

/// What a TRUNCATE of the source's table does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// The target's rows go, too.
    #[default]
    Apply,
    /// It is passed over.
    Ignore,
    /// The table pauses in front of it.
    Pause,
}

/// Whether foreign keys of the target are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForeignKeys {
    /// They are not; each table is written by itself.
    #[default]
    Off,
    /// They are; the tables with this setting are written as one, in the order of the source.
    Ordered,
}

/// The settings that hold for one mapping, all defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSettings {
    /// Most events of a batch.
    pub batch_rows: u32,
    /// Most bytes of a batch.
    pub batch_bytes: Size,
    /// Longest time from a batch's first event to its end.
    pub batch_wait: Duration,
    /// What an error does.
    pub on_error: OnError,
    /// What happens to a row to update or delete that is not there.
    pub missing_row: MissingRow,
    /// What happens to a row to insert that is there already.
    pub existing_row: ExistingRow,
    /// What a TRUNCATE of the source's table does.
    pub truncate: Truncate,
    /// Whether foreign keys of the target are checked.
    pub foreign_keys: ForeignKeys,
}

impl Pipeline {
    /// The mapping of a source table, the most specific of those that match. For many tables use [`Routes`].
    pub fn mapping_for(&self, table: &TableName) -> Option<&Mapping> {
        let matching = self.mappings.iter().filter(|m| m.matches(table));
        matching.max_by_key(|m| m.from.specificity())
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.state == Some(State::Paused)
    }

    /// The settings that hold for one of its mappings.
    pub fn settings_for(&self, mapping: &Mapping) -> RowSettings {
        let (own, all) = (&mapping.batch, &self.apply.batch);
        RowSettings {
            batch_rows: own.rows.or(all.rows).unwrap_or(2000),
            batch_bytes: own.bytes.or(all.bytes).unwrap_or(Size::mebibytes(4)),
            batch_wait: own.wait.or(all.wait).map_or(Duration::from_millis(5), Interval::get),
            on_error: mapping.on_error.or(self.apply.on_error).unwrap_or_default(),
            missing_row: mapping.missing_row.or(self.apply.missing_row).unwrap_or_default(),
            existing_row: mapping.existing_row.or(self.apply.existing_row).unwrap_or_default(),
            truncate: mapping.truncate.or(self.apply.truncate).unwrap_or_default(),
            foreign_keys: mapping.foreign_keys.or(self.apply.foreign_keys).unwrap_or_default(),
        }
    }

    /// Where one of its mappings begins when it is new to the pipeline.
    pub fn start_for(&self, mapping: &Mapping) -> PipelineStart {
        mapping.start.clone().unwrap_or_else(|| self.start.clone())
    }

    /// Connections that write at a time.
    pub fn writers(&self) -> u32 {
        self.apply.writers.unwrap_or(4)
    }

    /// What types cannot say: path and reason of the first thing that is wrong.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        if self.mappings.is_empty() {
            return Err(("mappings".to_owned(), "there is no mapping".to_owned()));
        }
        if self.apply.writers.is_some_and(|w| !(1..=64).contains(&w)) {
            return Err(("apply.writers".to_owned(), "the number of writers is 1 to 64".to_owned()));
        }
        self.apply.batch.validate("apply.batch")?;
        let mut seen = BTreeMap::new();
        for (i, mapping) in self.mappings.iter().enumerate() {
            mapping.columns.validate(&format!("mappings[{i}].columns"))?;
            mapping.batch.validate(&format!("mappings[{i}].batch"))?;
            if let Some(first) = seen.insert(mapping.from.to_string(), i) {
                let why = format!("{} is mapped by mappings[{first}] already", mapping.from);
                return Err((format!("mappings[{i}].from"), why));
            }
            mapping.to.validate(&mapping.from).map_err(|why| (format!("mappings[{i}].to"), why))?;
        }
        match Routes::new(self).ambiguous(self) {
            Some((one, other, table)) => {
                let (a, b) = (&self.mappings[one].from, &self.mappings[other].from);
                let why = format!(
                    "{a} and {b} of mappings[{one}] both match {table} and neither is more specific; narrow one \
                     of them, or `exclude` there what belongs to the other"
                );
                Err((format!("mappings[{other}].from"), why))
            }
            None => Ok(()),
        }
    }
}

impl Mapping {
    /// Whether a source table is one of its tables, if no other mapping is more specific.
    pub fn matches(&self, table: &TableName) -> bool {
        self.from.matches(table) && !self.exclude.iter().any(|out| out.matches(table))
    }

    /// Whether its tables stand still.
    pub fn is_paused(&self) -> bool {
        self.state == Some(State::Paused)
    }

    /// Of each of its targets, in the document's order: whether other tables may be written to it.
    pub fn merges(&self) -> Vec<bool> {
        let several = self.from.tables(2).is_none_or(|tables| tables.len() > 1);
        let to = self.to.templates().iter();
        to.map(|to| self.merge || (several && to.merges(&self.from).is_some())).collect()
    }
}

impl Columns {
    /// What its constants are for a table of a source.
    pub fn constants(&self, source: &str, from: &TableName) -> BTreeMap<String, String> {
        self.set.iter().map(|(name, text)| (name.clone(), text.of(source, from))).collect()
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the source column goes to the target.
    pub fn takes(&self, column: &str) -> bool {
        self.include.as_ref().is_none_or(|names| names.contains(column)) && !self.exclude.contains(column)
    }

    /// The target's name of a source column.
    pub fn target_name<'a>(&'a self, column: &'a str) -> &'a str {
        self.rename.get(column).map_or(column, String::as_str)
    }

    fn validate(&self, path: &str) -> Result<(), (String, String)> {
        if self.include.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err((format!("{path}.include"), "no column is left".to_owned()));
        }
        let listed = self.include.iter().flatten().chain(&self.exclude);
        if let Some(name) = listed.chain(self.rename.keys()).chain(self.rename.values()).find(|n| n.is_empty()) {
            return Err((path.to_owned(), format!("{name:?} is not the name of a column")));
        }
        if let Some(name) = self.include.iter().flatten().find(|name| self.exclude.contains(*name)) {
            return Err((format!("{path}.exclude"), format!("{name} is included and excluded")));
        }
        if let Some(name) = self.rename.keys().find(|name| !self.takes(name)) {
            return Err((format!("{path}.rename.{name}"), "the column does not go to the target".to_owned()));
        }
        let target_of = |name: &String| self.rename.get(name).unwrap_or(name).to_lowercase();
        let mapped: BTreeSet<String> = self.include.iter().flatten().chain(self.rename.keys()).map(target_of).collect();
        let mut set = BTreeSet::new();
        for name in self.set.keys() {
            let why = match () {
                () if name.is_empty() => "\"\" is not the name of a column",
                () if mapped.contains(&name.to_lowercase()) => "a column of the source goes there",
                () if !set.insert(name.to_lowercase()) => "it is set twice",
                () => continue,
            };
            return Err((format!("{path}.set.{name}"), why.to_owned()));
        }
        let mut taken = BTreeSet::new();
        match self.rename.values().find(|name| !taken.insert(name.to_lowercase())) {
            Some(name) => Err((format!("{path}.rename"), format!("two columns are renamed to {name}"))),
            None => Ok(()),
        }
    }
}

impl BatchSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn validate(&self, path: &str) -> Result<(), (String, String)> {
        let wrong = |field: &str, why: &str| Err((format!("{path}.{field}"), why.to_owned()));
        if self.rows.is_some_and(|r| !(1..=100_000).contains(&r)) {
            return wrong("rows", "a batch has 1 to 100000 rows");
        }
        if self.bytes.is_some_and(|b| !(Size::bytes(1024)..=Size::mebibytes(256)).contains(&b)) {
            return wrong("bytes", "a batch has 1KiB to 256MiB");
        }
        if self.wait.is_some_and(|w| w > Interval::from_secs(60)) {
            return wrong("wait", "a batch waits at most 60s");
        }
        Ok(())
    }
}
