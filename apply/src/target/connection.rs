//! One connection to a target, with the session settings that make rows land as they were logged.
//!
//! Strictness stays on: a value that does not fit must be an error, never a truncation. What is switched off is only
//! what would rewrite values that are right at the source (AUTO_INCREMENT zero, zero dates) or refuse them out of order
//! (foreign keys). `wait_timeout` is short so that the locks of a frozen owner are released; an owner that is merely
//! idle calls [`Session::ping`] more often than that.
//!
//! Failure: every round trip has a deadline; after [`Fault::Lost`] the session is not usable and is dropped.

use std::future::Future;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Params, Value};
use schemas::{Code, Error};

use super::failure::{Failure, Fault};

/// Longest wait for a connection and its session settings.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for one answer. Statements are cut far below it; a server that takes longer counts as lost.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// After this long without a statement the server closes the session and frees its locks; ping more often.
pub const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of a packet that are not rows: header, statement id, types, a statement's fixed text.
const PACKET_MARGIN: usize = 16 * 1024;
/// A statement grows no further than this, whatever the server allows.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// A connection to a target, ready for batches.
#[derive(Debug)]
pub struct Session {
    conn: Conn,
    facts: ServerFacts,
}

/// What a session asked of its server.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// The server's version, as it says it.
    pub version: String,
    /// Largest packet that the server takes, in bytes.
    pub max_allowed_packet: usize,
    /// Whether one packet may carry many rows of a prepared statement (MariaDB).
    pub bulk: bool,
    /// Whether names of tables compare without case.
    pub folds_table_names: bool,
}

impl Session {
    /// Connects with the first of `opts` that works and sets the session.
    ///
    /// # Errors
    /// [`Fault::Lost`] with `OT5001` when none works.
    pub async fn connect(opts: &[Opts]) -> Result<Self, Failure> {
        let mut last = Failure::lost("the target has no address");
        for opts in opts {
            match tokio::time::timeout(CONNECT_DEADLINE, Self::open(opts.clone())).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(failure)) => last = failure,
                Err(_) => last = Failure::lost(format!("no answer within {} s", CONNECT_DEADLINE.as_secs())),
            }
        }
        let message = match opts.first() {
            Some(opts) => format!("{}:{}: {}", opts.ip_or_hostname(), opts.tcp_port(), last.error.message()),
            None => last.error.message().to_owned(),
        };
        Err(Failure { fault: Fault::Lost, error: Error::new(Code::TargetUnreachable, message).with_source(last.error) })
    }

    async fn open(opts: Opts) -> Result<Self, Failure> {
        let mut conn = Conn::new(opts).await?;
        conn.query_drop(format!(
            "SET NAMES utf8mb4, SESSION time_zone = '+00:00', SESSION autocommit = 1, SESSION foreign_key_checks = 0, \
             SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
             SESSION wait_timeout = {}, SESSION innodb_lock_wait_timeout = 3, SESSION lock_wait_timeout = 3, \
             SESSION unique_checks = 1, SESSION sql_safe_updates = 0; \
             SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            IDLE_LIMIT.as_secs()
        ))
        .await?;
        let facts: Option<(String, usize, u8)> =
            conn.query_first("SELECT VERSION(), @@max_allowed_packet, @@lower_case_table_names").await?;
        let (version, max_allowed_packet, folding) =
            facts.ok_or_else(|| Failure::lost("the target did not say its version"))?;
        let bulk = version.contains("MariaDB");
        Ok(Self { conn, facts: ServerFacts { version, max_allowed_packet, bulk, folds_table_names: folding != 0 } })
    }

    /// What the server is.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The connection's number at the server, as its process list shows it.
    pub fn connection_id(&self) -> u32 {
        self.conn.id()
    }

    /// Keeps an idle session alive; call it more often than [`IDLE_LIMIT`].
    ///
    /// # Errors
    /// [`Fault::Lost`].
    pub async fn ping(&mut self) -> Result<(), Failure> {
        answer(self.conn.ping()).await
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        // A server that does not answer the goodbye closes the session by itself.
        if tokio::time::timeout(Duration::from_secs(1), self.conn.disconnect()).await.is_err() {
            tracing::debug!("the target did not answer the goodbye");
        }
    }

    /// Bytes of rows that one statement may carry.
    pub(crate) fn statement_budget(&self) -> usize {
        self.row_limit().min(STATEMENT_BYTES)
    }

    /// Bytes above which a single row cannot be sent at all.
    pub(crate) fn row_limit(&self) -> usize {
        self.facts.max_allowed_packet.saturating_sub(PACKET_MARGIN)
    }

    /// Runs text statements; the count is that of the last one (rows found, for an UPDATE).
    pub(crate) async fn run(&mut self, sql: impl Into<Vec<u8>>) -> Result<u64, Failure> {
        let sql: Vec<u8> = sql.into();
        answer(self.conn.query_drop(sql)).await?;
        Ok(self.conn.affected_rows())
    }

    /// Runs text statements; the count of each (rows found, for an UPDATE).
    pub(crate) async fn run_each(&mut self, sql: String) -> Result<Vec<u64>, Failure> {
        let conn = &mut self.conn;
        let run = async {
            let mut result = conn.query_iter(sql).await?;
            let mut counts = vec![result.affected_rows()];
            while !result.is_empty() {
                result.for_each(drop).await?;
                counts.push(result.affected_rows());
            }
            Ok(counts)
        };
        answer(run).await
    }

    /// Runs a prepared statement once.
    pub(crate) async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, Failure> {
        answer(self.conn.exec_drop(sql, Params::Positional(values))).await?;
        Ok(self.conn.affected_rows())
    }

    /// Runs a prepared statement for many rows in one packet; only on servers with [`ServerFacts::bulk`], and only for
    /// rows that fit into [`Session::row_limit`] together: the driver would cut more into several packets and then
    /// count only the last, and declare the types of the first packet for all.
    pub(crate) async fn execute_bulk(&mut self, sql: &str, rows: Vec<Vec<Value>>) -> Result<u64, Failure> {
        answer(self.conn.exec_batch(sql, rows.into_iter().map(Params::Positional))).await?;
        Ok(self.conn.affected_rows())
    }

    /// First row of a text query.
    pub(crate) async fn first<T>(&mut self, sql: impl Into<Vec<u8>>) -> Result<Option<T>, Failure>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        let sql: Vec<u8> = sql.into();
        answer(self.conn.query_first(sql)).await
    }

    /// First row of a prepared query.
    pub(crate) async fn find<T>(&mut self, sql: &str, values: Vec<Value>) -> Result<Option<T>, Failure>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        answer(self.conn.exec_first(sql, Params::Positional(values))).await
    }

    /// All rows of a prepared query; for the server's dictionaries, not for tables of people.
    pub(crate) async fn rows<T>(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<T>, Failure>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        answer(self.conn.exec(sql, Params::Positional(values))).await
    }
}

/// Waits for an answer of the server, but not for ever.
async fn answer<T>(call: impl Future<Output = mysql_async::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_DEADLINE, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::lost(format!("no answer within {} s", ANSWER_DEADLINE.as_secs()))),
    }
}
