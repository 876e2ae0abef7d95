//! What apache-avro writes for a row, and the datums that must come back.

use avro_rs::types::Value;
use avro_rs::writer::datum::GenericDatumWriter;
use avro_rs::{Decimal, Schema};
use jiff::civil::Date;
use schemas::decode::DatumKind;
use schemas::encode::{Op, RowPosition, SourceFacts};
use schemas::escape::avro_name;
use schemas::table::{Column, ColumnType, TableStructure};

use crate::rows::Cell;

/// A datum that owns its contents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owned {
    Null,
    Int(i64),
    Decimal(Vec<u8>),
    Float(u32),
    Double(u64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Encodes with apache-avro, which validates the value against the schema first.
pub(crate) fn avro(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).expect("apache-avro reads the schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    writer.write_value_to_vec(value).expect("apache-avro writes the value")
}

/// The datum of a cell.
pub(crate) fn datum(ty: &ColumnType, cell: &Cell) -> Owned {
    match cell {
        Cell::Null => Owned::Null,
        Cell::Int(n) if *ty == (ColumnType::Int { bytes: 8, unsigned: true }) => {
            Owned::Decimal(twos_complement(false, &n.to_string()))
        }
        Cell::Int(n) => match ty {
            ColumnType::Bit { bits: bits @ 2.. } => {
                Owned::Bytes(n.to_le_bytes()[..usize::from(bits.div_ceil(8))].to_vec())
            }
            ColumnType::Enum { labels, .. } => {
                let index = usize::try_from(*n).expect("small");
                Owned::Text(index.checked_sub(1).map_or(String::new(), |index| labels[index].clone()))
            }
            ColumnType::Set { labels, .. } => {
                let members = labels.iter().enumerate().filter(|(place, _)| n >> place & 1 == 1);
                Owned::Text(members.map(|(_, label)| label.clone()).collect::<Vec<_>>().join(","))
            }
            _ => Owned::Int(i64::try_from(*n).expect("64 bits")),
        },
        Cell::Json(_, text) => Owned::Text((*text).to_owned()),
        Cell::Decimal { negative, digits } => Owned::Decimal(twos_complement(*negative, digits)),
        Cell::Float(n) => Owned::Float(n.to_bits()),
        Cell::Double(n) => Owned::Double(n.to_bits()),
        Cell::Date(y, m, d) => Owned::Int(days(*y, *m, *d)),
        Cell::DateTime { date, time, micros } => {
            let seconds = i64::from(time.0) * 3600 + i64::from(time.1) * 60 + i64::from(time.2);
            let micros = (days(date.0, date.1, date.2) * 86_400 + seconds) * 1_000_000 + i64::from(*micros);
            let millis = matches!(ty, ColumnType::DateTime { fsp: 0..=3 });
            Owned::Int(if millis { micros.div_euclid(1000) } else { micros })
        }
        Cell::Timestamp { seconds, micros } => {
            let micros = i64::from(*seconds) * 1_000_000 + i64::from(*micros);
            Owned::Text(jiff::Timestamp::from_microsecond(micros).expect("in range").to_string())
        }
        Cell::Time { negative, hours, minutes, seconds, micros } => {
            let seconds = i64::from(*hours) * 3600 + i64::from(*minutes) * 60 + i64::from(*seconds);
            let micros = seconds * 1_000_000 + i64::from(*micros);
            Owned::Int(if *negative { -micros } else { micros })
        }
        Cell::Text(text) => Owned::Text(text.clone()),
        Cell::Bytes(bytes) => Owned::Bytes(bytes.clone()),
    }
}

/// The kind of a column.
pub(crate) fn kind(ty: &ColumnType) -> DatumKind {
    match *ty {
        ColumnType::Int { bytes: 8, unsigned: true } => DatumKind::Decimal { precision: 20, scale: 0 },
        ColumnType::Int { .. } => DatumKind::Int,
        ColumnType::Decimal { precision, scale } => DatumKind::Decimal { precision, scale },
        ColumnType::Float => DatumKind::Float,
        ColumnType::Double => DatumKind::Double,
        ColumnType::Date => DatumKind::Date,
        ColumnType::DateTime { fsp: 0..=3 } => DatumKind::TimestampMillis,
        ColumnType::DateTime { .. } => DatumKind::TimestampMicros,
        ColumnType::Timestamp { .. } => DatumKind::ZonedTimestamp,
        ColumnType::Time { .. } => DatumKind::MicroTime,
        ColumnType::Text { .. } => DatumKind::Text,
        ColumnType::Year => DatumKind::Year,
        ColumnType::Bit { bits: 1 } => DatumKind::Bool,
        ColumnType::Bit { bits } => DatumKind::Bits { bits },
        ColumnType::Enum { .. } => DatumKind::Enum,
        ColumnType::Set { .. } => DatumKind::Set,
        ColumnType::Json { .. } => DatumKind::Json,
        ColumnType::Binary { .. } | ColumnType::Bytes { .. } => DatumKind::Bytes,
    }
}

fn days(year: i16, month: i8, day: i8) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    i64::from(epoch.until(Date::new(year, month, day).expect("valid")).expect("in range").get_days())
}

