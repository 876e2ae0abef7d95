//! Documents: put, got, deleted, paused.
//!
//! A change is refused when it makes the documents as a whole wrong in a way they were not before; what was wrong
//! already does not stand in the way of repairing something else. What is put together is written in one step.

use std::time::Duration;

use coordination::Expected;
use schemars::JsonSchema;
use schemas::documents::{Document, Kind, Pipeline, State, TablePattern, World};
use schemas::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit::{AuditAction, AuditRecord};
use super::changes::{self, Action, Change};
use super::{Caller, Control, Selection, Stored, world};

/// How long a put waits for a target to say whether it knows the pipeline.
const LOOK: Duration = Duration::from_secs(2);
/// How often somebody else may have changed the document in between.
const ATTEMPTS: usize = 5;
/// How often others may have changed other documents in between; each time somebody gets through.
const ROUNDS: usize = 100;

/// A document with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version, which every write raises by one.
    pub version: i32,
    /// The document; null when it cannot be read.
    pub document: Value,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was taken away besides; null when positions and progress stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<String>,
}

/// How a document is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delete {
    /// The version that must be there; any without it.
    pub version: Option<i32>,
    /// Positions and progress go too.
    pub purge: bool,
}

/// The state of a pipeline, or of one mapping of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateSet {
    /// The pipeline's name.
    pub name: String,
    /// The mapping's `from`; left out when the pipeline as a whole is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Its state now.
    pub state: State,
    /// The document's version.
    pub version: i32,
    /// Whether it had another state before.
    pub changed: bool,
}

/// How documents are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Checks and says what would be done, but writes nothing.
    pub dry_run: bool,
    /// What must be there now; for each of them.
    pub expected: Expected,
}

impl Default for Put {
    fn default() -> Self {
        Self { dry_run: false, expected: Expected::Any }
    }
}

impl Control {
    /// The documents meant; those that cannot be read with the reason.
    ///
    /// # Errors
    /// `OT1006` when one is meant by name and there is none, `OT2001` without an answer in time.
    pub async fn documents(&self, selection: &Selection) -> Result<Vec<Entry>> {
        let chosen = self.stored().await?.into_iter().filter(|s| selection.takes(s.kind, &s.name));
        let entries = chosen.map(entry).collect::<Result<Vec<_>>>()?;
        match &selection.name {
            Some(name) if entries.is_empty() => Err(absent(selection.kind, name)),
            _ => Ok(entries),
        }
    }

    /// One document.
    ///
    /// # Errors
    /// `OT1006` when there is none, why it cannot be read, `OT2001` without an answer in time.
    pub async fn document(&self, kind: Kind, name: &str) -> Result<(Document, i32)> {
        let found = self.store().get(kind, name).await?;
        found.map(|f| (f.value, f.version)).ok_or_else(|| absent(Some(kind), name))
    }

    /// Puts documents, all of them or none.
    ///
    /// # Errors
    /// `OT1001`, `OT1002` for what is wrong with them, `OT1005` when they are too large, `OT1007` when something else
    /// is there than expected, `OT2001` without an answer in time (then they may have been written).
    pub async fn put(&self, caller: &Caller, mut new: Vec<Document>, put: Put) -> Result<Vec<Change>> {
        distinct(&mut new)?;
        for _ in 0..ROUNDS {
            if let Some(changes) = self.put_once(caller, new.clone(), put).await? {
                return Ok(changes);
            }
        }
        Err(keeps_changing())
    }

