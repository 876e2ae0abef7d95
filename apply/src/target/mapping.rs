//! How the columns of a topic's rows reach a target table: the compiled plan of one writer schema and one target table.
//!
//! Columns meet by name (without case, as in the server), after the mapping's exclusions and renames. The **row key** is
//! the primary key, or else a unique index without NULL, whose columns are all mapped: rows are found by it with the
//! values they had before. Every other unique index is remembered: an update that touches one of its columns is not
//! written in place, because the order within a statement could then meet a value that is about to move away.
//!
//! Failure: whatever does not fit is `OT5003` with all reasons and what to do, before any row is written.

use schemas::decode::{Datum, WriterColumn};
use schemas::documents::Columns;
use schemas::table::TableName;

use super::columns::{TargetTable, refused};
use super::connection::Session;
use super::failure::Failure;
use super::statements::Statements;
use super::value::{Bind, Unfit, same};

/// A column that is written.
#[derive(Debug, Clone)]
pub(crate) struct MappedColumn {
    /// Position among the writer's columns.
    pub(crate) writer: usize,
    /// Name in the target.
    pub(crate) name: String,
    pub(crate) bind: Bind,
    /// The target takes no NULL. Some servers would write a default instead of refusing, so it is checked here.
    pub(crate) not_null: bool,
    /// The target compares it by a collation that takes different bytes for equal, or in another character set.
    pub(crate) folds: bool,
    /// It is part of the row key or of another unique index.
    pub(crate) unique: bool,
}

/// The compiled plan.
#[derive(Debug)]
pub struct TableMapping {
    pub(crate) target: TableName,
    /// Number of the writer's columns.
    pub(crate) width: usize,
    pub(crate) columns: Vec<MappedColumn>,
    /// Positions in `columns`.
    pub(crate) key: Vec<usize>,
    /// Part of the key is text of another character set than UTF-8.
    pub(crate) key_is_foreign: bool,
    /// Every column of the target that can be written is mapped, so a row may be deleted and inserted again.
    pub(crate) whole: bool,
    /// A unique index rests on something that is not mapped (a generated column, an expression): any update may touch it.
    pub(crate) opaque_unique: bool,
    /// There is a unique index that the row key is no part of.
    pub(crate) other_unique: bool,
    pub(crate) sql: Statements,
}

impl TableMapping {
    /// Compiles the plan of `writer` columns for `target`.
    ///
    /// # Errors
    /// `OT5003` with every reason: table, engine, triggers, columns missing or too narrow, no usable key; lost connections.
    pub async fn resolve(
        session: &mut Session,
        writer: &[WriterColumn],
        rules: &Columns,
        target: &TableName,
    ) -> Result<Self, Failure> {
        let table = TargetTable::read(session, target).await?;
        Self::compile(writer, rules, &table).map_err(|reasons| refused(reasons.join("; ")))
    }

