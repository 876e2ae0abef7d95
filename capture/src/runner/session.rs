//! One session: from a new producer to whatever ends its publisher.
//!
//! Order at the start: the source answers; the lease is ours; `init_transactions` fences every earlier producer; a fenced write shows that
//! the lease is still ours, so a worker that was frozen cannot go on from here; only then is the checkpoint read, for
//! now nobody else can write one.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use coordination::{Lease, Taken};
use schemas::checkpoint::Checkpoint;
use schemas::documents::Source;
use schemas::request::SourceAction;
use schemas::{Code, Error, Reaction, Result, names};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::growth::Caretaker;
use super::requests::{Answered, Requests};
use super::{Runner, lost};
use crate::binlog::channel::channel;
use crate::binlog::place::{Entry, Place, entry, new_start};
use crate::binlog::reader::{ReadOptions, read};
use crate::binlog::server::{SourceServer, connect};
use crate::kafka::MessageSizes;
use crate::kafka::checkpoints::{Recovered, recover};
use crate::kafka::topics::{Topics, Wanted};
use crate::kafka::watch::{InUse, replaced};
use crate::publisher::{Exit, Followed, Outbox, Plans, Producers, Progress, Publisher, Resume, Workshop};

/// How long the last mirror of the position may take at the end.
const LAST_MIRROR: Duration = Duration::from_secs(1);

/// A session about to begin.
pub(super) struct Session<'a> {
    runner: &'a Runner,
    lease: &'a Lease,
    shutdown: &'a CancellationToken,
}

/// What runs during a session.
struct Running {
    publisher: oneshot::Receiver<Result<Exit>>,
    reader: JoinHandle<Result<()>>,
    committed: watch::Receiver<Option<Checkpoint>>,
    stop: CancellationToken,
    topics: Topics,
    used: InUse,
}

impl<'a> Session<'a> {
    pub(super) fn new(runner: &'a Runner, lease: &'a Lease, shutdown: &'a CancellationToken) -> Self {
        Self { runner, lease, shutdown }
    }

