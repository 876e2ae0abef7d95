//! Random structures and rows.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::encode::{SchemaIds, SourceFacts};
use schemas::table::{Column, ColumnType, TableName, TableStructure};

/// A value as a person would write it, far from both image and Avro.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i128),
    /// Digits without the point, as many as the precision.
    Decimal {
        negative: bool,
        digits: String,
    },
    Float(f32),
    Double(f64),
    Date(i16, i8, i8),
    DateTime {
        date: (i16, i8, i8),
        time: (i8, i8, i8),
        micros: u32,
    },
    Timestamp {
        seconds: u32,
        micros: u32,
    },
    Time {
        negative: bool,
        hours: u32,
        minutes: u32,
        seconds: u32,
        micros: u32,
    },
    Text(String),
    Bytes(Vec<u8>),
    /// A document of MySQL's JSON: as it is stored, and as the server prints it.
    Json(&'static [u8], &'static str),
}

/// A table with the two rows of an update.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) structure: TableStructure,
    pub(crate) before: Vec<Cell>,
    pub(crate) after: Vec<Cell>,
}

pub(crate) const IDS: SchemaIds = SchemaIds { key: Some(7), value: 0x0102_0304 };

pub(crate) fn ids(structure: &TableStructure) -> SchemaIds {
    SchemaIds { key: if structure.key.is_empty() { None } else { IDS.key }, ..IDS }
}

pub(crate) fn facts(gtid: Option<&'static str>, thread: Option<i64>) -> SourceFacts<'static> {
    SourceFacts {
        flavor: Flavor::Mariadb,
        version: "0.1.0",
        name: "shop",
        ts_ms: 1_704_164_645_000,
        db: "shop",
        table: "tb_user",
        server_id: 4_294_967_295,
        gtid,
        file: "mysql-bin.000001",
        thread,
        generation: 3,
    }
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    let fsp = 0..=6_u8;
    prop_oneof![
        3 => (select(vec![1_u8, 2, 3, 4, 8]), any::<bool>()).prop_map(|(bytes, unsigned)| ColumnType::Int { bytes, unsigned }),
        2 => (1..=65_u8, 0..=38_u8)
            .prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale: scale.min(precision) }),
        1 => Just(ColumnType::Float),
        1 => Just(ColumnType::Double),
        1 => Just(ColumnType::Date),
        1 => fsp.clone().prop_map(|fsp| ColumnType::DateTime { fsp }),
        1 => fsp.clone().prop_map(|fsp| ColumnType::Timestamp { fsp }),
        1 => fsp.prop_map(|fsp| ColumnType::Time { fsp }),
        2 => (1..=4_u8, select(vec![Charset::Utf8, Charset::Utf8, Charset::Latin1, Charset::Utf16]))
            .prop_map(|(length_bytes, charset)| ColumnType::Text { length_bytes, charset }),
        1 => Just(ColumnType::Year),
        2 => prop_oneof![Just(1), Just(64), 1..=64_u8].prop_map(|bits| ColumnType::Bit { bits }),
        1 => (1..=2_u8, labels(300)).prop_map(|(length, labels)| ColumnType::Enum { length, labels }),
        1 => (select(vec![1, 2, 3, 4, 8_u8]), labels(64)).prop_map(|(length, labels)| {
            let fitting = labels.len().min(8 * usize::from(length));
            ColumnType::Set { length, labels: labels[..fitting].into() }
        }),
        1 => (1..=4_u8).prop_map(|length_bytes| ColumnType::Json { length_bytes }),
        1 => (0..=300_u16).prop_map(|length| ColumnType::Binary { length, length_bytes: if length > 255 { 2 } else { 1 } }),
        1 => (1..=4_u8).prop_map(|length_bytes| ColumnType::Bytes { length_bytes }),
    ]
}

