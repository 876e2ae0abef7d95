//! ENUM, SET, BIT, YEAR, JSON, other character sets and dates of no calendar: each lands as the server stores it of a
//! literal, as a value and as a key.

use apply::target::mapping::TableMapping;
use apply::target::writer::{Policies, WriteError};
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};
use schemas::documents::Columns;

use crate::harness::{Event, Place, Row, Server, Val, column, exact, text, token, write};

fn set64() -> String {
    let labels: Vec<String> = (0..64).map(|i| format!("'l{i}'")).collect();
    format!("set({})", labels.join(","))
}

fn ddl() -> String {
    format!(
        "CREATE TABLE t (id int PRIMARY KEY, b1 bit(1), b12 bit(12), b64 bit(64), y year, e enum('A ','1','x,y','it''s','ünï','back\\\\slash',''), \
         s set('fo ur','one','c'), s64 {}, js json, l1 varchar(20) character set latin1, g varchar(20) character set gbk, u varchar(20) character set utf16, \
         d date, dt datetime, dt6 datetime(6), ts timestamp NULL, bn blob)",
        set64()
    )
}

fn columns() -> Vec<WriterColumn> {
    use DatumKind::{
        Bits, Bool, Bytes, Date, Enum, Int, Json, Set, Text, TimestampMicros, TimestampMillis, Year, ZonedTimestamp,
    };
    let kinds = [
        ("id", Int),
        ("b1", Bool),
        ("b12", Bits { bits: 12 }),
        ("b64", Bits { bits: 64 }),
        ("y", Year),
        ("e", Enum),
        ("s", Set),
        ("s64", Set),
        ("js", Json),
        ("l1", Text),
        ("g", Text),
        ("u", Text),
        ("d", Date),
        ("dt", TimestampMillis),
        ("dt6", TimestampMicros),
        ("ts", ZonedTimestamp),
        ("bn", Bytes),
    ];
    kinds.map(|(name, kind)| column(name, kind)).to_vec()
}

