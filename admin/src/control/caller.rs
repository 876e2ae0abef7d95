//! Who asks.

use coordination::Role;
use schemas::secret::Secret;
use serde::{Deserialize, Serialize};

/// By which way somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Through the HTTP API.
    Api,
    /// On ZooKeeper, by `--direct`.
    Direct,
}

/// Who asks, as the audit trail names him, and what he may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name, or the user and host of a direct command.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// By which way.
    pub via: Via,
    /// Where the request came from.
    pub address: Option<String>,
    /// His token: workers are asked for their status with it.
    pub token: Option<Secret>,
}

impl Caller {
    /// Somebody who works on ZooKeeper directly: whoever reaches it may do everything.
    pub fn direct(name: impl Into<String>, token: Option<Secret>) -> Self {
        Self { name: name.into(), role: Role::Admin, via: Via::Direct, address: None, token }
    }
}
