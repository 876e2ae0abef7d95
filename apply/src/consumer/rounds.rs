//! The consumer thread of a pipeline: it owns the group membership and delivers records to the lanes.
//!
//! One round: notes of the rebalance callback, then requests, then a turn for each lane that has records waiting and room
//! for them (`deliveries`). Between rounds the thread is parked; librdkafka and the mailbox unpark it, so a record
//! waits for no timer.
//!
//! - An ASSIGN is answered at once with an empty `incremental_assign`, which ends the group's rebalance; the lanes then
//!   claim their progress rows and each is added with its own offset when it asks to be positioned. librdkafka fetches
//!   nothing of a partition before that. So a slow target holds up nobody.
//! - A REVOKE stops the lanes and waits a moment for the batches in flight, then unassigns exactly those partitions that
//!   are assigned. When the partitions are lost already it waits for nothing: the token in the progress row protects.
//! - Group ownership is a hint, so a lane that met another's token asks for proof before it claims again: an offset commit
//!   that the group accepts. A worker that was frozen gets its revocation, or a refusal, and does not fight.
//!
//! Failure: errors that librdkafka mends itself are shown and forgotten with the next record; a fatal one, or a lane's
//! task that ends by itself, ends the thread with an error, and the pipeline starts a new one.

use std::collections::HashSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::{Code, Error, Result};
use tokio::sync::oneshot;

use crate::consumer::deliveries::Deliveries;
use crate::consumer::lanes::{Additions, LaneHandle, LaneId, Lanes, Part};
use crate::consumer::refresh::Refresh;
use crate::consumer::{Callbacks, Mailbox, Note, Request, payload_of};

/// Messages of one lane polled before the others have their turn and notes and requests are looked at again.
const TURN: usize = 2_000;
/// Longest park. Everything that matters unparks; this is for what librdkafka does not announce.
const PARK: Duration = Duration::from_millis(100);
/// How often the consumer's positions are asked for after there was something new.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// How often offsets are committed to the group, for lag tools.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a revocation waits for batches in flight; the whole group waits with it.
const REVOKE_WAIT: Duration = Duration::from_secs(1);
/// How long leaving the group may hold up the end.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// How often all lanes may be asked to compare their positions, after an error that names no partition.
const RECHECK_EVERY: Duration = Duration::from_secs(5);

/// Starts the task of a lane.
pub(crate) type Spawn = Box<dyn FnMut(LaneId, &Part) -> LaneHandle + Send>;
/// Shows what is wrong with the consumer as a whole; `None`: nothing any more.
pub(crate) type Show = Box<dyn FnMut(Option<Error>) + Send>;

/// What the thread needs from the pipeline.
pub(crate) struct Hooks {
    /// Starts the task of a lane.
    pub(crate) spawn: Spawn,
    /// Shows what is wrong with the consumer as a whole; `None`: nothing any more.
    pub(crate) report: Show,
    /// How long the lanes may take at the end.
    pub(crate) drain: Duration,
}

/// The thread's state.
pub(crate) struct ConsumerLoop {
    consumer: Arc<BaseConsumer<Callbacks>>,
    mailbox: Arc<Mailbox>,
    lanes: Lanes,
    deliveries: Deliveries,
    hooks: Hooks,
    /// Requests that came while the thread waited for something else.
    waiting: Vec<Request>,
    marks: Due,
    tells: Due,
    rechecks: Due,
    refresh: Refresh,
    in_trouble: bool,
}

/// Something that is done at most so often.
#[derive(Debug)]
struct Due {
    wanted: bool,
    every: Duration,
    last: Instant,
}

impl Due {
    fn new(every: Duration, now: Instant) -> Self {
        Self { wanted: false, every, last: now }
    }

    fn now(&mut self, now: Instant) -> bool {
        let due = self.wanted && now.duration_since(self.last) >= self.every;
        if due {
            self.wanted = false;
            self.last = now;
        }
        due
    }
}

/// What a request leads to.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

