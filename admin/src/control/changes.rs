//! What a put changes, field by field.

use schemars::JsonSchema;
use schemas::documents::{self, Document, Kind};
use schemas::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Stored;

/// How many changed fields a record of the audit trail names at most.
pub(crate) const MAX_AUDITED: usize = 100;

/// What was done with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It differs from what was there.
    Changed,
    /// It was there already, nothing was written.
    Unchanged,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Its path, such as `mappings[0].to`.
    pub path: String,
    /// What was there; null when nothing was.
    pub from: Value,
    /// What is there now; null when nothing is.
    pub to: Value,
}

/// What was done with one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was done.
    pub action: Action,
    /// Its version now.
    pub version: i32,
    /// Its version before; null when it is new.
    pub before: Option<i32>,
    /// The fields that differ; empty when it is new.
    pub changes: Vec<FieldChange>,
    /// What people should know beside, such as a state that was left as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Fills in what a put leaves as it is; what people should know about that.
pub(super) fn carry_over(stored: &[Stored], document: &mut Document) -> Result<Vec<String>> {
    let old = stored.iter().find(|s| s.kind == document.kind() && s.name == document.name().as_str());
    let Some(Ok(old)) = old.map(|old| &old.document) else { return Ok(Vec::new()) };
    let replaced = documents::changes(old, document)?;
    *document = replaced.document;
    Ok(replaced.notes)
}

/// What putting a document does to what is stored.
pub(super) fn plan(stored: &[Stored], document: &Document) -> Result<Change> {
    let (kind, name) = (document.kind(), document.name().as_str().to_owned());
    let old = stored.iter().find(|s| s.kind == kind && s.name == name);
    let (action, changes) = match old.map(|old| &old.document) {
        None => (Action::Created, Vec::new()),
        Some(Ok(old)) if old == document => (Action::Unchanged, Vec::new()),
        Some(Ok(old)) => (Action::Changed, differences(&json(old)?, &json(document)?)),
        Some(Err(_)) => (Action::Changed, Vec::new()),
    };
    Ok(Change { kind, name, action, version: 0, before: old.map(|old| old.version), changes, notes: Vec::new() })
}

/// A document as a JSON value.
///
/// # Errors
/// `OT1001` when a path in it is not UTF-8.
pub fn json(document: &Document) -> Result<Value> {
    serde_json::from_str(&document.to_json()?)
        .map_err(|e| Error::new(Code::DocumentInvalid, format!("{document} is not JSON: {e}")).with_source(e))
}

/// The leaves that differ.
pub fn differences(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<FieldChange>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let only_new = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(only_new) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, &old[key], &new[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let at = |items: &[Value]| items.get(i).cloned().unwrap_or_default();
                compare(&format!("{path}[{i}]"), &at(a), &at(b), found);
            }
        }
        _ if old != new => {
            found.push(FieldChange { path: path.to_owned(), from: old.clone(), to: new.clone() });
        }
        _ => {}
    }
}
