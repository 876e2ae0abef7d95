//! What only several documents together can get wrong: references, tables that meet, prefixes used twice.

use std::collections::BTreeMap;

use super::{Document, Kind, Pipeline, Source, Target};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::progress;
use crate::table::TableName;

/// All documents of an installation, as they are or as a `put` would leave them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    sources: BTreeMap<String, Source>,
    targets: BTreeMap<String, Target>,
    pipelines: BTreeMap<String, Pipeline>,
}

impl World {
    /// Adds a document, or puts it in the place of its namesake.
    pub fn insert(&mut self, document: Document) {
        let name = document.name().as_str().to_owned();
        match document {
            Document::Source(d) => drop(self.sources.insert(name, d)),
            Document::Target(d) => drop(self.targets.insert(name, d)),
            Document::Pipeline(d) => drop(self.pipelines.insert(name, d)),
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

    /// The target of a name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.get(name)
    }

    /// The pipeline of a name.
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.get(name)
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
        for pipeline in self.pipelines.values() {
            if let Err(e) = self.check_pipeline(pipeline, &mut written) {
                faults.push(e);
            }
        }
        faults
    }

    /// The first thing wrong with a pipeline's references and mappings.
    fn check_pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        written: &mut BTreeMap<(String, TableName), &'a Pipeline>,
    ) -> Result<()> {
        let label = format!("pipeline {}", pipeline.name);
        let source = self
            .source(pipeline.source.as_str())
            .ok_or_else(|| invalid(format!("{label}: source: there is no source {}", pipeline.source)))?;
        let target = self
            .target(pipeline.target.as_str())
            .ok_or_else(|| invalid(format!("{label}: target: there is no target {}", pipeline.target)))?;
        let same_server = source.addresses.contains(&target.address);
        for (i, mapping) in pipeline.mappings.iter().enumerate() {
            let (from, to) = (mapping.from_table()?, mapping.to_table()?);
            let path = format!("{label}: mappings[{i}]");
            if !source.follows(&from) {
                return Err(invalid(format!("{path}.from: source {} does not publish {from}", source.name)));
            }
            if to.schema == target.schema && progress::OWN_TABLES.contains(&to.table.as_str()) {
                return Err(invalid(format!("{path}.to: {to} is a table of Otter's own")));
            }
            if self.is_own(&from) {
                return Err(invalid(format!(
                    "{path}.from: {from} is a table of Otter's own, which is never published"
                )));
            }
            if same_server && from == to {
                return Err(invalid(format!("{path}.to: {to} is the source table itself")));
            }
            if let Some(other) = written.insert((target.address.to_string(), to.clone()), pipeline) {
                let message = format!(
                    "{path}.to: {to} is written by pipeline {} already; this version does not have several sources \
                     of one table yet",
                    other.name
                );
                return Err(Error::new(Code::NotSupportedYet, message));
            }
            if same_server && self.leads_back(source, target, &from, &to) {
                return Err(invalid(format!("{path}.to: changes of {to} lead back to {from} on the same server")));
            }
        }
        Ok(())
    }

    /// Whether a table is one that Otter keeps at some target.
    fn is_own(&self, table: &TableName) -> bool {
        let own = progress::OWN_TABLES.contains(&table.table.as_str());
        own && self.targets.values().any(|target| target.schema == table.schema)
    }

    /// Whether rows written to `to` on the source's own server come back to `from` by mappings within that server.
    fn leads_back(&self, source: &Source, target: &Target, from: &TableName, to: &TableName) -> bool {
        let mut reached = vec![to.clone()];
        let mut next = 0;
        while let Some(table) = reached.get(next).cloned() {
            next += 1;
            for pipeline in self.pipelines.values() {
                let (Some(s), Some(t)) = (self.source(pipeline.source.as_str()), self.target(pipeline.target.as_str()))
                else {
                    continue;
                };
                let within = s.addresses.iter().any(|a| source.addresses.contains(a)) && t.address == target.address;
                let Some(to) = pipeline.mapping_for(&table).filter(|_| within).and_then(|m| m.to.exact()) else {
                    continue;
                };
                if to == *from {
                    return true;
                }
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        false
    }

    /// The pipelines that refer to a document.
    pub fn referrers(&self, kind: Kind, name: &str) -> Vec<&str> {
        let refers = |p: &&Pipeline| match kind {
            Kind::Source => p.source.as_str() == name,
            Kind::Target => p.target.as_str() == name,
            Kind::Pipeline => false,
        };
        self.pipelines.values().filter(refers).map(|p| p.name.as_str()).collect()
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::DocumentInvalid, message)
}
