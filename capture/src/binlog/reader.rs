//! The dump: the source's binlog, event by event, into a [`super::channel`].
//!
//! Every event's CRC32 is verified here, because nothing below does it. The position is tracked in 64 bits: headers
//! carry 32, which wrap in files beyond 4 GiB, and newer servers leave them zero inside transactions. The server sends
//! heartbeats when it is quiet, so silence for three of their periods means a dead connection.
//!
//! Failure: the function ends with an error whose code says whether to connect again (`SourceDisconnected`) or to stop
//! (`BinlogPurged`, `BinlogCorrupt`, `SourceGrant`). What was handed over before stays valid.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{FutureExt, Stream};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use mysql_common::binlog::consts::BinlogChecksumAlg;
use mysql_common::binlog::events::Event as WireEvent;
use mysql_common::proto::codec::error::PacketCodecError;
use schemas::checkpoint::Flavor;
use schemas::documents::FIRST_POSITION;
use schemas::{Code, Error, Result};
use tokio_util::sync::CancellationToken;

pub use super::channel::{Chunk, Received, Receiver, Sender, channel};
pub use super::event::RawEvent;
use super::event::{Event, HEADER_LENGTH, kind};
use super::gtid_sets;
use super::payload::may_be_inside;
pub use super::place::{Entry, Place, resolve_start};
use super::position::{Header, Position};
pub use super::server::{SourceServer, connect};

/// A chunk is handed over at this size even when the stream has more ready.
const CHUNK_BYTES: usize = 256 * 1024;
/// Allocation unit of event bodies; larger bodies get an allocation of their own.
const ARENA_BYTES: usize = 64 * 1024;
/// How long the connection and the request for the dump may take together.
const BEGIN: Duration = Duration::from_secs(30);
/// Before its first event a server may have to search a large file for the GTID, without heartbeats.
const FIRST_EVENT: Duration = Duration::from_secs(120);

/// How the dump runs.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The server_id this reader shows to the source; must differ from every server of the replication topology.
    pub server_id: u32,
    /// How often a quiet server says so. Three of these without a byte end the dump.
    pub heartbeat: Duration,
    /// End in order where the binlog ends, instead of waiting for more.
    pub until_end: bool,
}

impl Default for ReadOptions {
    /// A random server_id in the upper half of the range, where people don't number servers, and 5 s.
    fn default() -> Self {
        Self { server_id: rand::random::<u32>() | 0x8000_0000, heartbeat: Duration::from_secs(5), until_end: false }
    }
}

/// Reads the binlog from `start` on into `sender` until `shutdown`, the end of the receiver, or an error.
///
/// # Errors
/// `SourceDisconnected` and `SourceUnreachable` (connect again), `BinlogPurged`, `BinlogCorrupt`, `SourceGrant`.
pub async fn read(
    server: &SourceServer,
    start: &Entry,
    options: &ReadOptions,
    sender: Sender,
    shutdown: CancellationToken,
) -> Result<()> {
    let stream = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        stream = tokio::time::timeout(BEGIN, begin(server, start, options)) => stream.unwrap_or_else(|_| {
            let message = format!("{} did not begin the binlog dump within {BEGIN:?}", server.address);
            Err(Error::new(Code::SourceUnreachable, message))
        })?,
    };
    let mut dump = Dump {
        stream,
        sender,
        chunk: Chunk::default(),
        arena: BytesMut::new(),
        position: Position::default(),
        silence: options.heartbeat * 3,
        greeted: false,
        until_end: options.until_end,
        skip: Skip(start.beyond_request()),
        unpacked: 0,
    };
    // mysql_async unwraps on events shorter than their header says; such a panic is damaged input.
    let outcome = AssertUnwindSafe(dump.run(&shutdown)).catch_unwind().await;
    let error = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(Stop::Failed(error))) => error,
        Ok(Err(Stop::Mysql(error))) => describe(server, start, &dump.position, error).await,
        Err(_) => dump.position.corrupt("an event does not have the length its header says"),
    };
    Err(error)
}

