//! Who changed what: the records of the audit trail (docs/formats/audit.md).

use schemas::documents::Kind;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, Via};
use coordination::Role;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditAction {
    /// A document was created.
    Create,
    /// A document was changed.
    Change,
    /// A document was deleted.
    Delete,
    /// The positions or progress of a deleted document were taken away.
    Purge,
    /// A pipeline was paused.
    Pause,
    /// A pipeline was resumed.
    Resume,
    /// A request was submitted, such as to seek.
    Request,
    /// A token was made.
    TokenCreate,
    /// A token was revoked.
    TokenRevoke,
    /// A schema was registered through the registry's API.
    SchemaRegister,
    /// Versions of a subject were hidden.
    SchemaHide,
}

/// One change, as it stands on the topic `__otter.<cluster>.audit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, milliseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who: the token's name, or the user of the host that worked on ZooKeeper directly.
    pub who: String,
    /// The role of the token.
    pub role: Role,
    /// By which way.
    pub via: Via,
    /// Where the request came from; null without the API.
    pub address: Option<String>,
    /// What was done.
    pub action: AuditAction,
    /// The document's kind, `token` or `subject`.
    pub kind: String,
    /// The document's name, the token's or the subject's.
    pub name: String,
    /// The document's version before; null when there was none.
    pub before: Option<i32>,
    /// The document's version after; null when there is none.
    pub after: Option<i32>,
    /// More about it: the fields that changed, a request's id and action.
    pub details: serde_json::Value,
}

impl AuditRecord {
    /// A record of now about a document; `details` is null.
    pub fn of(caller: &Caller, action: AuditAction, kind: Kind, name: &str) -> Self {
        Self::about(caller, action, kind.as_str(), name)
    }

    /// A record of now about anything.
    pub fn about(caller: &Caller, action: AuditAction, kind: &str, name: &str) -> Self {
        Self {
            time: now(),
            who: caller.name.clone(),
            role: caller.role,
            via: caller.via,
            address: caller.address.clone(),
            action,
            kind: kind.to_owned(),
            name: name.to_owned(),
            before: None,
            after: None,
            details: serde_json::Value::Null,
        }
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
