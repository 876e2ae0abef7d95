//! Runs roles: the HTTP listener first, then ZooKeeper, then the roles, side by side in one process, until one fails or
//! somebody asks the process to end.
//!
//! Ending goes in this order, whatever the reason: the roles drain (they bound that themselves; [`DRAIN`] is the last
//! resort), the session with ZooKeeper is closed so that others take over at once, then HTTP stops answering.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admin::{AdminContext, Readiness, Services};
use coordination::{Coordination, WorkerInfo};
use prometheus_client::registry::Registry;
use schemas::status::{StatusBoard, WorkerFacts};
use schemas::{Code, Error, Reaction, Result};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::audit::Audit;
use crate::config::Config;
use crate::signals;
use crate::tools::Lent;

/// How long roles may take to end once they are asked to.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the records of the audit trail may take to get to Kafka at the end.
const TRAIL: Duration = Duration::from_secs(3);
/// Between two attempts to reach ZooKeeper at the start.
const RECONNECT: Duration = Duration::from_secs(1);

/// Which roles a process has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roles {
    /// Binlogs to Kafka.
    pub(crate) capture: bool,
    /// Kafka to targets.
    pub(crate) apply: bool,
    /// The site's front door.
    pub(crate) admin: bool,
}

impl Roles {
    fn names(self) -> Vec<String> {
        let all = [(self.capture, "capture"), (self.apply, "apply"), (self.admin, "admin")];
        all.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()).collect()
    }
}

/// Runs the roles to their end.
///
/// # Errors
/// What kept a role from starting or made it end by itself.
pub(crate) async fn run(config: &Config, roles: Roles) -> Result<()> {
    let shutdown = CancellationToken::new();
    signals::watch(shutdown.clone())?;
    let (listener, address) = admin::bind(&config.http.listen).await?;
    let facts = facts(roles);
    info!(worker = facts.worker, roles = facts.roles.join(","), version = facts.version, "starting");
    info!("serving HTTP on http://{address}");
    let (ready, readiness) = watch::channel(Readiness::Starting);
    let process = Process {
        config,
        status: StatusBoard::new(facts.clone()),
        metrics: Arc::new(Mutex::new(Registry::default())),
        status_address: advertised(config, address, &facts.host),
        facts,
        ready,
        services: Services::default(),
        shutdown,
    };
    let mut context = AdminContext::new(process.status.clone(), Arc::clone(&process.metrics), readiness);
    context.admin = roles.admin;
    context.open_metrics = config.http.open_metrics;
    context.services = process.services.clone();
    let answered = CancellationToken::new();
    let http = tokio::spawn(admin::serve(listener, context, answered.clone()));
    let result = process.run(roles).await;
    answered.cancel();
    let served = http.await.map_err(|e| failed("the HTTP server", &e));
    if result.is_ok() {
        info!("ended");
    }
    result.and(served)
}

/// What all roles of the process share.
struct Process<'a> {
    config: &'a Config,
    facts: WorkerFacts,
    status_address: String,
    status: StatusBoard,
    metrics: Arc<Mutex<Registry>>,
    ready: watch::Sender<Readiness>,
    /// What HTTP needs of ZooKeeper.
    services: Services,
    shutdown: CancellationToken,
}

