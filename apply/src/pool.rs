//! The connections of a pipeline to its target: at most `writers`, shared by its lanes.
//!
//! A lane holds a connection for one batch or one claim. The server ends a session that is idle for a few seconds, so
//! that the locks of a frozen worker go; a keeper pings the idle ones. One that was not pinged for long, because the
//! worker was frozen or the keeper was held up, is tried before it is used, so that no lane meets a closed connection for
//! that reason. A connection is given back only after a step that left it clean; whatever else happens to it, it is
//! closed, which rolls back what it had open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemas::documents::Target;
use schemas::server::ServerAccess;
use schemas::{Code, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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
    permits: Arc<Semaphore>,
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

/// A connection in use. Dropped, it is closed; see [`Pooled::give_back`].
#[derive(Debug)]
pub(crate) struct Pooled {
    session: Session,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool that connects when a connection is needed.
    pub(crate) fn new(target: Target, writers: u32) -> Arc<Self> {
        Arc::new(Self {
            target,
            writers,
            permits: Arc::new(Semaphore::new(writers.max(1) as usize)),
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

    /// Waits for one of the connections and makes it when none is idle.
    ///
    /// # Errors
    /// `OT5001` when the target cannot be reached, `OT1003` when the password's reference leads nowhere, what the
    /// creation of the progress table says.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Pooled, Error> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|e| Error::new(Code::TargetUnreachable, "the pool is closed").with_source(e))?;
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
        Ok(Pooled { session, pool: Arc::clone(self), _permit: permit })
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

    /// Puts it back for the next lane. Only for a connection without an open transaction.
    pub(crate) fn give_back(self) {
        let Self { session, pool, _permit } = self;
        pool.idle.lock().push(Idle::new(session));
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