/// Rows, and the same as literals.
fn rows() -> Vec<(Row, String)> {
    let all64: Vec<String> = (0..64).map(|i| format!("l{i}")).collect();
    let null = |id| {
        let mut row = vec![Val::Null; columns().len()];
        row[0] = Val::Int(id);
        row
    };
    vec![
        (null(1), "1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL".to_owned()),
        (
            vec![
                Val::Int(2),
                Val::Int(1),
                Val::Bytes(vec![0x34, 0x0f]),
                Val::Bytes(vec![255; 8]),
                Val::Int(0),
                text("1"),
                text("one,fo ur"),
                text(&all64.join(",")),
                text(r#"{"a": [1, 2.0, "é😀", null], "b": 18446744073709551615}"#),
                text("\u{81}€ÿ"),
                text("汉\\字"),
                text("😀"),
                exact("0000-00-00"),
                exact("2026-02-31 00:00:00"),
                exact("2020-00-10 23:59:59.999999"),
                exact("0000-00-00 00:00:00"),
                Val::Bytes(vec![0, 255]),
            ],
            format!(
                r#"2,1,0xf34,0xffffffffffffffff,0,'1','fo ur,one','{}','{{"a": [1, 2.0, "é😀", null], "b": 18446744073709551615}}',CONVERT(X'8180FF' USING latin1),'汉\\字','😀','0000-00-00','2026-02-31','2020-00-10 23:59:59.999999','0000-00-00',X'00FF'"#,
                all64.join(",")
            ),
        ),
        (
            vec![
                Val::Int(3),
                Val::Int(0),
                Val::Bytes(vec![0, 0]),
                Val::Bytes(vec![1, 0, 0, 0, 0, 0, 0, 128]),
                Val::Int(2155),
                text("x,y"),
                text(""),
                text("l63"),
                text("null"),
                text(""),
                text(""),
                text(""),
                exact("2020-00-00"),
                exact("0000-00-00 00:00:00"),
                exact("0000-00-00 00:00:00.000000"),
                text("2038-01-19T03:14:07Z"),
                Val::Bytes(vec![]),
            ],
            "3,0,0,0x8000000000000001,2155,'x,y','','l63','null','','','','2020-00-00','0000-00-00','0000-00-00','2038-01-19 03:14:07',''".to_owned(),
        ),
        (
            vec![
                Val::Int(4),
                Val::Int(1),
                Val::Bytes(vec![0xff, 0x0f]),
                Val::Bytes(vec![0; 8]),
                Val::Int(1901),
                text("back\\slash"),
                text("fo ur,one,c"),
                text("l0"),
                text("[1.5, \"\\\"\", {}]"),
                text("a"),
                text("a"),
                text("a"),
                exact("0000-05-10"),
                exact("9999-00-31 23:59:59"),
                Val::Int(-1),
                Val::Null,
                Val::Null,
            ],
            r#"4,1,0xfff,0,1901,'back\\slash','fo ur,one,c','l0','[1.5, "\\"", {}]','a','a','a','0000-05-10','9999-00-31 23:59:59','1969-12-31 23:59:59.999999',NULL,NULL"#.to_owned(),
        ),
        (
            [vec![Val::Int(5), Val::Null, Val::Null, Val::Null, Val::Int(2000), text("")], vec![Val::Null; 11]].concat(),
            "5,NULL,NULL,NULL,2000,'',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL".to_owned(),
        ),
    ]
}

const EXACT: &str = "SELECT id, b1+0, b12+0, HEX(b64), y, HEX(CAST(e AS BINARY)), e+0, HEX(CAST(s AS BINARY)), HEX(s64), CAST(js AS CHAR), HEX(l1), \
  HEX(g), HEX(u), CAST(d AS CHAR), CAST(dt AS CHAR), CAST(dt6 AS CHAR), CAST(ts AS CHAR), HEX(bn)";

async fn oracle(place: &mut Place) -> Vec<String> {
    place.run("CREATE TABLE oracle LIKE t").await;
    place.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await;
    for (_, literal) in rows() {
        place.run(&format!("INSERT INTO oracle VALUES ({literal})")).await;
    }
    place.rows(&format!("{EXACT} FROM oracle ORDER BY id")).await
}

async fn every_kind_lands_as_its_literal(server: Server) {
    let mut place = Place::new(server, "kinds").await;
    place.run(&ddl()).await;
    let expected = oracle(&mut place).await;
    let mapping = place.mapping(&columns(), "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let inserts: Vec<Event> = (0..).zip(rows()).map(|(at, (row, _))| Event::create(at, &row)).collect();
    let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &inserts).await.expect("written");
    assert_eq!((outcome.inserted, outcome.serial), (5, false));
    assert_eq!(place.rows(&format!("{EXACT} FROM t ORDER BY id")).await, expected);
    // Each row takes the next one's values, and back.
    let all: Vec<Row> = rows().into_iter().map(|(row, _)| row).collect();
    let with_id = |at: usize, id: &Val| [std::slice::from_ref(id), &all[at % all.len()][1..]].concat();
    let turned: Vec<Event> =
        (0..all.len()).map(|at| Event::update(10 + at as i64, &all[at], &with_id(at + 1, &all[at][0]))).collect();
    let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &turned).await.expect("written");
    assert_eq!((outcome.updated, outcome.serial), (5, false));
    let back: Vec<Event> =
        (0..all.len()).map(|at| Event::update(20 + at as i64, &with_id(at + 1, &all[at][0]), &all[at])).collect();
    for event in &back {
        write(&mut session, &mut lane, &mapping, Policies::default(), std::slice::from_ref(event))
            .await
            .expect("written");
    }
    assert_eq!(place.rows(&format!("{EXACT} FROM t ORDER BY id")).await, expected);
    place.drop().await;
}

