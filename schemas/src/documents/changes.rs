//! What a put makes of a document that is there already: what it leaves open is carried over, and what would not be
//! clear is refused.
//!
//! - A `state` that is not given stays as it is, of the pipeline and of each mapping (told by its `from`): whoever puts
//!   the file of a pipeline again must not start what somebody paused.
//! - A table that goes to a target to which it did not go before needs a `start` in its mapping: its progress says what the old target
//!   has, nothing about the new one. Appliers look again when they claim the table, for what this cannot see
//!   (`OT1033` there too).

use super::{Document, Mapping, Pipeline, PipelineStart, Routes, State};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::table::TableName;

/// Tables of a mapping that are compared one by one.
const MOST_TABLES: usize = 10_000;

/// What a put makes of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaced {
    /// What is to be stored.
    pub document: Document,
    /// What people should know about it.
    pub notes: Vec<String>,
}

/// What a put of `new` makes of `old`, the stored document of the same name.
///
/// # Errors
/// `OT1033` when a table goes to another target and its mapping has no start, with the table and both targets.
pub fn changes(old: &Document, new: &Document) -> Result<Replaced> {
    let mut notes = Vec::new();
    let mut document = new.clone();
    if let (Document::Pipeline(old), Document::Pipeline(new)) = (old, &mut document) {
        carry_states(old, new, &mut notes);
        check_targets(old, new, &mut notes)?;
    }
    Ok(Replaced { document, notes })
}

fn carry_states(old: &Pipeline, new: &mut Pipeline, notes: &mut Vec<String>) {
    if new.state.is_none() {
        new.state = old.state;
        if new.is_paused() {
            notes.push(format!("pipeline {} stays paused; resume it, or put it with a state", new.name));
        }
    }
    for mapping in new.mappings.iter_mut().filter(|m| m.state.is_none()) {
        mapping.state = old.mappings.iter().find(|m| m.from == mapping.from).and_then(|m| m.state);
        if mapping.state == Some(State::Paused) {
            notes.push(format!("pipeline {}: {} stays paused", new.name, mapping.from));
        }
    }
}

fn check_targets(old: &Pipeline, new: &Pipeline, notes: &mut Vec<String>) -> Result<()> {
    if old.source != new.source || old.target != new.target {
        notes
            .push(format!("pipeline {}: with another source or target, tables begin there at their `start`", new.name));
        return Ok(());
    }
    let (before, now) = (Routes::new(old), Routes::new(new));
    for (i, mapping) in new.mappings.iter().enumerate() {
        for table in tables(old, mapping) {
            if !matches!(now.find(new, &table), Ok(Some(at)) if at == i) {
                continue;
            }
            let Ok(Some(was)) = before.find(old, &table) else { continue };
            let Some(was) = old.mappings.get(was) else { continue };
            let (had, has) = (was.to.of(&table), mapping.to.of(&table));
            // Of some that are left out nothing is to be said: the progress is true of those that stay.
            if has.iter().all(|to| had.contains(to)) {
                continue;
            }
            let what = format!(
                "pipeline {}: mappings[{i}]: {table} goes to {} instead of {}",
                new.name,
                list(&has),
                list(&had)
            );
            if mapping.start.is_none() {
                let message = format!("{what}; give the mapping a `start` that says where the new target begins");
                return Err(Error::new(Code::StartRequired, message));
            }
            if matches!(mapping.start, Some(PipelineStart::Gtid(_))) && has.iter().any(|to| had.contains(to)) {
                let message = format!(
                    "{what}; behind a GTID position the table that stays would miss what it does not have yet: seed the new one by \
                     a pipeline of its own"
                );
                return Err(Error::new(Code::StartRequired, message));
            }
            notes.push(format!("{what}, from the `start` of its mapping on"));
            break;
        }
    }
    Ok(())
}

/// The tables of a mapping; of one with a star some for example, among them those that old mappings have too.
fn tables(old: &Pipeline, mapping: &Mapping) -> Vec<TableName> {
    mapping.from.tables(MOST_TABLES).unwrap_or_else(|| {
        let common = old.mappings.iter().filter_map(|m| mapping.from.common(&m.from));
        std::iter::once(mapping.from.some_table()).chain(common).collect()
    })
}

fn list(tables: &[TableName]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(more: &str, mappings: &str) -> Document {
        let text = format!("kind: pipeline\nname: p\nsource: s\ntarget: t\nmappings: [{mappings}]\n{more}\n");
        Document::parse_all(&text).unwrap().remove(0)
    }

    fn put(old: &str, new: &str) -> Result<Replaced> {
        changes(&pipeline("", old), &pipeline("", new))
    }

    #[test]
    fn a_state_that_is_not_given_stays() {
        let old = pipeline("state: paused", "{from: a.b, to: c.d, state: paused}, {from: a.c, to: c.c}");
        let again = changes(&old, &pipeline("", "{from: a.b, to: c.d}, {from: a.c, to: c.c}")).unwrap();
        assert_eq!(again.document, old);
        assert_eq!(again.notes.len(), 2);
        let said = pipeline("state: running", "{from: a.b, to: c.d, state: running}");
        assert_eq!(changes(&old, &said).unwrap().document, said);
    }

    #[test]
    fn another_target_needs_a_start() {
        let refused = |old: &str, new: &str| put(old, new).expect_err("refused").to_string();
        let message = refused("{from: a.b, to: c.d}", "{from: a.b, to: c.e}");
        assert!(
            message.starts_with("OT1033: pipeline p: mappings[0]: a.b goes to c.e instead of c.d; give"),
            "{message}"
        );
        refused("{from: a.b, to: c.d}", "{from: a.b, to: [c.d, c.e]}");
        refused("{from: 'a.*', to: 'c.{table}'}", "{from: 'a.*', to: 'd.{table}'}");
        refused("{from: 'a.*', to: 'c.{table}'}", "{from: 'a.*', to: 'c.{table}'}, {from: a.b, to: c.e}");
        refused("{from: 'a.*', to: 'c.{table}'}", "{from: 'a.t_*', to: 'd.{table}'}");
        refused("{from: a.b, to: c.d}", "{from: a.b, to: [c.d, c.e], start: {gtid: 0-1-1}}");
        put("{from: a.b, to: c.d}", "{from: a.b, to: c.e, start: {gtid: 0-1-1}}").expect("none stays");
        let noted = put("{from: a.b, to: c.d}", "{from: a.b, to: c.e, start: latest}").unwrap().notes;
        assert_eq!(
            noted,
            ["pipeline p: mappings[0]: a.b goes to c.e instead of c.d, from the `start` of its mapping on"]
        );
    }

    #[test]
    fn what_keeps_its_target_needs_nothing() {
        for (old, new) in [
            ("{from: a.b, to: [c.d, c.e]}", "{from: a.b, to: [c.e, c.d]}"),
            ("{from: a.b, to: [c.d, c.e]}", "{from: a.b, to: c.e}"),
            ("{from: a.b, to: c.b}", "{from: 'a.*', to: 'c.{table}'}"),
            ("{from: 'a.*', to: 'c.{table}'}", "{from: 'a.*', to: 'c.{table}', exclude: [a.x]}, {from: a.y, to: c.y}"),
            ("{from: a.b, to: c.d}", "{from: a.x, to: c.d}"),
        ] {
            assert_eq!(put(old, new).unwrap().notes, Vec::<String>::new(), "{new}");
        }
    }
}