    /// The plan for a table as read.
    pub(crate) fn compile(writer: &[WriterColumn], rules: &Columns, table: &TargetTable) -> Result<Self, Vec<String>> {
        let mut reasons = table.reasons();
        let (mut columns, positions) = map_columns(writer, rules, table, &mut reasons);
        let key = row_key(table, &positions);
        if key.is_none() {
            reasons.push(table.keyless());
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let key = key.unwrap_or_default();
        let (opaque_unique, other_unique) = mark_unique(table, &positions, &key, &mut columns);
        let whole = table.columns.iter().enumerate().all(|(i, c)| c.generated || positions.contains(&i));
        let sql = Statements::new(&table.name, &columns, &key);
        let key_is_foreign = key.iter().any(|&k| columns[k].bind.foreign().is_some());
        let (target, width) = (table.name.clone(), writer.len());
        Ok(Self { target, width, columns, key, key_is_foreign, whole, opaque_unique, other_unique, sql })
    }

    /// The target table.
    pub fn target(&self) -> &TableName {
        &self.target
    }

    /// The row key's values, for people: `id=5, region='eu'`, long ones cut. Nothing else of a row may be shown.
    pub fn describe_key(&self, row: &[Datum<'_>]) -> String {
        let mut out = String::new();
        for column in self.key.iter().filter_map(|&k| self.columns.get(k)) {
            let value = match row.get(column.writer).map(|datum| column.bind.key_value(datum)) {
                Some(Ok(value)) => value.as_sql(false),
                _ => "?".to_owned(),
            };
            let cut: String = value.chars().take(64).collect();
            let dots = if cut.len() < value.len() { "…" } else { "" };
            let comma = if out.is_empty() { "" } else { ", " };
            out.push_str(&format!("{comma}{}={cut}{dots}", column.name));
        }
        out
    }

    /// Whether rows of different source keys may meet in a unique index of the target, so that lanes of the topic's
    /// partitions cannot each go without regard to the others.
    pub(crate) fn lanes_may_conflict(&self) -> bool {
        let folds = self.key.iter().filter_map(|&k| self.columns.get(k)).any(|column| column.folds);
        self.opaque_unique || self.other_unique || folds
    }

    /// Whether an update from one row to the other changes a value that is unique in the target.
    pub(crate) fn moves_unique(&self, from: &[Datum<'_>], to: &[Datum<'_>]) -> bool {
        self.opaque_unique
            || self.columns.iter().filter(|c| c.unique).any(|c| match (from.get(c.writer), to.get(c.writer)) {
                (Some(from), Some(to)) => !same(from, to),
                _ => true,
            })
    }

    /// A row's value for a column.
    pub(crate) fn value(&self, column: &MappedColumn, row: &[Datum<'_>]) -> Result<mysql_async::Value, RowFault> {
        let fault = |why: Unfit| RowFault { column: column.name.clone(), why };
        let datum = row.get(column.writer).ok_or_else(|| fault("is not in the row".into()))?;
        if column.not_null && *datum == Datum::Null {
            return Err(fault("is NULL, which the target column does not take".into()));
        }
        column.bind.value(datum).map_err(fault)
    }
}

/// A value that cannot be written as it is.
#[derive(Debug)]
pub(crate) struct RowFault {
    pub(crate) column: String,
    pub(crate) why: Unfit,
}

/// The mapped columns, and the position in the target of each.
fn map_columns(
    writer: &[WriterColumn],
    rules: &Columns,
    table: &TargetTable,
    reasons: &mut Vec<String>,
) -> (Vec<MappedColumn>, Vec<usize>) {
    let mut columns = Vec::new();
    let mut positions: Vec<usize> = Vec::new();
    for (at, source) in writer.iter().enumerate() {
        if !rules.takes(&source.name) {
            continue;
        }
        let name = rules.target_name(&source.name);
        let Some(position) = table.column(name) else {
            reasons.push(format!(
                "{} has no column `{name}` for the source's `{}`; add the column, or exclude or rename it in the mapping's `columns`",
                table.name, source.name
            ));
            continue;
        };
        let target = &table.columns[position];
        if target.generated {
            continue;
        }
        if positions.contains(&position) {
            reasons.push(format!("two columns of the source map to `{name}` of {}; exclude one", table.name));
            continue;
        }
        match Bind::new(source, target) {
            Ok(bind) => {
                let bytewise = compares_bytewise(target.collation.as_deref()) && bind.foreign().is_none();
                let folds = matches!(bind, Bind::Text { .. }) && !bytewise;
                columns.push(MappedColumn {
                    writer: at,
                    name: target.name.clone(),
                    bind,
                    not_null: !target.nullable,
                    folds,
                    unique: false,
                });
                positions.push(position);
            }
            Err(why) => reasons.push(format!(
                "column `{}` of {}: {why}; widen the column, or exclude it in the mapping's `columns`",
                target.name, table.name
            )),
        }
    }
    for (position, column) in table.columns.iter().enumerate() {
        if !column.optional && !positions.contains(&position) {
            reasons.push(format!(
                "column `{}` of {} is NOT NULL without a default and no column of the source maps to it; give it a default",
                column.name, table.name
            ));
        }
    }
    (columns, positions)
}

/// Collations under which only equal bytes are equal. `_bin` is none: it ignores trailing spaces.
fn compares_bytewise(collation: Option<&str>) -> bool {
    collation.is_some_and(|name| name == "binary" || name.ends_with("_nopad_bin") || name.ends_with("_0900_bin"))
}

/// The first unique index (the primary key comes first) that can find rows.
fn row_key(table: &TargetTable, positions: &[usize]) -> Option<Vec<usize>> {
    table.unique.iter().filter(|index| !index.prefix).find_map(|index| {
        index
            .columns
            .iter()
            .map(|column| {
                let position = (*column)?;
                let not_null = !table.columns.get(position)?.nullable;
                positions.iter().position(|&p| p == position).filter(|_| not_null)
            })
            .collect()
    })
}

/// Marks the columns whose values are unique. Whether some unique index cannot be seen from the mapped columns, and
/// whether there is one beside the row key.
fn mark_unique(table: &TargetTable, positions: &[usize], key: &[usize], columns: &mut [MappedColumn]) -> (bool, bool) {
    let (mut opaque, mut others) = (false, false);
    for &k in key {
        columns[k].unique = true;
    }
    for index in &table.unique {
        let covers_key = !index.prefix && key.iter().all(|&k| index.columns.contains(&positions.get(k).copied()));
        // An index with an AUTO_INCREMENT that the server fills cannot conflict; one around the row key neither.
        let serves_itself = index
            .columns
            .iter()
            .flatten()
            .any(|&c| !positions.contains(&c) && table.columns.get(c).is_some_and(|column| column.auto_increment));
        if covers_key || serves_itself {
            continue;
        }
        others = true;
        for column in &index.columns {
            match column.and_then(|c| positions.iter().position(|&p| p == c)) {
                Some(mapped) => columns[mapped].unique = true,
                None => opaque |= column.is_none_or(|c| table.columns.get(c).is_none_or(|column| column.generated)),
            }
        }
    }
    (opaque, others)
}
