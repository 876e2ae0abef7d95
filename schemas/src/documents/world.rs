//! What only several documents together can get wrong: references, tables that meet, prefixes used twice.
//!
//! Mappings by patterns are checked as far as their text says what will be: each table of a range; for stars, tables for
//! example, among them those to which other mappings of the same server lead. What can be known only when a table is
//! there is asked then, by [`World::check_table`] and [`Writers`].

mod tables;

use std::collections::{BTreeMap, HashMap};

pub use tables::{Writer, Writers};

use super::routes::MOST_STEPS;
use super::{Document, Kind, Mapping, Pipeline, Routes, Source, Target};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::table::TableName;

/// Tables of one pattern that are looked at one by one.
const MOST_TABLES: usize = 10_000;
/// Tables of all patterns of a pipeline, times its mappings, each of which may have to be asked about each table.
const MOST_ASKED: usize = 2_000_000;

/// Writers of one table that each further one is compared with, when the columns that they set are not the same; the rest
/// is asked about when the tables are there.
const MOST_OTHERS: usize = 100;

/// All documents of an installation, as they are or as a `put` would leave them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    sources: BTreeMap<String, Source>,
    targets: BTreeMap<String, Target>,
    pipelines: BTreeMap<String, Routed>,
}

/// What may still be looked at of a pipeline; beyond it, tables are asked about when they are there.
#[derive(Debug)]
struct Left {
    tables: usize,
    steps: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Routed {
    pipeline: Pipeline,
    routes: Routes,
}

impl World {
    /// Adds a document, or puts it in the place of its namesake.
    pub fn insert(&mut self, document: Document) {
        let name = document.name().as_str().to_owned();
        match document {
            Document::Source(d) => drop(self.sources.insert(name, d)),
            Document::Target(d) => drop(self.targets.insert(name, d)),
            Document::Pipeline(pipeline) => {
                let routes = Routes::new(&pipeline);
                self.pipelines.insert(name, Routed { pipeline, routes });
            }
        }
    }

    /// Takes a document out.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Source => drop(self.sources.remove(name)),
            Kind::Target => drop(self.targets.remove(name)),
            Kind::Pipeline => drop(self.pipelines.remove(name)),
        }
    }

    /// The source of a name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// All sources, in the order of names.
    pub fn sources(&self) -> impl Iterator<Item = &Source> + Clone {
        self.sources.values()
    }

    /// The target of a name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.get(name)
    }

    /// The pipeline of a name.
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.get(name).map(|routed| &routed.pipeline)
    }

    /// The mapping by which a source table goes in a pipeline; `None` when there is none.
    ///
    /// # Errors
    /// `OT1031` when two that are equally specific match.
    pub fn route(&self, pipeline: &str, table: &TableName) -> Result<Option<&Mapping>> {
        let Some(Routed { pipeline, routes }) = self.pipelines.get(pipeline) else { return Ok(None) };
        Ok(routes.find(pipeline, table)?.and_then(|at| pipeline.mappings.get(at)))
    }

    /// Everything that is wrong, in the order of names. A front end refuses a change that adds to it.
    pub fn faults(&self) -> Vec<Error> {
        let mut faults = Vec::new();
        let mut prefixes = BTreeMap::new();
        for source in self.sources.values() {
            if let Some(other) = prefixes.insert(source.prefix(), &source.name) {
                let message = format!(
                    "source {}: topics.prefix: {} is the prefix of source {other} already",
                    source.name,
                    source.prefix()
                );
                faults.push(invalid(message));
            }
        }
        let mut written = BTreeMap::new();
        for routed in self.pipelines.values() {
            if let Err(e) = self.check_pipeline(routed, &mut written) {
                faults.push(e);
            }
        }
        faults
    }

    /// The first thing wrong with a pipeline's references and mappings.
    fn check_pipeline(&self, routed: &Routed, written: &mut BTreeMap<(String, TableName), Written>) -> Result<()> {
        let pipeline = &routed.pipeline;
        let label = format!("pipeline {}", pipeline.name);
        let (source, target) = self.ends(pipeline)?;
        let mut left = Left { tables: MOST_ASKED / pipeline.mappings.len().max(1), steps: MOST_STEPS };
        for (i, mapping) in pipeline.mappings.iter().enumerate() {
            let path = format!("{label}: mappings[{i}]");
            let at = |e: Error| Error::new(e.code(), format!("{path}{}", e.message()));
            check_merge(mapping).map_err(at)?;
            let merges = mapping.merges();
            if let Some(from) = mapping.from.exact()
                && !source.follows(&from)
            {
                return Err(invalid(format!("{path}.from: source {} does not publish {from}", source.name)));
            }
            let (tables, all) = self.known_tables(source, mapping, &mut left);
            for from in tables {
                if !matches!(routed.routes.find(pipeline, &from), Ok(Some(of)) if of == i) || !source.follows(&from) {
                    continue;
                }
                let targets = self.targets_of(pipeline, mapping, &from).map_err(at)?;
                for (to, merges) in targets.into_iter().zip(&merges).filter(|_| all) {
                    let writer = Writer::new(pipeline, mapping, &from, *merges);
                    let others = written.entry((target.address.to_string(), to.clone())).or_default();
                    if let Some((other, why)) = others.add(writer) {
                        let message = format!(
                            "{path}.to: {from} would go to {to}, which {} of pipeline {} is written to; {why}",
                            other.from, other.pipeline
                        );
                        return Err(Error::new(Code::TargetShared, message));
                    }
                }
            }
        }
        Ok(())
    }

    /// The documents that a pipeline leads from and to.
    fn ends(&self, pipeline: &Pipeline) -> Result<(&Source, &Target)> {
        let label = format!("pipeline {}", pipeline.name);
        let source = self
            .source(pipeline.source.as_str())
            .ok_or_else(|| invalid(format!("{label}: source: there is no source {}", pipeline.source)))?;
        let target = self
            .target(pipeline.target.as_str())
            .ok_or_else(|| invalid(format!("{label}: target: there is no target {}", pipeline.target)))?;
        Ok((source, target))
    }

    /// The tables of a mapping that its text names, and whether they are all; for stars some for example.
    fn known_tables(&self, source: &Source, mapping: &Mapping, left: &mut Left) -> (Vec<TableName>, bool) {
        if let Some(tables) = mapping.from.tables(left.tables.min(MOST_TABLES)) {
            // Single tables always count: their number is bounded by the document's size.
            left.tables = left.tables.saturating_sub(tables.len()).max(1);
            return (tables, true);
        }
        let mut examples = vec![mapping.from.some_table()];
        for other in self.pipelines.values().map(|routed| &routed.pipeline) {
            let within = self.ends(other).is_ok_and(|(s, t)| same_server(s, t) && same_server(source, t));
            let mappings = other.mappings.iter().filter(|_| within);
            let targets = mappings.flat_map(|m| m.to.templates().iter().map(|t| t.targets(&m.from)));
            for pattern in targets {
                left.steps = left.steps.saturating_sub(mapping.from.effort(&pattern));
                if left.steps == 0 {
                    return (examples, false);
                }
                examples.extend(mapping.from.common(&pattern));
            }
        }
        (examples, false)
    }

    /// The pipelines that refer to a document.
    pub fn referrers(&self, kind: Kind, name: &str) -> Vec<&str> {
        let refers = |p: &&Pipeline| match kind {
            Kind::Source => p.source.as_str() == name,
            Kind::Target => p.target.as_str() == name,
            Kind::Pipeline => false,
        };
        self.pipelines.values().map(|r| &r.pipeline).filter(refers).map(|p| p.name.as_str()).collect()
    }
}

