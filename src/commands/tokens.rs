//! `otter admin init` and `otter token`.

use admin::control::tokens::{NewToken, TokenInfo};
use serde::Serialize;

use super::Report;
use crate::table::align;

/// The tokens.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct TokenList(pub(crate) Vec<TokenInfo>);

/// A token that was revoked.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Revoked(pub(crate) TokenInfo);

impl Report for NewToken {
    fn text(&self) -> String {
        format!(
            "{}\ntoken {} ({}, id {}): shown this once; keep it, for instance in OTTER_TOKEN\n",
            self.token, self.name, self.role, self.id
        )
    }
}

impl Report for TokenList {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "There are no tokens; `otter admin init` makes the first.\n".to_owned();
        }
        let row = |t: &TokenInfo| {
            vec![
                t.id.clone(),
                t.name.clone(),
                t.role.to_string(),
                day(Some(t.created)),
                day(t.last_used),
                t.created_by.clone(),
            ]
        };
        align(
            &["ID", "NAME", "ROLE", "CREATED", "LAST USED", "CREATED BY"],
            &self.0.iter().map(row).collect::<Vec<_>>(),
        )
    }
}

impl Report for Revoked {
    fn text(&self) -> String {
        format!("token {} ({}, id {}) is revoked\n", self.0.name, self.0.role, self.0.id)
    }
}

/// The day of a moment in milliseconds since 1970-01-01 UTC.
fn day(millis: Option<i64>) -> String {
    let Some(millis) = millis else { return "-".to_owned() };
    let text = schemas::moment::Moment::from_ms(millis).to_string();
    text.chars().take(10).collect()
}
