//! The connections of a pipeline to its target: at most `writers`, shared by its lanes.
//!
//! A lane holds a connection for one batch or one claim. The server ends a session that is idle for a few seconds, so
//! that the locks of a frozen worker go; a keeper pings the idle ones. One that was not pinged for long, because the
//! worker was frozen or the keeper was held up, is tried before it is used, so that no lane meets a closed connection for
//! that reason. A connection is given back only after a step that left it clean; whatever else happens to it, it is
//! closed, which rolls back what it had open.
//!
//! Who gets a connection is decided by table ([`turns`]); a connection with an open transaction may go from lane to lane
//! ([`group`]).

pub(crate) mod group;
pub(crate) mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemas::documents::Target;
use schemas::server::ServerAccess;
use schemas::{Code, Error};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::pool::group::{Group, Size, Told};
use crate::pool::turns::Turns;
use crate::target::connection::{IDLE_LIMIT, Session};
use crate::target::failure::Failure;
use crate::target::progress::ensure_schema;

/// A connection that had an answer within this time is used as it is. The keeper comes by twice as often.
const FRESH: Duration = Duration::from_millis(IDLE_LIMIT.as_millis() as u64 * 2 / 3);
/// How long a ping may take.
const PING_DEADLINE: Duration = Duration::from_secs(1);

/// The connections.
#[derive(Debug)]
pub(crate) struct Pool {
    target: Target,
    writers: u32,
    /// Whether lanes may share a transaction.
    groups: bool,
    turns: Mutex<Turns<oneshot::Sender<Grant>>>,
    idle: Mutex<Vec<Idle>>,
    /// Whether the progress table is known to be there.
    ready: AtomicBool,
}

/// A connection that nobody uses, and when it last had an answer.
#[derive(Debug)]
struct Idle {
    session: Session,
    since: Instant,
}

impl Idle {
    fn new(session: Session) -> Self {
        Self { session, since: Instant::now() }
    }
}

/// The right to a connection. Dropped, it goes to the next who waits.
#[derive(Debug)]
struct Permit {
    pool: Arc<Pool>,
    table: Arc<str>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = self.pool.turns.lock().give(&self.table);
        if let Some((table, waiter)) = next {
            // Not taken, it is dropped and goes to the one after.
            drop(waiter.send(Grant::Permit(Self { pool: Arc::clone(&self.pool), table })));
        }
    }
}

/// What one who waits is given.
#[derive(Debug)]
enum Grant {
    /// The right to a connection.
    Permit(Permit),
    /// A connection with a transaction of others.
    Open(Box<Pooled>),
}

/// A place among those who wait; who leaves it passes on what was given meanwhile.
struct Place<'p> {
    pool: &'p Pool,
    table: &'p Arc<str>,
    ticket: u64,
    grant: oneshot::Receiver<Grant>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.turns.lock().leave(self.table, self.ticket);
        self.grant.close();
        if let Ok(Grant::Open(pooled)) = self.grant.try_recv() {
            // Without one who takes it, the connection is dropped, and the lanes in it claim again.
            drop(pooled.pass_on());
        }
    }
}

/// A connection in use. Dropped, it is closed, and lanes that have a part in its transaction are told nothing; see
/// [`Pooled::give_back`].
#[derive(Debug)]
pub(crate) struct Pooled {
    session: Session,
    /// A transaction is open with parts of other lanes in it.
    group: Option<Group>,
    permit: Permit,
}

/// What became of a connection that was to go on to the next lane.
#[derive(Debug)]
pub(crate) enum Onward {
    /// Another lane has it; the answer comes when the transaction has ended.
    Gone(oneshot::Receiver<Told>),
    /// The transaction is to be ended here.
    Back(Pooled),
}

impl Pool {
    /// A pool that connects when a connection is needed; `groups`: lanes may share a transaction.
    pub(crate) fn new(target: Target, writers: u32, groups: bool) -> Arc<Self> {
        Arc::new(Self {
            target,
            writers,
            groups,
            turns: Mutex::new(Turns::new(writers.max(1) as usize)),
            idle: Mutex::default(),
            ready: AtomicBool::new(false),
        })
    }

    /// Whether it is what these documents ask for.
    pub(crate) fn fits(&self, target: &Target, writers: u32) -> bool {
        self.target == *target && self.writers == writers
    }

    /// The schema of the progress table.
    pub(crate) fn schema(&self) -> &str {
        &self.target.schema
    }

    /// Waits for one of the connections and makes it when none is idle; `table` is whose turn it is.
    ///
    /// # Errors
    /// `OT5001` when the target cannot be reached, `OT1003` when the password's reference leads nowhere, what the
    /// creation of the progress table says.
    pub(crate) async fn acquire(self: &Arc<Self>, table: &Arc<str>) -> Result<Pooled, Error> {
        self.enter(table, false).await
    }

