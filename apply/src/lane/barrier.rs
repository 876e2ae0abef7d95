//! A lane in front of a barrier: a record that every partition of its topic has at the same place in the source's order.
//!
//! The lane commits what comes before, notes in its row that it stands there, and waits until all partitions that may hold
//! earlier events have **arrived**: their rows are at the end of what lay before, or beyond the barrier. Then a
//! repartition is passed by each lane for itself, the new partitions' first: a new lane that finds the others still in
//! front of it, or just behind, knows that it has to begin with the first record, and takes over up to where they replay
//! (rows that come to it from now on may be written already). At a TRUNCATE the lane of partition 0 empties the target tables and
//! moves in the same transaction (`target::truncate`); the others pass once its row is beyond.
//!
//! So no event from behind the barrier is applied before all from in front of it. Whoever dies on the way: the rows say
//! who has arrived and whether the tables are empty, and emptying them again while the others still stand changes nothing.
//! A worker that slept cannot: each chunk that it deletes begins with its progress row, under its token.

use std::sync::Arc;

use schemas::barrier::{Barrier, BarrierKind};
use schemas::decode::EventHead;
use schemas::documents::Truncate;
use schemas::encode::Op;
use schemas::status::Waiting;
use schemas::{Code, Error};

use crate::config::TablePlan;
use crate::lane::batches::Written;
use crate::lane::intake::border;
use crate::lane::replay::furthest;
use crate::lane::report::now_ms;
use crate::lane::waiting::LOOK_EVERY;
use crate::lane::{LaneTask, Turn};
use crate::pool::Pooled;
use crate::target::siblings::Sibling;
use crate::target::truncate;
use crate::target::writer::{self, BatchOutcome};

/// A barrier that a lane stands in front of.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    offset: i64,
    barrier: Barrier,
    /// Since when, in milliseconds since 1970.
    since: i64,
}

impl Standing {
    /// Whether the barrier is a TRUNCATE.
    fn empties(&self) -> bool {
        self.barrier.kind == BarrierKind::Truncate
    }
}

/// What happens when a lane passes a barrier.
#[derive(Debug)]
struct Ending {
    /// The target tables are emptied.
    empties: bool,
    /// Up to this place in the source it replays from there on.
    past: Option<String>,
}

/// What a lane in front of a barrier does.
#[derive(Debug, PartialEq, Eq)]
enum Gate {
    /// It waits for this partition, which is so far.
    Waits(i32, String),
    /// It acts for all, and passes.
    Acts,
    /// It passes.
    Passes,
    /// It was to act, but this partition has events from behind the barrier.
    Overtaken(i32),
    /// It was moved back in front of the barrier, and this partition was not: what it has written again is older than what
    /// the other has, or should be gone.
    Alone(i32),
}

impl LaneTask {
    /// Meets the barrier that is the first record of the intake.
    pub(crate) async fn meet(&mut self, offset: i64, barrier: Barrier, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(held) = self.state.held.as_mut() else { return Err(Turn::Again) };
        let at = (barrier.generation, barrier.ordinal);
        if at <= held.position() {
            // Published once more.
            let to = (offset + 1, held.ordinal());
            let moved = writer::advance(pooled.session(), held, to).await;
            return self.over(moved.map(|()| BatchOutcome::default()), to);
        }
        if let Some(border) = border(held, offset, &head(&barrier)) {
            return self.cross(border, pooled).await;
        }
        let to = (offset, held.ordinal());
        let stood = writer::stand(pooled.session(), held, to, at.1).await;
        if self.settle(stood.map(|()| BatchOutcome::default()))?.is_none() {
            return Err(Turn::Again);
        }
        self.moved(to.0, to.1);
        self.report.passed_to(to.0);
        tracing::info!(topic = self.part.topic, partition = self.part.partition, kind = %barrier.kind, offset, "at a barrier");
        self.state.barrier = Some(Standing { offset, barrier, since: now_ms() });
        Ok(())
    }

