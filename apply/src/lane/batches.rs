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
use crate::lane::intake::{Before, Border, cut};
use crate::lane::replay::{furthest, past_of};
use crate::lane::shared::{ALONE_AFTER_FAILURE, Part, Way, end_of_others, limit, write};
use crate::lane::{LaneTask, Turn};
use crate::pool::group::Size;
use crate::pool::{Backoff, Pooled};
use crate::settings::News;
use crate::target::batch::Batch;
use crate::target::progress::Lane;
use crate::target::writer::{self, BatchOutcome, Destination, WriteError};

/// An idle lane passes control records at most this often: it costs a transaction at the target.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How often an idle lane that would lead looks whether the lanes of its topic were joined; one with events finds out by them.
const JOINED_EVERY: Duration = Duration::from_millis(500);
/// The same where siblings may wait for this lane: they see from it that there is nothing more in front of them.
const PASS_SOON: Duration = Duration::from_millis(100);
/// After so many events that the lane's start does not contain, none comes any more that it does: a position in a binlog
/// is behind all that it contains, but for the few that a replica commits out of order.
const BEYOND_START: u64 = 1000;

/// Why the wait for records ended.
enum Wake {
    Stop,
    Claim,
    Others,
    Records,
    Pass(i64),
    /// Whether the topic's lanes were joined: whoever has the first partition is to lead then.
    Joined,
}

/// What a committed batch was, for the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Offset of the next record.
    pub(crate) next_offset: i64,
    /// What the writer counted.
    pub(crate) outcome: BatchOutcome,
    /// Events dropped because the target holds them already.
    pub(crate) repeats: u64,
    /// When the last event was made at the source, in milliseconds since 1970.
    pub(crate) source_ts_ms: Option<i64>,
}

impl LaneTask {
    /// Writes batches until something else is to be done.
    pub(crate) async fn apply(&mut self, table: &TablePlan, backoff: &mut Backoff) -> Turn {
        let mut last_write = Instant::now();
        let mut look_at = last_write + JOINED_EVERY;
        loop {
            if let Err(turn) = self.before_batch(table).await {
                return turn;
            }
            let pass_every = if self.state.partitions > 1 { PASS_SOON } else { PASS_EVERY };
            let wake = self.wait(last_write + pass_every, look_at).await;
            let stop = self.handle.stop.clone();
            let pool = Arc::clone(&self.settings.config().pool);
            // A lane that is not to share a transaction is not given one of others.
            let joins =
                self.state.alone == 0 && self.state.deferred.is_none() && matches!(wake, Wake::Records | Wake::Pass(_));
            let connection =
                async { if joins { pool.join(&self.table).await } else { pool.acquire(&self.table).await } };
            let pooled = match wake {
                Wake::Stop => return Turn::Stop,
                Wake::Claim => return Turn::Again,
                Wake::Others | Wake::Records | Wake::Pass(_) | Wake::Joined => tokio::select! {
                    biased;
                    () = stop.cancelled() => return Turn::Stop,
                    pooled = connection => pooled,
                },
            };
            let mut pooled = match pooled {
                Ok(pooled) => pooled,
                Err(error) => return error.into(),
            };
            let done = match wake {
                Wake::Pass(mark) => self.pass(mark, table, pooled).await,
                Wake::Joined => {
                    look_at = Instant::now() + JOINED_EVERY;
                    let alone = self.is_alone(self.settings.config(), &mut pooled).await;
                    match alone {
                        Ok(()) => {
                            pooled.give_back();
                            continue;
                        }
                        Err(turn) => Err(turn),
                    }
                }
                Wake::Others => {
                    let admitted = self.services.catalog.admit(self.settings.config(), table, &mut pooled).await;
                    admitted.map(|()| pooled.give_back()).map_err(Turn::from)
                }
                _ => self.records(table, pooled).await,
            };
            if let Err(turn) = done {
                return turn;
            }
            backoff.reset();
            last_write = Instant::now();
        }
    }

    /// Does what is to be done in front of the next batch, while no connection is held.
    async fn before_batch(&mut self, table: &TablePlan) -> Result<(), Turn> {
        self.before_retry(table).await?;
        self.pass_barrier(table).await
    }

    /// Writes a batch of what waits.
    async fn records(&mut self, table: &TablePlan, mut pooled: Pooled) -> Result<(), Turn> {
        if pooled.is_open() {
            // Others wait for this transaction: only what is here now.
            while !self.state.intake.fills(&table.limits) && self.take_one() {}
            if !self.state.intake.is_quiet() {
                end_of_others(&mut pooled).await?;
            }
        }
        if !pooled.is_open() {
            self.gather(table).await;
        }
        match self.batch(table, &mut pooled).await? {
            None => {
                pooled.give_back();
                Ok(())
            }
            Some(part) => self.end_part(part, limit(table), pooled).await,
        }
    }

