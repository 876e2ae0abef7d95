//! HTTP of every role: `/healthz`, `/readyz`, `/metrics`, `/status`; with the admin role also the API, `/api/v1`,
//! and the schema registry, `/registry`.
//!
//! The caller binds the listener before its serious work begins, so that a port in use is known at once and probes get
//! an answer from the first moment on. Everything but the probes needs a token ([`auth`](Guard)); until ZooKeeper was
//! reached nobody's can be verified, so those requests get 503. [`serve`] ends by itself when `shutdown` is cancelled
//! and the open requests are answered. A panic in a handler is answered with 500 and ends nothing.

pub mod api;
mod auth;
pub mod control;
mod endpoints;
mod registry;
mod server;
pub mod tools;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use coordination::Coordination;
use prometheus_client::registry::Registry;
use schemas::status::StatusBoard;
use schemas::{Code, Error, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use auth::Guard;

use control::Control;
use tools::Tools;

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
    /// Whether it has the admin role and so serves the API and the schema registry.
    pub admin: bool,
    /// Whether `/metrics` answers without a token.
    pub open_metrics: bool,
    /// What there is once ZooKeeper was reached.
    pub services: Services,
    pub(crate) failures: auth::Failures,
}

impl AdminContext {
    /// A context without the admin role whose metrics need a token, and without services yet.
    pub fn new(status: StatusBoard, metrics: Arc<Mutex<Registry>>, ready: watch::Receiver<Readiness>) -> Self {
        Self {
            status,
            metrics,
            ready,
            admin: false,
            open_metrics: false,
            services: Services::default(),
            failures: auth::Failures::default(),
        }
    }

    /// What carries out requests.
    ///
    /// # Errors
    /// `OT2001` as long as ZooKeeper was not reached.
    pub fn control(&self) -> Result<&Control> {
        self.services.control().ok_or_else(auth::not_connected)
    }
}

/// What needs ZooKeeper, empty until [`Services::connect`]. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Late>);

#[derive(Debug, Default)]
struct Late {
    guard: OnceLock<Guard>,
    control: OnceLock<Control>,
}

impl Services {
    /// Fills it; a second time changes nothing.
    ///
    /// # Errors
    /// `OT2001` when the tokens cannot be read in time, `OT1010` when no HTTP client can be made.
    pub async fn connect(&self, coordination: &Coordination, tools: Arc<dyn Tools>) -> Result<()> {
        let guard = Guard::follow(coordination).await?;
        let control = Control::new(coordination.clone(), tools)?;
        // Already set: the first one is as good.
        self.0.guard.get_or_init(|| guard);
        self.0.control.get_or_init(|| control);
        Ok(())
    }

    /// What carries out requests, as soon as there is ZooKeeper.
    fn control(&self) -> Option<&Control> {
        self.0.control.get()
    }

    fn guard(&self) -> Option<&Guard> {
        self.0.guard.get()
    }
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

/// All routes of a process.
pub fn router(context: AdminContext) -> axum::Router {
    endpoints::router(context)
}

/// Answers requests until `shutdown`, then finishes the open ones, for a few seconds at most.
pub async fn serve(listener: TcpListener, context: AdminContext, shutdown: CancellationToken) {
    server::run(listener, router(context), &shutdown).await;
}
