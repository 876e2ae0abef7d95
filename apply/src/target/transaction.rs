//! The one transaction of a batch: progress first, then the rows of every target table of the lane, then the commit.
//!
//! The rows of each table are written by [`super::writer`] (net effect) or, where that would not be equal, by
//! [`super::serial`]; neither begins or ends the transaction. A batch of several tables is applied serially at all of
//! them as soon as one of them needs it, an event at a time, so that a pause stands at the same event for all.

use schemas::encode::Op;
use schemas::{Code, Error};

use super::batch::Batch;
use super::connection::Session;
use super::failure::{Failure, Fault};
use super::mapping::TableMapping;
use super::progress::Lane;
use super::replay::ReplayWork;
use super::serial::Halt;
use super::writer::{BatchOutcome, Detour, Policies, Rows, Unwritten, Work, WriteError};

/// A target table of a lane, and what to do where its rows are not as the events expect them.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'m> {
    /// The plan for the table.
    pub mapping: &'m TableMapping,
    /// The mapping's policies.
    pub policies: Policies,
}

/// A batch on its way into the target.
pub(crate) struct Transaction<'w, 'a> {
    pub(crate) session: &'w mut Session,
    pub(crate) lane: &'w mut Lane,
    pub(crate) destinations: &'w [Destination<'w>],
    pub(crate) batch: &'w Batch<'a>,
}

