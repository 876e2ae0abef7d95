//! The `source` block, encoded once per transaction and table.

use super::RowPosition;
use super::write::{FIRST, LONG_BYTES, SECOND, put_bytes, put_long, put_some_long};
use crate::avro::connector;
use crate::checkpoint::Flavor;

/// What is constant in `source` over a transaction's rows of one table.
#[derive(Debug, Clone, Copy)]
pub struct SourceFacts<'a> {
    /// What kind of server the source is: Debezium's `connector`.
    pub flavor: Flavor,
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

/// The Avro bytes of `source` without position, row and ordinal, which differ from row to row.
#[derive(Debug, Clone)]
pub struct SourceBlock {
    /// All constant bytes: `version` to `file`, then `thread` and `query`, then `generation`.
    bytes: Vec<u8>,
    /// Where position and row go.
    position_at: usize,
    /// Where the ordinal goes.
    ordinal_at: usize,
}

impl SourceBlock {
    /// Encodes the constant part.
    pub fn new(facts: &SourceFacts<'_>) -> Self {
        let mut out = Vec::with_capacity(256);
        put_bytes(facts.version.as_bytes(), &mut out);
        put_bytes(connector(facts.flavor).as_bytes(), &mut out);
        put_bytes(facts.name.as_bytes(), &mut out);
        put_long(facts.ts_ms, &mut out);
        out.push(FIRST); // snapshot: its union begins with the string
        put_bytes(b"false", &mut out);
        put_bytes(facts.db.as_bytes(), &mut out);
        out.push(FIRST); // sequence
        put_some_long(facts.ts_ms.saturating_mul(1_000), &mut out);
        put_some_long(facts.ts_ms.saturating_mul(1_000_000), &mut out);
        out.push(SECOND);
        put_bytes(facts.table.as_bytes(), &mut out);
        put_long(facts.server_id, &mut out);
        match facts.gtid {
            Some(gtid) => {
                out.push(SECOND);
                put_bytes(gtid.as_bytes(), &mut out);
            }
            None => out.push(FIRST),
        }
        put_bytes(facts.file.as_bytes(), &mut out);
        let position_at = out.len();
        match facts.thread {
            Some(thread) => put_some_long(thread, &mut out),
            None => out.push(FIRST),
        }
        out.push(FIRST); // query
        let ordinal_at = out.len();
        put_long(i64::from(facts.generation), &mut out);
        Self { bytes: out, position_at, ordinal_at }
    }

    /// Bytes that [`SourceBlock::write`] appends at most.
    pub(super) fn bound(&self) -> usize {
        self.bytes.len() + 3 * LONG_BYTES
    }

    /// Appends the whole block for a row.
    #[inline]
    pub(super) fn write(&self, position: RowPosition, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.position_at]);
        // no binlog and no event comes near these bounds: an event's length is 32 bits, a row is a byte or more
        put_long(i64::try_from(position.pos).unwrap_or(i64::MAX), out);
        put_long(i64::from(i32::try_from(position.row).unwrap_or(i32::MAX)), out);
        out.extend_from_slice(&self.bytes[self.position_at..self.ordinal_at]);
        put_long(position.ordinal, out);
        out.extend_from_slice(&self.bytes[self.ordinal_at..]);
    }
}
