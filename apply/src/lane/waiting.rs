//! A lane in front of an event that another lane of its topic may stand in the way of.
//!
//! Lanes of one topic move each by itself, so the target's table is always the source's at a vector of positions, and not
//! always at one. A row of a sibling that is behind may hold a unique value that is to go before this lane's event, and a
//! row of one that is ahead may hold a value that goes to it only later. So a duplicate key is no matter for the mapping's
//! policy before both are ruled out:
//!
//! 1. What comes before the event is committed, and the progress row says in front of which ordinal the lane stands.
//! 2. **Wait**: until every sibling is beyond it, by its last event, by the event that it stands in front of itself, or
//!    because its partition had nothing more when the conflict was met. Of lanes that wait for each other the one with the
//!    smallest ordinal is waited for by the others, and waits for nobody who waits.
//! 3. The batch is tried again, whole: its net effect passes over states that could not be written.
//! 4. **Gather**: if some sibling is ahead, what this lane has up to there is tried in one batch.
//! 5. **Join**: then only the lanes together can move: they are applied as one up to there.
//! 6. **Settle**: nobody is behind and nobody ahead, so the row is not one of the siblings'; the policy decides.
//!
//! Nothing is held while the lane waits, neither a connection nor a lock; a claim begins the procedure anew.

use std::sync::Arc;
use std::time::Duration;

use schemas::status::Waiting;
use schemas::{Code, Error};
use tokio::time::Instant;

use crate::config::TablePlan;
use crate::lane::report::now_ms;
use crate::lane::{LaneTask, Turn};
use crate::settings::News;
use crate::target::progress::Lane;
use crate::target::siblings::{self, Sibling};
use crate::target::writer::Policies;

/// How often a waiting lane looks at its siblings' rows, and after [`SOON`].
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(15);
const LOOK_LATER: Duration = Duration::from_millis(60);
const SOON: Duration = Duration::from_secs(2);
/// How long what a batch needs may take to come from Kafka.
const GATHER_FOR: Duration = Duration::from_secs(5);

/// An event that conflicts, and how far the lane is with it.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// Its generation and ordinal.
    at: (i32, i64),
    /// The conflict.
    what: String,
    /// Since when the lane stands there, in milliseconds since 1970.
    since: i64,
    step: Step,
    /// Whether what the step asks for is done, so that a batch may be tried.
    ready: bool,
}

/// What is to be done before the event is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    /// The batch ends with this ordinal, once a sibling is known to be there.
    Gather(Option<i64>),
    Join,
    Settle,
}

impl Deferred {
    /// What follows when the event conflicts again.
    fn next(&mut self) {
        self.step = match self.step {
            Step::Wait => Step::Gather(None),
            Step::Gather(_) => Step::Join,
            Step::Join | Step::Settle => Step::Settle,
        };
        self.ready = false;
    }
}

impl LaneTask {
    /// Whether a conflict is to be waited for; then the lane stands in front of its event.
    pub(crate) fn defers(&mut self, ordinal: i64, error: &Error) -> bool {
        let Some(held) = self.state.held.as_ref() else { return false };
        let deferrable = error.code() == Code::RowExists && self.state.partitions > 1 && !held.is_replaying();
        if !deferrable || self.policies(Policies::default()).settled.is_some_and(|settled| ordinal <= settled) {
            return false;
        }
        let at = (held.replay().generation, ordinal);
        match self.state.deferred.as_mut().filter(|deferred| deferred.at == at) {
            Some(deferred) => deferred.next(),
            None => {
                tracing::info!(lane = %held.key(), ordinal, %error, "a duplicate key; waiting for the other lanes");
                let (what, since) = (error.message().to_owned(), now_ms());
                self.state.deferred = Some(Deferred { at, what, since, step: Step::Wait, ready: false });
            }
        }
        true
    }

    /// The policies for the next batch: of events beyond what is settled a row that exists is deferred.
    pub(crate) fn policies(&self, policies: Policies) -> Policies {
        let settled = self.state.deferred.as_ref().filter(|deferred| deferred.step == Step::Settle);
        let settled = settled.map_or(i64::MIN, |deferred| deferred.at.1);
        Policies { settled: (self.state.partitions > 1).then_some(settled), ..policies }
    }

    /// The ordinal that the next batch must not go beyond; then it may be as large as the hard limits.
    pub(crate) fn gathers_to(&self) -> Option<i64> {
        match self.state.deferred.as_ref()?.step {
            Step::Gather(to) => to,
            _ => None,
        }
    }

