//! Tables without a key are multisets: whatever the columns, whatever their collations take for equal, the target has
//! each row exactly as many times as the source. A model of the source makes the changes; a second table takes its rows
//! in plain SQL and is what the target must equal.

use apply::target::writer::{Policies, WriteError};
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};
use schemas::encode::Op;

use crate::harness::{Event, Place, Row, Server, Val, column, exact, text, token, write};

/// A kind of column, and values that a careless comparison takes for each other.
struct Sample {
    name: &'static str,
    ddl: &'static str,
    kind: DatumKind,
    labels: &'static [&'static str],
    /// What shows a value exactly.
    show: &'static str,
    /// Each as the event has it and in plain SQL.
    values: Vec<(Val, &'static str)>,
}

fn sample(
    name: &'static str,
    ddl: &'static str,
    kind: DatumKind,
    show: &'static str,
    values: Vec<(Val, &'static str)>,
) -> Sample {
    let labels: &[&str] = match kind {
        DatumKind::Enum => &["a", "b", "B", ""],
        DatumKind::Set => &["x", "y"],
        _ => &[],
    };
    Sample { name, ddl, kind, labels, show, values: [vec![(Val::Null, "NULL")], values].concat() }
}

fn texts(values: &[(&'static str, &'static str)]) -> Vec<(Val, &'static str)> {
    values.iter().map(|&(value, sql)| (text(value), sql)).collect()
}

fn samples() -> Vec<Sample> {
    use DatumKind::{
        Bits, Bytes, Date, Decimal, Double, Enum, Float, Int, Json, MicroTime, Set, Text, TimestampMicros, Year,
        ZonedTimestamp,
    };
    let decimal = |v: i64| Val::Decimal(v.to_be_bytes().to_vec());
    let bytes = |v: &[u8]| Val::Bytes(v.to_vec());
    let words = || {
        texts(&[
            ("a", "'a'"),
            ("A", "'A'"),
            ("a ", "'a '"),
            ("", "''"),
            (" ", "' '"),
            ("é", "'é'"),
            ("e", "'e'"),
            ("'\\", "'''\\\\'"),
        ])
    };
    let plain = || texts(&[("a", "'a'"), ("A", "'A'"), ("é", "'é'"), ("", "''")]);
    vec![
        sample("i", "int", Int, "i", vec![(Val::Int(0), "0"), (Val::Int(-1), "-1")]),
        sample("ci", "varchar(9) COLLATE utf8mb4_general_ci", Text, "HEX(ci)", words()),
        sample("bi", "varchar(9) COLLATE utf8mb4_bin", Text, "HEX(bi)", words()),
        sample("tx", "text COLLATE utf8mb4_unicode_ci", Text, "HEX(tx)", words()),
        sample("ch", "char(5) COLLATE utf8mb4_general_ci", Text, "HEX(ch)", plain()),
        sample("la", "varchar(9) CHARACTER SET latin1", Text, "HEX(CONVERT(la USING utf8mb4))", plain()),
        sample(
            "gb",
            "varchar(9) CHARACTER SET gbk",
            Text,
            "HEX(CONVERT(gb USING utf8mb4))",
            texts(&[("汉", "'汉'"), ("a", "'a'"), ("A ", "'A '")]),
        ),
        sample(
            "vb",
            "varbinary(4)",
            Bytes,
            "HEX(vb)",
            vec![
                (bytes(b""), "''"),
                (bytes(&[0]), "X'00'"),
                (bytes(&[255, 254]), "X'fffe'"),
                (bytes(b"a"), "'a'"),
                (bytes(b"A"), "'A'"),
                (bytes(b"a "), "'a '"),
            ],
        ),
        sample(
            "bl",
            "blob",
            Bytes,
            "HEX(bl)",
            vec![(bytes(&[255, 0]), "X'ff00'"), (bytes(&[255]), "X'ff'"), (bytes(&[195, 169]), "X'c3a9'")],
        ),
        sample("bn", "binary(2)", Bytes, "HEX(bn)", vec![(bytes(&[0, 0]), "X'0000'"), (bytes(&[0, 255]), "X'00ff'")]),
        sample(
            "f",
            "float",
            Float,
            "CONCAT(f)",
            vec![
                (Val::Float(0.1), "0.1"),
                (Val::Float(0.0), "0"),
                (Val::Float(-0.0), "-0e0"),
                (Val::Float(16_777_216.0), "16777216"),
                (Val::Float(-3.4e38), "-3.4e38"),
            ],
        ),
        sample(
            "fd",
            "double",
            Float,
            "CONCAT(fd)",
            vec![(Val::Float(0.1), "0.10000000149011612"), (Val::Float(-0.0), "-0e0"), (Val::Float(0.0), "0")],
        ),
        sample(
            "d",
            "double",
            Double,
            "CONCAT(d)",
            vec![
                (Val::Double(0.1), "0.1"),
                (Val::Double(0.1 + 0.2), "0.30000000000000004"),
                (Val::Double(0.3), "0.3"),
                (Val::Double(0.0), "0"),
                (Val::Double(-0.0), "-0e0"),
            ],
        ),
        sample(
            "n",
            "decimal(15,4)",
            Decimal { precision: 12, scale: 3 },
            "n",
            vec![
                (decimal(1500), "1.5"),
                (decimal(-1500), "-1.5"),
                (decimal(99_999_999_999), "99999999.999"),
                (decimal(99_999_999_998), "99999999.998"),
            ],
        ),
        sample(
            "u",
            "bigint unsigned",
            Decimal { precision: 20, scale: 0 },
            "u",
            vec![
                (Val::Decimal([vec![0], vec![255; 8]].concat()), "18446744073709551615"),
                (Val::Decimal([vec![0], vec![255; 7], vec![254]].concat()), "18446744073709551614"),
            ],
        ),
        sample(
            "b12",
            "bit(12)",
            Bits { bits: 12 },
            "b12+0",
            vec![(bytes(&[1, 0]), "1"), (bytes(&[0, 1]), "256"), (bytes(&[0, 0]), "0")],
        ),
        sample(
            "b64",
            "bit(64)",
            Bits { bits: 64 },
            "HEX(b64)",
            vec![
                (Val::Bytes(vec![255; 8]), "0xffffffffffffffff"),
                (Val::Bytes([vec![254], vec![255; 7]].concat()), "0xfffffffffffffffe"),
            ],
        ),
        sample(
            "e",
            "enum('b','a','','B') COLLATE utf8mb4_bin",
            Enum,
            "e+0",
            texts(&[("a", "'a'"), ("b", "'b'"), ("B", "'B'"), ("", "''")]),
        ),
        sample("s", "set('y','x')", Set, "s+0", texts(&[("x", "'x'"), ("x,y", "'x,y'"), ("", "''")])),
        sample(
            "js",
            "json",
            Json,
            "HEX(CAST(js AS CHAR))",
            texts(&[
                ("1", "'1'"),
                ("1.0", "'1.0'"),
                ("\"1\"", "'\"1\"'"),
                ("{\"a\": [1, \"é\"], \"b\": null}", "'{\"a\": [1, \"é\"], \"b\": null}'"),
                ("null", "'null'"),
                ("[]", "'[]'"),
            ]),
        ),
        sample(
            "da",
            "date",
            Date,
            "CAST(da AS CHAR)",
            vec![
                (exact("0000-00-00"), "'0000-00-00'"),
                (Val::Int(0), "'1970-01-01'"),
                (exact("2026-02-31"), "'2026-02-31'"),
            ],
        ),
        sample(
            "dt",
            "datetime(6)",
            TimestampMicros,
            "CAST(dt AS CHAR)",
            vec![
                (exact("0000-00-00 00:00:00"), "'0000-00-00'"),
                (Val::Int(-1), "'1969-12-31 23:59:59.999999'"),
                (Val::Int(0), "'1970-01-01'"),
            ],
        ),
        sample(
            "ts",
            "timestamp(3) NULL",
            ZonedTimestamp,
            "CAST(ts AS CHAR)",
            vec![
                (exact("0000-00-00 00:00:00"), "'0000-00-00'"),
                (text("2026-01-01T00:00:00.001Z"), "'2026-01-01 00:00:00.001'"),
                (text("2026-01-01T00:00:00Z"), "'2026-01-01'"),
            ],
        ),
        sample(
            "ti",
            "time(3)",
            MicroTime,
            "CAST(ti AS CHAR)",
            vec![
                (Val::Int(0), "'0:00:00'"),
                (Val::Int(-1000), "'-0:00:00.001'"),
                (Val::Int(3_020_399_000_000), "'838:59:59'"),
            ],
        ),
        sample(
            "y",
            "year",
            Year,
            "y",
            vec![(Val::Int(0), "'0000'"), (Val::Int(2000), "2000"), (Val::Int(1901), "1901")],
        ),
    ]
}

/// The columns of one case, with and without what the event has.
struct Case {
    columns: Vec<Sample>,
    /// Whether the source's table has a primary key, which the target lacks.
    keyed: bool,
}

impl Case {
    /// Some of the columns at random.
    fn random(rng: &mut StdRng) -> Self {
        let mut all = samples();
        let count = rng.random_range(1..=4);
        let columns = (0..count).map(|_| all.swap_remove(rng.random_range(0..all.len()))).collect();
        Self { columns, keyed: rng.random_bool(0.5) }
    }

    fn writer(&self) -> Vec<WriterColumn> {
        let of = |s: &Sample| WriterColumn {
            labels: s.labels.iter().map(|&label| label.to_owned()).collect(),
            ..column(s.name, s.kind)
        };
        self.columns.iter().map(of).collect()
    }

    fn ddl(&self) -> String {
        self.columns.iter().map(|s| format!("{} {}", s.name, s.ddl)).collect::<Vec<_>>().join(", ")
    }

    fn shown(&self, table: &str) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|s| s.show).collect();
        let order: Vec<String> = (1..=columns.len()).map(|at| at.to_string()).collect();
        format!("SELECT {} FROM {table} ORDER BY {}", columns.join(", "), order.join(", "))
    }

    /// A row, as which value each column has.
    fn row(&self, rng: &mut StdRng) -> Vec<usize> {
        self.columns.iter().map(|s| rng.random_range(0..s.values.len())).collect()
    }

    fn values(&self, row: &[usize]) -> Row {
        self.columns.iter().zip(row).map(|(s, &at)| s.values[at].0.clone()).collect()
    }

    fn literals(&self, row: &[usize]) -> String {
        self.columns.iter().zip(row).map(|(s, &at)| s.values[at].1).collect::<Vec<_>>().join(", ")
    }
}

