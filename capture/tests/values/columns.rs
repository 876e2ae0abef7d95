//! Values of every column type, at their limits and at random.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use schemas::checkpoint::Flavor;
use schemas::table::ColumnType;

use crate::server::{Server, hex};
use crate::{FLAVORS, agree, random};

const RANDOM: usize = 40;

fn some(mut value: impl FnMut() -> String) -> Vec<String> {
    (0..RANDOM).map(|_| value()).collect()
}

/// Edges, then random values.
fn with(edges: &[&str], random: Vec<String>) -> Vec<String> {
    edges.iter().map(|edge| (*edge).to_owned()).chain(random).collect()
}

fn integers(random: &mut StdRng) -> Vec<(String, Vec<String>)> {
    let mut columns = vec![];
    for (name, bits) in [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)] {
        let most = (1_i128 << (bits - 1)) - 1;
        let edges = [-most - 1, -1, 0, most].map(|n| n.to_string());
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        columns.push((name.to_owned(), with(&edges, some(|| random.random_range(-most - 1..=most).to_string()))));
        let most = (1_i128 << bits) - 1;
        let edges = [0, most / 2 + 1, most].map(|n| n.to_string());
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        columns.push((format!("{name} UNSIGNED"), with(&edges, some(|| random.random_range(0..=most).to_string()))));
    }
    columns
}

fn decimals(random: &mut StdRng) -> Vec<(String, Vec<String>)> {
    [(65, 30), (65, 0), (30, 30), (10, 2), (1, 0), (18, 9), (38, 19), (39, 1)]
        .map(|(precision, scale): (usize, usize)| {
            let mut number = |nines: bool| {
                let sign = if random.random() { "-" } else { "" };
                let mut digit = |_| if nines { '9' } else { char::from(b'0' + random.random_range(0..10_u8)) };
                let whole: String = (0..precision - scale).map(&mut digit).collect();
                let part: String = (0..scale).map(&mut digit).collect();
                format!("'{sign}{whole}.{part}'")
            };
            let mut values = vec!["'0'".to_owned(), number(true), number(true), number(true)];
            values.extend(some(|| number(false)));
            (format!("DECIMAL({precision},{scale})"), values)
        })
        .into()
}

fn times(random: &mut StdRng) -> Vec<(String, Vec<String>)> {
    let mut columns = vec![];
    let fraction = |random: &mut StdRng, fsp: usize| -> String {
        if fsp == 0 {
            return String::new();
        }
        format!(".{:0fsp$}", random.random_range(0..10_u32.pow(u32::try_from(fsp).unwrap())))
    };
    for fsp in 0..=6 {
        let nines = if fsp == 0 { String::new() } else { format!(".{}", "9".repeat(fsp)) };
        let least = if fsp == 0 { "00:00:01".into() } else { format!("00:00:00.{}1", "0".repeat(fsp - 1)) };
        let mut values = vec!["'00:00:00'".to_owned(), format!("'-{least}'"), format!("'{least}'")];
        values.extend(["", "-"].map(|sign| format!("'{sign}838:59:59{}'", if fsp == 0 { "" } else { &nines })));
        values.extend(some(|| {
            let sign = if random.random() { "-" } else { "" };
            let [h, m, s] = [837_u32, 59, 59].map(|most| random.random_range(0..=most));
            format!("'{sign}{h}:{m}:{s}{}'", fraction(random, fsp))
        }));
        columns.push((format!("TIME({fsp})"), values));

        let odd = ["0000-00-00 00:00:00", "2026-02-31 01:02:03", "2020-00-10 00:00:00", "0000-01-01 00:00:01"];
        let sound = ["0001-01-01 00:00:00", "1000-01-01 00:00:00", "1969-12-31 23:59:59", "9999-12-31 23:59:59"];
        let mut values: Vec<String> = odd.iter().chain(&sound).map(|text| format!("'{text}{nines}'")).collect();
        values.push("'0000-00-00 00:00:00'".into());
        values.extend(some(|| {
            let [year, month, day] = [9999_u32, 12, 31].map(|most| random.random_range(0..=most));
            let [h, m, s] = [23_u32, 59, 59].map(|most| random.random_range(0..=most));
            format!("'{year:04}-{month:02}-{day:02} {h}:{m}:{s}{}'", fraction(random, fsp))
        }));
        columns.push((format!("DATETIME({fsp})"), values));

        let mut values = vec![
            "'0000-00-00 00:00:00'".to_owned(),
            "'1970-01-01 00:00:01'".to_owned(),
            format!("'2038-01-19 03:14:0{}'", if fsp == 0 { "7".into() } else { format!("6{nines}") }),
        ];
        values.extend(some(|| {
            let [year, month, day] = [2037_u32, 12, 28].map(|most| random.random_range(1..=most).max(1));
            let [h, m, s] = [23_u32, 59, 59].map(|most| random.random_range(0..=most));
            format!("'{:04}-{month:02}-{day:02} {h}:{m}:{s}{}'", year.max(1971), fraction(random, fsp))
        }));
        columns.push((format!("TIMESTAMP({fsp}) NULL DEFAULT NULL"), values));
    }
    let mut dates = with(&["'0000-00-00'", "'2026-02-31'", "'2024-01-00'", "'0001-01-01'", "'9999-12-31'"], vec![]);
    dates.extend(some(|| {
        let [year, month, day] = [9999_u32, 12, 31].map(|most| random.random_range(0..=most));
        format!("'{year:04}-{month:02}-{day:02}'")
    }));
    columns.push(("DATE".into(), dates));
    columns.push(("YEAR".into(), with(&["0", "1901", "2155"], some(|| random.random_range(1901..=2155).to_string()))));
    columns
}

