//! A lane: one partition of one topic, applied in order by one task.
//!
//! ```text
//!            ┌──────────────── document changed, recheck ───────────────┐
//!            ▼                                                           │
//!  claim the progress row ──▶ position the consumer ──▶ batches ─────────┤
//!    ▲   ▲                                                │ │ │ │        │
//!    │   └── backoff ◀── connection lost, target busy ────┘ │ │ └─▶ stop │
//!    │       prove ownership ◀── another's token ───────────┘ │          │
//!    │                                                         ▼         │
//!    └───────────────────── document changed ◀──────────── paused        │
//! ```
//!
//! Exactly once rests on the progress row alone (`target::progress`): every batch moves it from the offset and token this
//! task believes in, in the transaction of its rows. So nothing here has to be right for correctness but two things:
//! records are handed to the writer in order of offset without a gap from the claimed offset on, and the position never
//! passes a record that was not handed over. Both hold because each positioning begins a new stream (`chunk`) and the
//! intake is consumed only by commits.
//!
//! A claim after the first is made only while the row still has this lane's token, or after the group confirmed that the
//! partition is ours; so a worker that slept through its own replacement does not take the lane back.

pub(crate) mod barrier;
pub(crate) mod batches;
pub(crate) mod intake;
pub(crate) mod plans;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod shared;
pub(crate) mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use schemas::documents::PipelineStart;
use schemas::progress::leads_elsewhere;
use schemas::{Code, Error, Reaction};
use tokio::sync::oneshot;

use crate::catalog::Catalog;
use crate::config::{Config, TablePlan};
use crate::consumer::lanes::{LaneHandle, LaneId, Part};
use crate::consumer::{Mailbox, Request};
use crate::inquiry::{self, Inquiry, TopicNow};
use crate::joined::Role;
use crate::joined::members::LastListed;
use crate::lane::barrier::Standing;
use crate::lane::intake::Intake;
use crate::lane::plans::Plans;
use crate::lane::report::Report;
use crate::lane::waiting::Deferred;
use crate::pool::{Backoff, Pooled};
use crate::settings::{Settings, refused};
use crate::target::failure::Failure;
use crate::target::progress::{self, Lane, LaneKey, Start};
use crate::target::siblings::siblings;

/// Wait before the group is asked again whether the partition is ours.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What lanes share.
#[derive(Clone)]
pub(crate) struct Services {
    /// Questions to Kafka.
    pub(crate) inquiry: Inquiry,
    /// Who writes which table.
    pub(crate) catalog: Catalog,
    /// The topics of the tables that keep their order among each other.
    pub(crate) ordered: LastListed,
    /// The schemas of the records.
    pub(crate) schemas: coordination::SchemaStore,
    /// The consumer thread.
    pub(crate) mailbox: Arc<Mailbox>,
}

/// The task of a lane.
pub(crate) struct LaneTask {
    pub(crate) id: LaneId,
    pub(crate) part: Part,
    /// Its topic: turns at the connections go by table.
    pub(crate) table: Arc<str>,
    pub(crate) handle: LaneHandle,
    pub(crate) services: Services,
    pub(crate) settings: Settings,
    pub(crate) report: Report,
    pub(crate) state: Progress,
}

/// Where the lane stands.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The progress row as claimed.
    pub(crate) held: Option<Lane>,
    /// Records not committed yet.
    pub(crate) intake: Intake,
    /// Decoders and mappings by schema.
    pub(crate) plans: Plans,
    /// The offset and ordinal that `intake` continues; `None`: no stream runs.
    continues: Option<(i64, i64)>,
    /// How many partitions the topic had at the claim.
    pub(crate) partitions: usize,
    /// Events since the last one that the lane's start contains.
    pub(crate) beyond_start: u64,
    /// So many batches are still to be written without others in their transaction.
    pub(crate) alone: u32,
    /// The barrier in front of which the lane stands.
    pub(crate) barrier: Option<Standing>,
    /// The event in front of which the lane stands because it conflicts.
    pub(crate) deferred: Option<Deferred>,
    tokens: Tokens,
}

