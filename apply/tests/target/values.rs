//! Values of every type land bit for bit, through every statement that carries them.

use apply::target::writer::{Policies, WriteError};
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};

use crate::harness::{Event, Place, Row, Server, Val, column, text, token, write};

const DDL: &str = "CREATE TABLE t (id int PRIMARY KEY, ti tinyint, bu bigint unsigned, bi bigint, d decimal(65,30), d0 decimal(10,0), \
  f float, dbl double, dt date, dt0 datetime, dt3 datetime(3), dt6 datetime(6), ts timestamp(6) NULL, ts0 timestamp NULL, \
  tm time(6), tm0 time, c char(10), v varchar(300), l1 varchar(20) character set latin1, tx mediumtext, bn binary(4), vb varbinary(20), bl blob)";

fn columns() -> Vec<WriterColumn> {
    use DatumKind::{
        Bytes, Date, Double, Float, Int, MicroTime, Text, TimestampMicros, TimestampMillis, ZonedTimestamp,
    };
    let decimal = |precision, scale| DatumKind::Decimal { precision, scale };
    [
        ("id", Int),
        ("ti", Int),
        ("bu", decimal(20, 0)),
        ("bi", Int),
        ("d", decimal(65, 30)),
        ("d0", decimal(10, 0)),
        ("f", Float),
        ("dbl", Double),
        ("dt", Date),
        ("dt0", TimestampMillis),
        ("dt3", TimestampMillis),
        ("dt6", TimestampMicros),
        ("ts", ZonedTimestamp),
        ("ts0", ZonedTimestamp),
        ("tm", MicroTime),
        ("tm0", MicroTime),
        ("c", Text),
        ("v", Text),
        ("l1", Text),
        ("tx", Text),
        ("bn", Bytes),
        ("vb", Bytes),
        ("bl", Bytes),
    ]
    .map(|(name, kind)| column(name, kind))
    .to_vec()
}

/// Two's complement of a number.
fn unscaled(value: i128) -> Val {
    Val::Decimal(value.to_be_bytes().to_vec())
}

fn null_row(id: i64) -> Row {
    let mut row = vec![Val::Null; columns().len()];
    row[0] = Val::Int(id);
    row
}

/// TIME's fraction at its limits: MySQL ends at the whole second.
fn last_fraction(server: Server) -> i64 {
    if server == Server::Mariadb { 999_999 } else { 0 }
}

