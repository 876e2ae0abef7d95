//! How the columns of a topic's rows reach a target table: the compiled plan of one writer schema and one target table.
//!
//! Columns meet by name (without case, as in the server), after the mapping's exclusions and renames. The **row key** is
//! the primary key, or else a unique index without NULL, whose columns are all mapped: rows are found by it with the
//! values they had before. Every other unique index is remembered: an update that touches one of its columns is not
//! written in place, because the order within a statement could then meet a value that is about to move away.
//!
//! A table without a row key is a multiset: a row is found by all its mapped columns, and of equal ones any is the right
//! one. Where other tables are written to the same target, a row is found only if it has the constants that the mapping sets, or,
//! without such, only if all its mapped columns are as the event has them: another table's row is never changed.
//!
//! Failure: whatever does not fit is `OT5003` with all reasons and what to do, before any row is written.

use std::collections::BTreeMap;

use mysql_async::Value;
use schemas::decode::{Datum, WriterColumn};
use schemas::documents::Columns;
use schemas::table::TableName;

use super::columns::{TargetColumn, TargetTable, UniqueIndex, refused};
use super::connection::Session;
use super::constants::Constant;
use super::failure::Failure;
use super::statements::{Finder, Statements};
use super::value::{Bind, Unfit, same};

/// How a source table is written to one target table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which columns, under which names.
    pub columns: Columns,
    /// Columns of the target that have the same text in every row of this source table.
    pub constants: BTreeMap<String, String>,
    /// Other tables may be written to the same target table.
    pub merges: bool,
}

impl From<&Columns> for Rules {
    fn from(columns: &Columns) -> Self {
        Self { columns: columns.clone(), ..Self::default() }
    }
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Position among the writer's columns.
    Writer(usize),
    /// The mapping.
    Constant(Constant),
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(crate) struct MappedColumn {
    pub(crate) origin: Origin,
    /// Name in the target.
    pub(crate) name: String,
    pub(crate) bind: Bind,
    /// The target takes no NULL. Some servers would write a default instead of refusing, so it is checked here.
    pub(crate) not_null: bool,
    /// The target compares it by a collation that takes different bytes for equal, or in another character set.
    pub(crate) folds: bool,
    /// It is part of the row key or of another unique index.
    pub(crate) unique: bool,
    /// Of a constant: the condition that only rows with it meet.
    pub(crate) own: Option<String>,
}

impl MappedColumn {
    /// A row's datum for the column.
    pub(crate) fn datum<'r>(&'r self, row: &[Datum<'r>]) -> Result<Datum<'r>, RowFault> {
        match &self.origin {
            Origin::Writer(at) => row.get(*at).copied().ok_or_else(|| self.fault("is not in the row".into())),
            Origin::Constant(constant) => Ok(constant.datum()),
        }
    }

    /// Whether two rows have different values.
    fn differs(&self, one: &[Datum<'_>], other: &[Datum<'_>]) -> bool {
        match (self.datum(one), self.datum(other)) {
            (Ok(one), Ok(other)) => !same(&one, &other),
            _ => true,
        }
    }

    pub(crate) fn fault(&self, why: Unfit) -> RowFault {
        RowFault { column: self.name.clone(), why }
    }
}

/// The compiled plan.
#[derive(Debug)]
pub struct TableMapping {
    pub(crate) target: TableName,
    /// Number of the writer's columns.
    pub(crate) width: usize,
    pub(crate) columns: Vec<MappedColumn>,
    /// Positions in `columns`; empty when the table has no row key.
    pub(crate) key: Vec<usize>,
    /// Rows are found by all mapped columns: there is no row key, or it does not tell whose the row is.
    pub(crate) by_row: bool,
    /// Other tables may be written to the same target table.
    pub(crate) merges: bool,
    /// Why events cannot be written a second time; `None` when they can.
    pub(crate) no_replay: Option<String>,
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
        rules: impl Into<Rules> + Send,
        target: &TableName,
    ) -> Result<Self, Failure> {
        let table = TargetTable::read(session, target).await?;
        Self::compile(writer, &rules.into(), &table).map_err(|reasons| refused(reasons.join("; ")))
    }

