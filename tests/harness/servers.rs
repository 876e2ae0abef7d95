//! The servers that `deploy/servers` starts: shared ones, and private ones for tests that kill or restart them.

use super::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Addresses as `host:port`.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) kafka: String,
    pub(crate) zookeeper: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) mysql_source: String,
    pub(crate) mysql_target: String,
}

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mariadb,
    Mysql,
}

impl Servers {
    /// Those that all tests share.
    pub(crate) fn shared() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: run the tests through ./deploy/test"))
        };
        Ok(Self {
            kafka: variable("OTTER_SERVERS_KAFKA")?,
            zookeeper: variable("OTTER_SERVERS_ZOOKEEPER")?,
            source: variable("OTTER_SERVERS_SOURCE")?,
            target: variable("OTTER_SERVERS_TARGET")?,
            mysql_source: variable("OTTER_SERVERS_MYSQL_SOURCE")?,
            mysql_target: variable("OTTER_SERVERS_MYSQL_TARGET")?,
        })
    }

    /// The same ones, with the servers of these kinds as `source` and `target`.
    pub(crate) fn between(mut self, from: Kind, to: Kind) -> Self {
        if from == Kind::Mysql {
            self.source.clone_from(&self.mysql_source);
        }
        if to == Kind::Mysql {
            self.target.clone_from(&self.mysql_target);
        }
        self
    }
}

/// A server, as `deploy/servers` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Kafka,
    ZooKeeper,
    Source,
    MysqlSource,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::ZooKeeper => "zookeeper",
            Self::Source => "source",
            Self::MysqlSource => "mysql_source",
        }
    }
}

/// Servers of one test; they end with it.
#[derive(Debug)]
pub(crate) struct Private {
    folder: TempDir,
    /// Whether they keep the names of schemas and tables in lower case.
    lower_case: bool,
    /// The private ones, and the shared ones for the rest.
    pub(crate) servers: Servers,
}

impl Private {
    /// Starts the servers named and waits until they are ready.
    pub(crate) async fn start(names: &[Name]) -> Result<Self> {
        Self::start_with(names, false).await
    }

    /// The same, of database servers with `lower_case_table_names=1`.
    pub(crate) async fn start_in_lower_case(names: &[Name]) -> Result<Self> {
        Self::start_with(names, true).await
    }

    async fn start_with(names: &[Name], lower_case: bool) -> Result<Self> {
        let servers = Servers::shared()?;
        let folder = match std::env::var_os("OTTER_SERVERS_DIR") {
            // beside the shared ones, so that deploy/test finds what an interrupted test left behind
            Some(dir) => tempfile::Builder::new().prefix("private-").tempdir_in(PathBuf::from(dir)),
            None => tempfile::Builder::new().prefix("otter-servers-").tempdir(),
        }?;
        let list: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let mut private = Self { folder, lower_case, servers };
        private.script(&["up", "--only", &list.join(",")]).await?;
        for name in names {
            let port = std::fs::read_to_string(private.path().join(name.as_str()).join("port"))?;
            let address = format!("127.0.0.1:{}", port.trim());
            match name {
                Name::Kafka => private.servers.kafka = address,
                Name::ZooKeeper => private.servers.zookeeper = address,
                Name::Source => private.servers.source = address,
                Name::MysqlSource => private.servers.mysql_source = address,
            }
        }
        Ok(private)
    }

    /// kill -9.
    pub(crate) async fn kill(&self, name: Name) -> Result<()> {
        self.script(&["kill", name.as_str()]).await
    }

    /// Stops it if it runs, starts it on its old port and waits until it is ready.
    pub(crate) async fn restart(&self, name: Name) -> Result<()> {
        self.script(&["restart", name.as_str()]).await
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn script(&self, arguments: &[&str]) -> Result<()> {
        let mut command = tokio::process::Command::from(script(arguments, self.path()));
        if self.lower_case {
            command.env("OTTER_SERVERS_LOWER_CASE", "1");
        }
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "deploy/servers {arguments:?} ended with {}: {text}", output.status);
        Ok(())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = script(&["down"], self.path()).status() {
            println!("deploy/servers down: {error}");
        }
    }
}

fn script(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/servers"));
    command.args(arguments).arg(folder).stdin(Stdio::null());
    command
}
