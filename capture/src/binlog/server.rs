//! The source server: connecting to the first address that answers, and its facts.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use schemas::check::Level;
use schemas::checkpoint::Flavor;
use schemas::checkpoint::ServerIdentity;
use schemas::documents::{PositionMode, Source};
use schemas::gtid::Uuid;
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
    /// Its server_uuid; MySQL only.
    pub server_uuid: Option<Uuid>,
    /// Whether its binlog can be read by GTID: always on MariaDB, with `gtid_mode=ON` on MySQL.
    pub gtids: bool,
    /// How its source's position is kept.
    pub mode: PositionMode,
    /// Its collations.
    pub collations: Collations,
    /// Whether it keeps the names of schemas and tables in lower case, and takes every spelling for the same.
    pub folds_names: bool,
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
        server_uuid: None,
        gtids: true,
        mode: source.position,
        collations: Collations::default(),
        folds_names: false,
    };
    server.version = server.ask(conn.query_first("SELECT VERSION()")).await?.unwrap_or_default();
    let mut verdicts = vec![settings::judge_version(&server.version)];
    if verdicts[0].level == Level::Ok {
        server.flavor = settings::version(&server.version).map_or(Flavor::Mariadb, |(flavor, _)| flavor);
        verdicts.extend(server.learn(&mut conn).await?);
        verdicts.extend(server.folds_names.then(|| settings::judge_names(source)));
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
pub(super) async fn close(conn: Conn) {
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
    pub(super) async fn ask<T>(&self, query: impl Future<Output = mysql_async::Result<T>>) -> Result<T> {
        match tokio::time::timeout(ANSWER, query).await {
            Ok(answer) => answer.map_err(|e| self.failed("query the server", e)),
            Err(_) => {
                let message = format!("{}: no answer to a query within {ANSWER:?}", self.address);
                Err(Error::new(Code::SourceUnreachable, message))
            }
        }
    }

    /// Makes sure that a new connection leads to the server that was looked at: behind an address that moves, a file and
    /// an offset would mean something else.
    ///
    /// # Errors
    /// `SourceUnreachable` when it is another; it is looked at anew.
    pub(super) async fn check_identity(&self, conn: &mut Conn) -> Result<()> {
        let uuid = if self.server_uuid.is_some() { "@@global.server_uuid" } else { "''" };
        let sql = format!("SELECT @@global.server_id, {uuid}");
        let (server_id, uuid): (u32, String) = self.ask(conn.query_first(sql)).await?.unwrap_or_default();
        if server_id == self.server_id && uuid.parse().ok() == self.server_uuid {
            return Ok(());
        }
        let message = format!("{}: another server answers now than at first, {}", self.address, self.identity());
        Err(Error::new(Code::SourceUnreachable, message))
    }

    /// Which server it is, for checkpoints.
    pub fn identity(&self) -> ServerIdentity {
        ServerIdentity {
            flavor: self.flavor,
            server_id: self.server_id,
            server_uuid: self.server_uuid.map(|uuid| uuid.to_string()),
        }
    }

    /// Whether the server is of this version or newer.
    pub(crate) fn is_from(&self, version: (u16, u16, u16)) -> bool {
        settings::version(&self.version).is_some_and(|(_, own)| own >= version)
    }

    /// Reads facts, settings and grants.
    async fn learn(&mut self, conn: &mut Conn) -> Result<Vec<Verdict>> {
        let variables = settings::variables(self.flavor);
        let columns = variables.iter().map(|name| format!("CAST(@@global.{name} AS CHAR) AS {name}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let row: Option<Row> = self.ask(conn.query_first(format!("SELECT {columns}"))).await?;
        let value = |name: &str| -> String {
            let value = row.as_ref().and_then(|row| row.get_opt::<Option<String>, _>(name));
            value.and_then(Result::ok).flatten().unwrap_or_default()
        };
        self.server_id = value("server_id").parse().unwrap_or_default();
        let current: Option<String> = self.ask(conn.query_first("SELECT CURRENT_USER()")).await?;
        self.user = quoted_account(&current.unwrap_or_default());
        self.folds_names = !["", "0"].contains(&value("lower_case_table_names").as_str());
        if self.flavor == Flavor::Mysql {
            self.server_uuid = value("server_uuid").parse().ok();
            self.gtids = value("gtid_mode") == "ON";
        }
        let grants = self.read_grants(conn).await?;
        self.collations = self.read_collations(conn).await?;
        let mut verdicts = settings::judge_variables(self.flavor, self.mode, value);
        verdicts.extend(settings::judge_grants(self.flavor, &grants, &self.user));
        Ok(verdicts)
    }

    /// The lines of SHOW GRANTS with what active roles add; MariaDB shows that by itself.
    async fn read_grants(&self, conn: &mut Conn) -> Result<Vec<String>> {
        let mut sql = "SHOW GRANTS".to_owned();
        if self.flavor == Flavor::Mysql {
            let roles: Option<String> = self.ask(conn.query_first("SELECT CURRENT_ROLE()")).await?;
            if let Some(roles) = roles.filter(|roles| !roles.is_empty() && roles != "NONE") {
                sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
            }
        }
        self.ask(conn.query(sql)).await
    }

    async fn read_collations(&self, conn: &mut Conn) -> Result<Collations> {
        // Since 10.10 one collation name stands for several character sets, each with an id of its own.
        let sql = if self.flavor == Flavor::Mariadb && self.is_from((10, 10, 0)) {
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
        } else {
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
        };
        let pairs: Vec<(u64, String)> = self.ask(conn.query(sql)).await?;
        Ok(pairs.into_iter().collect())
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
