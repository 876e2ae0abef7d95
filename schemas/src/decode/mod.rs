//! Avro events to datums.
//!
//! [`EventDecoder`] is compiled once per writer schema. Per record it goes once over the bytes and hands out datums that
//! borrow from them: nothing is allocated beyond the growth of the caller's two vectors.
//!
//! Where the envelope's `exact` has a value for a column, that text takes the place of the typed field's stand-in as
//! [`Datum::Exact`], so a reader that does not look at it cannot mistake one for the other.
//!
//! The bytes may come from anybody: they never make the decoder panic, read beyond their end or stay busy longer than
//! they are long. What does not follow the schema to the last byte is [`Code::RecordInvalid`]; an `exact` that speaks of
//! what this version does not know is [`Code::ExactUnsupported`].

mod compile;
mod exact;
mod input;
mod labels;
mod plan;

use self::input::Input;
use self::plan::{Plan, Refusal};
use crate::encode::Op;
use crate::{Code, Error, Result};

/// A value of a row, borrowed from the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Datum<'a> {
    /// SQL NULL.
    Null,
    /// Integers, and the kinds that are a number.
    Int(i64),
    /// Unscaled value, two's complement, big-endian; the scale is in [`DatumKind::Decimal`].
    Decimal(&'a [u8]),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// Text, and the kinds that are one.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// What the kind cannot say, from the envelope's `exact`. Of dates and times: as the server prints it, such as
    /// `0000-00-00` or `2026-02-31 00:00:00.5`. Of text: `0x` and the raw bytes in hex, as they are not valid in the
    /// source column's charset.
    Exact(&'a str),
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
    /// [`Datum::Int`]: 0 or 1, of a BIT(1).
    Bool,
    /// [`Datum::Bytes`], little-endian, `bits` / 8 of them rounded up: a BIT.
    Bits {
        /// Declared length, 2 to 64; no bit beyond it is set.
        bits: u8,
    },
    /// [`Datum::Int`]: 0 or 1901 to 2155.
    Year,
    /// [`Datum::Text`]: a label of an ENUM, or the empty string where the source holds a value that was not one.
    Enum,
    /// [`Datum::Text`]: labels of a SET with commas between them, in the order of the source column.
    Set,
    /// [`Datum::Text`]: a document of MySQL's JSON type, as the server prints it.
    Json,
}

impl DatumKind {
    /// Whether [`Datum::Exact`] may come: only these kinds leave values out that a server can hold.
    pub fn has_exact(self) -> bool {
        self.is_temporal() || matches!(self, Self::Text | Self::Enum | Self::Set | Self::Json)
    }

    /// Whether it is of a date or time.
    pub fn is_temporal(self) -> bool {
        matches!(
            self,
            Self::Date | Self::TimestampMillis | Self::TimestampMicros | Self::ZonedTimestamp | Self::MicroTime
        )
    }
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
    /// The labels of an ENUM or SET, as far as the schema's text says them beyond doubt; else empty.
    pub labels: Vec<String>,
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
    plan: Plan,
}

impl EventDecoder {
    /// Compiles the plan from the writer's schema, the one that the record's id names.
    ///
    /// # Errors
    /// [`Code::RecordInvalid`] when it is not the schema of an Otter event, or has a column of a type that this version
    /// does not read.
    pub fn compile(value_schema_json: &str) -> Result<Self> {
        let (plan, columns) = compile::compile(value_schema_json)?;
        Ok(Self { columns, plan })
    }

    /// The columns of the row, in the order of the datums.
    pub fn columns(&self) -> &[WriterColumn] {
        &self.columns
    }

    /// Decodes a record's Avro datum (without framing). Replaces the contents of `before` and `after`: a datum per
    /// column when the event has that row, else nothing.
    ///
    /// # Errors
    /// [`Code::RecordInvalid`], [`Code::ExactUnsupported`]; what the two vectors then hold is not defined.
    pub fn decode<'a>(
        &self,
        avro: &'a [u8],
        before: &mut Vec<Datum<'a>>,
        after: &mut Vec<Datum<'a>>,
    ) -> Result<EventHead<'a>> {
        before.clear();
        after.clear();
        let mut input = Input::new(avro);
        match self.plan.read(&self.columns, &mut input, before, after) {
            Ok(head) if input.left() == 0 => Ok(head),
            Ok(_) => Err(refused(Refusal::Invalid("bytes are left over"), avro.len(), input.left())),
            Err(refusal) => Err(refused(refusal, avro.len(), input.left())),
        }
    }
}

#[cold]
fn refused(refusal: Refusal, length: usize, left: usize) -> Error {
    let at = format!("at byte {} of {length}", length - left);
    match refusal {
        Refusal::Invalid(what) => {
            Error::new(Code::RecordInvalid, format!("the event does not follow its schema: {what}, {at}"))
        }
        Refusal::Exact => {
            Error::new(Code::ExactUnsupported, format!("`exact` names no column that this version reads one for, {at}"))
        }
    }
}