fn low(server: Server, id: i64) -> Row {
    let time = 838 * 3_600_000_000 + 59 * 60_000_000 + 59 * 1_000_000;
    // -(10^65 - 1): 28 bytes, beyond what an integer of the machine holds.
    let mut wide = vec![0_u8; 28];
    for _ in 0..65 {
        let mut carry = 9_u32;
        for byte in wide.iter_mut().rev() {
            let value = u32::from(*byte) * 10 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
    }
    for byte in &mut wide {
        *byte = !*byte;
    }
    *wide.last_mut().expect("as the test has it") += 1;
    vec![
        Val::Int(id),
        Val::Int(-128),
        unscaled(0),
        Val::Int(i64::MIN),
        Val::Decimal(wide),
        unscaled(-9_999_999_999),
        Val::Float(f32::MIN_POSITIVE),
        Val::Double(-1.797_693_134_862_315_7e308),
        Val::Int(-719_162),
        Val::Int(-62_135_596_800_000),
        Val::Int(-62_135_596_799_999),
        Val::Int(-62_135_596_800_000_000 + 1),
        text("1970-01-01T00:00:01.000001Z"),
        text("1970-01-01T00:00:01Z"),
        Val::Int(-time - last_fraction(server)),
        Val::Int(-time),
        text(""),
        text(""),
        text(""),
        text(""),
        Val::Bytes(vec![0; 4]),
        Val::Bytes(vec![]),
        Val::Bytes(vec![]),
    ]
}

fn high(server: Server, id: i64) -> Row {
    let time = 838 * 3_600_000_000 + 59 * 60_000_000 + 59 * 1_000_000;
    vec![
        Val::Int(id),
        Val::Int(127),
        unscaled(i128::from(u64::MAX)),
        Val::Int(i64::MAX),
        unscaled(1),
        unscaled(9_999_999_999),
        Val::Float(0.1),
        Val::Double(5e-324),
        Val::Int(2_932_896),
        Val::Int(253_402_300_799_000),
        Val::Int(253_402_300_799_999),
        Val::Int(253_402_300_799_999_999),
        text("2038-01-19T03:14:07.999999Z"),
        text("2038-01-19T03:14:07Z"),
        Val::Int(time + last_fraction(server)),
        Val::Int(time),
        text("a'\\\"`%"),
        text("\u{1f600} \0\n'; -- "),
        text("é€"),
        text("x "),
        Val::Bytes(vec![1, 0, 255, 0]),
        Val::Bytes(vec![0, 39, 92, 255]),
        Val::Bytes((0..=255).collect()),
    ]
}

const EXACT: &str = "SELECT id, ti, bu, bi, d, d0, HEX(CAST(f AS double)), CAST(f AS double), dbl, dt, dt0, dt3, dt6, ts, ts0, tm, tm0, \
  HEX(c), HEX(v), HEX(l1), HEX(tx), HEX(bn), HEX(vb), HEX(bl)";

/// What the server makes of literals: the oracle.
const ORACLE: &str = "INSERT INTO oracle VALUES \
 (1,-128,0,-9223372036854775808,-99999999999999999999999999999999999.999999999999999999999999999999,-9999999999,1.17549435e-38,-1.7976931348623157e308,'0001-01-01','0001-01-01 00:00:00','0001-01-01 00:00:00.001','0001-01-01 00:00:00.000001','1970-01-01 00:00:01.000001','1970-01-01 00:00:01','-838:59:59.999999','-838:59:59','','','','',X'00000000','',''),\
 (2,127,18446744073709551615,9223372036854775807,0.000000000000000000000000000001,9999999999,0.1,5e-324,'9999-12-31','9999-12-31 23:59:59','9999-12-31 23:59:59.999','9999-12-31 23:59:59.999999','2038-01-19 03:14:07.999999','2038-01-19 03:14:07','838:59:59.999999','838:59:59',X'61275C226025',X'F09F9880200A',X'E9','x ',X'0100FF00',X'00275CFF',X'00')";

async fn every_type_lands_exactly(server: Server) {
    let mut place = Place::new(server, "values").await;
    place.run(DDL).await;
    place.run("CREATE TABLE oracle LIKE t").await;
    let last = format!("838:59:59.{:06}", last_fraction(server));
    place.run(&ORACLE.replace("838:59:59.999999", &last)).await;
    let blob: String = (0..=255_u8).map(|b| format!("{b:02x}")).collect();
    place
        .run(&format!("UPDATE oracle SET v = X'F09F988020000A273B202D2D20', l1 = CONVERT(X'C3A9E282AC' USING utf8mb4), bl = X'{blob}' WHERE id = 2"))
        .await;
    place.run("INSERT INTO oracle (id) VALUES (3)").await;
    let mapping = place.mapping(&columns(), "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    // NULL in the first row of a bulk statement, values later, and the other way round.
    let inserts =
        [Event::create(0, &null_row(3)), Event::create(1, &low(server, 1)), Event::create(2, &high(server, 2))];
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &inserts).await.expect("as the test has it");
    assert_eq!((outcome.inserted, outcome.serial), (3, false));
    let expected = place.rows(&format!("{EXACT} FROM oracle ORDER BY id")).await;
    assert_eq!(place.rows(&format!("{EXACT} FROM t ORDER BY id")).await, expected);
    // Turn the values round by updates, and back one at a time.
    let turn = [
        Event::update(3, &low(server, 1), &null_row(1)),
        Event::update(4, &high(server, 2), &low(server, 2)),
        Event::update(5, &null_row(3), &high(server, 3)),
    ];
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &turn).await.expect("as the test has it");
    assert_eq!((outcome.updated, outcome.serial), (3, false));
    place
        .run("UPDATE oracle SET id = id + 10; UPDATE oracle SET id = CASE id WHEN 13 THEN 1 WHEN 11 THEN 2 ELSE 3 END")
        .await;
    let expected = place.rows(&format!("{EXACT} FROM oracle ORDER BY id")).await;
    assert_eq!(place.rows(&format!("{EXACT} FROM t ORDER BY id")).await, expected);
    let back = [
        Event::update(6, &low(server, 2), &high(server, 2)),
        Event::delete(7, &null_row(1)),
        Event::delete(8, &high(server, 3)),
    ];
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &back).await.expect("as the test has it");
    assert_eq!((outcome.updated, outcome.deleted, outcome.serial), (1, 2, false));
    assert_eq!(place.rows("SELECT id FROM t").await, ["2"]);
    place.drop().await;
}

async fn a_column_of_only_null_binds(server: Server) {
    let mut place = Place::new(server, "nulls").await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, a varchar(5), b bigint unsigned)").await;
    let writer = [
        column("id", DatumKind::Int),
        column("a", DatumKind::Text),
        column("b", DatumKind::Decimal { precision: 20, scale: 0 }),
    ];
    let mapping = place.mapping(&writer, "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let row = |id, a: Val, b: Val| vec![Val::Int(id), a, b];
    let nulls: Vec<Event> = (0..5).map(|i| Event::create(i, &row(i, Val::Null, Val::Null))).collect();
    write(&mut session, &mut lane, &mapping, Policies::default(), &nulls).await.expect("as the test has it");
    let mixed = [
        Event::create(5, &row(5, Val::Null, unscaled(i128::from(u64::MAX)))),
        Event::create(6, &row(6, text("x"), Val::Null)),
        Event::create(7, &row(7, text(""), unscaled(1))),
    ];
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &mixed).await.expect("as the test has it");
    assert!(!outcome.serial);
    let rows = place.rows("SELECT id, a, b FROM t WHERE id > 3 ORDER BY id").await;
    assert_eq!(rows, ["4|NULL|NULL", "5|NULL|18446744073709551615", "6|x|NULL", "7||1"]);
    place.drop().await;
}