/// Schoolbook: times ten plus the digit, over bytes from the lowest; then the sign; then what only repeats it goes.
pub(crate) fn twos_complement(negative: bool, digits: &str) -> Vec<u8> {
    let mut bytes = vec![0_u8; 32];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            let sum = u32::from(*byte) * 10 + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    }
    if negative {
        let mut carry = 1_u32;
        for byte in &mut bytes {
            let sum = u32::from(!*byte) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    }
    let sign = if bytes[31] & 0x80 == 0 { 0x00 } else { 0xff };
    while bytes.len() > 1 && bytes[bytes.len() - 1] == sign && bytes[bytes.len() - 2] & 0x80 == sign & 0x80 {
        bytes.pop();
    }
    bytes.reverse();
    bytes
}

fn cell_value(column: &Column, cell: &Cell) -> Value {
    let value = match datum(&column.ty, cell) {
        Owned::Null => return Value::Union(0, Box::new(Value::Null)),
        Owned::Int(n) if kind(&column.ty) == DatumKind::Int && !is_long(&column.ty) => {
            Value::Int(i32::try_from(n).expect("32 bits"))
        }
        Owned::Int(n) if kind(&column.ty) == DatumKind::Bool => Value::Boolean(n == 1),
        Owned::Int(n) if matches!(kind(&column.ty), DatumKind::Date | DatumKind::Year) => {
            Value::Int(i32::try_from(n).expect("32 bits"))
        }
        Owned::Int(n) => Value::Long(n),
        Owned::Decimal(bytes) => Value::Decimal(Decimal::from(bytes)),
        Owned::Float(bits) => Value::Float(f32::from_bits(bits)),
        Owned::Double(bits) => Value::Double(f64::from_bits(bits)),
        Owned::Text(text) => Value::String(text),
        Owned::Bytes(bytes) => Value::Bytes(bytes),
    };
    if column.nullable { Value::Union(1, Box::new(value)) } else { value }
}

fn is_long(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::Int { bytes: 8, .. } | ColumnType::Int { bytes: 4, unsigned: true })
}

/// The key's record.
pub(crate) fn key(structure: &TableStructure, row: &[Cell]) -> Value {
    let fields = structure.key.iter().map(|&index| field(structure, row, index));
    Value::Record(fields.collect())
}

fn field(structure: &TableStructure, row: &[Cell], index: usize) -> (String, Value) {
    let column = &structure.columns[index];
    (avro_name(&column.name), cell_value(column, &row[index]))
}

fn row_value(structure: &TableStructure, row: Option<&[Cell]>) -> Value {
    match row {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(row) => {
            let fields = (0..row.len()).map(|index| field(structure, row, index));
            Value::Union(1, Box::new(Value::Record(fields.collect())))
        }
    }
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

/// Everything of an event but its table.
pub(crate) struct Event<'a> {
    pub(crate) op: Op,
    pub(crate) before: Option<&'a [Cell]>,
    pub(crate) after: Option<&'a [Cell]>,
    pub(crate) facts: SourceFacts<'a>,
    pub(crate) position: RowPosition,
    pub(crate) ts_us: i64,
}

/// The envelope's record, `exact` as given.
pub(crate) fn envelope(structure: &TableStructure, event: &Event<'_>, exact: Value) -> Value {
    let op = match event.op {
        Op::Create => "c",
        Op::Update => "u",
        Op::Delete => "d",
    };
    let fields = vec![
        ("before", row_value(structure, event.before)),
        ("after", row_value(structure, event.after)),
        ("source", source(&event.facts, event.position)),
        ("transaction", null()),
        ("op", Value::String(op.into())),
        ("ts_ms", some(Value::Long(event.ts_us.div_euclid(1000)))),
        ("ts_us", some(Value::Long(event.ts_us))),
        ("ts_ns", some(Value::Long(event.ts_us * 1000))),
        ("exact", exact),
    ];
    record(fields)
}

pub(crate) fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn source(facts: &SourceFacts<'_>, position: RowPosition) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    record(vec![
        ("version", text(facts.version)),
        ("connector", text("mariadb")),
        ("name", text(facts.name)),
        ("ts_ms", Value::Long(facts.ts_ms)),
        ("snapshot", Value::Union(0, Box::new(text("false")))),
        ("db", text(facts.db)),
        ("sequence", null()),
        ("ts_us", some(Value::Long(facts.ts_ms * 1000))),
        ("ts_ns", some(Value::Long(facts.ts_ms * 1_000_000))),
        ("table", some(text(facts.table))),
        ("server_id", Value::Long(facts.server_id)),
        ("gtid", facts.gtid.map_or_else(null, |gtid| some(text(gtid)))),
        ("file", text(facts.file)),
        ("pos", Value::Long(position.pos.cast_signed())),
        ("row", Value::Int(position.row.cast_signed())),
        ("thread", facts.thread.map_or_else(null, |thread| some(Value::Long(thread)))),
        ("query", null()),
        ("ordinal", Value::Long(position.ordinal)),
        ("generation", Value::Int(facts.generation)),
    ])
}

/// `exact` null.
pub(crate) fn no_exact() -> Value {
    null()
}
