//! The leader of a set: it holds the progress rows of all lanes, and writes their events in one order.
//!
//! Lanes that were apart when they were joined are brought together: what a smaller batch cannot do, because a row of a
//! lane that is ahead is in the way, one batch up to the furthest lane does, for the state there is one that the source
//! had. Only what conflicts then is for the mapping's policy.
//!
//! A set replays as one: from the first lane that replays to the last, so that the argument of `target::replay` holds for
//! the merged order. Whatever fails, the leader is dropped and made again from the rows.

use std::sync::Arc;
use std::time::Duration;

use schemas::barrier::BarrierKind;
use schemas::documents::Truncate;
use schemas::{Code, Error};
use tokio::time::Instant;

use crate::config::Config;
use crate::consumer::lanes::Part;
use crate::joined::Set;
use crate::joined::cut::{Border, PlansBySchema, Rules, cut};
use crate::joined::feed::{Feed, Kind};
use crate::joined::members::{Members, ordered_topics};
use crate::joined::merge::Position;
use crate::joined::reader::Reader;
use crate::lane::batches::Written;
use crate::lane::replay::{furthest, past_of};
use crate::lane::{LaneTask, Turn};
use crate::pool::{Backoff, Pooled};
use crate::settings::News;
use crate::target::join;
use crate::target::joint::{Joint, JointError, Manner};
use crate::target::truncate;
use crate::target::writer::{BatchOutcome, WriteError};

/// An idle set passes control records at most this often.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How often an idle ordered set looks for new topics.
const LIST_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for a sign of the reader; what it does not announce is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After so many events that a lane's start does not contain, none comes any more that it does.
const BEYOND_START: u64 = 1000;

/// A set with its leader.
pub(crate) struct Leader<'t> {
    task: &'t mut LaneTask,
    config: Arc<Config>,
    set: Set,
    members: Members,
    feed: Feed,
    /// Where the furthest lane was, until all have come there.
    furthest: Option<Position>,
    /// Nothing is written that does not reach this far.
    reach: Option<Position>,
    last_write: Instant,
    /// Whether the ends have been asked for, and whether all has been read up to them.
    asked: bool,
    looked: bool,
    /// When the topics of an ordered set were listed last.
    listed_at: Instant,
}

impl LaneTask {
    /// Leads a set until something else is to be done.
    pub(crate) async fn lead(&mut self, set: Set, backoff: &mut Backoff) -> Turn {
        self.halt();
        match self.begin_to_lead(set).await {
            Ok(mut leader) => match leader.run(backoff).await {
                Ok(turn) | Err(turn) => turn,
            },
            Err(turn) => turn,
        }
    }

    async fn begin_to_lead(&mut self, set: Set) -> Result<Leader<'_>, Turn> {
        let config = Arc::clone(self.settings.config());
        let stop = self.handle.stop.clone();
        let members = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Turn::Stop),
            members = self.claim_all(&config, set.topics.clone()) => members?,
        };
        if let Some(until) = set.until {
            let mut pooled = config.pool.acquire(&self.table).await?;
            let of = (config.name.as_str(), self.part.topic.as_str(), members.token.as_str());
            join::keep_joined(pooled.session(), config.pool.schema(), of, until).await?;
            pooled.give_back();
        }
        let at: Vec<(i64, Position)> = members.lanes.iter().map(|lane| (lane.next_offset(), stands(lane))).collect();
        let from: Vec<_> = members.parts.iter().cloned().zip(at.iter().map(|(offset, _)| *offset)).collect();
        let mut feed = Feed::new(Reader::open(self.services.inquiry.kafka(), &from)?, &at);
        let furthest = at.iter().map(|(_, position)| *position).max();
        if let (true, Some((_, first))) = (set.ordered, at.iter().min_by_key(|(_, position)| *position)) {
            feed.set_listed(*first);
        }
        let lanes = members.lanes.len();
        tracing::info!(
            pipeline = config.name,
            topic = self.part.topic,
            lanes,
            until = set.until,
            "leading joined lanes"
        );
        let (last_write, listed_at, asked, looked) = (Instant::now(), Instant::now(), false, false);
        let mut leader = Leader {
            task: self,
            config,
            set,
            members,
            feed,
            furthest,
            reach: None,
            last_write,
            asked,
            looked,
            listed_at,
        };
        leader.show();
        Ok(leader)
    }
}