/// Labels, some with a comma, a quote or a backslash.
fn labels(most: usize) -> impl Strategy<Value = Arc<[String]>> {
    (1..=most, "[a-zü,'\"\\\\ ]{0,5}").prop_map(|(count, odd)| {
        let labels = (0..count).map(|i| if i % 3 == 0 { format!("{odd}{i}") } else { format!("l{i}") });
        labels.collect::<Vec<_>>().into()
    })
}

fn name(index: usize, odd: u8) -> String {
    match odd {
        0 => format!("col-{index} ünï"),
        1 => format!("{index}st"),
        2 => format!("_u00e9_{index}\"\\"),
        3 => format!("日本{index}"),
        _ => format!("c{index}"),
    }
}

fn structure() -> impl Strategy<Value = TableStructure> {
    let column = (column_type(), any::<bool>(), 0..12_u8);
    (proptest::collection::vec(column, 1..20), any::<[proptest::sample::Index; 3]>(), 0..=3_usize).prop_map(
        |(columns, parts, key_parts)| {
            let mut key = vec![];
            for part in &parts[..key_parts] {
                let index = part.index(columns.len());
                if !key.contains(&index) {
                    key.push(index);
                }
            }
            let columns = columns.into_iter().enumerate();
            let columns = columns.map(|(i, (ty, nullable, odd))| Column {
                name: name(i, odd),
                ty,
                nullable: nullable && !key.contains(&i),
            });
            TableStructure { name: TableName::new("shop", "tb_user"), columns: columns.collect(), key }
        },
    )
}

fn date() -> impl Strategy<Value = (i16, i8, i8)> {
    prop_oneof![
        Just((1, 1, 1)),
        Just((9999, 12, 31)),
        Just((2024, 2, 29)),
        (1..=9999_i16, 1..=12_i8, 1..=31_i8)
            .prop_filter("in the calendar", |(y, m, d)| { jiff::civil::Date::new(*y, *m, *d).is_ok() }),
    ]
}

/// Microseconds with no digits beyond `fsp`.
fn fraction(fsp: u8) -> impl Strategy<Value = u32> {
    let unit = 10_u32.pow(6 - u32::from(fsp));
    prop_oneof![Just(0), Just(1_000_000 - unit), (0..1_000_000 / unit).prop_map(move |n| n * unit)]
}

fn int(bytes: u8, unsigned: bool) -> BoxedStrategy<Cell> {
    let bits = 8 * u32::from(bytes);
    let (low, high) =
        if unsigned { (0, (1_i128 << bits) - 1) } else { (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1) };
    prop_oneof![Just(low), Just(high), Just(0), (low..=high), (low.max(-100)..=100.min(high))]
        .prop_map(Cell::Int)
        .boxed()
}

