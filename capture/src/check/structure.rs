//! Structures of source tables as the catalogue shows them now, so that targets can be compared before any event came.
//!
//! For `otter check` alone: what events are decoded by always comes from the binlog, never from here.

use std::collections::{BTreeMap, BTreeSet};

use schemas::charset::Charset;
use schemas::documents::Source;
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use schemas::{Error, Result};

use super::ask;
use crate::binlog::server;

/// Schema, table, column, type, full type, nullable, precision, scale, fraction digits, bytes, place in the key.
type Row =
    (String, String, String, String, String, String, Option<u64>, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

const COLUMNS: &str = "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.IS_NULLABLE, \
      c.NUMERIC_PRECISION, c.NUMERIC_SCALE, c.DATETIME_PRECISION, c.CHARACTER_OCTET_LENGTH, s.SEQ_IN_INDEX \
    FROM information_schema.COLUMNS c \
    LEFT JOIN information_schema.STATISTICS s ON s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME \
      AND s.COLUMN_NAME = c.COLUMN_NAME AND s.INDEX_NAME = 'PRIMARY' \
    WHERE c.TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') \
    ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION";

/// The structures of some tables; those that are not there, or have a type that is not carried, are left out.
///
/// # Errors
/// `OT1003`, `OT3001` to `OT3003` when the server cannot be asked.
pub async fn structures(
    source: &Source,
    tables: &BTreeSet<TableName>,
) -> Result<BTreeMap<TableName, TableStructure>, Error> {
    let (server, _) = server::inspect(source).await?;
    let mut conn = server.connection().await?;
    let rows: Vec<Row> = ask(&server, &mut conn, COLUMNS).await?;
    if let Err(error) = conn.disconnect().await {
        tracing::debug!(%error, "a connection to the source did not close in order");
    }
    let mut by_table: BTreeMap<TableName, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let name = TableName::new(&row.0, &row.1);
        if tables.contains(&name) {
            by_table.entry(name).or_default().push(row);
        }
    }
    let structures = by_table.into_iter().filter_map(|(name, rows)| Some((name.clone(), structure(name, &rows)?)));
    Ok(structures.collect())
}

/// A table of the columns' rows; `None` when one is of a type that is not carried.
fn structure(name: TableName, rows: &[Row]) -> Option<TableStructure> {
    let mut columns = Vec::with_capacity(rows.len());
    let mut key = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        columns.push(Column { name: row.2.clone(), ty: column_type(row)?, nullable: row.5 == "YES" });
        key.extend(row.10.map(|place| (place, i)));
    }
    Some(TableStructure { name, columns, key: key.into_values().collect() })
}

fn column_type(row: &Row) -> Option<ColumnType> {
    let small = |n: Option<u64>| u8::try_from(n.unwrap_or(0)).ok();
    let fsp = small(row.8)?;
    let int = |bytes| ColumnType::Int { bytes, unsigned: row.4.contains("unsigned") };
    let octets = row.9.unwrap_or(0);
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
        "decimal" => ColumnType::Decimal { precision: small(row.6)?, scale: small(row.7)? },
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "date" => ColumnType::Date,
        "year" => ColumnType::Year,
        "bit" => ColumnType::Bit { bits: small(row.6)? },
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
        let [precision, scale, fsp, octets, key] = numbers;
        let nullable = if key.is_some() { "NO" } else { "YES" };
        let names = (text("s"), text("t"), text(column), text(data_type), text(full), text(nullable));
        (names.0, names.1, names.2, names.3, names.4, names.5, precision, scale, fsp, octets, key)
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
