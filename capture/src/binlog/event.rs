//! Binlog events, taken apart without copying.
//!
//! Only the parts that decide something are read: transaction boundaries, table maps and rows events, statements.
//! An event type that is not known here is passed over only when its writer marked it ignorable; everything else
//! becomes [`Event::Unsupported`], which the caller must stop at, never skip.

mod gtid;

use bytes::Bytes;
use schemas::gtid::Gtid;
use schemas::{Code, Error, Result};

use super::compressed;
use super::cursor::Cursor;
use super::payload::Payload;

/// The largest event that a server takes into its binlog is bounded by max_allowed_packet, at most 1 GiB.
pub(super) const MAX_EVENT: usize = (1 << 30) + (64 << 10);
/// Length of the header before every event's body.
pub const HEADER_LENGTH: usize = 19;

/// The header flag of a statement that depends on its session.
const FLAG_THREAD_SPECIFIC: u16 = 0x4;
/// The header flag of an event that the server made up for this connection (it is in no file).
const FLAG_ARTIFICIAL: u16 = 0x20;
/// The header flag of an event that readers who don't know it may pass over.
const FLAG_IGNORABLE: u16 = 0x80;

/// Event types, by MariaDB's and MySQL's numbers.
pub(super) mod kind {
    pub(in super::super) const QUERY: u8 = 2;
    pub(in super::super) const STOP: u8 = 3;
    pub(in super::super) const ROTATE: u8 = 4;
    pub(in super::super) const INTVAR: u8 = 5;
    pub(in super::super) const RAND: u8 = 13;
    pub(in super::super) const USER_VAR: u8 = 14;
    pub(in super::super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(in super::super) const XID: u8 = 16;
    pub(in super::super) const TABLE_MAP: u8 = 19;
    pub(in super::super) const WRITE_ROWS_V1: u8 = 23;
    pub(in super::super) const UPDATE_ROWS_V1: u8 = 24;
    pub(in super::super) const DELETE_ROWS_V1: u8 = 25;
    pub(in super::super) const HEARTBEAT: u8 = 27;
    pub(in super::super) const INCIDENT: u8 = 26;
    pub(in super::super) const IGNORABLE: u8 = 28;
    pub(in super::super) const ROWS_QUERY: u8 = 29;
    pub(in super::super) const WRITE_ROWS: u8 = 30;
    pub(in super::super) const UPDATE_ROWS: u8 = 31;
    pub(in super::super) const DELETE_ROWS: u8 = 32;
    pub(in super::super) const MYSQL_GTID: u8 = 33;
    pub(in super::super) const ANONYMOUS_GTID: u8 = 34;
    pub(in super::super) const PREVIOUS_GTIDS: u8 = 35;
    pub(in super::super) const TRANSACTION_CONTEXT: u8 = 36;
    pub(in super::super) const VIEW_CHANGE: u8 = 37;
    pub(in super::super) const XA_PREPARE: u8 = 38;
    pub(in super::super) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(in super::super) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(in super::super) const HEARTBEAT_V2: u8 = 41;
    pub(in super::super) const TAGGED_GTID: u8 = 42;
    pub(in super::super) const ANNOTATE_ROWS: u8 = 160;
    pub(in super::super) const BINLOG_CHECKPOINT: u8 = 161;
    pub(in super::super) const GTID: u8 = 162;
    pub(in super::super) const GTID_LIST: u8 = 163;
    pub(in super::super) const START_ENCRYPTION: u8 = 164;
    pub(in super::super) const QUERY_COMPRESSED: u8 = 165;
    pub(in super::super) const DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// An event as the server sent it, its checksum verified and taken off.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// The type byte.
    pub event_type: u8,
    /// Seconds since 1970.
    pub timestamp: u32,
    /// The server that logged the change first.
    pub server_id: u32,
    /// Position after the event in its file, beyond 4 GiB too; unchanged by artificial events.
    pub log_pos: u64,
    /// Header flags.
    pub flags: u16,
    /// What follows the 19-byte header, without the checksum.
    pub body: Bytes,
}

impl RawEvent {
    /// Whether the server made the event up for this connection, so that it is in no binlog file.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// Whether it is a statement that means something in its session only, as one on a temporary table.
    pub fn is_of_one_session(&self) -> bool {
        self.flags & FLAG_THREAD_SPECIFIC != 0
    }

