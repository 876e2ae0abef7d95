//! MariaDB and MySQL as tests use them: statements, and the equality of two tables.

use super::{Context as _, Kind, Result, bail, ensure, wait_for};
use futures_util::StreamExt as _;
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, OptsBuilder};
use std::time::Duration;

/// A connection as root.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Conn,
    kind: Kind,
}

impl Database {
    /// Connects to `host:port`.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let (host, port) = address.rsplit_once(':').context("an address is host:port")?;
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port.parse()?)
            .user(Some("root"))
            .prefer_socket(false)
            .init(vec!["SET NAMES utf8mb4", "SET time_zone = '+00:00'"]);
        let mut connection = Conn::new(options).await.with_context(|| format!("cannot connect to {address}"))?;
        let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
        let mariadb = version.context("no version")?.contains("MariaDB");
        Ok(Self { connection, kind: if mariadb { Kind::Mariadb } else { Kind::Mysql } })
    }

    /// What server it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Runs a statement; rows affected.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<u64> {
        self.connection.query_drop(statement).await.with_context(|| shortened(statement))?;
        Ok(self.connection.affected_rows())
    }

    /// The first row of the answer.
    pub(crate) async fn row<T: FromRow + Send + 'static>(&mut self, statement: &str) -> Result<T> {
        self.maybe_row(statement).await?.with_context(|| format!("no row: {statement}"))
    }

    /// The first row of the answer, if it has any.
    pub(crate) async fn maybe_row<T: FromRow + Send + 'static>(&mut self, statement: &str) -> Result<Option<T>> {
        self.connection.query_first(statement).await.with_context(|| shortened(statement))
    }

    /// All rows of the answer.
    pub(crate) async fn rows<T: FromRow + Send + 'static>(&mut self, statement: &str) -> Result<Vec<T>> {
        self.connection.query(statement).await.with_context(|| shortened(statement))
    }

    /// The server's GTID position: all that it has committed.
    pub(crate) async fn gtid(&mut self) -> Result<String> {
        match self.kind {
            Kind::Mariadb => self.row("SELECT @@global.gtid_binlog_pos").await,
            Kind::Mysql => self.row("SELECT REPLACE(@@global.gtid_executed, '\n', '')").await,
        }
    }

    /// The file and position at which its binlog ends.
    pub(crate) async fn file(&mut self) -> Result<(String, u64)> {
        let statement = match self.kind {
            Kind::Mariadb => "SHOW MASTER STATUS",
            Kind::Mysql => "SHOW BINARY LOG STATUS",
        };
        let row: mysql_async::Row = self.row(statement).await?;
        Ok((row.get(0).context("no file")?, row.get(1).context("no position")?))
    }

    /// A table expression with the column `seq`: the numbers from `first` to `last`, at most 1,000 of them unless the session
    /// allows more.
    pub(crate) fn numbers(&self, first: u32, last: u32) -> String {
        match self.kind {
            Kind::Mariadb => format!("seq_{first}_to_{last}"),
            Kind::Mysql => format!(
                "(WITH RECURSIVE numbers (seq) AS (SELECT CAST({first} AS UNSIGNED) \
                 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {last}) SELECT seq FROM numbers) numbers"
            ),
        }
    }

    /// For each column of a table, in order: an expression that gives its bytes in hex, without loss.
    async fn exact_columns(&mut self, table: &str) -> Result<Vec<String>> {
        let (schema, name) = table.split_once('.').context("a table is schema.table")?;
        let columns: Vec<(String, String)> = self
            .rows(&format!(
                "SELECT column_name, data_type FROM information_schema.columns \
                 WHERE table_schema = '{schema}' AND table_name = '{name}' ORDER BY ordinal_position"
            ))
            .await?;
        ensure!(!columns.is_empty(), "there is no table {table}");
        let exact = columns.into_iter().map(|(column, kind)| {
            let column = column.replace('`', "``");
            let text = match kind.as_str() {
                "float" => format!("CAST(`{column}` AS DOUBLE)"), // as text a float keeps 6 digits only
                _ => format!("`{column}`"),
            };
            format!("COALESCE(HEX(CAST({text} AS BINARY)), 'NULL')")
        });
        Ok(exact.collect())
    }

    /// Count and checksum of a table's rows; quick, and good enough to wait for.
    pub(crate) async fn checksum(&mut self, table: &str) -> Result<(u64, u64)> {
        let columns = self.exact_columns(table).await?.join(", ");
        self.row(&format!("SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(',', {columns}))), 0) FROM {table}")).await
    }
}

fn shortened(statement: &str) -> String {
    statement.chars().take(300).collect()
}

/// Waits until two tables have the same checksum and are equal row by row, column by column. The target may be equal for
/// a moment and go on: emptied by one TRUNCATE while another one lies before it.
pub(crate) async fn wait_equal(
    (source, from): (&mut Database, &str),
    (target, to): (&mut Database, &str),
    limit: Duration,
) -> Result<()> {
    let expected = source.checksum(from).await?;
    wait_for(&format!("{to} to equal {from}"), limit, async || {
        let seen = target.checksum(to).await.map_err(|error| format!("{error:#}"))?;
        if seen != expected {
            return Err(format!("count and checksum {seen:?}, not {expected:?}"));
        }
        exactly_equal((source, from), (target, to)).await.map_err(|error| format!("{error:#}"))
    })
    .await
}

/// Compares two tables row by row in the order of their first column, which must be the key.
pub(crate) async fn exactly_equal(
    (source, from): (&mut Database, &str),
    (target, to): (&mut Database, &str),
) -> Result<()> {
    let statement =
        |columns: Vec<String>, table| format!("SELECT CONCAT_WS(',', {}) FROM {table} ORDER BY 1", columns.join(", "));
    let (a, b) = (statement(source.exact_columns(from).await?, from), statement(target.exact_columns(to).await?, to));
    let mut expected = source.connection.query_stream::<String, _>(a).await?;
    let mut seen = target.connection.query_stream::<String, _>(b).await?;
    loop {
        match (expected.next().await.transpose()?, seen.next().await.transpose()?) {
            (None, None) => return Ok(()),
            (a, b) if a == b => {}
            (a, b) => bail!("{from} has {a:?} where {to} has {b:?} (hex of the columns, in order)"),
        }
    }
}
