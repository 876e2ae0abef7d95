//! Random values: the server renders what it stores of a literal, and what apply writes must be the same, as a value and
//! found again as a key.

use apply::target::writer::Policies;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::decode::{DatumKind, WriterColumn};

use crate::harness::{Event, Place, Row, Server, Val, column, exact, text, token, write};

const COLUMNS: &str = "id int, b bit(64), e enum('a','B','ß','1','x,y','') character set utf8mb4, s set('one','Two','3','vier ü'), y year, d date, dt datetime(6), \
  t time(6), n decimal(65,30), u bigint unsigned, f float, g double, l varchar(30) character set latin1, z varchar(30), v varbinary(30)";

const SHOWN: &str = "id, HEX(b), e + 0, s + 0, y, CAST(d AS CHAR), CAST(dt AS CHAR), t, n, u, CAST(f AS double), g, HEX(l), HEX(z), HEX(v)";

fn columns() -> Vec<WriterColumn> {
    use DatumKind::{
        Bits, Bytes, Date, Decimal, Double, Enum, Float, Int, MicroTime, Set, Text, TimestampMicros, Year,
    };
    [
        ("id", Int),
        ("b", Bits { bits: 64 }),
        ("e", Enum),
        ("s", Set),
        ("y", Year),
        ("d", Date),
        ("dt", TimestampMicros),
        ("t", MicroTime),
        ("n", Decimal { precision: 65, scale: 30 }),
        ("u", Decimal { precision: 20, scale: 0 }),
        ("f", Float),
        ("g", Double),
        ("l", Text),
        ("z", Text),
        ("v", Bytes),
    ]
    .map(|(name, kind)| column(name, kind))
    .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A date that a server can store by a permissive sql_mode, mostly of no calendar.
fn day(rng: &mut StdRng) -> String {
    let year = if rng.random_bool(0.3) { 0 } else { rng.random_range(1..=9999) };
    format!("{year:04}-{:02}-{:02}", rng.random_range(0..=12), rng.random_range(0..=31))
}

/// Text of any characters but surrogates, or of those that latin1 has.
fn words(rng: &mut StdRng, latin1: bool) -> String {
    let count = rng.random_range(0..12);
    let one = |rng: &mut StdRng| match (latin1, rng.random_range(0..4)) {
        (_, 0) => char::from(rng.random_range(0..0x80_u8)),
        (true, 1) => ['€', 'Ÿ', '\u{81}', '™'][rng.random_range(0..4)],
        (true, _) => char::from(rng.random_range(0xa0..=0xff_u8)),
        (false, _) => rng.random(),
    };
    (0..count).map(|_| one(rng)).collect()
}

/// A value, and the same as a literal.
fn values(rng: &mut StdRng, id: i64) -> Vec<(Val, String)> {
    let bits: u64 = rng.random::<u64>() >> rng.random_range(0..64);
    let label = ["a", "B", "ß", "1", "x,y", ""][rng.random_range(0..6)];
    let some: u8 = rng.random_range(0..16);
    let set: Vec<&str> = ["one", "Two", "3", "vier ü"]
        .into_iter()
        .enumerate()
        .filter(|(at, _)| some >> at & 1 == 1)
        .map(|(_, l)| l)
        .collect();
    let year = if rng.random_bool(0.2) { 0 } else { rng.random_range(1901..=2155) };
    let (date, clock) = (day(rng), day(rng));
    let clock = format!(
        "{clock} {:02}:{:02}:{:02}.{:06}",
        rng.random_range(0..24),
        rng.random_range(0..60),
        rng.random_range(0..60),
        rng.random_range(0..1_000_000)
    );
    let micros: i64 = rng.random_range(-3_020_398_000_000..=3_020_398_000_000);
    let whole = micros.unsigned_abs() / 1_000_000;
    let sign = if micros < 0 { "-" } else { "" };
    let time = format!(
        "{sign}{}:{:02}:{:02}.{:06}",
        whole / 3600,
        whole / 60 % 60,
        whole % 60,
        micros.unsigned_abs() % 1_000_000
    );
    let unscaled: i128 = rng.random::<i128>() >> rng.random_range(15..127);
    let digits = format!("{:031}", unscaled.unsigned_abs());
    let (head, tail) = digits.split_at(digits.len() - 30);
    let number = format!("{}{head}.{tail}", if unscaled < 0 { "-" } else { "" });
    let unsigned: u64 = rng.random::<u64>() >> rng.random_range(0..64);
    let single = f32::from_bits(rng.random());
    let single = if single.is_finite() { single } else { -0.5 };
    let double = f64::from_bits(rng.random());
    let double = if double.is_finite() { double } else { 1e-300 };
    let (latin, any) = (words(rng, true), words(rng, false));
    let bytes: Vec<u8> = (0..rng.random_range(0..20)).map(|_| rng.random()).collect();
    let utf8 = |text: &str| format!("CONVERT({} USING utf8mb4)", hex(text.as_bytes()));
    vec![
        (Val::Int(id), id.to_string()),
        (Val::Bytes(bits.to_le_bytes().to_vec()), bits.to_string()),
        (text(label), utf8(label)),
        (text(&set.join(",")), utf8(&set.join(","))),
        (Val::Int(year), year.to_string()),
        (exact(&date), format!("'{date}'")),
        (exact(&clock), format!("'{clock}'")),
        (Val::Int(micros), format!("'{time}'")),
        (Val::Decimal(unscaled.to_be_bytes().to_vec()), number),
        (Val::Decimal(i128::from(unsigned).to_be_bytes().to_vec()), unsigned.to_string()),
        (Val::Float(single), format!("{:e}", f64::from(single))),
        (Val::Double(double), format!("{double:e}")),
        (text(&latin), utf8(&latin)),
        (text(&any), utf8(&any)),
        (Val::Bytes(bytes.clone()), hex(&bytes)),
    ]
}

async fn the_server_renders_what_was_written(server: Server) {
    let given = std::env::var("OTTER_TEST_SEED").ok().map(|seed| seed.parse().expect("OTTER_TEST_SEED is a number"));
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("OTTER_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let count = if std::env::var_os("OTTER_TEST_LONG").is_some() { 20_000 } else { 300 };
    let mut place = Place::new(server, "random").await;
    place.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await;
    place.run(&format!("CREATE TABLE oracle ({COLUMNS}, PRIMARY KEY (id)); CREATE TABLE t ({COLUMNS}, PRIMARY KEY (id)); CREATE TABLE k ({COLUMNS}, PRIMARY KEY (id, b, e, s, y, d, dt, t, n, u, l, z, v))")).await;
    let mut events = Vec::new();
    for id in 0..count {
        let (row, literals): (Row, Vec<String>) = values(&mut rng, id).into_iter().unzip();
        place.run(&format!("INSERT INTO oracle VALUES ({})", literals.join(","))).await;
        events.push(Event::create(id, &row));
    }
    let shown = |table: &str| format!("SELECT {SHOWN} FROM {table} ORDER BY id");
    let expected = place.rows(&shown("oracle")).await;
    for table in ["t", "k"] {
        place.run("DELETE FROM progress").await;
        let mapping = place.mapping(&columns(), table).await;
        let mut session = place.session().await;
        let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
        let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("written");
        assert!(!outcome.serial, "{outcome:?}");
        for (seen, expected) in place.rows(&shown(table)).await.iter().zip(&expected) {
            assert_eq!(seen, expected, "{table}");
        }
        let turned: Vec<Event> = (0..count)
            .map(|at| {
                let mut after = events[at as usize].after.clone();
                after[11] = Val::Double(7.0);
                Event::update(count + at, &events[at as usize].after, &after)
            })
            .collect();
        let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &turned).await.expect("written");
        assert_eq!((outcome.updated, outcome.serial), (count as u64, false), "{table}");
        let deletes: Vec<Event> =
            (0..count).map(|at| Event::delete(2 * count + at, &turned[at as usize].after)).collect();
        let outcome = write(&mut session, &mut lane, &mapping, Policies::default(), &deletes).await.expect("written");
        assert_eq!((outcome.deleted, outcome.serial), (count as u64, false), "{table}");
        session.close().await;
    }
    place.drop().await;
}

crate::on_both_servers! { the_server_renders_what_was_written }