    /// Puts documents; `None` when others were changed since these were checked against them.
    async fn put_once(&self, caller: &Caller, mut new: Vec<Document>, put: Put) -> Result<Option<Vec<Change>>> {
        let stamp = self.store().stamp().await?;
        let stored = self.stored().await?;
        let notes = new.iter_mut().map(|d| changes::carry_over(&stored, d)).collect::<Result<Vec<_>>>()?;
        check_together(&stored, &new)?;
        let mut planned = new.iter().map(|d| changes::plan(&stored, d)).collect::<Result<Vec<_>>>()?;
        for (change, notes) in planned.iter_mut().zip(notes) {
            change.notes = notes;
        }
        for change in &planned {
            expect(change, put.expected)?;
        }
        self.note_standing(&stored, &new, &mut planned).await;
        if put.dry_run {
            for change in &mut planned {
                change.version = change.before.map_or(0, |v| v + i32::from(change.action != Action::Unchanged));
            }
            return Ok(Some(planned));
        }
        let writes: Vec<(&Document, Expected)> = new
            .iter()
            .zip(&planned)
            .filter(|(_, change)| change.action != Action::Unchanged)
            .map(|(document, change)| (document, change.before.map_or(Expected::New, Expected::Version)))
            .collect();
        let Some(versions) = self.store().put_all(&writes, stamp).await? else { return Ok(None) };
        let mut versions = versions.into_iter();
        for change in &mut planned {
            if change.action == Action::Unchanged {
                change.version = change.before.unwrap_or_default();
                continue;
            }
            change.version = versions.next().unwrap_or_default();
            self.tools().audit(record(caller, change));
        }
        Ok(Some(planned))
    }

    /// Deletes a document, of this version if one is given, unless others refer to it; with `purge` its positions and
    /// progress as well, so that one of the same name begins anew.
    ///
    /// # Errors
    /// `OT1009` when pipelines refer to it, `OT1006` when there is none, `OT1007` when it has another version, `OT2001`
    /// without an answer in time; of a purge, those of Kafka and the target: the document is gone then, its positions
    /// may not be.
    pub async fn delete(&self, caller: &Caller, kind: Kind, name: &str, how: Delete) -> Result<Deleted> {
        let (world, before) = self.remove(kind, name, how).await?;
        if before.is_some() {
            self.tools().audit(AuditRecord { before, ..AuditRecord::of(caller, AuditAction::Delete, kind, name) });
        }
        let mut deleted = Deleted { kind, name: name.to_owned(), purged: None };
        if how.purge {
            deleted.purged = Some(self.purge(caller, &world, kind, name).await?);
        }
        Ok(deleted)
    }

    /// Deletes a document that nothing refers to; gives all documents as they were, and the version deleted, if it was
    /// still there.
    async fn remove(&self, kind: Kind, name: &str, how: Delete) -> Result<(World, Option<i32>)> {
        for _ in 0..ROUNDS {
            let stamp = self.store().stamp().await?;
            let stored = self.stored().await?;
            let world = world(&stored);
            let referrers = world.referrers(kind, name);
            if !referrers.is_empty() {
                let message = format!("{kind} {name} is used by pipeline {}", referrers.join(", "));
                return Err(Error::new(Code::StillReferenced, message));
            }
            if how.purge && kind == Kind::Target {
                let message =
                    format!("target {name}: purge the pipelines instead; their progress is what a target holds");
                return Err(Error::new(Code::DocumentInvalid, message));
            }
            let found = stored.iter().find(|s| s.kind == kind && s.name == name).map(|s| s.version);
            let removed = match how.version.or(found) {
                Some(before) => self.store().delete_since(kind, name, before, stamp).await.map(|gone| (gone, before)),
                None => Err(absent(Some(kind), name)),
            };
            match removed {
                Ok((true, before)) => return Ok((world, Some(before))),
                Ok((false, _)) => {}
                // A purge that was broken off may be asked for again; only a source is known by its name alone.
                Err(e) if e.code() == Code::NotFound && how.purge && kind == Kind::Source => return Ok((world, None)),
                Err(e) => return Err(e),
            }
        }
        Err(keeps_changing())
    }

