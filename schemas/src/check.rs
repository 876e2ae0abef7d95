//! What `otter check` finds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::table::{TableName, TableStructure};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It will run, but somebody should look.
    Warning,
    /// It will not run.
    Error,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, such as `source shop: binlog_format` or `shop.tb_user`.
    pub subject: String,
    /// The code, such as `OT3002`; null when all is well.
    pub code: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do about it; empty when all is well.
    pub remedy: String,
}

/// A source's table as its catalogue shows it, for comparing targets with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// Columns and key.
    pub structure: TableStructure,
    /// The topic of its events.
    pub topic: String,
    /// Whether it holds rows; `None` when it could not be asked.
    pub rows: Option<bool>,
    /// The server's names of its columns' character sets, of those that have one.
    pub charsets: BTreeMap<String, String>,
}

/// Source tables by name.
pub type SourceTables = BTreeMap<TableName, SourceTable>;

impl Finding {
    /// A finding that all is well.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), code: None, message: message.into(), remedy: String::new() }
    }

    /// A finding that somebody should look at.
    pub fn warning(subject: impl Into<String>, error: &Error) -> Self {
        Self { level: Level::Warning, ..Self::error(subject, error) }
    }

    /// A finding that keeps things from running.
    pub fn error(subject: impl Into<String>, error: &Error) -> Self {
        Self {
            level: Level::Error,
            subject: subject.into(),
            code: Some(error.code().id().to_owned()),
            message: error.message().to_owned(),
            remedy: error.code().remedy().to_owned(),
        }
    }
}
