//! A batch one event after the other, with the mapping's policies: what the fast path must equal, and what decides when
//! the target is not as the events expect it.
//!
//! A failed statement undoes itself and leaves the transaction, so what came before the first event that cannot be
//! applied is committed, with the progress at that event.

use mysql_async::Value;
use schemas::Code;
use schemas::decode::Datum;
use schemas::documents::{ExistingRow, MissingRow};
use schemas::encode::Op;

use super::failure::{Failure, Fault};
use super::mapping::RowFault;
use super::value::{Bind, packet_bytes};
use super::writer::{BatchOutcome, Rows};

/// Why an event stops the batch.
pub(crate) enum Halt {
    /// It cannot be applied.
    Conflict(Code, String),
    /// The transaction is over.
    Failed(Failure),
}

impl From<RowFault> for Halt {
    fn from(fault: RowFault) -> Self {
        Self::Conflict(fault.why.code, format!("the value of column `{}` {}", fault.column, fault.why.what))
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            Fault::Duplicate | Fault::Refused => {
                Self::Conflict(failure.error.code(), failure.error.message().to_owned())
            }
            Fault::Lost | Fault::Busy => Self::Failed(failure),
        }
    }
}

impl Rows<'_, '_> {
    /// Applies one change by the policies. What it did before a conflict stays to be taken back.
    pub(crate) async fn apply(&mut self, index: usize, outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let batch = self.batch;
        let Some(change) = batch.changes().get(index) else { return Ok(()) };
        let (before, after) = (batch.before(index), batch.after(index));
        match change.op {
            Op::Create => self.insert(change.ordinal, after, outcome).await,
            Op::Update => self.update(before, after, outcome).await,
            Op::Delete => self.delete(before, outcome).await,
        }
    }

