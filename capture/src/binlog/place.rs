//! Places in a server's binlogs: where a source can begin, and whether a checkpoint can still be gone on from.
//!
//! A place is the boundary between two transactions, by GTID position and by file and offset, both of the same boundary.
//! What cannot be gone on from exactly is refused with what the server has instead: nothing here guesses.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use schemas::checkpoint::{Checkpoint, Flavor};
use schemas::documents::{FIRST_POSITION, PositionMode, Start};
use schemas::gtid::GtidPosition;
use schemas::{Code, Error, Result};

use super::scan;
use super::server::{SourceServer, close};

/// How long a new start waits until no XA transaction is prepared: milliseconds lie between the phases of one that is not
/// forgotten.
const PREPARED_FOR: Duration = Duration::from_secs(3);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A boundary between two transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Everything before the boundary.
    pub gtid: GtidPosition,
    /// The binlog file; empty where only the GTID position is known.
    pub file: String,
    /// The offset in it; 0 where the file is not known.
    pub position: u64,
}

/// Where a dump begins, as the server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Behind a GTID position.
    Gtid(GtidPosition),
    /// At an offset of a file.
    File {
        /// The file.
        file: String,
        /// The offset, a boundary between transactions.
        position: u64,
    },
}

impl Entry {
    /// The offset, where it is beyond what a request for a dump can hold; else 0.
    pub(super) fn beyond_request(&self) -> u64 {
        match self {
            Self::File { position, .. } if *position > u64::from(u32::MAX) => *position,
            _ => 0,
        }
    }
}

impl From<GtidPosition> for Entry {
    fn from(position: GtidPosition) -> Self {
        Self::Gtid(position)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gtid(position) if position.is_empty() => f.write_str("the beginning"),
            Self::Gtid(position) => write!(f, "GTID {position}"),
            Self::File { file, position } => write!(f, "{file}:{position}"),
        }
    }
}

/// A binlog file as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BinlogFile {
    pub(super) name: String,
    pub(super) size: u64,
}

/// What a server's binlogs hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    /// From the oldest to the newest.
    pub(super) files: Vec<BinlogFile>,
    /// What came before the oldest file: gone.
    pub(super) purged: GtidPosition,
    /// Everything that was committed.
    pub(super) executed: GtidPosition,
}

impl std::fmt::Display for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.files.first(), self.files.last()) {
            (Some(first), Some(last)) => write!(f, "it has {} to {}:{}", first.name, last.name, last.size)?,
            _ => f.write_str("it has no binlog files")?,
        }
        match (self.purged.is_empty(), self.executed.is_empty()) {
            (_, true) => Ok(()),
            (true, false) => write!(f, ", everything up to GTID {}", self.executed),
            (false, false) => write!(f, ", what is behind GTID {}, up to GTID {}", self.purged, self.executed),
        }
    }
}

/// The number at a binlog file's end: names stop being in the order of the alphabet at a million.
fn number(file: &str) -> Option<u64> {
    file.rsplit_once('.').and_then(|(_, number)| number.parse().ok())
}

impl SourceServer {
    /// The binlog files, from the oldest.
    pub(super) async fn files(&self, conn: &mut Conn) -> Result<Vec<BinlogFile>> {
        let rows: Vec<Row> = self.ask(conn.query("SHOW BINARY LOGS")).await?;
        let file = |row: Row| Some(BinlogFile { name: row.get_opt(0)?.ok()?, size: row.get_opt(1)?.ok()? });
        Ok(rows.into_iter().filter_map(file).collect())
    }

    /// What it has.
    pub(super) async fn holdings(&self) -> Result<Holdings> {
        let mut conn = self.connection().await?;
        let files = self.files(&mut conn).await?;
        let (purged, executed) = match self.flavor {
            Flavor::Mysql => {
                // In this order: what is purged in between is missed, and the dump itself then says so.
                let sql = "SELECT @@global.gtid_purged, @@global.gtid_executed";
                let (purged, executed): (String, String) = self.ask(conn.query_first(sql)).await?.unwrap_or_default();
                (self.gtids_of(&purged)?, self.gtids_of(&executed)?)
            }
            Flavor::Mariadb => {
                let purged = match files.first() {
                    Some(oldest) => self.known_gtid_at(&mut conn, &oldest.name, FIRST_POSITION).await?,
                    None => None,
                };
                // Where it cannot be told what is purged, the dump itself says so.
                let purged = purged.unwrap_or_default();
                let executed: Option<String> = self.ask(conn.query_first("SELECT @@global.gtid_binlog_pos")).await?;
                (purged, self.gtids_of(&executed.unwrap_or_default())?)
            }
        };
        close(conn).await;
        Ok(Holdings { files, purged, executed })
    }