    async fn wait(&mut self, pass_at: Instant, look_at: Instant) -> Wake {
        let may_lead = self.part.partition == 0 && self.state.partitions > 1;
        loop {
            // A lane with a backlog never comes to the waiting below.
            if self.handle.stop.is_cancelled() {
                return Wake::Stop;
            }
            match self.settings.look() {
                News::Nothing => {}
                News::Concern => return Wake::Claim,
                News::Others => return Wake::Others,
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
                news = self.settings.concern() => return match news {
                    News::End => Wake::Stop,
                    News::Others => Wake::Others,
                    News::Concern | News::Nothing => Wake::Claim,
                },
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
                () = tokio::time::sleep_until(look_at), if may_lead => return Wake::Joined,
            }
        }
    }

    /// Takes the next thing from the queue; false when there was nothing.
    pub(crate) fn take_one(&mut self) -> bool {
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

    /// Writes one batch. Without a part the connection is clean afterwards; with one its transaction is still open.
    async fn batch(&mut self, table: &TablePlan, pooled: &mut Pooled) -> Result<Option<Part>, Turn> {
        if let Some(barrier) = self.state.intake.barrier() {
            end_of_others(pooled).await?;
            let (offset, barrier) = barrier?;
            return self.meet(offset, barrier, pooled).await.map(|()| None);
        }
        let schema = match self.state.intake.schema_id() {
            Some(Ok(schema)) if self.state.plans.has(schema) => schema,
            other => {
                // What is to be done now takes its time, or is no part of a batch.
                end_of_others(pooled).await?;
                let Some(schema) = other else { return Ok(None) };
                schema?
            }
        };
        let plan = self.state.plans.get(schema, table, &self.services.schemas, pooled.session()).await?;
        let conflicts = self.may_conflict(&plan.mappings);
        if conflicts && self.state.held.as_ref().is_some_and(Lane::is_replaying) {
            end_of_others(pooled).await?;
            return Err(self.join_to_replay(pooled).await);
        }
        let (policies, gathers_to) = (self.policies(table.policies), self.gathers_to());
        let state = &mut self.state;
        let Some(held) = state.held.as_mut() else { return Err(Turn::Again) };
        held.set_document_version(self.settings.config().version);
        let more = !state.intake.is_quiet() && !state.intake.fills(&table.limits);
        let before = Before { lane: held, more, to: gathers_to };
        let limits = match gathers_to {
            Some(_) => table.limits.whole(),
            None => table.limits.within_backlog(state.intake.len()),
        };
        let mut cut = cut(&state.intake, plan.schema, &plan.decoder, &limits, before);
        let size = Size { rows: cut.records, bytes: cut.bytes };
        let alone = state.alone > 0
            || state.deferred.is_some()
            || cut.stop.is_some()
            || cut.batch.is_empty()
            || held.replay().start.is_some();
        let shares = !alone && pooled.admits(size, limit(table));
        if !shares {
            end_of_others(pooled).await?;
        }
        if let Some(border) = cut.border {
            drop(cut);
            let replays = matches!(border, Border::Generation { .. }) && held.ordinal() >= 0;
            if conflicts && replays {
                return Err(self.join_to_replay(pooled).await);
            }
            return self.cross(border, pooled).await.map(|()| None);
        }
        let stop = cut.stop.take();
        let since_start = cut.since_start;
        let events = cut.records as u64;
        if let Some(next_offset) = cut.next_offset {
            let records = cut.records;
            let mark = state.intake.mark().filter(|_| records == state.intake.len()).unwrap_or(next_offset);
            let to = (mark.max(next_offset), cut.ordinal);
            let (repeats, source_ts_ms) = (cut.repeats, cut.source_ts_ms);
            let of = |mapping| Destination { mapping, policies };
            let destinations: Vec<Destination<'_>> = plan.mappings.iter().map(of).collect();
            let written = tokio::select! {
                biased;
                // Others own the partition already: the connection is dropped, and the server rolls back.
                () = self.handle.abandon.cancelled() => return Err(Turn::Stop),
                written = write(pooled, held, (&destinations, &cut.batch), to, shares) => written?,
            };
            drop(cut);
            state.alone = if written.failed { ALONE_AFTER_FAILURE } else { state.alone.saturating_sub(1) };
            let of = |outcome| Written { next_offset: to.0, outcome, repeats, source_ts_ms };
            let outcome = match written.way {
                Way::Open(outcome) => return Ok(Some(Part { to, records, size, written: Some(of(outcome)) })),
                Way::Alone(written) => match self.settle(written)? {
                    Some(outcome) => outcome,
                    None => return Ok(None),
                },
            };
            self.passed_conflict();
            self.state.intake.consume(records);
            self.moved(to.0, to.1);
            self.show_replay();
            self.report.wrote(&of(outcome));
            self.report.committed();
            self.beyond_start(since_start, events, pooled).await?;
        }
        match stop {
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// Does what is to be done in front of the first record.
    pub(crate) async fn cross(&mut self, border: Border, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(held) = self.state.held.as_mut() else { return Err(Turn::Again) };
        match border {
            Border::Generation { offset, generation, ordinal } => {
                // What this lane has applied, or was told to take for applied, ends with the record before.
                let last = self.services.inquiry.before(&self.part, offset).await?;
                let past = last.as_ref().map(past_of).unwrap_or_default();
                // Reset once more while it replays: what was applied before reaches further than what was published again.
                let past = furthest([held.replay().past.as_str(), &past]).to_owned();
                held.enter_generation(pooled.session(), generation, &past, ordinal - 1).await?;
                tracing::info!(lane = %held.key(), offset, generation, past, "capture was reset; replaying");
            }
            Border::Past => {
                held.leave_generation(pooled.session()).await?;
                tracing::info!(lane = %held.key(), offset = held.next_offset(), "past the reset; strict again");
            }
            Border::Until => {
                let to = (held.replay().until, held.ordinal());
                let reached = writer::advance(pooled.session(), held, to).await;
                if self.settle(reached.map(|()| BatchOutcome::default()))?.is_none() {
                    return Err(Turn::Again);
                }
                self.report.passed_to(to.0);
            }
        }
        if let Some(held) = &self.state.held {
            let at = (held.next_offset(), held.ordinal());
            self.moved(at.0, at.1);
        }
        self.show_replay();
        Ok(())
    }

    /// Forgets the position that the lane began behind once nothing of it can come any more.
    async fn beyond_start(&mut self, since: Option<u64>, events: u64, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(held) = self.state.held.as_mut().filter(|held| held.replay().start.is_some()) else { return Ok(()) };
        self.state.beyond_start = since.unwrap_or(self.state.beyond_start + events);
        if self.state.beyond_start >= BEYOND_START {
            held.leave_start(pooled.session()).await?;
        }
        Ok(())
    }

    /// Says whether the lane replays.
    pub(crate) fn show_replay(&self) {
        self.report.replays(self.state.held.as_ref().is_some_and(Lane::is_replaying));
    }

    /// What an unwritten batch means for the lane; `None`: it stands in front of an event that is tried again.
    pub(crate) fn settle(&mut self, written: Result<BatchOutcome, WriteError>) -> Result<Option<BatchOutcome>, Turn> {
        Err(match written {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(WriteError::Paused { at_offset, ordinal, error, outcome }) => {
                self.report.wrote(&Written { next_offset: at_offset, outcome, repeats: 0, source_ts_ms: None });
                let before = self.state.held.as_ref().map_or(-1, Lane::ordinal);
                self.moved(at_offset, before);
                if self.defers(ordinal, &error) {
                    self.state.intake.consume_before(at_offset);
                    return Ok(None);
                }
                Turn::Paused(error)
            }
            Err(WriteError::Refused(error)) => Turn::Paused(error),
            Err(WriteError::Lost(error) | WriteError::Busy(error)) => Turn::Retry(error),
            Err(WriteError::Taken(error)) => Turn::Taken(error),
        })
    }

    /// Moves the progress over control records, which carry no row.
    async fn pass(&mut self, mark: i64, table: &TablePlan, mut pooled: Pooled) -> Result<(), Turn> {
        let Some(held) = self.state.held.as_mut() else { return Err(Turn::Again) };
        let to = (mark, held.ordinal());
        let shares = self.state.alone == 0 && (pooled.is_open() || pooled.is_wanted_open());
        if !shares {
            end_of_others(&mut pooled).await?;
        }
        let written = write(&mut pooled, held, (&[], &Batch::new()), to, shares).await?;
        match written.way {
            Way::Open(_) => {
                let part = Part { to, records: 0, size: Size::default(), written: None };
                self.end_part(part, limit(table), pooled).await
            }
            Way::Alone(passed) => {
                if self.settle(passed)?.is_none() {
                    return Err(Turn::Again);
                }
                pooled.give_back();
                self.passed(to);
                Ok(())
            }
        }
    }

    /// The progress is past control records.
    pub(crate) fn passed(&mut self, to: (i64, i64)) {
        self.moved(to.0, to.1);
        self.report.passed(to.0);
        // A replay may end behind a control record.
        self.show_replay();
    }
}