    async fn insert(&mut self, ordinal: i64, after: &[Datum<'_>], outcome: &mut BatchOutcome) -> Result<(), Halt> {
        match self.try_insert(after).await {
            Ok(_) => outcome.inserted += 1,
            Err(Halt::Conflict(Code::RowExists, what)) if !self.policies.defers(ordinal) => {
                self.existing(after, what, outcome).await?;
            }
            Err(halt) => return Err(halt),
        }
        Ok(())
    }

    /// Another row has the key, or another unique value. Only the first is for the policy: a row that stands in the way
    /// by another index is a different row, which neither overwriting nor skipping would make right.
    async fn existing(&mut self, after: &[Datum<'_>], what: String, outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let mapping = self.mapping;
        let what = if mapping.merges {
            format!(
                "{what}; several tables are merged in this one, so the row may be another's (columns that the mapping sets, as part of the key, keep them apart)"
            )
        } else {
            what
        };
        if mapping.key.is_empty() {
            return Err(Halt::Conflict(Code::RowExists, what));
        }
        let key = self.key_values(&mapping.key, after)?;
        match self.policies.existing_row {
            ExistingRow::Error => return Err(Halt::Conflict(Code::RowExists, what)),
            ExistingRow::Overwrite => {
                let mut values = self.values(0..mapping.columns.len(), after)?;
                values.extend(key);
                if self.session.execute(&mapping.sql.overwrite, values).await? == 0 {
                    return Err(Halt::Conflict(Code::RowExists, what));
                }
                outcome.updated += 1;
            }
            ExistingRow::Ignore => {
                if self.session.find::<mysql_async::Row>(&mapping.sql.exists, key).await?.is_none() {
                    return Err(Halt::Conflict(Code::RowExists, what));
                }
            }
        }
        outcome.existing += 1;
        Ok(())
    }

    async fn update(
        &mut self,
        before: &[Datum<'_>],
        after: &[Datum<'_>],
        outcome: &mut BatchOutcome,
    ) -> Result<(), Halt> {
        let mapping = self.mapping;
        if mapping.changes_documents_only(before, after) {
            if mapping.finds_by_key() {
                self.clear_documents(before, after).await?;
            } else if self.replace_row(before, after).await? {
                outcome.updated += 1;
                return Ok(());
            }
        }
        // Where the row key is not the source's key an update may move it.
        let moves = mapping.moves_key(before, after);
        let (sql, columns) = match moves {
            false => (mapping.sql.update.as_str(), mapping.sql.update_columns.clone()),
            true => (mapping.sql.move_row.as_str(), (0..mapping.columns.len()).collect()),
        };
        let mut values = self.values(columns, after)?;
        values.extend(mapping.find_values(before)?);
        self.check_size(&values)?;
        if self.session.execute(sql, values).await? > 0 {
            outcome.updated += 1;
            return Ok(());
        }
        match self.policies.missing_row {
            MissingRow::Error => return Err(self.missing()),
            MissingRow::Overwrite => {
                self.try_insert(after).await?;
                outcome.inserted += 1;
            }
            MissingRow::Ignore => {}
        }
        outcome.missing += 1;
        Ok(())
    }

    /// Puts another document in the place of those that an update is to change, so that it changes them whatever they are.
    async fn clear_documents(&mut self, before: &[Datum<'_>], after: &[Datum<'_>]) -> Result<(), Halt> {
        let mapping = self.mapping;
        let mut values = self.values(mapping.sql.update_columns.iter().copied(), after)?;
        for (value, &at) in values.iter_mut().zip(&mapping.sql.update_columns) {
            if mapping.columns.get(at).is_some_and(|column| matches!(column.bind, Bind::Json { .. })) {
                *value = Value::from("\"the document that Otter is about to write\"");
            }
        }
        values.extend(mapping.find_values(before)?);
        self.session.execute(&mapping.sql.update, values).await?;
        Ok(())
    }

    /// Deletes a row that no key finds, if it is there, and inserts it as it is to be; whether it was there.
    async fn replace_row(&mut self, before: &[Datum<'_>], after: &[Datum<'_>]) -> Result<bool, Halt> {
        if !self.mapping.whole {
            let what = "only a JSON document changes, which MySQL may take for the same, and no key finds the row; \
                        give the target's table a key, or map all of its columns";
            return Err(Halt::Conflict(Code::TargetRefused, what.to_owned()));
        }
        let values = self.mapping.find_values(before)?;
        let there = self.session.execute(&self.mapping.sql.delete, values).await? > 0;
        if there {
            self.try_insert(after).await?;
        }
        Ok(there)
    }

    async fn delete(&mut self, before: &[Datum<'_>], outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let values = self.mapping.find_values(before)?;
        if self.session.execute(&self.mapping.sql.delete, values).await? > 0 {
            outcome.deleted += 1;
            return Ok(());
        }
        if self.policies.missing_row == MissingRow::Error {
            return Err(self.missing());
        }
        outcome.missing += 1;
        Ok(())
    }

    async fn try_insert(&mut self, after: &[Datum<'_>]) -> Result<u64, Halt> {
        let values = self.values(0..self.mapping.columns.len(), after)?;
        self.check_size(&values)?;
        Ok(self.session.execute(&self.mapping.sql.insert(1), values).await?)
    }

    pub(crate) fn check_size(&self, values: &[Value]) -> Result<(), Halt> {
        let bytes: usize = values.iter().map(packet_bytes).sum();
        if bytes <= self.session.row_limit() {
            return Ok(());
        }
        Err(Halt::Conflict(
            Code::TargetRefused,
            format!("the row takes {bytes} bytes; raise max_allowed_packet of the target and connect again"),
        ))
    }

    fn missing(&self) -> Halt {
        let what = match (self.mapping.by_row, self.mapping.merges) {
            (true, _) => "no row of the target has all values that the event says were there",
            (false, true) => "the row is not in the target, or is another table's, since several are merged in it",
            (false, false) => "the row is not in the target",
        };
        Halt::Conflict(Code::RowMissing, what.to_owned())
    }
}