    /// The event as it is without MariaDB's compression of single events; most are as they are.
    ///
    /// # Errors
    /// `BinlogCorrupt` (OT3005) where it cannot be unpacked.
    pub fn plain(self) -> Result<Self> {
        match compressed::plain_type(self.event_type) {
            None => Ok(self),
            Some(plain_type) => compressed::unpack(&self, plain_type).ok_or_else(|| self.corrupt("cannot be unpacked")),
        }
    }

    /// Takes the event apart.
    ///
    /// # Errors
    /// `BinlogCorrupt` (OT3005) where the bytes don't hold what the type promises.
    pub fn parse(&self) -> Result<Event<'_>> {
        parse(self).ok_or_else(|| self.corrupt("is shorter than its fields"))
    }

    fn corrupt(&self, what: &str) -> Error {
        let Self { event_type, log_pos, server_id, .. } = self;
        let message = format!("the event of type {event_type} ending at {log_pos} (server {server_id}) {what}");
        Error::new(Code::BinlogCorrupt, message)
    }
}

/// What a rows event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// Inserted rows: one image each.
    Write,
    /// Updated rows: a before and an after image each.
    Update,
    /// Deleted rows: one image each.
    Delete,
}

/// A GTID event: the beginning of an event group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// The group's GTID; none for an anonymous one (MySQL without gtid_mode).
    pub gtid: Option<Gtid>,
    /// Exactly one statement event follows, and no XID or COMMIT after it (DDL). None where the first statement tells
    /// (MySQL): unless it begins a transaction, it stands alone.
    pub standalone: Option<bool>,
    /// The group is DDL.
    pub ddl: bool,
    /// The group only touches transactional tables.
    pub transactional: bool,
    /// The group is the prepare of an XA transaction.
    pub xa_prepared: bool,
    /// The group completes (commits or rolls back) a prepared XA transaction.
    pub xa_completed: bool,
    /// The group is one phase of a two-phase ALTER (`binlog_alter_two_phase`).
    pub alter_phase: Option<AlterPhase>,
    /// When it was committed on the server that made it, in microseconds since 1970 UTC (MySQL from 8.0.1 on).
    pub committed_us: Option<u64>,
}

impl GtidEvent {
    /// When the transaction was made, in milliseconds since 1970 UTC: MySQL's time of the first commit, else the seconds
    /// of the event's header.
    pub fn time_ms(&self, raw: &RawEvent) -> i64 {
        let committed = self.committed_us.and_then(|us| i64::try_from(us / 1000).ok());
        committed.unwrap_or(i64::from(raw.timestamp) * 1000)
    }
}

/// The phases of a two-phase ALTER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterPhase {
    /// It has begun; nothing has changed yet.
    Start,
    /// It has taken effect.
    Commit,
    /// It was given up.
    Rollback,
}

/// A rows event.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    /// What it did.
    pub kind: RowsKind,
    /// The table, by the id of the last TABLE_MAP.
    pub table_id: u64,
    /// The last rows event of its statement: table ids lose their meaning behind it.
    pub statement_end: bool,
    /// Number of columns of the table.
    pub columns: u64,
    /// Bitmap of the columns in the (before) image, lowest bit first.
    pub present: &'a [u8],
    /// Bitmap of the columns in the after image of an update; `present` again for the other kinds.
    pub present_after: &'a [u8],
    /// The row images, one after another.
    pub rows: &'a [u8],
    /// The after images hold changes of JSON documents instead of the documents (`binlog_row_value_options`).
    pub partial: bool,
}

impl RowsEvent<'_> {
    /// Whether every column is in every image.
    pub fn is_full(&self) -> bool {
        all_set(self.present, self.columns) && all_set(self.present_after, self.columns)
    }
}

fn all_set(bitmap: &[u8], count: u64) -> bool {
    let mut left = count;
    for byte in bitmap {
        let bits = u32::try_from(left.min(8)).unwrap_or(8);
        if byte.trailing_ones() < bits {
            return false;
        }
        left -= u64::from(bits);
    }
    left == 0
}

/// A QUERY event: a statement, or the COMMIT or ROLLBACK that ends a group.
#[derive(Debug, Clone, Copy)]
pub struct QueryEvent<'a> {
    /// The session's default schema; empty for none.
    pub schema: &'a [u8],
    /// The text, in the session's character set.
    pub sql: &'a [u8],
    /// The error the statement ended with; 0 for none.
    pub error_code: u16,
    /// The session's connection id.
    pub thread: u32,
    /// The session's sql_mode bits, 0 where the event does not say.
    pub sql_mode: u64,
    /// The session's character set as the id of a collation, 0 where the event does not say.
    pub charset: u16,
}

