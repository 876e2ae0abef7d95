//! Secrets by reference: documents name an environment variable or a file, the role that needs the secret resolves it.
//!
//! A [`Secret`] never prints: its `Debug` and `Display` show `***`, and it cannot be serialised.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::error::{Error, Result};

/// Where a secret is: `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub enum SecretRef {
    /// An environment variable of the process that needs the secret.
    Env(String),
    /// A file that this process can read; one newline at its end is not part of the secret.
    File(PathBuf),
}

impl SecretRef {
    /// The secret itself.
    ///
    /// # Errors
    /// `OT1003` when the variable is not set, or the file cannot be read or is not UTF-8.
    pub fn resolve(&self) -> Result<Secret> {
        match self {
            Self::Env(name) => std::env::var(name).map(Secret).map_err(|e| {
                // VarError's text would print a value that is not UTF-8.
                let why = match e {
                    std::env::VarError::NotPresent => "is not set",
                    std::env::VarError::NotUnicode(_) => "is not UTF-8",
                };
                Error::new(Code::SecretMissing, format!("the environment variable {name} {why}"))
            }),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    let message = format!("the secret file {} cannot be read: {e}", path.display());
                    Error::new(Code::SecretMissing, message).with_source(e)
                })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Secret(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

impl FromStr for SecretRef {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        // The text itself is never repeated: it may be the password that somebody wrote here by mistake.
        let wrong = WRONG.to_owned();
        match s.split_once(':') {
            Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(wrong),
        }
    }
}

/// What everybody is told who writes something else.
const WRONG: &str = "a secret is given by reference, env:NAME or file:PATH";

/// By hand: serde's own message would repeat a password that looks like a number.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(WRONG))?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> Self {
        secret.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// A resolved secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text, for tests and callers that got it elsewhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_resolved() {
        assert_eq!("env:A_B".parse::<SecretRef>().unwrap().to_string(), "env:A_B");
        assert!("env:CARGO_PKG_NAME".parse::<SecretRef>().unwrap().resolve().is_ok());
        let missing = "env:OTTER_NO_SUCH_VARIABLE".parse::<SecretRef>().unwrap().resolve().unwrap_err();
        assert_eq!(missing.to_string(), "OT1003: the environment variable OTTER_NO_SUCH_VARIABLE is not set");
        let missing = "file:/no/such/file".parse::<SecretRef>().unwrap().resolve().unwrap_err();
        assert!(missing.message().starts_with("the secret file /no/such/file cannot be read"));
    }

    #[test]
    fn a_password_in_place_of_a_reference_is_not_repeated() {
        let e = "hunter2".parse::<SecretRef>().unwrap_err();
        assert!(!e.contains("hunter2"));
        for json in ["\"hunter2\"", "4711", "[4711]", "{\"hunter2\": 4711}", "true"] {
            let e = serde_json::from_str::<SecretRef>(json).unwrap_err().to_string();
            assert!(e.starts_with(WRONG) && !e.contains("hunter2") && !e.contains("4711"), "{json}: {e}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }
}
