//! What a real MySQL writes into its binlog, event by event, read by the library's own dump.
//!
//! The server is shared with other tests, so only the transactions of the test's own schema are looked at.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

use std::time::Duration;

use bytes::Bytes;
use capture::binlog::event::{Event, RawEvent, RowsKind};
use capture::binlog::statement::{Statement, Xa, classify};
use capture::binlog::table_map::table_name;
use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use schemas::checkpoint::Flavor;
use schemas::gtid::{Gtid, GtidPosition};

const PATIENCE: Duration = Duration::from_secs(60);

async fn root() -> Conn {
    let address =
        std::env::var("OTTER_SERVERS_MYSQL_SOURCE").expect("OTTER_SERVERS_MYSQL_SOURCE is not set: run ./deploy/test");
    let (host, port) = address.rsplit_once(':').unwrap();
    let options = OptsBuilder::default().ip_or_hostname(host).tcp_port(port.parse().unwrap()).user(Some("root"));
    Conn::new(options.prefer_socket(false)).await.unwrap()
}

async fn executed(conn: &mut Conn) -> GtidPosition {
    let set: Option<String> = conn.query_first("SELECT REPLACE(@@gtid_executed, '\n', '')").await.unwrap();
    set.unwrap().parse().unwrap()
}

/// The transactions that the statements make, those of other schemas left out.
async fn written(schema: &str, statements: &[&str]) -> Vec<Group> {
    // A name that no other run on this server has.
    let schema = &format!("{schema}_{}", std::process::id());
    let mut conn = root().await;
    conn.query_drop(format!("DROP DATABASE IF EXISTS {schema}")).await.unwrap();
    let at: Option<(String, u64)> = conn
        .query_first::<mysql_async::Row, _>("SHOW BINARY LOG STATUS")
        .await
        .unwrap()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()));
    let (file, position) = at.unwrap();
    let before = executed(&mut conn).await;
    conn.query_drop(format!("CREATE DATABASE {schema}")).await.unwrap();
    conn.query_drop(format!("USE {schema}")).await.unwrap();
    for sql in statements {
        if let Err(error) = conn.query_drop(*sql).await {
            panic!("{sql}: {error}");
        }
    }
    conn.query_drop(format!("DROP DATABASE {schema}")).await.unwrap();
    let after = executed(&mut conn).await;
    let request =
        BinlogStreamRequest::new(rand::random::<u32>() | 0x8000_0000).with_filename(file.as_bytes()).with_pos(position);
    let mut stream = root().await.get_binlog_stream(request).await.unwrap();
    let mut groups = Groups::default();
    loop {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
        let header = event.header();
        groups.take(RawEvent {
            event_type: header.event_type_raw(),
            timestamp: header.timestamp(),
            server_id: header.server_id(),
            log_pos: u64::from(header.log_pos()),
            flags: header.flags_raw(),
            body: Bytes::copy_from_slice(event.data()),
        });
        if groups.done.last().is_some_and(|group| group.mentions(&format!("DROP DATABASE {schema}"))) {
            break;
        }
    }
    let own: Vec<Group> = groups.done.into_iter().filter(|group| group.concerns(schema)).collect();
    for group in &own {
        let gtid = group.gtid.unwrap();
        assert!(!before.contains(&gtid) && after.contains(&gtid), "{gtid} is not of this time");
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
            - group.time_ms;
        assert!((0..600_000).contains(&age), "{gtid} was committed {age} ms ago");
    }
    own
}

/// A transaction: its events, those of a payload in the payload's place.
#[derive(Debug)]
struct Group {
    gtid: Option<Gtid>,
    time_ms: i64,
    alone: Option<bool>,
    compressed: bool,
    events: Vec<RawEvent>,
}

impl Group {
    fn statements(&self) -> Vec<String> {
        let texts = self.events.iter().filter_map(|event| match event.parse().unwrap() {
            Event::Query(query) => Some(String::from_utf8(query.sql.to_vec()).unwrap()),
            _ => None,
        });
        texts.collect()
    }

    fn mentions(&self, text: &str) -> bool {
        self.statements().iter().any(|sql| sql == text)
    }

    fn concerns(&self, schema: &str) -> bool {
        self.events.iter().any(|event| match event.parse().unwrap() {
            Event::TableMap { body, .. } => table_name(body).is_some_and(|(of, _)| of == schema.as_bytes()),
            Event::Query(query) => query.schema == schema.as_bytes(),
            _ => false,
        })
    }

    /// Kind and images of its rows events.
    fn rows(&self) -> Vec<(RowsKind, Vec<u8>)> {
        let rows = self.events.iter().filter_map(|event| match event.parse().unwrap() {
            Event::Rows(rows) => Some((rows.kind, rows.rows.to_vec())),
            _ => None,
        });
        rows.collect()
    }
}

/// Cuts the stream into transactions as the publisher does.
#[derive(Debug, Default)]
struct Groups {
    open: Option<Group>,
    done: Vec<Group>,
}