/// ENUM, SET, BIT, text and bytes.
fn others(random: &mut StdRng) -> Vec<(String, Vec<String>)> {
    let mut columns = vec![];
    for bits in [1, 2, 5, 8, 9, 31, 33, 63, 64_u32] {
        let most = u64::MAX >> (64 - bits);
        columns.push((
            format!("BIT({bits})"),
            with(&["0", "1", &most.to_string()], some(|| random.random_range(0..=most).to_string())),
        ));
    }
    let odd = "'a','b','ünï','x\\\\y','it''s','日本'";
    for charset in ["utf8mb4", "utf16", "gbk", "ucs2"] {
        let odd = if charset == "gbk" { odd.replace('ï', "") } else { odd.to_owned() };
        columns.push((format!("ENUM({odd}) CHARACTER SET {charset}"), (0..=6).map(|n| n.to_string()).collect()));
        columns.push((format!("SET({odd}) CHARACTER SET {charset}"), (0..64).map(|n| n.to_string()).collect()));
    }
    columns.push(("ENUM('é','ÿ','€') CHARACTER SET latin1".into(), with(&["1", "2", "3", "0"], vec![])));
    let many: Vec<String> = (0..300).map(|n| format!("'l{n}'")).collect();
    columns.push((format!("ENUM({})", many.join(",")), with(&["1", "255", "256", "300"], vec![])));
    for count in [1, 8, 9, 17, 25, 33, 64] {
        let labels: Vec<String> = (0..count).map(|n| format!("'l{n}'")).collect();
        let most = u64::MAX >> (64 - count);
        let values = with(&["0", &most.to_string()], some(|| random.random_range(0..=most).to_string()));
        columns.push((format!("SET({})", labels.join(",")), values));
    }
    let mut bytes = |most: usize| {
        let mut bytes = vec![0; random.random_range(0..=most)];
        random.fill_bytes(&mut bytes);
        format!("X'{}'", hex(&bytes))
    };
    for ty in ["BINARY(5)", "BINARY(255)", "VARBINARY(5)", "VARBINARY(300)", "TINYBLOB", "BLOB", "MEDIUMBLOB"] {
        let most = if ty.contains('5') && !ty.contains("255") { 5 } else { 255 };
        columns.push((ty.to_owned(), with(&["X''", "X'00'", "X'0100'"], some(|| bytes(most)))));
    }
    for ty in ["CHAR(20)", "VARCHAR(20)", "VARCHAR(300)", "TEXT", "LONGTEXT", "CHAR(255)"] {
        for charset in ["utf8mb4", "utf8mb3", "latin1", "gbk", "utf16", "utf32", "koi8r", "cp932", "euckr"] {
            let values = ["''", "'a b'", "'日本'", "'Straße'", "'€uro'", "'мир'", "'😀'", "'한국'", "'\\0\\\\'"];
            columns.push((format!("{ty} CHARACTER SET {charset}"), with(&values, vec![])));
        }
    }
    columns
}

