//! Names of documents and addresses of servers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The name of a document: `[a-z0-9][a-z0-9_-]{0,62}`, so that it can stand in topic names, ids and paths as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = s.as_bytes();
        let ok = (1..=63).contains(&bytes.len())
            && bytes.first().is_some_and(|b| first(*b))
            && bytes.iter().all(|b| first(*b) || *b == b'_' || *b == b'-');
        ok.then(|| Self(s.to_owned())).ok_or_else(|| {
            format!("{s:?} is not a name: 1 to 63 of a-z, 0-9, _ and -, with a letter or a digit in front")
        })
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" })
    }
}

/// `host:port`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("{s:?} is not an address like db1:3306 or [::1]:3306");
        let (host, port) = s.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if let Some(inner) = bracketed {
            inner.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
        }
        let host_ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if bracketed.is_none() && (host.is_empty() || !host.chars().all(host_ok)) {
            return Err(wrong());
        }
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let port: u16 = port.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?;
        Ok(Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([A-Za-z0-9._-]+|\\[[0-9a-fA-F:.]+\\]):[0-9]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        for ok in ["shop", "0", "a_b-c", &"x".repeat(63)] {
            assert!(ok.parse::<Name>().is_ok(), "{ok}");
        }
        for wrong in ["", "Shop", "-a", "_a", "a.b", "a/b", "ä", &"x".repeat(64)] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        for ok in ["db1:3306", "127.0.0.1:1", "[::1]:3306", "a-b.c_d:65535"] {
            assert_eq!(ok.parse::<Address>().unwrap().to_string(), ok);
        }
        for wrong in ["db1", "db1:", ":3306", "db1:0", "db1:65536", "db1:+1", "::1:3306", "[x]:1", "a b:1", "u@h:1"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
