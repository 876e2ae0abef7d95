//! MariaDB GTIDs and positions: `0-1-42`, and `0-1-42,7-2-9` with the last GTID of each domain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::error::Error;

/// A MariaDB GTID, `domain-server-sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gtid {
    /// The replication domain.
    pub domain: u32,
    /// The server_id of the server where the transaction was first committed.
    pub server: u32,
    /// The number within the domain.
    pub sequence: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let invalid = || Error::new(Code::DocumentInvalid, format!("{s:?} is not a GTID like 0-1-42"));
        let mut parts = s.trim().split('-');
        let (Some(domain), Some(server), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self { domain: number(domain)?, server: number(server)?, sequence: number(sequence)? })
    }
}

/// Digits only: `parse` alone would take a sign.
fn number<T: FromStr>(s: &str) -> Result<T, Error> {
    let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| s.parse().ok())
        .flatten()
        .ok_or_else(|| Error::new(Code::DocumentInvalid, format!("{s:?} is not a number of a GTID like 0-1-42")))
}

/// A position in a MariaDB server's binlogs: the last GTID of each domain. Text: GTIDs with commas, by domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidPosition {
    domains: BTreeMap<u32, Gtid>,
}

impl GtidPosition {
    /// Whether there is no GTID in it.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The last GTID of a domain.
    pub fn last(&self, domain: u32) -> Option<Gtid> {
        self.domains.get(&domain).copied()
    }

    /// The last GTIDs, by domain.
    pub fn iter(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.domains.values().copied()
    }

    /// Whether the transaction lies at or before the position. Sequences rise within a domain whatever the server.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.last(gtid.domain).is_some_and(|last| last.sequence >= gtid.sequence)
    }

    /// Moves the GTID's domain to it. The caller reads a binlog, whose order is the truth; also backwards, therefore.
    pub fn advance(&mut self, gtid: Gtid) {
        self.domains.insert(gtid.domain, gtid);
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, gtid) in self.domains.values().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            gtid.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for GtidPosition {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let mut position = Self::default();
        if s.trim().is_empty() {
            return Ok(position);
        }
        for part in s.split(',') {
            let gtid: Gtid = part.parse()?;
            if position.domains.insert(gtid.domain, gtid).is_some() {
                let message = format!("the GTID position {s:?} names domain {} twice", gtid.domain);
                return Err(Error::new(Code::DocumentInvalid, message));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_printed() {
        let position: GtidPosition = " 7-2-9, 0-1-42".parse().unwrap();
        assert_eq!(position.to_string(), "0-1-42,7-2-9");
        assert_eq!("".parse::<GtidPosition>().unwrap(), GtidPosition::default());
        for wrong in ["0-1", "0-1-2-3", "0-1-x", "0-1-2,", "0-1-2,0-2-3", "-1-1-1", "+0-1-1", "4294967296-1-1"] {
            assert!(wrong.parse::<GtidPosition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_position_contains_what_is_before_it() {
        let mut position: GtidPosition = "0-1-42".parse().unwrap();
        let gtid = |s: &str| s.parse::<Gtid>().unwrap();
        assert!(position.contains(&gtid("0-1-42")));
        assert!(position.contains(&gtid("0-9-1")));
        assert!(!position.contains(&gtid("0-1-43")));
        assert!(!position.contains(&gtid("1-1-1")));
        position.advance(gtid("0-2-43"));
        position.advance(gtid("1-1-1"));
        assert_eq!(position.to_string(), "0-2-43,1-1-1");
    }
}
