//! GTIDs and positions of both kinds of servers.
//!
//! MariaDB: `0-1-42`, and `0-1-42,7-2-9` with the last GTID of each domain. MySQL: `uuid:5` or `uuid:tag:5`, and a set of
//! intervals, `uuid:1-5:8-10:tag:1-3,uuid:7`, in which every hole is kept. A position is of one kind of server.

mod mysql;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use mysql::{GtidSource, MysqlGtid, Tag, Uuid};

use crate::checkpoint::Flavor;
use crate::codes::Code;
use crate::error::Error;
use mysql::GtidSet;

/// A MariaDB GTID, `domain-server-sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MariadbGtid {
    /// The replication domain.
    pub domain: u32,
    /// The server_id of the server where the transaction was first committed.
    pub server: u32,
    /// The number within the domain.
    pub sequence: u64,
}

/// A transaction's global id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gtid {
    /// As MariaDB writes it.
    Mariadb(MariadbGtid),
    /// As MySQL writes it.
    Mysql(MysqlGtid),
}

impl Gtid {
    /// A GTID of MariaDB.
    pub fn mariadb(domain: u32, server: u32, sequence: u64) -> Self {
        Self::Mariadb(MariadbGtid { domain, server, sequence })
    }

    /// A GTID of MySQL; without a tag for an empty one.
    pub fn mysql(uuid: Uuid, tag: Tag, number: u64) -> Self {
        Self::Mysql(MysqlGtid { source: GtidSource { uuid, tag }, number })
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mariadb(gtid) => write!(f, "{}-{}-{}", gtid.domain, gtid.server, gtid.sequence),
            Self::Mysql(gtid) => gtid.fmt(f),
        }
    }
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let s = s.trim();
        if s.contains(':') {
            return mysql::read_gtid(s).map(Self::Mysql);
        }
        mariadb(s).map(Self::Mariadb)
    }
}

fn mariadb(s: &str) -> Result<MariadbGtid, Error> {
    let s = s.trim();
    let mut parts = s.split('-');
    let (Some(domain), Some(server), Some(sequence), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid(format!("{s:?} is not a GTID like 0-1-42 (MariaDB) or uuid:42 (MySQL)")));
    };
    Ok(MariadbGtid { domain: number(domain)?, server: number(server)?, sequence: number(sequence)? })
}

fn invalid(message: String) -> Error {
    Error::new(Code::DocumentInvalid, message)
}

/// Digits only: `parse` alone would take a sign.
fn number<T: FromStr>(s: &str) -> Result<T, Error> {
    let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| s.parse().ok()).flatten().ok_or_else(|| invalid(format!("{s:?} is not a number of a GTID")))
}

/// A position in a server's binlogs. MariaDB: the last GTID of each domain. MySQL: the set of all transactions so far.
///
/// Text: as the server prints it, in the server's order, on one line. The empty position is of either kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidPosition {
    domains: BTreeMap<u32, MariadbGtid>,
    set: GtidSet,
}

impl GtidPosition {
    /// Whether there is no GTID in it.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.set.is_empty()
    }

    /// The kind of server it is of; `None` when it is empty.
    pub fn flavor(&self) -> Option<Flavor> {
        match (self.domains.is_empty(), self.set.is_empty()) {
            (false, _) => Some(Flavor::Mariadb),
            (true, false) => Some(Flavor::Mysql),
            (true, true) => None,
        }
    }

    /// The last GTID of a MariaDB domain.
    pub fn last(&self, domain: u32) -> Option<MariadbGtid> {
        self.domains.get(&domain).copied()
    }

    /// MariaDB's last GTIDs, by domain.
    pub fn domains(&self) -> impl Iterator<Item = MariadbGtid> + '_ {
        self.domains.values().copied()
    }

    /// MySQL's sources in the server's order, each with its closed intervals in rising order.
    pub fn intervals(&self) -> impl Iterator<Item = (GtidSource, impl Iterator<Item = (u64, u64)>)> {
        self.set.iter()
    }

    /// Whether the transaction lies at or before the position (MariaDB: sequences rise within a domain whatever the
    /// server), or is in the set (MySQL).
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match gtid {
            Gtid::Mariadb(gtid) => self.last(gtid.domain).is_some_and(|last| last.sequence >= gtid.sequence),
            Gtid::Mysql(gtid) => self.set.contains(gtid),
        }
    }

    /// Moves over a transaction: its domain to it (MariaDB), or it into the set (MySQL). The caller reads a binlog, whose
    /// order is the truth; MariaDB's domains also go backwards, therefore.
    pub fn advance(&mut self, gtid: Gtid) {
        match gtid {
            Gtid::Mariadb(gtid) => {
                self.domains.insert(gtid.domain, gtid);
            }
            Gtid::Mysql(gtid) => self.set.add(gtid),
        }
    }

    /// Takes the closed interval of a MySQL source in.
    pub fn add_interval(&mut self, source: GtidSource, start: u64, last: u64) {
        self.set.add_interval(source, start, last);
    }

    /// Takes everything in that another position contains.
    pub fn merge(&mut self, other: &Self) {
        for gtid in other.domains.values() {
            if !self.contains(&Gtid::Mariadb(*gtid)) {
                self.domains.insert(gtid.domain, *gtid);
            }
        }
        self.set.merge(&other.set);
    }

    /// What this position contains and `other` does not. Of MariaDB: the last GTIDs of the domains in which `other` is
    /// behind.
    #[must_use]
    pub fn missing_in(&self, other: &Self) -> Self {
        let ahead = self.domains.values().filter(|gtid| !other.contains(&Gtid::Mariadb(**gtid)));
        let domains = ahead.map(|gtid| (gtid.domain, *gtid)).collect();
        Self { domains, set: self.set.without(&other.set) }
    }

    /// Whether `other` contains everything that this position contains.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.missing_in(other).is_empty()
    }

    /// The part whose numbers a MySQL server gave out itself.
    #[must_use]
    pub fn of_server(&self, uuid: Uuid) -> Self {
        let mut own = Self::default();
        for (source, intervals) in self.intervals().filter(|(source, _)| source.uuid == uuid) {
            for (start, end) in intervals {
                own.set.add_interval(source, start, end);
            }
        }
        own
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, gtid) in self.domains.values().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            Gtid::Mariadb(*gtid).fmt(f)?;
        }
        self.set.fmt(f)
    }
}

impl FromStr for GtidPosition {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let mut position = Self::default();
        if s.trim().is_empty() {
            return Ok(position);
        }
        for part in s.split(',').map(str::trim) {
            if part.contains(':') {
                position.set.read_part(part)?;
                continue;
            }
            let gtid = mariadb(part)?;
            if position.domains.insert(gtid.domain, gtid).is_some() {
                return Err(invalid(format!("the GTID position {s:?} names domain {} twice", gtid.domain)));
            }
        }
        if !position.domains.is_empty() && !position.set.is_empty() {
            return Err(invalid(format!("the GTID position {s:?} mixes GTIDs of MariaDB and of MySQL")));
        }
        Ok(position)
    }
}

impl TryFrom<String> for GtidPosition {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<GtidPosition> for String {
    fn from(position: GtidPosition) -> Self {
        position.to_string()
    }
}
