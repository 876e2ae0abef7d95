//! One transaction of several lanes: the progress of each first, then the rows in the merged order, then the commit.
//!
//! Every lane that has an event in the batch is advanced from the offset and token that its leader believes in; each of
//! these statements changes exactly one row, or somebody else owns the lane and nothing is written. The rows go as net
//! effect, or event by event where that would not be equal or where foreign keys want the order. A conflict then stops
//! all lanes in front of the same event: each has exactly what comes before it in the merged order.

use schemas::encode::Op;
use schemas::{Code, Error};

use super::batch::Batch;
use super::connection::Session;
use super::failure::{Failure, Fault};
use super::progress::Lane;
use super::replay::ReplayWork;
use super::serial::Halt;
use super::transaction::Destination;
use super::writer::{BatchOutcome, Detour, Policies, Rows, Work, WriteError};

/// Events of one table and schema that follow each other.
pub(crate) struct Stretch<'w, 'a> {
    /// Where they go.
    pub(crate) destinations: Vec<Destination<'w>>,
    /// The events.
    pub(crate) batch: Batch<'a>,
    /// The lane of each.
    pub(crate) lanes: Vec<usize>,
}

impl Stretch<'_, '_> {
    /// Whether these are inserts only, which go in bulk whatever the order.
    fn only_inserts(&self) -> bool {
        self.batch.changes().iter().all(|change| change.op == Op::Create)
    }
}

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manner {
    /// Whatever the target holds of it already.
    pub(crate) replays: bool,
    /// In order, under the target's foreign keys.
    pub(crate) ordered: bool,
    /// Some lane is further than this batch: a conflict says only that more is needed.
    pub(crate) early: bool,
    /// Some lane is further than others: rows may be there that came behind some of these events.
    pub(crate) apart: bool,
}

/// Why nothing, or not all, was written.
#[derive(Debug)]
pub(crate) enum JointError {
    /// As in one lane.
    Write(WriteError),
    /// A row of the future may be in the way, as the batch does not reach the furthest lane; nothing was written.
    Early(String),
}

impl From<Failure> for JointError {
    fn from(failure: Failure) -> Self {
        Self::Write(failure.into())
    }
}

/// A batch of several lanes on its way into the target.
pub(crate) struct Joint<'w, 'a> {
    pub(crate) session: &'w mut Session,
    /// All lanes of the set, in the order of their keys.
    pub(crate) lanes: &'w mut [Lane],
    pub(crate) stretches: &'w [Stretch<'w, 'a>],
    /// Where each lane goes (offset, ordinal); `None`: it has no part in the batch.
    pub(crate) to: &'w [Option<(i64, i64)>],
    pub(crate) manner: Manner,
}

/// What to do for a stretch.
enum Doing {
    Net(Vec<Work>),
    Replay(Vec<ReplayWork>),
    OneByOne,
}

