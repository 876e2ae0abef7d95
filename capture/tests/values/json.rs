//! JSON documents: on MySQL the binary form against the server's own text, on MariaDB the text as it was written.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use schemas::checkpoint::Flavor;

use crate::server::{Server, hex};
use crate::{agree, random};

/// A random document as JSON text.
fn document(random: &mut StdRng, depth: u32) -> String {
    let string = |random: &mut StdRng| {
        let parts = [
            "a",
            "ü",
            "日本",
            "😀",
            "\\\"",
            "\\\\",
            "\\n",
            "\\u0001",
            "\\u001f",
            "/",
            "'",
            " ",
            "\u{7f}",
            "\\b\\f\\t\\r",
        ];
        let text: String = (0..random.random_range(0..6)).map(|_| parts[random.random_range(0..parts.len())]).collect();
        format!("\"{text}\"")
    };
    let kind = if depth == 0 { random.random_range(0..8) } else { random.random_range(0..11) };
    match kind {
        0 => ["null", "true", "false"][random.random_range(0..3)].to_owned(),
        1 => random.random_range(-70_000..70_000).to_string(),
        2 => random.random::<i64>().to_string(),
        3 => random.random::<u64>().to_string(),
        4 => {
            let number = f64::from_bits(random.random());
            if number.is_finite() { format!("{number:e}") } else { "1.5".into() }
        }
        5 => format!("{}.{}", random.random_range(-1000..1000), random.random_range(0..100_000)),
        6 | 7 => string(random),
        8 | 9 => {
            let members: Vec<String> = (0..random.random_range(0..5))
                .map(|i| {
                    let name = string(random);
                    format!("{}{i}\": {}", &name[..name.len() - 1], document(random, depth - 1))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let elements: Vec<String> = (0..random.random_range(0..5)).map(|_| document(random, depth - 1)).collect();
            format!("[{}]", elements.join(", "))
        }
    }
}

fn literal(text: &str) -> String {
    format!("CONVERT(X'{}' USING utf8mb4)", hex(text.as_bytes()))
}

/// What JSON itself has not, and forms of other sizes.
fn special(random: &mut StdRng) -> Vec<String> {
    let mut blob = vec![0; 200];
    random.fill_bytes(&mut blob);
    let mut values: Vec<String> = [
        "JSON_OBJECT('d', CAST('1.50' AS DECIMAL(10,2)), 'n', CAST('-0.5' AS DECIMAL(65,30)), 'z', CAST(0 AS DECIMAL(5,3)))",
        "JSON_ARRAY(CAST('2015-01-15' AS DATE), CAST('0000-00-00' AS DATE), CAST('2015-01-15 23:24:25.12' AS DATETIME(6)))",
        "JSON_ARRAY(CAST('-838:59:59.000001' AS TIME(6)), CAST('00:00:00' AS TIME), CAST('-00:00:00.5' AS TIME(3)))",
        "JSON_ARRAY(TIMESTAMP('2015-01-15 23:24:25'), CAST(1999 AS YEAR), b'10101', ST_GeomFromText('POINT(1 2)'))",
        "JSON_ARRAY(CAST(1e14 AS DOUBLE), 1e15, 1e-14, 1e-15, 123456789012345.5, -2497932949639995.5, 2497932949639995e0, -0e0, 1e0, 1e100, 5e-324)",
        "CAST(18446744073709551615 AS JSON)",
        "CAST('null' AS JSON)",
        "'{\"b\": 1, \"a\": 2, \"aa\": 3, \"\": 4, \"b\": 5}'",
        "'[]'",
        "'{}'",
        "'\"\"'",
    ]
    .map(str::to_owned)
    .into();
    for length in [0, 1, 2, 3, 56, 57, 58, 114, 200] {
        values.push(format!("JSON_ARRAY(X'{}', CAST(X'{}' AS BINARY))", hex(&blob[..length]), hex(&blob[..length])));
    }
    values.push(literal(&format!("{}1{}", "[".repeat(99), "]".repeat(99))));
    let long = "x".repeat(20_000);
    values
        .push(literal(&format!("[\"{long}\", \"{long}\", {{\"{long}\": [1, -70000, 4000000000, null]}}, \"{long}\"]")));
    let numbers: Vec<String> = (0..30_000).map(|n| (n * 7).to_string()).collect();
    values.push(literal(&format!("{{\"all\": [{}], \"k\": 5}}", numbers.join(","))));
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_mysql_are_printed_as_by_the_server() {
    let mut server = Server::connect(Flavor::Mysql).await;
    let mut random = random();
    let mut values = special(&mut random);
    values.extend((0..200).map(|_| literal(&document(&mut random, 4))));
    assert_eq!(agree(&mut server, "json", &[("JSON".to_owned(), values)]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_mariadb_are_the_text_that_was_written() {
    let mut server = Server::connect(Flavor::Mariadb).await;
    let mut random = random();
    let values: Vec<String> = (0..100).map(|_| literal(&document(&mut random, 4))).collect();
    assert_eq!(agree(&mut server, "json", &[("JSON".to_owned(), values)]).await, 0);
}