fn floats(random: &mut StdRng) -> Vec<(String, Vec<String>)> {
    // a literal of 9 digits is a FLOAT's own value only nearly: what matters is what the server stored
    let float = some(|| {
        let number = f32::from_bits(random.random());
        if number.is_finite() { format!("{number:e}") } else { "0".into() }
    });
    let edges = ["0", "-1.5", "3.4028235e38", "1.17549435e-38", "1e-45", "16777217"];
    let double = some(|| {
        let number = f64::from_bits(random.random());
        if number.is_finite() { format!("{number:e}") } else { "0".into() }
    });
    let double_edges = ["0", "-1.5", "1.7976931348623157e308", "2.2250738585072014e-308", "0.1"];
    vec![("FLOAT".into(), with(&edges, float)), ("DOUBLE".into(), with(&double_edges, double))]
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        let mut random = random();
        let mut columns = integers(&mut random);
        columns.extend(decimals(&mut random));
        columns.extend(floats(&mut random));
        assert_eq!(agree(&mut server, "numbers", &columns).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_and_times() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        let exact = agree(&mut server, "times", &times(&mut random())).await;
        assert!(exact > 7 * 6, "{flavor:?}: {exact}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_bits_text_and_bytes() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        // what a charset does not have is a question mark by the time that it is stored
        agree(&mut server, "others", &others(&mut random())).await;
    }
}

/// More columns than a byte can count, signs and null bits beyond the first byte, and hidden ones.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_columns() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        let columns: Vec<(String, Vec<String>)> = (0..300)
            .map(|i| match i % 11 {
                0 => ("INT UNSIGNED".to_owned(), vec!["4000000000".to_owned()]),
                1 => ("YEAR".to_owned(), vec!["2026".to_owned()]),
                2 => ("INT".to_owned(), vec!["-5".to_owned(), "7".to_owned()]),
                4 => ("BIT(3)".to_owned(), vec!["5".to_owned()]),
                5 => ("ENUM('a','b')".to_owned(), vec!["2".to_owned()]),
                6 => ("DECIMAL(5,2) UNSIGNED".to_owned(), vec!["1.25".to_owned()]),
                7 => ("TIMESTAMP NULL".to_owned(), vec!["'2020-01-01'".to_owned()]),
                8 => ("DOUBLE".to_owned(), vec!["0.5".to_owned()]),
                9 => ("SET('a','b')".to_owned(), vec!["3".to_owned()]),
                3 => ("VARCHAR(9) CHARACTER SET latin1".to_owned(), vec!["'é'".to_owned()]),
                _ => ("TINYINT UNSIGNED".to_owned(), vec!["255".to_owned()]),
            })
            .collect();
        assert_eq!(agree(&mut server, "wide", &columns).await, 0);

        let invisible = ("INT UNSIGNED INVISIBLE DEFAULT 7".to_owned(), vec!["NULL".to_owned(), "9".to_owned()]);
        let sql = match flavor {
            Flavor::Mariadb => "INT AS (id * 2) PERSISTENT",
            Flavor::Mysql => "INT AS (id * 2) STORED",
        };
        let schema = format!("values_hidden_{}", std::process::id());
        let statements = [
            format!("CREATE TABLE t (id INT PRIMARY KEY, g {sql}, v INT AS (id * 3) VIRTUAL, i {})", invisible.0),
            "INSERT INTO t (id, i) VALUES (1, 9), (2, NULL)".to_owned(),
        ];
        let read = server.rows(&schema, &statements, 2).await;
        let names: Vec<&str> = read.structure.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "g", "v", "i"], "{flavor:?}");
        assert!(matches!(read.structure.columns[3].ty, ColumnType::Int { unsigned: true, .. }));
        let texts: Vec<&str> = read.rows[1].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[..2], ["2", "4"], "{flavor:?}");
        assert_eq!(texts[3], "NULL");
        server.run(&format!("DROP DATABASE {schema}")).await;
    }
}
