//! `otter put`: documents from files, checked on their own and together, written by compare-and-set.
//!
//! A change is refused when it makes the documents as a whole wrong in a way they were not before; what was wrong
//! already does not stand in the way of repairing something else. Written are sources, targets, then pipelines, so that
//! no role sees a reference that leads nowhere.

use std::path::PathBuf;

use coordination::{Documents, Expected};
use schemas::documents::{Document, Kind};
use schemas::{Code, Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::{Report, Stored, read_text, stored, world};

/// What was done with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// It is new.
    Created,
    /// It differs from what was there.
    Changed,
    /// It was there already, nothing was written.
    Unchanged,
}

/// A field that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldChange {
    path: String,
    /// What was there; null when nothing was.
    from: Value,
    /// What is there now; null when nothing is.
    to: Value,
}

/// What was done with one document.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    kind: Kind,
    name: String,
    action: Action,
    version: i32,
    changes: Vec<FieldChange>,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Changes(Vec<Change>);

/// Reads the documents of all files, in the order in which they can be written.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents: Vec<Document> = Vec::new();
    for file in files {
        let found = Document::parse_all(&read_text(file)?)
            .map_err(|e| Error::new(e.code(), format!("{}: {}", file.display(), e.message())).with_source(e))?;
        for document in found {
            if documents.iter().any(|d| d.kind() == document.kind() && d.name() == document.name()) {
                let message = format!("{}: {document} is given twice", file.display());
                return Err(Error::new(Code::DocumentInvalid, message));
            }
            documents.push(document);
        }
    }
    if documents.is_empty() {
        return Err(Error::new(Code::DocumentInvalid, "there is no document in what was given"));
    }
    documents.sort_by_key(Document::kind);
    Ok(documents)
}

/// Writes the documents; what was done, and what then went wrong, if something did.
pub(crate) async fn put(documents: &Documents, new: Vec<Document>) -> (Changes, Option<Error>) {
    let mut changes = Changes::default();
    let stored = match stored(documents).await {
        Ok(stored) => stored,
        Err(e) => return (changes, Some(e)),
    };
    if let Err(e) = check_together(&stored, &new) {
        return (changes, Some(e));
    }
    for document in new {
        match write(documents, &stored, document).await {
            Ok(change) => changes.0.push(change),
            Err(e) => return (changes, Some(e)),
        }
    }
    (changes, None)
}

/// Refuses what would be wrong and was not.
fn check_together(stored: &[Stored], new: &[Document]) -> Result<()> {
    let mut world = world(stored);
    let before: Vec<String> = world.faults().iter().map(ToString::to_string).collect();
    for document in new {
        world.insert(document.clone());
    }
    // What is put itself must be right even if it was as wrong before.
    let about_new = |fault: &Error| {
        let starts = |d: &Document| fault.message().starts_with(&format!("{d}:"));
        new.iter().any(starts) || !before.contains(&fault.to_string())
    };
    world.faults().into_iter().find(about_new).map_or(Ok(()), Err)
}

async fn write(documents: &Documents, stored: &[Stored], document: Document) -> Result<Change> {
    let (kind, name) = (document.kind(), document.name().as_str().to_owned());
    let old = stored.iter().find(|s| s.kind == kind && s.name == name);
    let new = json(&document)?;
    let (action, changes) = match old.map(|old| &old.document) {
        None => (Action::Created, Vec::new()),
        Some(Ok(old)) if *old == document => (Action::Unchanged, Vec::new()),
        Some(Ok(old)) => (Action::Changed, differences(&json(old)?, &new)),
        Some(Err(_)) => (Action::Changed, Vec::new()),
    };
    let expected = old.map_or(Expected::New, |old| Expected::Version(old.version));
    let version = match (action, old) {
        (Action::Unchanged, Some(old)) => old.version,
        _ => documents.put(&document, expected).await?,
    };
    Ok(Change { kind, name, action, version, changes })
}

/// A document as a JSON value.
pub(crate) fn json(document: &Document) -> Result<Value> {
    serde_json::from_str(&document.to_json()?)
        .map_err(|e| Error::new(Code::DocumentInvalid, format!("{document} is not JSON: {e}")).with_source(e))
}

/// The leaves that differ.
pub(crate) fn differences(old: &Value, new: &Value) -> Vec<FieldChange> {
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

impl Report for Changes {
    fn text(&self) -> String {
        let mut text = String::new();
        for change in &self.0 {
            let action = match change.action {
                Action::Created => "created",
                Action::Changed => "changed",
                Action::Unchanged => "unchanged",
            };
            text.push_str(&format!("{} {} {action} (version {})\n", change.kind, change.name, change.version));
            for field in &change.changes {
                text.push_str(&format!("  {}: {} → {}\n", field.path, plain(&field.from), plain(&field.to)));
            }
        }
        text
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const ALL: &str = "
kind: source
name: shop
addresses: ['db1:3306']
user: otter
---
kind: target
name: report
address: 'db2:3306'
user: otter
---
kind: pipeline
name: users
source: shop
target: report
mappings: [{from: shop.a, to: shop.b}]
";

    fn documents(text: &str) -> Vec<Document> {
        Document::parse_all(text).expect("valid")
    }

    fn as_stored(documents: Vec<Document>) -> Vec<Stored> {
        let stored = |d: Document| Stored { kind: d.kind(), name: d.name().to_string(), version: 0, document: Ok(d) };
        documents.into_iter().map(stored).collect()
    }

    #[test]
    fn references_are_checked_before_anything_is_written() {
        let mut all = documents(ALL);
        assert!(check_together(&[], &all).is_ok());
        let pipeline = all.split_off(2);
        let e = check_together(&[], &pipeline).expect_err("refused");
        assert_eq!(e.to_string(), "OT1001: pipeline users: source: there is no source shop");
        assert!(check_together(&as_stored(all), &pipeline).is_ok());
    }

    #[test]
    fn old_faults_do_not_stand_in_the_way() {
        let mut stored = as_stored(documents(ALL));
        stored.remove(1); // the pipeline's target is gone
        let other = documents("kind: source\nname: other\naddresses: ['db3:3306']\nuser: otter\n");
        assert!(check_together(&stored, &other).is_ok());
        let again = documents(ALL).split_off(2);
        assert!(check_together(&stored, &again).is_err(), "the faulty document itself is refused");
        let unreadable = Error::new(Code::DocumentInvalid, "x");
        stored[0].document = Err(Arc::new(unreadable));
        assert!(check_together(&stored, &other).is_ok());
    }

    #[test]
    fn changes_are_shown_field_by_field() {
        let old = documents(ALL).remove(2);
        let new = documents(
            "kind: pipeline\nname: users\nsource: shop\ntarget: report\nstate: paused\n\
             mappings: [{from: shop.a, to: shop.c}, {from: shop.x, to: shop.y}]\napply: {writers: 2}\n",
        );
        let changes = differences(&json(&old).expect("json"), &json(&new[0]).expect("json"));
        let change =
            Change { kind: Kind::Pipeline, name: "users".into(), action: Action::Changed, version: 4, changes };
        insta::assert_snapshot!(Changes(vec![change]).text(), @r#"
        pipeline users changed (version 4)
          apply.writers: nothing → 2
          mappings[0].to: shop.b → shop.c
          mappings[1]: nothing → {"from":"shop.x","to":"shop.y"}
          state: running → paused
        "#);
    }
}