/// Who writes one target table.
#[derive(Debug, Default)]
struct Written {
    writers: Vec<Writer>,
    /// By the constants, of those that have some.
    apart: HashMap<Vec<(String, String)>, usize>,
}

impl Written {
    /// Adds a writer; another one that it cannot write with, if there is such, and why.
    fn add(&mut self, writer: Writer) -> Option<(&Writer, &'static str)> {
        let folded = |(name, text): (&String, &String)| (name.clone(), text.trim_end().to_lowercase());
        let constants: Vec<_> = writer.constants.iter().map(folded).collect();
        let same = |other: &Writer| other.constants.keys().eq(writer.constants.keys());
        // Of many tables with the same columns set, only one with the same texts need be asked.
        let first = self.writers.first().filter(|first| !writer.constants.is_empty() && writer.merges && first.merges);
        let found = match first {
            Some(_) if self.writers.iter().take(MOST_OTHERS).all(same) => self.apart.get(&constants).copied(),
            _ => (0..self.writers.len().min(MOST_OTHERS)).find(|at| self.writers[*at].conflict(&writer).is_some()),
        };
        if let Some(at) = found {
            let other = self.writers.get(at)?;
            return other.conflict(&writer).map(|why| (other, why));
        }
        self.apart.insert(constants, self.writers.len());
        self.writers.push(writer);
        None
    }
}

/// Refuses constants that cannot tell tables apart which the mapping brings together.
fn check_merge(mapping: &Mapping) -> Result<()> {
    if mapping.columns.set.is_empty() || mapping.from.tables(2).is_some_and(|tables| tables.len() < 2) {
        return Ok(());
    }
    for to in mapping.to.templates() {
        for side in to.merged_sides(&mapping.from) {
            if !mapping.columns.set.values().any(|text| text.has(side)) {
                let message = format!(
                    ".columns.set: tables of {} come together in {to}, and these columns do not tell their rows apart; make {side} \
                     part of one",
                    mapping.from
                );
                return Err(Error::new(Code::TargetShared, message));
            }
        }
    }
    Ok(())
}

fn same_server(source: &Source, target: &Target) -> bool {
    source.addresses.contains(&target.address)
}

fn invalid(message: String) -> Error {
    Error::new(Code::DocumentInvalid, message)
}
