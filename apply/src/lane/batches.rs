//! The batches of a lane that has been claimed.
//!
//! Order of attention while waiting: stop, changed documents, a recheck, records, the time to pass control records.
//! A connection is taken before records are taken from the queue, so that records wait in memory for at most as many
//! lanes as there are connections. When nothing more was to be polled, what is there is written at once; the batch's
//! `wait` only bounds how long a lane waits for records that are known to follow.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chunk::Taken;
use crate::config::TablePlan;
use crate::consumer::Request;
use crate::lane::intake::{Before, cut};
use crate::lane::{LaneTask, Turn};
use crate::pool::{Backoff, Pooled};
use crate::settings::News;
use crate::target::progress::Lane;
use crate::target::writer::{self, BatchOutcome, Destination, WriteError, write_to_all};

/// An idle lane passes control records at most this often: it costs a transaction at the target.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Generation of capture that this version knows.
const GENERATION: i32 = 0;

/// Why the wait for records ended.
enum Wake {
    Stop,
    Claim,
    Records,
    Pass(i64),
}

/// What a committed batch was, for the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Offset of the next record.
    pub(crate) next_offset: i64,
    /// What the writer counted.
    pub(crate) outcome: BatchOutcome,
    /// Events dropped because they were applied before.
    pub(crate) repeats: u64,
    /// When the last event was made at the source, in milliseconds since 1970.
    pub(crate) source_ts_ms: Option<i64>,
}

impl LaneTask {
    /// Writes batches until something else is to be done.
    pub(crate) async fn apply(&mut self, table: &TablePlan, backoff: &mut Backoff) -> Turn {
        let mut last_write = Instant::now();
        loop {
            let wake = self.wait(last_write + PASS_EVERY).await;
            let stop = self.handle.stop.clone();
            let pool = Arc::clone(&self.settings.config().pool);
            let pooled = match wake {
                Wake::Stop => return Turn::Stop,
                Wake::Claim => return Turn::Again,
                Wake::Records | Wake::Pass(_) => tokio::select! {
                    biased;
                    () = stop.cancelled() => return Turn::Stop,
                    pooled = pool.acquire() => pooled,
                },
            };
            let mut pooled = match pooled {
                Ok(pooled) => pooled,
                Err(error) => return error.into(),
            };
            let done = match wake {
                Wake::Pass(mark) => self.pass(mark, &mut pooled).await,
                _ => {
                    self.gather(table).await;
                    self.batch(table, &mut pooled).await
                }
            };
            match done {
                Ok(()) => pooled.give_back(),
                Err(turn) => return turn,
            }
            backoff.reset();
            last_write = Instant::now();
        }
    }

    async fn wait(&mut self, pass_at: Instant) -> Wake {
        loop {
            // A lane with a backlog never comes to the waiting below.
            if self.handle.stop.is_cancelled() {
                return Wake::Stop;
            }
            match self.settings.look() {
                News::Nothing => {}
                News::Concern => return Wake::Claim,
                News::End => return Wake::Stop,
            }
            // One chunk is enough to know; the rest is taken with a connection in hand.
            if self.state.intake.is_empty() {
                self.take_one();
            }
            if !self.state.intake.is_empty() {
                return Wake::Records;
            }
            let standing = self.state.held.as_ref().map_or(i64::MAX, Lane::next_offset);
            let mark = self.state.intake.mark().filter(|mark| *mark > standing);
            tokio::select! {
                biased;
                () = self.handle.stop.cancelled() => return Wake::Stop,
                news = self.settings.concern() => return if news == News::End { Wake::Stop } else { Wake::Claim },
                () = self.handle.recheck.notified() => {
                    // If the error was this lane's, librdkafka fetches nothing more for it, even if the position turns
                    // out to be right by now.
                    self.restart_stream();
                    return Wake::Claim;
                }
                () = self.handle.queue.changed() => {}
                () = tokio::time::sleep_until(pass_at), if mark.is_some() => {
                    return mark.map_or(Wake::Claim, Wake::Pass);
                }
            }
        }
    }

