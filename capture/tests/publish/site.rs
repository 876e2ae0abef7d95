//! One test's installation on shared servers: a cluster name, a ZooKeeper chroot, a schema and a topic prefix of its own.

use std::future::Future;
use std::time::{Duration, Instant};

use capture::{Capture, Context, Options};
use coordination::{Coordination, Expected};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use prometheus_client::registry::Registry;
use schemas::documents::{Document, Source};
use schemas::gtid::Gtid;
use schemas::kafka::KafkaOptions;
use schemas::status::{SourceStatus, StatusBoard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the source document.
pub(crate) const SOURCE: &str = "shop";

/// The address of a server that `./deploy/test` starts.
pub(crate) fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./deploy/test"))
}

/// Asks until there is an answer; fails with the last state that was seen.
pub(crate) async fn wait_for<T, F: Future<Output = Result<T, String>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(30));
    loop {
        ticks.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(state) => assert!(began.elapsed() < PATIENCE, "waited in vain for {what}; last state: {state}"),
        }
    }
}

/// The installation.
pub(crate) struct Site {
    /// Cluster, schema and prefix.
    pub(crate) name: String,
    /// ZooKeeper.
    pub(crate) coordination: Coordination,
    /// A connection to the source server.
    pub(crate) conn: Conn,
    /// Its address.
    address: String,
    /// Settings of the source document beside the usual ones.
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
}

/// A capture role that runs.
pub(crate) struct Running {
    /// Its board.
    pub(crate) board: StatusBoard,
    /// Its metrics.
    pub(crate) registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<schemas::Result<()>>,
}

impl Site {
    /// A fresh one; `tables` are created in its schema.
    pub(crate) async fn new(tables: &[&str]) -> Self {
        Self::on("OTTER_SERVERS_SOURCE", tables).await
    }

    /// On the source server of this variable.
    pub(crate) async fn on(variable: &str, tables: &[&str]) -> Self {
        let address = server(variable);
        let name = format!("c{:016x}", rand::random::<u64>());
        let mut options = coordination::Options::new(server("OTTER_SERVERS_ZOOKEEPER"));
        options.chroot = format!("/{name}");
        let coordination = Coordination::connect(&options, CancellationToken::new()).await.expect("ZooKeeper");
        let mut site =
            Self { name, coordination, conn: connect(&address).await, address, settings: serde_json::Map::new() };
        let schema = site.name.clone();
        site.sql(&format!("CREATE DATABASE {schema}")).await;
        site.sql(&format!("USE {schema}")).await;
        for table in tables {
            site.sql(&format!("CREATE TABLE {table}")).await;
        }
        site
    }

    /// Another installation's schema and prefix on the same servers.
    pub(crate) async fn beside(&self, name: String) -> Self {
        let (coordination, address) = (self.coordination.clone(), self.address.clone());
        Self { name, coordination, conn: connect(&address).await, address, settings: serde_json::Map::new() }
    }

    /// Runs statements, separated by `;`.
    pub(crate) async fn sql(&mut self, sql: &str) {
        for statement in sql.split(';').filter(|s| !s.trim().is_empty()) {
            self.conn.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    /// Puts the source document; `rules` are relative to the schema.
    pub(crate) async fn put(&self, rules: &[&str]) {
        let rule = |rule: &&str| match rule.strip_prefix('!') {
            Some(table) => format!("!{}.{table}", self.name),
            None => format!("{}.{rule}", self.name),
        };
        let mut json = serde_json::json!({
            "name": SOURCE, "addresses": [self.address], "user": "root", "start": "latest",
            "tables": rules.iter().map(rule).collect::<Vec<_>>(), "topics": { "prefix": self.name },
        });
        json.as_object_mut().expect("an object").extend(self.settings.clone());
        let source: Source = serde_json::from_value(json).expect("a source document");
        let put = self.coordination.documents().put(&Document::Source(source), Expected::Any).await;
        put.expect("the document is put");
    }

    /// Starts a capture role and waits until its source runs.
    pub(crate) async fn run(&self, worker: &str, options: Options) -> Running {
        let running = self.start(worker, options);
        running.state("running", |status| status.state == schemas::status::SourceState::Running).await;
        running
    }

    /// Starts a capture role.
    pub(crate) fn start(&self, worker: &str, options: Options) -> Running {
        let (board, stop) = (StatusBoard::default(), CancellationToken::new());
        let mut registry = Registry::default();
        let context = Context {
            cluster: self.name.clone(),
            worker: worker.to_owned(),
            kafka: kafka(),
            coordination: self.coordination.clone(),
            status: board.clone(),
            metrics: &mut registry,
        };
        let capture = Capture::new(options, context);
        let task = tokio::spawn(capture.run(stop.clone()));
        Running { board, registry, stop, task }
    }

    /// The GTID of the last transaction of this connection.
    pub(crate) async fn last_gtid(&mut self) -> Gtid {
        let answer: Option<String> = self.conn.query_first("SELECT @@last_gtid").await.expect("an answer");
        answer.expect("a GTID").parse().expect("a GTID")
    }

    /// The topic of a table.
    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{0}.{0}.{table}", self.name)
    }

    /// The checkpoint topic.
    pub(crate) fn checkpoints(&self) -> String {
        format!("__otter.{}.{SOURCE}.checkpoints", self.name)
    }
}

impl Running {
    /// The source's status.
    pub(crate) fn status(&self) -> Option<SourceStatus> {
        self.board.snapshot().sources.into_iter().find(|s| s.name == SOURCE)
    }

    /// Waits for a status.
    pub(crate) async fn state(&self, what: &str, is: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let found = wait_for(what, || async {
            let status = self.status();
            status.clone().filter(|s| is(s)).ok_or_else(|| format!("{status:?}"))
        });
        found.await
    }

    /// A counter of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics are text");
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Shuts down in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("capture ends");
        ended.expect("no panic").expect("no error");
    }
}

/// How the tests reach Kafka.
pub(crate) fn kafka() -> KafkaOptions {
    KafkaOptions { brokers: server("OTTER_SERVERS_KAFKA"), client: std::collections::BTreeMap::new() }
}

/// A connection to the source server.
async fn connect(address: &str) -> Conn {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let opts = OptsBuilder::default().ip_or_hostname(host).tcp_port(port.parse().expect("a port")).user(Some("root"));
    Conn::new(opts.prefer_socket(false)).await.expect("the source server")
}
