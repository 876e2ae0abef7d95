//! Values that typed fields cannot carry: what stands in the field, what in `exact`, and that it is apache-avro's bytes.

use std::sync::Arc;

use avro_rs::types::Value;
use schemas::avro::event_schemas;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::decode::{Datum, EventDecoder};
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SourceBlock};
use schemas::framing;
use schemas::partition::hash;
use schemas::table::{Column, ColumnType, TableName, TableStructure};

use crate::oracle::{self, Event};
use crate::rows::{Cell, IDS, facts};

const POSITION: RowPosition = RowPosition { pos: 4, row: 0, ordinal: 9 };

/// A number as the key, and a column of the type.
fn structure(ty: &ColumnType, nullable: bool) -> TableStructure {
    let id = Column { name: "id".into(), ty: ColumnType::Int { bytes: 1, unsigned: false }, nullable: false };
    let x = Column { name: "x y".into(), ty: ty.clone(), nullable };
    TableStructure { name: TableName::new("shop", "tb_user"), columns: vec![id, x], key: vec![0] }
}

/// Type, bytes in the image, text in `exact`, and what stands in a field that is NOT NULL and in one that may be NULL.
type Inexact = (ColumnType, &'static [u8], &'static str, Value, Option<Value>);

fn cases() -> Vec<Inexact> {
    let (day, long) = (Value::Int(0), Value::Long(0));
    let epoch = Value::String("1970-01-01T00:00:00Z".into());
    let text = |text: &str| Value::String(text.into());
    let of = |charset| ColumnType::Text { length_bytes: 1, charset };
    let datetime = |fsp| ColumnType::DateTime { fsp };
    vec![
        (ColumnType::Date, &[0, 0, 0], "0000-00-00", day.clone(), None),
        (ColumnType::Date, &[0x20, 0xd0, 0x0f], "2024-01-00", day.clone(), None),
        (ColumnType::Date, &[0x5f, 0xd4, 0x0f], "2026-02-31", day, None),
        (datetime(0), &[0x80, 0, 0, 0, 0], "0000-00-00 00:00:00", long.clone(), None),
        (datetime(0), &[0x80, 0, 0, 0, 1], "0000-00-00 00:00:01", long.clone(), None),
        (datetime(1), &[0x80, 0, 0, 0, 0, 50], "0000-00-00 00:00:00.5", long.clone(), None),
        (datetime(6), &[0x80, 0, 0, 0, 0, 0, 0, 7], "0000-00-00 00:00:00.000007", long, None),
        (ColumnType::Timestamp { fsp: 0 }, &[0, 0, 0, 0], "0000-00-00 00:00:00", epoch.clone(), None),
        (ColumnType::Timestamp { fsp: 3 }, &[0, 0, 0, 0, 0, 0], "0000-00-00 00:00:00.000", epoch, None),
        (of(Charset::Utf8), &[2, b'a', 0xff], "0x61ff", text("a\u{fffd}"), None),
        (of(Charset::Utf8), &[3, 0xed, 0xa0, 0x80], "0xeda080", text("\u{fffd}\u{fffd}\u{fffd}"), None),
        (of(Charset::Ascii), &[1, 0x80], "0x80", text("\u{fffd}"), None),
        (of(Charset::Utf16), &[2, 0xdc, 0x00], "0xdc00", text("\u{fffd}"), None),
        // another code of the same character: the text is right, the bytes would not come back
        (of(Charset::Cp932), &[2, 0xed, 0x40], "0xed40", text("纊"), Some(text("纊"))),
    ]
}

fn image(value: &[u8]) -> Vec<u8> {
    [&[0xfc, 5], value].concat()
}

fn encode(structure: &TableStructure, image: &[u8], op: Op) -> Vec<u8> {
    let encoder = EventEncoder::compile(structure, IDS).expect("a plan");
    let source = SourceBlock::new(&facts(None, None));
    let row = RowEvent {
        op,
        before: (op != Op::Create).then_some(image),
        after: (op != Op::Delete).then_some(image),
        source: &source,
        position: POSITION,
        ts_us: 0,
    };
    let mut out = vec![];
    encoder.encode_value(&row, &mut out).expect("encoded");
    framing::split(&out).expect("framed").1.to_vec()
}