    async fn purge(&self, caller: &Caller, world: &World, kind: Kind, name: &str) -> Result<String> {
        let target = world.pipeline(name).and_then(|pipeline| world.target(pipeline.target.as_str()));
        let purged = match (kind, target) {
            (Kind::Pipeline, Some(target)) => self.tools().purge_pipeline(target, name).await,
            (Kind::Pipeline, None) => Err(Error::new(Code::NotFound, "its target is not known, so its progress stays")),
            _ => self.tools().purge_source(self.coordination(), name).await,
        };
        let purged = purged.map_err(|e| {
            let message = format!(
                "{kind} {name} is deleted, but not purged: {}; put it again and delete it with --purge",
                e.message()
            );
            Error::new(e.code(), message).with_source(e)
        })?;
        let details = Value::from(purged.as_str());
        self.tools().audit(AuditRecord { details, ..AuditRecord::of(caller, AuditAction::Purge, kind, name) });
        Ok(purged)
    }

    /// What people should know who put a pipeline whose name was used before: it does not begin at its `start`.
    async fn note_standing(&self, stored: &[Stored], new: &[Document], planned: &mut [Change]) {
        let mut world = world(stored);
        new.iter().for_each(|document| world.insert(document.clone()));
        for change in planned.iter_mut().filter(|c| c.action == Action::Created && c.kind == Kind::Pipeline) {
            let target = world.pipeline(&change.name).and_then(|p| world.target(p.target.as_str()));
            let Some(target) = target else { continue };
            let looked = tokio::time::timeout(LOOK, self.tools().standing(target, &change.name)).await;
            match looked {
                Ok(Ok(0)) => {}
                Ok(Ok(rows)) => change.notes.push(format!(
                    "a pipeline of this name left {rows} positions at target {}, where this one goes on; \
                     `otter delete --purge` forgets them",
                    target.name
                )),
                // A target that is away is not in the way of a put; the pipeline will say so itself.
                Ok(Err(error)) => tracing::debug!(%error, pipeline = change.name, "looking for its progress"),
                Err(_) => tracing::debug!(pipeline = change.name, "looking for its progress took too long"),
            }
        }
    }

    /// Pauses or resumes a pipeline, or one table of it; only that state is changed, whatever others change at the same
    /// time.
    ///
    /// # Errors
    /// `OT1006` when there is no such pipeline or mapping, `OT1001` when the table is none, `OT1002` when it comes by a
    /// pattern, `OT1007` when it keeps changing, `OT2001` without an answer in time.
    pub async fn set_state(&self, caller: &Caller, name: &str, table: Option<&str>, state: State) -> Result<StateSet> {
        let kind = Kind::Pipeline;
        let store = self.store();
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let found = store.get(kind, name).await?;
            let Some((before, Document::Pipeline(mut pipeline))) = found.map(|f| (f.version, f.value)) else {
                return Err(absent(Some(kind), name));
            };
            let table = table.map(str::to_owned);
            let place = match &table {
                None => &mut pipeline.state,
                Some(table) => mapping_state(&mut pipeline, table)?,
            };
            let changed = place.unwrap_or_default() != state;
            *place = Some(state);
            let details = table.as_ref().map_or(Value::Null, |table| serde_json::json!({ "table": table }));
            let set = |version| StateSet { name: name.to_owned(), table, state, version, changed };
            if !changed {
                return Ok(set(before));
            }
            match store.put(&Document::Pipeline(pipeline), Expected::Version(before)).await {
                Ok(version) => {
                    let action = match state {
                        State::Paused => AuditAction::Pause,
                        State::Running => AuditAction::Resume,
                    };
                    let record = AuditRecord { details, ..AuditRecord::of(caller, action, kind, name) };
                    self.tools().audit(AuditRecord { before: Some(before), after: Some(version), ..record });
                    return Ok(set(version));
                }
                Err(e) if e.code() == Code::VersionConflict => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Code::VersionConflict, format!("pipeline {name} keeps changing"))))
    }
}