impl QueryEvent<'_> {
    /// Whether the text is in UTF-8, as far as the event says. The ids are those of MySQL and MariaDB, whose collations
    /// without padding are 1024 above the others and whose newer ones start at 2048.
    pub(super) fn is_utf8(&self) -> bool {
        let id = if self.charset < 2048 { self.charset % 1024 } else { return true };
        matches!(id, 0 | 33 | 45 | 46 | 76 | 83 | 192..=247 | 254..=323 | 576..=577 | 608..=610)
    }
}

/// An event's parts, borrowed from its [`RawEvent`].
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// An event group begins.
    Gtid(GtidEvent),
    /// What was committed before a file, or (artificial) before the dump's start: GTID_LIST, PREVIOUS_GTIDS.
    GtidList,
    /// The structure of a table, for the rows events behind it.
    TableMap {
        /// The id that rows events name.
        table_id: u64,
        /// The whole body, for [`super::table_map`].
        body: &'a [u8],
    },
    /// Changed rows.
    Rows(RowsEvent<'a>),
    /// A statement.
    Query(QueryEvent<'a>),
    /// The commit of a group.
    Xid(u64),
    /// A whole transaction behind its GTID, compressed.
    Payload(Payload<'a>),
    /// The prepare of an XA transaction, ending its group.
    XaPrepare {
        /// `XA COMMIT … ONE PHASE`: a commit, in truth.
        one_phase: bool,
    },
    /// The following events are of another file.
    Rotate {
        /// The file.
        file: &'a str,
        /// The position in it.
        position: u64,
    },
    /// The head of a file.
    FormatDescription {
        /// The version of the server that wrote the file.
        server_version: &'a str,
        /// It is the first file after a start of the server: what the file before left unfinished never happened.
        restarted: bool,
    },
    /// The server has nothing to send.
    Heartbeat,
    /// Nothing that matters.
    Ignorable,
    /// An event that changes something and is not read in this version.
    Unsupported {
        /// Its type in words.
        type_name: &'static str,
    },
}

fn parse(raw: &RawEvent) -> Option<Event<'_>> {
    let body: &[u8] = &raw.body;
    Some(match raw.event_type {
        kind::GTID => Event::Gtid(gtid::mariadb(raw)?),
        kind::MYSQL_GTID => Event::Gtid(gtid::mysql(body, false)?),
        kind::ANONYMOUS_GTID => Event::Gtid(gtid::mysql(body, true)?),
        kind::TAGGED_GTID => Event::Gtid(gtid::tagged(body)?),
        kind::TABLE_MAP => Event::TableMap { table_id: Cursor::new(body).u48()?, body },
        kind::WRITE_ROWS_V1 => Event::Rows(rows(body, RowsKind::Write, false)?),
        kind::UPDATE_ROWS_V1 => Event::Rows(rows(body, RowsKind::Update, false)?),
        kind::DELETE_ROWS_V1 => Event::Rows(rows(body, RowsKind::Delete, false)?),
        kind::WRITE_ROWS => Event::Rows(rows(body, RowsKind::Write, true)?),
        kind::UPDATE_ROWS => Event::Rows(rows(body, RowsKind::Update, true)?),
        kind::DELETE_ROWS => Event::Rows(rows(body, RowsKind::Delete, true)?),
        kind::PARTIAL_UPDATE_ROWS => Event::Rows(RowsEvent { partial: true, ..rows(body, RowsKind::Update, true)? }),
        kind::TRANSACTION_PAYLOAD => Event::Payload(Payload::read(raw)?),
        kind::XID => Event::Xid(Cursor::new(body).u64()?),
        kind::QUERY => Event::Query(query(body)?),
        kind::XA_PREPARE => Event::XaPrepare { one_phase: *body.first()? != 0 },
        kind::ROTATE => {
            let mut fields = Cursor::new(body);
            let position = fields.u64()?;
            Event::Rotate { file: std::str::from_utf8(fields.rest()).ok()?, position }
        }
        kind::FORMAT_DESCRIPTION => {
            let version = body.get(2..52)?;
            let end = version.iter().position(|b| *b == 0).unwrap_or(version.len());
            let created = Cursor::new(body.get(52..)?).u32()?;
            let server_version = std::str::from_utf8(&version[..end]).ok()?;
            Event::FormatDescription { server_version, restarted: created != 0 }
        }
        kind::HEARTBEAT | kind::HEARTBEAT_V2 => Event::Heartbeat,
        kind::GTID_LIST | kind::PREVIOUS_GTIDS => Event::GtidList,
        // INTVAR, RAND and USER_VAR only prepare a statement, and that statement is looked at. The dump decrypts
        // what START_ENCRYPTION announces. TRANSACTION_CONTEXT and VIEW_CHANGE are group replication's own affairs.
        kind::STOP
        | kind::INTVAR
        | kind::RAND
        | kind::USER_VAR
        | kind::IGNORABLE
        | kind::ROWS_QUERY
        | kind::TRANSACTION_CONTEXT
        | kind::VIEW_CHANGE
        | kind::ANNOTATE_ROWS
        | kind::BINLOG_CHECKPOINT
        | kind::START_ENCRYPTION => Event::Ignorable,
        other => match type_name(other) {
            Some(type_name) => Event::Unsupported { type_name },
            None if raw.flags & FLAG_IGNORABLE != 0 => Event::Ignorable,
            None => Event::Unsupported { type_name: "unknown" },
        },
    })
}

/// Types that change something, which no flag makes ignorable.
fn type_name(event_type: u8) -> Option<&'static str> {
    Some(match event_type {
        17 => "BEGIN_LOAD_QUERY (LOAD DATA logged as a statement)",
        18 => "EXECUTE_LOAD_QUERY (LOAD DATA logged as a statement)",
        20..=22 => "rows of a format before 5.1",
        kind::INCIDENT => "INCIDENT (the server lost events)",
        // made plain before they are taken apart
        kind::QUERY_COMPRESSED..=kind::DELETE_ROWS_COMPRESSED => "a compressed one (log_bin_compress=ON)",
        _ => return None,
    })
}

