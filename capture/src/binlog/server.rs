//! The source server: connecting to the first address that answers, its facts, and where its binlog can be entered.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use schemas::check::Level;
use schemas::checkpoint::Flavor;
use schemas::documents::{Source, Start};
use schemas::gtid::GtidPosition;
use schemas::server::ServerAccess;
use schemas::table::{ColumnType, TableStructure};
use schemas::{Code, Error, Result};

use super::settings::{self, Verdict};

/// How long an address has for its answer, login included, and a query for its result.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest packet of a dump: a row of the largest `max_allowed_packet` is a little larger than that setting.
const DUMP_PACKET: usize = 1 << 30;

/// Collation ids with the names of their character sets.
#[derive(Debug, Clone, Default)]
pub struct Collations(HashMap<u64, String>);

impl Collations {
    /// The character set of a collation.
    pub fn charset(&self, collation: u64) -> Option<&str> {
        self.0.get(&collation).map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<(u64, S)> for Collations {
    fn from_iter<I: IntoIterator<Item = (u64, S)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(id, charset)| (id, charset.into())).collect())
    }
}

/// A source server that answered and fits, with what does not change while it runs.
#[derive(Debug, Clone)]
pub struct SourceServer {
    opts: Opts,
    /// The address that answered, `host:port`.
    pub address: String,
    /// The user as the server knows it, quoted: `` `otter`@`%` ``.
    pub user: String,
    /// What kind of server it is.
    pub flavor: Flavor,
    /// Its version, as it says it.
    pub version: String,
    /// Its server_id.
    pub server_id: u32,
    /// Its collations.
    pub collations: Collations,
}

/// Connects to the first address of the source that answers, and checks version, settings and grants there.
///
/// # Errors
/// `SourceUnreachable` with what each address said; `SourceSetting` and `SourceGrant` with the SQL that puts it right;
/// `SecretMissing`.
pub async fn connect(source: &Source) -> Result<SourceServer> {
    let (server, verdicts) = inspect(source).await?;
    match verdicts.iter().find(|v| v.level == Level::Error) {
        Some(wrong) => Err(wrong.error()),
        None => Ok(server),
    }
}

/// Connects and judges, whatever the judgement.
pub(crate) async fn inspect(source: &Source) -> Result<(SourceServer, Vec<Verdict>)> {
    let (opts, mut conn) = first_answer(&ServerAccess::from(source).options()?).await?;
    let address = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
    let mut server = SourceServer {
        opts,
        address,
        user: String::new(),
        flavor: Flavor::Mariadb,
        version: String::new(),
        server_id: 0,
        collations: Collations::default(),
    };
    server.version = server.ask(conn.query_first("SELECT VERSION()")).await?.unwrap_or_default();
    let mut verdicts = vec![settings::judge_version(&server.version)];
    if verdicts[0].level == Level::Ok {
        verdicts.extend(server.learn(&mut conn).await?);
    }
    close(conn).await;
    Ok((server, verdicts))
}

async fn first_answer(options: &[Opts]) -> Result<(Opts, Conn)> {
    let mut refusals: Vec<String> = Vec::new();
    for opts in options {
        let refusal = match tokio::time::timeout(ANSWER, Conn::new(opts.clone())).await {
            Ok(Ok(conn)) => return Ok((opts.clone(), conn)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ANSWER:?}"),
        };
        let tls = if opts.ssl_opts().is_some() { "with TLS" } else { "without TLS" };
        refusals.push(format!("{}:{} {tls}: {refusal}", opts.ip_or_hostname(), opts.tcp_port()));
    }
    Err(Error::new(Code::SourceUnreachable, refusals.join("; ")))
}

/// Says goodbye; a connection that is already broken needs none.
async fn close(conn: Conn) {
    if let Err(error) = conn.disconnect().await {
        tracing::debug!(%error, "a connection to the source did not close in order");
    }
}

impl SourceServer {
    /// A connection for queries, to the address that answered.
    ///
    /// # Errors
    /// `SourceUnreachable`.
    pub async fn connection(&self) -> Result<Conn> {
        self.open(self.opts.clone()).await
    }