/// The tokens by which the progress row may be ours: that of the last claim, and of the one before, in case the last
/// one's outcome is unknown.
#[derive(Debug, Default)]
struct Tokens {
    current: Option<String>,
    before: Option<String>,
    /// The group confirmed the partition after another's token was seen.
    proven: bool,
}

impl Tokens {
    /// Whether a claim may follow on what the row says now.
    fn may_claim(&self, owner: Option<&str>) -> bool {
        let Some(owner) = owner else { return true };
        self.proven || self.current.is_none() || [&self.current, &self.before].into_iter().flatten().any(|t| t == owner)
    }

    fn fresh(&mut self) -> String {
        let token = format!("{:032x}", rand::random::<u128>());
        self.before = self.current.replace(token.clone());
        self.proven = false;
        token
    }
}

/// What is known of a partition in front of its claim.
pub(crate) struct Beginning {
    pub(crate) key: LaneKey,
    /// The partition as it is.
    pub(crate) now: TopicNow,
    /// The token in its progress row, if there is one.
    pub(crate) owner: Option<String>,
    /// Where it begins if there is none.
    pub(crate) start: Start,
    pub(crate) pooled: Pooled,
}

/// How a stretch of work ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The lane is to end.
    Stop,
    /// Claim again, at once.
    Again,
    /// Claim again after a wait.
    Retry(Error),
    /// Another worker's token is in the row.
    Taken(Error),
    /// Nothing more until the documents change.
    Paused(Error),
    /// Nothing until the documents say that the table runs.
    Held,
    /// The table is not mapped any more; the group will take the partition.
    Unmapped,
}

impl From<Error> for Turn {
    fn from(error: Error) -> Self {
        match error.code().reaction() {
            Reaction::Retry => Self::Retry(error),
            Reaction::PauseTable | Reaction::Stop => Self::Paused(error),
        }
    }
}

impl From<Failure> for Turn {
    fn from(failure: Failure) -> Self {
        failure.error.into()
    }
}

/// Tells the consumer that the task is over, also when it panicked.
struct EndOfTask {
    mailbox: Arc<Mailbox>,
    lane: LaneId,
}

impl Drop for EndOfTask {
    fn drop(&mut self) {
        self.mailbox.send(Request::Ended { lane: self.lane });
    }
}

impl LaneTask {
    /// Runs until the consumer asks it to stop.
    pub(crate) async fn run(mut self) {
        let _end = EndOfTask { mailbox: Arc::clone(&self.services.mailbox), lane: self.id };
        let mut backoff = Backoff::default();
        loop {
            let stay = match self.serve(&mut backoff).await {
                Turn::Stop => false,
                Turn::Again => true,
                Turn::Retry(error) => {
                    self.report.retrying(&error);
                    self.rest(Some(backoff.next())).await
                }
                Turn::Taken(error) => {
                    self.report.retrying(&error);
                    self.halt();
                    self.prove().await
                }
                Turn::Paused(error) => {
                    self.report.paused(&error);
                    if error.code() == Code::TargetTable {
                        self.settings.config().pool.look_again();
                    }
                    self.halt();
                    self.rest(None).await
                }
                Turn::Held => {
                    self.report.held();
                    self.halt();
                    self.rest(None).await
                }
                Turn::Unmapped => {
                    self.report.gone();
                    self.halt();
                    self.rest(None).await
                }
            };
            if !stay {
                break;
            }
        }
        self.report.gone();
    }

    async fn serve(&mut self, backoff: &mut Backoff) -> Turn {
        let plan = match self.settings.take(&self.services.schemas).await {
            Ok(plan) => plan,
            Err(error) => return error.into(),
        };
        let Some(table) = plan.as_ref() else { return Turn::Unmapped };
        if table.paused {
            return Turn::Held;
        }
        let config = Arc::clone(self.settings.config());
        if let Some(error) = refused(&config, table) {
            return error.into();
        }
        match self.role(&config, table).await {
            Ok(Role::Alone) => {}
            Ok(role) => return self.play(role, backoff).await,
            Err(turn) => return turn,
        }
        let stop = self.handle.stop.clone();
        let claimed = tokio::select! {
            biased;
            () = stop.cancelled() => return Turn::Stop,
            claimed = self.claim(&config, table) => claimed,
        };
        match claimed {
            Ok(()) => self.apply(table, backoff).await,
            Err(turn) => turn,
        }
    }