fn value(ty: &ColumnType) -> BoxedStrategy<Cell> {
    match *ty {
        ColumnType::Int { bytes, unsigned } => int(bytes, unsigned),
        ColumnType::Decimal { precision, .. } => {
            let length = usize::from(precision);
            let digits = prop_oneof![
                proptest::collection::vec(0..=9_u8, length),
                Just(vec![9; length]),
                Just(vec![0; length]),
                (0..=length, 0..=9_u8).prop_map(move |(zeros, digit)| {
                    let mut digits = vec![0; zeros];
                    digits.resize(length, digit);
                    digits
                }),
            ];
            (any::<bool>(), digits)
                .prop_map(|(negative, digits)| {
                    let digits: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
                    // the server has no negative zero
                    Cell::Decimal { negative: negative && digits.bytes().any(|digit| digit != b'0'), digits }
                })
                .boxed()
        }
        ColumnType::Float => any::<f32>().prop_map(Cell::Float).boxed(),
        ColumnType::Double => any::<f64>().prop_map(Cell::Double).boxed(),
        ColumnType::Date => date().prop_map(|(y, m, d)| Cell::Date(y, m, d)).boxed(),
        ColumnType::DateTime { fsp } => (date(), (0..24_i8, 0..60_i8, 0..60_i8), fraction(fsp))
            .prop_map(|(date, time, micros)| Cell::DateTime { date, time, micros })
            .boxed(),
        ColumnType::Timestamp { fsp } => (prop_oneof![Just(1), Just(u32::MAX), 1..u32::MAX], fraction(fsp))
            .prop_map(|(seconds, micros)| Cell::Timestamp { seconds, micros })
            .boxed(),
        ColumnType::Time { fsp } => {
            let hms = prop_oneof![Just((0, 0, 0)), Just((838, 59, 59)), (0..=838_u32, 0..60_u32, 0..60_u32)];
            (any::<bool>(), hms, fraction(fsp))
                .prop_map(|(negative, (hours, minutes, seconds), micros)| Cell::Time {
                    negative,
                    hours,
                    minutes,
                    seconds,
                    micros,
                })
                .boxed()
        }
        ColumnType::Year => prop_oneof![Just(0), 1901..=2155_i128].prop_map(Cell::Int).boxed(),
        ColumnType::Bit { bits } => {
            let most = u64::MAX >> (64 - bits);
            prop_oneof![Just(0), Just(most), 0..=most].prop_map(|bits| Cell::Int(bits.into())).boxed()
        }
        ColumnType::Enum { length, ref labels } => {
            let most = labels.len().min(if length == 1 { 255 } else { 65_535 });
            (0..=most).prop_map(|index| Cell::Int(i128::try_from(index).expect("small"))).boxed()
        }
        ColumnType::Set { ref labels, .. } => {
            let most = u64::MAX >> (64 - labels.len());
            prop_oneof![Just(0), Just(most), 0..=most].prop_map(|bits| Cell::Int(bits.into())).boxed()
        }
        ColumnType::Json { .. } => select(vec![
            Cell::Json(b"", "null"),
            Cell::Json(b"\x04\x01", "true"),
            Cell::Json(b"\x0c\x02a\"", "\"a\\\"\""),
            Cell::Json(b"\x02\x02\x00\x0a\x00\x05\xff\xff\x04\x00\x00", "[-1, null]"),
        ])
        .boxed(),
        ColumnType::Text { charset: Charset::Latin1, .. } => "[a-zA-Z àÿ]{0,90}".prop_map(Cell::Text).boxed(),
        ColumnType::Text { charset: Charset::Utf16, .. } => "\\PC{0,60}".prop_map(Cell::Text).boxed(),
        ColumnType::Text { .. } => prop_oneof![any::<String>(), "[A-Za-z ]{0,90}", "\\PC{0,70}"]
            .prop_map(|mut text| {
                // one byte of length prefix
                while text.len() > 255 {
                    text.pop();
                }
                Cell::Text(text)
            })
            .boxed(),
        ColumnType::Binary { length, .. } => {
            let length = usize::from(length);
            prop_oneof![
                proptest::collection::vec(any::<u8>(), length),
                proptest::collection::vec(any::<u8>(), 0..=length).prop_map(move |mut bytes| {
                    bytes.resize(length, 0);
                    bytes
                }),
            ]
            .prop_map(Cell::Bytes)
            .boxed()
        }
        ColumnType::Bytes { .. } => proptest::collection::vec(any::<u8>(), 0..=255).prop_map(Cell::Bytes).boxed(),
    }
}

fn row(structure: &TableStructure) -> impl Strategy<Value = Vec<Cell>> + use<> {
    let cells: Vec<BoxedStrategy<Cell>> = structure.columns.iter().map(cell).collect();
    cells
}

fn cell(column: &Column) -> BoxedStrategy<Cell> {
    let value = value(&column.ty);
    if column.nullable { prop_oneof![1 => Just(Cell::Null), 2 => value].boxed() } else { value }
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    structure().prop_flat_map(|structure| {
        let same_key = any::<bool>();
        (row(&structure), row(&structure), same_key, Just(structure)).prop_map(
            |(before, mut after, same_key, structure)| {
                if same_key {
                    for &index in &structure.key {
                        after[index] = before[index].clone();
                    }
                }
                Case { structure, before, after }
            },
        )
    })
}
