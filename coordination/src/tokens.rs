//! Tokens of the HTTP API: who may ask for what.
//!
//! A node `/tokens/<id>` holds a token's name, role and the SHA-256 of its text; the text itself is nowhere. Every
//! process follows the nodes, so a revoked token ends within the time of a watch, and an outage changes nothing: what
//! was known last stays in force.

mod follow;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemas::{Code, Error, Result, names};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zookeeper as zk;

use crate::session::{Sessions, persistent, refused};
use crate::{Coordination, check_size};

/// The id of the token that `otter admin init` makes: being one node, only one of two at a time can make it.
const FIRST: &str = "first";

/// What a token's holder may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Change documents, pause, resume, check, replay.
    Operator,
    /// Also make and revoke tokens.
    Admin,
}

impl Role {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.as_str() == s);
        found.ok_or_else(|| format!("{s:?} is not a role; there are viewer, operator and admin"))
    }
}

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The id, by which it is revoked.
    pub id: String,
    /// The name, for people.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// SHA-256 of its text, 64 hex digits.
    pub hash: String,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was used last, to the hour, milliseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub last_used: Option<i64>,
}

/// The tokens by id.
pub type TokenMap = BTreeMap<String, TokenRecord>;

/// The store of tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    coordination: Coordination,
}

impl Coordination {
    /// The store of tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens { coordination: self.clone() }
    }
}

impl Tokens {
    /// Stores a token under its id.
    ///
    /// # Errors
    /// `OT1007` when there is one of that id, `OT1004` when the id cannot be the name of a node, `OT2001` without an
    /// answer in time (then it may be stored).
    pub async fn create(&self, record: &TokenRecord) -> Result<()> {
        let data = encode(record)?;
        let (path, data) = (path(&record.id)?, data.as_slice());
        let path = path.as_str();
        let answer = self.sessions().call("storing a token", |client| async move {
            client.mkdir(names::TOKENS_PATH, &persistent()).await?;
            client.create(path, data, &persistent()).await
        });
        let answer = answer.await?;
        match answer.result {
            Ok(_) => Ok(()),
            // The attempt that broke off made it.
            Err(zk::Error::NodeExists) if answer.repeated && self.holds(path, data).await? => Ok(()),
            Err(zk::Error::NodeExists) => {
                Err(Error::new(Code::VersionConflict, format!("there is a token {} already", record.id)))
            }
            Err(error) => Err(refused("storing a token", error)),
        }
    }

    /// Stores the first token of an installation, under the id `first` whatever the record says.
    ///
    /// # Errors
    /// `OT1021` when there is any token, `OT2001` without an answer in time (then it may be stored).
    pub async fn create_first(&self, record: &TokenRecord) -> Result<()> {
        let existing = || Error::new(Code::TokenExists, "there are tokens already");
        if !self.list().await?.is_empty() {
            return Err(existing());
        }
        let record = TokenRecord { id: FIRST.to_owned(), ..record.clone() };
        self.create(&record).await.map_err(|e| if e.code() == Code::VersionConflict { existing() } else { e })
    }

    /// All tokens.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn list(&self) -> Result<TokenMap> {
        follow::load(self.sessions()).await
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// `OT1006` when there is none of that id, `OT2001` without an answer in time.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let none = || Error::new(Code::NotFound, format!("there is no token {id:?}"));
        let path = path(id).map_err(|_| none())?;
        let path = path.as_str();
        let answer = self.sessions().call("deleting a token", |client| async move { client.delete(path, None).await });
        let answer = answer.await?;
        match answer.result {
            Ok(()) => Ok(()),
            Err(zk::Error::NoNode) if answer.repeated => Ok(()),
            Err(zk::Error::NoNode) => Err(none()),
            Err(error) => Err(refused("deleting a token", error)),
        }
    }

    /// Notes when a token was used; one that was revoked or replaced in between stays so.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn touch(&self, record: &TokenRecord, last_used: i64) -> Result<()> {
        let data = encode(&TokenRecord { last_used: Some(last_used), ..record.clone() })?;
        let (path, data) = (path(&record.id)?, data.as_slice());
        let path = path.as_str();
        let answer = self.sessions().call("noting a token's use", |client| async move {
            let (found, stat) = client.get_data(path).await?;
            // Another token may have the id by now: the first one's, when it is made again.
            if serde_json::from_slice::<TokenRecord>(&found).is_ok_and(|now| now.hash == record.hash) {
                client.set_data(path, data, Some(stat.version)).await?;
            }
            Ok(())
        });
        match answer.await?.result {
            Ok(()) | Err(zk::Error::NoNode | zk::Error::BadVersion) => Ok(()),
            Err(error) => Err(refused("noting a token's use", error)),
        }
    }

    /// The tokens, live: the receiver always holds the state known last, through outages too.
    ///
    /// # Errors
    /// `OT2001` when the first state cannot be read in time.
    pub async fn watch(&self) -> Result<watch::Receiver<Arc<TokenMap>>> {
        follow::start(self.sessions()).await
    }

    fn sessions(&self) -> &Sessions {
        self.coordination.sessions()
    }

    async fn holds(&self, path: &str, data: &[u8]) -> Result<bool> {
        let answer = self.sessions().call(path, |client| async move { client.get_data(path).await }).await?;
        Ok(answer.result.is_ok_and(|(found, _)| found == data))
    }
}

fn encode(record: &TokenRecord) -> Result<Vec<u8>> {
    let data = serde_json::to_vec(record)
        .map_err(|e| Error::new(Code::ConfigInvalid, format!("token {}: {e}", record.id)).with_source(e))?;
    check_size("the token's record", &data)?;
    Ok(data)
}

fn path(id: &str) -> Result<String> {
    let sound = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !sound {
        return Err(Error::new(Code::ConfigInvalid, format!("{id:?} is no id of a token")));
    }
    Ok(names::token_path(id))
}