    /// Claims the progress row, compares it with the topic and positions the consumer where it is not right already.
    async fn claim(&mut self, config: &Config, table: &TablePlan) -> Result<(), Turn> {
        let Beginning { key, mut now, owner, start, mut pooled } = self.beginning(config, table, &self.part).await?;
        let claimed = self.claim_row(config, key, owner.as_deref(), &start, &mut pooled).await?;
        // Joined before the claim: it is not this lane's to go alone. Joined later, the token is gone.
        self.is_alone(config, &mut pooled).await?;
        pooled.give_back();
        self.state.partitions = now.partitions;
        if claimed.next_offset > now.high {
            // The question is older than the claim; somebody may have written and applied in between.
            now = self.services.inquiry.topic(&self.part).await?;
        }
        inquiry::check_position(&self.part, claimed.next_offset, &claimed.topic_id, &now)?;
        self.state.plans.clear();
        (self.state.deferred, self.state.barrier) = (None, None);
        self.handle.committed.store(claimed.next_offset, Ordering::Relaxed);
        let at = (claimed.next_offset, claimed.ordinal);
        if self.state.continues != Some(at) {
            self.state.intake.clear();
            let stream = self.handle.queue.begin_stream();
            self.services.mailbox.send(Request::Position { lane: self.id, stream, offset: claimed.next_offset });
            self.state.continues = Some(at);
        }
        tracing::info!(
            pipeline = config.name,
            topic = self.part.topic,
            partition = self.part.partition,
            offset = claimed.next_offset,
            new = claimed.new,
            "lane claimed"
        );
        self.report.running(claimed.next_offset, now.high);
        self.show_replay();
        Ok(())
    }

    /// What a claim of a partition needs to know; nothing is claimed yet.
    pub(crate) async fn beginning(&self, config: &Config, table: &TablePlan, part: &Part) -> Result<Beginning, Turn> {
        let key = LaneKey { pipeline: config.name.clone(), topic: part.topic.clone(), partition: part.partition };
        let now = self.services.inquiry.topic(part).await?;
        let mut pooled = config.pool.acquire(&self.table).await?;
        self.services.catalog.admit(config, table, &mut pooled).await?;
        let (owner, had) = progress::owner(pooled.session(), config.pool.schema(), &key).await?.unzip();
        let elsewhere = had.flatten().is_some_and(|had| leads_elsewhere(&had, &table.to));
        let (targets, anew) = (table.to.clone(), elsewhere && table.own_start);
        let mut start = Start {
            next_offset: now.low,
            ordinal: -1,
            generation: 0,
            topic_id: now.id.clone(),
            gtid: None,
            targets,
            anew,
        };
        if owner.is_none() || anew {
            // Looking for it may take longer than the server keeps an idle connection.
            pooled.give_back();
            self.find_start(part, table, &now, &mut start).await?;
            pooled = config.pool.acquire(&self.table).await?;
        }
        Ok(Beginning { key, now, owner, start, pooled })
    }

    async fn claim_row(
        &mut self,
        config: &Config,
        key: LaneKey,
        owner: Option<&str>,
        start: &Start,
        pooled: &mut Pooled,
    ) -> Result<progress::Claimed, Turn> {
        let token = self.token(&key, owner)?;
        let (mut lane, claimed) = Lane::claim(pooled.session(), config.pool.schema(), key, &token, start).await?;
        lane.set_document_version(config.version);
        if claimed.new {
            self.state.beyond_start = 0;
        }
        self.state.held = Some(lane);
        Ok(claimed)
    }

    /// A fresh token, if a claim may follow on what the lane's row says now.
    pub(crate) fn token(&mut self, key: &LaneKey, owner: Option<&str>) -> Result<String, Turn> {
        if self.state.tokens.current.is_some() && !self.state.tokens.may_claim(owner) {
            let message = format!("{key}: the progress row has the token of another worker");
            return Err(Turn::Taken(Error::new(Code::LaneTaken, message)));
        }
        Ok(self.state.tokens.fresh())
    }

