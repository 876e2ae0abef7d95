//! The binlog of a real MariaDB: every carried type, statements, resumption, damage and wrong settings.
//!
//! The server is shared with other tests: each test makes a schema of its own, and looks only at what follows. What
//! would disturb others (purging, settings) happens on a server of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

mod binlog_support;
mod places;

use binlog_support::{OwnServer, PATIENCE, Proxy, Stream, root, run, shared_server, source, source_of, statement};
use capture::binlog::event::{Event, RowsKind};
use capture::binlog::reader::{RawEvent, connect, resolve_start};
use capture::binlog::server::verify_binary_columns;
use capture::binlog::statement::{DdlKind, Statement};
use capture::binlog::table_map::{parse_table_map, table_name};
use mysql_async::prelude::Queryable;
use schemas::charset::Charset;
use schemas::check::Level;
use schemas::documents::{Source, Start};
use schemas::gtid::{Gtid, GtidPosition};
use schemas::table::{ColumnType, TableName, TableStructure};
use schemas::{Code, Reaction};

/// Creates a schema that no other run of the tests on these servers has, and uses it; its name.
async fn schema(conn: &mut mysql_async::Conn, name: &str) -> String {
    let name = format!("binlog_{name}_{}", std::process::id());
    run(
        conn,
        &[&format!("DROP DATABASE IF EXISTS {name}"), &format!("CREATE DATABASE {name}"), &format!("USE {name}")],
    )
    .await;
    name
}

/// Ends what a test looks at: creates a schema whose name says so, and drops both.
async fn end(conn: &mut mysql_async::Conn, schema: &str) -> String {
    let end = format!("{schema}_end");
    run(
        conn,
        &[&format!("CREATE DATABASE {end}"), &format!("DROP DATABASE {end}"), &format!("DROP DATABASE {schema}")],
    )
    .await;
    end
}

/// The structure of a table of the schema, once it has had a row.
fn structure(stream: &mut Stream, schema: &str, table: &str) -> schemas::Result<TableStructure> {
    loop {
        let event = stream.next().expect("the dump ended before the table's row");
        if let Event::TableMap { body, .. } = event.parse().unwrap()
            && table_name(body) == Some((schema.as_bytes(), table.as_bytes()))
        {
            return parse_table_map(body, &stream.server.collations);
        }
    }
}

/// A column of every type that is carried.
const ALL_TYPES: &str = "CREATE TABLE t (
    i1 TINYINT, i1u TINYINT UNSIGNED, i2 SMALLINT, i3u MEDIUMINT UNSIGNED, i4 INT NOT NULL,
    i8u BIGINT UNSIGNED NOT NULL, n DECIMAL(65,30), f FLOAT, d DOUBLE, day DATE, dt DATETIME,
    dt6 DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(2), c CHAR(10) CHARACTER SET utf8mb4,
    c255 CHAR(255) CHARACTER SET utf8mb4, v VARCHAR(63) CHARACTER SET utf8mb4,
    v64 VARCHAR(64) CHARACTER SET utf8mb4, u3 VARCHAR(10) CHARACTER SET utf8mb3,
    a VARCHAR(10) CHARACTER SET ascii, tt TINYTEXT CHARACTER SET utf8mb4, lt LONGTEXT, j JSON,
    b BINARY(16), b255 BINARY(255), vb VARBINARY(300), tb TINYBLOB, mb MEDIUMBLOB,
    `名 '` VARCHAR(5) COLLATE uca1400_ai_ci, PRIMARY KEY (i8u, i4)
 ) DEFAULT CHARSET=utf8mb4";