fn rows(body: &[u8], kind: RowsKind, extra: bool) -> Option<RowsEvent<'_>> {
    const STATEMENT_END: u16 = 1;

    let mut fields = Cursor::new(body);
    let table_id = fields.u48()?;
    let flags = fields.u16()?;
    if extra {
        // The length counts its own two bytes.
        let length = usize::from(fields.u16()?).checked_sub(2)?;
        fields.take(length)?;
    }
    let columns = fields.lenenc()?;
    let bitmap = usize::try_from(columns.div_ceil(8)).ok()?;
    let present = fields.take(bitmap)?;
    let present_after = if kind == RowsKind::Update { fields.take(bitmap)? } else { present };
    Some(RowsEvent {
        kind,
        table_id,
        statement_end: flags & STATEMENT_END != 0,
        columns,
        present,
        present_after,
        rows: fields.rest(),
        partial: false,
    })
}

fn query(body: &[u8]) -> Option<QueryEvent<'_>> {
    let mut fields = Cursor::new(body);
    let thread = fields.u32()?;
    fields.u32()?; // seconds it ran
    let schema_length = usize::from(fields.u8()?);
    let error_code = fields.u16()?;
    let variables_length = usize::from(fields.u16()?);
    let variables = fields.take(variables_length)?;
    let schema = fields.take(schema_length)?;
    fields.u8()?; // the zero behind the schema
    let mut query = QueryEvent { schema, sql: fields.rest(), error_code, thread, sql_mode: 0, charset: 0 };
    session(variables, &mut query);
    Some(query)
}

