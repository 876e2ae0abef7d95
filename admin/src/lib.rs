//! HTTP endpoints that every role serves: `/healthz`, `/readyz`, `/metrics`, `/status`.
//!
//! The caller binds the listener before its serious work begins, so that a port in use is known at once and probes get
//! an answer from the first moment on. Everything here is read-only and answers from memory: no endpoint waits for
//! ZooKeeper, Kafka or a database, and none fails. [`serve`] ends by itself when `shutdown` is cancelled and the open
//! requests are answered.

pub mod control;
mod endpoints;
mod registry;
pub mod tools;

pub use registry::Late;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use schemas::status::StatusBoard;
use schemas::{Code, Error, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far the process is, for `/readyz`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Not there yet, and why.
    #[default]
    Starting,
    /// It waits for something, such as ZooKeeper.
    Waiting(String),
    /// The roles run.
    Ready,
    /// It was asked to end and drains.
    Draining,
}

/// What the endpoints answer from.
#[derive(Debug, Clone)]
pub struct AdminContext {
    /// The board that the roles write on.
    pub status: StatusBoard,
    /// The metrics. Locked for registering and for one scrape, never across I/O.
    pub metrics: Arc<Mutex<Registry>>,
    /// How far the process is.
    pub ready: watch::Receiver<Readiness>,
    /// The connection to ZooKeeper, behind the schema registry under `/registry`; none: this process does not serve it.
    pub coordination: Option<Late>,
}

/// Binds the address, `host:port`; port 0 takes a free one.
///
/// # Errors
/// `OT1004` when the address cannot be bound.
pub async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr)> {
    let fail = |e: std::io::Error| {
        Error::new(Code::ConfigInvalid, format!("http.listen: {listen} cannot be bound: {e}")).with_source(e)
    };
    let listener = TcpListener::bind(listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// Answers requests until `shutdown`, then finishes the open ones.
///
/// # Errors
/// `OT1004` when the listener fails as such; errors of single connections end those connections alone.
pub async fn serve(listener: TcpListener, context: AdminContext, shutdown: CancellationToken) -> Result<()> {
    axum::serve(listener, endpoints::router(context))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(|e| Error::new(Code::ConfigInvalid, format!("the HTTP listener failed: {e}")).with_source(e))
}