/// Each kind as the whole key and as a part of one: found by update and delete, and nothing else is.
async fn every_kind_serves_as_a_key(server: Server) {
    let mut place = Place::new(server, "kind_keys").await;
    place.run(&ddl().replace("id int PRIMARY KEY", "id int")).await;
    oracle(&mut place).await;
    let all = rows();
    for (name, width) in [
        ("b1", 1),
        ("b12", 2),
        ("b64", 3),
        ("y", 4),
        ("e", 5),
        ("s", 6),
        ("s64", 7),
        ("l1", 9),
        ("g", 10),
        ("u", 11),
        ("d", 12),
        ("dt", 13),
        ("dt6", 14),
        ("ts", 15),
    ] {
        let ty: String = place.rows(&format!("SELECT CONCAT(COLUMN_TYPE, COALESCE(CONCAT(' CHARACTER SET ', CHARACTER_SET_NAME), '')) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't' AND COLUMN_NAME = '{name}'")).await.concat();
        for key in ["k", "id, k", "k, id"] {
            place.run(&format!("DROP TABLE IF EXISTS k; CREATE TABLE k (id int NOT NULL, k {ty} NOT NULL, v int, PRIMARY KEY ({key}))")).await;
            let kind = columns()[width].kind;
            let writer = [column("id", DatumKind::Int), column("k", kind), column("v", DatumKind::Int)];
            let mapping = place.mapping(&writer, "k").await;
            let mut session = place.session().await;
            place.run("DELETE FROM progress").await;
            let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
            let mut rows: Vec<Row> = Vec::new();
            for (row, _) in &all {
                if row[width] != Val::Null && rows.iter().all(|other: &Row| other[1] != row[width]) {
                    rows.push(vec![row[0].clone(), row[width].clone(), Val::Int(0)]);
                }
            }
            let named = |at: i64, op: fn(i64, &[u8], &Row, &Row) -> Event, row: &Row, after: &Row| {
                op(at, format!("{:?}", row[1]).as_bytes(), row, after)
            };
            let mut at = 0;
            let mut next = || {
                at += 1;
                at
            };
            use schemas::encode::Op;
            let mut events: Vec<Event> = rows
                .iter()
                .map(|row| named(next(), |at, key, _, after| Event::new(at, key, Op::Create, &[], after), row, row))
                .collect();
            let outcome =
                write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
            assert_eq!((outcome.inserted, outcome.serial), (rows.len() as u64, false), "{name} {key}");
            let changed: Vec<Row> = rows.iter().map(|row| vec![row[0].clone(), row[1].clone(), Val::Int(7)]).collect();
            events = rows
                .iter()
                .zip(&changed)
                .map(|(row, after)| {
                    named(next(), |at, key, before, after| Event::new(at, key, Op::Update, before, after), row, after)
                })
                .collect();
            let outcome =
                write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
            assert_eq!((outcome.updated, outcome.serial), (rows.len() as u64, false), "{name} {key}");
            assert_eq!(
                place.rows("SELECT COUNT(*) FROM k WHERE v = 7").await,
                [rows.len().to_string()],
                "{name} {key}"
            );
            // The first alone, then the rest at once.
            let deletes: Vec<Event> = changed
                .iter()
                .map(|row| named(next(), |at, key, before, _| Event::new(at, key, Op::Delete, before, &[]), row, row))
                .collect();
            let (first, rest) = deletes.split_at(1);
            for part in [first, rest] {
                if !part.is_empty() {
                    let outcome =
                        write(&mut session, &mut lane, &mapping, Policies::default(), part).await.expect("written");
                    assert_eq!((outcome.deleted, outcome.serial), (part.len() as u64, false), "{name} {key}");
                }
            }
            assert_eq!(place.rows("SELECT COUNT(*) FROM k").await, ["0"], "{name} {key}");
            session.close().await;
        }
    }
    place.drop().await;
}

