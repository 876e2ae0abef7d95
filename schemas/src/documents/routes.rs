//! Which mapping of a pipeline a source table goes by: the most specific one that matches.
//!
//! Single tables are looked up, and only patterns are tried one after the other; so a document of thousands of tables
//! costs little per table.

use std::collections::HashMap;

use super::patterns::Specificity;
use super::pipeline::{Mapping, Pipeline};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::table::TableName;

/// Steps after which the search for ambiguous patterns ends: about a second. What it has not found by then is found when
/// such a table appears.
pub(super) const MOST_STEPS: u64 = 10_000_000;

/// The mappings of a pipeline, ready for questions. The numbers are positions in `mappings`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routes {
    single: HashMap<TableName, usize>,
    /// The most specific first.
    patterns: Vec<(Specificity, usize)>,
}

impl Routes {
    /// Of this pipeline; to be asked with the same.
    pub fn new(pipeline: &Pipeline) -> Self {
        let mut routes = Self::default();
        for (at, mapping) in pipeline.mappings.iter().enumerate() {
            match mapping.from.exact() {
                Some(table) if mapping.matches(&table) => drop(routes.single.insert(table, at)),
                Some(_) => {}
                None => routes.patterns.push((mapping.from.specificity(), at)),
            }
        }
        routes.patterns.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        routes
    }

    /// Whether some mapping matches tables by a pattern.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The position of the mapping of a source table; `None` when none matches.
    ///
    /// # Errors
    /// `OT1031` when two that are equally specific match.
    pub fn find(&self, pipeline: &Pipeline, table: &TableName) -> Result<Option<usize>> {
        if let Some(at) = self.single.get(table) {
            return Ok(Some(*at));
        }
        let is = |at: usize| pipeline.mappings.get(at).is_some_and(|m: &Mapping| m.matches(table));
        let mut matching = self.patterns.iter().filter(|(_, at)| is(*at));
        let Some((first, at)) = matching.next() else { return Ok(None) };
        match matching.next().filter(|(second, _)| second == first) {
            None => Ok(Some(*at)),
            Some((_, other)) => {
                let from = |at: usize| pipeline.mappings.get(at).map(|m| m.from.to_string()).unwrap_or_default();
                let message = format!(
                    "pipeline {}: {table} is matched by {} and by {}, which are equally specific",
                    pipeline.name,
                    from(*at),
                    from(*other)
                );
                Err(Error::new(Code::MappingAmbiguous, message))
            }
        }
    }

    /// Two equally specific patterns and a table that goes by either, if such are found.
    pub(super) fn ambiguous(&self, pipeline: &Pipeline) -> Option<(usize, usize, TableName)> {
        let mut steps: u64 = 0;
        let each = u64::try_from(self.patterns.len()).unwrap_or(u64::MAX);
        for (i, (specificity, at)) in self.patterns.iter().enumerate() {
            for (_, other) in self.patterns[i + 1..].iter().take_while(|(s, _)| s == specificity) {
                let (Some(a), Some(b)) = (pipeline.mappings.get(*at), pipeline.mappings.get(*other)) else { continue };
                steps = steps.saturating_add(a.from.effort(&b.from));
                if steps > MOST_STEPS {
                    return None;
                }
                let Some(table) = a.from.common(&b.from) else { continue };
                if self.find(pipeline, &table).is_err() {
                    return Some((*at.min(other), *at.max(other), table));
                }
                steps = steps.saturating_add(each.saturating_mul(10));
            }
        }
        None
    }
}
