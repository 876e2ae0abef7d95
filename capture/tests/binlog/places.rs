//! Places in the binlogs of both kinds of servers: where a source can begin, and what is refused.

use std::time::Instant;

use capture::binlog::event::{Event, RowsKind};
use capture::binlog::place::{Entry, Place, entry};
use capture::binlog::reader::{SourceServer, connect, resolve_start};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use schemas::Code;
use schemas::check::Level;
use schemas::checkpoint::{Checkpoint, Flavor};
use schemas::documents::{PositionMode, Source, Start, TlsMode};
use schemas::gtid::{Gtid, GtidPosition};
use schemas::moment::Moment;

use crate::binlog_support::{OwnMysql, PATIENCE, Stream, root, run, shared_mysql, shared_server, source, source_of};
use crate::changes;

/// A schema of one test with a table `t`.
async fn schema(conn: &mut Conn, name: &str) -> String {
    let name = format!("places_{name}_{}", std::process::id());
    let statements = [
        format!("DROP DATABASE IF EXISTS {name}"),
        format!("CREATE DATABASE {name}"),
        format!("USE {name}"),
        "CREATE TABLE t (a INT PRIMARY KEY, b INT) ENGINE=InnoDB".to_owned(),
    ];
    run(conn, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
    name
}

async fn here(server: &SourceServer) -> Place {
    resolve_start(server, &Start::Latest).await.unwrap()
}

fn by_file(place: &Place) -> Entry {
    Entry::File { file: place.file.clone(), position: place.position }
}

fn at_file(place: &Place) -> Start {
    Start::File { file: place.file.clone(), position: place.position }
}

/// The offsets at which events of a file begin within the transaction behind `place`.
fn inner_offsets(server: &SourceServer, place: &Place) -> Vec<u64> {
    let mut stream = Stream::from(server.clone(), by_file(place));
    let mut offsets = vec![place.position + 1];
    let mut begun = false;
    loop {
        let event = stream.next().expect("the dump goes on");
        match event.parse().unwrap() {
            Event::Gtid(_) if begun => return offsets,
            Event::Gtid(_) => begun = true,
            Event::Xid(_) => return offsets,
            _ => {}
        }
        if begun {
            offsets.push(event.log_pos);
        }
    }
}

async fn every_place_is_exact(address: &str) {
    let mut conn = root(address).await;
    let server = connect(&source(address)).await.unwrap();
    let schema = schema(&mut conn, "exact").await;
    let mut places = vec![here(&server).await];
    for sql in [
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "UPDATE t SET b=7 WHERE a=1",
        "FLUSH BINARY LOGS",
        "UPDATE t SET b=8 WHERE a=1",
        "DELETE FROM t WHERE a=1",
    ] {
        run(&mut conn, &[sql]).await;
        places.push(here(&server).await);
    }
    let all = changes(&mut Stream::from(server.clone(), places[0].gtid.clone()), &schema, 4);
    let kinds: Vec<_> = all.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [RowsKind::Write, RowsKind::Update, RowsKind::Update, RowsKind::Delete]);
    for (n, place) in places.iter().enumerate().take(5) {
        let done = if n > 2 { n - 1 } else { n };
        let found = resolve_start(&server, &at_file(place)).await.unwrap();
        assert_eq!((&found.file, found.position), (&place.file, place.position));
        assert_eq!(changes(&mut Stream::from(server.clone(), found.gtid), &schema, 4 - done), all[done..], "by GTID");
        let read = changes(&mut Stream::from(server.clone(), by_file(place)), &schema, 4 - done);
        assert_eq!(read, all[done..], "by file, from {place:?}");
    }
    for offset in inner_offsets(&server, &places[0]) {
        let start = Start::File { file: places[0].file.clone(), position: offset };
        let error = resolve_start(&server, &start).await.unwrap_err();
        assert_eq!(error.code(), Code::StartRefused, "{error}");
        assert!(error.message().contains("is not the start of a transaction; it has "), "{error}");
    }
    let beyond = Start::File { file: "nosuch.000001".into(), position: 4 };
    assert_eq!(resolve_start(&server, &beyond).await.unwrap_err().code(), Code::HistoryLost);
    let head = resolve_start(&server, &Start::Earliest).await.unwrap();
    assert_eq!(resolve_start(&server, &at_file(&head)).await.unwrap(), head);
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_exact_on_mariadb() {
    every_place_is_exact(&shared_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_exact_on_mysql() {
    every_place_is_exact(&shared_mysql()).await;
}

/// The end of the binlog is one boundary, by file and by GTID, also while others commit.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_by_file_is_exact_among_commits_on_mysql() {
    let address = shared_mysql();
    let mut conn = root(&address).await;
    let schema = schema(&mut conn, "end").await;
    run(&mut conn, &["FLUSH BINARY LOGS"]).await;
    let server = connect(&Source { position: PositionMode::File, ..source(&address) }).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = Vec::new();
    for n in 0..4 {
        let (mut conn, stop, insert) =
            (root(&address).await, stop.clone(), format!("REPLACE INTO {schema}.t VALUES ({n}, 1)"));
        writers.push(tokio::spawn(async move {
            while !stop.is_cancelled() {
                run(&mut conn, &[&insert]).await;
            }
        }));
    }
    for _ in 0..10 {
        let end = here(&server).await;
        assert_eq!(resolve_start(&server, &at_file(&end)).await.unwrap(), end);
    }
    stop.cancel();
    for writer in writers {
        writer.await.unwrap();
    }
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

/// Waits until the server's clock shows another second; gives that second.
async fn next_second(conn: &mut Conn) -> i64 {
    let now = "SELECT UNIX_TIMESTAMP()";
    let before: i64 = conn.query_first(now).await.unwrap().unwrap();
    let begin = Instant::now();
    loop {
        let second: i64 = conn.query_first(now).await.unwrap().unwrap();
        if second > before {
            return second;
        }
        assert!(begin.elapsed() < PATIENCE, "the server's clock stands still");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn a_moment_is_found(address: &str) {
    let mut conn = root(address).await;
    let server = connect(&source(address)).await.unwrap();
    let schema = schema(&mut conn, "moment").await;
    let begin = here(&server).await;
    let mut seconds = Vec::new();
    for (n, sql) in
        ["INSERT INTO t VALUES (1, 1)", "UPDATE t SET b=2", "FLUSH BINARY LOGS", "DELETE FROM t"].iter().enumerate()
    {
        if n != 2 {
            seconds.push(next_second(&mut conn).await);
        }
        run(&mut conn, &[sql]).await;
    }
    let all = changes(&mut Stream::from(server.clone(), begin.gtid), &schema, 3);
    for (done, second) in seconds.iter().enumerate() {
        let start = Start::Timestamp(Moment::from_ms(second * 1000));
        let place = resolve_start(&server, &start).await.unwrap();
        let by_gtid = changes(&mut Stream::from(server.clone(), place.gtid.clone()), &schema, 3 - done);
        assert_eq!(by_gtid, all[done..], "{start}");
        assert_eq!(
            changes(&mut Stream::from(server.clone(), by_file(&place)), &schema, 3 - done),
            all[done..],
            "{start}"
        );
    }
    // Nothing of this schema was made since; what others do on the server may have been.
    let now = next_second(&mut conn).await;
    let place = resolve_start(&server, &Start::Timestamp(Moment::from_ms(now * 1000))).await.unwrap();
    run(&mut conn, &["INSERT INTO t VALUES (5, 5)"]).await;
    assert_eq!(changes(&mut Stream::from(server.clone(), place.gtid), &schema, 1)[0].1, RowsKind::Write);
    for wrong in [Moment::from_ms(Moment::now().ms() + 3_600_000), Moment::from_ms(-1000)] {
        let found = resolve_start(&server, &Start::Timestamp(wrong)).await;
        // A server whose first binlog file is still there has everything since ever.
        let code = found.err().map(|e| e.code());
        let expected = if wrong.ms() < 0 { [None, Some(Code::BinlogPurged)] } else { [Some(Code::StartRefused); 2] };
        assert!(expected.contains(&code), "{wrong}: {code:?}");
    }
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_found_on_mariadb() {
    a_moment_is_found(&shared_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_found_on_mysql() {
    a_moment_is_found(&shared_mysql()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_and_tags_come_back_from_mysql() {
    let address = shared_mysql();
    let mut conn = root(&address).await;
    let server = connect(&source(&address)).await.unwrap();
    let schema = schema(&mut conn, "holes").await;
    let begin = here(&server).await;
    let uuid: String = conn.query_first("SELECT UUID()").await.unwrap().unwrap();
    let gtids = [":5", ":2", ":tag_a:1", ":9", ":tag_a:3"].map(|part| format!("{uuid}{part}"));
    for (n, gtid) in gtids.iter().enumerate() {
        run(&mut conn, &[&format!("SET gtid_next='{gtid}'"), &format!("INSERT INTO t VALUES ({n}, 1)")]).await;
    }
    run(&mut conn, &["SET gtid_next='AUTOMATIC:tag_b'", "DELETE FROM t", "SET gtid_next='AUTOMATIC'"]).await;
    let all = changes(&mut Stream::from(server.clone(), begin.gtid.clone()), &schema, 6);
    let found: Vec<_> = all.iter().map(|(gtid, _)| gtid.to_string()).collect();
    assert_eq!(found[..5], gtids);
    assert!(found[5].contains(":tag_b:"), "{found:?}");
    // The server prints a set as we do, apart from its line ends.
    let after = here(&server).await;
    let printed: String = conn.query_first("SELECT @@global.gtid_executed").await.unwrap().unwrap();
    let expected: GtidPosition = printed.parse().unwrap();
    assert_eq!(expected.to_string(), printed.replace('\n', ""));
    assert!(after.gtid.is_subset(&expected));
    // Whatever is missing, and only that, comes.
    for change in &all {
        let position = after.gtid.missing_in(&of([change.0]));
        let mut stream = Stream::from(server.clone(), position.clone());
        assert_eq!(changes(&mut stream, &schema, 1), [*change], "{position}");
    }
    run(&mut conn, &[&format!("DROP DATABASE {schema}")]).await;
}

fn of(gtids: impl IntoIterator<Item = Gtid>) -> GtidPosition {
    let mut position = GtidPosition::default();
    gtids.into_iter().for_each(|gtid| position.advance(gtid));
    position
}

fn checkpoint(server: &SourceServer, place: Place) -> Checkpoint {
    let Place { gtid, file, position } = place;
    Checkpoint { file, position, ..Checkpoint::new(server.identity(), gtid) }
}

/// One private server for everything that would disturb others.
#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_server_without_gtids_purged_reset_and_replaced() {
    let own = tokio::task::spawn_blocking(OwnMysql::start).await.unwrap();
    let document = source(&own.address);
    let mut conn = root(&own.address).await;
    let schema = schema(&mut conn, "own").await;
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)"]).await;
    let server = connect(&document).await.unwrap();
    let with_gtids = checkpoint(&server, here(&server).await);
    purged(&mut conn, &server, &schema).await;
    without_gtids(&mut conn, &own.address).await;
    let server = connect(&document).await.unwrap();
    // What was committed before the switch counts: the position is the same by GTID.
    let found = entry(&server, PositionMode::Auto, &checkpoint(&server, here(&server).await)).await.unwrap();
    assert!(matches!(found, Entry::Gtid(ref position) if with_gtids.gtid.is_subset(position)), "{found}");
    let last = checkpoint(&server, here(&server).await);
    reset(&mut conn, &server, &last).await;
    drop(conn);
    let last = checkpoint(&server, here(&server).await);
    let own = tokio::task::spawn_blocking(move || (own.as_another_server(), own).1).await.unwrap();
    let other = connect(&document).await.unwrap();
    assert_eq!(other.flavor, Flavor::Mysql);
    let error = entry(&other, PositionMode::File, &last).await.unwrap_err();
    assert_eq!(error.code(), Code::ServerChanged, "{error}");
    // By GTID it goes on; the copy has what the original had.
    assert_eq!(entry(&other, PositionMode::Auto, &last).await.unwrap(), Entry::Gtid(last.gtid.clone()));
    tokio::task::spawn_blocking(move || drop(own)).await.unwrap();
}

async fn purged(conn: &mut Conn, server: &SourceServer, schema: &str) {
    let early = here(server).await;
    run(conn, &["INSERT INTO t VALUES (2, 1)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (3, 1)"]).await;
    let kept = here(server).await;
    run(conn, &[&format!("PURGE BINARY LOGS TO '{}'", kept.file)]).await;
    for mode in [PositionMode::Auto, PositionMode::File] {
        let error = entry(server, mode, &checkpoint(server, early.clone())).await.unwrap_err();
        assert_eq!(error.code(), Code::BinlogPurged, "{error}");
        assert!(error.message().contains(&format!("it has {} to {}", kept.file, kept.file)), "{error}");
        // What is purged and known does no harm.
        entry(server, mode, &checkpoint(server, kept.clone())).await.unwrap();
    }
    let error = resolve_start(server, &Start::Gtid(early.gtid.clone())).await.unwrap_err();
    assert_eq!(error.code(), Code::BinlogPurged, "{error}");
    assert_eq!(resolve_start(server, &at_file(&early)).await.unwrap_err().code(), Code::BinlogPurged);
    let old = Start::Timestamp(Moment::from_ms(1_000_000_000_000));
    assert_eq!(resolve_start(server, &old).await.unwrap_err().code(), Code::BinlogPurged);
    // The dump itself says so too, when it is purged in between.
    let error = Stream::from(server.clone(), early.gtid.clone()).error().await;
    assert_eq!(error.code(), Code::BinlogPurged, "{error}");
    let error = Stream::from(server.clone(), by_file(&early)).error().await;
    assert_eq!(error.code(), Code::BinlogPurged, "{error}");
    let first = resolve_start(server, &Start::Earliest).await.unwrap();
    assert_eq!(changes(&mut Stream::from(server.clone(), first.gtid), schema, 1).len(), 1);
}

/// Off and on again, while it runs: every transaction comes once, by file through the change.
async fn without_gtids(conn: &mut Conn, address: &str) {
    for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
        run(conn, &[&format!("SET GLOBAL gtid_mode={mode}")]).await;
    }
    let server = connect(&source(address)).await.unwrap();
    assert!(!server.gtids);
    let before = here(&server).await;
    run(conn, &["INSERT INTO t VALUES (10, 1)", "INSERT INTO t VALUES (11, 1)"]).await;
    let found = entry(&server, PositionMode::Auto, &checkpoint(&server, before.clone())).await.unwrap();
    assert_eq!(found, by_file(&before));
    let mut stream = Stream::from(server.clone(), found);
    let mut rows = 0;
    let mut named = 0;
    for mode in ["OFF_PERMISSIVE", "ON_PERMISSIVE"] {
        run(conn, &[&format!("SET GLOBAL gtid_mode={mode}")]).await;
    }
    run(conn, &["INSERT INTO t VALUES (12, 1)"]).await;
    while rows < 3 {
        let Some(event) = stream.next() else { panic!("the dump ended: {:?}", stream.end().await) };
        match event.parse().unwrap() {
            Event::Gtid(gtid) => named += usize::from(gtid.gtid.is_some()),
            Event::Rows(_) => rows += 1,
            _ => {}
        }
    }
    assert_eq!(named, 1, "two are anonymous");
    // From here on the server itself refuses to send anonymous transactions.
    run(conn, &["SET GLOBAL gtid_mode=ON"]).await;
    let error = Stream::from(server.clone(), by_file(&before)).error().await;
    assert_eq!(error.code(), Code::SourceDisconnected, "{error}");
    assert!(error.message().contains("gtid_mode=ON_PERMISSIVE until"), "{error}");
    let refused = resolve_start(&server, &Start::Gtid(before.gtid)).await.unwrap_err();
    assert_eq!(refused.code(), Code::StartRefused, "{refused}");
}

/// What `otter check` says of a MySQL server: settings, grants through a role, and tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_server_is_checked() {
    let own = tokio::task::spawn_blocking(OwnMysql::start).await.unwrap();
    let mut conn = root(&own.address).await;
    run(
        &mut conn,
        &[
            "CREATE DATABASE checked",
            "CREATE TABLE checked.a (id INT PRIMARY KEY, j JSON, e ENUM('x'))",
            "CREATE TABLE checked.b (id INT, FOREIGN KEY (id) REFERENCES checked.a (id) ON DELETE CASCADE)",
            "CREATE TABLE checked.p (id INT PRIMARY KEY, p POINT)",
            "CREATE ROLE reader",
            "GRANT REPLICATION SLAVE, SELECT ON *.* TO reader",
            "CREATE USER poor@'%' IDENTIFIED BY ''",
            "GRANT reader TO poor@'%'",
        ],
    )
    .await;
    let mut poor = source_of(&own.address, "poor");
    poor.tables = ["checked.a", "checked.b"].map(|rule| rule.parse().unwrap()).to_vec();
    // A role that is not active grants nothing.
    let error = connect(&poor).await.unwrap_err();
    assert!(error.message().contains("GRANT REPLICATION SLAVE ON *.* TO `poor`@`%`"), "{error}");
    run(&mut conn, &["SET DEFAULT ROLE reader TO poor@'%'"]).await;
    let error = connect(&poor).await.unwrap_err();
    assert_eq!(error.code(), Code::SourceGrant, "{error}");
    assert!(error.message().contains("GRANT REPLICATION CLIENT ON *.* TO `poor`@`%`"), "{error}");
    run(&mut conn, &["GRANT REPLICATION CLIENT ON *.* TO reader"]).await;
    let findings = capture::check::check(&poor).await;
    assert!(findings.iter().all(|f| f.level == Level::Ok), "{findings:?}");
    for (name, wrong, right) in [
        ("binlog_row_value_options", "PARTIAL_JSON", "''"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
        ("binlog_row_image", "MINIMAL", "FULL"),
    ] {
        run(&mut conn, &[&format!("SET GLOBAL {name}={wrong}")]).await;
        let remedy = format!("SET GLOBAL {name}={right}");
        let findings = capture::check::check(&poor).await;
        assert!(findings.iter().any(|f| f.level == Level::Error && f.remedy == remedy), "{findings:?}");
        run(&mut conn, &[&remedy]).await;
    }
    poor.tables = vec!["checked.p".parse().unwrap()];
    let findings = capture::check::check(&poor).await;
    let of_table: Vec<_> = findings.iter().filter(|f| f.subject == "checked.p").map(|f| f.code.as_deref()).collect();
    assert_eq!(of_table, [Some("OT3007")], "{findings:?}");
    drop(conn);
    tokio::task::spawn_blocking(move || drop(own)).await.unwrap();
}

/// The password's first exchange, before the server remembers it: over TLS, and without it by the server's RSA key.
#[tokio::test(flavor = "multi_thread")]
async fn mysql_takes_the_password_with_and_without_tls() {
    let address = shared_mysql();
    let mut conn = root(&address).await;
    for mode in [TlsMode::Disabled, TlsMode::Preferred, TlsMode::Required] {
        // What the server remembers of a password is thrown away.
        run(&mut conn, &["FLUSH PRIVILEGES"]).await;
        let mut document = source(&address);
        document.tls.mode = mode;
        let server = connect(&document).await.unwrap();
        assert_eq!(server.flavor, Flavor::Mysql);
        let mut session = server.connection().await.unwrap();
        let cipher: (String, String) = session.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await.unwrap().unwrap();
        assert_eq!(cipher.1.is_empty(), mode == TlsMode::Disabled, "{mode:?}: {cipher:?}");
    }
}

async fn reset(conn: &mut Conn, server: &SourceServer, last: &Checkpoint) {
    run(conn, &["RESET BINARY LOGS AND GTIDS"]).await;
    for mode in [PositionMode::Auto, PositionMode::File] {
        let error = entry(server, mode, last).await.unwrap_err();
        assert_eq!(error.code(), Code::HistoryLost, "{error}");
    }
    // A position of file and offset that lies within the new binlogs is caught by its GTIDs, and the other way round.
    let new = here(server).await;
    let mixed = Checkpoint { gtid: new.gtid.clone(), ..last.clone() };
    assert_eq!(entry(server, PositionMode::Auto, &mixed).await.unwrap_err().code(), Code::HistoryLost);
    let mixed = Checkpoint { file: new.file.clone(), position: new.position, ..last.clone() };
    for mode in [PositionMode::Auto, PositionMode::File] {
        assert_eq!(entry(server, mode, &mixed).await.unwrap_err().code(), Code::HistoryLost);
    }
    // The head of a file that holds nothing else is a boundary too.
    let head = Start::File { file: new.file.clone(), position: 4 };
    assert_eq!(resolve_start(server, &head).await.unwrap().gtid, new.gtid);
    let error = Stream::from(server.clone(), last.gtid.clone()).error().await;
    assert_eq!(error.code(), Code::HistoryLost, "{error}");
}