/// The envelope by apache-avro, with a field and its `exact`.
fn wanted(structure: &TableStructure, field: &Value, exact: &str, op: Op) -> Vec<u8> {
    let schema = event_schemas(structure, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas").value;
    let event = Event { op, before: None, after: None, facts: facts(None, None), position: POSITION, ts_us: 0 };
    let some = |value| Value::Union(1, Box::new(value));
    let null = || Value::Union(0, Box::new(Value::Null));
    let map = || some(Value::Map([("x y".to_owned(), Value::String(exact.to_owned()))].into()));
    let row = || some(oracle::record(vec![("id", Value::Int(5)), ("x_u0020_y", field.clone())]));
    let (before, after) = (op != Op::Create, op != Op::Delete);
    let sides = oracle::record(vec![
        ("before", if before { map() } else { null() }),
        ("after", if after { map() } else { null() }),
    ]);
    let Value::Record(mut fields) = oracle::envelope(structure, &event, some(sides)) else { panic!("a record") };
    fields[0].1 = if before { row() } else { null() };
    fields[1].1 = if after { row() } else { null() };
    oracle::avro(&schema, Value::Record(fields))
}

#[test]
fn exact_is_written_for_what_fields_cannot_carry() {
    for (ty, bytes, exact, fallback, nullable_fallback) in cases() {
        for op in [Op::Create, Op::Update, Op::Delete] {
            let not_null = structure(&ty, false);
            let got = encode(&not_null, &image(bytes), op);
            assert_eq!(got, wanted(&not_null, &fallback, exact, op), "{ty:?} {exact} NOT NULL");

            let nullable = structure(&ty, true);
            let field = match &nullable_fallback {
                Some(value) => Value::Union(1, Box::new(value.clone())),
                None => Value::Union(0, Box::new(Value::Null)),
            };
            let got = encode(&nullable, &image(bytes), op);
            assert_eq!(got, wanted(&nullable, &field, exact, op), "{ty:?} {exact} NULL");

            let schema = event_schemas(&nullable, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas").value;
            let (mut before, mut after) = (vec![], vec![]);
            let decoder = EventDecoder::compile(&schema).expect("a plan");
            decoder.decode(&got, &mut before, &mut after).expect("decoded");
            for row in [before, after].iter().filter(|row| !row.is_empty()) {
                assert_eq!(row[1], Datum::Exact(exact));
            }
        }
    }
}

#[test]
fn keys_and_partitions_of_such_values() {
    type Form = (ColumnType, &'static [u8], &'static [u8], &'static [u8]);
    let forms: [Form; 5] = [
        (ColumnType::Date, &[0x5f, 0xd4, 0x0f], b"d\0\0\0\x0a2026-02-31", &[0]),
        (ColumnType::DateTime { fsp: 1 }, &[0x80, 0, 0, 0, 0, 50], b"t\0\0\0\x1a0000-00-00 00:00:00.500000", &[0]),
        (ColumnType::Timestamp { fsp: 0 }, &[0; 4], b"s\0\0\0\x010", b"\x281970-01-01T00:00:00Z"),
        (
            ColumnType::Text { length_bytes: 1, charset: Charset::Utf8 },
            &[2, b'A', 0xff],
            b"b\0\0\0\x02A\xff",
            b"\x08A\xef\xbf\xbd",
        ),
        (
            ColumnType::Text { length_bytes: 1, charset: Charset::Utf16 },
            &[4, 0, b'A', 0, 0xfc],
            b"c\0\0\0\x03a\xc3\xbc",
            b"\x06A\xc3\xbc",
        ),
    ];
    for (ty, bytes, form, avro) in forms {
        let structure = crate::golden::one_column(ty.clone());
        let encoder = EventEncoder::compile(&structure, IDS).expect("a plan");
        let image = [&[0xfe], bytes].concat();
        assert_eq!(encoder.partition_hash(&image).expect("hashed"), hash(form), "{ty:?}");
        let mut key = vec![];
        encoder.encode_key(&image, &mut key).expect("encoded");
        assert_eq!(&key[5..], avro, "{ty:?}");
    }
}

#[test]
fn partitions_of_labels_bits_and_years() {
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>().into();
    let cases: [(ColumnType, Cell, &[u8]); 5] = [
        (ColumnType::Enum { length: 1, labels: labels(&["x", "Ab"]) }, Cell::Int(2), b"c\0\0\0\x02ab"),
        (ColumnType::Set { length: 1, labels: labels(&["x", "Ab"]) }, Cell::Int(3), b"c\0\0\0\x04x,ab"),
        (ColumnType::Bit { bits: 11 }, Cell::Int(1025), b"n\0\0\0\x041025"),
        (ColumnType::Bit { bits: 1 }, Cell::Int(1), b"n\0\0\0\x011"),
        (ColumnType::Year, Cell::Int(2026), b"n\0\0\0\x042026"),
    ];
    for (ty, cell, form) in cases {
        let structure = crate::golden::one_column(ty.clone());
        let encoder = EventEncoder::compile(&structure, IDS).expect("a plan");
        let image = crate::image::image(&structure, &[cell]);
        assert_eq!(encoder.partition_hash(&image).expect("hashed"), hash(form), "{ty:?}");
    }
}

#[test]
fn labels_that_are_not_there_are_corrupt() {
    let one: Arc<[String]> = vec!["x".to_owned()].into();
    for ty in [ColumnType::Enum { length: 1, labels: Arc::clone(&one) }, ColumnType::Set { length: 1, labels: one }] {
        let encoder = EventEncoder::compile(&crate::golden::one_column(ty), IDS).expect("a plan");
        let error = encoder.partition_hash(&[0xfe, 2]).expect_err("refused");
        assert_eq!(error.code(), schemas::Code::BinlogCorrupt);
        assert!(error.message().contains("column the_key") && error.message().ends_with("02"), "{error}");
    }
}
