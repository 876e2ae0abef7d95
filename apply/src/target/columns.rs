//! The structure of a target table, from the server's dictionary.

use mysql_async::Value;
use schemas::progress::quote;
use schemas::table::TableName;
use schemas::{Code, Error};

use super::connection::Session;
use super::failure::{Failure, Fault};

/// A column of a target table.
#[derive(Debug, Clone, Default)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    /// `varchar`, `bigint` and so on, lower case.
    pub(crate) data_type: String,
    /// With everything: `bigint(20) unsigned`.
    pub(crate) column_type: String,
    pub(crate) nullable: bool,
    /// An insert may leave it out.
    pub(crate) optional: bool,
    pub(crate) auto_increment: bool,
    pub(crate) generated: bool,
    pub(crate) precision: u64,
    /// Digits after the point; of FLOAT and DOUBLE only where declared.
    pub(crate) scale: Option<u64>,
    /// Declared length in bytes, of strings.
    pub(crate) octets: u64,
    /// Declared length of strings: characters, or bytes of the TEXT types.
    pub(crate) length: u64,
    pub(crate) fraction_digits: u8,
    pub(crate) collation: Option<String>,
    pub(crate) charset: Option<String>,
}

/// A unique index of a target table.
#[derive(Debug, Clone, Default)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    /// Positions of its columns in the table, in index order; `None` for an expression.
    pub(crate) columns: Vec<Option<usize>>,
    /// It indexes only a prefix of some column.
    pub(crate) prefix: bool,
}

/// A target table.
#[derive(Debug, Clone)]
pub(crate) struct TargetTable {
    pub(crate) name: TableName,
    pub(crate) transactional: bool,
    pub(crate) engine: String,
    pub(crate) columns: Vec<TargetColumn>,
    /// The primary key first.
    pub(crate) unique: Vec<UniqueIndex>,
    pub(crate) triggers: Vec<String>,
}

/// Schema, name, type, engine, whether the engine has transactions.
type TableRow = (String, String, String, Option<String>, Option<String>);

impl TargetTable {
    /// Reads a table.
    ///
    /// # Errors
    /// `OT5003` when it is not there, is a view, or the user may not see it.
    pub(crate) async fn read(session: &mut Session, name: &TableName) -> Result<Self, Failure> {
        let both = || vec![Value::from(&name.schema), Value::from(&name.table)];
        let exact = !session.facts().folds_table_names;
        let tables: Vec<TableRow> = session
            .rows(
                "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t \
                 LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?",
                both(),
            )
            .await?;
        let table = tables.into_iter().find(|t| !exact || (t.0 == name.schema && t.1 == name.table));
        let Some((_, _, kind, engine, transactions)) = table else {
            let message = format!(
                "the target has no table {name}, or the user has no privilege on it; create it, grant SELECT, INSERT, UPDATE, DELETE on it, or change the mapping's `to`"
            );
            return Err(refused(message));
        };
        if kind != "BASE TABLE" {
            return Err(refused(format!("{name} is a {}; map to a base table", kind.to_lowercase())));
        }
        let columns = read_columns(session, name).await?;
        let unique = read_unique(session, name, &columns).await?;
        let triggers: Vec<String> = session
            .rows(
                "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ?",
                both(),
            )
            .await?;
        Ok(Self {
            name: name.clone(),
            transactional: transactions.is_some_and(|t| t.eq_ignore_ascii_case("yes")),
            engine: engine.unwrap_or_default(),
            columns,
            unique,
            triggers,
        })
    }

    /// The position of a column of this name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| same_name(&c.name, name))
    }

    /// Why no mapping can write to the table, whatever its columns.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.transactional {
            reasons.push(format!(
                "{} has the engine {}, which has no transactions; run ALTER TABLE {}.{} ENGINE=InnoDB",
                self.name,
                self.engine,
                quote(&self.name.schema),
                quote(&self.name.table)
            ));
        }
        if !self.triggers.is_empty() {
            reasons.push(format!(
                "{} has triggers ({}), which would change rows a second time; drop them at the target",
                self.name,
                self.triggers.join(", ")
            ));
        }
        reasons
    }

    /// Whether some unique index of NOT NULL columns could find rows.
    pub(crate) fn has_key(&self) -> bool {
        let not_null = |c: &Option<usize>| c.and_then(|c| self.columns.get(c)).is_some_and(|c| !c.nullable);
        self.unique.iter().any(|index| !index.prefix && index.columns.iter().all(not_null))
    }
}

/// Names of columns compare without case; beyond ASCII as Unicode lower-cases them.
fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

async fn read_columns(session: &mut Session, name: &TableName) -> Result<Vec<TargetColumn>, Failure> {
    let rows: Vec<mysql_async::Row> = session
        .rows(
            "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, IS_NULLABLE, EXTRA, COLUMN_DEFAULT, NUMERIC_PRECISION, \
             NUMERIC_SCALE, CHARACTER_OCTET_LENGTH, DATETIME_PRECISION, COLLATION_NAME, CHARACTER_SET_NAME, \
             CHARACTER_MAXIMUM_LENGTH \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            vec![Value::from(&name.schema), Value::from(&name.table)],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            target_column(&row)
                .ok_or_else(|| refused(format!("{name}: the server's dictionary gives a column in an unknown form")))
        })
        .collect()
}

fn target_column(row: &mysql_async::Row) -> Option<TargetColumn> {
    let text = |i: usize| row.get_opt::<Option<String>, _>(i)?.ok();
    let number = |i: usize| row.get_opt::<Option<u64>, _>(i)?.ok();
    let extra = text(4)??.to_uppercase();
    let nullable = text(3)?? == "YES";
    let auto_increment = extra.contains("AUTO_INCREMENT");
    // MySQL says DEFAULT_GENERATED of a default that is an expression.
    let generated = ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word));
    Some(TargetColumn {
        name: text(0)??,
        data_type: text(1)??,
        column_type: text(2)??,
        nullable,
        optional: nullable || auto_increment || generated || text(5)?.is_some() || extra.contains("DEFAULT_GENERATED"),
        auto_increment,
        generated,
        precision: number(6)?.unwrap_or(0),
        scale: number(7)?,
        octets: number(8)?.unwrap_or(0),
        length: number(12)?.unwrap_or(0),
        fraction_digits: number(9)?.unwrap_or(0).min(6) as u8,
        collation: text(10)?,
        charset: text(11)?,
    })
}

async fn read_unique(
    session: &mut Session,
    name: &TableName,
    columns: &[TargetColumn],
) -> Result<Vec<UniqueIndex>, Failure> {
    let rows: Vec<(String, Option<String>, Option<u64>)> = session
        .rows(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
             ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
            vec![Value::from(&name.schema), Value::from(&name.table)],
        )
        .await?;
    let mut indexes: Vec<UniqueIndex> = Vec::new();
    for (index, column, prefix) in rows {
        if indexes.last().is_none_or(|last| last.name != index) {
            indexes.push(UniqueIndex { name: index, ..UniqueIndex::default() });
        }
        let position = column.and_then(|column| columns.iter().position(|c| c.name.eq_ignore_ascii_case(&column)));
        if let Some(last) = indexes.last_mut() {
            last.columns.push(position);
            last.prefix |= prefix.is_some();
        }
    }
    Ok(indexes)
}

/// A target table that does not fit, by `OT5003`.
pub(crate) fn refused(message: String) -> Failure {
    Failure { fault: Fault::Refused, error: Error::new(Code::TargetTable, message) }
}
