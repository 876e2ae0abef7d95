//! The servers as oracles: each stores values of every type, its binlog is encoded and decoded, and what comes out must
//! be what the server itself says of the column. On MariaDB and on MySQL; random values by a seed that is printed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

mod charsets;
mod columns;
mod debezium;
mod json;
mod server;

use schemas::checkpoint::Flavor;
use schemas::decode::DatumKind;

use crate::server::Server;

/// A random source whose seed a failing test has printed.
pub(crate) fn random() -> rand::rngs::StdRng {
    use rand::SeedableRng as _;
    let seed: u64 = std::env::var("OTTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTER_SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// What to ask the server about a column, so that its answer is comparable with what was decoded.
fn question(name: &str, kind: &DatumKind) -> String {
    match kind {
        DatumKind::Date => format!("TO_DAYS({name}) - 719528"),
        DatumKind::Float | DatumKind::Double => format!("{name} + 0E0"),
        DatumKind::Bytes => format!("HEX({name})"),
        DatumKind::Text | DatumKind::Enum | DatumKind::Set | DatumKind::Json => {
            format!("HEX(CONVERT({name} USING utf8mb4))")
        }
        DatumKind::Bool | DatumKind::Bits { .. } => format!("CAST({name} + 0 AS CHAR)"),
        _ => format!("CAST({name} AS CHAR)"),
    }
}

/// The server's answer in the form of what was decoded.
fn answer(kind: &DatumKind, text: &str) -> String {
    let micros = |text: &str| {
        let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
        let numbers = seconds.split(':').map(|number| number.parse::<i64>().unwrap());
        let seconds = numbers.fold(0, |sum, number| sum * 60 + number);
        seconds * 1_000_000 + format!("{part:0<6}").parse::<i64>().unwrap()
    };
    match kind {
        DatumKind::Year => text.parse::<i64>().unwrap().to_string(),
        DatumKind::Float => f64::from(text.parse::<f64>().unwrap() as f32).to_string(),
        DatumKind::Double => text.parse::<f64>().unwrap().to_string(),
        DatumKind::MicroTime => match text.strip_prefix('-') {
            Some(text) => (-micros(text)).to_string(),
            None => micros(text).to_string(),
        },
        DatumKind::TimestampMillis | DatumKind::TimestampMicros => {
            let (date, time) = text.split_once(' ').unwrap();
            let epoch = jiff_days(date);
            let micros = epoch * 86_400_000_000 + micros(time);
            let unit = if *kind == DatumKind::TimestampMillis { 1000 } else { 1 };
            micros.div_euclid(unit).to_string()
        }
        DatumKind::ZonedTimestamp => {
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
            format!("{}Z", text.replace(' ', "T"))
        }
        _ => text.to_owned(),
    }
}

/// Days since 1970 by counting years and months.
fn jiff_days(date: &str) -> i64 {
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = if parts[0] >= 1970 {
        (1970..parts[0]).map(|year| 365 + i64::from(leap(year))).sum()
    } else {
        -(parts[0]..1970).map(|year| 365 + i64::from(leap(year))).sum::<i64>()
    };
    let months = [31, 28 + i64::from(leap(parts[0])), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    years + months[..usize::try_from(parts[1]).unwrap() - 1].iter().sum::<i64>() + parts[2] - 1
}

/// Stores values in columns, one column at a time beside a row's number, and compares every one with the server's word.
/// Returns how many values came as `exact`.
pub(crate) async fn agree(server: &mut Server, schema: &str, columns: &[(String, Vec<String>)]) -> usize {
    let flavor = format!("{:?}", server.flavor).to_lowercase();
    let schema = format!("values_{schema}_{flavor}_{}", std::process::id());
    let types: Vec<String> = columns.iter().enumerate().map(|(i, (ty, _))| format!("c{i} {ty}")).collect();
    let mut statements =
        vec![format!("CREATE TABLE t (id INT PRIMARY KEY, {}) DEFAULT CHARSET=utf8mb4", types.join(", "))];
    let count = columns.iter().map(|(_, values)| values.len()).max().unwrap();
    for row in 0..count {
        let values: Vec<&str> =
            columns.iter().map(|(_, values)| values.get(row).map_or("NULL", String::as_str)).collect();
        statements.push(format!("INSERT INTO t VALUES ({row}, {})", values.join(", ")));
    }
    let read = server.rows(&schema, &statements, count).await;
    let kinds: Vec<DatumKind> = read.rows[0].iter().map(|(kind, _)| *kind).collect();
    let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    let mut exact = 0;
    for (i, (name, kind)) in names.iter().zip(&kinds[1..]).enumerate() {
        let sql =
            format!("SELECT {}, CAST({name} AS CHAR), LOWER(HEX({name})) FROM t ORDER BY id", question(name, kind));
        for (row, texts) in server.texts(&sql).await.iter().enumerate() {
            let got = &read.rows[row][i + 1].1;
            let what =
                || format!("{:?} {}: {}", server.flavor, columns[i].0, columns[i].1.get(row).map_or("NULL", |v| v));
            if let Some(text) = got.strip_prefix("exact ") {
                exact += 1;
                let raw = format!("0x{}", texts[2].as_deref().unwrap_or_default());
                let wanted = if matches!(kind, DatumKind::Text) { Some(&raw) } else { texts[1].as_ref() };
                assert_eq!(Some(text), wanted.map(String::as_str), "{}", what());
                continue;
            }
            let wanted = texts[0].as_deref().map_or_else(|| "NULL".to_owned(), |text| answer(kind, text));
            assert_eq!(*got, wanted, "{}", what());
        }
    }
    server.run(&format!("DROP DATABASE {schema}")).await;
    exact
}

/// Both kinds of server.
pub(crate) const FLAVORS: [Flavor; 2] = [Flavor::Mariadb, Flavor::Mysql];
