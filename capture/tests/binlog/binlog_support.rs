//! What the tests of the binlog share: the server under test, one of their own, streams, and a proxy that does damage.

use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use capture::binlog::event::Event;
use capture::binlog::reader::{
    Entry, RawEvent, ReadOptions, Received, Receiver, SourceServer, channel, connect, read, resolve_start,
};
use capture::binlog::statement::{Statement, classify};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use schemas::checkpoint::Flavor;
use schemas::documents::{Source, Start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `host:port` of the shared server.
pub(crate) fn shared_server() -> String {
    std::env::var("OTTER_SERVERS_SOURCE").expect("OTTER_SERVERS_SOURCE is not set: run the tests with ./deploy/test")
}

/// A source document for the user otter at an address.
pub(crate) fn source(address: &str) -> Source {
    // Written once: a test that writes it again empties it for a moment under the others.
    static PASSWORD: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("otter-password-{}", std::process::id()));
        std::fs::write(&path, "otter").unwrap();
        path
    });
    document(address, "otter", Some(&PASSWORD))
}

/// A source document for a user without password.
pub(crate) fn source_of(address: &str, user: &str) -> Source {
    document(address, user, None)
}

fn document(address: &str, user: &str, password: Option<&Path>) -> Source {
    let password = password.map(|p| format!("file:{}", p.display()));
    serde_json::from_value(serde_json::json!({
        "name": "shop", "addresses": [address], "user": user, "password": password, "tls": {"mode": "disabled"}
    }))
    .unwrap()
}

/// A connection as root.
pub(crate) async fn root(address: &str) -> Conn {
    let (host, port) = address.rsplit_once(':').unwrap();
    let opts = OptsBuilder::default().ip_or_hostname(host).tcp_port(port.parse().unwrap()).user(Some("root"));
    Conn::new(opts.prefer_socket(false)).await.unwrap()
}

/// Runs statements.
pub(crate) async fn run(conn: &mut Conn, statements: &[&str]) {
    for sql in statements {
        if let Err(error) = conn.query_drop(*sql).await {
            panic!("{sql}: {error}");
        }
    }
}

/// A dump under way.
pub(crate) struct Stream {
    receiver: Receiver,
    task: JoinHandle<schemas::Result<()>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: SourceServer,
}

impl Stream {
    /// Begins behind the server's present end.
    pub(crate) async fn from_now(source: &Source) -> Self {
        let server = connect(source).await.unwrap();
        let start = resolve_start(&server, &Start::Latest).await.unwrap();
        Self::from(server, start.gtid)
    }

    pub(crate) fn from(server: SourceServer, start: impl Into<Entry>) -> Self {
        let start = start.into();
        let (sender, receiver) = channel(1 << 20);
        let shutdown = CancellationToken::new();
        let options = ReadOptions { heartbeat: Duration::from_millis(500), ..ReadOptions::default() };
        let task = tokio::spawn({
            let (server, shutdown) = (server.clone(), shutdown.clone());
            async move { read(&server, &start, &options, sender, shutdown).await }
        });
        Self { receiver, task, shutdown, server }
    }

    /// The next event, or `None` when the dump has ended.
    pub(crate) fn next(&mut self) -> Option<RawEvent> {
        match self.receiver.recv_timeout(PATIENCE) {
            Received::Event(event) => Some(event),
            Received::Empty => panic!("no event for {PATIENCE:?}; the task has ended: {}", self.task.is_finished()),
            Received::Closed => None,
        }
    }