impl ConsumerLoop {
    /// Takes over a consumer; call it on the thread that will run it.
    pub(crate) fn new(
        mut consumer: BaseConsumer<Callbacks>,
        mailbox: Arc<Mailbox>,
        lanes: Lanes,
        hooks: Hooks,
    ) -> Self {
        mailbox.attach(std::thread::current());
        let bell = Arc::clone(&mailbox);
        consumer.set_nonempty_callback(move || bell.wake());
        let now = Instant::now();
        Self {
            consumer: Arc::new(consumer),
            mailbox,
            lanes,
            deliveries: Deliveries::default(),
            hooks,
            waiting: Vec::new(),
            marks: Due::new(MARK_EVERY, now),
            tells: Due::new(TELL_EVERY, now),
            rechecks: Due::new(RECHECK_EVERY, now),
            refresh: Refresh::new(now),
            in_trouble: false,
        }
    }

    /// Runs until [`Request::Shutdown`] or a fatal error; the lanes have ended then, and the group has been left.
    pub(crate) fn run(mut self) -> Result<()> {
        let result = self.rounds();
        self.end();
        result
    }

    fn rounds(&mut self) -> Result<()> {
        loop {
            self.serve_notes()?;
            if self.serve_requests()? == Then::End {
                return Ok(());
            }
            self.serve_events()?;
            let quiet = self.deliver()?;
            self.serve_timers();
            if quiet && !self.consumer.context().any() {
                std::thread::park_timeout(PARK);
            }
        }
    }

    fn serve_notes(&mut self) -> Result<()> {
        while let Some(note) = self.consumer.context().next() {
            match note {
                Note::Assign(parts) => {
                    tracing::info!(partitions = parts.len(), "the group gives partitions");
                    self.kafka("assign", |c| c.incremental_assign(&TopicPartitionList::new()))?;
                    self.lanes.assign(parts, &mut self.hooks.spawn);
                }
                Note::Revoke { parts, lost } => {
                    tracing::info!(partitions = parts.len(), lost, "the group takes partitions");
                    self.revoke(&parts, (!lost).then_some(REVOKE_WAIT))?;
                }
            }
        }
        Ok(())
    }