async fn begin(server: &SourceServer, start: &Entry, options: &ReadOptions) -> Result<BinlogStream> {
    let mut conn = server.dump_connection().await?;
    server.check_identity(&mut conn).await?;
    let session = session(server, start, options);
    conn.query_drop(session).await.map_err(|e| server.failed("prepare the binlog dump", e))?;
    let mut request = BinlogStreamRequest::new(options.server_id).with_pos(FIRST_POSITION);
    if options.until_end {
        request = request.with_non_blocking();
    }
    match start {
        Entry::Gtid(position) if server.flavor == Flavor::Mysql => {
            request = request.with_gtid().with_gtid_set(gtid_sets::sids(position)?);
        }
        Entry::Gtid(_) => {}
        Entry::File { file, position } => {
            request = request.with_filename(file.as_bytes());
            // The request holds 32 bits. Beyond them the file is read from its head, and what lies before is left out.
            if *position <= u64::from(u32::MAX) {
                request = request.with_pos(*position);
            }
        }
    }
    conn.get_binlog_stream(request).await.map_err(|e| server.failed("start the binlog dump", e))
}

/// What the dump's session must be like. mysql_async itself asks for checksums ("ALL": as they are in the file) when it
/// registers. A publisher that waits for Kafka lets the server wait; the usual minute would end the dump.
fn session(server: &SourceServer, start: &Entry, options: &ReadOptions) -> String {
    let heartbeat = u64::try_from(options.heartbeat.as_nanos()).unwrap_or(u64::MAX);
    match (server.flavor, start) {
        (Flavor::Mysql, _) => format!(
            // A uuid of its own, or the server would end the dump of another reader without one.
            "SET @source_heartbeat_period={heartbeat}, @source_binlog_checksum=@@global.binlog_checksum, \
             @replica_uuid=UUID(), @slave_uuid=UUID(), SESSION net_write_timeout=600"
        ),
        (Flavor::Mariadb, Entry::Gtid(position)) => format!(
            "SET @mariadb_slave_capability=4, @slave_connect_state='{position}', @slave_gtid_strict_mode=1, \
             @slave_gtid_ignore_duplicates=0, @master_heartbeat_period={heartbeat}, SESSION net_write_timeout=600"
        ),
        (Flavor::Mariadb, Entry::File { .. }) => format!(
            "SET @mariadb_slave_capability=4, @master_heartbeat_period={heartbeat}, SESSION net_write_timeout=600"
        ),
    }
}

/// Why the loop ended before its time.
enum Stop {
    Failed(Error),
    Mysql(mysql_async::Error),
}

struct Dump {
    stream: BinlogStream,
    sender: Sender,
    chunk: Chunk,
    arena: BytesMut,
    position: Position,
    silence: Duration,
    greeted: bool,
    until_end: bool,
    skip: Skip,
    /// Bytes of the events still to come that mysql_async unpacked from a compressed transaction.
    unpacked: u64,
}

impl Dump {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Stop> {
        loop {
            let ready = self.poll_ready().await;
            let next = match ready {
                Some(next) => next,
                // Nothing more is ready: what has come goes on at once, then wait.
                None => {
                    if !self.hand_over(shutdown).await {
                        return Ok(());
                    }
                    match self.wait(shutdown).await? {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
            };
            let event = match next {
                Some(event) => event.map_err(Stop::Mysql)?,
                None if self.until_end => {
                    self.hand_over(shutdown).await;
                    return Ok(());
                }
                None => return Err(Stop::Failed(self.position.disconnected("the server ended the stream"))),
            };
            if self.is_unpacked(&event) {
                continue;
            }
            self.accept(&event).map_err(Stop::Failed)?;
            if self.chunk.bytes() >= CHUNK_BYTES && !self.hand_over(shutdown).await {
                return Ok(());
            }
        }
    }

    /// The next event if it has arrived; the task's waker is not lost, as `wait` polls again.
    async fn poll_ready(&mut self) -> Option<Option<mysql_async::Result<WireEvent>>> {
        poll_fn(|context| match Pin::new(&mut self.stream).poll_next(context) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Waits for the next event; `None` on shutdown.
    async fn wait(
        &mut self,
        shutdown: &CancellationToken,
    ) -> Result<Option<Option<mysql_async::Result<WireEvent>>>, Stop> {
        let silence = if self.greeted { self.silence } else { self.silence.max(FIRST_EVENT) };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(None),
            next = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)) => Ok(Some(next)),
            () = tokio::time::sleep(silence) => {
                let message = format!("neither event nor heartbeat for {silence:?}");
                Err(Stop::Failed(self.position.disconnected(&message)))
            }
        }
    }

    /// Sends the chunk on; false when the receiver is gone or the shutdown has come.
    async fn hand_over(&mut self, shutdown: &CancellationToken) -> bool {
        let chunk = std::mem::take(&mut self.chunk);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => false,
            sent = self.sender.send(chunk) => sent.is_ok(),
        }
    }

