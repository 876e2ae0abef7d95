//! One ZooKeeper session after another, and calls that survive the change.
//!
//! The `Keeper` task follows the state of the client and, when the session has ended (expired; a client never leaves
//! that state), makes a new client and publishes it. Everything else asks [`Sessions`] for the client of the moment and
//! never keeps one beyond an error.
//!
//! A call has three outcomes. ZooKeeper answered: the answer, good or bad, is definite. The connection broke in between
//! (the client reports that as several kinds of errors): the outcome is unknown, the call is made again on the next
//! connection, and the [`Answer`] says so, since a compare-and-set may now fail because of its own first attempt. No
//! answer within the request timeout: `OT2001`, outcome unknown.

use std::sync::Arc;
use std::time::Duration;

use schemas::{Code, Error, Result, names};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zookeeper as zk;

use crate::options::Options;

/// Pause before a call is repeated on a connection that looks sound, and the first pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Nodes that live until somebody deletes them, open to everybody who reaches the ensemble.
pub(crate) fn persistent() -> zk::CreateOptions<'static> {
    zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all())
}

/// What ZooKeeper answered.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) result: Result<T, zk::Error>,
    /// An earlier attempt of the same call broke off: it may have been carried out.
    pub(crate) repeated: bool,
}

/// Whether ZooKeeper itself said no; anything else leaves open whether the request was carried out.
pub(crate) fn is_definite(error: &zk::Error) -> bool {
    use zk::Error as E;
    matches!(
        error,
        E::BadArguments(_)
            | E::NoNode
            | E::NoAuth
            | E::BadVersion
            | E::NoChildrenForEphemerals
            | E::NodeExists
            | E::NotEmpty
            | E::InvalidAcl
            | E::NotReadOnly
            | E::NoWatcher
            | E::QuotaExceeded
            | E::MarshallingError
            | E::Unimplemented
            | E::ReconfigDisabled
            | E::UnexpectedErrorCode(_)
            | E::RuntimeInconsistent
    )
}

/// The error of a definite answer that Otter has no use for.
pub(crate) fn refused(what: &str, error: zk::Error) -> Error {
    Error::new(Code::ZooKeeperRefused, format!("{what}: {error}")).with_source(error)
}

/// The client of the moment, for whoever needs one.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    current: watch::Receiver<Option<zk::Client>>,
    options: Arc<Options>,
    /// Cancelled when the last handle is gone or `close` was called: every background task ends.
    closed: CancellationToken,
}

