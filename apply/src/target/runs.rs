//! Changes without keys, of a source's table without a primary key: in the order of the source, but those of one kind
//! that follow each other in one statement each time. Nothing says which changes are of the same row, so nothing may be
//! left out or moved.
//!
//! As in the net effect, whatever does not fit leaves the transaction to be rolled back, and the batch is applied event
//! by event by the mapping's policies.

use std::ops::Range;

use schemas::encode::Op;

use super::writer::{BatchOutcome, Detour, Rows};

/// Changes that follow each other and take the same statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    kind: Kind,
    changes: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    /// An update of the row key, too.
    Move,
    Delete,
}

impl Rows<'_, '_> {
    /// The batch's changes as runs; `None` when they must go one by one.
    pub(crate) fn runs(&self) -> Option<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for (at, change) in self.batch.changes().iter().enumerate() {
            let (from, to) = (self.batch.before(at), self.batch.after(at));
            let kinds: &[Kind] = match change.op {
                Op::Create => &[Kind::Insert],
                Op::Delete => &[Kind::Delete],
                Op::Update if self.mapping.changes_documents_only(from, to) => {
                    if !self.mapping.whole {
                        return None;
                    }
                    &[Kind::Delete, Kind::Insert]
                }
                Op::Update if self.mapping.moves_key(from, to) => &[Kind::Move],
                Op::Update => &[Kind::Update],
            };
            for &kind in kinds {
                match runs.last_mut().filter(|last| last.kind == kind) {
                    Some(last) => last.changes.end = at + 1,
                    None => runs.push(Run { kind, changes: at..at + 1 }),
                }
            }
        }
        Some(runs)
    }

    /// Writes them; every change must find, or make, one row.
    pub(crate) async fn write_runs(&mut self, runs: &[Run]) -> Result<BatchOutcome, Detour> {
        let mapping = self.mapping;
        let mut outcome = BatchOutcome::default();
        for Run { kind, changes } in runs {
            let (first, count) = (changes.start, changes.len());
            match kind {
                Kind::Insert => {
                    let rows: Vec<usize> = changes.clone().collect();
                    self.insert_rows(&rows).await?;
                    outcome.inserted += count as u64;
                }
                Kind::Update | Kind::Move => {
                    let all: Vec<usize> = (0..mapping.columns.len()).collect();
                    let (sql, columns) = match kind {
                        Kind::Move => (&mapping.sql.move_row, &all),
                        _ => (&mapping.sql.update, &mapping.sql.update_columns),
                    };
                    let values = |of: &Self, at: usize| {
                        let mut values = of.values(columns.iter().copied(), of.batch.after(first + at))?;
                        values.extend(mapping.find_values(of.batch.before(first + at))?);
                        Ok(values)
                    };
                    self.each(sql, (count, "found"), values).await?;
                    outcome.updated += count as u64;
                }
                Kind::Delete => {
                    let values = |of: &Self, at: usize| mapping.find_values(of.batch.before(first + at));
                    self.each(&mapping.sql.delete, (count, "deleted"), values).await?;
                    outcome.deleted += count as u64;
                }
            }
        }
        Ok(outcome)
    }
}