/// What the columns of [`ALL_TYPES`] are.
fn all_types() -> Vec<(&'static str, ColumnType)> {
    let int = |bytes, unsigned| ColumnType::Int { bytes, unsigned };
    let text = |length_bytes| ColumnType::Text { length_bytes, charset: Charset::Utf8 };
    let bytes = |length_bytes| ColumnType::Bytes { length_bytes };
    vec![
        ("i1", int(1, false)),
        ("i1u", int(1, true)),
        ("i2", int(2, false)),
        ("i3u", int(3, true)),
        ("i4", int(4, false)),
        ("i8u", int(8, true)),
        ("n", ColumnType::Decimal { precision: 65, scale: 30 }),
        ("f", ColumnType::Float),
        ("d", ColumnType::Double),
        ("day", ColumnType::Date),
        ("dt", ColumnType::DateTime { fsp: 0 }),
        ("dt6", ColumnType::DateTime { fsp: 6 }),
        ("ts", ColumnType::Timestamp { fsp: 3 }),
        ("tm", ColumnType::Time { fsp: 2 }),
        ("c", text(1)),
        ("c255", text(2)),
        ("v", text(1)),
        ("v64", text(2)),
        ("u3", text(1)),
        ("a", ColumnType::Text { length_bytes: 1, charset: Charset::Ascii }),
        ("tt", text(1)),
        ("lt", text(4)),
        ("j", text(4)),
        ("b", ColumnType::Binary { length: 16, length_bytes: 1 }),
        ("b255", ColumnType::Binary { length: 255, length_bytes: 1 }),
        ("vb", bytes(2)),
        ("tb", bytes(1)),
        ("mb", bytes(3)),
        ("名 '", text(1)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_carried_type_is_read_from_the_table_map() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "types").await;
    run(&mut conn, &[ALL_TYPES, "INSERT INTO t (i4, i8u) VALUES (1, 2)"]).await;
    let table = structure(&mut stream, &schema, "t").unwrap();
    let found: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.ty.clone())).collect();
    assert_eq!(found, all_types());
    assert!(table.columns.iter().all(|c| c.nullable != ["i4", "i8u"].contains(&c.name.as_str())));
    assert_eq!(table.key, [5, 4]);
    verify_binary_columns(&stream.server, &table).await.unwrap();
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
    // The table is gone: it cannot be known what b was, and that is no reason to stop.
    verify_binary_columns(&stream.server, &table).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_are_not_carried_are_refused_by_column() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "refused").await;
    let types = [
        ("POINT", "GEOMETRY"),
        ("TEXT COMPRESSED", "compressed"),
        ("VARCHAR(20) COMPRESSED", "compressed"),
        ("VARCHAR(20) CHARACTER SET swe7", "swe7"),
        ("ENUM('a') CHARACTER SET big5", "big5"),
        ("UUID", "UUID"),
        ("INET6", "INET6"),
        ("INET4", "INET4"),
    ];
    for (n, (ty, what)) in types.iter().enumerate() {
        let create = format!("CREATE TABLE t{n} (id INT, `odd` {ty}) DEFAULT CHARSET=utf8mb4");
        run(&mut conn, &[&create, &format!("INSERT INTO t{n} VALUES (1, NULL)")]).await;
        let refusal = match structure(&mut stream, &schema, &format!("t{n}")) {
            Ok(table) => verify_binary_columns(&stream.server, &table).await,
            Err(error) => Err(error),
        };
        let error = refusal.expect_err(ty);
        assert_eq!(error.code(), Code::TypeUnsupported, "{ty}: {error}");
        assert!(error.message().contains(what) && error.message().contains("column odd of"), "{ty}: {error}");
    }
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_told_apart_as_the_server_writes_them() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "ddl").await;
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB",
            "ALTER TABLE t ADD COLUMN a INT DEFAULT 5, ADD b INT FIRST",
            "SET STATEMENT lock_wait_timeout=5 FOR ALTER TABLE t DROP COLUMN b",
            "CREATE INDEX i ON t (a)",
            "ALTER TABLE t MODIFY a BIGINT",
            "TRUNCATE TABLE t",
            "RENAME TABLE t TO u",
            "CREATE TABLE v SELECT * FROM u",
            "CREATE TEMPORARY TABLE w (a INT)",
            "CREATE VIEW x AS SELECT 1",
            "DROP TABLE u, v",
        ],
    )
    .await;
    let events = stream.until_schema(&end(&mut conn, &schema).await);
    let found: Vec<_> = events
        .iter()
        .filter_map(statement)
        .filter_map(|s| match s {
            Statement::Ddl(ddl) => Some((ddl.verb, ddl.kind, ddl.tables, ddl.complete)),
            _ => None,
        })
        .filter(|(_, _, tables, _)| tables.iter().any(|t| t.schema == schema))
        .collect();
    let name = |table: &str| TableName::new(&*schema, table);
    let expected = [
        ("CREATE TABLE", DdlKind::CreateTable, vec![name("t")], true),
        ("ALTER TABLE", DdlKind::AddOrDropColumnOnly, vec![name("t")], true),
        ("ALTER TABLE", DdlKind::AddOrDropColumnOnly, vec![name("t")], true),
        ("CREATE INDEX", DdlKind::RowsUntouched, vec![name("t")], true),
        ("ALTER TABLE", DdlKind::Other, vec![name("t")], true),
        ("TRUNCATE TABLE", DdlKind::Truncate, vec![name("t")], true),
        ("RENAME TABLE", DdlKind::Other, vec![name("t"), name("u")], true),
        ("CREATE TABLE", DdlKind::CreateTable, vec![name("v")], true),
        ("DROP TABLE", DdlKind::Other, vec![name("u"), name("v")], true),
    ];
    assert_eq!(found, expected);
    // What others do on the server meanwhile is theirs.
    let own = |raw: &RawEvent| matches!(raw.parse().unwrap(), Event::Query(q) if q.schema == schema.as_bytes());
    let mut statements = events.iter().filter(|raw| own(raw)).filter_map(statement);
    assert!(statements.all(|s| s != Statement::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_rollbacks_and_xa_arrive() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "trx").await;
    run(
        &mut conn,
        &[
            "CREATE TABLE t (a INT PRIMARY KEY) ENGINE=InnoDB",
            "CREATE TABLE m (a INT) ENGINE=MyISAM",
            "BEGIN",
            "INSERT INTO t VALUES (1)",
            "SAVEPOINT `s p`",
            "INSERT INTO t VALUES (2)",
            "INSERT INTO m VALUES (1)",
            "ROLLBACK TO `s p`",
            "COMMIT",
            &format!("XA START '{schema}'"),
            "INSERT INTO t VALUES (3)",
            &format!("XA END '{schema}'"),
            &format!("XA PREPARE '{schema}'"),
            &format!("XA COMMIT '{schema}'"),
        ],
    )
    .await;
    let events = stream.until_schema(&end(&mut conn, &schema).await);
    let statements: Vec<_> = events.iter().filter_map(statement).collect();
    assert!(statements.contains(&Statement::Savepoint("s p".into())), "{statements:?}");
    assert!(statements.contains(&Statement::RollbackTo("s p".into())), "{statements:?}");
    let marked = |wanted: fn(&Event<'_>) -> bool| events.iter().any(|e| wanted(&e.parse().unwrap()));
    assert!(marked(|e| matches!(e, Event::XaPrepare { one_phase: false })));
    assert!(marked(|e| matches!(e, Event::Gtid(g) if g.xa_prepared)));
    assert!(marked(|e| matches!(e, Event::Gtid(g) if g.xa_completed)));
}

/// The GTIDs of the groups with rows of the table, and their kinds.
pub(crate) fn changes(stream: &mut Stream, schema: &str, count: usize) -> Vec<(Gtid, RowsKind)> {
    let mut found = Vec::new();
    let mut current = None;
    let mut of_table = None;
    while found.len() < count {
        let event = stream.next().expect("the dump ended before all changes");
        match event.parse().unwrap() {
            Event::Gtid(gtid) => current = gtid.gtid,
            Event::TableMap { table_id, body } => {
                let name = table_name(body).unwrap();
                of_table = (name.0 == schema.as_bytes()).then_some(table_id);
            }
            Event::Rows(rows) if Some(rows.table_id) == of_table => {
                assert!(rows.is_full() && !rows.rows.is_empty());
                found.push((current.unwrap(), rows.kind));
            }
            _ => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_resumes_behind_a_gtid() {
    let address = shared_server();
    let mut conn = root(&address).await;
    // What earlier runs left in the binlog must not look like this run's.
    let schema = format!("binlog_resume_{}", std::process::id());
    let server = connect(&source(&address)).await.unwrap();
    let begin = resolve_start(&server, &Start::Latest).await.unwrap().gtid;
    run(
        &mut conn,
        &[
            &format!("DROP DATABASE IF EXISTS {schema}"),
            &format!("CREATE DATABASE {schema}"),
            &format!("USE {schema}"),
            "CREATE TABLE t (a INT PRIMARY KEY, b INT) ENGINE=InnoDB",
            "INSERT INTO t VALUES (1, 1)",
            "FLUSH BINARY LOGS",
            "UPDATE t SET b=2",
            "UPDATE t SET b=3",
            "DELETE FROM t WHERE a=1",
        ],
    )
    .await;
    let all = changes(&mut Stream::from(server.clone(), begin.clone()), &schema, 4);
    let kinds: Vec<_> = all.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [RowsKind::Write, RowsKind::Update, RowsKind::Update, RowsKind::Delete]);
    for done in 1..4 {
        let mut position = begin.clone();
        position.advance(all[done - 1].0);
        let mut stream = Stream::from(server.clone(), position);
        assert_eq!(changes(&mut stream, &schema, 4 - done), all[done..], "resumed behind {done}");
    }
    // From the oldest file on, the same changes come by.
    let earliest = resolve_start(&server, &Start::Earliest).await.unwrap().gtid;
    assert_eq!(changes(&mut Stream::from(server.clone(), earliest), &schema, 4), all);
    let given = Start::Gtid(begin.clone());
    assert_eq!(resolve_start(&server, &given).await.unwrap().gtid, begin);
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_follow_the_file_and_checksums_are_off_the_bodies() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "positions").await;
    let events = stream.until_schema(&schema);
    let files: Vec<String> = events
        .iter()
        .filter_map(|e| match e.parse().unwrap() {
            Event::Rotate { file, .. } => Some(file.to_owned()),
            _ => None,
        })
        .collect();
    let logs: Vec<(String, u64)> = conn.query("SHOW BINARY LOGS").await.unwrap();
    assert!(!files.is_empty() && files.iter().all(|f| logs.iter().any(|(log, _)| log == f)), "{files:?} {logs:?}");
    let last = events.last().unwrap();
    let sql = format!("SHOW BINLOG EVENTS IN '{}' FROM {}", files.last().unwrap(), last.log_pos);
    conn.query_drop(&sql).await.expect("the position is the beginning of an event");
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_larger_than_a_packet_arrives_whole() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let mut stream = Stream::from_now(&source(&address)).await;
    let schema = schema(&mut conn, "large").await;
    run(
        &mut conn,
        &[
            "CREATE TABLE t (a LONGBLOB, b LONGBLOB)",
            "INSERT INTO t VALUES (REPEAT('x', 12000000), REPEAT('y', 12000000))",
        ],
    )
    .await;
    let events = stream.until_schema(&end(&mut conn, &schema).await);
    let longest = events.iter().map(|e| e.body.len()).max().unwrap();
    assert!(longest > 24_000_000, "{longest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found() {
    let address = shared_server();
    let mut conn = root(&address).await;
    let proxy = Proxy::start(&address, b"to be damaged").await;
    let stream = Stream::from_now(&source(&proxy.address)).await;
    let schema = schema(&mut conn, "damage").await;
    run(&mut conn, &["CREATE TABLE t (a VARCHAR(20))", "INSERT INTO t VALUES ('to be damaged')"]).await;
    let error = stream.error().await;
    assert_eq!(error.code(), Code::BinlogCorrupt, "{error}");
    assert!(error.message().contains("behind ") && error.message().contains(':'), "{error}");
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_silent_connections_are_told() {
    let address = shared_server();
    let mut conn = root(&address).await;
    for (name, stall) in [("cut", false), ("silent", true)] {
        let proxy = Proxy::start(&address, b"nothing to damage").await;
        let mut stream = Stream::from_now(&source(&proxy.address)).await;
        let schema = schema(&mut conn, name).await;
        stream.until_schema(&schema);
        if stall {
            proxy.stall();
        } else {
            proxy.cut();
        }
        let error = stream.error().await;
        assert_eq!(error.code(), Code::SourceDisconnected, "{error}");
        assert_eq!(error.code().reaction(), Reaction::Retry);
        run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_dump_hears_heartbeats_and_ends_on_shutdown() {
    let address = shared_server();
    let mut stream = Stream::from_now(&source(&address)).await;
    while !matches!(stream.next().unwrap().parse().unwrap(), Event::Heartbeat) {}
    stream.shutdown.cancel();
    stream.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_unreachable() {
    let error = connect(&source("127.0.0.1:1")).await.unwrap_err();
    assert_eq!(error.code(), Code::SourceUnreachable);
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
}

/// What disturbs others: purged files, settings, users. One server, one case after another.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_of_its_own() {
    let own = OwnServer::start().await;
    let mut conn = root(&own.address).await;
    let source = source_of(&own.address, "root");
    wrong_settings(&mut conn, &source).await;
    missing_grants(&mut conn, &own.address).await;
    followed_tables(&mut conn, &source).await;
    purged_binlog(&mut conn, &source).await;
    server_gone(own, &source).await;
}

async fn wrong_settings(conn: &mut mysql_async::Conn, source: &Source) {
    for (name, wrong, right) in [
        ("binlog_format", "STATEMENT", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_metadata", "NO_LOG", "FULL"),
    ] {
        run(conn, &[&format!("SET GLOBAL {name}={wrong}")]).await;
        let error = connect(source).await.unwrap_err();
        assert_eq!(error.code(), Code::SourceSetting, "{error}");
        let remedy = format!("SET GLOBAL {name}={right}");
        assert!(error.message().contains(&remedy), "{error}");
        let findings = capture::check::check(source).await;
        assert!(findings.iter().any(|f| f.level == Level::Error && f.remedy == remedy), "{findings:?}");
        run(conn, &[&remedy]).await;
    }
    // MINIMAL metadata that a session wrote before somebody set FULL is found in the stream.
    run(conn, &["SET GLOBAL binlog_row_metadata=MINIMAL", "CREATE DATABASE minimal"]).await;
    run(conn, &["CREATE TABLE minimal.t (a INT)"]).await;
    let position: Option<String> = conn.query_first("SELECT @@global.gtid_binlog_pos").await.unwrap();
    run(conn, &["INSERT INTO minimal.t VALUES (1)", "SET GLOBAL binlog_row_metadata=FULL"]).await;
    let start: GtidPosition = position.unwrap().parse().unwrap();
    let mut stream = Stream::from(connect(source).await.unwrap(), start);
    let error = structure(&mut stream, "minimal", "t").unwrap_err();
    assert_eq!(error.code(), Code::SourceSetting, "{error}");
}

async fn missing_grants(conn: &mut mysql_async::Conn, address: &str) {
    run(conn, &["CREATE USER poor@'%'"]).await;
    let poor = source_of(address, "poor");
    for grant in ["REPLICATION SLAVE", "BINLOG MONITOR", "SELECT"] {
        let error = connect(&poor).await.unwrap_err();
        assert_eq!(error.code(), Code::SourceGrant, "{error}");
        let remedy = format!("GRANT {grant} ON *.* TO `poor`@`%`");
        assert!(error.message().contains(&remedy), "{error}");
        run(conn, &[&remedy]).await;
    }
    let server = connect(&poor).await.unwrap();
    resolve_start(&server, &Start::Earliest).await.unwrap();
    let start = resolve_start(&server, &Start::Latest).await.unwrap().gtid;
    let mut stream = Stream::from(server, start);
    stream.next().unwrap();
}

async fn followed_tables(conn: &mut mysql_async::Conn, source: &Source) {
    run(
        conn,
        &[
            "CREATE DATABASE checked",
            "CREATE TABLE checked.a (id INT PRIMARY KEY)",
            "CREATE TABLE checked.b (id INT, e POINT, FOREIGN KEY (id) REFERENCES checked.a (id) ON DELETE CASCADE)",
            "CREATE TABLE checked.v (id INT) WITH SYSTEM VERSIONING",
        ],
    )
    .await;
    let mut source = source.clone();
    source.tables = ["checked.*", "checked.missing"].map(|r| r.parse().unwrap()).to_vec();
    let findings = capture::check::check(&source).await;
    let about = |subject: &str| -> Vec<_> {
        findings.iter().filter(|f| f.subject == subject).map(|f| (f.level, f.code.as_deref())).collect()
    };
    assert_eq!(about("checked.a"), []);
    assert_eq!(about("checked.b"), [(Level::Error, Some("OT3007")), (Level::Warning, None)], "{findings:?}");
    assert_eq!(about("checked.v"), [(Level::Error, Some("OT3007"))]);
    assert_eq!(about("checked.missing"), [(Level::Warning, None)]);
    source.tables = vec!["checked.a".parse().unwrap()];
    let findings = capture::check::check(&source).await;
    assert!(findings.iter().all(|f| f.level == Level::Ok), "{findings:?}");
}

async fn purged_binlog(conn: &mut mysql_async::Conn, source: &Source) {
    let server = connect(source).await.unwrap();
    let early = resolve_start(&server, &Start::Earliest).await.unwrap().gtid;
    run(conn, &["FLUSH BINARY LOGS", "CREATE DATABASE later"]).await;
    let last: Option<String> = conn.query("SHOW BINARY LOGS").await.unwrap().pop().map(|(file, _): (String, u64)| file);
    let begin = std::time::Instant::now();
    loop {
        // The purge stops at a file that a checkpoint or a dump still needs.
        run(conn, &[&format!("PURGE BINARY LOGS TO '{}'", last.clone().unwrap())]).await;
        let left: Vec<(String, u64)> = conn.query("SHOW BINARY LOGS").await.unwrap();
        if left.len() == 1 {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "not purged: {left:?}");
    }
    let error = Stream::from(server.clone(), early).error().await;
    assert_eq!(error.code(), Code::BinlogPurged, "{error}");
    assert!(error.message().contains("what is behind GTID 0-5-"), "{error}");
    // A position that the server has never had.
    let error = Stream::from(server.clone(), "0-5-999999".parse::<GtidPosition>().unwrap()).error().await;
    assert_eq!(error.code(), Code::BinlogPurged, "{error}");
    // What is left can be read from its beginning.
    let start = resolve_start(&server, &Start::Earliest).await.unwrap().gtid;
    assert!(!start.is_empty());
    Stream::from(server, start).until_schema("later");
}

async fn server_gone(own: OwnServer, source: &Source) {
    let mut stream = Stream::from_now(source).await;
    stream.next().unwrap();
    drop(own);
    let error = stream.error().await;
    assert_eq!(error.code(), Code::SourceDisconnected, "{error}");
    assert_eq!(connect(source).await.unwrap_err().code(), Code::SourceUnreachable);
}