    /// A batch is committed: what it stood in front of is done.
    pub(crate) fn passed_conflict(&mut self) {
        if self.state.deferred.take().is_some() {
            self.report.goes_on();
        }
    }

    /// Does what is to be done before the event that conflicts is tried again.
    pub(crate) async fn before_retry(&mut self, table: &TablePlan) -> Result<(), Turn> {
        let Some(deferred) = self.state.deferred.as_ref().filter(|deferred| !deferred.ready) else { return Ok(()) };
        let (at, what, since) = (deferred.at, deferred.what.clone(), deferred.since);
        let step = match deferred.step {
            Step::Wait => {
                self.wait_for_siblings(at, since, &what).await?;
                Step::Wait
            }
            Step::Gather(_) => match ahead(at, &self.siblings().await?) {
                Some(to) => {
                    self.gather_to_end(table).await?;
                    Step::Gather(Some(to))
                }
                None => Step::Settle,
            },
            Step::Join => {
                self.join_ahead(at).await?;
                Step::Settle
            }
            Step::Settle => Step::Settle,
        };
        if let Some(deferred) = self.state.deferred.as_mut() {
            (deferred.step, deferred.ready) = (step, true);
        }
        Ok(())
    }

    /// Waits until no sibling is in front of the position.
    async fn wait_for_siblings(&mut self, at: (i32, i64), since: i64, what: &str) -> Result<(), Turn> {
        let ends = self.services.inquiry.ends(&self.part.topic).await?;
        let began = Instant::now();
        loop {
            let rows = self.siblings().await?;
            let Some(blocker) = blocker(self.part.partition, at, &rows, &ends) else { return Ok(()) };
            let (for_partition, how) = blocker;
            let stopped =
                self.report.error_of(for_partition).map(|e| format!("; it has stopped with {}: {}", e.code, e.message));
            let why = format!("{what}; it {how}{}", stopped.unwrap_or_default());
            let for_topic = self.part.topic.clone();
            self.report.waits(&Waiting { for_topic, for_partition, ordinal: at.1, since, why });
            self.wait_a_little(if began.elapsed() < SOON { LOOK_EVERY } else { LOOK_LATER }).await?;
        }
    }

    /// Joins the lanes of the topic, if one is ahead; then the lane is to be claimed anew.
    async fn join_ahead(&mut self, at: (i32, i64)) -> Result<(), Turn> {
        let config = Arc::clone(self.settings.config());
        let mut pooled = config.pool.acquire(&self.table).await?;
        let Some(held) = &self.state.held else { return Err(Turn::Again) };
        let of = (held.key(), held.token());
        let until = siblings::join_ahead(pooled.session(), config.pool.schema(), of, at).await?;
        pooled.give_back();
        let Some(until) = until else { return Ok(()) };
        tracing::info!(lane = %held.key(), ordinal = at.1, until, "a lane that is ahead is in the way; joining the lanes up to there");
        Err(Turn::Again)
    }

