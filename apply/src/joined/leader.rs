//! The leader of a set: it holds the progress rows of all lanes, and writes their events in one order.
//!
//! Lanes that were apart when they were joined are brought together (`apart`): what a smaller batch cannot do, because a row
//! of a lane that is ahead is in the way, a larger one does, at last the one up to the furthest lane, for the state there is
//! one that the source had. Only what conflicts then is for the mapping's policy.
//!
//! A set replays as one: from the first lane that replays to the last, so that the argument of `target::replay` holds for
//! the merged order. Whatever fails, the leader is dropped and made again from the rows.

mod crossing;

use std::sync::Arc;
use std::time::Duration;

use schemas::{Code, Error};
use tokio::time::Instant;

use crate::config::Config;
use crate::joined::Set;
use crate::joined::apart::Apart;
use crate::joined::cut::{PlansBySchema, Rules, cut};
use crate::joined::feed::{Feed, Kind};
use crate::joined::members::Members;
use crate::joined::merge::Position;
use crate::joined::reader::Reader;
use crate::lane::batches::Written;
use crate::lane::{LaneTask, Turn};
use crate::pool::{Backoff, Pooled};
use crate::settings::News;
use crate::target::join;
use crate::target::joint::{Joint, JointError, Manner};
use crate::target::writer::{BatchOutcome, WriteError};

/// An idle set passes control records at most this often.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How often an idle open set looks for new topics.
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
    apart: Apart,
    last_write: Instant,
    /// Whether the ends have been asked for, and whether all has been read up to them.
    asked: bool,
    looked: bool,
    /// When the topics of an open set were listed last, and when they may be again.
    listed_at: Instant,
    list_from: Instant,
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
        let apart = Apart::new(set.limits, at.iter().map(|(_, position)| *position).max());
        if let (true, Some((_, first))) = (set.is_open, at.iter().min_by_key(|(_, position)| *position)) {
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
            apart,
            last_write,
            asked,
            looked,
            list_from: listed_at,
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

/// The error of an ordered set of which some lane still replays.
fn not_again() -> Error {
    let message = "a table that keeps its order under foreign keys still writes events a second time, which it can do only with \
                   foreign_keys: off; put that, and foreign_keys: ordered again when no lane of the tables replays any more";
    Error::new(Code::ReplayRefused, message)
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
            let wanted = self.feed.wants_round() || (!self.looked && !self.asked);
            if wanted && (!self.set.is_open || Instant::now() >= self.list_from) {
                self.round().await?;
                self.asked = true;
            }
            self.looked |= self.asked && !self.feed.in_round();
            let limits = self.apart.limits();
            self.feed.drain(&limits, None);
            let complete = self.apart.goal().is_none_or(|goal| self.feed.is_complete(&limits, goal));
            if complete && (!self.feed.ready().is_empty() || self.must_pass()) {
                let mut pooled = self.connection().await?;
                self.write(&mut pooled).await?;
                pooled.give_back();
                backoff.reset();
                continue;
            }
            if self.set.is_open && self.listed_at.elapsed() >= LIST_EVERY {
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
        if self.set.is_open {
            self.list().await?;
            self.feed.set_listed(upto);
        }
        let ends = self.feed.reader().ends().await?;
        self.feed.begin_round(upto, ends);
        Ok(())
    }

    /// Whether the set has the topics that it had; a table that is new has events of its own to wait for.
    async fn list(&mut self) -> Result<(), Turn> {
        let began = Instant::now();
        let services = &self.task.services;
        if services.ordered.now(&self.config, services).await?.topics != self.set.topics {
            tracing::info!(pipeline = self.config.name, "the tables under foreign keys have another topic");
            return Err(Turn::Again);
        }
        self.listed_at = Instant::now();
        // With thousands of topics it takes long: at most half of the time goes into it.
        self.list_from = self.listed_at + (self.listed_at - began);
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
        let now = Instant::now();
        let soon = now + LOOK_EVERY;
        let look_at = if self.list_from > now { soon.min(self.list_from) } else { soon };
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
            () = tokio::time::sleep_until(look_at) => Ok(()),
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
        let (limits, factor) = (self.apart.limits(), self.apart.factor());
        let rules = Rules { limits, factor, ordered: self.set.ordered, plans: &plans };
        let mut cut = cut(self.feed.ready(), &self.members, rules);
        if let Some(border) = cut.border.take() {
            drop(cut);
            return self.cross(border, pooled).await;
        }
        if cut.count == 0 {
            return Ok(());
        }
        let replays = self.members.is_replaying();
        if replays && self.set.ordered {
            return Err(not_again().into());
        }
        let manner = Manner {
            replays,
            ordered: self.set.ordered,
            // What replays meets no row that it may not write over.
            early: !replays && self.apart.is_early(cut.last, cut.full),
            apart: self.apart.is_apart(),
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
            Err(JointError::Early(why)) if self.apart.resize() => {
                let factor = self.apart.factor();
                tracing::info!(topic = self.task.part.topic, why, factor, "bringing joined lanes together");
                return Ok(None);
            }
            Err(JointError::Early(why)) => Turn::Paused(self.apart.too_far(&self.task.part.topic, &why)),
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
        self.apart.wrote(done.last);
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
        let furthest = self.apart.furthest().is_none_or(|furthest| self.feed.is_through(furthest));
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