    fn accept(&mut self, event: &WireEvent) -> Result<()> {
        let header = event.header();
        let mut data = event.data();
        if header.event_type_raw() == kind::ROTATE && self.position.file.is_empty() {
            data = without_stray_checksum(event, data);
        } else if !checksum_fits(event) {
            return Err(self.position.corrupt("the checksum of an event is wrong"));
        }
        let body = self.copy(data);
        let raw = RawEvent {
            event_type: header.event_type_raw(),
            timestamp: header.timestamp(),
            server_id: header.server_id(),
            log_pos: self.position.advance(Header {
                event_type: header.event_type_raw(),
                flags: header.flags_raw(),
                log_pos: header.log_pos(),
                size: header.event_size(),
            }),
            flags: header.flags_raw(),
            body,
        };
        let of_a_file = !raw.is_artificial() && raw.event_type != kind::FORMAT_DESCRIPTION;
        self.greeted |= of_a_file || raw.event_type == kind::HEARTBEAT;
        let left_out = self.skip.leaves_out(&raw);
        if raw.event_type == kind::ROTATE {
            let before = std::mem::take(&mut self.position.file);
            self.position.rotate(&raw)?;
            self.skip.moved(&before, &self.position.file);
        }
        if raw.event_type == kind::TRANSACTION_PAYLOAD
            && let Event::Payload(payload) = raw.parse()?
        {
            self.unpacked = payload.size();
        }
        if !left_out {
            self.chunk.push(raw);
        }
        Ok(())
    }

    /// Whether the event is one that mysql_async unpacked by itself, behind the compressed event that holds it. They are
    /// left out: it hides what it cannot unpack, so the publisher unpacks again and checks.
    fn is_unpacked(&mut self, event: &WireEvent) -> bool {
        let header = event.header();
        let left = self.unpacked.checked_sub(u64::from(header.event_size()));
        // Where it left some out, the next event of the binlog itself must not be taken for one of them.
        let inside = may_be_inside(header.event_type_raw());
        self.unpacked = left.filter(|_| inside).unwrap_or(0);
        left.is_some() && inside
    }

    /// A body of its own, out of a shared allocation where it is small.
    fn copy(&mut self, data: &[u8]) -> bytes::Bytes {
        if data.len() > ARENA_BYTES / 4 {
            return bytes::Bytes::copy_from_slice(data);
        }
        if self.arena.capacity() < data.len() {
            self.arena = BytesMut::with_capacity(ARENA_BYTES);
        }
        self.arena.extend_from_slice(data);
        self.arena.split().freeze()
    }
}

/// What is left out of the first file because a request cannot name the offset behind it; 0 for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Skip(u64);

impl Skip {
    /// Whether the event ends at or before the start. What tells of files is never left out.
    fn leaves_out(self, raw: &RawEvent) -> bool {
        let tells = raw.is_artificial() || [kind::FORMAT_DESCRIPTION, kind::ROTATE].contains(&raw.event_type);
        !tells && raw.log_pos <= self.0
    }

    /// Another file is read in full. It may follow without a ROTATE of its own at the end of the one before, which a
    /// server that stopped does not write: then only the made-up one tells.
    fn moved(&mut self, before: &str, now: &str) {
        if !before.is_empty() && before != now {
            self.0 = 0;
        }
    }
}

fn checksum_fits(event: &WireEvent) -> bool {
    let algorithm = event.footer().get_checksum_alg();
    match algorithm {
        Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)) => {}
        Ok(_) => return true,
        Err(_) => return false,
    }
    let Some(written) = event.checksum().map(u32::from_le_bytes) else { return true };
    if event.header().event_type_raw() == kind::FORMAT_DESCRIPTION {
        return event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32) == written;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header_bytes(event));
    hasher.update(event.data());
    hasher.finalize() == written
}

/// The header as it was on the wire.
fn header_bytes(event: &WireEvent) -> [u8; HEADER_LENGTH] {
    let header = event.header();
    let mut bytes = [0; HEADER_LENGTH];
    bytes[0..4].copy_from_slice(&header.timestamp().to_le_bytes());
    bytes[4] = header.event_type_raw();
    bytes[5..9].copy_from_slice(&header.server_id().to_le_bytes());
    bytes[9..13].copy_from_slice(&header.event_size().to_le_bytes());
    bytes[13..17].copy_from_slice(&header.log_pos().to_le_bytes());
    bytes[17..19].copy_from_slice(&header.flags_raw().to_le_bytes());
    bytes
}