    /// The plan for a table as read.
    pub(crate) fn compile(writer: &[WriterColumn], rules: &Rules, table: &TargetTable) -> Result<Self, Vec<String>> {
        let mut reasons = table.reasons();
        let (mut columns, mut positions) = map_columns(writer, &rules.columns, table, &mut reasons);
        if columns.is_empty() && reasons.is_empty() {
            reasons.push(format!("no column of the source maps to one of {}", table.name));
        }
        set_columns(&rules.constants, table, (&mut columns, &mut positions), &mut reasons);
        reasons.extend(left_out(table, &positions));
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let key = row_key(table, &positions).unwrap_or_default();
        let by_row = key.is_empty() || (rules.merges && rules.constants.is_empty());
        let (opaque_unique, other_unique) = mark_unique(table, &positions, &key, &mut columns);
        let whole = table.columns.iter().enumerate().all(|(i, c)| c.generated || positions.contains(&i));
        let no_replay = no_replay(table, rules, &key);
        let sql = Statements::new(&table.name, &columns, &key, by_row);
        let key_is_foreign = key.iter().any(|&k| columns[k].bind.foreign().is_some());
        let (target, width, merges) = (table.name.clone(), writer.len(), rules.merges);
        Ok(Self {
            target,
            width,
            columns,
            key,
            by_row,
            merges,
            no_replay,
            key_is_foreign,
            whole,
            opaque_unique,
            other_unique,
            sql,
        })
    }

    /// The target table.
    pub fn target(&self) -> &TableName {
        &self.target
    }