    /// In words: the part of the binlog that the server still has.
    pub(super) async fn available(&self) -> String {
        match self.holdings().await {
            Ok(holdings) => holdings.to_string(),
            Err(error) => format!("what it has could not be read ({error})"),
        }
    }

    /// MariaDB's GTID position at an offset of a file.
    async fn gtid_at(&self, conn: &mut Conn, file: &str, position: u64) -> Result<GtidPosition> {
        let known = self.known_gtid_at(conn, file, position).await?;
        known.ok_or_else(|| {
            let message = format!("{}: the GTID position at {file}:{position} cannot be read", self.address);
            Error::new(Code::SourceUnreachable, message)
        })
    }

    /// The same; `None` when the file went away in between, or cannot be read.
    async fn known_gtid_at(&self, conn: &mut Conn, file: &str, position: u64) -> Result<Option<GtidPosition>> {
        let sql = "SELECT BINLOG_GTID_POS(?, ?)";
        let text: Option<Option<String>> = self.ask(conn.exec_first(sql, (file, position))).await?;
        text.flatten().map(|text| self.gtids_of(&text)).transpose()
    }

    fn gtids_of(&self, text: &str) -> Result<GtidPosition> {
        text.parse().map_err(|e: Error| {
            let message = format!("{}: the server's GTID position {text:?} cannot be read", self.address);
            Error::new(Code::SourceSetting, message).with_source(e)
        })
    }

    /// The end of the binlog.
    async fn latest(&self) -> Result<Place> {
        let mut conn = self.connection().await?;
        let new_name = self.flavor == Flavor::Mysql && self.is_from((8, 2, 0));
        let sql = if new_name { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let row: Option<Row> = self.ask(conn.query_first(sql)).await?;
        let fields = |row: Row| {
            let executed = row.get_opt::<String, _>(4).and_then(std::result::Result::ok);
            Some((row.get_opt::<String, _>(0)?.ok()?, row.get_opt::<u64, _>(1)?.ok()?, executed.unwrap_or_default()))
        };
        let Some((file, position, executed)) = row.and_then(fields) else { return Err(self.no_binlog()) };
        let gtid = match self.flavor {
            // What is being committed stands before the offset and is not executed yet. By GTID it comes again; by file
            // the set must be the offset's.
            Flavor::Mysql if self.mode == PositionMode::File && self.gtids => {
                close(conn).await;
                return self.at(&file, position).await;
            }
            Flavor::Mysql => self.gtids_of(&executed)?,
            Flavor::Mariadb => self.gtid_at(&mut conn, &file, position).await?,
        };
        close(conn).await;
        Ok(Place { gtid, file, position })
    }

    /// The head of the oldest file.
    async fn earliest(&self) -> Result<Place> {
        let Holdings { files, purged, .. } = self.holdings().await?;
        let Some(oldest) = files.into_iter().next() else { return Err(self.no_binlog()) };
        let mut place = Place { gtid: purged, file: oldest.name, position: FIRST_POSITION };
        if self.flavor == Flavor::Mysql {
            // A server that was given its history by a copy counts more as purged than was ever in its files.
            place.gtid.merge(&scan::head(self, &place.file).await?.gtid);
        }
        Ok(place)
    }

    /// The start of a transaction at this offset of this file.
    async fn at(&self, file: &str, position: u64) -> Result<Place> {
        let holdings = self.holdings().await?;
        let found = holdings.find(file, position).map_err(|lost| lost.error(self, &holdings, file, position))?;
        let gtid = scan::boundary(self, found, position).await?;
        let Some(mut gtid) = gtid else {
            let message = format!("{file}:{position} is not the start of a transaction; {holdings}");
            return Err(Error::new(Code::StartRefused, format!("{}: {message}", self.address)));
        };
        match self.flavor {
            Flavor::Mysql => gtid.merge(&holdings.purged),
            Flavor::Mariadb => {
                let mut conn = self.connection().await?;
                gtid = self.gtid_at(&mut conn, file, position).await?;
                close(conn).await;
            }
        }
        Ok(Place { gtid, file: file.to_owned(), position })
    }

    /// A GTID position that the server can go on from.
    async fn behind(&self, position: &GtidPosition) -> Result<Place> {
        let refused = |why: String| Err(Error::new(Code::StartRefused, format!("{}: {why}", self.address)));
        if !self.gtids {
            return refused("the server gives out no GTIDs (gtid_mode); start by file or timestamp".to_owned());
        }
        if position.flavor().is_some_and(|flavor| flavor != self.flavor) {
            return refused(format!("the GTID position {position} is of another kind of server than {}", self.flavor));
        }
        let holdings = self.holdings().await?;
        holdings.check_purged(position).map_err(|e| self.located(e))?;
        let unknown = position.missing_in(&holdings.executed);
        if !unknown.is_empty() {
            return refused(format!("GTID {unknown} is not on the server; {holdings}"));
        }
        Ok(Place { gtid: position.clone(), ..Place::default() })
    }

    fn no_binlog(&self) -> Error {
        Error::new(Code::SourceSetting, format!("{}: the server has no binlog files", self.address))
    }

    fn located(&self, error: Error) -> Error {
        Error::new(error.code(), format!("{}: {}", self.address, error.message()))
    }
}

/// Why a file and offset cannot be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// The file is older than the oldest.
    Purged,
    /// The file or the offset lies behind the end: the server's binlogs were made anew.
    Beyond,
}

