//! What a leader does in front of a record that ends a batch: a higher generation, the end of a replay, a barrier.
//!
//! At a TRUNCATE the lane of partition 0 fences every chunk that is deleted by its progress row, and moves with the last one;
//! then the others pass. A leader that dies on the way leaves either partition 0 in front of the barrier, and the next one
//! deletes what is left, or behind it, and the next one lets the others pass. No event from behind the barrier goes out
//! before, since the barrier is the smallest position of every lane that has it.

use schemas::barrier::{Barrier, BarrierKind};
use schemas::documents::Truncate;
use schemas::{Code, Error};

use super::{Leader, stands};
use crate::explore::Facts;
use crate::joined::cut::{Border, Rise};
use crate::joined::feed::Kind;
use crate::joined::merge::Position;
use crate::lane::Turn;
use crate::lane::replay::{furthest, is_past, past_of};
use crate::pool::Pooled;
use crate::target::joint::JointError;
use crate::target::progress::Lane;
use crate::target::truncate;
use crate::target::writer::BatchOutcome;

/// Where each lane goes: offset and ordinal.
type To = Vec<Option<(i64, i64)>>;

impl Leader<'_> {
    /// Does what is to be done in front of the first element.
    pub(super) async fn cross(&mut self, border: Border, pooled: &mut Pooled) -> Result<(), Turn> {
        match border {
            Border::Generation(rise) => self.enter_generation(&rise, pooled).await?,
            Border::Past(lanes) => {
                for lane in lanes {
                    self.members.lanes[lane].leave_generation(pooled.session()).await?;
                }
                tracing::info!(topic = self.task.part.topic, "joined lanes are past the reset");
            }
            Border::Barrier => return self.barrier(pooled).await,
            Border::Broken(error) => return Err(error.into()),
        }
        self.show_replay();
        Ok(())
    }

    /// All lanes of a lower generation enter this one. What they have applied ends with the last record of any of them; if
    /// the first event of the generation is past that, capture published nothing again, and there is nothing to replay.
    async fn enter_generation(&mut self, rise: &Rise, pooled: &mut Pooled) -> Result<(), Turn> {
        let lower = |lane: &Lane| lane.replay().generation < rise.generation;
        let mut last: Option<Facts> = None;
        for (part, lane) in self.members.parts.iter().zip(&self.members.lanes).filter(|(_, lane)| lower(lane)) {
            let before = self.task.services.inquiry.before(part, lane.next_offset()).await?;
            last = last.into_iter().chain(before).max_by_key(|facts| (facts.generation, facts.ordinal));
        }
        let last = last.as_ref().map(past_of).unwrap_or_default();
        let before = self.members.lanes.iter().map(|lane| lane.replay().past.as_str());
        let past = furthest(before.chain([last.as_str()]));
        let past = if is_past(past, &rise.head()) { String::new() } else { past.to_owned() };
        if self.set.ordered && !past.is_empty() {
            let message = format!(
                "capture was reset, and the events behind {} come a second time: tables that keep their order under foreign keys \
                 cannot be written again; empty the target tables and begin anew, or set foreign_keys: off while it replays \
                 (rows that a cascade took away at the source then stay)",
                rise.place()
            );
            return Err(Error::new(Code::ReplayRefused, message).into());
        }
        for lane in self.members.lanes.iter_mut().filter(|lane| lower(lane)) {
            lane.enter_generation(pooled.session(), rise.generation, &past, rise.ordinal - 1).await?;
        }
        tracing::info!(topic = self.task.part.topic, rise.generation, past, "capture was reset");
        Ok(())
    }

    /// Passes a barrier: all partitions that have it in front of them at once.
    async fn barrier(&mut self, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(first) = self.feed.ready().front() else { return Ok(()) };
        let at = first.at;
        if !self.feed.is_through(at) {
            // The other partitions' records of it are behind what a batch takes.
            let limits = self.apart.limits();
            self.feed.drain(&limits, Some(at));
            return Ok(());
        }
        let Kind::Barrier(barrier) = &first.kind else { return Ok(()) };
        let (barrier, lane) = (barrier.clone(), first.lane);
        let mut to = vec![None; self.members.lanes.len()];
        let mut count = 0;
        for element in self.feed.ready().iter().take_while(|element| element.at == at) {
            to[element.lane] = Some((element.record.offset + 1, at.ordinal));
            count += 1;
        }
        if barrier.kind == BarrierKind::Truncate {
            self.truncate((lane, &barrier), &mut to, pooled).await?;
        }
        self.advance(&to, pooled).await?;
        self.feed.consume(count);
        self.apart.wrote(Some(at));
        tracing::info!(topic = self.members.parts[lane].topic, kind = %barrier.kind, "passed a barrier");
        // More partitions from here on: the set is made anew.
        if barrier.kind == BarrierKind::Repartition { Err(Turn::Again) } else { Ok(()) }
    }

    /// Empties the target tables, if the first partition has the barrier in front of it; where that has passed they are empty.
    async fn truncate(
        &mut self,
        (lane, barrier): (usize, &Barrier),
        to: &mut To,
        pooled: &mut Pooled,
    ) -> Result<(), Turn> {
        let (topic, at) = (self.members.topic_of[lane], Position::from(barrier));
        let table = &self.members.topics[topic].table;
        if table.truncate == Truncate::Ignore {
            return Ok(());
        }
        let of_topic = || (0..self.members.parts.len()).filter(|other| self.members.topic_of[*other] == topic);
        let Some(zero) = of_topic().find(|other| self.members.parts[*other].partition == 0) else { return Ok(()) };
        if to[zero].is_none() {
            return Ok(());
        }
        let beyond = of_topic().find(|other| stands(&self.members.lanes[*other]) > at);
        if let Some(why) = refused(table.truncate, beyond.map(|other| self.members.parts[other].partition)) {
            let (name, from) = (&self.members.parts[lane].topic, &table.from);
            let message = format!("{name}: the source's table {from} was truncated at ordinal {}; {why}", at.ordinal);
            return Err(Error::new(Code::TableTruncated, message).into());
        }
        let Some(end) = to[zero].take() else { return Ok(()) };
        let (stop, abandon) = (self.task.handle.stop.clone(), self.task.handle.abandon.clone());
        let tables = (table.to.as_slice(), &table.constants);
        let emptied = tokio::select! {
            biased;
            // The connection is dropped, and the server rolls back; what is deleted stays so.
            () = abandon.cancelled() => return Err(Turn::Stop),
            () = stop.cancelled() => return Err(Turn::Stop),
            emptied = truncate::empty(pooled.session(), &mut self.members.lanes[zero], tables, end) => emptied,
        };
        let emptied = emptied.map(|deleted| BatchOutcome { deleted, ..BatchOutcome::default() });
        if let Some(outcome) = self.settle(emptied.map_err(JointError::Write))? {
            self.report(outcome, None, 0);
        }
        Ok(())
    }
}

/// Why the tables are not to be emptied. `beyond`: a partition with events from behind the TRUNCATE.
fn refused(truncate: Truncate, beyond: Option<i32>) -> Option<String> {
    match (truncate, beyond) {
        (Truncate::Pause, _) => Some("put truncate: apply or truncate: ignore".to_owned()),
        (_, Some(partition)) => Some(format!(
            "partition {partition} has events from behind it already, so emptying the target would lose them; move all \
             partitions back in front of it, or put truncate: ignore"
        )),
        (_, None) => None,
    }
}