    /// The row key's values, for people: `id=5, region='eu'`, long ones cut. Nothing else of a row may be shown.
    pub fn describe_key(&self, row: &[Datum<'_>]) -> String {
        if self.key.is_empty() {
            return "(a row without key)".to_owned();
        }
        let mut out = String::new();
        for column in self.key.iter().filter_map(|&k| self.columns.get(k)) {
            let value = match column.datum(row).map(|datum| column.bind.key_value(&datum)) {
                Ok(Ok(value)) => value.as_sql(false),
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
        let folds =
            self.key.iter().filter_map(|&k| self.columns.get(k)).any(|column| column.folds && column.own.is_none());
        self.opaque_unique || self.other_unique || folds
    }

    /// Whether an update from one row to the other changes a value that is unique in the target.
    pub(crate) fn moves_unique(&self, from: &[Datum<'_>], to: &[Datum<'_>]) -> bool {
        self.opaque_unique || self.columns.iter().filter(|c| c.unique).any(|c| c.differs(from, to))
    }

    /// Whether it changes the row key. The source's key does not change within an event, but the target's may be another.
    pub(crate) fn moves_key(&self, from: &[Datum<'_>], to: &[Datum<'_>]) -> bool {
        self.key.iter().filter_map(|&k| self.columns.get(k)).any(|c| c.differs(from, to))
    }

    /// Whether nothing but documents in MySQL's JSON columns changes. An UPDATE to a document that compares as equal, such as
    /// from 1 to 1.0, is one that MySQL does not carry out, and says it did.
    pub(crate) fn changes_documents_only(&self, from: &[Datum<'_>], to: &[Datum<'_>]) -> bool {
        let mut changed = self.columns.iter().filter(|column| column.differs(from, to)).peekable();
        changed.peek().is_some() && changed.all(|column| matches!(column.bind, Bind::Json { .. }))
    }

    /// Whether a row is found by its key alone.
    pub(crate) fn finds_by_key(&self) -> bool {
        self.sql.find.iter().all(|finder| matches!(finder, Finder::Key(_)))
    }

    /// A row's value for a column.
    pub(crate) fn value(&self, column: &MappedColumn, row: &[Datum<'_>]) -> Result<Value, RowFault> {
        let datum = column.datum(row)?;
        if column.not_null && datum == Datum::Null {
            return Err(column.fault("is NULL, which the target column does not take".into()));
        }
        column.bind.value(&datum).map_err(|why| column.fault(why))
    }

    /// The parameters by which a row is found.
    pub(crate) fn find_values(&self, row: &[Datum<'_>]) -> Result<Vec<Value>, RowFault> {
        let mut values = Vec::with_capacity(self.sql.find.len());
        for finder in &self.sql.find {
            let (Finder::Key(at) | Finder::Match(at)) = *finder;
            let Some(column) = self.columns.get(at) else { continue };
            let datum = column.datum(row)?;
            let found = match finder {
                Finder::Key(_) => column.bind.key_value(&datum).map(|value| values.push(value)),
                // `NULL` meets 0000-00-00 in a column that takes no NULL.
                Finder::Match(_) if column.not_null && datum == Datum::Null => {
                    Err("is NULL, which the target column does not take".into())
                }
                Finder::Match(_) => column.bind.match_values(&datum, &mut values),
            };
            found.map_err(|why| column.fault(why))?;
        }
        Ok(values)
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
                let folds = folds(&bind, target);
                columns.push(MappedColumn {
                    origin: Origin::Writer(at),
                    name: target.name.clone(),
                    bind,
                    not_null: !target.nullable,
                    folds,
                    unique: false,
                    own: None,
                });
                positions.push(position);
            }
            Err(why) => reasons.push(format!(
                "column `{}` of {}: {why}; widen the column, or exclude it in the mapping's `columns`",
                target.name, table.name
            )),
        }
    }
    (columns, positions)
}

/// Adds the columns that the mapping sets to constants.
fn set_columns(
    constants: &BTreeMap<String, String>,
    table: &TargetTable,
    (columns, positions): (&mut Vec<MappedColumn>, &mut Vec<usize>),
    reasons: &mut Vec<String>,
) {
    for (name, text) in constants {
        let Some(position) = table.column(name) else {
            reasons.push(format!("{} has no column `{name}`, which the mapping sets; add the column", table.name));
            continue;
        };
        let target = &table.columns[position];
        let made = match target.generated {
            true => Err("it is generated".to_owned()),
            false if positions.contains(&position) => {
                Err("the mapping sets it, and a column of the source maps to it; exclude that one".to_owned())
            }
            false => Constant::new(text, target).and_then(|(constant, bind)| {
                let own = constant.condition(&target.name, &bind).map_err(|why| format!("{text:?} {}", why.what))?;
                Ok((constant, bind, own))
            }),
        };
        match made {
            Ok((constant, bind, own)) => {
                columns.push(MappedColumn {
                    origin: Origin::Constant(constant),
                    name: target.name.clone(),
                    folds: folds(&bind, target),
                    bind,
                    not_null: !target.nullable,
                    unique: false,
                    own: Some(own),
                });
                positions.push(position);
            }
            Err(why) => reasons.push(format!("column `{}` of {}: {why}", target.name, table.name)),
        }
    }
}

/// What is said of the target's columns that must have a value and get none.
fn left_out(table: &TargetTable, positions: &[usize]) -> Vec<String> {
    let columns = table.columns.iter().enumerate().filter(|(at, column)| !column.optional && !positions.contains(at));
    let reason = |column: &str| {
        format!(
            "column `{column}` of {} is NOT NULL without a default and no column of the source maps to it; give it a default",
            table.name
        )
    };
    columns.map(|(_, column)| reason(&column.name)).collect()
}

/// Whether the column takes different bytes for equal, or has other bytes than UTF-8.
fn folds(bind: &Bind, column: &TargetColumn) -> bool {
    let bytewise = compares_bytewise(column.collation.as_deref()) && bind.foreign().is_none();
    matches!(bind, Bind::Text { .. }) && !bytewise
}

/// Why rows written twice could not be told from others, if so.
fn no_replay(table: &TargetTable, rules: &Rules, key: &[usize]) -> Option<String> {
    if key.is_empty() {
        return Some(format!("{} has no key; without one nothing says which rows are there already", table.name));
    }
    let own = |index: &&UniqueIndex| {
        let mut columns = index.columns.iter().flatten().filter_map(|&at| table.columns.get(at));
        columns.any(|column| rules.constants.keys().any(|name| table.column(name) == table.column(&column.name)))
    };
    let others = table.unique.iter().find(|index| !own(index)).filter(|_| rules.merges)?;
    Some(format!(
        "several tables are merged in {}, and its unique index {} has none of the columns that the mapping sets: a row written \
         again could take the place of another table's",
        table.name, others.name
    ))
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
        let covers_key =
            !key.is_empty() && !index.prefix && key.iter().all(|&k| index.columns.contains(&positions.get(k).copied()));
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