impl Lost {
    fn error(self, server: &SourceServer, holdings: &Holdings, file: &str, position: u64) -> Error {
        let (code, what) = match self {
            Self::Purged => (Code::BinlogPurged, "is purged"),
            Self::Beyond => (Code::HistoryLost, "is not on the server"),
        };
        Error::new(code, format!("{}: {file}:{position} {what}; {holdings}", server.address))
    }
}

impl Holdings {
    fn find(&self, file: &str, position: u64) -> std::result::Result<&BinlogFile, Lost> {
        if let Some(found) = self.files.iter().find(|f| f.name == file) {
            return if position <= found.size { Ok(found) } else { Err(Lost::Beyond) };
        }
        let oldest = self.files.first().and_then(|f| number(&f.name));
        match (number(file), oldest) {
            (Some(wanted), Some(oldest)) if wanted < oldest => Err(Lost::Purged),
            _ => Err(Lost::Beyond),
        }
    }

    /// Everything before the oldest file must be in the position.
    fn check_purged(&self, position: &GtidPosition) -> Result<()> {
        let missing = self.purged.missing_in(position);
        if missing.is_empty() {
            return Ok(());
        }
        let from = Entry::Gtid(position.clone());
        let message = format!("the binlog from {from} on is purged, GTID {missing} is missing; {self}");
        Err(Error::new(Code::BinlogPurged, message))
    }
}

/// Turns a document's or an operator's start into a place.
///
/// # Errors
/// `BinlogPurged`, `HistoryLost` and `StartRefused` with what the server has; `SourceUnreachable`, `SourceGrant`.
pub async fn resolve_start(server: &SourceServer, start: &Start) -> Result<Place> {
    match start {
        Start::Latest => server.latest().await,
        Start::Earliest => server.earliest().await,
        Start::Gtid(position) => server.behind(position).await,
        Start::File { file, position } => server.at(file, *position).await,
        Start::Timestamp(moment) => {
            let mut place = scan::first_since(server, *moment).await?;
            if server.flavor == Flavor::Mariadb {
                let mut conn = server.connection().await?;
                place.gtid = server.gtid_at(&mut conn, &place.file, place.position).await?;
                close(conn).await;
            }
            Ok(place)
        }
    }
}

/// How the dump goes on from a checkpoint, once it is known that it can.
///
/// # Errors
/// `ServerChanged` where file and offset are the position and the server is another; `BinlogPurged` and `HistoryLost`
/// with what the server has; `SourceUnreachable` where a replica has not yet received what was published.
pub async fn entry(server: &SourceServer, mode: PositionMode, at: &Checkpoint) -> Result<Entry> {
    let same = at.server.is_same(&server.identity());
    let known = !at.file.is_empty();
    let by_gtid = server.gtids && (mode != PositionMode::File || !known);
    if !by_gtid && !known {
        let message = format!("{}: the server gives out no GTIDs, and no binlog file is known yet", server.address);
        return Err(Error::new(Code::StartRefused, message));
    }
    if !by_gtid && !same {
        let now = server.identity();
        let message = format!("{}:{} is a position on the {}, and this is the {now}", at.file, at.position, at.server);
        return Err(Error::new(Code::ServerChanged, format!("{}: {message}", server.address)));
    }
    let holdings = server.holdings().await?;
    // A server of MariaDB may keep its binlog without files.
    if known && same && !holdings.files.is_empty() {
        match holdings.find(&at.file, at.position) {
            Err(lost) if !by_gtid || lost == Lost::Beyond => {
                return Err(lost.error(server, &holdings, &at.file, at.position));
            }
            _ => {}
        }
    }
    // By file too: after a reset of the binlogs, files and offsets of the same names hold something else.
    check_published(server, &holdings, at)?;
    if !by_gtid {
        return Ok(Entry::File { file: at.file.clone(), position: at.position });
    }
    holdings.check_purged(&at.gtid).map_err(|e| server.located(e))?;
    Ok(Entry::Gtid(at.gtid.clone()))
}

