//! The target document, and encryption, which sources share.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Address, Name};
use crate::secret::SecretRef;

/// Where progress lives at a target unless the document says otherwise. Sources never publish a schema of this name.
pub const DEFAULT_SCHEMA: &str = "otter";

/// A server that pipelines write to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The document's name.
    pub name: Name,
    /// The kind of server; MariaDB is recognised by itself.
    #[serde(rename = "type", default)]
    pub target_type: TargetType,
    /// `host:port`.
    pub address: Address,
    /// The user.
    pub user: String,
    /// Where the password is, `env:NAME` or `file:PATH`; without it the user has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretRef>,
    /// Encryption.
    #[serde(default)]
    pub tls: Tls,
    /// Schema of Otter's own tables, created on first use.
    #[serde(default = "default_schema")]
    pub schema: String,
}

/// Kinds of target servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// MySQL or MariaDB.
    #[default]
    Mysql,
}

/// How connections to a server are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// How much is demanded.
    pub mode: TlsMode,
    /// PEM file of the authorities to trust instead of the system's, for the verifying modes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// How much encryption is demanded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When the server has it, unverified; plain otherwise.
    #[default]
    Preferred,
    /// Always, unverified.
    Required,
    /// Always, and an authority must have signed the server's certificate.
    VerifyCa,
    /// The same, and the certificate must be for the address.
    VerifyIdentity,
}

fn default_schema() -> String {
    DEFAULT_SCHEMA.to_owned()
}

impl Target {
    /// What types cannot say: path and reason of the first thing that is wrong.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        let wrong = |path: &str, why: &str| Err((path.to_owned(), why.to_owned()));
        if self.user.is_empty() {
            return wrong("user", "the user is empty");
        }
        if self.schema.is_empty() || self.schema.chars().count() > 64 {
            return wrong("schema", "the name of a schema has 1 to 64 characters");
        }
        if super::source::is_system_schema(&self.schema) {
            return wrong("schema", "a system schema cannot hold Otter's tables");
        }
        self.tls.validate()
    }
}

impl Tls {
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        let verifies = matches!(self.mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
        if self.ca.is_some() && !verifies {
            let why = "a certificate authority is for the modes verify-ca and verify-identity";
            return Err(("tls.ca".to_owned(), why.to_owned()));
        }
        Ok(())
    }
}
