//! The publisher: binlog events in, Kafka transactions out, on a thread of its own.
//!
//! Invariants:
//! * A source transaction is held until its end and then goes into one Kafka transaction as a whole; one that outgrows
//!   the memory budget gets a Kafka transaction of its own and is streamed into it.
//! * The position (`at`) moves only over source transactions whose rows are in the Kafka transaction that will carry it,
//!   or that have no rows to publish. It never passes what could not be read.
//! * Topics and schemas are made while no Kafka transaction is open, except for a table that first appears in the middle
//!   of a streamed one.
//!
//! Failure: the thread ends with an error or with [`Exit::Again`]; the runner drops it with its producer and starts anew
//! from the last committed checkpoint. When rows cannot be published although others before them in the same Kafka
//! transaction can, the stretch is repeated with a commit after every source transaction ([`Resume::careful_until`]),
//! so that everything before the culprit is out when the source stops.

mod barrier;
mod clock;
mod cut;
mod ddl;
mod emit;
mod group;
mod ordinal;
mod outbox;
mod plans;
mod savepoints;
mod xa;

use std::time::{Duration, Instant};

use schemas::checkpoint::Checkpoint;
use schemas::status::{SourceState, StatusBoard};
use schemas::{Code, Error, Reaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use clock::now_ms;
pub(crate) use group::RolledBack;
pub(crate) use outbox::{Outbox, Producers};
pub(crate) use plans::{Followed, Plans, Workshop, wanted};

use crate::binlog::channel::{Received, Receiver};
use crate::binlog::event::{Event, GtidEvent, QueryEvent, RawEvent};
use crate::binlog::payload::Payload;
use crate::binlog::statement::{self, Statement, Xa};
use crate::metrics::SourceMetrics;
use crate::options::Options;
use ddl::Verdict;
use group::Group;
use outbox::Origin;

/// How long the thread waits for an event before it looks whether it is to stop.
const TICK: Duration = Duration::from_millis(200);
/// Events between two such looks in a busy stream.
const EVENTS_A_LOOK: u32 = 256;

/// What an earlier attempt found out about the stretch to come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resume {
    /// Commit after every source transaction up to the one that starts at this ordinal.
    pub(crate) careful_until: Option<i64>,
    /// Writing did not succeed: stream the next source transaction that is not small, with the longer timeout.
    pub(crate) in_pieces: bool,
    /// Ranges of a streamed transaction that it rolls back itself.
    pub(crate) rolled_back: Option<RolledBack>,
}

impl Resume {
    /// Forgets what holds only for transactions by their ordinals, because others will have them.
    pub(crate) fn forget_stretch(&mut self) {
        *self = Self { in_pieces: self.in_pieces, ..Self::default() };
    }
}

/// Why a publisher ended without an error.
#[derive(Debug)]
pub(crate) enum Exit {
    /// It was asked to; everything read completely is committed.
    Stopped,
    /// The reader ended; its own result says why. Everything read completely is committed.
    ReaderGone,
    /// The stretch behind the last checkpoint has to be read again, knowing this.
    Again(Resume),
}

/// What moves the position and shows it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The position behind the last complete source transaction; at first the checkpoint to go on from.
    pub(crate) at: Checkpoint,
    /// The checkpoint that the session committed last; none before its first.
    pub(crate) committed: watch::Sender<Option<Checkpoint>>,
    /// Where the source's status is shown.
    pub(crate) board: StatusBoard,
    /// Name of the source.
    pub(crate) source: String,
    /// Counters.
    pub(crate) metrics: SourceMetrics,
}

/// The publisher of one source, for one unbroken stretch.
#[derive(Debug)]
pub(crate) struct Publisher {
    events: Receiver,
    outbox: Outbox,
    plans: Plans,
    progress: Progress,
    options: Options,
    resume: Resume,
    stop: CancellationToken,
    /// The transaction being read.
    group: Option<Group>,
    /// The binlog file being read, and the end of the last event in it.
    file: String,
    behind: u64,
    /// Whether `at` is ahead of the committed checkpoint.
    moved: bool,
    committed_at: Instant,
    /// Source transactions with rows and row events in the open Kafka transaction; time of the newest.
    open: Opened,
}

