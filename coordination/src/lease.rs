//! Leases: one holder at a time, and writes that only the holder gets through.
//!
//! A contender is an ephemeral sequential node in the lease's folder, named as Curator's locks are; the lowest number
//! holds the lease. A fenced write is a ZooKeeper transaction that checks that the holder's own node is still there, so
//! a holder whose session is over cannot write, whatever it believes.
//!
//! A [`Lease`] contends for as long as it lives. When the session has expired it gets in line again on the next one,
//! in the background. It never decides what its owner may do: during an outage it says [`LeaseState::Unknown`], and
//! Kafka's fencing tells whether the owner may go on.

mod contender;

use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{Code, Error, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;
use zookeeper as zk;

use crate::session::{persistent, refused};
use crate::{Coordination, check_size};
use contender::Contender;

/// How a lease stands. Only the latest state is kept: a reader may miss one that was brief.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// This contender has it.
    Held,
    /// Disconnected or not yet in line, and nobody else was seen to have it.
    Unknown,
    /// Somebody else has it, or had it when ZooKeeper was last reached: the holder's name.
    HeldByOther(String),
}

/// The node by which the lease is held, and the session it belongs to.
#[derive(Debug, Clone)]
struct Term {
    client: zk::Client,
    node: String,
}

/// A place in the line for a lease, or the lease itself. Dropping it gives the place up in the background.
#[derive(Debug)]
pub struct Lease {
    coordination: Coordination,
    path: String,
    holder: String,
    state: watch::Receiver<LeaseState>,
    term: Arc<Mutex<Option<Term>>>,
    _stop: DropGuard,
    contender: JoinHandle<()>,
}

impl Coordination {
    /// Gets in line for a lease, at once, whether ZooKeeper answers or not; [`Lease::state`] tells how it goes.
    ///
    /// `path` is the lease's folder, such as `/sources/shop/leader`; `holder` is the name others see.
    pub fn contend(&self, path: &str, holder: &str) -> Lease {
        let stop = CancellationToken::new();
        let (publish, state) = watch::channel(LeaseState::Unknown);
        let term = Arc::new(Mutex::new(None));
        let contender = Contender::new(self.sessions().clone(), path, holder, publish, Arc::clone(&term));
        Lease {
            coordination: self.clone(),
            path: path.to_owned(),
            holder: holder.to_owned(),
            state,
            term,
            contender: tokio::spawn(contender.run(stop.clone())),
            _stop: stop.drop_guard(),
        }
    }

    /// Waits until the lease is held; `None` when `shutdown` came first or the connection was closed.
    ///
    /// Waits through outages. [`Coordination::contend`] shows the state while it waits.
    pub async fn acquire(&self, path: &str, holder: &str, shutdown: &CancellationToken) -> Option<Lease> {
        let mut lease = self.contend(path, holder);
        let held = tokio::select! {
            biased;
            () = shutdown.cancelled() => false,
            held = lease.held() => held,
        };
        if held {
            return Some(lease);
        }
        lease.release().await;
        None
    }
}

impl Lease {
    /// The state, live.
    pub fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// Waits until the lease is held; `false` when the connection was closed instead.
    pub async fn held(&mut self) -> bool {
        self.state.wait_for(|state| *state == LeaseState::Held).await.is_ok()
    }

    /// The name that others see.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Writes a node, making it where it is missing, if and only if this lease is held at that moment.
    ///
    /// # Errors
    /// `OT2002` when somebody else has the lease or this one's node is gone; `OT2001` when ZooKeeper does not answer
    /// (the write may have been carried out); `OT1005` when `data` does not fit.
    pub async fn write_fenced(&self, path: &str, data: &[u8]) -> Result<()> {
        check_size(path, data)?;
        let term = self.term.lock().clone();
        let Some(term) = term else { return Err(self.not_held()) };
        let write = self.write_in_term(&term, path, data);
        let limit = self.coordination.sessions().options().request_timeout;
        match tokio::time::timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.write_failed(path, error)),
            Err(_) => Err(Error::new(Code::ZooKeeperUnavailable, format!("{path}: no answer in {limit:?}"))),
        }
    }

    /// Gives the lease up and waits until its node is gone (at most the request timeout; it goes with the session in
    /// any case), so that the next in line has it at once.
    pub async fn release(self) {
        let Self { _stop, contender, coordination, path, .. } = self;
        drop(_stop);
        let limit = coordination.sessions().options().request_timeout;
        match tokio::time::timeout(limit, contender).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(path, %error, "giving up a lease failed; it goes with the session"),
            Err(_) => warn!(path, "ZooKeeper does not answer; the lease goes with the session"),
        }
    }

    async fn write_in_term(&self, term: &Term, path: &str, data: &[u8]) -> Result<(), zk::Error> {
        loop {
            match fenced(term, |writer| writer.add_set_data(path, data, None)).await {
                Err(zk::Error::NoNode) => {}
                result => return result,
            }
            match fenced(term, |writer| writer.add_create(path, data, &persistent())).await {
                Err(zk::Error::NodeExists) => {} // made in between: set it
                Err(zk::Error::NoNode) => {
                    // The folder is missing. Making it needs no fence: it holds nothing.
                    let folder = path.rfind('/').map_or("", |end| &path[..end]);
                    term.client.mkdir(folder, &persistent()).await?;
                }
                result => return result,
            }
        }
    }

    fn not_held(&self) -> Error {
        match &*self.state.borrow() {
            LeaseState::HeldByOther(other) => {
                Error::new(Code::LeaseLost, format!("{}: {other} has the lease, not {}", self.path, self.holder))
            }
            _ => Error::new(Code::ZooKeeperUnavailable, format!("{}: it is not known who has the lease", self.path)),
        }
    }

    fn write_failed(&self, path: &str, error: zk::Error) -> Error {
        match error {
            zk::Error::RuntimeInconsistent | zk::Error::SessionExpired => {
                let message = format!("{path}: {} has lost the lease {}: {error}", self.holder, self.path);
                Error::new(Code::LeaseLost, message).with_source(error)
            }
            error if crate::session::is_definite(&error) => refused(path, error),
            error => Error::new(Code::ZooKeeperUnavailable, format!("{path}: {error}")).with_source(error),
        }
    }
}

/// One write that fails with `RuntimeInconsistent` when the lease's node is gone.
async fn fenced(
    term: &Term,
    add: impl FnOnce(&mut zk::CheckWriter<'_>) -> Result<(), zk::Error>,
) -> Result<(), zk::Error> {
    let mut writer = term.client.new_check_writer(&term.node, None)?;
    add(&mut writer)?;
    writer.commit().await.map(|_| ()).map_err(zk::Error::from)
}