/// Where a lane stands in the source.
fn stands(lane: &crate::target::progress::Lane) -> Position {
    Position { generation: lane.replay().generation, ordinal: lane.ordinal() }
}

impl Leader<'_> {
    async fn run(&mut self, backoff: &mut Backoff) -> Result<Turn, Turn> {
        loop {
            if let Some(turn) = self.look() {
                return Ok(turn);
            }
            let more = self.feed.pump(&self.task.services.schemas).await?;
            if self.feed.reader().takes_doubt() {
                let error = Error::new(Code::KafkaUnavailable, "a position may not be in its topic any more; looking");
                return Ok(Turn::Retry(error));
            }
            // Once at the beginning, whatever has come: what made the lanes be joined is there then.
            if self.feed.wants_round() || (!self.looked && !self.asked) {
                self.round().await?;
                self.asked = true;
            }
            self.looked |= self.asked && !self.feed.in_round();
            self.feed.drain(&self.set.limits, self.reach);
            let reached = self.reach.is_none_or(|reach| self.feed.reaches(reach));
            if reached && (!self.feed.ready().is_empty() || self.must_pass()) {
                let mut pooled = self.connection().await?;
                self.write(&mut pooled).await?;
                pooled.give_back();
                backoff.reset();
                continue;
            }
            if self.set.ordered && self.listed_at.elapsed() >= LIST_EVERY {
                self.list().await?;
            }
            if let Some(turn) = self.finish().await? {
                return Ok(turn);
            }
            if !more {
                self.wait().await?;
            }
        }
    }

    /// What the documents and the consumer say meanwhile.
    fn look(&mut self) -> Option<Turn> {
        if self.task.handle.stop.is_cancelled() {
            return Some(Turn::Stop);
        }
        match self.task.settings.look() {
            News::Concern => return Some(Turn::Again),
            News::End => return Some(Turn::Stop),
            News::Nothing | News::Others => {}
        }
        // Others of the set may have changed: it is made anew.
        (self.set.ordered && !Arc::ptr_eq(&self.config, self.task.settings.config())).then_some(Turn::Again)
    }

    /// Takes the ends of all partitions, after what has come so far.
    async fn round(&mut self) -> Result<(), Turn> {
        let Some(upto) = self.feed.greatest() else { return Ok(()) };
        if self.set.ordered {
            self.list().await?;
            self.feed.set_listed(upto);
        }
        let ends = self.feed.reader().ends().await?;
        self.feed.begin_round(upto, ends);
        Ok(())
    }

    /// Whether the set has the topics that it had; a table that is new has events of its own to wait for.
    async fn list(&mut self) -> Result<(), Turn> {
        if ordered_topics(&self.config, &self.task.services).await? != self.set.topics {
            tracing::info!(pipeline = self.config.name, "the tables under foreign keys have another topic");
            return Err(Turn::Again);
        }
        self.listed_at = Instant::now();
        Ok(())
    }

    async fn connection(&self) -> Result<Pooled, Turn> {
        let stop = self.task.handle.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Turn::Stop),
            pooled = self.config.pool.acquire(&self.task.table) => Ok(pooled?),
        }
    }

    async fn wait(&mut self) -> Result<(), Turn> {
        let (stop, task) = (self.task.handle.stop.clone(), &mut *self.task);
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Turn::Stop),
            news = task.settings.concern() => match news {
                News::End => Err(Turn::Stop),
                News::Concern => Err(Turn::Again),
                News::Others | News::Nothing => Ok(()),
            },
            () = self.feed.reader().news() => Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
        }
    }

    /// Whether control records are to be passed.
    fn must_pass(&self) -> bool {
        let idle = self.feed.ready().is_empty() && self.last_write.elapsed() >= PASS_EVERY;
        let gap = |(at, lane): (usize, &crate::target::progress::Lane)| self.feed.stands_at(at) > lane.next_offset();
        idle && self.members.lanes.iter().enumerate().any(gap)
    }

    /// Writes what is ready, or does what is to be done in front of it.
    async fn write(&mut self, pooled: &mut Pooled) -> Result<(), Turn> {
        self.last_write = Instant::now();
        if self.feed.ready().is_empty() || self.members.is_replaying() {
            self.pass(pooled).await?;
        }
        let plans = self.plans(pooled).await?;
        let rules = Rules { limits: self.set.limits, reach: self.reach, ordered: self.set.ordered, plans: &plans };
        let mut cut = cut(self.feed.ready(), &self.members, rules);
        if let Some(border) = cut.border.take() {
            drop(cut);
            return self.cross(border, pooled).await;
        }
        if cut.count == 0 {
            return Ok(());
        }
        let manner = Manner {
            replays: self.members.is_replaying(),
            ordered: self.set.ordered,
            early: self.reach.is_none() && self.furthest > cut.last,
            apart: self.furthest.is_some(),
        };
        let abandon = self.task.handle.abandon.clone();
        let mut joint = Joint {
            session: pooled.session(),
            lanes: &mut self.members.lanes,
            stretches: &cut.stretches,
            to: &cut.to,
            manner,
        };
        let written = tokio::select! {
            biased;
            // Others own the partition already: the connection is dropped, and the server rolls back.
            () = abandon.cancelled() => return Err(Turn::Stop),
            written = joint.write() => written,
        };
        let done = Done { count: cut.count, contained: cut.contained, last: cut.last, source_ts_ms: cut.source_ts_ms };
        let starts: Vec<(u64, bool)> = cut.strict.iter().copied().zip(cut.met_start.iter().copied()).collect();
        drop(cut);
        match self.settle(written)? {
            Some(outcome) => {
                self.wrote(&done, outcome);
                self.beyond_start(&starts, pooled).await
            }
            None => Ok(()),
        }
    }

    /// The plans of what is ready.
    async fn plans(&mut self, pooled: &mut Pooled) -> Result<PlansBySchema, Turn> {
        let mut plans = PlansBySchema::new();
        for element in self.feed.ready() {
            let Kind::Event(schema) = element.kind else { continue };
            let topic = self.members.topic_of[element.lane];
            if plans.contains_key(&(topic, schema)) {
                continue;
            }
            // Only the first ready event needs its plan now; the table may not fit a later schema yet.
            if !plans.is_empty() && !self.set.ordered {
                break;
            }
            let Some(of) = self.members.topics.get_mut(topic) else { break };
            let plan = of.plans.get(schema, &of.table, &self.task.services.schemas, pooled.session()).await;
            match plan {
                Ok(plan) => drop(plans.insert((topic, schema), plan)),
                Err(error) if plans.is_empty() => return Err(error.into()),
                // What comes before it is written first.
                Err(_) => break,
            }
        }
        Ok(plans)
    }

    /// What an unwritten batch means; `None`: it is to be tried again with more.
    fn settle(&mut self, written: Result<BatchOutcome, JointError>) -> Result<Option<BatchOutcome>, Turn> {
        Err(match written {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(JointError::Early(why)) => {
                tracing::info!(topic = self.task.part.topic, why, "bringing joined lanes together in one batch");
                self.reach = self.furthest;
                return Ok(None);
            }
            Err(JointError::Write(WriteError::Paused { error, outcome, .. })) => {
                self.report(outcome, None, 0);
                Turn::Paused(error)
            }
            Err(JointError::Write(WriteError::Refused(error))) => Turn::Paused(error),
            Err(JointError::Write(WriteError::Lost(error) | WriteError::Busy(error))) => Turn::Retry(error),
            Err(JointError::Write(WriteError::Taken(error))) => Turn::Taken(error),
        })
    }

    fn wrote(&mut self, done: &Done, outcome: BatchOutcome) {
        self.feed.consume(done.count);
        if self.furthest <= done.last {
            (self.furthest, self.reach) = (None, None);
        }
        let repeats = done.contained + self.feed.take_repeats();
        self.report(outcome, done.source_ts_ms, repeats);
        self.show_replay();
    }

    fn report(&mut self, outcome: BatchOutcome, source_ts_ms: Option<i64>, repeats: u64) {
        let next_offset = self.own().map_or(-1, |lane| lane.next_offset());
        self.task.handle.committed.store(next_offset, std::sync::atomic::Ordering::Relaxed);
        self.task.report.wrote(&Written { next_offset, outcome, repeats, source_ts_ms });
    }

    /// The row of the task's own partition.
    fn own(&self) -> Option<&crate::target::progress::Lane> {
        let at = self.members.parts.iter().position(|part| *part == self.task.part)?;
        self.members.lanes.get(at)
    }

    fn show(&mut self) {
        let next_offset = self.own().map_or(-1, |lane| lane.next_offset());
        self.task.handle.committed.store(next_offset, std::sync::atomic::Ordering::Relaxed);
        self.task.report.running(next_offset, next_offset);
        self.show_replay();
    }

    fn show_replay(&self) {
        self.task.report.replays(self.members.is_replaying());
    }

    /// Moves the lanes over control records and repeats, which carry no row.
    async fn pass(&mut self, pooled: &mut Pooled) -> Result<(), Turn> {
        let to: Vec<Option<(i64, i64)>> = self
            .members
            .lanes
            .iter()
            .enumerate()
            .map(|(at, lane)| {
                let offset = self.feed.stands_at(at);
                (offset > lane.next_offset()).then_some((offset, lane.ordinal()))
            })
            .collect();
        self.advance(&to, pooled).await
    }

    /// Moves lanes without rows.
    async fn advance(&mut self, to: &[Option<(i64, i64)>], pooled: &mut Pooled) -> Result<(), Turn> {
        if to.iter().all(Option::is_none) {
            return Ok(());
        }
        let lanes = &mut self.members.lanes;
        let mut joint = Joint { session: pooled.session(), lanes, stretches: &[], to, manner: Manner::default() };
        let moved = joint.write().await;
        if self.settle(moved)?.is_some() {
            let next_offset = self.own().map_or(-1, |lane| lane.next_offset());
            self.task.handle.committed.store(next_offset, std::sync::atomic::Ordering::Relaxed);
            self.task.report.passed_to(next_offset);
            self.show_replay();
        }
        Ok(())
    }

    /// Does what is to be done in front of the first element.
    async fn cross(&mut self, border: Border, pooled: &mut Pooled) -> Result<(), Turn> {
        match border {
            Border::Generation { generation, ordinal } => self.enter_generation(generation, ordinal, pooled).await?,
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

    /// All lanes of a lower generation enter this one. What they have applied ends with the last record of any of them.
    async fn enter_generation(&mut self, generation: i32, ordinal: i64, pooled: &mut Pooled) -> Result<(), Turn> {
        let lower = |lane: &crate::target::progress::Lane| lane.replay().generation < generation;
        let mut last: Option<crate::explore::Facts> = None;
        for (part, lane) in self.members.parts.iter().zip(&self.members.lanes).filter(|(_, lane)| lower(lane)) {
            let before = self.task.services.inquiry.before(part, lane.next_offset()).await?;
            last = last.into_iter().chain(before).max_by_key(|facts| (facts.generation, facts.ordinal));
        }
        let past = last.as_ref().map(past_of).unwrap_or_default();
        let before = self.members.lanes.iter().map(|lane| lane.replay().past.as_str());
        let past = furthest(before.chain([past.as_str()])).to_owned();
        if self.set.ordered && !past.is_empty() {
            let message = "capture was reset: tables that keep their order under foreign keys cannot be written a second \
                           time; empty the target tables and begin anew, or set foreign_keys: off while it replays";
            return Err(Error::new(Code::ReplayRefused, message).into());
        }
        for lane in self.members.lanes.iter_mut().filter(|lane| lower(lane)) {
            lane.enter_generation(pooled.session(), generation, &past, ordinal - 1).await?;
        }
        tracing::info!(topic = self.task.part.topic, generation, past, "capture was reset; joined lanes replay");
        Ok(())
    }

    /// Passes a barrier: all partitions that have it in front of them at once.
    async fn barrier(&mut self, pooled: &mut Pooled) -> Result<(), Turn> {
        let Some(first) = self.feed.ready().front() else { return Ok(()) };
        let at = first.at;
        if !self.feed.is_through(at) {
            // The other partitions' records of it are behind what a batch takes.
            self.feed.drain(&self.set.limits, Some(at));
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
            self.truncate(lane, &mut to, pooled).await?;
        }
        self.advance(&to, pooled).await?;
        self.feed.consume(count);
        tracing::info!(topic = self.members.parts[lane].topic, kind = %barrier.kind, "passed a barrier");
        // More partitions from here on: the set is made anew.
        if barrier.kind == BarrierKind::Repartition { Err(Turn::Again) } else { Ok(()) }
    }

    /// Empties the target tables, if the first partition has the barrier in front of it: its row fences every chunk, and
    /// where it has passed the tables are empty.
    async fn truncate(&mut self, lane: usize, to: &mut [Option<(i64, i64)>], pooled: &mut Pooled) -> Result<(), Turn> {
        let (topic, first) = (self.members.topic_of[lane], &self.members.parts[lane]);
        let table = &self.members.topics[topic].table;
        match table.truncate {
            Truncate::Ignore => return Ok(()),
            Truncate::Pause => {
                let message = format!("{}: the source table was truncated", first.topic);
                return Err(Error::new(Code::TableTruncated, message).into());
            }
            Truncate::Apply => {}
        }
        let zero = |part: &Part| part.topic == first.topic && part.partition == 0;
        let Some(zero) = self.members.parts.iter().position(zero) else { return Ok(()) };
        let Some(end) = to[zero].take() else { return Ok(()) };
        let tables = (table.to.as_slice(), &table.constants);
        let emptied = truncate::empty(pooled.session(), &mut self.members.lanes[zero], tables, end).await;
        self.settle(emptied.map(|_| BatchOutcome::default()).map_err(JointError::Write))?;
        Ok(())
    }

    /// Forgets the positions that lanes began behind once nothing of them can come any more.
    async fn beyond_start(&mut self, starts: &[(u64, bool)], pooled: &mut Pooled) -> Result<(), Turn> {
        for (at, (events, met)) in starts.iter().enumerate() {
            let lane = &mut self.members.lanes[at];
            if lane.replay().start.is_none() {
                continue;
            }
            let since = if *met { 0 } else { self.members.beyond_start[at] };
            self.members.beyond_start[at] = since + events;
            if since + events >= BEYOND_START {
                lane.leave_start(pooled.session()).await?;
            }
        }
        Ok(())
    }

    /// Lets the lanes go once all have passed the ordinal up to which they are joined.
    async fn finish(&mut self) -> Result<Option<Turn>, Turn> {
        let Some(until) = self.set.until else { return Ok(None) };
        let generation = self.members.lanes.iter().map(|lane| lane.replay().generation).max().unwrap_or_default();
        let goal = Position { generation, ordinal: until };
        let furthest = self.furthest.is_none_or(|furthest| self.feed.is_through(furthest));
        // A generation that begins is replayed as one, too.
        let rises = self.feed.next_at().is_some_and(|next| next.generation > generation);
        if !self.looked || self.members.is_replaying() || rises || !furthest || !self.feed.is_through(goal) {
            return Ok(None);
        }
        let mut pooled = self.connection().await?;
        let of = (self.config.name.as_str(), self.task.part.topic.as_str(), self.members.token.as_str());
        let (schema, count) = (self.config.pool.schema(), self.members.lanes.len() as u64);
        let parted = join::part(pooled.session(), schema, of, (generation, until), count).await?;
        pooled.give_back();
        tracing::info!(topic = self.task.part.topic, until, parted, "joined lanes part");
        Ok(Some(Turn::Again))
    }
}

/// What a committed batch was.
struct Done {
    count: usize,
    contained: u64,
    last: Option<Position>,
    source_ts_ms: Option<i64>,
}