#[derive(Debug, Default, Clone, Copy)]
struct Opened {
    transactions: u64,
    rows: u64,
    newest: Option<i64>,
}

/// Why the loop is left early.
enum Halt {
    Failed(Error),
    Again(Resume),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type Step = Result<(), Halt>;

impl Publisher {
    /// A publisher that goes on from `progress.at`.
    pub(crate) fn new(
        events: Receiver,
        outbox: Outbox,
        plans: Plans,
        progress: Progress,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        let (file, behind) = (progress.at.file.clone(), progress.at.position);
        Self {
            events,
            outbox,
            plans,
            progress,
            options,
            resume: Resume::default(),
            stop,
            group: None,
            file,
            behind,
            moved: false,
            committed_at: Instant::now(),
            open: Opened::default(),
        }
    }

    /// With what an earlier attempt found out.
    #[must_use]
    pub(crate) fn resuming(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// Publishes until it is stopped, the reader ends, or something fails. Blocks.
    pub(crate) fn run(mut self) -> Result<Exit, Error> {
        match self.publish() {
            Ok(exit) => {
                // Open is now only what was streamed of a transaction that is not complete. Its timeout is long.
                self.outbox.abandon();
                Ok(exit)
            }
            Err(Halt::Again(resume)) => Ok(Exit::Again(resume)),
            Err(Halt::Failed(error)) => {
                if error.code().reaction() != Reaction::Retry {
                    self.outbox.abandon();
                }
                Err(error)
            }
        }
    }

    fn publish(&mut self) -> Result<Exit, Halt> {
        // The first checkpoint of a session says who leads, and where a new source begins, before any row.
        self.commit()?;
        let mut unlooked = 0;
        loop {
            unlooked += 1;
            if unlooked >= EVENTS_A_LOOK {
                unlooked = 0;
                if self.stop.is_cancelled() {
                    break;
                }
            }
            let received = match self.events.try_recv() {
                Received::Empty => {
                    unlooked = EVENTS_A_LOOK;
                    self.events.recv_timeout(self.patience())
                }
                received => received,
            };
            match received {
                Received::Event(raw) => self.handle(raw)?,
                Received::Empty => self.idle()?,
                Received::Closed => {
                    self.commit_if_moved()?;
                    return Ok(Exit::ReaderGone);
                }
            }
        }
        self.commit_if_moved()?;
        Ok(Exit::Stopped)
    }

    /// Whether rows of the transaction being read are in the open Kafka transaction.
    fn streams(&self) -> bool {
        self.group.as_ref().is_some_and(Group::is_streamed)
    }

    fn patience(&self) -> Duration {
        let open = if self.streams() { None } else { self.outbox.patience(Instant::now()) };
        let due = self.options.checkpoint_interval.get().saturating_sub(self.committed_at.elapsed());
        let due = if self.moved { due } else { TICK };
        open.unwrap_or(due).min(TICK)
    }

    /// Nothing came for as long as `patience` said.
    fn idle(&mut self) -> Step {
        if self.streams() {
            self.outbox.serve()?;
        } else if self.outbox.is_open() {
            self.commit()?;
        } else {
            self.outbox.serve()?;
            self.commit_if_due()?;
        }
        Ok(())
    }

    fn handle(&mut self, raw: RawEvent) -> Step {
        let start = std::mem::replace(&mut self.behind, raw.log_pos);
        self.event(raw, start)
    }

    /// An event that starts at `start`, or that stands in a compressed one which does.
    fn event(&mut self, raw: RawEvent, start: u64) -> Step {
        let end = raw.log_pos;
        let raw = raw.plain().map_err(|e| self.refuse(e))?;
        match raw.parse().map_err(|e| self.refuse(e))? {
            Event::Gtid(gtid) => self.begin(&gtid, &raw),
            Event::TableMap { table_id, .. } => self.table_map(table_id, &raw),
            Event::Rows(rows) => {
                let (table_id, bytes, partial) = (rows.table_id, rows.rows.len(), rows.partial);
                self.check_whole(table_id, partial)?;
                self.rows(raw, start, table_id, bytes)
            }
            Event::Payload(payload) => self.payload(payload, start),
            Event::Query(query) => self.query(&query, &raw, start),
            Event::Xid(_) => self.end(end),
            Event::XaPrepare { one_phase } => self.xa_prepare(one_phase, &raw),
            Event::Rotate { file, position } => {
                self.rotate(file, position, raw.is_artificial());
                Ok(())
            }
            Event::Unsupported { type_name } => {
                let message = format!("an event of type {type_name}");
                Err(self.refuse(Error::new(Code::EventUnsupported, message)))
            }
            Event::FormatDescription { restarted: true, .. } => self.restarted(),
            Event::GtidList | Event::FormatDescription { .. } | Event::Heartbeat | Event::Ignorable => Ok(()),
        }
    }

    /// Another file. A position at the old one's end moves along: a server without changes may purge the old one, and
    /// nothing of it would be missed. One that is not of the file that ends here stays: its file holds what was skipped.
    fn rotate(&mut self, file: &str, position: u64, artificial: bool) {
        let at = &mut self.progress.at;
        if !artificial && self.group.is_none() && at.file == self.file {
            file.clone_into(&mut at.file);
            at.position = position;
            self.moved = true;
        }
        file.clone_into(&mut self.file);
        self.behind = position;
    }

    fn begin(&mut self, gtid: &GtidEvent, raw: &RawEvent) -> Step {
        if let Some(open) = &self.group {
            let message = format!("a transaction begins before {} has ended", open.name());
            return Err(self.refuse(Error::new(Code::BinlogCorrupt, message)));
        }
        self.plans.trim();
        let mut group =
            Group::new(gtid.gtid, gtid.time_ms(raw), self.progress.at.ordinal, self.resume.rolled_back.as_ref());
        group.server_id = raw.server_id;
        group.standalone = gtid.standalone;
        self.group = Some(group);
        Ok(())
    }

    /// The events of a compressed transaction, in the place of the one that holds them.
    fn payload(&mut self, payload: Payload<'_>, start: u64) -> Step {
        for event in payload.events().map_err(|e| self.refuse(e))? {
            let event = event.map_err(|e| self.refuse(e))?;
            if self.group.is_none() {
                let message = "a compressed transaction goes on behind its end, or has no GTID before it";
                return Err(self.refuse(Error::new(Code::BinlogCorrupt, message)));
            }
            self.event(event, start)?;
        }
        let Some(open) = &self.group else { return Ok(()) };
        let message = format!("the compressed transaction {} has no commit", open.name());
        Err(self.refuse(Error::new(Code::BinlogCorrupt, message)))
    }

    /// Rows of a followed table must be whole: changes of JSON documents alone cannot be published.
    fn check_whole(&mut self, table_id: u64, partial: bool) -> Step {
        if !partial || matches!(self.plans.get(table_id), Ok(None)) {
            return Ok(());
        }
        let message = "a row with a part of a JSON document: set binlog_row_value_options='' at the server";
        Err(self.refuse(Error::new(Code::EventUnsupported, message)))
    }

    /// The server has started anew: a transaction whose end it could not write any more was rolled back.
    fn restarted(&mut self) -> Step {
        let Some(group) = self.group.take() else { return Ok(()) };
        tracing::warn!(
            source = self.progress.source,
            gtid = group.name(),
            "the server ended in the middle of a transaction; it is left out"
        );
        match group.cut_off() {
            None => Ok(()),
            Some(rolled_back) => Err(Halt::Again(Resume { rolled_back: Some(rolled_back), ..self.resume.clone() })),
        }
    }

    fn table_map(&mut self, table_id: u64, raw: &RawEvent) -> Step {
        if self.plans.knows(table_id, raw) {
            return Ok(());
        }
        if self.outbox.is_open() && !self.streams() {
            self.commit()?;
        }
        self.plans.map(table_id, raw).map_err(|e| self.refuse(e))
    }

    fn rows(&mut self, raw: RawEvent, start: u64, table_id: u64, bytes: usize) -> Step {
        if bytes == 0 {
            return Ok(()); // only marks the end of a statement
        }
        let Some(group) = &mut self.group else {
            return Err(self.refuse(Error::new(Code::BinlogCorrupt, "rows outside a transaction")));
        };
        let plan = match self.plans.get(table_id) {
            Ok(plan) => plan,
            Err(error) => return Err(self.refuse(error)),
        };
        group.take(raw, start, bytes, plan);
        if group.is_streamed() {
            return self.stream();
        }
        if group.bytes() > budget(self.options.memory.as_usize(), &self.resume) {
            return self.start_streaming();
        }
        // A transaction that takes long to arrive does not hold back those before it.
        if self.outbox.patience(Instant::now()).is_some_and(|left| left.is_zero()) {
            self.commit()?;
        }
        Ok(())
    }

    fn query(&mut self, query: &QueryEvent<'_>, raw: &RawEvent, start: u64) -> Step {
        let end = raw.log_pos;
        let statement = self.plans.spelled(statement::classify(query, self.progress.at.server.flavor));
        let Some(group) = &mut self.group else {
            let error = Error::new(Code::EventUnsupported, "a statement without a GTID before it");
            return Err(self.refuse(error));
        };
        let begins = matches!(statement, Statement::Begin | Statement::Xa(Xa::Start));
        let standalone = *group.standalone.get_or_insert(!begins);
        let done = match &statement {
            Statement::Commit => return self.end(end),
            Statement::Rollback => {
                group.rollback();
                return self.end(end);
            }
            Statement::Savepoint(name) => {
                group.savepoint(name);
                Ok(())
            }
            Statement::RollbackTo(name) => group.rollback_to(name),
            Statement::Xa(step @ (Xa::Commit | Xa::Rollback)) => xa::decide(&mut self.progress.at, *step, query.sql),
            other => match ddl::judge(other, self.plans.followed(), standalone && !raw.is_of_one_session()) {
                Ok(Verdict::Pass) => Ok(()),
                Ok(Verdict::Truncate(table)) => return self.truncate(table, (start, end)),
                Err(error) => Err(error),
            },
        };
        done.map_err(|e| self.refuse(e))?;
        if standalone { self.end(end) } else { Ok(()) }
    }

    fn xa_prepare(&mut self, one_phase: bool, raw: &RawEvent) -> Step {
        if !one_phase && self.group.as_ref().is_some_and(Group::has_rows) {
            let message = "an XA transaction of followed tables is prepared";
            return Err(self.refuse(Error::new(Code::EventUnsupported, message)));
        }
        if !one_phase {
            let name = xa::of_event(&raw.body).map_err(|e| self.refuse(e))?;
            self.progress.at.prepared.push(name);
        }
        self.end(raw.log_pos)
    }

    /// The transaction's end: its rows go out, the position moves behind it.
    fn end(&mut self, end: u64) -> Step {
        let Some(mut group) = self.group.take() else {
            return Err(self.refuse(Error::new(Code::BinlogCorrupt, "a transaction ends that did not begin")));
        };
        if let Some(rolled_back) = group.void() {
            tracing::info!(
                source = self.progress.source,
                gtid = group.name(),
                "a streamed transaction rolled rows back; it is read again"
            );
            return Err(Halt::Again(Resume { rolled_back: Some(rolled_back), ..self.resume.clone() }));
        }
        let (rows, streamed) = (group.has_rows(), group.is_streamed());
        let careful = self.resume.careful_until.is_some_and(|until| group.base() <= until);
        if rows && !streamed {
            if careful && self.outbox.is_open() {
                self.commit()?;
            }
            self.send(&mut group)?;
        }
        if rows {
            self.open.transactions += 1;
            self.open.newest = Some(group.time_ms);
        }
        self.pass(&group, end);
        if streamed {
            self.commit()?;
            self.outbox.reconnect(self.options.transaction_timeout.get())?;
            self.resume.in_pieces = false;
        } else if (careful && rows) || self.outbox.is_full(Instant::now()) {
            self.commit()?;
        } else if !self.outbox.is_open() {
            self.commit_if_due()?;
        }
        Ok(())
    }

    /// The position moves behind a transaction.
    fn pass(&mut self, group: &Group, end: u64) {
        let at = &mut self.progress.at;
        if let Some(gtid) = group.gtid {
            at.gtid.advance(gtid);
        }
        self.file.clone_into(&mut at.file);
        at.position = end;
        at.ordinal = group.next_base();
        self.moved = true;
    }

    /// The rows held so far go into the Kafka transaction.
    fn send(&mut self, group: &mut Group) -> Step {
        let rows = group.drain();
        let origin = Origin {
            base: group.base(),
            gtid: group.gtid,
            server_id: group.server_id,
            time_ms: group.time_ms,
            file: &self.file,
        };
        let alone = self.open.transactions == 0;
        self.outbox.publish(origin, &rows).map_err(|e| self.unpublishable(e, group.base(), alone))
    }

    fn start_streaming(&mut self) -> Step {
        self.commit_if_moved()?;
        self.outbox.reconnect(self.options.oversize_timeout.get())?;
        if let Some(group) = &mut self.group {
            tracing::info!(
                source = self.progress.source,
                gtid = group.name(),
                "a transaction above the memory budget is streamed"
            );
            group.stream();
        }
        self.stream()
    }

    fn stream(&mut self) -> Step {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        let sent = self.send(&mut group);
        self.group = Some(group);
        sent
    }

    /// Rows that cannot be published: final when nothing else is in the Kafka transaction.
    fn unpublishable(&self, error: Error, base: i64, alone: bool) -> Halt {
        if error.code().reaction() != Reaction::Stop || alone {
            return Halt::Failed(error);
        }
        tracing::info!(source = self.progress.source, %error, "publishing again, one transaction at a time");
        Halt::Again(Resume { careful_until: Some(base), ..self.resume.clone() })
    }

    /// Stops before what cannot be read: what came before it is committed first.
    fn refuse(&mut self, error: Error) -> Halt {
        let stops = error.code().reaction() == Reaction::Stop && !self.streams();
        if stops && let Err(halt) = self.commit_if_moved() {
            return halt;
        }
        let at = &self.progress.at;
        let message = format!("{} (behind GTID {}, in {} before {})", error.message(), at.gtid, self.file, self.behind);
        Halt::Failed(Error::new(error.code(), message).with_source(error))
    }

    fn commit_if_due(&mut self) -> Step {
        let due = self.committed_at.elapsed() >= self.options.checkpoint_interval.get();
        if due { self.commit_if_moved() } else { Ok(()) }
    }

    /// Commits what is open, or the position alone when it has moved. Nothing while a transaction is being streamed:
    /// what is open is not complete then.
    fn commit_if_moved(&mut self) -> Step {
        if (self.moved || self.outbox.is_open()) && !self.streams() { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Step {
        self.progress.at.time = now_ms();
        let alone = self.open.transactions <= 1;
        let committed = self.outbox.commit(&self.progress.at);
        self.open.rows = committed.map_err(|e| self.unpublishable(e, self.progress.at.ordinal, alone))?;
        self.moved = false;
        self.committed_at = Instant::now();
        let open = std::mem::take(&mut self.open);
        self.progress.show(open);
        Ok(())
    }
}

/// Bytes of a source transaction that are held back until its end. What could not be written within the usual timeout,
/// because the brokers are slow, would fail again as a whole.
fn budget(memory: usize, resume: &Resume) -> usize {
    if resume.in_pieces { memory / 32 } else { memory }
}

impl Progress {
    /// Tells everybody about the checkpoint that was just committed.
    fn show(&self, open: Opened) {
        let lag_ms = open.newest.map(|time_ms| self.at.time - time_ms);
        self.metrics.commits.inc();
        self.metrics.transactions.inc_by(open.transactions);
        if let Some(lag_ms) = lag_ms {
            self.metrics.lag.set(lag_ms as f64 / 1000.0);
        }
        self.board.source(&self.source, |status| {
            status.state = SourceState::Running;
            status.error = None;
            status.epoch = self.at.epoch;
            status.gtid.clone_from(&self.at.gtid);
            status.file.clone_from(&self.at.file);
            status.position = self.at.position;
            status.ordinal = self.at.ordinal;
            status.lag_ms = lag_ms.or(status.lag_ms);
            status.rows += open.rows;
        });
        self.committed.send_replace(Some(self.at.clone()));
    }
}