    /// Waits in front of the barrier, does what it asks for and passes it; nothing when there is none.
    pub(crate) async fn pass_barrier(&mut self, table: &TablePlan) -> Result<(), Turn> {
        let Some(standing) = self.state.barrier.clone() else { return Ok(()) };
        loop {
            let rows = self.siblings().await?;
            match gate(self.part.partition, &standing.barrier, &rows) {
                Gate::Waits(for_partition, how) => {
                    let stopped = self.report.error_of(for_partition);
                    let stopped = stopped.map(|e| format!("; it has stopped with {}: {}", e.code, e.message));
                    let why = format!("a barrier ({}); it {how}{}", standing.barrier.kind, stopped.unwrap_or_default());
                    let (for_topic, ordinal, since) =
                        (self.part.topic.clone(), standing.barrier.ordinal, standing.since);
                    self.report.waits(&Waiting { for_topic, for_partition, ordinal, since, why });
                    self.wait_a_little(LOOK_EVERY).await?;
                }
                Gate::Overtaken(partition) if table.truncate != Truncate::Ignore => {
                    let message = format!(
                        "{}/{}: the source's table was truncated at ordinal {}, and partition {partition} has events from \
                         behind it already, so emptying the target would lose them; move all partitions back in front of \
                         it, or put truncate: ignore",
                        self.part.topic, self.part.partition, standing.barrier.ordinal
                    );
                    return Err(Error::new(Code::TableTruncated, message).into());
                }
                Gate::Alone(partition) if table.truncate != Truncate::Ignore || !standing.empties() => {
                    return Err(self.is_back_alone(partition, &standing.barrier).into());
                }
                Gate::Acts => return self.act(table, &standing).await,
                Gate::Passes | Gate::Overtaken(_) | Gate::Alone(_) => {
                    let past = replays_past(self.part.partition, &standing.barrier, &rows);
                    return self.end_barrier(table, &standing, Ending { empties: false, past }).await;
                }
            }
        }
    }

    fn is_back_alone(&self, other: i32, barrier: &Barrier) -> Error {
        let (code, what) = match barrier.kind {
            BarrierKind::Truncate => (Code::TableTruncated, "has rows again that it took away"),
            BarrierKind::Repartition => (Code::ReplayRefused, "may have older rows again whose later events are there"),
        };
        let message = format!(
            "{}/{}: the lane was moved back in front of a barrier ({}) at ordinal {}, and partition {other} was not, so the target \
             {what}; move all partitions back in front of it",
            self.part.topic, self.part.partition, barrier.kind, barrier.ordinal
        );
        Error::new(code, message)
    }

    /// Does what the mapping says to a TRUNCATE, for all lanes.
    async fn act(&mut self, table: &TablePlan, standing: &Standing) -> Result<(), Turn> {
        match table.truncate {
            Truncate::Apply => self.end_barrier(table, standing, Ending { empties: true, past: None }).await,
            Truncate::Ignore => self.end_barrier(table, standing, Ending { empties: false, past: None }).await,
            Truncate::Pause => {
                let message = format!(
                    "{}/{}: the source's table {} was truncated at ordinal {}; put truncate: apply or truncate: ignore",
                    self.part.topic, self.part.partition, table.from, standing.barrier.ordinal
                );
                Err(Error::new(Code::TableTruncated, message).into())
            }
        }
    }

    /// Passes the barrier; if it is to, with the target tables emptied.
    async fn end_barrier(&mut self, table: &TablePlan, standing: &Standing, ending: Ending) -> Result<(), Turn> {
        let config = Arc::clone(self.settings.config());
        let (stop, abandon) = (self.handle.stop.clone(), self.handle.abandon.clone());
        let mut pooled = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Turn::Stop),
            pooled = config.pool.acquire(&self.table) => pooled?,
        };
        let Some(held) = self.state.held.as_mut() else { return Err(Turn::Again) };
        held.set_document_version(config.version);
        if let Some(past) = &ending.past {
            held.replay_past(pooled.session(), past).await?;
        }
        let to = (standing.offset + 1, standing.barrier.ordinal);
        let tables = (table.to.as_slice(), &table.constants);
        let done = async {
            match ending.empties {
                true => truncate::empty(pooled.session(), held, tables, to).await,
                false => writer::advance(pooled.session(), held, to).await.map(|()| 0),
            }
        };
        let done = tokio::select! {
            biased;
            // The connection is dropped, and the server rolls back; what is deleted stays so.
            () = abandon.cancelled() => return Err(Turn::Stop),
            () = stop.cancelled() => return Err(Turn::Stop),
            done = done => done,
        };
        self.over(done.map(|deleted| BatchOutcome { deleted, ..BatchOutcome::default() }), to)?;
        pooled.give_back();
        let barrier = &standing.barrier;
        tracing::info!(topic = self.part.topic, partition = self.part.partition, kind = %barrier.kind, "passed a barrier");
        if barrier.kind == BarrierKind::Repartition {
            self.state.partitions = self.state.partitions.max(barrier.partitions as usize);
        }
        Ok(())
    }

    /// The record of the barrier is behind the lane, if it was moved.
    fn over(&mut self, moved: Result<BatchOutcome, writer::WriteError>, to: (i64, i64)) -> Result<(), Turn> {
        let Some(outcome) = self.settle(moved)? else { return Err(Turn::Again) };
        if outcome.deleted > 0 {
            self.report.wrote(&Written { next_offset: to.0, outcome, repeats: 0, source_ts_ms: None });
        }
        self.state.intake.consume(1);
        self.moved(to.0, to.1);
        self.report.passed_to(to.0);
        self.show_replay();
        if self.state.barrier.take().is_some() {
            self.report.goes_on();
        }
        Ok(())
    }
}

