//! Avro events to datums.

use crate::encode::Op;
use crate::{Code, Error, Result};

/// A value of a row, borrowed from the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Datum<'a> {
    /// SQL NULL.
    Null,
    /// Integers, and the dates and times whose kind is a number.
    Int(i64),
    /// Unscaled value, two's complement, big-endian; the scale is in [`DatumKind::Decimal`].
    Decimal(&'a [u8]),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// Text, and [`DatumKind::ZonedTimestamp`].
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// What a column's datums mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatumKind {
    /// [`Datum::Int`]: TINYINT to BIGINT, INT UNSIGNED.
    Int,
    /// [`Datum::Decimal`]: DECIMAL, and BIGINT UNSIGNED as (20, 0).
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// [`Datum::Float`].
    Float,
    /// [`Datum::Double`].
    Double,
    /// [`Datum::Int`]: days since 1970-01-01.
    Date,
    /// [`Datum::Int`]: milliseconds since 1970, of a DATETIME read as UTC.
    TimestampMillis,
    /// [`Datum::Int`]: microseconds since 1970, of a DATETIME read as UTC.
    TimestampMicros,
    /// [`Datum::Text`]: `2024-01-02T03:04:05.123456Z`, of a TIMESTAMP.
    ZonedTimestamp,
    /// [`Datum::Int`]: microseconds of a TIME, signed, up to 838:59:59.999999 either way.
    MicroTime,
    /// [`Datum::Text`].
    Text,
    /// [`Datum::Bytes`].
    Bytes,
}

/// A column as the writer's schema has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterColumn {
    /// The name as the source spells it, not as Avro does.
    pub name: String,
    /// What its datums mean.
    pub kind: DatumKind,
    /// Whether [`Datum::Null`] may come.
    pub nullable: bool,
}

/// An event without its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead<'a> {
    /// What happened.
    pub op: Op,
    /// Whether the event has the row before.
    pub has_before: bool,
    /// Whether the event has the row after.
    pub has_after: bool,
    /// The ordinal: grows in commit order over the source.
    pub ordinal: i64,
    /// Generation of the source's capture.
    pub generation: i32,
    /// GTID of the transaction.
    pub gtid: Option<&'a str>,
    /// When the change was made at the source, milliseconds since 1970 UTC.
    pub source_ts_ms: i64,
    /// Binlog file.
    pub file: &'a str,
    /// Binlog position of the rows event.
    pub pos: i64,
    /// Index of the row in its event.
    pub row: i32,
}

/// The decoder of one writer schema.
#[derive(Debug)]
pub struct EventDecoder {
    columns: Vec<WriterColumn>,
}

impl EventDecoder {
    /// Compiles the plan from the writer's schema.
    pub fn compile(_value_schema_json: &str) -> Result<Self> {
        Err(Error::new(Code::NotSupportedYet, "decode"))
    }

    /// The columns of the row, in the order of the datums.
    pub fn columns(&self) -> &[WriterColumn] {
        &self.columns
    }

    /// Decodes a record's Avro datum (without framing): replaces the contents of `before` and `after`.
    pub fn decode<'a>(
        &self,
        _avro: &'a [u8],
        _before: &mut Vec<Datum<'a>>,
        _after: &mut Vec<Datum<'a>>,
    ) -> Result<EventHead<'a>> {
        Err(Error::new(Code::NotSupportedYet, "decode"))
    }
}
