//! The records of a source's checkpoint topic, in JSON: `begin` opens a Kafka transaction, `checkpoint` ends it.
//!
//! A committed checkpoint says up to where the source's binlog is published; capture starts from the last one. The
//! readers are strict: a format number that this version does not know, or an unknown field, is an error, since going
//! on from a half-understood position could lose rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::error::{Error, Result};
use crate::gtid::GtidPosition;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// Ordinals of a source that was never published begin here.
pub const FIRST_ORDINAL: i64 = 1;
/// Kafka key of [`Begin`] records.
pub const BEGIN_KEY: &str = "begin";
/// Kafka key of [`Checkpoint`] records.
pub const CHECKPOINT_KEY: &str = "checkpoint";

/// What tells one kind of record from the other inside the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RecordKind {
    Begin,
    Checkpoint,
}

/// The first record of a Kafka transaction: it makes a late duplicate abort fail loudly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Count of leaderships of the source, from 1.
    pub epoch: u64,
    /// Raised when an operator moves the position back, from 0.
    pub generation: i32,
    /// When it was written, milliseconds since 1970-01-01 UTC.
    pub time: i64,
}

/// Server kinds by how they write GTIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// MariaDB: a GTID is `domain-server-sequence`.
    Mariadb,
    /// MySQL: a GTID is `uuid[:tag]:number`.
    Mysql,
}

impl Flavor {
    /// The name in checkpoints, in the events' `connector` field and in schema names: `mariadb` or `mysql`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        }
    }
}

impl std::fmt::Display for Flavor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which server the position is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerIdentity {
    /// The kind of server.
    pub flavor: Flavor,
    /// Its `server_id`.
    pub server_id: u32,
    /// Its `server_uuid`; MySQL only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_uuid: Option<String>,
}

impl ServerIdentity {
    /// A MariaDB server.
    pub fn mariadb(server_id: u32) -> Self {
        Self { flavor: Flavor::Mariadb, server_id, server_uuid: None }
    }

    /// A MySQL server.
    pub fn mysql(server_id: u32, server_uuid: impl Into<String>) -> Self {
        Self { flavor: Flavor::Mysql, server_id, server_uuid: Some(server_uuid.into()) }
    }

    /// Whether both are the same server, so that names of binlog files mean the same. MySQL's uuid decides, as its
    /// server_id can be changed while it runs.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.server_uuid, &other.server_uuid) {
            (Some(one), Some(two)) => self.flavor == other.flavor && one.eq_ignore_ascii_case(two),
            _ => self.flavor == other.flavor && self.server_id == other.server_id,
        }
    }
}

impl std::fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.server_uuid {
            Some(uuid) => write!(f, "{} server {uuid} (server_id {})", self.flavor, self.server_id),
            None => write!(f, "{} server of server_id {}", self.flavor, self.server_id),
        }
    }
}

/// The last record of a Kafka transaction: everything before `position` is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Count of leaderships of the source, from 1.
    pub epoch: u64,
    /// Raised when an operator moves the position back, from 0.
    pub generation: i32,
    /// The server read from.
    pub server: ServerIdentity,
    /// GTID position: all transactions in it are published or were not followed.
    pub gtid: GtidPosition,
    /// Binlog file of the position; empty until the first event after a start by GTID has shown it.
    pub file: String,
    /// Byte position in the file, the start of the next event; 0 while the file is not known.
    pub position: u64,
    /// The ordinal at which the next source transaction starts.
    pub ordinal: i64,
    /// XA transactions prepared and not yet decided, none of them with rows of followed tables: `gtrid,bqual,format`, the
    /// first two in hex.
    pub prepared: Vec<String>,
    /// Tables that are stopped, by `schema.table`, with the GTID position where each stopped. Always empty in this version.
    pub stopped: BTreeMap<String, String>,
    /// Id of the last operator's request that was carried out.
    pub request: Option<String>,
    /// When it was written, milliseconds since 1970-01-01 UTC.
    pub time: i64,
}

/// A record of the checkpoint topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Opens a Kafka transaction.
    Begin(Begin),
    /// Ends a Kafka transaction.
    Checkpoint(Checkpoint),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginJson {
    format: u32,
    kind: RecordKind,
    epoch: u64,
    generation: i32,
    time: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointJson {
    format: u32,
    kind: RecordKind,
    epoch: u64,
    generation: i32,
    server: ServerIdentity,
    gtid: GtidPosition,
    file: String,
    position: u64,
    ordinal: i64,
    prepared: Vec<String>,
    stopped: BTreeMap<String, String>,
    request: Option<String>,
    time: i64,
}

impl Begin {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        json(&BeginJson {
            format: FORMAT,
            kind: RecordKind::Begin,
            epoch: self.epoch,
            generation: self.generation,
            time: self.time,
        })
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// `OT4006` when it is not a begin record of a known format.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        check_format(bytes)?;
        let raw: BeginJson = serde_json::from_slice(bytes).map_err(invalid)?;
        if raw.kind != RecordKind::Begin {
            return Err(Error::new(Code::RecordInvalid, "a record with key \"begin\" is of another kind"));
        }
        Ok(Self { epoch: raw.epoch, generation: raw.generation, time: raw.time })
    }
}

impl Checkpoint {
    /// Behind a GTID position of a server, whose place in the binlog files is not known: no leadership, generation 0,
    /// the first ordinal.
    pub fn new(server: ServerIdentity, gtid: GtidPosition) -> Self {
        Self {
            epoch: 0,
            generation: 0,
            server,
            gtid,
            file: String::new(),
            position: 0,
            ordinal: FIRST_ORDINAL,
            prepared: Vec::new(),
            stopped: BTreeMap::new(),
            request: None,
            time: 0,
        }
    }