impl Sessions {
    /// Opens the first session and starts the task that keeps one open.
    pub(crate) async fn open(options: Options, shutdown: CancellationToken) -> Result<Self> {
        options.validate()?;
        let options = Arc::new(options);
        let client = match tokio::time::timeout(options.request_timeout, connect(&options)).await {
            Ok(Ok(client)) => client,
            Ok(Err(e)) => return Err(unavailable(&options, "connecting", Some(e))),
            Err(_) => return Err(unavailable(&options, "connecting", None)),
        };
        let closed = CancellationToken::new();
        let (publish, current) = watch::channel(Some(client.clone()));
        let keeper = Keeper { options: Arc::clone(&options), publish, closed: closed.clone(), shutdown };
        tokio::spawn(keeper.run(client));
        Ok(Self { current, options, closed })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// The client, if it is connected now.
    pub(crate) fn connected_now(&self) -> Option<zk::Client> {
        self.current.borrow().as_ref().filter(|client| is_connected(client)).cloned()
    }

    /// Waits for a connected client; `None` when the sessions have ended for good.
    pub(crate) async fn connected(&self) -> Option<zk::Client> {
        let mut current = self.current.clone();
        loop {
            // The state is asked of the client itself: the keeper publishes a moment later.
            if let Some(client) = current.borrow_and_update().as_ref().filter(|client| is_connected(client)) {
                return Some(client.clone());
            }
            tokio::select! {
                biased;
                () = self.closed.cancelled() => return None,
                changed = current.changed() => changed.ok()?,
            }
        }
    }

    /// Waits until the session of `client` is no longer connected.
    pub(crate) async fn disconnected(client: &zk::Client) {
        let mut states = client.state_watcher();
        while states.state() == zk::SessionState::SyncConnected {
            states.changed().await;
        }
    }

    /// Calls `follow` with one connected client after another, each time until it ends, which is when its connection
    /// breaks, or fails. Returns when `unwanted` is done or the sessions have ended for good.
    pub(crate) async fn keep_following<F, Fut>(&self, what: &str, unwanted: impl Future<Output = ()>, mut follow: F)
    where
        F: FnMut(zk::Client) -> Fut,
        Fut: Future<Output = Result<(), zk::Error>>,
    {
        let work = async {
            while let Some(client) = self.connected().await {
                if let Err(error) = follow(client).await {
                    if is_definite(&error) {
                        warn!(what, %error, "cannot follow what ZooKeeper holds; trying again");
                    }
                    tokio::time::sleep(self.options.session_timeout / 40).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => {}
            () = unwanted => {}
            () = work => {}
        }
    }

    /// Calls ZooKeeper until it answers, on this connection or a later one, within the request timeout.
    ///
    /// `operation` is made again after an unknown outcome, so it must be harmless to repeat: a read, a write without
    /// a condition, or a compare-and-set whose caller looks at [`Answer::repeated`].
    pub(crate) async fn call<T, F, Fut>(&self, what: &str, mut operation: F) -> Result<Answer<T>>
    where
        F: FnMut(zk::Client) -> Fut,
        Fut: Future<Output = Result<T, zk::Error>>,
    {
        let deadline = Instant::now() + self.options.request_timeout;
        let mut last = None;
        loop {
            let client = match timeout_at(deadline, self.connected()).await {
                Ok(Some(client)) => client,
                Ok(None) => {
                    let message = format!("{what}: the connection to {} was closed", self.options.servers);
                    return Err(Error::new(Code::ZooKeeperUnavailable, message));
                }
                Err(_) => return Err(unavailable(&self.options, what, last)),
            };
            match timeout_at(deadline, operation(client)).await {
                Ok(Err(error)) if !is_definite(&error) => last = Some(error),
                Ok(result) => return Ok(Answer { result, repeated: last.is_some() }),
                Err(_) => return Err(unavailable(&self.options, what, last)),
            }
            // Almost always the connection is gone and the next round waits for the next one.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends every background task and the session, and waits until ZooKeeper has confirmed it, so that ephemeral nodes
    /// are gone.
    pub(crate) async fn close(&self) {
        let mut current = self.current.clone();
        // Without a connection the server cannot be told; the nodes go when the session expires.
        let Some(mut states) =
            current.borrow().as_ref().filter(|client| is_connected(client)).map(zk::Client::state_watcher)
        else {
            self.closed.cancel();
            return;
        };
        self.closed.cancel();
        let ended = async {
            // The keeper takes the client out of the channel and ends; with its last holder the session closes.
            while current.borrow_and_update().is_some() && current.changed().await.is_ok() {}
            while !states.state().is_terminated() {
                states.changed().await;
            }
        };
        if tokio::time::timeout(self.options.request_timeout, ended).await.is_err() {
            warn!("the ZooKeeper session did not close in time; its nodes go when it expires");
        }
    }
}

fn is_connected(client: &zk::Client) -> bool {
    client.state() == zk::SessionState::SyncConnected
}

/// `OT2001` with what was being done and what happened last.
fn unavailable(options: &Options, what: &str, cause: Option<zk::Error>) -> Error {
    let servers = &options.servers;
    match cause {
        Some(cause) => Error::new(Code::ZooKeeperUnavailable, format!("{what}: {servers}: {cause}")).with_source(cause),
        None => Error::new(
            Code::ZooKeeperUnavailable,
            format!("{what}: no answer from {servers} in {:?}", options.request_timeout),
        ),
    }
}

/// A new session, rooted at the chroot, with the folders that everything else takes for granted.
async fn connect(options: &Options) -> Result<zk::Client, zk::Error> {
    let root = zk::Client::connector().with_session_timeout(options.session_timeout).connect(&options.servers).await?;
    root.mkdir(&options.chroot, &persistent()).await?;
    let client =
        root.chroot(options.chroot.as_str()).map_err(|_| zk::Error::BadArguments(&"the chroot is not a path"))?;
    for folder in
        ["/sources", "/pipelines", names::WORKERS_PATH, names::REGISTRY_IDS_PATH, names::REGISTRY_SUBJECTS_PATH]
    {
        client.mkdir(folder, &persistent()).await?;
    }
    Ok(client)
}

/// Follows the session and replaces it when it has ended.
struct Keeper {
    options: Arc<Options>,
    publish: watch::Sender<Option<zk::Client>>,
    closed: CancellationToken,
    /// From here on a session that ends is not replaced.
    shutdown: CancellationToken,
}

impl Keeper {
    async fn run(self, first: zk::Client) {
        let mut client = first;
        let closed = self.closed.clone();
        let work = async {
            loop {
                self.follow(&client).await;
                self.publish.send_replace(None);
                match self.reconnect().await {
                    Some(next) => client = next,
                    None => return,
                }
            }
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = work => {}
        }
        self.publish.send_replace(None);
    }

    /// Tells every waiter of each change of the state, until the session has ended.
    async fn follow(&self, client: &zk::Client) {
        let mut states = client.state_watcher();
        loop {
            let state = states.state();
            if state.is_terminated() {
                warn!(session = %client.session_id(), %state, "the ZooKeeper session has ended");
                return;
            }
            self.publish.send_replace(Some(client.clone()));
            let state = states.changed().await;
            info!(session = %client.session_id(), %state, "ZooKeeper session");
        }
    }

    /// Tries until there is a new session; `None` when nobody needs one any more.
    async fn reconnect(&self) -> Option<zk::Client> {
        let mut pause = PAUSE;
        loop {
            let attempt = async {
                match tokio::time::timeout(self.options.request_timeout, connect(&self.options)).await {
                    Ok(result) => result,
                    Err(_) => Err(zk::Error::Timeout),
                }
            };
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                attempt = attempt => match attempt {
                    Ok(client) => {
                        info!(session = %client.session_id(), "new ZooKeeper session");
                        return Some(client);
                    }
                    Err(error) => warn!(servers = %self.options.servers, %error, "no ZooKeeper session yet"),
                }
            }
            // Jitter, so that the workers of a large site do not come back all at once.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