/// The barrier's place, as an event would say it.
pub(crate) fn head(barrier: &Barrier) -> EventHead<'_> {
    EventHead {
        op: Op::Delete,
        has_before: false,
        has_after: false,
        ordinal: barrier.ordinal,
        generation: barrier.generation,
        gtid: barrier.gtid.as_deref(),
        source_ts_ms: barrier.ts_ms,
        file: &barrier.file,
        pos: i64::try_from(barrier.pos).unwrap_or(i64::MAX),
        row: 0,
    }
}

/// What the lane of a partition does at a barrier, by the rows of all.
fn gate(own: i32, barrier: &Barrier, rows: &[Sibling]) -> Gate {
    let at = (barrier.generation, barrier.ordinal);
    let row_of = |partition: i32| rows.iter().find(|row| row.partition == partition);
    for (partition, end) in (0_i32..).zip(&barrier.ends).filter(|(partition, _)| *partition != own) {
        let Some(row) = row_of(partition) else { return Gate::Waits(partition, "has not begun".to_owned()) };
        if row.next_offset < *end && row.position() < at {
            let how = match row.pending {
                Some(pending) => format!("stands in front of ordinal {pending}"),
                None => format!("is at offset {}, in front of {end}", row.next_offset),
            };
            return Gate::Waits(partition, how);
        }
    }
    // Moved by one request, lanes stood at one place in the source.
    let again = row_of(own).filter(|row| row.next_offset < row.replay_until);
    let stayed = |row: &Sibling| {
        let ahead = row.partition != own && row.position() >= at;
        ahead && again.is_some_and(|again| again.request != row.request)
    };
    match (barrier.kind, own) {
        (BarrierKind::Repartition, _) => {
            if let Some(other) = rows.iter().find(|row| stayed(row)) {
                return Gate::Alone(other.partition);
            }
            let old = i32::try_from(barrier.ends.len()).unwrap_or(i32::MAX);
            let added = (old..i32::try_from(barrier.partitions).unwrap_or(i32::MAX)).filter(|_| own < old);
            let behind = |partition: &i32| row_of(*partition).is_none_or(|row| row.position() < at);
            added
                .into_iter()
                .find(behind)
                .map_or(Gate::Passes, |partition| Gate::Waits(partition, "has not begun behind it".to_owned()))
        }
        (BarrierKind::Truncate, 0) => {
            let beyond = rows.iter().find(|row| row.partition != own && row.position() > at);
            beyond.map_or(Gate::Acts, |row| Gate::Overtaken(row.partition))
        }
        (BarrierKind::Truncate, _) => match row_of(0) {
            Some(first) if stayed(first) => Gate::Alone(0),
            Some(first) if first.position() >= at => Gate::Passes,
            _ => Gate::Waits(0, "has not emptied the target yet".to_owned()),
        },
    }
}