    /// The progress rows of the topic; an error when this lane's own is not as it believes.
    pub(crate) async fn siblings(&mut self) -> Result<Vec<Sibling>, Turn> {
        let config = Arc::clone(self.settings.config());
        let stop = self.handle.stop.clone();
        let read = async {
            let mut pooled = config.pool.acquire(&self.table).await?;
            let of = (config.name.as_str(), self.part.topic.as_str());
            let rows = siblings::siblings(pooled.session(), config.pool.schema(), of).await?;
            pooled.give_back();
            Ok::<_, Turn>(rows)
        };
        let rows = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Turn::Stop),
            rows = read => rows?,
        };
        let Some(held) = &self.state.held else { return Err(Turn::Again) };
        match rows.iter().any(|row| is_own(held, self.part.partition, row)) {
            true => Ok(rows),
            false => Err(Turn::Taken(held.taken())),
        }
    }

    /// Waits, unless something else is to be done.
    pub(crate) async fn wait_a_little(&mut self, time: Duration) -> Result<(), Turn> {
        tokio::select! {
            biased;
            () = self.handle.stop.cancelled() => Err(Turn::Stop),
            () = self.handle.abandon.cancelled() => Err(Turn::Stop),
            news = self.settings.concern() => Err(match news {
                News::End => Turn::Stop,
                News::Others | News::Concern | News::Nothing => Turn::Again,
            }),
            () = self.handle.recheck.notified() => {
                self.restart_stream();
                Err(Turn::Again)
            }
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Takes what there is in the partition now, as far as it fits into one batch.
    async fn gather_to_end(&mut self, table: &TablePlan) -> Result<(), Turn> {
        let ends = self.services.inquiry.ends(&self.part.topic).await?;
        let own = usize::try_from(self.part.partition).ok().and_then(|at| ends.get(at)).copied().unwrap_or_default();
        let until = Instant::now() + GATHER_FOR;
        loop {
            while !self.state.intake.fills(&table.limits) && self.take_one() {}
            let there = self.state.intake.reaches().is_some_and(|offset| offset >= own);
            if there || self.state.intake.fills(&table.limits) || Instant::now() >= until {
                return Ok(());
            }
            self.wait_a_little(LOOK_EVERY).await?;
        }
    }
}

fn is_own(held: &Lane, partition: i32, row: &Sibling) -> bool {
    row.partition == partition && held.is_owner(&row.owner) && held.next_offset() == row.next_offset
}

/// The first sibling that may still have something in front of the position, and how far it is. `ends`: of each partition,
/// an offset that everything of before the position lies in front of.
fn blocker(own: i32, at: (i32, i64), rows: &[Sibling], ends: &[i64]) -> Option<(i32, String)> {
    (0_i32..).zip(ends).filter(|(partition, _)| *partition != own).find_map(|(partition, end)| {
        let Some(row) = rows.iter().find(|row| row.partition == partition) else {
            return (*end > 0).then(|| (partition, "has not begun".to_owned()));
        };
        let beyond = row.position() >= at
            || row.pending.is_some_and(|pending| (row.generation, pending) > at)
            || row.next_offset >= *end;
        let how = match row.pending {
            Some(pending) => format!("stands in front of ordinal {pending}"),
            None => format!("is at ordinal {}", row.ordinal),
        };
        (!beyond).then_some((partition, how))
    })
}

/// The ordinal of the sibling that is furthest ahead of the position; `None` when none is.
fn ahead(at: (i32, i64), rows: &[Sibling]) -> Option<i64> {
    rows.iter().filter(|row| row.position() > at).map(|row| row.ordinal).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: i32, next_offset: i64, ordinal: i64, pending: Option<i64>) -> Sibling {
        let [owner, replay_past, request] = [const { String::new() }; 3];
        Sibling {
            partition,
            next_offset,
            generation: 1,
            ordinal,
            pending,
            owner,
            replay_until: -1,
            replay_past,
            request,
        }
    }

    #[test]
    fn siblings_are_waited_for_until_they_are_beyond() {
        let ends = [9, 9, 9];
        let of = |rows: &[Sibling]| blocker(0, (1, 50), rows, &ends).map(|(partition, _)| partition);
        let own = row(0, 3, 40, Some(50));
        assert_eq!(of(std::slice::from_ref(&own)), Some(1), "no row yet, and there are records");
        assert_eq!(blocker(0, (1, 50), std::slice::from_ref(&own), &[9, 0, 0]), None, "nothing was ever written there");
        let beyond = row(1, 3, 60, None);
        assert_eq!(of(&[own.clone(), beyond.clone(), row(2, 3, 49, None)]), Some(2));
        assert_eq!(of(&[own.clone(), beyond.clone(), row(2, 3, 50, None)]), None);
        assert_eq!(of(&[own.clone(), beyond.clone(), row(2, 9, 20, None)]), None, "it had nothing more");
        assert_eq!(of(&[own.clone(), beyond.clone(), row(2, 3, 20, Some(70))]), None, "it stands further on");
        assert_eq!(of(&[own.clone(), beyond.clone(), row(2, 3, 20, Some(45))]), Some(2), "it goes first");
        let reset = Sibling { generation: 2, ..row(2, 3, 7, None) };
        assert_eq!(of(&[own, beyond, reset]), None, "a later generation");
    }

    #[test]
    fn the_furthest_sibling_says_how_far() {
        let rows = [row(0, 1, 40, Some(50)), row(1, 1, 45, None), row(2, 1, 70, None), row(3, 1, 60, None)];
        assert_eq!(ahead((1, 50), &rows), Some(70));
        assert_eq!(ahead((1, 70), &rows), None);
    }
}
