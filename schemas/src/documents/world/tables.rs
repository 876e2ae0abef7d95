//! The checks of one source table, by name: what it leads to, and who else writes there.

use std::collections::{BTreeMap, HashMap};

use super::{MOST_TABLES, World, invalid, same_server};
use crate::codes::Code;
use crate::documents::{Mapping, Pipeline, Source};
use crate::error::{Error, Result};
use crate::progress;
use crate::table::TableName;

/// Tables that one table may lead to within a server, one after the other. A chain that is longer does not end: each
/// step makes a longer name.
const MOST_STEPS: usize = 100;

impl World {
    /// What is wrong with a table that appeared, beside what other tables write (that is for [`Writers`]).
    ///
    /// # Errors
    /// `OT1031` when two mappings match, `OT1032` for tables that must not be mapped so; the message says why.
    pub fn check_table(&self, pipeline: &str, table: &TableName) -> Result<()> {
        let Some(mapping) = self.route(pipeline, table)? else { return Ok(()) };
        let Some(pipeline) = self.pipeline(pipeline) else { return Ok(()) };
        self.targets_of(pipeline, mapping, table).map(drop).map_err(|e| {
            Error::new(Code::TargetShared, format!("pipeline {}: {}{}", pipeline.name, mapping.from, e.message()))
        })
    }

    /// The targets of a table, when nothing is wrong with them. The message of an error begins with the field, `.to: `.
    pub(super) fn targets_of(
        &self,
        pipeline: &Pipeline,
        mapping: &Mapping,
        from: &TableName,
    ) -> Result<Vec<TableName>> {
        let (source, target) = self.ends(pipeline)?;
        let targets = mapping.to.of(from);
        for (at, to) in targets.iter().enumerate() {
            if to.schema == target.schema && progress::OWN_TABLES.contains(&to.table.as_str()) {
                return Err(invalid(format!(".to: {to} is a table of Otter's own")));
            }
            if self.is_own(from) {
                return Err(invalid(format!(".from: {from} is a table of Otter's own, which is never published")));
            }
            if targets[..at].contains(to) {
                return Err(invalid(format!(".to: {from} goes to {to} twice")));
            }
            if !same_server(source, target) {
                continue;
            }
            if from == to {
                return Err(invalid(format!(".to: {to} is the source table itself")));
            }
            if self.leads_back(source, from, to) {
                return Err(invalid(format!(".to: changes of {to} lead back to {from} on the same server")));
            }
        }
        Ok(targets)
    }

    /// Whether a table is one that Otter keeps at some target.
    fn is_own(&self, table: &TableName) -> bool {
        let own = progress::OWN_TABLES.contains(&table.table.as_str());
        own && self.targets.values().any(|target| target.schema == table.schema)
    }

    /// Whether rows written to `to` on the source's own server come back to `from` by mappings within that server, or
    /// to `to` itself, or lead on without an end.
    fn leads_back(&self, source: &Source, from: &TableName, to: &TableName) -> bool {
        let mut reached = vec![to.clone()];
        let mut next = 0;
        while let Some(table) = reached.get(next).cloned() {
            next += 1;
            for routed in self.pipelines.values() {
                let Ok((s, t)) = self.ends(&routed.pipeline) else { continue };
                let within = s.addresses.iter().any(|a| source.addresses.contains(a)) && same_server(source, t);
                if !within || !s.follows(&table) {
                    continue;
                }
                let Ok(Some(at)) = routed.routes.find(&routed.pipeline, &table) else { continue };
                let targets = routed.pipeline.mappings.get(at).map(|m| m.to.of(&table)).unwrap_or_default();
                if targets.contains(from) || targets.contains(&table) || reached.len() > MOST_STEPS {
                    return true;
                }
                for to in targets {
                    if !reached.contains(&to) {
                        reached.push(to);
                    }
                }
            }
        }
        false
    }
}

