//! Tokens: made, listed, revoked. Only the SHA-256 of a token is stored; its text exists in the answer that makes it.
//!
//! A token is `otr_` and 256 random bits, so a plain hash is enough: there is nothing to guess that a slow hash would
//! protect.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use coordination::{Role, TokenRecord};
use schemars::JsonSchema;
use schemas::documents::Name;
use schemas::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::audit::{AuditAction, AuditRecord, now};
use super::{Caller, Control};

/// What stands before every token, so that people and scanners recognise one.
pub const PREFIX: &str = "otr_";

/// A token without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// The id, by which it is revoked.
    pub id: String,
    /// The name, for people and the audit trail.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was used last, to the hour, milliseconds since 1970-01-01 UTC; null when it never was.
    pub last_used: Option<i64>,
}

impl From<TokenRecord> for TokenInfo {
    fn from(r: TokenRecord) -> Self {
        Self {
            id: r.id,
            name: r.name,
            role: r.role,
            created: r.created,
            created_by: r.created_by,
            last_used: r.last_used,
        }
    }
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The id, by which it is revoked.
    pub id: String,
    /// The name.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The token itself. It is shown this once.
    pub token: String,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken {{ id: {:?}, name: {:?}, role: {:?}, token: *** }}", self.id, self.name, self.role)
    }
}

impl Control {
    /// Makes the first token, of the role admin; another one with `again`.
    ///
    /// # Errors
    /// `OT1021` when there is one and `again` is not said, `OT2001` without an answer in time.
    pub async fn init_token(&self, caller: &Caller, again: bool) -> Result<NewToken> {
        let store = self.coordination.tokens();
        let (mut token, record) = mint("admin", Role::Admin, &caller.name);
        if again {
            store.create(&record).await?;
        } else {
            store.create_first(&record).await?;
            "first".clone_into(&mut token.id);
        }
        self.token_audited(caller, AuditAction::TokenCreate, &token.id, &token.name, token.role);
        Ok(token)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// `OT1024` when the name is none, `OT1007` when a token has it, `OT2001` without an answer in time.
    pub async fn create_token(&self, caller: &Caller, name: &str, role: Role) -> Result<NewToken> {
        let invalid = |e| Error::new(Code::RequestInvalid, format!("name: {e}")).with_path("name");
        name.parse::<Name>().map_err(invalid)?;
        let store = self.coordination.tokens();
        if store.list().await?.values().any(|t| t.name == name) {
            return Err(Error::new(Code::VersionConflict, format!("there is a token {name} already")));
        }
        let (token, record) = mint(name, role, &caller.name);
        store.create(&record).await?;
        self.token_audited(caller, AuditAction::TokenCreate, &token.id, name, role);
        Ok(token)
    }

    /// The tokens, without their texts.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        Ok(self.coordination.tokens().list().await?.into_values().map(TokenInfo::from).collect())
    }

    /// Revokes a token by its id, or by its name when only one has it.
    ///
    /// # Errors
    /// `OT1006` when there is none, `OT1007` when several have the name, `OT2001` without an answer in time.
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<TokenInfo> {
        let store = self.coordination.tokens();
        let mut tokens = store.list().await?;
        let record = match tokens.remove(id) {
            Some(record) => record,
            None => {
                let mut named = tokens.into_values().filter(|t| t.name == id);
                match (named.next(), named.next()) {
                    (Some(record), None) => record,
                    (Some(_), Some(_)) => {
                        let message = format!("several tokens have the name {id:?}; revoke by id");
                        return Err(Error::new(Code::VersionConflict, message));
                    }
                    _ => return Err(Error::new(Code::NotFound, format!("there is no token {id:?}"))),
                }
            }
        };
        store.delete(&record.id).await?;
        self.token_audited(caller, AuditAction::TokenRevoke, &record.id, &record.name, record.role);
        Ok(record.into())
    }

    fn token_audited(&self, caller: &Caller, action: AuditAction, id: &str, name: &str, role: Role) {
        let details = serde_json::json!({ "id": id, "role": role });
        self.tools().audit(AuditRecord { details, ..AuditRecord::about(caller, action, "token", name) });
    }
}

/// A new token and what is stored of it.
pub fn mint(name: &str, role: Role, by: &str) -> (NewToken, TokenRecord) {
    let secret: [u8; 32] = rand::random();
    let id: [u8; 6] = rand::random();
    let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let id = hex(&id);
    let record = TokenRecord {
        id: id.clone(),
        name: name.to_owned(),
        role,
        hash: hash(&text),
        created: now(),
        created_by: by.to_owned(),
        last_used: None,
    };
    (NewToken { id, name: name.to_owned(), role, token: text }, record)
}

/// What is stored of a token's text: its SHA-256 in hex.
pub(crate) fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_do_not_print() {
        let (one, record) = mint("ci", Role::Viewer, "me");
        let (two, _) = mint("ci", Role::Viewer, "me");
        assert!(one.token.starts_with("otr_") && one.token.len() == 4 + 43);
        assert_ne!(one.token, two.token);
        assert_ne!(one.id, two.id);
        assert_eq!(record.hash, hash(&one.token));
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!format!("{one:?} {record:?}").contains(&one.token));
    }
}
