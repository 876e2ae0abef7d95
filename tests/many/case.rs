//! What a case is made of: tables, how they go to the target, and the documents that say so.
//!
//! One more table, `closing`, is written to when all else is over: capture publishes in the source's order, so once its row
//! has arrived, all that was to be published is in the topics, also what was read again.

use super::shape::{Kin, OF, Rule, SECOND, Table};
use crate::harness::{Kind, Result, Site};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// The table that is written to last.
pub(super) const CLOSING: &str = "closing";

/// The tables of a case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) tables: Vec<Table>,
    /// Whether capture is set back now and then: every table can be written a second time.
    pub(super) resets: bool,
    /// Whether the source logs what its cascades do: the target's own ones are first.
    logs_cascades: bool,
}

impl Case {
    /// Two to eight tables; some belong together.
    pub(super) fn random(source: Kind, random: &mut StdRng) -> Self {
        let resets = random.random_bool(0.4);
        let mut tables: Vec<Table> =
            (0..random.random_range(1..=3)).map(|at| Table::random(at, !resets, random)).collect();
        if random.random_bool(0.3) {
            tables.extend(Table::merged(5, !resets, random));
        }
        let families = source == Kind::Mariadb || std::env::var_os("OTTER_TEST_FAMILIES").is_some();
        if !resets && random.random_bool(0.5) && families {
            tables.extend(Table::family(6, random));
        }
        if tables.len() == 1 {
            tables.push(Table::random(1, !resets, random));
        }
        Self { tables, resets, logs_cascades: source == Kind::Mysql }
    }

    fn parent(&self) -> Option<&Table> {
        self.tables.iter().find(|table| table.kin == Kin::Parent)
    }

    /// Creates all tables at both ends. Where one is only a part of what the target has, a view shows that part.
    pub(super) async fn create(&self, site: &Site) -> Result<()> {
        let (mut source, mut target) = (site.source().await?, site.target().await?);
        let (name, schema) = (&site.name, &site.target_schema);
        source.run(&format!("CREATE DATABASE {name}{SECOND} CHARACTER SET utf8mb4")).await?;
        for table in &self.tables {
            let definition = table.definition(self.parent());
            source.run(&format!("CREATE TABLE {} ({definition})", table.at_source(name))).await?;
            let definition = table.target_definition(self.parent());
            if !table.second {
                target.run(&format!("CREATE TABLE {} ({definition})", site.to(&table.name))).await?;
            }
            let to = site.to(&table.name);
            match table.kin {
                Kin::Twice => target.run(&format!("CREATE TABLE {to}_copy ({definition})")).await?,
                Kin::Merged => {
                    let (view, of) = (self.places(table, site).remove(0), table.at_source(name));
                    let of = of.split('.').next().unwrap_or_default();
                    let view =
                        format!("CREATE VIEW {view} AS SELECT a, b, u, v, w, n, t FROM {to} WHERE {OF} = '{of}'");
                    target.run(&view).await?
                }
                Kin::Alone | Kin::Parent | Kin::Child(_) => 0,
            };
        }
        for (database, schema) in [(&mut source, name), (&mut target, schema)] {
            database.run(&format!("CREATE TABLE {schema}.{CLOSING} (id int PRIMARY KEY)")).await?;
        }
        Ok(())
    }

    /// Where a table's rows are at the target.
    fn places(&self, table: &Table, site: &Site) -> Vec<String> {
        let to = site.to(&table.name);
        match table.kin {
            Kin::Twice => vec![to.clone(), format!("{to}_copy")],
            Kin::Merged => vec![format!("{to}_{}", if table.second { "second" } else { "first" })],
            Kin::Alone | Kin::Parent | Kin::Child(_) => vec![to],
        }
    }

    /// What must be equal in the end: full names at the source and the target.
    pub(super) fn pairs(&self, site: &Site) -> Vec<(String, String)> {
        let mut pairs = vec![(site.from(CLOSING), site.to(CLOSING))];
        for table in &self.tables {
            let from = table.at_source(&site.name);
            pairs.extend(self.places(table, site).into_iter().map(|to| (from.clone(), to)));
        }
        pairs
    }

    /// The source document, which begins behind what is committed now.
    pub(super) async fn source(&self, site: &Site) -> Result<String> {
        let name = &site.name;
        let overrides: Vec<String> = self
            .tables
            .iter()
            .filter(|table| table.partitions > 1)
            .map(|table| format!("{{tables: {}, partitions: {}}}", table.at_source(name), table.partitions))
            .collect();
        let document = site.source_document().await?;
        let document = document.replace(&format!("['{name}.*']"), &format!("['{name}.*', '{name}{SECOND}.*']"));
        Ok(format!("{document}topics: {{overrides: [{}]}}\n", overrides.join(", ")))
    }

    /// The pipeline document, without some of the tables.
    pub(super) fn pipeline(&self, site: &Site, without: &[usize]) -> String {
        let name = &site.name;
        let mut mappings = vec![format!("{{from: {}, to: {}}}", site.from(CLOSING), site.to(CLOSING))];
        for (_, table) in self.tables.iter().enumerate().filter(|(at, _)| !without.contains(at)) {
            let (from, to) = (table.at_source(name), site.to(&table.name));
            mappings.push(match table.kin {
                Kin::Alone => format!("{{from: {from}, to: {to}}}"),
                Kin::Twice => format!("{{from: {from}, to: [{to}, {to}_copy]}}"),
                Kin::Merged => {
                    format!("{{from: {from}, to: {to}, merge: true, columns: {{set: {{{OF}: '{{schema}}'}}}}}}")
                }
                Kin::Child(Rule::GoesToo) if self.logs_cascades => {
                    format!("{{from: {from}, to: {to}, foreign_keys: ordered, missing_row: ignore}}")
                }
                Kin::Parent | Kin::Child(_) => format!("{{from: {from}, to: {to}, foreign_keys: ordered}}"),
            });
        }
        let mappings = mappings.join(",\n  ");
        format!("kind: pipeline\nname: {name}\nsource: {name}\ntarget: {name}\nmappings: [\n  {mappings}]\n")
    }

    /// The tables that leave and join the pipeline together with this one: a family is written as one.
    pub(super) fn unit(&self, at: usize) -> Vec<usize> {
        let in_family = |table: &Table| matches!(table.kin, Kin::Parent | Kin::Child(_));
        if !in_family(&self.tables[at]) {
            return vec![at];
        }
        (0..self.tables.len()).filter(|&other| in_family(&self.tables[other])).collect()
    }
}
