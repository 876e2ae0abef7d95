//! Source tables as the catalogue shows them now, so that targets can be compared before any event came.
//!
//! For `otter check` alone: what events are decoded by always comes from the binlog, never from here.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use schemas::charset::Charset;
use schemas::check::{SourceTable, SourceTables};
use schemas::documents::Source;
use schemas::progress::quote;
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use schemas::{Error, Result};

use super::ask;
use crate::binlog::server;

/// Schema, table, column, type, full type, nullable, then numbers and the character set.
type Row = (String, String, String, String, String, String, Numbers, Option<String>);
/// Precision, scale, fraction digits, bytes, place in the key.
type Numbers = [Option<u64>; 5];

const COLUMNS: &str = "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.IS_NULLABLE, \
      c.NUMERIC_PRECISION, c.NUMERIC_SCALE, c.DATETIME_PRECISION, c.CHARACTER_OCTET_LENGTH, s.SEQ_IN_INDEX, \
      c.CHARACTER_SET_NAME \
    FROM information_schema.COLUMNS c \
    LEFT JOIN information_schema.STATISTICS s ON s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME \
      AND s.COLUMN_NAME = c.COLUMN_NAME AND s.INDEX_NAME = 'PRIMARY' \
    WHERE c.TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') \
    ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION";

/// The followed tables that are wanted, at most `most`; those that have a type that is not carried are left out.
///
/// # Errors
/// `OT1003`, `OT3001` to `OT3003` when the server cannot be asked.
pub async fn source_tables(
    source: &Source,
    wanted: impl Fn(&TableName) -> bool,
    most: usize,
) -> Result<SourceTables, Error> {
    let (server, _) = server::inspect(source).await?;
    let mut conn = server.connection().await?;
    let rows: Vec<mysql_async::Row> = ask(&server, &mut conn, COLUMNS).await?;
    let mut by_table: BTreeMap<TableName, Vec<Row>> = BTreeMap::new();
    for row in rows.iter().filter_map(read) {
        let name = TableName::new(&row.0, &row.1);
        if source.follows(&name) && wanted(&name) && (by_table.len() < most || by_table.contains_key(&name)) {
            by_table.entry(name).or_default().push(row);
        }
    }
    let mut tables = SourceTables::new();
    for (name, columns) in by_table {
        let charsets = columns.iter().filter_map(|row| Some((row.2.clone(), row.7.clone()?))).collect();
        let Some(structure) = structure(name.clone(), &columns) else { continue };
        let (topic, rows) = (source.topic_for(&name)?, holds_rows(&mut conn, &name).await);
        tables.insert(name, SourceTable { structure, topic, rows, charsets });
    }
    if let Err(error) = conn.disconnect().await {
        tracing::debug!(%error, "a connection to the source did not close in order");
    }
    Ok(tables)
}

/// Whether the table holds a row; `None` without the right to look.
async fn holds_rows(conn: &mut Conn, name: &TableName) -> Option<bool> {
    let sql = format!("SELECT 1 FROM {}.{} LIMIT 1", quote(&name.schema), quote(&name.table));
    let looked = tokio::time::timeout(super::CATALOGUE, conn.query_first::<u8, _>(sql)).await;
    looked
        .ok()?
        .inspect_err(|error| tracing::debug!(%error, table = %name, "looking for rows"))
        .ok()
        .map(|row| row.is_some())
}

/// A line of the catalogue, which has more columns than a tuple is read from.
fn read(row: &mysql_async::Row) -> Option<Row> {
    let text = |i: usize| row.get_opt::<String, _>(i)?.ok();
    let number = |i: usize| row.get_opt::<Option<u64>, _>(i)?.ok();
    let numbers = [number(6)?, number(7)?, number(8)?, number(9)?, number(10)?];
    let charset = row.get_opt::<Option<String>, _>(11)?.ok()?;
    Some((text(0)?, text(1)?, text(2)?, text(3)?, text(4)?, text(5)?, numbers, charset))
}

/// A table of the columns' rows; `None` when one is of a type that is not carried.
fn structure(name: TableName, rows: &[Row]) -> Option<TableStructure> {
    let mut columns = Vec::with_capacity(rows.len());
    let mut key = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        columns.push(Column { name: row.2.clone(), ty: column_type(row)?, nullable: row.5 == "YES" });
        key.extend(row.6[4].map(|place| (place, i)));
    }
    Some(TableStructure { name, columns, key: key.into_values().collect() })
}

fn column_type(row: &Row) -> Option<ColumnType> {
    let small = |n: Option<u64>| u8::try_from(n.unwrap_or(0)).ok();
    let [precision, scale, fsp, octets, _] = row.6;
    let fsp = small(fsp)?;
    let int = |bytes| ColumnType::Int { bytes, unsigned: row.4.contains("unsigned") };
    let octets = octets.unwrap_or(0);
    let length_bytes = match octets {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    };
    Some(match row.3.as_str() {
        "tinyint" => int(1),
        "smallint" => int(2),
        "mediumint" => int(3),
        "int" => int(4),
        "bigint" => int(8),
        "decimal" => ColumnType::Decimal { precision: small(precision)?, scale: small(scale)? },
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "date" => ColumnType::Date,
        "year" => ColumnType::Year,
        "bit" => ColumnType::Bit { bits: small(precision)? },
        "enum" => ColumnType::Enum { length: 2, labels: Vec::new().into() },
        "set" => ColumnType::Set { length: 8, labels: Vec::new().into() },
        "datetime" => ColumnType::DateTime { fsp },
        "timestamp" => ColumnType::Timestamp { fsp },
        "time" => ColumnType::Time { fsp },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            ColumnType::Text { length_bytes, charset: Charset::Utf8 }
        }
        "json" => ColumnType::Json { length_bytes: 4 },
        "binary" => ColumnType::Binary { length: u16::try_from(octets).ok()?, length_bytes },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnType::Bytes { length_bytes },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(column: &str, data_type: &str, full: &str, numbers: [Option<u64>; 5]) -> Row {
        let text = |s: &str| s.to_owned();
        let nullable = if numbers[4].is_some() { "NO" } else { "YES" };
        let names = (text("s"), text("t"), text(column), text(data_type), text(full), text(nullable));
        (names.0, names.1, names.2, names.3, names.4, names.5, numbers, None)
    }

    #[test]
    fn rows_of_the_catalogue_become_a_structure() {
        let rows = [
            row("b", "int", "int(11) unsigned", [Some(10), Some(0), None, None, Some(2)]),
            row("a", "varchar", "varchar(100)", [None, None, None, Some(400), Some(1)]),
            row("c", "datetime", "datetime(3)", [None, None, Some(3), None, None]),
        ];
        let found = structure(TableName::new("s", "t"), &rows).expect("carried");
        assert_eq!(found.key, [1, 0]);
        let types: Vec<_> = found.columns.iter().map(|c| c.ty.clone()).collect();
        let int = ColumnType::Int { bytes: 4, unsigned: true };
        assert_eq!(
            types,
            [int, ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 }, ColumnType::DateTime { fsp: 3 }]
        );
        assert!(!found.columns[0].nullable && found.columns[2].nullable);
        assert!(structure(TableName::new("s", "t"), &[row("x", "geometry", "point", [None; 5])]).is_none());
    }
}