    /// Gives partitions up; waits for their lanes as long as given, or not at all when the group has them already.
    fn revoke(&mut self, parts: &[Part], wait: Option<Duration>) -> Result<()> {
        let revoked = self.lanes.revoke(parts);
        let ids: HashSet<LaneId> = revoked.lanes.iter().map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.deliveries.end(*id));
        for (_, handle) in &revoked.lanes {
            handle.stop.cancel();
            if wait.is_none() {
                handle.abandon.cancel();
            }
        }
        if let Some(wait) = wait {
            self.wait_for(ids, wait);
            self.tell(&revoked.last_offsets());
        }
        let list = list(revoked.unassign.iter().map(|p| (p, Offset::Invalid)))?;
        self.kafka("unassign", |c| c.incremental_unassign(&list))
    }

    /// Waits for the end of lanes; other requests are kept for later.
    fn wait_for(&mut self, mut ids: HashSet<LaneId>, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            for request in self.mailbox.take() {
                match request {
                    Request::Ended { lane } if ids.remove(&lane) => {}
                    other => self.waiting.push(other),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if ids.is_empty() || left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        if !ids.is_empty() {
            tracing::warn!(
                lanes = ids.len(),
                "lanes given up before their batch in flight ended; the token protects it"
            );
        }
    }

    fn serve_requests(&mut self) -> Result<Then> {
        let mut requests = std::mem::take(&mut self.waiting);
        requests.extend(self.mailbox.take());
        let mut additions = Additions::default();
        let mut then = Then::GoOn;
        for request in requests {
            match request {
                Request::Position { lane, stream, offset } => {
                    let Some(place) = self.lanes.position(lane, stream, offset) else { continue };
                    if place.assigned && !additions.take_back(&place.part) {
                        self.unassign(&place.part)?;
                    }
                    self.deliveries.begin(lane, &self.consumer, &place.part, &self.mailbox)?;
                    additions.add(place.part, offset);
                    self.marks.wanted = true;
                }
                Request::Halt { lane } => {
                    if let Some(part) = self.lanes.halt(lane) {
                        if !additions.take_back(&part) {
                            self.unassign(&part)?;
                        }
                        self.deliveries.end(lane);
                    }
                }
                // It has woken the thread, which is what it is for: every round looks which lanes have room.
                Request::Resume => {}
                Request::Prove { lane, next_offset, answer } => reply(answer, self.prove(lane, next_offset)),
                Request::Ended { lane } => self.unexpected_end(lane)?,
                Request::Topics(topics) => {
                    self.subscribe(&topics)?;
                    self.refresh.ask(Instant::now());
                }
                Request::Refresh => self.refresh.ask(Instant::now()),
                // The rest is served too: at the end exactly what is assigned is taken out.
                Request::Shutdown => then = Then::End,
            }
        }
        let list = list(additions.iter().map(|(part, offset)| (part, Offset::Offset(offset))))?;
        if list.count() > 0 {
            self.kafka("assign", |c| c.incremental_assign(&list))?;
        }
        Ok(then)
    }

    fn unassign(&self, part: &Part) -> Result<()> {
        let list = list([(part, Offset::Invalid)])?;
        self.kafka("unassign", |c| c.incremental_unassign(&list))
    }

    fn unexpected_end(&mut self, lane: LaneId) -> Result<()> {
        let Some(part) = self.lanes.part(lane).cloned() else { return Ok(()) };
        // The others are stopped now; this one will not answer again.
        self.deliveries.end(lane);
        drop(self.lanes.revoke(std::slice::from_ref(&part)));
        let message = format!("the task of {}/{} ended by itself", part.topic, part.partition);
        Err(Error::new(Code::LaneFailed, message))
    }

    fn subscribe(&self, topics: &[String]) -> Result<()> {
        let patterns: Vec<&str> = topics.iter().map(String::as_str).collect();
        if patterns.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        self.kafka("subscribe", |c| c.subscribe(&patterns))
    }

    /// Serves what librdkafka has to say beside records: rebalances, errors. Records come here only if they were on their
    /// way before their partition had a queue of its own.
    fn serve_events(&mut self) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        for _ in 0..TURN {
            match consumer.poll(Duration::ZERO) {
                None => break,
                // A table that is mapped has no topic before its first row. A topic that lanes read and that goes is an error
                // in their own queues; what is said here is no reason for them to claim again.
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    tracing::debug!(%error, "a subscribed topic is not there yet");
                }
                Some(polled) => drop(self.polled(polled)?),
            }
            if consumer.context().any() {
                break;
            }
        }
        Ok(())
    }

    /// Gives every lane with records and room its turn; whether nothing was left that could be delivered.
    fn deliver(&mut self) -> Result<bool> {
        let mut quiet = true;
        for (lane, delivery) in self.deliveries.waiting() {
            if !self.lanes.has_room(lane) {
                continue;
            }
            // Before polling: what comes while the queue is polled to its end is noted again.
            delivery.take_notice();
            let mut left = TURN;
            let empty = loop {
                match delivery.poll() {
                    None => break true,
                    Some(polled) => {
                        let full = self.polled(polled)?;
                        left -= 1;
                        if full || left == 0 {
                            break false;
                        }
                    }
                }
            };
            self.lanes.flush(lane, empty);
            if !empty {
                delivery.note();
                quiet &= !self.lanes.has_room(lane);
            }
            if self.consumer.context().any() {
                return Ok(false);
            }
        }
        Ok(quiet)
    }

    /// Takes in what was polled; whether its lane is full now.
    fn polled(&mut self, polled: std::result::Result<BorrowedMessage<'_>, KafkaError>) -> Result<bool> {
        let full = match polled {
            Ok(message) => {
                self.marks.wanted = true;
                let (key, value) = (message.key().unwrap_or_default(), payload_of(&message));
                self.lanes.take(message.topic(), message.partition(), message.offset(), key, value)
            }
            Err(KafkaError::PartitionEOF(_)) => {
                self.marks.wanted = true;
                false
            }
            Err(error) => {
                self.trouble(error)?;
                false
            }
        };
        if self.in_trouble && self.marks.wanted {
            self.in_trouble = false;
            (self.hooks.report)(None);
        }
        Ok(full)
    }

    fn trouble(&mut self, error: KafkaError) -> Result<()> {
        if let Some((code, text)) = self.consumer.client().fatal_error() {
            return Err(Error::new(Code::KafkaUnavailable, format!("{code}: {text}")).with_source(error));
        }
        let code = error.rdkafka_error_code();
        let positions = [
            RDKafkaErrorCode::AutoOffsetReset,
            RDKafkaErrorCode::OffsetOutOfRange,
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::UnknownTopicId,
        ];
        if code.is_some_and(|code| positions.contains(&code)) {
            // It names no partition, and that partition stays silent from here on: every lane looks at its own, and
            // says so when its position is not in its topic any more.
            tracing::debug!(%error, "a position is doubtful; lanes look at theirs");
            self.rechecks.wanted = true;
        } else {
            tracing::debug!(%error, "poll");
            self.in_trouble = true;
            self.marks.wanted = false;
            (self.hooks.report)(Some(Error::new(Code::KafkaUnavailable, error.to_string()).with_source(error)));
        }
        Ok(())
    }

    fn serve_timers(&mut self) {
        let now = Instant::now();
        if self.marks.now(now) {
            self.mark();
        }
        self.tells.wanted = true;
        if self.tells.now(now) {
            let untold = self.lanes.untold();
            self.tell(&untold);
        }
        if self.rechecks.now(now) {
            self.lanes.recheck();
        }
        self.refresh.serve(now, &self.consumer);
    }

    fn mark(&mut self) {
        match self.consumer.position() {
            Ok(positions) => {
                for element in positions.elements() {
                    if let Offset::Offset(offset) = element.offset() {
                        self.lanes.mark(element.topic(), element.partition(), offset);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "positions"),
        }
    }

    /// Whether the group counts a lane's partition as ours: it takes an offset only from a member that it knows, in its
    /// present generation. Waits for the answer; the question is rare, and until it is answered nothing may be claimed.
    fn prove(&self, lane: LaneId, next_offset: i64) -> bool {
        let Some(part) = self.lanes.part(lane) else { return false };
        let committed = list([(part, Offset::Offset(next_offset))])
            .and_then(|list| self.kafka("commit", |c| c.commit(&list, CommitMode::Sync)));
        match committed {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(topic = part.topic, %error, "the group does not confirm a partition");
                false
            }
        }
    }

    /// Commits offsets to the group without waiting; librdkafka reports no outcome, and none is needed.
    fn tell(&self, offsets: &[(Part, i64)]) {
        if offsets.is_empty() {
            return;
        }
        let sent = list(offsets.iter().map(|(part, offset)| (part, Offset::Offset(*offset))))
            .and_then(|list| self.kafka("commit", |c| c.commit(&list, CommitMode::Async)));
        if let Err(error) = sent {
            tracing::debug!(%error, "offset commit");
        }
    }

    /// Stops the lanes, tells the group their last offsets and leaves it.
    fn end(mut self) {
        let parts = self.lanes.parts();
        let drain = self.hooks.drain;
        if let Err(error) = self.revoke(&parts, Some(drain)) {
            tracing::debug!(%error, "at the end");
        }
        self.consumer.context().close();
        self.refresh.end();
        let Self { consumer, .. } = self;
        close(consumer);
    }

    fn kafka(
        &self,
        what: &str,
        call: impl FnOnce(&BaseConsumer<Callbacks>) -> rdkafka::error::KafkaResult<()>,
    ) -> Result<()> {
        call(&self.consumer).map_err(|e| Error::new(Code::KafkaUnavailable, format!("{what}: {e}")).with_source(e))
    }
}

