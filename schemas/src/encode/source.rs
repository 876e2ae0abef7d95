//! The `source` block, encoded once per transaction and table.

/// What is constant in `source` over a transaction's rows of one table.
#[derive(Debug, Clone, Copy)]
pub struct SourceFacts<'a> {
    /// Otter's version.
    pub version: &'a str,
    /// The source's topic prefix (Debezium's logical name).
    pub name: &'a str,
    /// When the change was made at the source, milliseconds since 1970 UTC.
    pub ts_ms: i64,
    /// Schema of the table, as the server spells it.
    pub db: &'a str,
    /// The table, as the server spells it.
    pub table: &'a str,
    /// Id of the server that made the change.
    pub server_id: i64,
    /// GTID of the transaction.
    pub gtid: Option<&'a str>,
    /// Binlog file.
    pub file: &'a str,
    /// Thread of the session that made the change.
    pub thread: Option<i64>,
    /// Generation of the source's capture.
    pub generation: i32,
}

/// The Avro bytes of `source` without position, row and ordinal.
#[derive(Debug, Clone, Default)]
pub struct SourceBlock {}

impl SourceBlock {
    /// Encodes the constant part.
    pub fn new(_facts: &SourceFacts<'_>) -> Self {
        Self::default()
    }
}