impl Process<'_> {
    async fn run(&self, roles: Roles) -> Result<()> {
        // Secrets first: a missing one should not wait for ZooKeeper.
        self.config.kafka()?;
        let Some(coordination) = self.connect().await? else { return Ok(()) };
        let (audit, trail) = Audit::start(self.config.kafka()?, self.config.cluster.as_str());
        let result = match self.open_http(&coordination, audit).await {
            Ok(true) => self.work(roles, &coordination).await,
            Ok(false) => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = trail.finish(TRAIL).await {
            warn!(error = %e, "the log has the records");
        }
        coordination.close().await;
        result
    }

    /// Lets HTTP know the tokens and carry out requests, as often as it takes; `false` when asked to end first.
    async fn open_http(&self, coordination: &Coordination, audit: Audit) -> Result<bool> {
        let tools = Arc::new(Lent::new(audit, self.config)?);
        loop {
            let tools = Arc::clone(&tools);
            let attempt = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(false),
                attempt = self.services.connect(coordination, tools) => attempt,
            };
            match attempt {
                Ok(()) => return Ok(true),
                Err(e) if e.code().reaction() == Reaction::Retry => warn!(error = %e, "waiting for ZooKeeper"),
                Err(e) => return Err(e),
            }
        }
    }

    /// Connects to ZooKeeper, as often as it takes; `None` when asked to end first.
    async fn connect(&self) -> Result<Option<Coordination>> {
        let options = self.config.coordination_of_roles()?;
        loop {
            let attempt = Coordination::connect(&options, self.shutdown.clone());
            let attempt = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                attempt = attempt => attempt,
            };
            let e = match attempt {
                Ok(coordination) => return Ok(Some(coordination)),
                Err(e) if e.code().reaction() == Reaction::Retry => e,
                Err(e) => return Err(e),
            };
            warn!(error = %e, remedy = e.code().remedy(), "waiting for ZooKeeper");
            self.ready.send_replace(Readiness::Waiting(e.to_string()));
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    /// Runs the roles until one ends, then lets the others end.
    async fn work(&self, roles: Roles, coordination: &Coordination) -> Result<()> {
        coordination.register_worker(&WorkerInfo {
            id: self.facts.worker.clone(),
            roles: self.facts.roles.clone(),
            host: self.facts.host.clone(),
            version: self.facts.version.clone(),
            status_address: Some(self.status_address.clone()),
        })?;
        let mut tasks = self.spawn(roles, coordination)?;
        self.ready.send_replace(Readiness::Ready);
        let mut result = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => outcome(ended, false),
        };
        if let Err(e) = &result {
            error!(error = %e, remedy = e.code().remedy(), "a role ended, the process ends with it");
        }
        self.ready.send_replace(Readiness::Draining);
        self.shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = tasks.join_next().await {
                let ended = outcome(ended, true);
                if result.is_ok() {
                    result = ended;
                }
            }
        });
        if drained.await.is_err() {
            let message = format!("the roles did not end within {} s of being asked to", DRAIN.as_secs());
            return result.and(Err(Error::new(Code::RoleFailed, message)));
        }
        result
    }

    fn spawn(&self, roles: Roles, coordination: &Coordination) -> Result<JoinSet<Ended>> {
        let mut tasks = JoinSet::new();
        let mut registry = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if roles.capture {
            let context = capture::Context {
                cluster: self.config.cluster.to_string(),
                worker: self.facts.worker.clone(),
                kafka: self.config.kafka()?,
                coordination: coordination.clone(),
                status: self.status.clone(),
                metrics: &mut registry,
            };
            let role = capture::Capture::new(self.config.capture.clone(), context);
            let run = role.run(self.shutdown.clone());
            tasks.spawn(async move { ("capture", run.await) });
        }
        if roles.apply {
            let context = apply::Context {
                cluster: self.config.cluster.to_string(),
                kafka: self.config.kafka()?,
                coordination: coordination.clone(),
                status: self.status.clone(),
                metrics: &mut registry,
            };
            let role = apply::Apply::new(self.config.apply.clone(), context)?;
            let run = role.run(self.shutdown.clone());
            tasks.spawn(async move { ("apply", run.await) });
        }
        if tasks.is_empty() {
            let asked = self.shutdown.clone();
            tasks.spawn(async move {
                asked.cancelled().await;
                ("admin", Ok(()))
            });
        }
        Ok(tasks)
    }
}

/// A role's name and how it ended.
type Ended = (&'static str, Result<()>);

/// How a role's end counts: by itself it is a failure, asked to it is not.
fn outcome(ended: Result<Ended, JoinError>, asked: bool) -> Result<()> {
    match ended {
        Ok((_, Err(e))) => Err(e),
        Ok((_, Ok(()))) if asked => Ok(()),
        Ok((role, Ok(()))) => Err(Error::new(Code::RoleFailed, format!("the {role} role ended by itself"))),
        Err(e) => Err(failed("a role", &e)),
    }
}

fn failed(what: &str, e: &JoinError) -> Error {
    Error::new(Code::RoleFailed, format!("{what} broke off: {e}"))
}

/// Who this process is. The id is new with every start: an old one's ephemeral node may still be there.
fn facts(roles: Roles) -> WorkerFacts {
    let host = host();
    WorkerFacts {
        worker: format!("{host}-{}-{:04x}", std::process::id(), rand::random::<u16>()),
        host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: roles.names(),
    }
}

/// The name of this host.
pub(crate) fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }
}

/// Where others reach the endpoints: nobody can connect to "all interfaces".
fn advertised(config: &Config, bound: SocketAddr, host: &str) -> String {
    match &config.http.advertise {
        Some(address) => address.clone(),
        None if bound.ip().is_unspecified() => format!("{host}:{}", bound.port()),
        None => bound.to_string(),
    }
}