/// The error of a broken stream, by what the server or the connection said.
async fn describe(server: &SourceServer, start: &Entry, position: &Position, error: mysql_async::Error) -> Error {
    use mysql_async::Error as Mysql;
    use std::io::ErrorKind;

    let described = match &error {
        Mysql::Server(e) => return refused(server, start, position, e).await,
        Mysql::Driver(_) => position.corrupt(&format!("the stream is out of step ({error})")),
        Mysql::Io(mysql_async::IoError::Io(e)) => {
            // The library's parser and a closed connection both say UnexpectedEof.
            let parser = match e.kind() {
                ErrorKind::InvalidData | ErrorKind::Other => !e.get_ref().is_some_and(|e| e.is::<PacketCodecError>()),
                ErrorKind::UnexpectedEof => e.to_string() != CONNECTION_CLOSED,
                _ => false,
            };
            if parser {
                position.corrupt(&format!("an event cannot be read ({e})"))
            } else {
                position.disconnected(&format!("the connection to {} broke ({e})", server.address))
            }
        }
        _ => position.disconnected(&format!("the connection to {} broke ({error})", server.address)),
    };
    described.with_source(error)
}

/// What mysql_async says when the server closed the connection.
const CONNECTION_CLOSED: &str = "connection closed";

/// The error of a dump that the server refused or ended.
async fn refused(server: &SourceServer, start: &Entry, position: &Position, error: &mysql_async::ServerError) -> Error {
    const MASTER_FATAL: u16 = 1236;
    const ACCESS_DENIED: [u16; 3] = [1044, 1045, 1227];

    let text = error.message.as_str();
    let says = |parts: &[&str]| error.code == MASTER_FATAL && parts.iter().any(|part| text.contains(part));
    let purged = ["Could not find", "not in the master's binlog", "purged", "requested to start from"];
    let lost = ["has more GTIDs", "start replication from position"];
    let clash = ["same server_uuid", "same server_id"];
    let damaged = ["CRC", "checksum", "truncated", "corrupt", "bogus data", "Start binlog_dump"];
    let described = if ACCESS_DENIED.contains(&error.code) {
        let user = &server.user;
        let remedy = format!("GRANT REPLICATION SLAVE ON *.* TO {user}");
        Error::new(Code::SourceGrant, format!("the server refuses the binlog dump: {text}; run: {remedy}"))
    } else if says(&clash) {
        // Server ids are drawn anew for each dump.
        position.disconnected(&format!("another reader of {} came with the same server_id ({text})", server.address))
    } else if says(&["anonymous transaction"]) {
        let remedy = "set gtid_mode=ON_PERMISSIVE until they are read";
        position.disconnected(&format!("transactions without GTID lie before the switch to GTIDs ({text}); {remedy}"))
    } else if says(&lost) || says(&purged) {
        let code = if says(&lost) { Code::HistoryLost } else { Code::BinlogPurged };
        let available = server.available().await;
        Error::new(code, format!("the server cannot send its binlog from {start} on: {text}; {available}"))
    } else if says(&damaged) {
        position.corrupt(&format!("the server cannot read its binlog: {text}"))
    } else {
        position.disconnected(&format!("the server ended the dump: {} {text}", error.code))
    };
    described.with_source(error.clone())
}

/// The data of a ROTATE event without the checksum that the server appends before the first FORMAT_DESCRIPTION has said
/// that there are checksums.
fn without_stray_checksum<'a>(event: &WireEvent, data: &'a [u8]) -> &'a [u8] {
    let Some((body, written)) = data.split_last_chunk::<4>() else { return data };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header_bytes(event));
    hasher.update(body);
    if hasher.finalize() == u32::from_le_bytes(*written) { body } else { data }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_the_first_file_is_left_out_however_it_ends() {
        let event = |event_type, log_pos| RawEvent {
            event_type,
            timestamp: 0,
            server_id: 1,
            log_pos,
            flags: 0,
            body: Bytes::new(),
        };
        let start = 5 << 30;
        let mut skip = Skip(start);
        skip.moved("", "b.000001");
        assert!(skip.leaves_out(&event(kind::XID, start)));
        assert!(
            !skip.leaves_out(&event(kind::FORMAT_DESCRIPTION, 120)) && !skip.leaves_out(&event(kind::ROTATE, start))
        );
        assert!(!skip.leaves_out(&event(kind::XID, start + 31)));
        skip.moved("b.000001", "b.000001");
        assert!(skip.leaves_out(&event(kind::XID, start)));
        skip.moved("b.000001", "b.000002");
        assert!(!skip.leaves_out(&event(kind::XID, 500)));
    }
}