    /// A connection that takes packets of any size.
    pub(super) async fn dump_connection(&self) -> Result<Conn> {
        self.open(OptsBuilder::from_opts(self.opts.clone()).max_allowed_packet(Some(DUMP_PACKET)).into()).await
    }

    async fn open(&self, opts: Opts) -> Result<Conn> {
        let unreachable = |what: String| Error::new(Code::SourceUnreachable, format!("{}: {what}", self.address));
        match tokio::time::timeout(ANSWER, Conn::new(opts)).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(unreachable(error.to_string()).with_source(error)),
            Err(_) => Err(unreachable(format!("no answer within {ANSWER:?}"))),
        }
    }

    /// The error of a query that failed.
    pub(crate) fn failed(&self, what: &str, error: mysql_async::Error) -> Error {
        let code = match &error {
            mysql_async::Error::Server(e) if [1044, 1045, 1142, 1227].contains(&e.code) => Code::SourceGrant,
            _ => Code::SourceUnreachable,
        };
        Error::new(code, format!("{}: cannot {what}: {error}", self.address)).with_source(error)
    }

    /// A query's result within the time that a server has for it.
    async fn ask<T>(&self, query: impl Future<Output = mysql_async::Result<T>>) -> Result<T> {
        match tokio::time::timeout(ANSWER, query).await {
            Ok(answer) => answer.map_err(|e| self.failed("query the server", e)),
            Err(_) => {
                let message = format!("{}: no answer to a query within {ANSWER:?}", self.address);
                Err(Error::new(Code::SourceUnreachable, message))
            }
        }
    }

    /// Reads facts, settings and grants of a MariaDB server.
    async fn learn(&mut self, conn: &mut Conn) -> Result<Vec<Verdict>> {
        let columns = settings::VARIABLES.map(|name| format!("CAST(@@global.{name} AS CHAR) AS {name}")).join(", ");
        let row: Option<Row> = self.ask(conn.query_first(format!("SELECT {columns}"))).await?;
        let value = |name: &str| -> String {
            let value = row.as_ref().and_then(|row| row.get_opt::<Option<String>, _>(name));
            value.and_then(Result::ok).flatten().unwrap_or_default()
        };
        self.server_id = value("server_id").parse().unwrap_or_default();
        let current: Option<String> = self.ask(conn.query_first("SELECT CURRENT_USER()")).await?;
        self.user = quoted_account(&current.unwrap_or_default());
        let grants: Vec<String> = self.ask(conn.query("SHOW GRANTS")).await?;
        self.collations = self.read_collations(conn).await?;
        let mut verdicts = settings::judge_variables(value);
        verdicts.extend(settings::judge_grants(&grants, &self.user));
        Ok(verdicts)
    }

    async fn read_collations(&self, conn: &mut Conn) -> Result<Collations> {
        // Since 10.10 one collation name stands for several character sets, each with an id of its own.
        let sql = if settings::mariadb_version(&self.version) >= Some((10, 10, 0)) {
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
        } else {
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
        };
        let pairs: Vec<(u64, String)> = self.ask(conn.query(sql)).await?;
        Ok(pairs.into_iter().collect())
    }

    /// In words: the part of the binlog that the server still has.
    pub(super) async fn available(&self) -> String {
        let read = async {
            let mut conn = self.connection().await?;
            let first = self.earliest(&mut conn).await?;
            let last = self.latest(&mut conn).await?;
            close(conn).await;
            Ok::<_, Error>((first, last))
        };
        match read.await {
            Ok((first, last)) if first.is_empty() => format!("it has everything up to GTID {last}"),
            Ok((first, last)) => format!("it has what is behind GTID {first}, up to GTID {last}"),
            Err(error) => format!("what it has could not be read ({error})"),
        }
    }

    async fn latest(&self, conn: &mut Conn) -> Result<GtidPosition> {
        let text: Option<String> = self.ask(conn.query_first("SELECT @@global.gtid_binlog_pos")).await?;
        self.position(&text.unwrap_or_default())
    }

    /// The position at the head of the oldest file.
    async fn earliest(&self, conn: &mut Conn) -> Result<GtidPosition> {
        let oldest: Option<Row> = self.ask(conn.query_first("SHOW BINARY LOGS")).await?;
        let file: Option<String> = oldest.and_then(|row| row.get_opt(0)).and_then(Result::ok);
        let Some(file) = file else {
            return Err(Error::new(Code::SourceSetting, format!("{}: the server has no binlog files", self.address)));
        };
        let text: Option<Option<String>> = self.ask(conn.exec_first("SELECT BINLOG_GTID_POS(?, 4)", (&file,))).await?;
        match text.flatten() {
            Some(text) => self.position(&text),
            // NULL: the file went away in between, or cannot be read.
            None => {
                let message = format!("{}: the GTID position at the head of {file} cannot be read", self.address);
                Err(Error::new(Code::SourceUnreachable, message))
            }
        }
    }

    fn position(&self, text: &str) -> Result<GtidPosition> {
        text.parse().map_err(|e: Error| {
            let message = format!("{}: the server's GTID position {text:?} cannot be read", self.address);
            Error::new(Code::SourceSetting, message).with_source(e)
        })
    }
}

