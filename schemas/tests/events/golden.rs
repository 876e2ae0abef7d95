//! The tutorial's table: its schemas beside those that Debezium registers, and an event as bytes, all frozen in
//! `tests/golden/`. A change here is a change of format that subscribers see; `OTTER_GOLDEN=write` makes the files anew.

use std::path::PathBuf;

use schemas::avro::event_schemas;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::decode::EventDecoder;
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SourceBlock};
use schemas::names;
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use serde_json::Value;

use crate::image::image;
use crate::rows::{Cell, IDS, facts};

/// A table of one column, its key.
pub(crate) fn one_column(ty: ColumnType) -> TableStructure {
    let column = Column { name: "the_key".into(), ty, nullable: false };
    TableStructure { name: TableName::new("shop", "tb_user"), columns: vec![column], key: vec![0] }
}

fn tb_user() -> TableStructure {
    let int = |bytes, unsigned| ColumnType::Int { bytes, unsigned };
    let text = ColumnType::Text { length_bytes: 1, charset: Charset::Utf8 };
    let columns = [
        ("id", int(4, true)),
        ("username", text.clone()),
        ("age", int(4, false)),
        ("email", text),
        ("created_time", ColumnType::DateTime { fsp: 0 }),
        ("modified_time", ColumnType::DateTime { fsp: 0 }),
        ("is_deleted", int(1, false)),
    ];
    let columns = columns.map(|(name, ty)| Column { name: name.into(), ty, nullable: false });
    TableStructure { name: TableName::new("retl", "tb_user"), columns: columns.into(), key: vec![0] }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn is_frozen(name: &str, now: &str) {
    if std::env::var("OTTER_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(golden(name), format!("{now}\n")).expect("written");
    }
    assert_eq!(read(name).trim_end(), now, "{name}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Takes out what the binlog does not say (defaults of NOT NULL columns, comments) and what we add.
fn comparable(mut value: Value, ours: &[&str]) -> Value {
    match &mut value {
        Value::Array(items) => {
            items.retain(|item| !item.get("name").and_then(Value::as_str).is_some_and(|name| ours.contains(&name)));
            Value::Array(std::mem::take(items).into_iter().map(|item| comparable(item, ours)).collect())
        }
        Value::Object(object) => {
            object.retain(|name, _| {
                !matches!(&name[..], "connect.default" | "connect.doc" | "otter.schema" | "otter.table")
            });
            let nullable = object.get("type").is_some_and(Value::is_array);
            if !nullable {
                object.remove("default");
            }
            let object = std::mem::take(object).into_iter();
            let object: serde_json::Map<_, _> = object.map(|(name, value)| (name, comparable(value, ours))).collect();
            // {"type": "long"} and "long" are the same schema
            match object.get("type") {
                Some(Value::String(ty)) if object.len() == 1 => Value::String(ty.clone()),
                _ => Value::Object(object),
            }
        }
        _ => value,
    }
}

#[test]
fn schemas_are_debeziums_and_ours_at_the_end() {
    let structure = tb_user();
    let texts = event_schemas(&structure, &names::topic("shop", &structure.name), Flavor::Mariadb).expect("schemas");
    let key = texts.key.expect("a key");
    is_frozen("tb_user-key.avsc", &key);
    is_frozen("tb_user-value.avsc", &texts.value);

    assert_eq!(comparable(json(&key), &[]), comparable(json(&read("debezium-tb_user-key.avsc")), &[]));
    let ours = ["ordinal", "generation", "exact"];
    let value = json(&texts.value);
    assert_eq!(comparable(value.clone(), &ours), comparable(json(&read("debezium-tb_user-value.avsc")), &[]));

    let names = |fields: &Value| -> Vec<String> {
        let fields = fields.as_array().expect("fields").iter();
        fields.map(|field| field["name"].as_str().expect("a name").to_owned()).collect()
    };
    let envelope = names(&value["fields"]);
    assert_eq!(envelope.last().expect("fields"), "exact");
    assert!(names(&value["fields"][2]["type"]["fields"]).ends_with(&["ordinal".into(), "generation".into()]));
    assert_eq!((&value["otter.schema"], &value["otter.table"]), (&"retl".into(), &"tb_user".into()));
}

#[test]
fn every_type_as_debezium_registers_it() {
    let ints =
        [1, 2, 3, 4, 8].into_iter().flat_map(|bytes| [false, true].map(|unsigned| ColumnType::Int { bytes, unsigned }));
    let mut types: Vec<ColumnType> = ints.collect();
    types.extend([
        ColumnType::Decimal { precision: 65, scale: 30 },
        ColumnType::Float,
        ColumnType::Double,
        ColumnType::Date,
        ColumnType::DateTime { fsp: 3 },
        ColumnType::DateTime { fsp: 4 },
        ColumnType::Timestamp { fsp: 6 },
        ColumnType::Time { fsp: 0 },
        ColumnType::Text { length_bytes: 4, charset: Charset::Utf8 },
        ColumnType::Binary { length: 4, length_bytes: 1 },
        ColumnType::Bytes { length_bytes: 2 },
    ]);
    let columns = types.into_iter().enumerate();
    let columns = columns.map(|(i, ty)| Column { name: format!("{i}-ünï"), ty, nullable: i % 2 == 1 });
    let structure =
        TableStructure { name: TableName::new("my-db", "日本"), columns: columns.collect(), key: vec![2, 0] };
    let texts = event_schemas(&structure, &names::topic("shop", &structure.name), Flavor::Mariadb).expect("schemas");
    is_frozen("every_type-key.avsc", &texts.key.expect("a key"));
    is_frozen("every_type-value.avsc", &texts.value);
}

#[test]
fn an_event_as_bytes() {
    let structure = tb_user();
    let row = |id: i128, age: i128| {
        let datetime = Cell::DateTime { date: (2026, 11, 22), time: (10, 30, 1), micros: 0 };
        let text = |text: &str| Cell::Text(text.into());
        [
            Cell::Int(id),
            text("Jürgen"),
            Cell::Int(age),
            text("j@example.org"),
            datetime.clone(),
            datetime,
            Cell::Int(-1),
        ]
    };
    let (before, after) = (image(&structure, &row(4_000_000_000, 41)), image(&structure, &row(4_000_000_000, 42)));
    let encoder = EventEncoder::compile(&structure, IDS).expect("a plan");
    let source = SourceBlock::new(&facts(Some("0-1-42"), Some(17)));
    let event = RowEvent {
        op: Op::Update,
        before: Some(&before),
        after: Some(&after),
        source: &source,
        position: RowPosition { pos: 1_234, row: 5, ordinal: 1 << 40 },
        ts_us: 1_795_343_401_000_123,
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (mut key, mut value) = (vec![], vec![]);
    encoder.encode_key(&after, &mut key).expect("encoded");
    encoder.encode_value(&event, &mut value).expect("encoded");
    let hash = encoder.partition_hash(&after).expect("hashed");
    is_frozen("tb_user-event.hex", &format!("key {}\nvalue {}\npartition hash {hash}", hex(&key), hex(&value)));
    // murmur2 of the canonical form, written out
    assert_eq!(hash, schemas::partition::hash(b"n\0\0\0\x0a4000000000"));
}

#[test]
fn debeziums_own_schema_is_refused_for_lack_of_an_ordinal() {
    let error = EventDecoder::compile(&read("debezium-tb_user-value.avsc")).expect_err("refused");
    assert!(error.to_string().contains("exact") || error.to_string().contains("ordinal"), "{error}");
}

#[test]
fn a_later_version_may_add_fields_and_swap_them() {
    let structure = tb_user();
    let mut value = json(&event_schemas(&structure, "shop.retl.tb_user", Flavor::Mariadb).expect("schemas").value);
    let fields = value["fields"].as_array_mut().expect("fields");
    fields.rotate_right(1);
    fields.push(json(
        r#"{"name":"more","type":{"type":"array","items":["null",{"type":"map","values":{"type":"record",
        "name":"Deep","fields":[{"name":"f","type":{"type":"fixed","name":"Four","size":4}},{"name":"g","type":"Four"},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}},{"name":"b","type":"boolean"}]}}]}}"#,
    ));
    let decoder = EventDecoder::compile(&value.to_string()).expect("a plan");
    assert_eq!(decoder.columns().len(), structure.columns.len());
    let recursive = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}"#;
    let fields = value["fields"].as_array_mut().expect("fields");
    fields.push(json(&format!(r#"{{"name":"loop","type":{recursive}}}"#)));
    EventDecoder::compile(&value.to_string()).expect_err("recursion");
}
