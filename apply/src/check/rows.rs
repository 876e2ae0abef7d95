//! Whether the rows that are there before the first event fit: at the source, at the target, and in their characters.

use std::collections::BTreeSet;

use mysql_async::Value;
use schemas::check::{Finding, SourceTable};
use schemas::documents::{Mapping, Pipeline, Target};
use schemas::progress::{column, qualified, quote};
use schemas::table::TableName;
use schemas::{Code, Error};

use super::Pair;
use crate::target::columns::TargetTable;
use crate::target::connection::Session;
use crate::target::failure::{Failure, Fault};

/// The topics that the pipeline has progress of.
pub(super) async fn begun(
    session: &mut Session,
    target: &Target,
    pipeline: &Pipeline,
) -> Result<BTreeSet<String>, Failure> {
    let sql = format!("SELECT `{}` FROM {} WHERE `{}` = ?", column::TOPIC, qualified(&target.schema), column::PIPELINE);
    let topics = session.rows::<(String,)>(&sql, vec![Value::from(pipeline.name.as_str())]).await;
    match topics {
        Ok(topics) => Ok(topics.into_iter().map(|(topic,)| topic).collect()),
        // The privileges on the progress table are a finding of their own.
        Err(failure) if failure.fault == Fault::Refused => Ok(BTreeSet::new()),
        Err(failure) => Err(failure),
    }
}

/// Rows on one side only, of a table that is new to the pipeline: Otter carries changes, not what was there before.
pub(super) async fn existing(
    session: &mut Session,
    subject: &str,
    pair: &Pair<'_>,
    source: &SourceTable,
) -> Result<Option<Finding>, Failure> {
    if pair.begun {
        return Ok(None);
    }
    let sql = format!("SELECT 1 FROM {}.{} LIMIT 1", quote(&pair.to.schema), quote(&pair.to.table));
    let here = match session.find::<(u8,)>(&sql, Vec::new()).await {
        Ok(row) => row.is_some(),
        // The missing privilege is a finding of its own.
        Err(failure) if failure.fault == Fault::Refused => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (from, to) = (pair.from, pair.to);
    let (code, message, remedy) = match (source.rows, here) {
        // They may be of the other tables that are merged there.
        (_, true) if pair.rules.merges => return Ok(None),
        (Some(true), false) => (
            Code::RowMissing,
            format!("{from} holds rows and {to} none; changes of rows that were there before will pause the table"),
            "seed the target first (docs/seeding.md), with the mapping's `start` at the seed's GTID",
        ),
        (Some(false), true) => (
            Code::RowExists,
            format!("{to} holds rows and {from} none; inserts of the same keys will pause the table"),
            "empty the target table, or set `existing_row` of the mapping",
        ),
        (_, true) => (
            Code::RowExists,
            format!(
                "{to} holds rows and the pipeline has no progress of it; they must be what {from} held at the start"
            ),
            "give the mapping the `start` that the rows were taken at (docs/seeding.md), or empty the target table",
        ),
        (_, false) => return Ok(None),
    };
    let finding = Finding::warning(subject, &Error::new(code, message));
    Ok(Some(Finding { remedy: remedy.to_owned(), ..finding }))
}

/// A table in which a row is found only by looking at every one.
pub(super) fn keyless(subject: &str, table: &TableName) -> Finding {
    let message = format!(
        "{table} has no primary key, and no unique index of NOT NULL columns, whose columns are all mapped: rows are found by all \
         their columns, so every update and delete looks through the whole table, and its events cannot be replayed"
    );
    let finding = Finding::warning(subject, &Error::new(Code::TargetTable, message));
    Finding { remedy: "add a primary key to the table; else keep it small, or its changes few".to_owned(), ..finding }
}

/// Text columns whose target cannot hold every character of the source's.
pub(super) fn charsets(subject: &str, mapping: &Mapping, source: &SourceTable, table: &TargetTable) -> Vec<Finding> {
    let taken = source.charsets.iter().filter(|(column, _)| mapping.columns.takes(column));
    let narrower = taken.filter_map(|(column, from)| {
        let name = mapping.columns.target_name(column);
        let to = table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))?.charset.as_deref()?;
        (!holds(to, from)).then(|| {
            let message =
                format!("`{name}` is {to} here and {from} at the source: a character that {to} lacks pauses the table");
            let remedy = format!("ALTER TABLE … MODIFY {} … CHARACTER SET utf8mb4", quote(name));
            let finding = Finding::warning(subject, &Error::new(Code::TargetRefused, message));
            Finding { remedy, ..finding }
        })
    });
    narrower.collect()
}

/// Whether a character set has every character of another.
fn holds(to: &str, from: &str) -> bool {
    let whole = |name: &str| matches!(name, "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030");
    // utf8 is another name of utf8mb3; ucs2 has the same characters, those of the first plane.
    let plane = |name: &str| matches!(name, "utf8mb3" | "utf8" | "ucs2");
    to == from || from == "ascii" || to == "binary" || whole(to) || (plane(to) && !whole(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_sets_hold_narrower_ones() {
        for (to, from) in [("utf8mb4", "latin1"), ("latin1", "ascii"), ("utf8mb3", "gbk"), ("utf16", "utf8mb3")] {
            assert!(holds(to, from) && !holds(from, to), "{to} {from}");
        }
        assert!(holds("utf8mb3", "ucs2") && holds("ucs2", "utf8") && holds("utf8mb4", "utf16"));
        assert!(!holds("latin1", "cp1251") && !holds("gbk", "latin1"));
    }
}
