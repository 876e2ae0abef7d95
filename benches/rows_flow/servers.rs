//! The servers that `deploy/bench` started, from the `OTTER_SERVERS_` variables.

use anyhow::{Context as _, Result};
use mysql_async::{Conn, OptsBuilder};

/// Addresses (`host:port`) of the servers.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) kafka: String,
    pub(crate) zookeeper: String,
    pub(crate) source: String,
    pub(crate) target: String,
}

impl Servers {
    /// Reads the variables; a missing one is an error that names `deploy/bench`.
    pub(crate) fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set; run ./deploy/bench"));
        Ok(Self {
            kafka: var("OTTER_SERVERS_KAFKA")?,
            zookeeper: var("OTTER_SERVERS_ZOOKEEPER")?,
            source: var("OTTER_SERVERS_SOURCE")?,
            target: var("OTTER_SERVERS_TARGET")?,
        })
    }

    /// A root connection to one of the database servers.
    pub(crate) async fn connect(address: &str) -> Result<Conn> {
        Ok(Conn::new(Self::options(address)?).await?)
    }

    /// Options of a root connection.
    pub(crate) fn options(address: &str) -> Result<OptsBuilder> {
        let (host, port) = address.rsplit_once(':').context("an address is host:port")?;
        Ok(OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port.parse()?)
            .user(Some("root"))
            .prefer_socket(false)
            .setup(vec!["SET time_zone = '+00:00'", "SET NAMES utf8mb4"]))
    }
}