    /// The same, but the connection may come with a transaction that has parts of other lanes: [`Pooled::is_open`]. Add
    /// one and end it or give it on, or end it before anything else; wait for nothing meanwhile.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub(crate) async fn join(self: &Arc<Self>, table: &Arc<str>) -> Result<Pooled, Error> {
        self.enter(table, self.groups).await
    }

    async fn enter(self: &Arc<Self>, table: &Arc<str>, joins: bool) -> Result<Pooled, Error> {
        let permit = match self.turn(table, joins).await? {
            Grant::Open(pooled) => return Ok(*pooled),
            Grant::Permit(permit) => permit,
        };
        let mut session = match self.idle_session().await {
            Some(session) => session,
            None => {
                let options = ServerAccess::from(&self.target).options()?;
                Session::connect(&options).await.map_err(|f: Failure| f.error)?
            }
        };
        if !self.ready.load(Ordering::Relaxed) {
            ensure_schema(&mut session, &self.target.schema).await.map_err(|f| f.error)?;
            self.ready.store(true, Ordering::Relaxed);
        }
        Ok(Pooled { session, group: None, permit })
    }

    async fn turn(self: &Arc<Self>, table: &Arc<str>, joins: bool) -> Result<Grant, Error> {
        let mut place = {
            let mut turns = self.turns.lock();
            if turns.take(table) {
                return Ok(Grant::Permit(Permit { pool: Arc::clone(self), table: Arc::clone(table) }));
            }
            let (sender, grant) = oneshot::channel();
            Place { pool: self, table, ticket: turns.wait(table, joins, sender), grant }
        };
        let closed = |e| Error::new(Code::TargetUnreachable, "the pool is closed").with_source(e);
        (&mut place.grant).await.map_err(closed)
    }

    /// Makes the next lane look whether the progress table is there, and create it if not: somebody may have dropped it.
    pub(crate) fn look_again(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    /// The idle connection that was used last; those that the server may have closed are tried first.
    async fn idle_session(&self) -> Option<Session> {
        loop {
            let Idle { mut session, since } = self.idle.lock().pop()?;
            if since.elapsed() < FRESH || ping(&mut session).await {
                return Some(session);
            }
            tracing::debug!("an idle connection was closed");
        }
    }

    /// Keeps idle connections alive until `stop`, then closes them.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(IDLE_LIMIT / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            // One after the other, oldest first, so that the lanes find the rest.
            let count = self.idle.lock().len();
            for _ in 0..count {
                let Some(Idle { mut session, .. }) = pop_oldest(&self.idle) else { break };
                if ping(&mut session).await {
                    self.idle.lock().push(Idle::new(session));
                }
            }
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        for Idle { session, .. } in idle {
            session.close().await;
        }
    }
}

/// Whether the connection answers soon. A server that does not is no reason to keep the others waiting.
async fn ping(session: &mut Session) -> bool {
    matches!(tokio::time::timeout(PING_DEADLINE, session.ping()).await, Ok(Ok(())))
}

fn pop_oldest(idle: &Mutex<Vec<Idle>>) -> Option<Idle> {
    let mut idle = idle.lock();
    if idle.is_empty() { None } else { Some(idle.remove(0)) }
}

impl Pooled {
    /// The connection.
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Whether a transaction is open with parts of other lanes in it.
    pub(crate) fn is_open(&self) -> bool {
        self.group.is_some()
    }

    /// Whether a part of this size may be added to what is open.
    pub(crate) fn admits(&self, part: Size, limit: Size) -> bool {
        self.group.as_ref().is_none_or(|group| group.admits(part, limit))
    }

    /// Whether a lane waits that would take it with a transaction of others.
    pub(crate) fn is_wanted_open(&self) -> bool {
        let pool = &self.permit.pool;
        pool.groups && pool.turns.lock().any_joins()
    }

    /// Gives the connection, with an open transaction in which this lane has written its part, to the next lane that
    /// waits, unless the transaction is to end here.
    pub(crate) fn give_on(mut self, part: Size, limit: Size) -> Onward {
        let wanted = self.is_wanted_open();
        let group = self.group.get_or_insert_with(Group::new);
        if !wanted || !group.goes_on(part, limit) {
            return Onward::Back(self);
        }
        let told = group.add(part);
        match self.pass_on() {
            None => Onward::Gone(told),
            // The last one that waited has gone in between.
            Some(mut back) => {
                if let Some(group) = &mut back.group {
                    group.withdraw(part);
                }
                Onward::Back(back)
            }
        }
    }

    /// Gives the connection as it is to the next lane that takes it so; it comes back when there is none.
    fn pass_on(mut self) -> Option<Self> {
        let pool = Arc::clone(&self.permit.pool);
        loop {
            let next = pool.turns.lock().give_on(&self.permit.table);
            let Some((table, waiter)) = next else { return Some(self) };
            self.permit.table = table;
            match waiter.send(Grant::Open(Box::new(self))) {
                Ok(()) => return None,
                Err(Grant::Open(back)) => self = *back,
                Err(Grant::Permit(_)) => return None,
            }
        }
    }

    /// Commits what is open and tells the lanes that have a part in it; how many those are.
    ///
    /// # Errors
    /// The outcome is unknown; drop the connection, which makes them claim again.
    pub(crate) async fn commit(&mut self) -> Result<usize, Failure> {
        self.session.run("COMMIT").await?;
        Ok(self.group.take().map_or(0, |group| group.tell(Told::Committed)))
    }

    /// Rolls back what is open; the lanes that have a part in it write it again, each alone.
    ///
    /// # Errors
    /// The connection is lost; drop it.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Failure> {
        self.session.run("ROLLBACK").await?;
        let count = self.group.take().map_or(0, |group| group.tell(Told::RolledBack));
        if count > 0 {
            tracing::info!(lanes = count, "a transaction of several lanes was rolled back; each writes its part alone");
        }
        Ok(())
    }

    /// Puts it back for the next lane. Only for a connection without an open transaction.
    pub(crate) fn give_back(self) {
        let Self { session, group: _, permit } = self;
        permit.pool.idle.lock().push(Idle::new(session));
    }
}

/// Longest wait before a step is tried again.
const LONGEST: Duration = Duration::from_secs(5);

/// Growing waits between attempts of the same step, with some randomness so that lanes do not march in step.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let base = Duration::from_millis(50).saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        self.attempts += 1;
        base.mul_f64(rand::random_range(0.5..1.0))
    }

    /// The step worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] < Duration::from_millis(51));
        assert!(waits.iter().all(|w| *w <= LONGEST));
        assert!(waits[19] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(51));
    }
}
