//! A batch one event after the other, with the mapping's policies: what the fast path must equal, and what decides when
//! the target is not as the events expect it.
//!
//! A failed statement undoes itself and leaves the transaction, so what came before the first event that cannot be
//! applied is committed, with the progress at that event.

use mysql_async::Value;
use schemas::decode::Datum;
use schemas::documents::{ExistingRow, MissingRow};
use schemas::encode::Op;
use schemas::{Code, Error};

use super::failure::{Failure, Fault};
use super::mapping::RowFault;
use super::value::packet_bytes;
use super::writer::{BatchOutcome, WriteError, Writer};

/// Why an event stops the batch.
pub(crate) enum Halt {
    /// It cannot be applied.
    Conflict(Code, String),
    /// The transaction is over.
    Failed(Failure),
}

impl From<RowFault> for Halt {
    fn from(fault: RowFault) -> Self {
        Self::Conflict(Code::TargetRefused, format!("the value of column `{}` {}", fault.column, fault.what))
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

impl Writer<'_, '_> {
    /// Applies the batch serially; on success everything is committed.
    pub(crate) async fn write_serially(&mut self, to: (i64, i64)) -> Result<BatchOutcome, WriteError> {
        let mut outcome = BatchOutcome { serial: true, ..BatchOutcome::default() };
        self.begin(to).await?;
        for index in 0..self.batch.len() {
            match self.apply(index, &mut outcome).await {
                Ok(()) => outcome.events += 1,
                Err(Halt::Failed(failure)) => return Err(self.give_up(failure).await),
                Err(Halt::Conflict(code, what)) => return Err(self.pause(index, to, (code, what), outcome).await),
            }
        }
        self.commit(to).await?;
        Ok(outcome)
    }

    /// Commits what came before the event at `index` with the progress at it.
    async fn pause(
        &mut self,
        index: usize,
        moved_to: (i64, i64),
        (code, what): (Code, String),
        outcome: BatchOutcome,
    ) -> WriteError {
        let Some(change) = self.batch.changes().get(index) else {
            return WriteError::Refused(Error::new(code, what));
        };
        let at_offset = change.offset;
        let row = if change.op == Op::Create { self.batch.after(index) } else { self.batch.before(index) };
        let message = format!(
            "{} {} at offset {at_offset} of {}: {what}",
            self.mapping.target,
            self.mapping.describe_key(row),
            self.lane.key()
        );
        let ordinal = match index.checked_sub(1).and_then(|last| self.batch.changes().get(last)) {
            Some(last) => last.ordinal,
            None => self.lane.ordinal(),
        };
        let back = (at_offset, ordinal);
        let sql = self.lane.advance_sql(moved_to.0, back);
        match self.session.run(sql).await {
            Ok(1) => {}
            Ok(_) => {
                let failure = Failure { fault: Fault::Busy, error: self.lane.taken() };
                return self.give_up(failure).await;
            }
            Err(failure) => return self.give_up(failure).await,
        }
        match self.commit(back).await {
            Ok(()) => WriteError::Paused { at_offset, error: Error::new(code, message), outcome },
            Err(error) => error,
        }
    }

    async fn apply(&mut self, index: usize, outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let batch = self.batch;
        let Some(change) = batch.changes().get(index) else { return Ok(()) };
        let (before, after) = (batch.before(index), batch.after(index));
        match change.op {
            Op::Create => self.insert(after, outcome).await,
            Op::Update => self.update(before, after, outcome).await,
            Op::Delete => self.delete(before, outcome).await,
        }
    }

    async fn insert(&mut self, after: &[Datum<'_>], outcome: &mut BatchOutcome) -> Result<(), Halt> {
        match self.try_insert(after).await {
            Ok(_) => outcome.inserted += 1,
            Err(Halt::Conflict(Code::RowExists, what)) => {
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
        // Where the row key is not the source's key an update may move it.
        let moves = mapping.key.iter().filter_map(|&k| mapping.columns.get(k)).any(|column| {
            match (before.get(column.writer), after.get(column.writer)) {
                (Some(from), Some(to)) => !super::value::same(from, to),
                _ => true,
            }
        });
        let (sql, columns) = match moves {
            false => (mapping.sql.update.as_str(), mapping.sql.update_columns.clone()),
            true => (mapping.sql.move_row.as_str(), (0..mapping.columns.len()).collect()),
        };
        let mut values = self.values(columns, after)?;
        values.extend(self.key_values(&mapping.sql.key_parameters, before)?);
        self.check_size(&values)?;
        if self.session.execute(sql, values).await? > 0 {
            outcome.updated += 1;
            return Ok(());
        }
        match self.policies.missing_row {
            MissingRow::Error => return Err(missing()),
            MissingRow::Overwrite => {
                self.try_insert(after).await?;
                outcome.inserted += 1;
            }
            MissingRow::Ignore => {}
        }
        outcome.missing += 1;
        Ok(())
    }

    async fn delete(&mut self, before: &[Datum<'_>], outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let values = self.key_values(&self.mapping.sql.key_parameters, before)?;
        if self.session.execute(&self.mapping.sql.delete, values).await? > 0 {
            outcome.deleted += 1;
            return Ok(());
        }
        if self.policies.missing_row == MissingRow::Error {
            return Err(missing());
        }
        outcome.missing += 1;
        Ok(())
    }

    async fn try_insert(&mut self, after: &[Datum<'_>]) -> Result<u64, Halt> {
        let values = self.values(0..self.mapping.columns.len(), after)?;
        self.check_size(&values)?;
        Ok(self.session.execute(&self.mapping.sql.insert(1), values).await?)
    }

    fn check_size(&self, values: &[Value]) -> Result<(), Halt> {
        let bytes: usize = values.iter().map(packet_bytes).sum();
        if bytes <= self.session.row_limit() {
            return Ok(());
        }
        Err(Halt::Conflict(
            Code::TargetRefused,
            format!("the row takes {bytes} bytes; raise max_allowed_packet of the target and connect again"),
        ))
    }
}

fn missing() -> Halt {
    Halt::Conflict(Code::RowMissing, "the row is not in the target".to_owned())
}