/// Leaves the group, so that the others need not wait for the session to end. librdkafka waits for the coordinator with that,
/// also for one that is away; beyond `CLOSE_WAIT` it does so without us.
fn close(consumer: Arc<BaseConsumer<Callbacks>>) {
    let (closing_now, closed) = mpsc::sync_channel::<()>(0);
    let closing = move || {
        drop(consumer);
        drop(closing_now); // nothing is ever sent: the end of the sender is the message
    };
    // Without a thread the consumer has been dropped, and so closed, right here.
    let spawned = std::thread::Builder::new().name("apply-close".into()).spawn(closing);
    if spawned.is_ok() && closed.recv_timeout(CLOSE_WAIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(
            "Kafka did not confirm the leave within {CLOSE_WAIT:?}; the group notices when the session ends"
        );
    }
}

fn reply(answer: oneshot::Sender<bool>, ours: bool) {
    if answer.send(ours).is_err() {
        tracing::debug!("the lane that asked has ended");
    }
}

fn list<'a>(parts: impl IntoIterator<Item = (&'a Part, Offset)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (part, offset) in parts {
        list.add_partition_offset(&part.topic, part.partition, offset)
            .map_err(|e| Error::new(Code::KafkaUnavailable, format!("{}/{}: {e}", part.topic, part.partition)))?;
    }
    Ok(list)
}