impl Groups {
    fn take(&mut self, raw: RawEvent) {
        match raw.parse().unwrap() {
            Event::Gtid(gtid) => {
                assert!(self.open.is_none(), "a transaction in a transaction: {:?}", self.open);
                let (alone, time_ms) = (gtid.standalone, gtid.time_ms(&raw));
                self.open = Some(Group { gtid: gtid.gtid, time_ms, alone, compressed: false, events: Vec::new() });
            }
            Event::Payload(payload) => {
                self.open.as_mut().unwrap().compressed = true;
                for event in payload.events().unwrap() {
                    self.take(event.unwrap());
                }
                assert!(self.open.is_none(), "a compressed transaction without end");
            }
            Event::Unsupported { type_name } => panic!("{type_name}"),
            event => {
                let Some(open) = &mut self.open else { return };
                let ends = match &event {
                    Event::Xid(_) | Event::XaPrepare { .. } => true,
                    Event::Query(query) => {
                        let statement = classify(query, Flavor::Mysql);
                        let begins = matches!(statement, Statement::Begin | Statement::Xa(Xa::Start));
                        let alone = *open.alone.get_or_insert(!begins);
                        alone || matches!(statement, Statement::Commit | Statement::Rollback)
                    }
                    _ => false,
                };
                open.events.push(raw.clone());
                if ends {
                    self.done.extend(self.open.take());
                }
            }
        }
    }
}

/// A statement with the name of a transaction that no other run on this server has.
fn xa(statement: &str) -> String {
    statement.replace("{}", &format!("'ev_forms_{}'", std::process::id()))
}

#[tokio::test]
async fn each_form_of_transaction_ends_where_the_next_begins() {
    let groups = written(
        "ev_forms",
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, j JSON, s VARCHAR(2000))",
            "INSERT INTO t VALUES (1, '{\"a\": 1}', 'x')",
            "BEGIN",
            "INSERT INTO t VALUES (2, NULL, 'y')",
            "SAVEPOINT a",
            "INSERT INTO t VALUES (3, NULL, 'z')",
            "ROLLBACK TO a",
            "INSERT INTO t VALUES (4, NULL, 'w')",
            "COMMIT",
            "CREATE TABLE u AS SELECT * FROM t",
            &xa("XA START {}"),
            "INSERT INTO t VALUES (11, NULL, 'xa')",
            &xa("XA END {}"),
            &xa("XA COMMIT {} ONE PHASE"),
            "SET gtid_next = 'automatic:ev_forms'",
            "INSERT INTO t VALUES (20, NULL, 'tagged')",
            "SET gtid_next = 'automatic', binlog_rows_query_log_events = ON",
            "UPDATE t SET s = 'upd' WHERE id = 1",
            "SET binlog_rows_query_log_events = OFF, binlog_row_value_options = PARTIAL_JSON",
            "UPDATE t SET j = JSON_SET(j, '$.a', 2) WHERE id = 1",
            "ALTER TABLE t ADD COLUMN k INT, ALGORITHM = INSTANT",
            "TRUNCATE TABLE u",
            "CREATE TEMPORARY TABLE tt (a INT)",
            "INSERT INTO tt VALUES (1)",
            "DROP TEMPORARY TABLE tt",
            "CREATE TABLE m (a INT) ENGINE = MyISAM",
            "INSERT INTO m VALUES (1)",
            "DROP TABLE u, m",
        ],
    )
    .await;
    let seen: Vec<String> = groups
        .iter()
        .map(|group| {
            let first = group.statements().into_iter().next().unwrap_or_default();
            let first = first.split([' ', '(']).take(2).collect::<Vec<_>>().join(" ");
            format!("{first} {}", group.rows().len())
        })
        .collect();
    let expected = [
        "CREATE DATABASE 0",
        "CREATE TABLE 0",
        "BEGIN 1",
        "BEGIN 2",
        "BEGIN 1", // CREATE TABLE … SELECT
        "XA START 1",
        "BEGIN 1", // tagged
        "BEGIN 1",
        "BEGIN 1", // of a part of the document
        "ALTER TABLE 0",
        "TRUNCATE TABLE 0",
        "CREATE TABLE 0",
        "BEGIN 1", // MyISAM ends with COMMIT
        "DROP TABLE 0",
        "DROP TABLE 0", // MyISAM apart
        "DROP DATABASE 0",
    ];
    assert_eq!(seen, expected);
    assert!(groups[6].gtid.unwrap().to_string().contains(":ev_forms:"));
    let partial = groups.iter().flat_map(|group| &group.events).filter(
        |event| matches!(event.parse().unwrap(), Event::Rows(rows) if rows.partial && rows.kind == RowsKind::Update),
    );
    assert_eq!(partial.count(), 1);
}

#[tokio::test]
async fn a_compressed_transaction_has_the_events_of_a_plain_one() {
    let numbers = "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n) n";
    let insert =
        |table: &str| format!("INSERT INTO {table} SELECT i, REPEAT(LEFT(SHA2(i, 256), 32), i % 40) FROM {numbers}");
    let mut statements: Vec<String> =
        ["CREATE TABLE a (id INT PRIMARY KEY, s TEXT)", "CREATE TABLE b LIKE a"].map(str::to_owned).to_vec();
    for (table, compressed) in [("a", "OFF"), ("b", "ON")] {
        statements.push(format!("SET binlog_transaction_compression = {compressed}"));
        statements.push("BEGIN".to_owned());
        statements.push(insert(table));
        statements.push("SAVEPOINT s".to_owned());
        statements.push(format!("UPDATE {table} SET s = CONCAT(s, 'ä') WHERE id % 3 = 0"));
        statements.push(format!("DELETE FROM {table} WHERE id % 5 = 0"));
        statements.push("COMMIT".to_owned());
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let groups = written("ev_packed", &statements).await;
    let [plain, packed] = [false, true].map(|compressed| {
        let of = |group: &&Group| group.compressed == compressed && !group.rows().is_empty();
        groups.iter().find(of).unwrap_or_else(|| panic!("no transaction with compression {compressed}"))
    });
    let (rows, same) = (plain.rows(), packed.rows());
    assert!(rows.len() > 10, "only {} rows events", rows.len());
    assert_eq!(rows, same);
    assert_eq!(plain.statements(), packed.statements());
}