/// Turns `latest`, `earliest` or a GTID position into the position to start behind.
///
/// # Errors
/// `SourceUnreachable`, `SourceGrant`.
pub async fn resolve_start(server: &SourceServer, start: &Start) -> Result<GtidPosition> {
    if let Start::Gtid(position) = start {
        return Ok(position.clone());
    }
    let mut conn = server.connection().await?;
    let position = match start {
        Start::Latest => server.latest(&mut conn).await,
        _ => server.earliest(&mut conn).await,
    };
    close(conn).await;
    position
}

/// Refuses a server on which XA transactions are prepared: a position taken now lies behind their rows, and their commit
/// would pass with nothing to publish. A new source asks before and after its position is taken.
///
/// # Errors
/// `SourceSetting` when there are any; `SourceUnreachable` when the server cannot be asked.
pub async fn refuse_prepared(server: &SourceServer) -> Result<()> {
    let mut conn = server.connection().await?;
    let prepared = server.ask(conn.query::<mysql_async::Row, _>("XA RECOVER")).await;
    close(conn).await;
    match prepared?.len() {
        0 => Ok(()),
        count => {
            let message = format!(
                "{}: {count} prepared XA transactions (XA RECOVER lists them), whose rows lie before the start; \
                 commit or roll them back, then put the source again",
                server.address
            );
            Err(Error::new(Code::SourceSetting, message))
        }
    }
}

/// Makes sure that columns which the binlog shows as BINARY(4) or BINARY(16) are no INET4, INET6 or UUID. A column
/// that the server no longer has cannot be known, and passes.
///
/// # Errors
/// `TypeUnsupported` naming the column; `SourceUnreachable` when the server cannot be asked.
pub async fn verify_binary_columns(server: &SourceServer, structure: &TableStructure) -> Result<()> {
    let doubtful = |ty: &ColumnType| matches!(ty, ColumnType::Binary { length: 4 | 16, .. });
    if !structure.columns.iter().any(|c| doubtful(&c.ty)) {
        return Ok(());
    }
    let mut conn = server.connection().await?;
    let sql = "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=? AND TABLE_NAME=?";
    let name = &structure.name;
    let types: HashMap<String, String> =
        server.ask(conn.exec::<(String, String), _, _>(sql, (&name.schema, &name.table))).await?.into_iter().collect();
    close(conn).await;
    let wrong = structure.columns.iter().filter(|c| doubtful(&c.ty)).find_map(|column| {
        let real = types.get(&column.name)?;
        (!real.eq_ignore_ascii_case("binary")).then_some((column, real))
    });
    match wrong {
        None => Ok(()),
        Some((column, real)) => Err(Error::new(
            Code::TypeUnsupported,
            format!(
                "column {} of {name} is of type {}, which this version does not carry",
                column.name,
                real.to_uppercase()
            ),
        )),
    }
}

/// `otter@%` as SQL takes it.
fn quoted_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("`{}`@`{}`", user.replace('`', "``"), host.replace('`', "``"))
}
