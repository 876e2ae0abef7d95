//! A schema of its own per test on a real target server of each kind, and a lane to write with.

use apply::target::batch::Batch;
use apply::target::connection::Session;
use apply::target::failure::Failure;
use apply::target::mapping::TableMapping;
use apply::target::progress::{Claimed, Lane, LaneKey, Start, ensure_schema};
use apply::target::writer::{BatchOutcome, Policies, WriteError, write_batch};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use schemas::decode::{Datum, DatumKind, WriterColumn};
use schemas::documents::Columns;
use schemas::encode::Op;
use schemas::table::TableName;

/// A kind of target server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Mariadb,
    Mysql,
}

impl Server {
    /// The variable that has its address.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Mariadb => "OTTER_SERVERS_TARGET",
            Self::Mysql => "OTTER_SERVERS_MYSQL_TARGET",
        }
    }

    /// Its address as `host:port`.
    pub(crate) fn address(self) -> String {
        let variable = self.variable();
        std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run the tests through ./deploy/test, which starts the servers")
        })
    }
}

/// A test on each kind of server: `on_both_servers! { name … }` for functions `async fn name(server: Server)`.
#[macro_export]
macro_rules! on_both_servers {
    ($($name:ident)*) => {
        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::harness::Server::Mariadb).await;
            })*
        }
        mod mysql {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::harness::Server::Mysql).await;
            })*
        }
    };
}

/// Options for a server, as root or as another.
pub(crate) fn options(server: Server, user: &str, password: Option<&str>) -> Opts {
    let address = server.address();
    let (host, port) = address.rsplit_once(':').expect("host:port");
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().expect("a port"))
        .user(Some(user))
        .pass(password)
        .prefer_socket(false)
        .client_found_rows(true)
        .into()
}

/// A schema of a test's own.
pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) schema: String,
    pub(crate) sql: Conn,
}

impl Place {
    /// Makes the schema anew, with the progress table in it.
    pub(crate) async fn new(server: Server, name: &str) -> Self {
        let schema = format!("otter_test_{name}_{}", std::process::id());
        let mut sql = Conn::new(options(server, "root", None)).await.expect("the target server");
        sql.query_drop(format!(
            "DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema} CHARACTER SET utf8mb4; USE {schema}"
        ))
        .await
        .expect("a schema");
        sql.query_drop("SET SESSION wait_timeout = 600, SESSION time_zone = '+00:00', SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'").await.expect("settings");
        let place = Self { server, schema, sql };
        let mut session = place.session().await;
        ensure_schema(&mut session, &place.schema).await.expect("the progress table");
        session.close().await;
        place
    }

    pub(crate) async fn session(&self) -> Session {
        Session::connect(&[options(self.server, "root", None)]).await.expect("a session")
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        self.sql.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The rows of a query, each as texts joined by `|`.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<String> {
        let rows: Vec<mysql_async::Row> = self.sql.query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let text = |row: mysql_async::Row| {
            let values = row.unwrap();
            let texts: Vec<String> = values
                .iter()
                .map(|value| match value {
                    mysql_async::Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    other => other.as_sql(false),
                })
                .collect();
            texts.join("|")
        };
        rows.into_iter().map(text).collect()
    }

    pub(crate) fn table(&self, name: &str) -> TableName {
        TableName::new(&self.schema, name)
    }

    /// Claims the test's lane.
    pub(crate) async fn claim(&self, session: &mut Session, token: &str) -> Result<(Lane, Claimed), Failure> {
        let key = LaneKey { pipeline: "p".into(), topic: "shop.a.t".into(), partition: 0 };
        let start = Start {
            generation: 0,
            next_offset: 0,
            ordinal: -1,
            topic_id: "topic".into(),
            gtid: None,
            targets: Vec::new(),
            anew: false,
        };
        Lane::claim(session, &self.schema, key, token, &start).await
    }

    pub(crate) async fn mapping(&self, writer: &[WriterColumn], table: &str) -> TableMapping {
        let mut session = self.session().await;
        let mapping = TableMapping::resolve(&mut session, writer, &Columns::default(), &self.table(table)).await;
        session.close().await;
        mapping.unwrap_or_else(|failure| panic!("{}", failure.error))
    }

    pub(crate) async fn drop(mut self) {
        let sql = format!("DROP DATABASE {}", self.schema);
        self.run(&sql).await;
    }
}

/// A token for a test's owner.
pub(crate) fn token(number: u32) -> String {
    format!("{number:032x}")
}

pub(crate) fn column(name: &str, kind: DatumKind) -> WriterColumn {
    WriterColumn { name: name.into(), kind, nullable: true, labels: Vec::new() }
}

/// A row of the model.
pub(crate) type Row = Vec<Val>;

/// A datum that owns its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Val {
    Null,
    Int(i64),
    Decimal(Vec<u8>),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Exact(String),
}

impl Val {
    pub(crate) fn datum(&self) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Int(v) => Datum::Int(*v),
            Self::Decimal(v) => Datum::Decimal(v),
            Self::Float(v) => Datum::Float(*v),
            Self::Double(v) => Datum::Double(*v),
            Self::Text(v) => Datum::Text(v),
            Self::Bytes(v) => Datum::Bytes(v),
            Self::Exact(v) => Datum::Exact(v),
        }
    }
}

pub(crate) fn text(value: &str) -> Val {
    Val::Text(value.to_owned())
}

pub(crate) fn exact(value: &str) -> Val {
    Val::Exact(value.to_owned())
}

/// A change of the model.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) op: Op,
    pub(crate) before: Row,
    pub(crate) after: Row,
}

impl Event {
    pub(crate) fn new(offset: i64, key: &[u8], op: Op, before: &[Val], after: &[Val]) -> Self {
        Self { offset, key: key.to_vec(), op, before: before.to_vec(), after: after.to_vec() }
    }

    pub(crate) fn create(offset: i64, row: &[Val]) -> Self {
        Self::new(offset, format!("{:?}", row[0]).as_bytes(), Op::Create, &[], row)
    }

    pub(crate) fn update(offset: i64, before: &[Val], after: &[Val]) -> Self {
        Self::new(offset, format!("{:?}", before[0]).as_bytes(), Op::Update, before, after)
    }

    pub(crate) fn delete(offset: i64, row: &[Val]) -> Self {
        Self::new(offset, format!("{:?}", row[0]).as_bytes(), Op::Delete, row, &[])
    }

    /// The ordinal of the event in tests.
    pub(crate) fn ordinal(&self) -> i64 {
        self.offset * 10 + 5
    }
}

pub(crate) fn batch(events: &[Event]) -> Batch<'_> {
    let mut batch = Batch::new();
    for event in events {
        let before: Vec<Datum<'_>> = event.before.iter().map(Val::datum).collect();
        let after: Vec<Datum<'_>> = event.after.iter().map(Val::datum).collect();
        batch.push((event.offset, event.ordinal()), &event.key, event.op, &before, &after);
    }
    batch
}

/// Writes events as one batch, up to the offset behind the last.
pub(crate) async fn write(
    session: &mut Session,
    lane: &mut Lane,
    mapping: &TableMapping,
    policies: Policies,
    events: &[Event],
) -> Result<BatchOutcome, WriteError> {
    let to = events.last().map_or((lane.next_offset(), lane.ordinal()), |last| (last.offset + 1, last.ordinal()));
    write_batch(session, lane, mapping, policies, &batch(events), to).await
}