/// What was published must be on the server.
fn check_published(server: &SourceServer, holdings: &Holdings, at: &Checkpoint) -> Result<()> {
    let unknown = at.gtid.missing_in(&holdings.executed);
    let own = match server.server_uuid {
        Some(uuid) => !unknown.of_server(uuid).is_empty(),
        None => unknown.domains().any(|gtid| gtid.server == server.server_id),
    };
    if own {
        let message = format!("{}: GTID {unknown} was published and is not on the server that", server.address);
        let message = format!("{message} made it: its binlogs were reset, or it lost its end; {holdings}");
        return Err(Error::new(Code::HistoryLost, message));
    }
    if !unknown.is_empty() {
        let message = format!("{}: GTID {unknown} has not reached this server yet; {holdings}", server.address);
        return Err(Error::new(Code::SourceUnreachable, message));
    }
    Ok(())
}

/// The place of a new start, taken while no XA transaction was prepared: a position lies behind the rows of those that are,
/// and their commit would pass with nothing to publish. Looks before and after, and for a while again where there are any.
///
/// # Errors
/// `SourceSetting` when some stay prepared; what [`resolve_start`] says.
pub async fn new_start(server: &SourceServer, start: &Start) -> Result<Place> {
    let until = Instant::now() + PREPARED_FOR;
    loop {
        let mut prepared = count_prepared(server).await?;
        if prepared == 0 {
            let place = resolve_start(server, start).await?;
            prepared = count_prepared(server).await?;
            if prepared == 0 {
                return Ok(place);
            }
        }
        if Instant::now() >= until {
            let message = format!(
                "{}: {prepared} prepared XA transactions (XA RECOVER lists them), whose rows lie before the start; \
                 commit or roll them back, then put the source again",
                server.address
            );
            return Err(Error::new(Code::SourceSetting, message));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many XA transactions are prepared.
async fn count_prepared(server: &SourceServer) -> Result<usize> {
    /// What MySQL says to a user without XA_RECOVER_ADMIN.
    const DENIED: u16 = 1401;

    let mut conn = server.connection().await?;
    let prepared = match conn.query::<Row, _>("XA RECOVER").await {
        Ok(rows) => rows.len(),
        Err(mysql_async::Error::Server(e)) if e.code == DENIED && server.flavor == Flavor::Mysql => {
            // The commit of one whose rows were not seen stops the source.
            tracing::info!(
                server = server.address,
                "XA_RECOVER_ADMIN is not granted: prepared XA transactions are not seen"
            );
            0
        }
        Err(error) => return Err(server.failed("look for prepared XA transactions", error)),
    };
    close(conn).await;
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(files: &[(&str, u64)]) -> Holdings {
        let files = files.iter().map(|(name, size)| BinlogFile { name: (*name).to_owned(), size: *size }).collect();
        Holdings { files, ..Holdings::default() }
    }

    #[test]
    fn files_are_ordered_by_their_numbers() {
        let holdings = holdings(&[("b.999999", 100), ("b.1000000", 50)]);
        assert!(holdings.find("b.999999", 100).is_ok());
        assert_eq!(holdings.find("b.1000000", 51), Err(Lost::Beyond));
        assert_eq!(holdings.find("b.999998", 4), Err(Lost::Purged));
        assert_eq!(holdings.find("b.1000001", 4), Err(Lost::Beyond));
        assert_eq!(holdings.find("other", 4), Err(Lost::Beyond));
    }

    #[test]
    fn what_is_purged_must_be_known() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let position = |text: &str| -> GtidPosition { text.replace('A', uuid).parse().unwrap() };
        let holdings = Holdings { purged: position("A:1-5"), executed: position("A:1-9"), ..holdings(&[("b.3", 9)]) };
        assert!(holdings.check_purged(&position("A:1-7")).is_ok());
        let error = holdings.check_purged(&position("A:1-3:5-6")).unwrap_err();
        assert_eq!(error.code(), Code::BinlogPurged);
        for part in [format!("GTID {uuid}:4 is missing"), "it has b.3 to b.3:9".to_owned(), format!("{uuid}:1-9")] {
            assert!(error.message().contains(&part), "{error}");
        }
    }
}
