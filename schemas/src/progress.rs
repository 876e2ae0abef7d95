//! The progress table of a target: how far each lane is, in the same database as the rows, moved in the same
//! transaction. Its DDL is a contract: other versions of Otter and people read it.

use crate::table::TableName;

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
    /// `source.generation` of the last event applied.
    pub const GENERATION: &str = "generation";
    /// The offset that an operator moved the lane back from: in front of it the lane replays. -1: none.
    pub const REPLAY_UNTIL: &str = "replay_until";
    /// The source position that the lane had when the generation rose: up to it the lane replays. Empty: none.
    pub const REPLAY_PAST: &str = "replay_past";
    /// Rows that the last replay wrote over a row of their key.
    pub const REPLAY_REWRITTEN: &str = "replay_rewritten";
    /// Rows that the last replay wrote where there was none.
    pub const REPLAY_RESTORED: &str = "replay_restored";
    /// Rows that the last replay removed, because they went, or held a unique value of a row that came.
    pub const REPLAY_REMOVED: &str = "replay_removed";
    /// Rows that the last replay was to remove and that were not there.
    pub const REPLAY_MISSING: &str = "replay_missing";
    /// GTID position that the lane began behind: events of transactions in it are passed over. NULL: none, or passed.
    pub const START_GTID: &str = "start_gtid";
    /// The target tables that the position speaks of, as [`super::targets`] writes them. NULL: those of the next claim.
    pub const TARGETS: &str = "targets";
    /// Ordinal of the event in front of which the lane stands: it waits for other lanes, is paused by it, or has come to
    /// a barrier. NULL: it goes on.
    pub const PENDING_ORDINAL: &str = "pending_ordinal";
    /// The lanes of the topic are applied as one, merged by ordinal, until all have passed this one. NULL: each for itself.
    pub const JOINED_UNTIL: &str = "joined_until";
}

/// All column names in the table's order.
pub const COLUMNS: [&str; 21] = [
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
    column::GENERATION,
    column::REPLAY_UNTIL,
    column::REPLAY_PAST,
    column::REPLAY_REWRITTEN,
    column::REPLAY_RESTORED,
    column::REPLAY_REMOVED,
    column::REPLAY_MISSING,
    column::START_GTID,
    column::TARGETS,
    column::PENDING_ORDINAL,
    column::JOINED_UNTIL,
];

/// The columns that came after the table's first version, and their definitions.
const LATER: [(&str, &str); 11] = [
    (column::GENERATION, "int NOT NULL DEFAULT 0"),
    (column::REPLAY_UNTIL, "bigint NOT NULL DEFAULT -1"),
    (column::REPLAY_PAST, "varchar(512) NOT NULL DEFAULT ''"),
    (column::REPLAY_REWRITTEN, "bigint NOT NULL DEFAULT 0"),
    (column::REPLAY_RESTORED, "bigint NOT NULL DEFAULT 0"),
    (column::REPLAY_REMOVED, "bigint NOT NULL DEFAULT 0"),
    (column::REPLAY_MISSING, "bigint NOT NULL DEFAULT 0"),
    (column::START_GTID, "text NULL"),
    (column::TARGETS, "text NULL"),
    (column::PENDING_ORDINAL, "bigint NULL"),
    (column::JOINED_UNTIL, "bigint NULL"),
];

/// Quotes an identifier for MySQL and MariaDB.
pub fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// The table's name, quoted, with its schema.
pub fn qualified(schema: &str) -> String {
    format!("{}.{}", quote(schema), quote(TABLE))
}

/// Target tables as a progress row keeps them, in order: `[["shop","tb_user2"]]`.
pub fn targets(tables: &[TableName]) -> String {
    let mut names: Vec<(&str, &str)> = tables.iter().map(|t| (t.schema.as_str(), t.table.as_str())).collect();
    names.sort_unstable();
    serde_json::json!(names).to_string()
}

/// Whether some of the tables are not among those that a progress row speaks of. A text that cannot be read speaks of none.
pub fn leads_elsewhere(had: &str, tables: &[TableName]) -> bool {
    let had = read_targets(had);
    !tables.iter().all(|table| had.contains(table))
}

/// The tables of a text that [`targets`] wrote.
pub fn read_targets(text: &str) -> Vec<TableName> {
    let names: Vec<(String, String)> = serde_json::from_str(text).unwrap_or_default();
    names.into_iter().map(|(schema, table)| TableName::new(schema, table)).collect()
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
    for (name, definition) in columns.into_iter().chain(LATER) {
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

/// `ALTER TABLE` that adds what a table of an earlier version lacks, given the columns it has; `None` when it has all.
pub fn alter_table(schema: &str, present: &[String]) -> Option<String> {
    let lacks = |name: &str| !present.iter().any(|column| column.eq_ignore_ascii_case(name));
    let added: Vec<String> = LATER
        .iter()
        .filter(|(name, _)| lacks(name))
        .map(|(name, definition)| format!("ADD COLUMN {} {definition}", quote(name)))
        .collect();
    (!added.is_empty()).then(|| format!("ALTER TABLE {} {}", qualified(schema), added.join(", ")))
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
    fn a_table_of_an_earlier_version_gets_what_it_lacks() {
        let all: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(alter_table("otter", &all), None);
        let sql = alter_table("otter", &all[..10]).expect("columns are missing");
        assert!(
            sql.starts_with("ALTER TABLE `otter`.`progress` ADD COLUMN `generation` int NOT NULL DEFAULT 0, "),
            "{sql}"
        );
        assert_eq!(sql.matches("ADD COLUMN").count(), 11);
        assert_eq!(alter_table("otter", &all[..20]).expect("one").matches("ADD COLUMN").count(), 1);
    }

    #[test]
    fn targets_are_read_back() {
        let tables = [TableName::new("b", "a.\"`"), TableName::new("a", "x")];
        let text = targets(&tables);
        assert_eq!(text, r#"[["a","x"],["b","a.\"`"]]"#);
        assert!(!leads_elsewhere(&text, &tables) && !leads_elsewhere(&text, &tables[1..]) && !leads_elsewhere("", &[]));
        assert!(leads_elsewhere(&targets(&tables[1..]), &tables) && leads_elsewhere("?", &tables));
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(qualified("a`b"), "`a``b`.`progress`");
    }
}
