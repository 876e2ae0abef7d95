//! The progress table of a target: how far each lane is, in the same database as the rows, moved in the same
//! transaction. Its DDL is a contract: other versions of Otter and people read it.

/// Name of the table within the target document's `schema`.
pub const TABLE: &str = "progress";

/// Tables that belong to Otter within that schema, also those of later versions.
pub const OWN_TABLES: [&str; 2] = [TABLE, "dead_letters"];

/// Column names of the table, in order.
pub mod column {
    /// The pipeline's name; first of the primary key.
    pub const PIPELINE: &str = "pipeline";
    /// The topic's name; second of the primary key.
    pub const TOPIC: &str = "topic";
    /// The partition; third of the primary key. A reserved word: quote it.
    pub const PARTITION: &str = "partition";
    /// The topic's id as Kafka prints it, so that a topic that was deleted and made again is noticed.
    pub const TOPIC_ID: &str = "topic_id";
    /// The offset of the next record to read.
    pub const NEXT_OFFSET: &str = "next_offset";
    /// The ordinal of the last event applied; an event that is not beyond it is a repeat.
    pub const ORDINAL: &str = "ordinal";
    /// Random token of the worker that owns the lane, 32 hex digits; empty when nobody does.
    pub const OWNER: &str = "owner";
    /// ZooKeeper version of the pipeline document that the batch was applied by.
    pub const DOCUMENT_VERSION: &str = "document_version";
    /// The last operator's request carried out.
    pub const REQUEST_ID: &str = "request_id";
    /// When the row was last changed, by the target's clock in UTC.
    pub const UPDATED_AT: &str = "updated_at";
}

/// All column names in the table's order.
pub const COLUMNS: [&str; 10] = [
    column::PIPELINE,
    column::TOPIC,
    column::PARTITION,
    column::TOPIC_ID,
    column::NEXT_OFFSET,
    column::ORDINAL,
    column::OWNER,
    column::DOCUMENT_VERSION,
    column::REQUEST_ID,
    column::UPDATED_AT,
];

/// Quotes an identifier for MySQL and MariaDB.
pub fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// The table's name, quoted, with its schema.
pub fn qualified(schema: &str) -> String {
    format!("{}.{}", quote(schema), quote(TABLE))
}

/// `CREATE DATABASE IF NOT EXISTS`, for the schema.
pub fn create_schema(schema: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", quote(schema))
}

/// `CREATE TABLE IF NOT EXISTS`, for the table.
pub fn create_table(schema: &str) -> String {
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (\n", qualified(schema));
    let columns = [
        (column::PIPELINE, "varchar(128) NOT NULL"),
        (column::TOPIC, "varchar(249) NOT NULL"),
        (column::PARTITION, "int NOT NULL"),
        (column::TOPIC_ID, "varchar(64) NOT NULL DEFAULT ''"),
        (column::NEXT_OFFSET, "bigint NOT NULL"),
        (column::ORDINAL, "bigint NOT NULL"),
        (column::OWNER, "char(32) NOT NULL DEFAULT ''"),
        (column::DOCUMENT_VERSION, "int NOT NULL DEFAULT 0"),
        (column::REQUEST_ID, "varchar(64) NOT NULL DEFAULT ''"),
        (column::UPDATED_AT, "datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),
    ];
    for (name, definition) in columns {
        sql.push_str(&format!("  {} {definition},\n", quote(name)));
    }
    sql.push_str(&format!(
        "  PRIMARY KEY ({}, {}, {})\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        quote(column::PIPELINE),
        quote(column::TOPIC),
        quote(column::PARTITION)
    ));
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_published() {
        let golden = include_str!("../tests/golden/progress/create.sql");
        assert_eq!(format!("{};\n{};\n", create_schema("otter"), create_table("otter")), golden);
        for name in COLUMNS {
            assert!(golden.contains(&quote(name)), "{name}");
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(qualified("a`b"), "`a``b`.`progress`");
    }
}