/// A value that the column would change, or take as another, is refused; key, column and offset are named, no value.
async fn values_that_would_change_are_refused(server: Server) {
    let mut place = Place::new(server, "kinds_changed").await;
    place
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, e enum('a','b'), s set('a','b'), y year, l varchar(9) character set latin1, g varchar(9) character set gbk, \
             u3 varchar(9) character set utf8mb3, a varchar(9) character set ascii, c varchar(9) character set cp932, ti tinyint, ts timestamp NULL, dt datetime, js json)",
        )
        .await;
    use DatumKind::{Bits, Enum, Int, Json, Set, Text, TimestampMicros, Year, ZonedTimestamp};
    let names = ["id", "e", "s", "y", "l", "g", "u3", "a", "c", "ti", "ts", "dt", "js"];
    let kinds =
        [Int, Enum, Set, Year, Text, Text, Text, Text, Text, Bits { bits: 9 }, ZonedTimestamp, TimestampMicros, Json];
    let writer: Vec<WriterColumn> = names.iter().zip(kinds).map(|(name, kind)| column(name, kind)).collect();
    let mapping = place.mapping(&writer, "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let good = vec![Val::Null; names.len()];
    let bad = [
        (1, text("A"), Code::TargetRefused),
        (1, text("1"), Code::TargetRefused),
        (1, text(""), Code::TargetRefused),
        (2, text("a,B"), Code::TargetRefused),
        (2, text("1"), Code::TargetRefused),
        (3, Val::Int(70), Code::TargetRefused),
        (4, text("漢"), Code::TargetRefused),
        (4, exact("0x81"), Code::ExactUnsupported),
        (5, text("😀"), Code::TargetRefused),
        (6, text("😀"), Code::TargetRefused),
        (7, text("é"), Code::TargetRefused),
        (8, text("\u{6661}"), Code::TargetRefused),
        (9, Val::Bytes(vec![0, 1]), Code::TargetRefused),
        (10, exact("2026-02-31 00:00:00"), Code::TargetRefused),
        (11, exact("2026-02-31 00:00:00.000001"), Code::TargetRefused),
        (12, text("{"), Code::TargetRefused),
    ];
    for (offset, (at, value, code)) in (0_i64..).zip(bad) {
        let what = format!("{} {value:?}", names[at]);
        let row = |id, value: Option<&Val>| {
            let mut row = good.clone();
            row[0] = Val::Int(id);
            row[at] = value.cloned().unwrap_or(Val::Null);
            row
        };
        let events =
            [Event::create(offset, &row(offset, None)), Event::create(offset + 1, &row(offset + 1, Some(&value)))];
        match write(&mut session, &mut lane, &mapping, Policies::default(), &events).await {
            Err(WriteError::Paused { at_offset, error, outcome, .. }) => {
                assert_eq!((at_offset, error.code(), outcome.inserted), (offset + 1, code, 1), "{what}: {error}");
                let message = error.to_string();
                assert!(message.contains(&format!("id={}", offset + 1)), "{what}: {message}");
                let named = message.contains(&format!("`{}`", names[at]))
                    || message.contains(&format!("'{}'", names[at]))
                    || message.contains("gbk")
                    || message.contains("3140")
                    || message.contains("`t.js`");
                assert!(named && !message.contains("漢") && !message.contains("2026"), "{what}: {message}");
            }
            other => panic!("{what} was not refused: {other:?}"),
        }
    }
    place.drop().await;
}

/// What the labels of the source's schema say is said when the mapping is resolved.
async fn labels_that_the_target_lacks_are_named(server: Server) {
    let mut place = Place::new(server, "labels").await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, e enum('b','a','it''s'), s set('x','y'), v varchar(20))").await;
    let with = |name: &str, kind, labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        vec![column("id", DatumKind::Int), WriterColumn { labels, ..column(name, kind) }]
    };
    for (writer, lacking) in [
        (with("e", DatumKind::Enum, &["a", "b"]), None),
        (with("e", DatumKind::Enum, &["it's"]), None),
        (with("e", DatumKind::Enum, &["a", "A", "c"]), Some("A, c")),
        (with("s", DatumKind::Set, &["y", "x"]), None),
        (with("s", DatumKind::Set, &["z"]), Some("z")),
        (with("v", DatumKind::Enum, &["z"]), None),
        (with("v", DatumKind::Set, &["z"]), None),
    ] {
        let mut session = place.session().await;
        let resolved = TableMapping::resolve(&mut session, &writer, &Columns::default(), &place.table("t")).await;
        match (resolved, lacking) {
            (Ok(_), None) => {}
            (Err(failure), Some(labels)) => {
                assert_eq!(failure.error.code(), Code::TargetTable);
                let said = format!("lacks labels of the source's: {labels}");
                assert!(failure.error.message().contains(&said), "{}", failure.error);
            }
            (resolved, _) => panic!("{writer:?}: {:?}", resolved.map(drop)),
        }
    }
    place.drop().await;
}

crate::on_both_servers! {
    every_kind_lands_as_its_literal
    every_kind_serves_as_a_key
    values_that_would_change_are_refused
    labels_that_the_target_lacks_are_named
}