    /// Where the lane begins that has no progress yet.
    pub(crate) async fn find_start(
        &self,
        part: &Part,
        table: &TablePlan,
        now: &TopicNow,
        start: &mut Start,
    ) -> Result<(), Turn> {
        let anywhere = matches!(table.start, PipelineStart::Earliest);
        start.next_offset = match !anywhere && self.is_added(part, now).await? {
            true => now.low,
            false => self.services.inquiry.start(part, now, &table.start).await?,
        };
        if now.partitions > 1
            && let Some(last) = self.services.inquiry.before(part, start.next_offset).await?
        {
            // The other lanes of the topic see from it how far this one is.
            (start.ordinal, start.generation) = (last.ordinal, last.generation);
        }
        if let PipelineStart::Gtid(position) = &table.start {
            start.gtid = Some(position.clone());
        }
        Ok(())
    }

    /// Whether a repartition added the partition while other lanes of the topic were on their way: then all that it has is
    /// to be applied, wherever the table began.
    async fn is_added(&self, part: &Part, now: &TopicNow) -> Result<bool, Turn> {
        if now.partitions < 2 {
            return Ok(false);
        }
        let Some(added) = self.services.inquiry.added_at(part, now).await? else { return Ok(false) };
        let config = self.settings.config();
        let mut pooled = config.pool.acquire(&self.table).await?;
        let of = (config.name.as_str(), part.topic.as_str());
        let rows = siblings(pooled.session(), config.pool.schema(), of).await?;
        pooled.give_back();
        Ok(rows.iter().any(|row| row.position() <= added))
    }

    /// Lets the consumer deliver nothing more, and forgets what it delivered.
    pub(crate) fn halt(&mut self) {
        self.state.continues = None;
        self.state.intake.clear();
        self.handle.queue.begin_stream();
        self.services.mailbox.send(Request::Halt { lane: self.id });
    }

    /// Makes the next claim position the consumer anew.
    pub(crate) fn restart_stream(&mut self) {
        self.state.continues = None;
    }

    /// Where the stream stands: the next claim finds the row there unless somebody moved it.
    pub(crate) fn moved(&mut self, next_offset: i64, ordinal: i64) {
        self.handle.committed.store(next_offset, Ordering::Relaxed);
        self.state.continues = Some((next_offset, ordinal));
    }

    /// Waits for a change of the documents, or for some time; false when the lane is to end.
    async fn rest(&mut self, wait: Option<std::time::Duration>) -> bool {
        let wait = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.handle.stop.cancelled() => false,
            changed = self.settings.changed() => changed,
            () = wait => true,
        }
    }

    /// Asks the group until it says that the partition is ours; false when the lane is to end.
    async fn prove(&mut self) -> bool {
        loop {
            let (answer, outcome) = oneshot::channel();
            let next_offset = self.handle.committed.load(Ordering::Relaxed).max(0);
            self.services.mailbox.send(Request::Prove { lane: self.id, next_offset, answer });
            let ours = tokio::select! {
                biased;
                () = self.handle.stop.cancelled() => return false,
                ours = outcome => ours.unwrap_or(false),
            };
            if ours {
                self.state.tokens.proven = true;
                return true;
            }
            if !self.rest(Some(ASK_AGAIN)).await {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_token_needs_proof() {
        let mut tokens = Tokens::default();
        assert!(tokens.may_claim(Some("theirs")), "the first claim follows on the group's assignment");
        let first = tokens.fresh();
        assert_eq!(first.len(), 32);
        assert!(tokens.may_claim(Some(&first)));
        assert!(tokens.may_claim(None));
        assert!(!tokens.may_claim(Some("theirs")));
        let second = tokens.fresh();
        assert!(tokens.may_claim(Some(&first)), "the second claim's outcome may be unknown");
        assert!(tokens.may_claim(Some(&second)));
        tokens.fresh();
        assert!(!tokens.may_claim(Some(&first)));
        tokens.proven = true;
        assert!(tokens.may_claim(Some("theirs")));
        tokens.fresh();
        assert!(!tokens.may_claim(Some("theirs")), "a proof is good for one claim");
    }
}