/// Reads a QUERY event's status variables as far as they are known; servers write those needed here first.
fn session(variables: &[u8], query: &mut QueryEvent<'_>) -> Option<()> {
    const FLAGS2: u8 = 0;
    const SQL_MODE: u8 = 1;
    const AUTO_INCREMENT: u8 = 3;
    const CHARSET: u8 = 4;
    const CATALOG: u8 = 6;

    let mut fields = Cursor::new(variables);
    loop {
        match fields.u8()? {
            FLAGS2 | AUTO_INCREMENT => drop(fields.u32()?),
            SQL_MODE => query.sql_mode = fields.u64()?,
            CATALOG => {
                let length = usize::from(fields.u8()?);
                fields.take(length)?;
            }
            CHARSET => {
                query.charset = fields.u16()?; // the client's
                return Some(());
            }
            _ => return Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    fn raw(event_type: u8, flags: u16, body: &[u8]) -> RawEvent {
        RawEvent { event_type, timestamp: 1, server_id: 7, log_pos: 4, flags, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn gtids_carry_their_flags() {
        let mut body = Vec::new();
        body.extend_from_slice(&42_u64.to_le_bytes());
        body.extend_from_slice(&3_u32.to_le_bytes());
        body.push(1 | 32);
        body.extend_from_slice(&[0; 6]);
        let event = raw(kind::GTID, 0, &body);
        let Event::Gtid(gtid) = event.parse().unwrap() else { panic!("not a GTID") };
        assert_eq!(gtid.gtid.unwrap().to_string(), "3-7-42");
        assert!(gtid.standalone == Some(true) && gtid.ddl && !gtid.transactional && gtid.alter_phase.is_none());
        // An XA id without group commit id stands right behind the flags.
        let mut short = body[..12].to_vec();
        short.push(4 | 128);
        short.extend_from_slice(&[1, 0, 0, 0, 1, 0, b'x']);
        let event = raw(kind::GTID, 0, &short);
        let Event::Gtid(gtid) = event.parse().unwrap() else { panic!("not a GTID") };
        assert!(gtid.xa_completed && !gtid.xa_prepared && gtid.transactional && gtid.alter_phase.is_none());
        // A group commit id, an XA id, and a phase of ALTER.
        let mut body = body[..12].to_vec();
        body.push(2 | 64);
        body.extend_from_slice(&[9; 8]);
        body.extend_from_slice(&[1, 0, 0, 0, 2, 1, b'a', b'b', b'c', 4]);
        let event = raw(kind::GTID, 0, &body);
        let Event::Gtid(gtid) = event.parse().unwrap() else { panic!("not a GTID") };
        assert!(gtid.xa_prepared && gtid.alter_phase == Some(AlterPhase::Commit));
    }

    #[test]
    fn rows_of_both_versions_are_taken_apart() {
        let head = [5, 0, 0, 0, 0, 0, 1, 0];
        let v1 = [&head[..], &[10, 0xff, 0x03, 0xff, 0x03, 1, 2, 3]].concat();
        let v2 = [&head[..], &[5, 0, 1, 2, 3, 10, 0xff, 0x03, 0xff, 0x01, 1, 2, 3]].concat();
        for (event_type, body, full) in [(kind::UPDATE_ROWS_V1, v1, true), (kind::UPDATE_ROWS, v2, false)] {
            let event = raw(event_type, 0, &body);
            let Event::Rows(rows) = event.parse().unwrap() else { panic!("no rows") };
            assert_eq!((rows.kind, rows.table_id, rows.columns, rows.rows), (RowsKind::Update, 5, 10, &[1, 2, 3][..]));
            assert!(rows.statement_end);
            assert_eq!(rows.is_full(), full);
        }
    }

    #[test]
    fn queries_give_text_schema_and_mode() {
        let mut body = vec![8, 0, 0, 0, 0, 0, 0, 0, 2, 5, 4, 33, 0];
        body.extend_from_slice(&[0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[6, 3, b's', b't', b'd', 3, 1, 0, 1, 0, 4, 255, 0, 255, 0, 8, 0, 5, 0]);
        body.extend_from_slice(b"db\0DROP TABLE t");
        let event = raw(kind::QUERY, 0, &body);
        let Event::Query(query) = event.parse().unwrap() else { panic!("no query") };
        assert_eq!((query.schema, query.sql), (&b"db"[..], &b"DROP TABLE t"[..]));
        assert_eq!((query.thread, query.error_code, query.sql_mode, query.charset), (8, 0x0405, 4, 255));
    }

    #[test]
    fn only_what_is_marked_ignorable_is_passed_over() {
        assert!(matches!(raw(200, FLAG_IGNORABLE, &[]).parse().unwrap(), Event::Ignorable));
        assert!(matches!(raw(200, 0, &[]).parse().unwrap(), Event::Unsupported { type_name: "unknown" }));
        for event_type in [17, 26, 165, 166, 171] {
            assert!(
                matches!(raw(event_type, FLAG_IGNORABLE, &[1; 40]).parse().unwrap(), Event::Unsupported { .. }),
                "{event_type}"
            );
        }
        assert!(matches!(raw(kind::ANNOTATE_ROWS, 0, b"x").parse().unwrap(), Event::Ignorable));
    }

    #[test]
    fn hostile_bytes_give_an_error_at_worst() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..200_000 {
            let mut body = vec![0; random.random_range(0..64)];
            random.fill_bytes(&mut body);
            let event = raw(random.random(), random.random(), &body);
            match event.parse() {
                Ok(Event::Rows(rows)) => {
                    rows.is_full();
                }
                Ok(_) => {}
                Err(error) => assert_eq!(error.code(), Code::BinlogCorrupt),
            }
        }
    }
}