/// The state of the mapping whose `from` is this table or pattern.
fn mapping_state<'a>(pipeline: &'a mut Pipeline, table: &str) -> Result<&'a mut Option<State>> {
    let wanted: TablePattern =
        table.parse().map_err(|why| Error::new(Code::DocumentInvalid, format!("table {table:?}: {why}")))?;
    let name = pipeline.name.clone();
    let by_pattern = wanted.exact().and_then(|t| pipeline.mapping_for(&t)).map(|m| m.from.to_string());
    match pipeline.mappings.iter_mut().find(|m| m.from == wanted) {
        Some(mapping) => Ok(&mut mapping.state),
        None => Err(match by_pattern {
            Some(from) => {
                let message = format!(
                    "pipeline {name}: pausing {wanted} alone: it comes by {from}; name that, or give it a mapping of \
                     its own"
                );
                Error::new(Code::NotSupportedYet, message)
            }
            None => Error::new(Code::NotFound, format!("pipeline {name}: no mapping is from {wanted}")),
        }),
    }
}

fn keeps_changing() -> Error {
    let message = format!("{ROUNDS} times somebody else changed other documents in between");
    Error::new(Code::VersionConflict, message)
}

/// Each once, in an order in which references lead to what is there.
fn distinct(documents: &mut [Document]) -> Result<()> {
    if documents.is_empty() {
        return Err(Error::new(Code::DocumentInvalid, "there is no document in what was given"));
    }
    documents.sort_by(|a, b| (a.kind(), a.name().as_str()).cmp(&(b.kind(), b.name().as_str())));
    let same = |pair: &&[Document]| pair[0].kind() == pair[1].kind() && pair[0].name() == pair[1].name();
    match documents.windows(2).find(same) {
        Some(pair) => Err(Error::new(Code::DocumentInvalid, format!("{} is given twice", pair[0]))),
        None => Ok(()),
    }
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

/// Refuses when something else is there than the caller expects.
fn expect(change: &Change, expected: Expected) -> Result<()> {
    let label = format!("{} {}", change.kind, change.name);
    let conflict = |why: String| Err(Error::new(Code::VersionConflict, format!("{label}: {why}")));
    match (expected, change.before) {
        (Expected::New, Some(now)) => conflict(format!("it is there already, with version {now}")),
        (Expected::Version(wanted), Some(now)) if wanted != now => conflict(format!("it has version {now} now")),
        (Expected::Version(_), None) => conflict("it is not there".to_owned()),
        _ => Ok(()),
    }
}

fn record(caller: &Caller, change: &Change) -> AuditRecord {
    let action = if change.before.is_none() { AuditAction::Create } else { AuditAction::Change };
    let fields: Vec<_> = change.changes.iter().take(changes::MAX_AUDITED).collect();
    AuditRecord {
        before: change.before,
        after: Some(change.version),
        details: serde_json::json!({ "changes": fields }),
        ..AuditRecord::of(caller, action, change.kind, &change.name)
    }
}

fn entry(stored: Stored) -> Result<Entry> {
    let Stored { kind, name, version, document } = stored;
    let (document, error) = match document {
        Ok(document) => (changes::json(&document)?, None),
        Err(e) => (Value::Null, Some(e.to_string())),
    };
    Ok(Entry { kind, name, version, document, error })
}

fn absent(kind: Option<Kind>, name: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no {} {name}", kind.map_or("document", Kind::as_str)))
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
    fn a_document_given_twice_is_refused() {
        let mut twice = documents(ALL);
        twice.extend(documents(ALL));
        let e = distinct(&mut twice).expect_err("refused");
        assert_eq!(e.to_string(), "OT1001: source shop is given twice");
        let mut reversed: Vec<_> = documents(ALL).into_iter().rev().collect();
        distinct(&mut reversed).expect("distinct");
        assert_eq!(reversed, documents(ALL), "sources, targets, pipelines");
    }
}