/// The source's table: its rows, each with a number that is its key where it has one.
#[derive(Default)]
struct Source {
    rows: Vec<(u32, Vec<usize>)>,
    next: u32,
    offset: i64,
}

impl Source {
    fn event(&mut self, case: &Case, rng: &mut StdRng) -> Event {
        self.offset += rng.random_range(1..3);
        let key = |id: u32| if case.keyed { id.to_be_bytes().to_vec() } else { Vec::new() };
        let fresh = case.row(rng);
        let event = |id, op, before: &[Val], after: &[Val]| Event::new(self.offset, &key(id), op, before, after);
        if self.rows.is_empty() || rng.random_bool(0.4) {
            self.next += 1;
            self.rows.push((self.next, fresh.clone()));
            return event(self.next, Op::Create, &[], &case.values(&fresh));
        }
        let at = rng.random_range(0..self.rows.len());
        if rng.random_bool(0.5) {
            let (id, row) = self.rows.swap_remove(at);
            return event(id, Op::Delete, &case.values(&row), &[]);
        }
        let (id, row) = &mut self.rows[at];
        let before = std::mem::replace(row, fresh);
        event(*id, Op::Update, &case.values(&before), &case.values(row))
    }
}

async fn run_case(place: &mut Place, case: &Case, rng: &mut StdRng) {
    place.run("DELETE FROM progress").await;
    place
        .run(&format!("DROP TABLE IF EXISTS t, oracle; CREATE TABLE t ({}); CREATE TABLE oracle LIKE t", case.ddl()))
        .await;
    let mapping = place.mapping(&case.writer(), "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let mut source = Source::default();
    for _ in 0..rng.random_range(5..20) {
        let events: Vec<Event> = (0..rng.random_range(1..30)).map(|_| source.event(case, rng)).collect();
        let written = write(&mut session, &mut lane, &mapping, Policies::default(), &events).await;
        let outcome = written.unwrap_or_else(|error| panic!("{}: {error:?}\n{events:?}", case.ddl()));
        assert!(!outcome.serial, "{}: a batch took the slow way: {events:?}", case.ddl());
    }
    for (_, row) in &source.rows {
        place.run(&format!("INSERT INTO oracle VALUES ({})", case.literals(row))).await;
    }
    let (found, expected) = (place.rows(&case.shown("t")).await, place.rows(&case.shown("oracle")).await);
    assert_eq!(found, expected, "{}", case.ddl());
    session.close().await;
}

async fn any_table_without_a_key_is_the_same_multiset(server: Server) {
    let mut place = Place::new(server, "keyless").await;
    place.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await;
    let cases = if std::env::var_os("OTTER_TEST_LONG").is_some() { 1000 } else { 25 };
    let given = std::env::var("OTTER_TEST_SEED").ok().map(|seed| seed.parse().expect("OTTER_TEST_SEED is a number"));
    for _ in 0..if given.is_some() { 1 } else { cases } {
        let seed: u64 = given.unwrap_or_else(rand::random);
        println!("keyless {server:?}: OTTER_TEST_SEED={seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        run_case(&mut place, &case, &mut rng).await;
    }
    place.drop().await;
}

/// Of all values of a column, each a row, each is found by an update and by a delete, and no other is.
async fn every_value_is_told_from_every_other(server: Server) {
    let mut place = Place::new(server, "keyless_values").await;
    place.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await;
    for s in samples() {
        let case = Case {
            columns: vec![s, sample("no", "int", DatumKind::Int, "no", vec![(Val::Int(9), "9")])],
            keyed: false,
        };
        let count = case.columns[0].values.len();
        for last in 0..count {
            place.run("DELETE FROM progress").await;
            place.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t ({})", case.ddl())).await;
            let mapping = place.mapping(&case.writer(), "t").await;
            let mut session = place.session().await;
            let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
            let row = |at: usize, no: usize| case.values(&[at, no]);
            let mut events: Vec<Event> =
                (0..count).map(|at| Event::new(at as i64, b"", Op::Create, &[], &row(at, 0))).collect();
            // The one to be told from the others changes first, then the others go, and it is the one that stays.
            events.push(Event::new(100, b"", Op::Update, &row(last, 0), &row(last, 1)));
            let others = (0..count).filter(|&at| at != last);
            events.extend(others.map(|at| Event::new(101 + at as i64, b"", Op::Delete, &row(at, 0), &[])));
            let outcome =
                write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
            assert_eq!(
                (outcome.deleted, outcome.updated, outcome.serial),
                (count as u64 - 1, 1, false),
                "{}",
                case.ddl()
            );
            place
                .run(&format!(
                    "DROP TABLE IF EXISTS o; CREATE TABLE o ({}); INSERT INTO o VALUES ({})",
                    case.ddl(),
                    case.literals(&[last, 1])
                ))
                .await;
            assert_eq!(place.rows(&case.shown("t")).await, place.rows(&case.shown("o")).await, "{}", case.ddl());
            session.close().await;
        }
    }
    place.drop().await;
}

/// Runs of inserts go in bulk, and a row that is not there pauses right in front of its event.
async fn events_without_keys_stay_in_order(server: Server) {
    let mut place = Place::new(server, "keyless_order").await;
    place.run("CREATE TABLE t (v varchar(9), u int, UNIQUE (u))").await;
    let mapping = place.mapping(&[column("v", DatumKind::Text), column("u", DatumKind::Int)], "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let row = |v: &str, u: Option<i64>| vec![text(v), u.map_or(Val::Null, Val::Int)];
    let event = |at, op, before: &[Val], after: &[Val]| Event::new(at, b"", op, before, after);
    let before: u64 = statements(&mut session, &mut place).await;
    let many: Vec<Event> = (0..2000).map(|at| event(at, Op::Create, &[], &row("x", None))).collect();
    let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &many).await.expect("written");
    assert_eq!((outcome.inserted, outcome.serial), (2000, false));
    let used = statements(&mut session, &mut place).await - before;
    assert!(used < 60, "{used} statements for 2000 rows");
    // A row comes, changes, goes, and comes again, among others that are equal to it.
    let events = [
        event(2000, Op::Create, &[], &row("a", Some(1))),
        event(2001, Op::Update, &row("a", Some(1)), &row("x", None)),
        event(2002, Op::Delete, &row("x", None), &[]),
        event(2003, Op::Create, &[], &row("b", Some(1))),
        event(2004, Op::Delete, &row("gone", None), &[]),
        event(2005, Op::Create, &[], &row("behind", None)),
    ];
    let paused = write(&mut session, &mut lane, &mapping, Policies::default(), &events).await;
    match paused {
        Err(WriteError::Paused { at_offset: 2004, error, outcome, .. }) => {
            assert_eq!((error.code(), outcome.events), (Code::RowMissing, 4));
            let message = error.to_string();
            assert!(message.contains("(a row without key) at offset 2004") && !message.contains("gone"), "{message}");
        }
        other => panic!("no pause: {other:?}"),
    }
    let rows = place.rows("SELECT v, COUNT(*) FROM t GROUP BY v ORDER BY v").await;
    assert_eq!(rows, ["b|1", "x|2000"]);
    // Another row has the unique value, and no policy can say which of the two is meant.
    let policies = Policies { existing_row: schemas::documents::ExistingRow::Overwrite, ..Policies::default() };
    let (mut lane, _) = place.claim(&mut session, &token(2)).await.expect("a claim");
    let taken = [event(2005, Op::Create, &[], &row("c", Some(1)))];
    let paused = write(&mut session, &mut lane, &mapping, policies, &taken).await;
    assert!(matches!(&paused, Err(WriteError::Paused { error, .. }) if error.code() == Code::RowExists), "{paused:?}");
    place.drop().await;
}

/// How many statements the session has run.
async fn statements(session: &mut apply::target::connection::Session, place: &mut Place) -> u64 {
    let id = session.connection_id();
    let from = match place.server {
        Server::Mysql => format!(
            "performance_schema.status_by_thread s JOIN performance_schema.threads t USING (THREAD_ID) WHERE t.PROCESSLIST_ID = {id} AND s.VARIABLE_NAME = 'Questions'"
        ),
        Server::Mariadb => return 0,
    };
    let count: Option<String> =
        place.sql.query_first(format!("SELECT s.VARIABLE_VALUE FROM {from}")).await.expect("a count");
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// A key that takes NULL, or that is not mapped, finds no rows; the columns do.
async fn keys_that_cannot_find_rows_are_none(server: Server) {
    let mut place = Place::new(server, "keyless_other").await;
    place.run("CREATE TABLE t (no int AUTO_INCREMENT PRIMARY KEY, a int UNIQUE, v varchar(9), local int DEFAULT 7, UNIQUE (v(2)))").await;
    let writer = [column("id", DatumKind::Int), column("a", DatumKind::Int), column("v", DatumKind::Text)];
    let mut session = place.session().await;
    let rules = schemas::documents::Columns { exclude: ["id".to_owned()].into(), ..Default::default() };
    let mapping = apply::target::mapping::TableMapping::resolve(&mut session, &writer, &rules, &place.table("t")).await;
    let mapping = mapping.unwrap_or_else(|failure| panic!("{}", failure.error));
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let row = |id: i64, a: Option<i64>, v: &str| vec![Val::Int(id), a.map_or(Val::Null, Val::Int), text(v)];
    let events = [
        Event::create(0, &row(1, Some(1), "ab")),
        Event::create(1, &row(2, None, "cd")),
        Event::create(2, &row(3, None, "ef")),
    ];
    write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
    // Values that are unique go round.
    let events = [
        Event::update(3, &row(1, Some(1), "ab"), &row(1, None, "x")),
        Event::update(4, &row(2, None, "cd"), &row(2, Some(1), "ab")),
        Event::update(5, &row(1, None, "x"), &row(1, Some(2), "cd")),
        Event::delete(6, &row(3, None, "ef")),
    ];
    write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
    assert_eq!(place.rows("SELECT a, v, local FROM t ORDER BY a").await, ["1|ab|7", "2|cd|7"]);
    place.drop().await;
}

#[test]
fn every_sample_has_values_to_choose_from() {
    let mut rng = StdRng::seed_from_u64(1);
    assert!(samples().iter().all(|s| s.values.len() > 2 && s.values.choose(&mut rng).is_some()));
}

crate::on_both_servers! {
    any_table_without_a_key_is_the_same_multiset
    every_value_is_told_from_every_other
    events_without_keys_stay_in_order
    keys_that_cannot_find_rows_are_none
}