    /// Reads on to the CREATE DATABASE of this schema, and gives the events up to it.
    pub(crate) fn until_schema(&mut self, schema: &str) -> Vec<RawEvent> {
        let wanted = format!("CREATE DATABASE {schema}");
        let mut events = Vec::new();
        loop {
            let event = self.next().expect("the dump ended before the end of the test's events");
            let found = matches!(event.parse().unwrap(), Event::Query(q) if q.sql == wanted.as_bytes());
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// The error that ends the dump, the events before it thrown away.
    pub(crate) async fn error(mut self) -> schemas::Error {
        while self.next().is_some() {}
        self.end().await.unwrap_err()
    }

    /// How the dump ended.
    pub(crate) async fn end(self) -> schemas::Result<()> {
        drop(self.receiver);
        tokio::time::timeout(PATIENCE, self.task).await.expect("the dump does not end").unwrap()
    }
}

/// What a QUERY event does; `None` for other events.
pub(crate) fn statement(raw: &RawEvent) -> Option<Statement> {
    match raw.parse().unwrap() {
        Event::Query(q) => Some(classify(&q, Flavor::Mariadb)),
        _ => None,
    }
}

/// `host:port` of the shared MySQL server.
pub(crate) fn shared_mysql() -> String {
    std::env::var("OTTER_SERVERS_MYSQL_SOURCE")
        .expect("OTTER_SERVERS_MYSQL_SOURCE is not set: run the tests with ./deploy/test")
}

/// A MySQL server for one test, gone with it.
pub(crate) struct OwnMysql {
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

impl OwnMysql {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut own = Self { address: String::new(), folder };
        own.servers(&["up", "--only", "mysql_source"]);
        let env = own.servers(&["env"]);
        let line = env.lines().find_map(|line| line.split_once("OTTER_SERVERS_MYSQL_SOURCE=")).unwrap();
        own.address = line.1.trim_matches('\'').to_owned();
        own
    }

    /// Stops it, gives it another server_uuid as a copy of its data has, and starts it again at the same address.
    pub(crate) fn as_another_server(&self) {
        self.servers(&["down"]);
        std::fs::remove_file(self.folder.path().join("mysql_source/data/auto.cnf")).unwrap();
        self.servers(&["restart", "mysql_source"]);
    }

    fn servers(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/servers");
        let output = Command::new(script).args(arguments).arg(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for OwnMysql {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.servers(&["down"]);
            return;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/servers");
        drop(Command::new(script).arg("down").arg(self.folder.path()).output());
    }
}

/// A MariaDB server for one test, gone with it.
pub(crate) struct OwnServer {
    child: Child,
    pub(crate) address: String,
    folder: Option<tempfile::TempDir>,
}

impl OwnServer {
    /// On a free port; on another one while somebody else takes it in between.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::install(folder.path());
        let mut folder = Some(folder);
        for _ in 0..5 {
            let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let home = folder.take().unwrap();
            match Self::spawn(home, port).answering(port).await {
                Ok(server) => return server,
                Err(home) => folder = Some(home),
            }
        }
        panic!("the server ended at its start, five times; see the log in its folder");
    }

    fn install(folder: &Path) {
        let path = folder.display();
        let text = format!(
            "[mysqld]\ndatadir={path}/data\nsocket={path}/s\npid-file={path}/pid\nlog-error={path}/log\n\
             bind-address=127.0.0.1\nskip-name-resolve\nserver_id=5\nlog_bin=bin\ngtid_strict_mode=1\n\
             binlog_format=ROW\nbinlog_row_image=FULL\nbinlog_row_metadata=FULL\nperformance_schema=OFF\n\
             innodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\n"
        );
        std::fs::write(folder.join("my.cnf"), text).unwrap();
        let mut install = Command::new("mariadb-install-db");
        install.arg(defaults(folder)).args([
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            "--user=root",
        ]);
        let installed = install.output().expect("mariadb-install-db is not installed: see ./deploy/test");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }

    fn spawn(folder: tempfile::TempDir, port: u16) -> Self {
        let mut command = Command::new("mariadbd");
        command.arg(defaults(folder.path())).arg(format!("--port={port}")).arg("--user=root");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, address: format!("127.0.0.1:{port}"), folder: Some(folder) }
    }

    /// The server once it answers, or its folder when it has ended.
    async fn answering(mut self, port: u16) -> Result<Self, tempfile::TempDir> {
        let begin = Instant::now();
        loop {
            let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"));
            let last = Conn::new(opts.prefer_socket(false)).await.err();
            if self.child.try_wait().unwrap().is_some() {
                return Err(self.folder.take().unwrap());
            }
            let Some(last) = last else { return Ok(self) };
            assert!(begin.elapsed() < PATIENCE, "the server does not answer: {last}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn defaults(folder: &Path) -> String {
    format!("--defaults-file={}", folder.join("my.cnf").display())
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A proxy before the server that does damage on demand.
pub(crate) struct Proxy {
    pub(crate) address: String,
    damage: Arc<Damage>,
}

#[derive(Default)]
struct Damage {
    /// Lets nothing through any more, without closing.
    stall: AtomicBool,
    cut: CancellationToken,
}

impl Proxy {
    /// Flips a bit in the first byte of `marker` wherever the server sends it.
    pub(crate) async fn start(server: &str, marker: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let damage = Arc::new(Damage::default());
        let (server, shared) = (server.to_owned(), Arc::clone(&damage));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, upstream, marker, Arc::clone(&shared)));
            }
        });
        Self { address, damage }
    }

    pub(crate) fn stall(&self) {
        self.damage.stall.store(true, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self) {
        self.damage.cut.cancel();
    }
}

async fn forward(client: TcpStream, server: TcpStream, marker: &'static [u8], damage: Arc<Damage>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upwards = tokio::io::copy(&mut from_client, &mut to_server);
    // Packet by packet, so that the marker is never cut in two.
    let downwards = async {
        let mut head = [0; 4];
        while from_server.read_exact(&mut head).await.is_ok() {
            let mut packet = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16];
            if from_server.read_exact(&mut packet).await.is_err() {
                return;
            }
            if let Some(at) = packet.windows(marker.len().max(1)).position(|w| w == marker) {
                packet[at] ^= 1;
            }
            if damage.stall.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if to_client.write_all(&[&head[..], &packet].concat()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = upwards => {}
        () = downwards => {}
        () = damage.cut.cancelled() => {}
    }
}