impl<'a> Transaction<'_, 'a> {
    /// Writes all and moves the lane to `to`.
    pub(crate) async fn write(&mut self, to: (i64, i64)) -> Result<BatchOutcome, WriteError> {
        if let Some(malformed) = self.malformed() {
            return Err(WriteError::Refused(malformed));
        }
        if self.lane.is_replaying() {
            return self.replay(to).await;
        }
        let work: Option<Vec<Work>> = (0..self.destinations.len()).map(|at| self.rows(at).plan()).collect();
        let Some(work) = work else { return self.write_serially(to).await };
        self.begin(to).await?;
        match self.write_net(&work).await {
            Ok(mut outcome) => {
                self.commit(to, &outcome).await?;
                outcome.events = self.batch.len() as u64;
                Ok(outcome)
            }
            Err(Detour::Failed(failure)) => Err(self.give_up(failure).await),
            Err(Detour::Serial(why)) => {
                // First of all the rollback: a duplicate leaves a lock behind.
                self.session.run("ROLLBACK").await?;
                tracing::info!(lane = %self.lane.key(), tables = self.tables(), events = self.batch.len(), why, "applying a batch serially");
                self.write_serially(to).await
            }
        }
    }

    /// Writes the net effect into a transaction that stays open; see [`super::writer::write_part`].
    pub(crate) async fn write_part(&mut self, to: (i64, i64), open: bool) -> Result<BatchOutcome, Unwritten> {
        if self.lane.is_replaying() || self.malformed().is_some() {
            return Err(Unwritten::Alone);
        }
        let work: Option<Vec<Work>> = (0..self.destinations.len()).map(|at| self.rows(at).plan()).collect();
        let Some(work) = work else { return Err(Unwritten::Alone) };
        let advance = self.lane.advance_sql(self.lane.next_offset(), to);
        let sql = if open { advance } else { format!("START TRANSACTION; {advance}") };
        match self.session.run(sql).await {
            Ok(1) => {}
            Ok(_) => return Err(Unwritten::Failed(self.lane.taken().to_string())),
            Err(failure) => return Err(Detour::from(failure).into()),
        }
        let mut outcome = self.write_net(&work).await?;
        outcome.events = self.batch.len() as u64;
        Ok(outcome)
    }

    /// Writes all again, whatever of it the tables hold already; see [`super::replay`].
    async fn replay(&mut self, to: (i64, i64)) -> Result<BatchOutcome, WriteError> {
        if let Some(why) = (0..self.destinations.len()).find_map(|at| self.rows(at).cannot_replay()) {
            return Err(WriteError::Refused(why));
        }
        let work: Option<Vec<ReplayWork>> =
            (0..self.destinations.len()).map(|at| self.rows(at).replay_plan()).collect();
        let Some(work) = work else { return self.write_serially(to).await };
        self.begin(to).await?;
        let mut outcome = BatchOutcome { events: self.batch.len() as u64, ..BatchOutcome::default() };
        for (at, work) in work.iter().enumerate() {
            match self.rows(at).replay_net(work).await {
                Ok(done) => outcome.add(done),
                Err(Detour::Failed(failure)) => return Err(self.give_up(failure).await),
                Err(Detour::Serial(why)) => {
                    self.session.run("ROLLBACK").await?;
                    tracing::info!(lane = %self.lane.key(), tables = self.tables(), why, "replaying a batch serially");
                    return self.write_serially(to).await;
                }
            }
        }
        self.commit(to, &outcome).await?;
        Ok(outcome)
    }

    /// What is wrong with an event that has not the rows that it must have.
    fn malformed(&self) -> Option<Error> {
        let index = self.destinations.iter().find_map(|d| self.batch.first_malformed(d.mapping.width))?;
        let offset = self.batch.changes().get(index)?.offset;
        let message =
            format!("{}: the event at offset {offset} has not the rows that its kind and schema say", self.lane.key());
        Some(Error::new(Code::RecordInvalid, message))
    }

    fn tables(&self) -> String {
        let names: Vec<String> = self.destinations.iter().map(|d| d.mapping.target.to_string()).collect();
        names.join(", ")
    }

    fn rows(&mut self, at: usize) -> Rows<'_, 'a> {
        let Destination { mapping, policies } = self.destinations[at];
        Rows { session: self.session, mapping, policies, batch: self.batch }
    }

    async fn write_net(&mut self, work: &[Work]) -> Result<BatchOutcome, Detour> {
        let mut outcome = BatchOutcome::default();
        for (at, work) in work.iter().enumerate() {
            outcome.add(self.rows(at).write_net(work).await?);
        }
        Ok(outcome)
    }

    /// Applies the batch serially; on success everything is committed.
    async fn write_serially(&mut self, to: (i64, i64)) -> Result<BatchOutcome, WriteError> {
        let mut outcome = BatchOutcome { serial: true, ..BatchOutcome::default() };
        self.begin(to).await?;
        for index in 0..self.batch.len() {
            let before = outcome;
            match self.write_event(index, &mut outcome).await {
                Ok(()) => outcome.events += 1,
                Err((_, Halt::Failed(failure))) => return Err(self.give_up(failure).await),
                Err((at, Halt::Conflict(code, what))) => {
                    return Err(self.pause(index, at, to, (code, what), before).await);
                }
            }
        }
        self.commit(to, &outcome).await?;
        Ok(outcome)
    }

    /// Applies one event at every table. A conflict at one takes back what it did at the others; it comes with the
    /// table's index.
    async fn write_event(&mut self, index: usize, outcome: &mut BatchOutcome) -> Result<(), (usize, Halt)> {
        let several = self.destinations.len() > 1;
        if several {
            self.session.run("SAVEPOINT otter_event").await.map_err(|failure| (0, failure.into()))?;
        }
        for at in 0..self.destinations.len() {
            let replays = self.lane.is_replaying();
            let mut rows = self.rows(at);
            let done = if replays { rows.replay(index, outcome).await } else { rows.apply(index, outcome).await };
            match done {
                Ok(()) => {}
                Err(Halt::Conflict(code, what)) => {
                    if several {
                        let undone = self.session.run("ROLLBACK TO SAVEPOINT otter_event").await;
                        undone.map_err(|failure| (at, Halt::Failed(failure)))?;
                    }
                    return Err((at, Halt::Conflict(code, what)));
                }
                Err(failed) => return Err((at, failed)),
            }
        }
        Ok(())
    }

    /// Commits what came before the event at `index` with the progress in front of it.
    async fn pause(
        &mut self,
        index: usize,
        at: usize,
        moved_to: (i64, i64),
        (code, what): (Code, String),
        outcome: BatchOutcome,
    ) -> WriteError {
        let (Some(change), Some(destination)) = (self.batch.changes().get(index), self.destinations.get(at)) else {
            return WriteError::Refused(Error::new(code, what));
        };
        let at_offset = change.offset;
        let row = if change.op == Op::Create { self.batch.after(index) } else { self.batch.before(index) };
        let message = format!(
            "{} {} at offset {at_offset} of {}: {what}",
            destination.mapping.target,
            destination.mapping.describe_key(row),
            self.lane.key()
        );
        let ordinal = match index.checked_sub(1).and_then(|last| self.batch.changes().get(last)) {
            Some(last) => last.ordinal,
            None => self.lane.ordinal(),
        };
        let back = (at_offset, ordinal);
        let pending = change.ordinal;
        let sql = self.lane.stand_sql(moved_to.0, back, pending);
        match self.session.run(sql).await {
            Ok(1) => {}
            Ok(_) => {
                let failure = Failure { fault: Fault::Busy, error: self.lane.taken() };
                return self.give_up(failure).await;
            }
            Err(failure) => return self.give_up(failure).await,
        }
        match self.commit(back, &outcome).await {
            Ok(()) => WriteError::Paused { at_offset, ordinal: pending, error: Error::new(code, message), outcome },
            Err(error) => error,
        }
    }

    /// Opens the transaction and moves the progress as its first statement.
    async fn begin(&mut self, to: (i64, i64)) -> Result<(), WriteError> {
        let sql = format!("START TRANSACTION; {}", self.lane.advance_sql(self.lane.next_offset(), to));
        match self.session.run(sql).await {
            Ok(1) => Ok(()),
            Ok(_) => {
                let taken = self.lane.taken();
                self.session.run("ROLLBACK").await?;
                Err(WriteError::Taken(taken))
            }
            Err(failure) => Err(self.give_up(failure).await),
        }
    }

    /// Commits, counting what a replay did; any error leaves the outcome unknown.
    async fn commit(&mut self, at: (i64, i64), outcome: &BatchOutcome) -> Result<(), WriteError> {
        if self.lane.is_replaying() {
            let sql = self.lane.count_sql(at.0, outcome);
            if let Err(failure) = self.session.run(sql).await {
                return Err(self.give_up(failure).await);
            }
        }
        self.session.run("COMMIT").await.map_err(|failure| WriteError::Lost(failure.error))?;
        self.lane.committed(at);
        Ok(())
    }

    /// Rolls back after a failure that ends the batch.
    async fn give_up(&mut self, failure: Failure) -> WriteError {
        if failure.fault != Fault::Lost
            && let Err(lost) = self.session.run("ROLLBACK").await
        {
            return lost.into();
        }
        failure.into()
    }
}
