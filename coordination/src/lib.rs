//! ZooKeeper for Otter: documents and their live watches, leases with fenced writes, worker registration, the schema
//! registry (Otter's own, or the client of an external one) and the mirror of positions.
//!
//! [`Coordination`] is the one handle, cheap to clone. It survives lost connections and expired sessions: a new session
//! is opened in the background, what is ephemeral is registered again, watches are set again and read anew. Every call
//! is bounded by [`Options::request_timeout`] and then fails with `OT2001`, whose reaction is to retry. Nothing that
//! was known before an outage is forgotten during it: watches keep their last state.
//!
//! ZooKeeper is never what makes a write safe: Kafka's transactional ids and the target's progress rows are. So an
//! outage stops nobody who already works.

mod check;
mod documents;
mod lease;
mod options;
mod partitions;
mod position;
mod registry;
mod requests;
mod session;
mod tokens;
mod topics;
mod workers;

use std::sync::Arc;

use schemas::{Code, Error, Result};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::documents::{Documents, Expected, Snapshot, Stamp, Versioned};
pub use crate::lease::{Lease, LeaseState};
pub use crate::options::Options;
pub use crate::partitions::{FrozenTopic, Growth};
pub use crate::registry::{
    Credentials, Registered, Registration, Registry, RegistryOptions, SchemaStore, SubjectVersion,
};
pub use crate::requests::{Requests, Taken};
pub use crate::tokens::{Role, TokenMap, TokenRecord, Tokens};
pub use crate::workers::WorkerInfo;

use crate::registry::External;
use crate::session::Sessions;

/// The largest node that Otter writes, in bytes; ZooKeeper's own limit is 1 MB for a whole request.
pub const MAX_NODE_BYTES: usize = 700_000;

/// The connection to ZooKeeper. Clones share one session; it closes with the last clone (leases hold one too).
#[derive(Debug, Clone)]
pub struct Coordination {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sessions: Sessions,
    schemas: registry::Cache,
    /// The registry that is used instead of Otter's own.
    external: Option<registry::External>,
    watches: documents::Watches,
    /// Ends the background tasks with the last handle.
    _end: DropGuard,
}

impl Coordination {
    /// Connects and makes the chroot when it is missing.
    ///
    /// After `shutdown` an expired session is not replaced any more; the session of the moment stays open, so that
    /// roles can drain, until [`Coordination::close`] or the last clone is dropped.
    ///
    /// # Errors
    /// `OT1004` when the options cannot work, `OT2001` when there is no session within the request timeout.
    pub async fn connect(options: &Options, shutdown: CancellationToken) -> Result<Self> {
        let external = options.registry.as_ref().map(|registry| External::new(registry, options.request_timeout));
        let external = external.transpose()?;
        let sessions = Sessions::open(options.clone(), shutdown).await?;
        let end = sessions.closed().clone().drop_guard();
        let inner = Inner {
            sessions,
            schemas: registry::Cache::default(),
            external,
            watches: documents::Watches::default(),
            _end: end,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether ZooKeeper answers at the moment, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.inner.sessions.connected_now().is_some()
    }

    /// Ends the session and waits until ZooKeeper knows: leases and the worker's node are gone at once instead of
    /// when the session expires. Every later call on any clone fails with `OT2001`.
    pub async fn close(self) {
        self.inner.sessions.close().await;
    }

    fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }
}

/// Refuses what would not fit into a node.
fn check_size(what: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_NODE_BYTES {
        let message = format!("{what} takes {} bytes, a ZooKeeper node holds {MAX_NODE_BYTES}", bytes.len());
        return Err(Error::new(Code::DocumentTooLarge, message));
    }
    Ok(())
}