    /// Takes the next thing from the queue; false when there was nothing.
    fn take_one(&mut self) -> bool {
        let taken = match self.handle.queue.take() {
            Taken::Chunk(chunk) => {
                self.state.intake.add(chunk);
                true
            }
            Taken::Mark(mark) => {
                self.state.intake.set_mark(mark);
                true
            }
            Taken::Nothing => false,
        };
        if taken && self.handle.queue.is_paused() {
            self.services.mailbox.send(Request::Resume);
        }
        taken
    }

    /// Takes what a batch may hold. Waits only while more is known to come, no longer than the batch's `wait`.
    async fn gather(&mut self, table: &TablePlan) {
        let until = Instant::now() + table.wait;
        loop {
            while !self.state.intake.fills(&table.limits) && self.take_one() {}
            if self.state.intake.fills(&table.limits) || self.state.intake.is_quiet() {
                return;
            }
            tokio::select! {
                biased;
                () = self.handle.stop.cancelled() => return,
                () = self.handle.queue.changed() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Writes one batch. An `Ok` leaves the connection clean.
    async fn batch(&mut self, table: &TablePlan, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(schema) = self.state.intake.schema_id() else { return Ok(()) };
        let plan = self.state.plans.get(schema?, table, &self.services.schemas, pooled.session()).await?;
        let state = &mut self.state;
        let Some(held) = state.held.as_mut() else { return Err(Turn::Again) };
        held.set_document_version(self.settings.config().version);
        let more = !state.intake.is_quiet() && !state.intake.fills(&table.limits);
        let before = Before { ordinal: held.ordinal(), generation: GENERATION, more };
        let mut cut =
            cut(&state.intake, plan.schema, &plan.decoder, &table.limits.within_backlog(state.intake.len()), before);
        let stop = cut.stop.take();
        if let Some(next_offset) = cut.next_offset {
            let records = cut.records;
            let mark = state.intake.mark().filter(|_| records == state.intake.len()).unwrap_or(next_offset);
            let to = (mark.max(next_offset), cut.ordinal);
            let (repeats, source_ts_ms) = (cut.repeats, cut.source_ts_ms);
            let of = |mapping| Destination { mapping, policies: table.policies };
            let destinations: Vec<Destination<'_>> = plan.mappings.iter().map(of).collect();
            let written = tokio::select! {
                biased;
                // Others own the partition already: the connection is dropped, and the server rolls back.
                () = self.handle.abandon.cancelled() => return Err(Turn::Stop),
                written = write_to_all(pooled.session(), held, &destinations, &cut.batch, to) => written,
            };
            drop(cut);
            let outcome = self.settle(written)?;
            self.state.intake.consume(records);
            self.moved(to.0, to.1);
            self.report.wrote(&Written { next_offset: to.0, outcome, repeats, source_ts_ms });
        }
        match stop {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// What an unwritten batch means for the lane.
    fn settle(&mut self, written: Result<BatchOutcome, WriteError>) -> Result<BatchOutcome, Turn> {
        Err(match written {
            Ok(outcome) => return Ok(outcome),
            Err(WriteError::Paused { at_offset, error, outcome }) => {
                self.report.wrote(&Written { next_offset: at_offset, outcome, repeats: 0, source_ts_ms: None });
                self.handle.committed.store(at_offset, std::sync::atomic::Ordering::Relaxed);
                Turn::Paused(error)
            }
            Err(WriteError::Refused(error)) => Turn::Paused(error),
            Err(WriteError::Lost(error) | WriteError::Busy(error)) => Turn::Retry(error),
            Err(WriteError::Taken(error)) => Turn::Taken(error),
        })
    }

    /// Moves the progress over control records, which carry no row.
    async fn pass(&mut self, mark: i64, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(held) = self.state.held.as_mut() else { return Err(Turn::Again) };
        let to = (mark, held.ordinal());
        let passed = writer::advance(pooled.session(), held, to).await;
        self.settle(passed.map(|()| BatchOutcome::default()))?;
        self.moved(to.0, to.1);
        self.report.passed(mark);
        Ok(())
    }
}
