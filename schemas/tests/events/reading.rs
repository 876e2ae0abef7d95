//! What only the reading side knows: kinds by `connect.name`, and `exact` in the place of what stands in for it.

use avro_rs::types::Value;
use schemas::Code;
use schemas::decode::{Datum, DatumKind, EventDecoder};

use crate::oracle::{self, record};

const TYPES: &[(&str, &str)] = &[
    ("id", r#""int""#),
    ("flag", r#""boolean""#),
    (
        "bits",
        r#"{"type":"bytes","connect.version":1,"connect.parameters":{"length":"12"},"connect.name":"io.debezium.data.Bits"}"#,
    ),
    ("year", r#"{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Year"}"#),
    (
        "e",
        r#"{"type":"string","connect.version":1,"connect.parameters":{"allowed":"a,b,ünï"},"connect.name":"io.debezium.data.Enum"}"#,
    ),
    (
        "s",
        r#"{"type":"string","connect.version":1,"connect.parameters":{"allowed":"one,fo ur"},"connect.name":"io.debezium.data.EnumSet"}"#,
    ),
    ("js", r#"{"type":"string","connect.version":1,"connect.name":"io.debezium.data.Json"}"#),
    ("d", r#"{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Date"}"#),
    ("tx", r#""string""#),
];

const EXACT: &str = concat!(
    r#"{"name":"exact","type":["null",{"type":"record","name":"Exact","fields":[{"name":"before","type":["null",{"type":"map","values":"string"}],"default":null},"#,
    r#"{"name":"after","type":["null",{"type":"map","values":"string"}],"default":null}]}],"default":null}"#
);

/// An envelope's schema with `exact` at its head or at its end.
fn schema(exact_first: bool) -> String {
    let fields: Vec<String> =
        TYPES.iter().map(|(name, ty)| format!(r#"{{"name":"{name}","type":{ty},"otter.name":"{name}`"}}"#)).collect();
    let source = ["ts_ms:long", "file:string", "pos:long", "row:int", "ordinal:long", "generation:int"]
        .map(|field| field.split_once(':').expect("a field"))
        .map(|(name, ty)| format!(r#"{{"name":"{name}","type":"{ty}"}}"#));
    let body = format!(
        concat!(
            r#"{{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{}]}}]}},{{"name":"after","type":["null","Value"]}},"#,
            r#"{{"name":"source","type":{{"type":"record","name":"Source","fields":[{},{{"name":"gtid","type":["null","string"]}}]}}}},{{"name":"op","type":"string"}}"#
        ),
        fields.join(","),
        source.join(",")
    );
    let fields = if exact_first { format!("{EXACT},{body}") } else { format!("{body},{EXACT}") };
    format!(r#"{{"type":"record","name":"Envelope","namespace":"shop.t","fields":[{fields}]}}"#)
}

fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn texts(entries: &[(&str, &str)]) -> Value {
    let entries = entries.iter().map(|(name, text)| ((*name).to_owned(), Value::String((*text).to_owned())));
    some(Value::Map(entries.collect()))
}

fn row() -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    some(record(vec![
        ("id", Value::Int(1)),
        ("flag", Value::Boolean(true)),
        ("bits", Value::Bytes(vec![0x34, 0x0f])),
        ("year", Value::Int(0)),
        ("e", text("ünï")),
        ("s", text("one,fo ur")),
        ("js", text("{\"a\": 1.0}")),
        ("d", Value::Int(0)),
        ("tx", text("\u{fffd}")),
    ]))
}

fn avro(exact_first: bool, before: Value, after: Value, exact: Value) -> Vec<u8> {
    let op = match (&before, &after) {
        (Value::Union(0, _), _) => "c",
        (_, Value::Union(0, _)) => "d",
        _ => "u",
    };
    let number = Value::Long(7);
    let source = record(vec![
        ("ts_ms", number.clone()),
        ("file", Value::String("f".into())),
        ("pos", number.clone()),
        ("row", Value::Int(0)),
        ("ordinal", number),
        ("generation", Value::Int(0)),
        ("gtid", null()),
    ]);
    let mut fields = vec![("before", before), ("after", after), ("source", source), ("op", Value::String(op.into()))];
    fields.insert(if exact_first { 0 } else { 4 }, ("exact", exact));
    oracle::avro(&schema(exact_first), record(fields))
}

#[test]
fn kinds_follow_the_names() {
    let decoder = EventDecoder::compile(&schema(false)).expect("a plan");
    let kinds: Vec<DatumKind> = decoder.columns().iter().map(|column| column.kind).collect();
    use DatumKind::{Bits, Bool, Date, Enum, Int, Json, Set, Text, Year};
    assert_eq!(kinds, [Int, Bool, Bits { bits: 12 }, Year, Enum, Set, Json, Date, Text]);
    assert_eq!(decoder.columns()[4].labels, ["a", "b", "ünï"]);
    assert_eq!(decoder.columns()[5].labels, ["one", "fo ur"]);
    let avro = avro(false, null(), row(), null());
    let (mut before, mut after) = (vec![], vec![]);
    decoder.decode(&avro, &mut before, &mut after).expect("an event");
    let expected = [
        Datum::Int(1),
        Datum::Int(1),
        Datum::Bytes(&[0x34, 0x0f]),
        Datum::Int(0),
        Datum::Text("ünï"),
        Datum::Text("one,fo ur"),
        Datum::Text("{\"a\": 1.0}"),
        Datum::Int(0),
        Datum::Text("\u{fffd}"),
    ];
    assert_eq!((before.len(), &after[..]), (0, &expected[..]));
}

#[test]
fn bits_are_as_long_as_declared() {
    let decoder = EventDecoder::compile(&schema(false)).expect("a plan");
    for bytes in [vec![0x34], vec![0x34, 0x1f], vec![0x34, 0x0f, 0]] {
        let Value::Union(_, row) = row() else { panic!("a row") };
        let Value::Record(mut fields) = *row else { panic!("a row") };
        fields[2].1 = Value::Bytes(bytes);
        let avro = avro(false, null(), some(Value::Record(fields)), null());
        let error = decoder.decode(&avro, &mut vec![], &mut vec![]).expect_err("refused");
        assert_eq!(error.code(), Code::RecordInvalid);
    }
    for length in ["0", "65", "x"] {
        let wrong = schema(false).replace(r#""length":"12""#, &format!(r#""length":"{length}""#));
        assert!(EventDecoder::compile(&wrong).is_err(), "{length}");
    }
}

/// Wherever `exact` stands among the fields, its texts replace the stand-ins, by the columns' own names.
#[test]
fn exact_takes_the_place_of_the_stand_in() {
    for first in [false, true] {
        let exact = some(record(vec![
            ("before", texts(&[("d`", "2020-00-10")])),
            ("after", texts(&[("d`", "0000-00-00"), ("tx`", "0xff00")])),
        ]));
        let avro = avro(first, row(), row(), exact);
        let decoder = EventDecoder::compile(&schema(first)).expect("a plan");
        let (mut before, mut after) = (vec![], vec![]);
        decoder.decode(&avro, &mut before, &mut after).expect("an event");
        assert_eq!((before[7], before[8]), (Datum::Exact("2020-00-10"), Datum::Text("\u{fffd}")));
        assert_eq!((after[7], after[8]), (Datum::Exact("0000-00-00"), Datum::Exact("0xff00")));
    }
}

#[test]
fn an_exact_that_says_nothing_is_as_none() {
    let decoder = EventDecoder::compile(&schema(false)).expect("a plan");
    for exact in [texts(&[]), null()] {
        let avro = avro(false, row(), null(), some(record(vec![("before", exact), ("after", null())])));
        let (mut before, mut after) = (vec![], vec![]);
        decoder.decode(&avro, &mut before, &mut after).expect("an event");
        assert_eq!((before[7], after.len()), (Datum::Int(0), 0));
    }
}

#[test]
fn an_exact_that_cannot_be_placed_is_refused() {
    let decoder = EventDecoder::compile(&schema(false)).expect("a plan");
    let cases = [
        (texts(&[("d", "0000-00-00")]), Code::ExactUnsupported),
        (texts(&[("year`", "0000")]), Code::ExactUnsupported),
        (texts(&[("id`", "1")]), Code::ExactUnsupported),
    ];
    for (after, code) in cases {
        let avro = avro(false, null(), row(), some(record(vec![("before", null()), ("after", after)])));
        assert_eq!(decoder.decode(&avro, &mut vec![], &mut vec![]).expect_err("refused").code(), code);
    }
    // of a row that the event does not have
    let avro = avro(false, null(), row(), some(record(vec![("before", texts(&[("d`", "x")])), ("after", null())])));
    assert_eq!(decoder.decode(&avro, &mut vec![], &mut vec![]).expect_err("refused").code(), Code::RecordInvalid);
    for (from, to) in [
        (r#""values":"string""#, r#""values":"bytes""#),
        (r#"{"name":"after","type":["null",{"type":"map","#, r#"{"name":"behind","type":["null",{"type":"map","#),
    ] {
        let wrong = schema(false).replace(from, to);
        assert_eq!(EventDecoder::compile(&wrong).expect_err("refused").code(), Code::RecordInvalid);
    }
}
