//! Table shapes for the test of equality: small domains, so that keys and unique values collide often.

use rand::RngExt;
use rand::rngs::StdRng;
use schemas::decode::DatumKind;

use crate::harness::{Row, Val, text};

pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Columns of the source's table.
    pub(crate) source: &'static str,
    /// Columns of the target's table.
    pub(crate) target: &'static str,
    pub(crate) columns: &'static [(&'static str, DatumKind)],
    /// Positions of the source's primary key.
    pub(crate) key: &'static [usize],
    pub(crate) exclude: &'static [&'static str],
    pub(crate) row: fn(&mut StdRng) -> Row,
    /// What shows a row of the target exactly.
    pub(crate) compare: &'static str,
    /// The fast path must do for every valid sequence.
    pub(crate) never_serial: bool,
}

const DECIMAL: DatumKind = DatumKind::Decimal { precision: 12, scale: 3 };

/// A value as plain SQL.
pub(crate) fn literal(value: &Val, kind: DatumKind) -> String {
    match (value, kind) {
        (Val::Null, _) => "NULL".to_owned(),
        (Val::Int(days), DatumKind::Date) => format!("DATE_ADD('1970-01-01', INTERVAL {days} DAY)"),
        (Val::Int(micros), DatumKind::TimestampMicros) => {
            format!("CAST(DATE_ADD('1970-01-01', INTERVAL {micros} MICROSECOND) AS DATETIME(6))")
        }
        (Val::Int(v), _) => v.to_string(),
        (Val::Decimal(bytes), _) => {
            let unscaled =
                bytes.iter().fold(if bytes[0] & 0x80 != 0 { -1_i64 } else { 0 }, |v, &b| v << 8 | i64::from(b));
            format!("CAST({unscaled} AS DECIMAL(20,0)) / 1000.000")
        }
        (Val::Float(v), _) => format!("{:e}", f64::from(*v)),
        (Val::Double(v), _) => format!("{v:e}"),
        (Val::Text(v) | Val::Exact(v), _) => mysql_async::Value::from(v).as_sql(false),
        (Val::Bytes(v), _) => format!("X'{}'", v.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

fn small(rng: &mut StdRng, below: i64) -> Val {
    Val::Int(rng.random_range(0..below))
}

fn maybe(rng: &mut StdRng, value: Val) -> Val {
    if rng.random_bool(0.2) { Val::Null } else { value }
}

fn one_of(rng: &mut StdRng, words: &[&str]) -> Val {
    text(words[rng.random_range(0..words.len())])
}

fn word(rng: &mut StdRng) -> Val {
    let word = one_of(rng, &["", "x", "'\\", "long long text", "\u{1f600}"]);
    maybe(rng, word)
}

/// Equal by a `_ci` collation in several ways.
const FOLDING: &[&str] = &["a", "A", "a ", "A ", "b", "B", "é", "E", "e", "", " ", "z\\", "ß", "ss"];
const LATIN: &[&str] = &["a", "A", "a ", "é", "É", "e", "ü", "u", "'"];

pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "int_key",
        source: "id int PRIMARY KEY, v varchar(30), n bigint",
        target: "n bigint, v varchar(40), id bigint PRIMARY KEY",
        columns: &[("id", DatumKind::Int), ("v", DatumKind::Text), ("n", DatumKind::Int)],
        key: &[0],
        exclude: &[],
        row: |rng| {
            let n = small(rng, 3);
            vec![small(rng, 15), word(rng), maybe(rng, n)]
        },
        compare: "id, HEX(v), n",
        never_serial: true,
    },
    Shape {
        name: "unique_key",
        source: "id int PRIMARY KEY, u int UNIQUE, v varchar(30)",
        target: "id int PRIMARY KEY, u int UNIQUE, v varchar(30)",
        columns: &[("id", DatumKind::Int), ("u", DatumKind::Int), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &[],
        row: |rng| {
            let u = small(rng, 8);
            vec![small(rng, 8), maybe(rng, u), word(rng)]
        },
        compare: "id, u, HEX(v)",
        never_serial: true,
    },
    Shape {
        name: "ci_key",
        source: "k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(30)",
        target: "k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(30)",
        columns: &[("k", DatumKind::Text), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &[],
        row: |rng| vec![one_of(rng, FOLDING), word(rng)],
        compare: "HEX(k), HEX(v)",
        never_serial: true,
    },
    Shape {
        name: "composite_key",
        source: "a int, b varchar(20) COLLATE utf8mb4_unicode_ci, w double, PRIMARY KEY (b, a)",
        target: "a int, b varchar(20) COLLATE utf8mb4_unicode_ci, w double, PRIMARY KEY (a, b)",
        columns: &[("a", DatumKind::Int), ("b", DatumKind::Text), ("w", DatumKind::Double)],
        key: &[1, 0],
        exclude: &[],
        row: |rng| {
            let w = Val::Double(f64::from(rng.random_range(0..3)) / 3.0);
            vec![small(rng, 3), one_of(rng, FOLDING), maybe(rng, w)]
        },
        compare: "a, HEX(b), w",
        never_serial: true,
    },
    Shape {
        name: "excluded_column",
        source: "id int PRIMARY KEY, secret varchar(30), u int UNIQUE, v varchar(30)",
        target: "id int PRIMARY KEY, local int NOT NULL DEFAULT 7, u int UNIQUE, v varchar(30)",
        columns: &[("id", DatumKind::Int), ("secret", DatumKind::Text), ("u", DatumKind::Int), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &["secret"],
        row: |rng| {
            let u = small(rng, 8);
            vec![small(rng, 8), word(rng), maybe(rng, u), word(rng)]
        },
        compare: "id, local, u, HEX(v)",
        never_serial: false,
    },
    Shape {
        name: "odd_types",
        source: "d decimal(12,3), dt datetime(6), f float, bn varbinary(4), day date, n int, PRIMARY KEY (d, dt, f, bn, day)",
        target: "d decimal(15,4), dt datetime(6), f float, bn varbinary(4), day date, n int, PRIMARY KEY (d, dt, f, bn, day)",
        columns: &[
            ("d", DECIMAL),
            ("dt", DatumKind::TimestampMicros),
            ("f", DatumKind::Float),
            ("bn", DatumKind::Bytes),
            ("day", DatumKind::Date),
            ("n", DatumKind::Int),
        ],
        key: &[0, 1, 2, 3, 4],
        exclude: &[],
        row: |rng| {
            let unscaled: i64 = [-1500, 1500, 99_999_999_999][rng.random_range(0..3)];
            vec![
                Val::Decimal(unscaled.to_be_bytes().to_vec()),
                Val::Int(rng.random_range(0..2) - 1),
                Val::Float([0.1, -3.4e38][rng.random_range(0..2)]),
                Val::Bytes([vec![], vec![0, 39]][rng.random_range(0..2)].clone()),
                Val::Int(rng.random_range(0..2) - 1),
                small(rng, 3),
            ]
        },
        compare: "d, dt, CAST(f AS double), HEX(bn), day, n",
        never_serial: true,
    },
    Shape {
        name: "other_key",
        source: "id int PRIMARY KEY, u int NOT NULL UNIQUE, v varchar(30)",
        target: "id int NOT NULL, u int PRIMARY KEY, v varchar(30)",
        columns: &[("id", DatumKind::Int), ("u", DatumKind::Int), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &[],
        row: |rng| vec![small(rng, 8), small(rng, 8), word(rng)],
        compare: "u, id, HEX(v)",
        // A row may lend its target key to another within a batch and take it back, which only serial order shows.
        never_serial: false,
    },
    Shape {
        name: "surrogate_key",
        source: "id int PRIMARY KEY, v varchar(30)",
        target: "no bigint AUTO_INCREMENT PRIMARY KEY, id int NOT NULL UNIQUE, v varchar(30), local int DEFAULT 7",
        columns: &[("id", DatumKind::Int), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &[],
        row: |rng| vec![small(rng, 8), word(rng)],
        compare: "id, HEX(v), local",
        never_serial: true,
    },
    Shape {
        name: "latin1_key",
        source: "k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(30)",
        target: "k varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, v varchar(30)",
        columns: &[("k", DatumKind::Text), ("v", DatumKind::Text)],
        key: &[0],
        exclude: &[],
        row: |rng| vec![one_of(rng, LATIN), word(rng)],
        compare: "HEX(CONVERT(k USING utf8mb4)), HEX(v)",
        never_serial: true,
    },
    Shape {
        name: "key_alone",
        source: "a int, b int, PRIMARY KEY (a, b)",
        target: "a int, b int, PRIMARY KEY (a, b)",
        columns: &[("a", DatumKind::Int), ("b", DatumKind::Int)],
        key: &[0, 1],
        exclude: &[],
        row: |rng| vec![small(rng, 4), small(rng, 4)],
        compare: "a, b",
        never_serial: true,
    },
    Shape {
        name: "generated_unique",
        source: "id int PRIMARY KEY, u int, g int AS (u DIV 2) STORED UNIQUE",
        target: "id int PRIMARY KEY, u int, g int AS (u DIV 2) STORED UNIQUE",
        columns: &[("id", DatumKind::Int), ("u", DatumKind::Int)],
        key: &[0],
        exclude: &[],
        row: |rng| {
            let u = small(rng, 14);
            vec![small(rng, 8), maybe(rng, u)]
        },
        compare: "id, u, g",
        never_serial: true,
    },
];