/// Up to where a partition that was added replays: as far as the others do, whose keys it has from now on. They stand in
/// front of the barrier until it has passed.
fn replays_past(own: i32, barrier: &Barrier, rows: &[Sibling]) -> Option<String> {
    let added = usize::try_from(own).is_ok_and(|own| own >= barrier.ends.len());
    let past = furthest(rows.iter().map(|row| row.replay_past.as_str()));
    (added && !past.is_empty()).then(|| past.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(kind: BarrierKind, ends: &[i64], partitions: u32) -> Barrier {
        let (gtid, file) = (None, "binlog.000001".to_owned());
        Barrier { kind, generation: 1, ordinal: 50, ends: ends.to_vec(), gtid, file, pos: 4, ts_ms: 0, partitions }
    }

    fn row(partition: i32, next_offset: i64, ordinal: i64) -> Sibling {
        let [owner, replay_past, request] = [const { String::new() }; 3];
        let (generation, pending, replay_until) = (1, None, -1);
        Sibling { partition, next_offset, generation, ordinal, pending, owner, replay_until, replay_past, request }
    }

    #[test]
    fn all_arrive_before_one_acts_and_all_wait_for_that() {
        let truncate = barrier(BarrierKind::Truncate, &[5, 7], 2);
        let waits = |own, rows: &[Sibling]| matches!(gate(own, &truncate, rows), Gate::Waits(..));
        assert!(waits(0, &[row(0, 5, 40)]), "the other has not begun");
        assert!(waits(0, &[row(0, 5, 40), row(1, 6, 30)]));
        assert_eq!(gate(0, &truncate, &[row(0, 5, 40), row(1, 7, 30)]), Gate::Acts);
        assert!(waits(1, &[row(0, 5, 40), row(1, 7, 30)]));
        assert_eq!(gate(1, &truncate, &[row(0, 6, 50), row(1, 7, 30)]), Gate::Passes);
        // It began behind the barrier, and has applied nothing yet; or something.
        assert_eq!(gate(0, &truncate, &[row(0, 5, 40), row(1, 3, 50)]), Gate::Acts);
        assert_eq!(gate(0, &truncate, &[row(0, 5, 40), row(1, 9, 60)]), Gate::Overtaken(1));
        assert_eq!(gate(1, &truncate, &[row(0, 9, 60), row(1, 7, 30)]), Gate::Passes);
        // Moved back: alone, and with the first.
        let back = |request: &str| Sibling { replay_until: 20, request: request.to_owned(), ..row(1, 7, 30) };
        assert_eq!(gate(1, &truncate, &[row(0, 9, 60), back("r1")]), Gate::Alone(0));
        assert_eq!(gate(1, &truncate, &[Sibling { request: "r1".into(), ..row(0, 9, 60) }, back("r1")]), Gate::Passes);
    }

    #[test]
    fn a_repartition_waits_for_the_partitions_of_before() {
        let split = barrier(BarrierKind::Repartition, &[5, 7], 4);
        let waits = |own, rows: &[Sibling]| matches!(gate(own, &split, rows), Gate::Waits(..));
        let (old, new) = ([row(0, 5, 40), row(1, 7, 30)], [row(2, 0, -1), row(3, 0, -1)]);
        assert!(waits(0, &old), "the new partitions have not begun");
        let all = [&old[..], &new].concat();
        assert!(waits(0, &all) && waits(1, &all), "nor passed it");
        assert!((2..4).all(|own| gate(own, &split, &all) == Gate::Passes));
        let begun = [&old[..], &[row(2, 1, 50), row(3, 1, 50)]].concat();
        assert!((0..4).all(|own| gate(own, &split, &begun) == Gate::Passes));
        assert!(matches!(gate(2, &split, &[row(0, 5, 40), row(1, 6, 30)]), Gate::Waits(1, _)));
        // Moved back across it, alone.
        let back = Sibling { replay_until: 20, request: "r1".to_owned(), ..row(0, 5, 40) };
        assert_eq!(gate(0, &split, &[back, row(1, 9, 60), row(2, 1, 50), row(3, 1, 50)]), Gate::Alone(1));
    }

    #[test]
    fn an_added_partition_replays_as_far_as_the_others() {
        let split = barrier(BarrierKind::Repartition, &[5, 7], 3);
        let replays = |partition, past: &str| Sibling { replay_past: past.to_owned(), ..row(partition, 5, 40) };
        let rows = [replays(0, "0-1-42 bin.000003:400"), replays(1, "0-1-44 bin.000003:600"), row(2, 0, -1)];
        assert_eq!(replays_past(2, &split, &rows).as_deref(), Some("0-1-44 bin.000003:600"));
        assert_eq!(replays_past(1, &split, &rows), None);
    }
}