/// What a target would change without saying so is refused, naming key, column and offset but no other value.
async fn values_that_would_change_are_refused(server: Server) {
    let mut place = Place::new(server, "changed").await;
    place
        .run("CREATE TABLE t (id int PRIMARY KEY, c char(5), b binary(3), dt datetime(1), ts timestamp NULL, tm time, f float(7,2), n int NOT NULL DEFAULT 0, \
              s tinyint, v varchar(3), l varchar(9) character set latin1, ck int CHECK (ck < 10))")
        .await;
    use DatumKind::{Bytes, Float, Int, MicroTime, Text, TimestampMillis, ZonedTimestamp};
    let names = ["id", "c", "b", "dt", "ts", "tm", "f", "n", "s", "v", "l", "ck"];
    let kinds = [Int, Text, Bytes, TimestampMillis, ZonedTimestamp, MicroTime, Float, Int, Int, Text, Text, Int];
    let writer: Vec<WriterColumn> = names.iter().zip(kinds).map(|(name, kind)| column(name, kind)).collect();
    let mapping = place.mapping(&writer, "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let mut good = vec![Val::Null; names.len()];
    good[0] = Val::Int(1);
    good[7] = Val::Int(5);
    let bad: [(usize, Val); 12] = [
        (1, text("secret ")),
        (2, Val::Bytes(vec![1])),
        (3, Val::Int(120)),
        (4, text("2024-01-02T03:04:05.5Z")),
        (5, Val::Int(1)),
        (6, Val::Float(1.005)),
        (7, Val::Null),
        (8, Val::Int(300)),
        (9, text("secret")),
        (9, text("abc ")),
        (10, text("secret\u{1f600}")),
        (11, Val::Int(99)),
    ];
    for (offset, (at, value)) in (0_i64..).zip(bad) {
        good[0] = Val::Int(offset);
        let mut row = good.clone();
        row[0] = Val::Int(offset + 1);
        row[at] = value;
        let events = [Event::create(offset, &good), Event::create(offset + 1, &row)];
        match write(&mut session, &mut lane, &mapping, Policies::default(), &events).await {
            Err(WriteError::Paused { at_offset, error, outcome, .. }) => {
                assert_eq!(
                    (at_offset, error.code(), outcome.inserted),
                    (offset + 1, Code::TargetRefused, 1),
                    "{error}"
                );
                let message = error.to_string();
                assert!(message.contains(&format!("id={}", offset + 1)) && !message.contains("secret"), "{message}");
                assert!(message.contains(names[at]) || message.contains("latin1"), "{} in {message}", names[at]);
            }
            other => panic!("column {} was not refused: {other:?}", names[at]),
        }
        assert_eq!(lane.next_offset(), offset + 1);
    }
    assert_eq!(place.rows("SELECT COUNT(*) FROM t").await, ["12"]);
    place.drop().await;
}

async fn large_rows_are_cut_into_statements_or_refused(server: Server) {
    let mut place = Place::new(server, "large").await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, b longblob)").await;
    let mapping = place.mapping(&[column("id", DatumKind::Int), column("b", DatumKind::Bytes)], "t").await;
    let mut session = place.session().await;
    let limit = session.facts().max_allowed_packet;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let row = |id: i64, size: usize| vec![Val::Int(id), Val::Bytes(vec![id as u8; size])];
    let mut events: Vec<Event> = (0..12).map(|i| Event::create(i, &row(i, 1_500_000))).collect();
    events.push(Event::create(12, &row(12, limit - 100_000)));
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("as the test has it");
    assert_eq!((outcome.inserted, outcome.serial), (13, false));
    let turned: Vec<Event> = (0..12).map(|i| Event::update(20 + i, &row(i, 1_500_000), &row(i, 1_400_000))).collect();
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &turned).await.expect("as the test has it");
    assert_eq!((outcome.updated, outcome.serial), (12, false));
    assert_eq!(place.rows("SELECT COUNT(*), SUM(LENGTH(b)) FROM t WHERE id < 12").await, ["12|16800000"]);
    let oversize = [Event::create(40, &row(40, 10)), Event::create(41, &row(41, limit))];
    match write(&mut session, &mut lane, &mapping, Policies::default(), &oversize).await {
        Err(WriteError::Paused { at_offset: 41, error, .. }) => {
            assert!(error.to_string().contains("max_allowed_packet"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    place.drop().await;
}

crate::on_both_servers! {
    every_type_lands_exactly
    a_column_of_only_null_binds
    values_that_would_change_are_refused
    large_rows_are_cut_into_statements_or_refused
}