    /// The record's value; also what the mirror in ZooKeeper holds.
    pub fn to_json(&self) -> Vec<u8> {
        let c = self.clone();
        json(&CheckpointJson {
            format: FORMAT,
            kind: RecordKind::Checkpoint,
            epoch: c.epoch,
            generation: c.generation,
            server: c.server,
            gtid: c.gtid,
            file: c.file,
            position: c.position,
            ordinal: c.ordinal,
            prepared: c.prepared,
            stopped: c.stopped,
            request: c.request,
            time: c.time,
        })
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// `OT4006` when it is not a checkpoint of a known format.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        check_format(bytes)?;
        let c: CheckpointJson = serde_json::from_slice(bytes).map_err(invalid)?;
        if c.kind != RecordKind::Checkpoint {
            return Err(Error::new(Code::RecordInvalid, "a record with key \"checkpoint\" is of another kind"));
        }
        Ok(Self {
            epoch: c.epoch,
            generation: c.generation,
            server: c.server,
            gtid: c.gtid,
            file: c.file,
            position: c.position,
            ordinal: c.ordinal,
            prepared: c.prepared,
            stopped: c.stopped,
            request: c.request,
            time: c.time,
        })
    }
}

impl Record {
    /// Reads a record of the checkpoint topic by its key.
    ///
    /// # Errors
    /// `OT4006` when the key or the value is not one of Otter's.
    pub fn read(key: &[u8], value: &[u8]) -> Result<Self> {
        if key == CHECKPOINT_KEY.as_bytes() {
            Checkpoint::from_json(value).map(Self::Checkpoint)
        } else if key == BEGIN_KEY.as_bytes() {
            Begin::from_json(value).map(Self::Begin)
        } else {
            let key = String::from_utf8_lossy(key).into_owned();
            Err(Error::new(Code::RecordInvalid, format!("the checkpoint topic holds a record with the key {key:?}")))
        }
    }
}

/// The format number first, so that a later format is named as such instead of as a missing field.
fn check_format(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(invalid)?;
    if head.format != FORMAT {
        let message = format!("a checkpoint record has format {}, this version reads {FORMAT}", head.format);
        return Err(Error::new(Code::RecordInvalid, message));
    }
    Ok(())
}

fn invalid(e: serde_json::Error) -> Error {
    Error::new(Code::RecordInvalid, format!("a checkpoint record cannot be read: {e}")).with_source(e)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs of numbers, strings and string-keyed maps: serialisation has no way to fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Checkpoint {
        Checkpoint {
            epoch: 3,
            file: "binlog.000007".into(),
            position: 1234,
            ordinal: 99_000,
            time: 1_700_000_000_123,
            ..Checkpoint::new(ServerIdentity::mariadb(1), "0-1-42".parse().unwrap())
        }
    }

    #[test]
    fn records_are_as_published() {
        let golden = include_bytes!("../tests/golden/checkpoint/checkpoint.json");
        let checkpoint = sample();
        assert_eq!(checkpoint.to_json(), golden.trim_ascii_end());
        assert_eq!(Checkpoint::from_json(golden).unwrap(), checkpoint);
        let golden = include_bytes!("../tests/golden/checkpoint/begin.json");
        let begin = Begin { epoch: 3, generation: 0, time: 1_700_000_000_100 };
        assert_eq!(begin.to_json(), golden.trim_ascii_end());
        assert_eq!(Record::read(b"begin", golden).unwrap(), Record::Begin(begin));
    }

    #[test]
    fn a_mysql_server_is_told_by_its_uuid() {
        let golden = include_bytes!("../tests/golden/checkpoint/checkpoint-mysql.json");
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let server = ServerIdentity::mysql(1, uuid);
        let gtid = format!("{uuid}:1-5:8:tag:2").parse().unwrap();
        let checkpoint = Checkpoint { request: Some("r1".into()), generation: 2, ..sample() };
        let checkpoint = Checkpoint { server: server.clone(), gtid, ..checkpoint };
        assert_eq!(checkpoint.to_json(), golden.trim_ascii_end());
        assert_eq!(Checkpoint::from_json(golden).unwrap(), checkpoint);
        assert!(server.is_same(&ServerIdentity::mysql(2, uuid.to_uppercase())));
        assert!(!server.is_same(&ServerIdentity::mysql(1, uuid.replace('3', "4"))));
        assert!(!server.is_same(&ServerIdentity::mariadb(1)));
        assert!(!ServerIdentity::mariadb(2).is_same(&ServerIdentity::mariadb(1)));
    }

    #[test]
    fn flavors_are_written_by_name() {
        for flavor in [Flavor::Mariadb, Flavor::Mysql] {
            assert_eq!(serde_json::to_string(&flavor).unwrap(), format!("\"{flavor}\""));
        }
    }

    #[test]
    fn strangers_are_refused() {
        let text = String::from_utf8(sample().to_json()).unwrap();
        let later = text.replace("\"format\":1", "\"format\":2");
        assert!(Checkpoint::from_json(later.as_bytes()).unwrap_err().message().contains("format 2"));
        let more = text.replace("\"format\":1", "\"format\":1,\"new\":1");
        assert!(Checkpoint::from_json(more.as_bytes()).is_err());
        assert!(Begin::from_json(text.as_bytes()).is_err());
        assert!(Record::read(b"other", text.as_bytes()).is_err());
        assert!(Record::read(b"checkpoint", b"").is_err());
    }
}
