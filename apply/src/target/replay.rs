//! Writing a batch again: events whose effect the target may hold already, and that of later ones too.
//!
//! A row is written as a whole and wins over whatever holds one of its unique values; a row that is to go may be gone.
//! **Why the end is right.** Let the lane be moved back from position U to position P. It is the only writer of its
//! rows and replays the events from P to U in order; S(x) is what strict application from the beginning leaves at x.
//! - A row that an event between P and U touches: its last such event writes its image in S(U), or removes it. After
//!   that, only an event that brings one of its unique values could take it away again. But that event comes before U,
//!   and behind it both rows would have the value in the source, which its own unique index excludes.
//! - A row that no such event touches is in S(P) what it is in S(U), so it holds its values throughout, and for the
//!   same reason no event between P and U brings one of them.
//! - A row that is removed because it holds a value "too early" (it has it in S(U), another one has it now) is of the
//!   first kind, and comes back with its own last event before U.
//!
//! So at U the target is S(U), whatever it was at P, and strict application can go on. The net effect of a batch up to b
//! is S(b) for the keys that it touches, so the same holds batch by batch. It rests on the lane being serial and alone.
//! Where a topic has several partitions and rows of theirs may conflict, "the lane" is all of them: they go back to one
//! place P and replay merged by position until the last is at its U (`joined`), and the argument is about the merged
//! order. If they cannot conflict, no event of one lane takes away a row of another, and each is alone. Where several source tables feed one target table, every unique index must have a column
//! that the mapping sets, so that only rows of this one can hold its unique values; else nothing is replayed.
//!
//! `REPLACE` is the server's own notion of "whatever holds one of its unique values", generated columns and collations
//! included. Where columns of the target are not mapped it would lose them, so there a row is updated in place, and
//! another row in its way stops the lane.

use schemas::decode::Datum;
use schemas::encode::Op;
use schemas::{Code, Error};

use super::batch::Plan;
use super::failure::Fault;
use super::serial::Halt;
use super::writer::{BatchOutcome, Detour, Rows};

/// The net effect of a batch, as indices of changes.
#[derive(Debug)]
pub(crate) struct ReplayWork {
    /// Rows to remove, by their row before.
    gone: Vec<usize>,
    /// Rows that came and went within the batch, by their row after.
    passed: Vec<usize>,
    /// Rows that are there in the end, by their row after.
    present: Vec<usize>,
}

impl Rows<'_, '_> {
    /// The batch's net effect; `None` when it must be replayed event by event.
    pub(crate) fn replay_plan(&self) -> Option<ReplayWork> {
        let Plan::Net(net) = self.batch.net() else { return None };
        if !self.mapping.whole {
            return None;
        }
        let mut work = ReplayWork { gone: net.deletes, passed: net.absent, present: net.inserts };
        for update in net.updates {
            // Only where the target's key is not the source's.
            if self.mapping.moves_key(self.batch.before(update.first), self.batch.after(update.last)) {
                return None;
            }
            work.present.push(update.last);
        }
        Some(work)
    }

    /// Writes the net effect.
    pub(crate) async fn replay_net(&mut self, work: &ReplayWork) -> Result<BatchOutcome, Detour> {
        let removed = self.remove(&work.gone, false).await?;
        let missing = (work.gone.len() as u64).saturating_sub(removed);
        let passed = self.remove(&work.passed, true).await?;
        let before = self.count(&work.present).await?;
        let affected = self.write_rows(&work.present, true).await?;
        let rows = work.present.len() as u64;
        // Each row that goes for another counts once, and each that comes.
        let replaced = affected.saturating_sub(rows);
        Ok(BatchOutcome {
            rewritten: before,
            restored: rows.saturating_sub(before),
            removed: removed + passed + replaced.saturating_sub(before),
            missing,
            ..BatchOutcome::default()
        })
    }

    async fn remove(&mut self, rows: &[usize], after: bool) -> Result<u64, Detour> {
        let (mut rest, mut count) = (rows, 0);
        while !rest.is_empty() {
            let (keys, taken) = self.key_list(rest, after)?;
            count += self.session.run(self.mapping.sql.delete_in(&keys.collated, keys.bytes())).await?;
            rest = &rest[taken..];
        }
        Ok(count)
    }

    /// How many of the rows there are, whatever they hold.
    async fn count(&mut self, rows: &[usize]) -> Result<u64, Detour> {
        let (mut rest, mut count) = (rows, 0);
        while !rest.is_empty() {
            let (keys, taken) = self.key_list(rest, true)?;
            count += self.session.first::<u64>(self.mapping.sql.count_of(&keys.collated)).await?.unwrap_or_default();
            rest = &rest[taken..];
        }
        Ok(count)
    }

    /// Replays one change.
    pub(crate) async fn replay(&mut self, index: usize, outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let batch = self.batch;
        let Some(change) = batch.changes().get(index) else { return Ok(()) };
        let (before, after) = (batch.before(index), batch.after(index));
        match change.op {
            Op::Create => self.replay_row(after, outcome).await,
            Op::Update => {
                if self.mapping.moves_key(before, after) {
                    self.remove_row(before).await?;
                }
                self.replay_row(after, outcome).await
            }
            Op::Delete => {
                match self.remove_row(before).await? {
                    0 => outcome.missing += 1,
                    count => outcome.removed += count,
                }
                Ok(())
            }
        }
    }

    async fn remove_row(&mut self, row: &[Datum<'_>]) -> Result<u64, Halt> {
        let values = self.mapping.find_values(row)?;
        Ok(self.session.execute(&self.mapping.sql.delete, values).await?)
    }

    async fn replay_row(&mut self, row: &[Datum<'_>], outcome: &mut BatchOutcome) -> Result<(), Halt> {
        let mapping = self.mapping;
        let mut values = self.values(0..mapping.columns.len(), row)?;
        self.check_size(&values)?;
        let key = self.key_values(&mapping.key, row)?;
        if mapping.whole {
            let there = u64::from(self.session.find::<mysql_async::Row>(&mapping.sql.exists, key).await?.is_some());
            let affected = self.session.execute(&mapping.sql.replace(1), values).await?;
            outcome.rewritten += there;
            outcome.restored += 1 - there;
            outcome.removed += affected.saturating_sub(1 + there);
            return Ok(());
        }
        let row = values.clone();
        values.extend(key);
        let written = match self.session.execute(&mapping.sql.overwrite, values).await {
            Ok(0) => {
                outcome.restored += 1;
                self.session.execute(&mapping.sql.insert(1), row).await
            }
            written => {
                outcome.rewritten += 1;
                written
            }
        };
        match written {
            Err(failure) if failure.fault == Fault::Duplicate => Err(in_the_way()),
            written => written.map(|_| ()).map_err(Halt::from),
        }
    }

    /// Why these events cannot be written again, if they cannot.
    pub(crate) fn cannot_replay(&self) -> Option<Error> {
        if let Some(why) = &self.mapping.no_replay {
            return Some(Error::new(Code::ReplayRefused, why.as_str()));
        }
        let change = self.batch.changes().iter().find(|change| change.key.is_empty())?;
        let message = format!(
            "{}: the event at offset {} has no key; without one nothing says which row it wrote before",
            self.mapping.target, change.offset
        );
        Some(Error::new(Code::ReplayRefused, message))
    }
}

fn in_the_way() -> Halt {
    let what = "another row holds one of its unique values, and removing that row would lose its columns that the \
                mapping leaves out";
    Halt::Conflict(Code::ReplayRefused, what.to_owned())
}