impl<'a> Joint<'_, 'a> {
    /// Writes all and moves the lanes.
    pub(crate) async fn write(&mut self) -> Result<BatchOutcome, JointError> {
        if let Some(malformed) = self.malformed() {
            return Err(JointError::Write(WriteError::Refused(malformed)));
        }
        let doing = self.plan().map_err(|why| JointError::Write(WriteError::Refused(why)))?;
        let Some(doing) = doing else {
            if self.manner.early {
                return Err(JointError::Early("its changes contradict each other".to_owned()));
            }
            return self.write_serially().await;
        };
        self.begin().await?;
        match self.write_planned(&doing).await {
            Ok(mut outcome) => {
                outcome.events = self.stretches.iter().map(|stretch| stretch.batch.len() as u64).sum();
                let to = self.to.to_vec();
                self.commit(&to, &outcome).await?;
                Ok(outcome)
            }
            Err(Detour::Failed(failure)) => Err(self.give_up(failure).await),
            Err(Detour::Serial(why)) => {
                // First of all the rollback: a duplicate leaves a lock behind. The connection may go to others afterwards.
                self.session.run(self.ending("ROLLBACK")).await?;
                if self.manner.early {
                    return Err(JointError::Early(why));
                }
                tracing::info!(tables = self.tables(), why, "applying a joint batch serially");
                self.write_serially().await
            }
        }
    }

    /// How each stretch is written; `None` when all must go one by one.
    fn plan(&mut self) -> Result<Option<Vec<Doing>>, Error> {
        let mut doing = Vec::with_capacity(self.stretches.len());
        for (at, stretch) in self.stretches.iter().enumerate() {
            let tables = 0..stretch.destinations.len();
            if self.manner.replays {
                if let Some(why) = tables.clone().find_map(|to| self.rows(at, to).cannot_replay()) {
                    return Err(why);
                }
                let Some(work) = tables.map(|to| self.rows(at, to).replay_plan()).collect() else { return Ok(None) };
                doing.push(Doing::Replay(work));
            } else if self.manner.ordered && !stretch.only_inserts() {
                doing.push(Doing::OneByOne);
            } else {
                let work: Option<Vec<Work>> = tables.map(|to| self.rows(at, to).plan()).collect();
                let Some(mut work) = work else { return Ok(None) };
                work.iter_mut().for_each(|work| work.beside_others = self.manner.apart);
                doing.push(Doing::Net(work));
            }
        }
        Ok(Some(doing))
    }

    async fn write_planned(&mut self, doing: &[Doing]) -> Result<BatchOutcome, Detour> {
        let mut outcome = BatchOutcome::default();
        for (at, doing) in doing.iter().enumerate() {
            match doing {
                Doing::Net(work) => {
                    for (to, work) in work.iter().enumerate() {
                        outcome.add(self.rows(at, to).write_net(work).await?);
                    }
                }
                Doing::Replay(work) => {
                    for (to, work) in work.iter().enumerate() {
                        outcome.add(self.rows(at, to).replay_net(work).await?);
                    }
                }
                Doing::OneByOne => {
                    for index in 0..self.stretches[at].batch.len() {
                        match self.write_event((at, index), &mut outcome).await {
                            Ok(()) => {}
                            Err((_, Halt::Conflict(_, what))) => return Err(Detour::Serial(what)),
                            Err((_, Halt::Failed(failure))) => return Err(Detour::Failed(failure)),
                        }
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn rows(&mut self, at: usize, to: usize) -> Rows<'_, 'a> {
        let stretch = &self.stretches[at];
        let Destination { mapping, policies } = stretch.destinations[to];
        // There are other lanes, and none of them is to be waited for.
        let policies = Policies { settled: Some(i64::MAX), ..policies };
        Rows { session: self.session, mapping, policies, batch: &stretch.batch }
    }

    /// What is wrong with an event that has not the rows that it must have.
    fn malformed(&self) -> Option<Error> {
        self.stretches.iter().find_map(|stretch| {
            let index = stretch.destinations.iter().find_map(|d| stretch.batch.first_malformed(d.mapping.width))?;
            let offset = stretch.batch.changes().get(index)?.offset;
            let lane = self.lanes.get(*stretch.lanes.get(index)?)?.key();
            let what = "has not the rows that its kind and schema say";
            Some(Error::new(Code::RecordInvalid, format!("{lane}: the event at offset {offset} {what}")))
        })
    }

    fn tables(&self) -> String {
        let all = self.stretches.iter().flat_map(|stretch| &stretch.destinations);
        let mut names: Vec<String> = all.map(|d| d.mapping.target.to_string()).collect();
        names.dedup();
        names.join(", ")
    }

    /// Applies all events one by one; on success everything is committed.
    async fn write_serially(&mut self) -> Result<BatchOutcome, JointError> {
        let mut outcome = BatchOutcome { serial: true, ..BatchOutcome::default() };
        self.begin().await?;
        for at in 0..self.stretches.len() {
            for index in 0..self.stretches[at].batch.len() {
                let before = outcome;
                match self.write_event((at, index), &mut outcome).await {
                    Ok(()) => outcome.events += 1,
                    Err((_, Halt::Failed(failure))) => return Err(self.give_up(failure).await),
                    Err((to, Halt::Conflict(code, what))) => {
                        return Err(self.pause((at, index, to), (code, what), before).await);
                    }
                }
            }
        }
        let to = self.to.to_vec();
        self.commit(&to, &outcome).await?;
        Ok(outcome)
    }

    /// Applies one event at every table of its mapping. A conflict at one takes back what it did at the others; it comes
    /// with the table's index.
    async fn write_event(
        &mut self,
        (at, index): (usize, usize),
        outcome: &mut BatchOutcome,
    ) -> Result<(), (usize, Halt)> {
        let count = self.stretches[at].destinations.len();
        if count > 1 {
            self.session.run("SAVEPOINT otter_event").await.map_err(|failure| (0, failure.into()))?;
        }
        for to in 0..count {
            let replays = self.manner.replays;
            let mut rows = self.rows(at, to);
            let done = if replays { rows.replay(index, outcome).await } else { rows.apply(index, outcome).await };
            match done {
                Ok(()) => {}
                Err(Halt::Conflict(code, what)) => {
                    if count > 1 {
                        let undone = self.session.run("ROLLBACK TO SAVEPOINT otter_event").await;
                        undone.map_err(|failure| (to, Halt::Failed(failure)))?;
                    }
                    return Err((to, Halt::Conflict(code, what)));
                }
                Err(failed) => return Err((to, failed)),
            }
        }
        Ok(())
    }

    /// Commits what came before an event, each lane's progress in front of it.
    async fn pause(
        &mut self,
        (at, index, to): (usize, usize, usize),
        (code, what): (Code, String),
        outcome: BatchOutcome,
    ) -> JointError {
        let (stretch, back) = (&self.stretches[at], self.in_front_of((at, index)));
        let (change, lane) = (&stretch.batch.changes()[index], stretch.lanes[index]);
        let row = if change.op == Op::Create { stretch.batch.after(index) } else { stretch.batch.before(index) };
        let (mapping, key) = (stretch.destinations[to].mapping, self.lanes[lane].key().clone());
        let (at_offset, ordinal) = (change.offset, change.ordinal);
        let message =
            format!("{} {} at offset {at_offset} of {key}: {what}", mapping.target, mapping.describe_key(row));
        let mut statements = Vec::new();
        for ((lane, to), back) in self.lanes.iter().zip(self.to).zip(&back) {
            if let (Some(to), Some(back)) = (to, back) {
                statements.push((lane.advance_sql(to.0, *back), lane.taken()));
            }
        }
        if let Err(error) = self.run_fenced(String::new(), statements).await {
            return error;
        }
        match self.commit(&back, &outcome).await {
            Ok(()) => {
                let error = Error::new(code, message);
                JointError::Write(WriteError::Paused { at_offset, ordinal, error, outcome })
            }
            Err(error) => error,
        }
    }

    /// Where the lanes of the batch stand in front of an event of it.
    fn in_front_of(&self, (at, index): (usize, usize)) -> Vec<Option<(i64, i64)>> {
        let stands = |lane: &Lane| (lane.next_offset(), lane.ordinal());
        let mut back: Vec<Option<(i64, i64)>> =
            self.lanes.iter().zip(self.to).map(|(lane, to)| to.map(|_| stands(lane))).collect();
        for (nth, stretch) in self.stretches.iter().enumerate().take(at + 1) {
            let until = if nth == at { index } else { stretch.batch.len() };
            for (change, lane) in stretch.batch.changes().iter().zip(&stretch.lanes).take(until) {
                back[*lane] = Some((change.offset + 1, change.ordinal));
            }
        }
        let stretch = &self.stretches[at];
        let lane = stretch.lanes[index];
        let ordinal = back[lane].map_or_else(|| self.lanes[lane].ordinal(), |(_, ordinal)| ordinal);
        back[lane] = Some((stretch.batch.changes()[index].offset, ordinal));
        back
    }

    /// Opens the transaction and moves the lanes as its first statements.
    async fn begin(&mut self) -> Result<(), JointError> {
        let mut statements = Vec::new();
        for (lane, to) in self.lanes.iter().zip(self.to) {
            if let Some(to) = to {
                statements.push((lane.advance_sql(lane.next_offset(), *to), lane.taken()));
            }
        }
        let checks = if self.manner.ordered { "SET SESSION foreign_key_checks = 1; " } else { "" };
        self.run_fenced(format!("{checks}START TRANSACTION; "), statements).await
    }

    /// Runs updates of progress rows; each must change one, or nothing of the transaction stays.
    async fn run_fenced(&mut self, open: String, statements: Vec<(String, Error)>) -> Result<(), JointError> {
        let texts: Vec<&str> = statements.iter().map(|(sql, _)| sql.as_str()).collect();
        let counts = match self.session.run_each(format!("{open}{}", texts.join("; "))).await {
            Ok(counts) => counts,
            Err(failure) => return Err(self.give_up(failure).await),
        };
        let updates = counts.len().saturating_sub(statements.len());
        let changed = counts.into_iter().skip(updates);
        let taken = statements.into_iter().zip(changed).find(|(_, changed)| *changed != 1);
        match taken {
            None => Ok(()),
            Some(((_, taken), _)) => {
                self.session.run("ROLLBACK").await?;
                Err(JointError::Write(WriteError::Taken(taken)))
            }
        }
    }

    /// Commits, counting what a replay did; any error leaves the outcome unknown.
    async fn commit(&mut self, at: &[Option<(i64, i64)>], outcome: &BatchOutcome) -> Result<(), JointError> {
        if self.manner.replays
            && let Some((lane, to)) = self.lanes.iter().zip(at).find_map(|(lane, to)| Some((lane, (*to)?)))
        {
            let sql = lane.count_sql(to.0, outcome);
            if let Err(failure) = self.session.run(sql).await {
                return Err(self.give_up(failure).await);
            }
        }
        self.session
            .run(self.ending("COMMIT"))
            .await
            .map_err(|failure| JointError::Write(WriteError::Lost(failure.error)))?;
        for (lane, to) in self.lanes.iter_mut().zip(at) {
            if let Some(to) = to {
                lane.committed(*to);
            }
        }
        Ok(())
    }

    /// The statement that ends the transaction, and what makes the session again as others expect it.
    fn ending(&self, statement: &str) -> String {
        let checks = if self.manner.ordered { "; SET SESSION foreign_key_checks = 0" } else { "" };
        format!("{statement}{checks}")
    }

    /// Rolls back after a failure that ends the batch, and with it the use of the connection.
    async fn give_up(&mut self, failure: Failure) -> JointError {
        if failure.fault != Fault::Lost
            && let Err(lost) = self.session.run("ROLLBACK").await
        {
            return lost.into();
        }
        failure.into()
    }
}