    /// Runs the session to its end.
    pub(super) async fn run(&self, resume: &mut Resume, requests: &mut Requests) -> Result<Exit> {
        let started = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Ok(Exit::Stopped),
            started = self.start(resume) => started,
        };
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                if error.code().reaction() != Reaction::Retry {
                    self.runner.refuse_request(&error).await;
                }
                return Err(error);
            }
        };
        self.attend(started, requests).await
    }

    async fn start(&self, resume: &mut Resume) -> Result<Running> {
        let Runner { site, source, .. } = self.runner;
        let name = source.name.as_str();
        let server = connect(source).await?;
        let producers = Producers {
            kafka: site.kafka.clone(),
            options: site.options.clone(),
            transactional_id: names::transactional_id(&site.cluster, name),
            sizes: sizes(source),
        };
        let timeout = site.options.transaction_timeout.get();
        let maker = producers.clone();
        // Before: a worker that does not know whether it leads must not fence the one that does, again at every attempt.
        self.lease.write_fenced(&names::lease_path(name), site.worker.as_bytes()).await?;
        let producer = blocking(move || maker.connect(timeout)).await?;
        self.lease.write_fenced(&names::lease_path(name), site.worker.as_bytes()).await?;
        let topic = names::checkpoint_topic(&site.cluster, name);
        let topics = Topics::new(&site.kafka)?;
        topics.ensure(&topic, &Wanted::checkpoints(source.topics.replication.map_or(-1, i32::from))).await?;
        let (kafka, of) = (site.kafka.clone(), topic.clone());
        let recovered = blocking(move || recover(&kafka, &of)).await?;
        let caretaker = Caretaker { runner: self.runner, lease: self.lease, topics: &topics };
        let answered = self.runner.take_request(recovered.checkpoint.as_ref(), &server, &caretaker).await?;
        let (at, from, taken) = match answered {
            Answered::Nothing => {
                let (at, from) = self.starting_point(recovered, &server, &topic).await?;
                (at, from, None)
            }
            Answered::Repartition(taken) => {
                let (at, from) = self.starting_point(recovered, &server, &topic).await?;
                (at, from, Some(taken))
            }
            Answered::Reset(at, taken) => {
                // What was found out holds for the stretch that was read; another now begins at the same ordinal.
                resume.forget_stretch();
                let at = Checkpoint { epoch: at.epoch.max(recovered.last_epoch() + 1), ..*at };
                let from = entry(&server, source.position, &at).await?;
                (at, from, Some(taken))
            }
        };
        tracing::info!(source = name, epoch = at.epoch, gtid = %at.gtid, %from, ordinal = at.ordinal, server = server.address, "capture starts");
        let outbox = Outbox::new(producers, producer, topic, source.prefix(), &at);
        let (outbox, at) = self.settle(&caretaker, outbox, (at, taken), resume).await?;
        self.spawn(server, topics, outbox, (at, from), resume.clone())
    }

    /// Commits what was asked, ends a repartition that was begun, and answers. Where to go on from.
    async fn settle(
        &self,
        caretaker: &Caretaker<'_>,
        mut outbox: Outbox,
        (at, taken): (Checkpoint, Option<Taken<SourceAction>>),
        resume: &mut Resume,
    ) -> Result<(Outbox, Checkpoint)> {
        let resets = |taken: &Taken<SourceAction>| matches!(taken.request.action, SourceAction::Reset { .. });
        if let Some(taken) = taken.as_ref().filter(|taken| resets(taken)) {
            // Committed before it is answered: whoever comes next finds the request's id in the checkpoint.
            let reset = at.clone();
            outbox = blocking(move || outbox.commit(&reset).map(|_| outbox)).await?;
            self.runner.done(taken, &at).await?;
        }
        let before = at.ordinal;
        let (outbox, at, refused) = caretaker.end(outbox, at).await?;
        if at.ordinal != before {
            // Ordinals behind the barrier are others.
            resume.forget_stretch();
        }
        if let Some(taken) = taken.as_ref().filter(|taken| !resets(taken)) {
            match refused {
                None => self.runner.done(taken, &at).await?,
                Some(error) => self.runner.refuse(taken, &error).await?,
            }
        }
        Ok((outbox, at))
    }

    /// The last committed checkpoint under a new epoch, or the document's `start` for a source that has none.
    async fn starting_point(
        &self,
        recovered: Recovered,
        server: &SourceServer,
        topic: &str,
    ) -> Result<(Checkpoint, Entry)> {
        let source = &self.runner.source;
        let epoch = recovered.last_epoch() + 1;
        let identity = server.identity();
        if let Some(begin) = &recovered.unfinished {
            tracing::warn!(
                source = %source.name,
                epoch = begin.epoch,
                "a transaction was committed without its checkpoint, after its producer was given up; its rows are published again with the same ordinals"
            );
        }
        if let Some(last) = recovered.checkpoint {
            let from = entry(server, source.position, &last).await?;
            let mut at = Checkpoint { epoch, ..last };
            if !at.server.is_same(&identity) {
                tracing::info!(source = %source.name, before = %at.server, now = %identity, "the source goes on at another server");
                // Files of the other server mean nothing here.
                (at.file, at.position) = (String::new(), 0);
            }
            at.server = identity;
            return Ok((at, from));
        }
        if let Some(mirror) = self.runner.site.coordination.read_position(source.name.as_str()).await? {
            let message = format!("ZooKeeper mirrors GTID {} but {topic} holds no checkpoint", mirror.gtid);
            return Err(Error::new(Code::CheckpointMissing, message));
        }
        let Place { gtid, file, position } = new_start(server, &source.start).await?;
        let mut at = Checkpoint { epoch, file, position, ..Checkpoint::new(identity, gtid) };
        // Appliers may know the source from before it was purged: its numbers go on above what they have seen.
        if let Some(before) = self.runner.site.coordination.read_purged(source.name.as_str()).await? {
            at.epoch = epoch.max(before.epoch + 1);
            (at.generation, at.ordinal) = (before.generation + 1, before.ordinal);
        }
        let from = entry(server, source.position, &at).await?;
        Ok((at, from))
    }

    /// Starts the reader's task and the publisher's thread.
    fn spawn(
        &self,
        server: SourceServer,
        topics: Topics,
        outbox: Outbox,
        (at, from): (Checkpoint, Entry),
        resume: Resume,
    ) -> Result<Running> {
        let Runner { site, source, own, metrics } = self.runner;
        let stop = self.shutdown.child_token();
        let (sender, events) = channel(site.options.read_ahead.as_usize());
        let reading = ReadOptions { heartbeat: site.options.heartbeat.get(), ..ReadOptions::default() };
        let (reading_server, reading_stop) = (server.clone(), stop.clone());
        let used = InUse::default();
        let plans = Plans::new(Workshop {
            followed: Followed { source: Arc::clone(source), own: Arc::clone(own) },
            server,
            schemas: site.coordination.schemas(),
            coordination: site.coordination.clone(),
            topics: topics.clone(),
            used: used.clone(),
            metrics: metrics.clone(),
            runtime: tokio::runtime::Handle::current(),
        });
        let (committed, watched) = watch::channel(None);
        let source = source.name.to_string();
        let progress = Progress { at, committed, board: site.board.clone(), source, metrics: metrics.clone() };
        let options = site.options.clone();
        let work = Publisher::new(events, outbox, plans, progress, options, stop.clone()).resuming(resume);
        let publisher = publisher(work, self.runner.source.name.as_str())?;
        let reader = tokio::spawn(async move { read(&reading_server, &from, &reading, sender, reading_stop).await });
        Ok(Running { publisher, reader, committed: watched, stop, topics, used })
    }

    /// Waits for the end, mirroring the position meanwhile.
    async fn attend(&self, running: Running, requests: &mut Requests) -> Result<Exit> {
        let Running { mut publisher, reader, committed, stop, topics, used } = running;
        let name = self.runner.source.name.as_str();
        let (mut asked, mut wrong) = (false, None);
        let ended = tokio::select! {
            biased;
            ended = &mut publisher => Some(ended),
            () = self.shutdown.cancelled() => None,
            () = lost(self.lease) => None,
            () = self.runner.asked(requests) => {
                asked = true;
                None
            }
            error = replaced(&topics, name, &used) => {
                wrong = Some(error);
                None
            }
            () = self.mirror(committed.clone()) => None,
        };
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => {
                let limit = self.runner.site.options.shutdown_timeout.get();
                match tokio::time::timeout(limit, publisher).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        // Its producer is fenced by the next session, here or elsewhere.
                        tracing::warn!(
                            source = name,
                            "the open Kafka transaction did not end in {limit:?}; it is left"
                        );
                        return wrong.map_or(Ok(Exit::Stopped), Err);
                    }
                }
            }
        };
        let read = reader.await.unwrap_or_else(|e| Err(broken("the binlog reader", &e.to_string())));
        let last = committed.borrow().clone();
        // A session that committed nothing has nothing to mirror: of a new source the topic would hold no checkpoint.
        if let Some(last) = last {
            self.mirror_last(&last).await;
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        match ended.unwrap_or_else(|_| Err(broken("the publisher's thread", "it panicked")))? {
            // The next session carries out what was asked.
            Exit::Stopped | Exit::ReaderGone if asked => Ok(Exit::Again(Resume::default())),
            Exit::ReaderGone => {
                read?;
                Err(Error::new(Code::SourceDisconnected, "the binlog reader ended"))
            }
            exit => Ok(exit),
        }
    }

    /// Mirrors the committed position to ZooKeeper, as often as configured; never ends. An outage stops nothing.
    async fn mirror(&self, mut committed: watch::Receiver<Option<Checkpoint>>) {
        let mut ticks = tokio::time::interval(self.runner.site.options.checkpoint_interval.get());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            if committed.changed().await.is_err() {
                return std::future::pending().await;
            }
            let Some(checkpoint) = committed.borrow_and_update().clone() else { continue };
            let written = self.write(&checkpoint).await;
            if let (Err(error), false) = (&written, failing) {
                tracing::warn!(source = %self.runner.source.name, %error, "the position is not mirrored to ZooKeeper");
            }
            failing = written.is_err();
            if failing {
                committed.mark_changed();
            }
        }
    }

    async fn mirror_last(&self, checkpoint: &Checkpoint) {
        match tokio::time::timeout(LAST_MIRROR, self.write(checkpoint)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(source = %self.runner.source.name, %error, "the last position was not mirrored")
            }
            Err(_) => tracing::debug!(source = %self.runner.source.name, "the last position was not mirrored in time"),
        }
    }

    async fn write(&self, checkpoint: &Checkpoint) -> Result<()> {
        let name = self.runner.source.name.as_str();
        self.runner.site.coordination.write_position(self.lease, name, checkpoint).await
    }
}

/// The limits of a source's topics, overrides included.
fn sizes(source: &Source) -> MessageSizes {
    let largest = source.max_message();
    let overrides = source.topics.overrides.iter().filter_map(|o| o.max_message);
    let smallest = overrides.fold(source.topics.max_message.unwrap_or(largest), Ord::min);
    MessageSizes { largest: largest.get(), smallest: smallest.get() }
}

/// The publisher on a thread of its own; dropping the receiver does not stop it, the token does.
fn publisher(publisher: Publisher, name: &str) -> Result<oneshot::Receiver<Result<Exit>>> {
    let (done, ended) = oneshot::channel();
    let body = move || {
        let result = publisher.run();
        // Nobody listens any more after a shutdown that did not wait.
        drop(done.send(result));
    };
    let spawned = thread::Builder::new().name(format!("capture-{name}")).spawn(body);
    spawned.map_err(|e| broken("the publisher's thread", &e.to_string()))?;
    Ok(ended)
}

/// Runs something that blocks for a round trip or two.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(broken("a Kafka call", &e.to_string())))
}

fn broken(what: &str, why: &str) -> Error {
    Error::new(Code::CaptureFailed, format!("{what} ended unexpectedly: {why}"))
}