/// A table that goes to a target table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The pipeline.
    pub pipeline: String,
    /// The source table.
    pub from: TableName,
    /// Whether the mapping names it, rather than match it by a pattern.
    pub named: bool,
    /// Whether its mapping says that others may write the same table.
    pub merges: bool,
    /// What its mapping sets columns to, by their lower-case names.
    pub constants: BTreeMap<String, String>,
}

impl Writer {
    /// Of a table by its mapping, for the target at a position of its list.
    pub fn new(pipeline: &Pipeline, mapping: &Mapping, from: &TableName, merges: bool) -> Self {
        let constants = mapping.columns.constants(pipeline.source.as_str(), from);
        Self {
            pipeline: pipeline.name.as_str().to_owned(),
            from: from.clone(),
            named: mapping.from.exact().is_some(),
            merges,
            constants: constants.into_iter().map(|(name, text)| (name.to_lowercase(), text)).collect(),
        }
    }

    /// Why this one and another cannot write the same table; `None` when they can.
    pub fn conflict(&self, other: &Self) -> Option<&'static str> {
        if !self.merges || !other.merges {
            return Some("several source tables come together in one only where all their mappings say `merge: true`");
        }
        // Collations take more than that for equal; statements compare bytes.
        let folded = |text: &String| text.trim_end().to_lowercase();
        let mut both = self.constants.iter().filter_map(|(name, text)| Some((text, other.constants.get(name)?)));
        let apart = both.any(|(one, other)| folded(one) != folded(other));
        (!self.constants.is_empty() && !other.constants.is_empty() && !apart).then_some(
            "their `columns.set` do not tell their rows apart; give some column another text in each, as with {source}, {schema} or {table}",
        )
    }
}

/// Who writes which target table: the tables that mappings name, and those that are known to be there.
#[derive(Debug, Default)]
pub struct Writers(HashMap<(String, TableName), Vec<Writer>>);

impl Writers {
    /// Of all pipelines of a world; `tables` are the tables that each source is known to publish, by its name.
    pub fn new<'a>(world: &World, tables: impl IntoIterator<Item = (&'a str, TableName)> + Clone) -> Self {
        let mut writers = Self::default();
        for routed in world.pipelines.values() {
            let pipeline = &routed.pipeline;
            let mut known: HashMap<TableName, bool> = HashMap::new();
            for mapping in &pipeline.mappings {
                known.extend(mapping.from.tables(MOST_TABLES).into_iter().flatten().map(|table| (table, true)));
            }
            if routed.routes.has_patterns() {
                let of_source = tables.clone().into_iter().filter(|(source, _)| *source == pipeline.source.as_str());
                of_source.for_each(|(_, table)| {
                    known.entry(table).or_insert(false);
                });
            }
            for (from, named) in known {
                writers.add(world, pipeline, from, named);
            }
        }
        writers
    }

    fn add(&mut self, world: &World, pipeline: &Pipeline, from: TableName, named: bool) {
        let name = pipeline.name.as_str();
        let (Ok(Some(mapping)), Ok((_, target))) = (world.route(name, &from), world.ends(pipeline)) else { return };
        for (to, merges) in mapping.to.of(&from).into_iter().zip(mapping.merges()) {
            let writer = Writer { named, ..Writer::new(pipeline, mapping, &from, merges) };
            self.0.entry((target.address.to_string(), to)).or_default().push(writer);
        }
    }

    /// The others that write one of these tables, each with the table; `address` is the target's.
    pub fn others<'a>(
        &'a self,
        (pipeline, from): (&'a str, &'a TableName),
        address: &str,
        targets: &'a [TableName],
    ) -> impl Iterator<Item = (&'a TableName, &'a Writer)> {
        let of = move |to: &TableName| self.0.get(&(address.to_owned(), to.clone()));
        let found: Vec<_> = targets.iter().filter_map(|to| Some((to, of(to)?))).collect();
        let pairs = found.into_iter().flat_map(|(to, writers)| writers.iter().map(move |writer| (to, writer)));
        pairs.filter(move |(_, writer)| writer.pipeline != pipeline || writer.from != *from)
    }
}
