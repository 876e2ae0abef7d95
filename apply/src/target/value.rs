//! From datums to values of statements: one [`Bind`] per mapped column, compiled from the writer's kind and the
//! target's type.
//!
//! Two rules. A pair of types that would change values without an error is refused when the mapping is resolved; where
//! only some values would be changed (fraction digits, padding, trailing spaces of CHAR), each value is checked before
//! it is sent. And a column always binds as the same protocol type, because a bulk statement declares types once.

use std::sync::Arc;

use mysql_async::Value;
use schemas::Code;
use schemas::decode::{Datum, DatumKind, WriterColumn};

use self::decimal::{decimal_text, integer};
use self::labels::Labels;
use self::repertoire::Repertoire;
use self::temporal::{date, exact, fits, time, zoned};
use super::columns::TargetColumn;

mod decimal;
mod json;
mod labels;
mod matching;
mod repertoire;
mod temporal;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How the datums of a column become values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bind {
    Integer,
    /// A decimal without fraction into an integer column.
    IntegerFromDecimal {
        unsigned: bool,
    },
    /// A decimal as text with its scale; `target_scale` is the column's.
    Decimal {
        scale: u8,
        target_scale: u8,
    },
    /// `digits`: FLOAT(M,D) rounds to D digits.
    Float {
        digits: Option<u8>,
        double: bool,
    },
    Double {
        digits: Option<u8>,
    },
    Date,
    /// `unit`: microseconds of one step of the number; `step`: microseconds that the column can tell apart.
    DateTime {
        unit: i64,
        step: i64,
    },
    /// TIMESTAMP's text.
    Zoned {
        step: i64,
    },
    Time {
        step: i64,
    },
    /// `trims`: CHAR drops trailing spaces. `characters`: VARCHAR drops those beyond so many, in strict mode too. `foreign`: its character set, where UTF-8 is not its bytes.
    Text {
        trims: bool,
        characters: Option<u64>,
        repertoire: Repertoire,
        foreign: Option<Arc<str>>,
    },
    /// A document into MySQL's JSON column; `foreign`: its text was not printed by such a column.
    Json {
        foreign: bool,
    },
    /// The bits as the number that they are.
    Bits,
    Year,
    /// By the label's number.
    Enum(Arc<Labels>),
    /// By the bits of the labels.
    Set(Arc<Labels>),
    /// `exact`: BINARY(n) pads shorter values.
    Bytes {
        exact: Option<u64>,
    },
}

const NO_LABEL: &str = "is none of the target column's labels";

/// Why a value cannot be written; the text names no value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unfit {
    pub(crate) code: Code,
    pub(crate) what: &'static str,
}

impl From<&'static str> for Unfit {
    fn from(what: &'static str) -> Self {
        Self { code: Code::TargetRefused, what }
    }
}

impl Bind {
    /// How the values of `source` are written to `column`, or why they cannot be.
    pub(crate) fn new(source: &WriterColumn, column: &TargetColumn) -> Result<Self, String> {
        let ty = column.data_type.as_str();
        let integer = matches!(ty, "tinyint" | "smallint" | "mediumint" | "int" | "bigint");
        let text = matches!(ty, "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
        let step = 10_i64.pow(6 - u32::from(column.fraction_digits.min(6)));
        let digits = column.scale.and_then(|scale| u8::try_from(scale).ok());
        let bind = match (source.kind, ty) {
            (DatumKind::Int | DatumKind::Bool | DatumKind::Year, _) if integer => Self::Integer,
            (DatumKind::Int, "decimal") => Self::Integer,
            (DatumKind::Decimal { scale: 0, .. }, _) if integer => {
                Self::IntegerFromDecimal { unsigned: column.column_type.contains("unsigned") }
            }
            (DatumKind::Decimal { precision, scale }, "decimal") => return decimal_bind(precision, scale, column),
            (DatumKind::Float, "float") => Self::Float { digits, double: false },
            (DatumKind::Float, "double") => Self::Float { digits, double: true },
            (DatumKind::Double, "double") => Self::Double { digits },
            (DatumKind::Date, "date" | "datetime") => Self::Date,
            (DatumKind::TimestampMillis, "datetime") => Self::DateTime { unit: 1000, step },
            (DatumKind::TimestampMicros, "datetime") => Self::DateTime { unit: 1, step },
            (DatumKind::ZonedTimestamp, "timestamp" | "datetime") => Self::Zoned { step },
            (DatumKind::MicroTime, "time") => Self::Time { step },
            (DatumKind::Text | DatumKind::Enum | DatumKind::Set | DatumKind::Json, _) if text => {
                let charset = column.charset.as_deref();
                let foreign = charset.filter(|name| !matches!(*name, "utf8mb4" | "utf8mb3" | "utf8" | "ascii"));
                Self::Text {
                    trims: ty == "char",
                    characters: (ty == "varchar").then_some(column.length),
                    repertoire: Repertoire::of(charset),
                    foreign: foreign.map(Arc::from),
                }
            }
            (DatumKind::Json, "json") => Self::Json { foreign: false },
            (DatumKind::Text, "json") => Self::Json { foreign: true },
            (DatumKind::Bytes, "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob") => {
                Self::Bytes { exact: None }
            }
            (DatumKind::Bytes, "binary") => Self::Bytes { exact: Some(column.octets) },
            (DatumKind::Bool, "bit") => Self::Integer,
            (DatumKind::Bits { bits }, "bit") if u64::from(bits) <= column.precision => Self::Bits,
            (DatumKind::Bits { .. }, _) if integer => Self::Bits,
            (DatumKind::Year, "year") => Self::Year,
            (DatumKind::Enum, "enum") => Self::Enum(labels(source, column)?),
            (DatumKind::Set, "set") => Self::Set(labels(source, column)?),
            _ => return Err(format!("{} cannot hold {} unchanged", column.column_type, describe(source.kind))),
        };
        Ok(bind)
    }

    /// The value for a parameter.
    pub(crate) fn value(&self, datum: &Datum<'_>) -> Result<Value, Unfit> {
        Ok(match (self, *datum) {
            (_, Datum::Null) => Value::NULL,
            (_, Datum::Exact(text)) => self.exact(text)?,
            (Self::Integer, Datum::Int(v)) => Value::Int(v),
            (Self::IntegerFromDecimal { unsigned: true }, Datum::Decimal(bytes)) => {
                Value::UInt(integer(bytes).and_then(|v| u64::try_from(v).ok()).ok_or("out of range")?)
            }
            (Self::IntegerFromDecimal { unsigned: false }, Datum::Decimal(bytes)) => {
                Value::Int(integer(bytes).and_then(|v| i64::try_from(v).ok()).ok_or("out of range")?)
            }
            (Self::Decimal { scale, .. }, Datum::Decimal(bytes)) => Value::Bytes(decimal_text(bytes, *scale)),
            (Self::Float { digits, double }, Datum::Float(v)) => {
                if !digits.as_ref().is_none_or(|d| rounded(f64::from(v), *d).is_some_and(|r| r as f32 == v)) {
                    return Err("has more digits than the column keeps".into());
                }
                if *double { Value::Double(f64::from(v)) } else { Value::Float(v) }
            }
            (Self::Double { digits }, Datum::Double(v)) => {
                if !digits.as_ref().is_none_or(|d| rounded(v, *d) == Some(v)) {
                    return Err("has more digits than the column keeps".into());
                }
                Value::Double(v)
            }
            (Self::Date, Datum::Int(days)) => date(days, 0)?,
            (Self::DateTime { unit, step }, Datum::Int(v)) => {
                let micros = v.checked_mul(*unit).ok_or("is no date")?;
                fits(micros, *step)?;
                date(micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))?
            }
            (Self::Zoned { step }, Datum::Text(text)) => zoned(text, *step)?,
            (Self::Time { step }, Datum::Int(micros)) => {
                fits(micros, *step)?;
                Value::from(time(micros)?)
            }
            (Self::Text { trims, characters, repertoire, .. }, Datum::Text(text)) => {
                if *trims && text.ends_with(' ') {
                    return Err("ends in a space, which CHAR drops".into());
                }
                if text.ends_with(' ') && characters.is_some_and(|most| text.chars().count() as u64 > most) {
                    return Err("is longer than the column, which drops the spaces at its end".into());
                }
                if !repertoire.holds(text) {
                    return Err("has a character that the column's character set lacks".into());
                }
                Value::Bytes(text.as_bytes().to_vec())
            }
            (Self::Json { foreign }, Datum::Text(text)) => {
                if *foreign {
                    json::keeps(text)?;
                }
                Value::Bytes(text.as_bytes().to_vec())
            }
            (Self::Bytes { exact }, Datum::Bytes(bytes)) => {
                if exact.is_some_and(|n| n != bytes.len() as u64) {
                    return Err("is not as long as the BINARY column, which pads it".into());
                }
                Value::Bytes(bytes.to_vec())
            }
            (Self::Bits, Datum::Bytes(bytes)) => Value::UInt(bits(bytes).ok_or("has more than 64 bits")?),
            (Self::Year, Datum::Int(year)) => match year {
                0 | 1901..=2155 => Value::Int(year),
                _ => return Err("is no year that the column can hold".into()),
            },
            (Self::Enum(labels), Datum::Text(label)) => Value::UInt(labels.number(label).ok_or(NO_LABEL)?),
            (Self::Set(labels), Datum::Text(text)) => Value::UInt(labels.bits(text).ok_or(NO_LABEL)?),
            _ => return Err("is not of the type that its schema says".into()),
        })
    }

    /// A value that the typed field cannot carry.
    fn exact(&self, text: &str) -> Result<Value, Unfit> {
        Ok(match self {
            Self::Date => exact(text, 1)?,
            Self::DateTime { step, .. } | Self::Zoned { step } => exact(text, *step)?,
            _ => {
                let what =
                    "holds bytes that are not valid in its character set at the source, which no column of text takes";
                return Err(Unfit { code: Code::ExactUnsupported, what });
            }
        })
    }

    /// The value for a comparison with the column, as a parameter: FLOAT compares as DOUBLE; ENUM and SET as text, since
    /// by numbers a row constructor finds nothing on MySQL, and neither does a SET with its 64th label anywhere.
    pub(crate) fn key_value(&self, datum: &Datum<'_>) -> Result<Value, Unfit> {
        Ok(match (self, self.value(datum)?) {
            (_, Value::NULL) => return Err("is NULL in the target's key".into()),
            (_, Value::Float(v)) => Value::Double(f64::from(v)),
            (Self::Set(labels), Value::UInt(bits)) => Value::from(labels.text(bits)),
            (Self::Enum(_), other) => match datum {
                Datum::Text(label) => Value::from(*label),
                _ => other,
            },
            (_, other) => other,
        })
    }

    /// The placeholder for a comparison with the column: a decimal must not be compared as text, which means as double.
    pub(crate) fn key_placeholder(&self) -> String {
        match self {
            Self::Decimal { target_scale, .. } => format!("CAST(? AS DECIMAL(65,{target_scale}))"),
            _ => "?".to_owned(),
        }
    }

    /// The column's character set, where UTF-8 is not its bytes. MariaDB compares the parts of a row constructor with
    /// such a column byte by byte, without converting them.
    pub(crate) fn foreign(&self) -> Option<&str> {
        match self {
            Self::Text { foreign, .. } => foreign.as_deref(),
            _ => None,
        }
    }

    /// The value for a comparison with the column, as text of a statement.
    pub(crate) fn key_literal(&self, datum: &Datum<'_>, sql: &mut String) -> Result<(), Unfit> {
        let value = self.key_value(datum)?;
        match (self, &value) {
            (Self::Decimal { .. }, Value::Bytes(digits)) => sql.push_str(&String::from_utf8_lossy(digits)),
            (Self::Bytes { .. }, Value::Bytes(bytes)) => {
                sql.push_str("X'");
                for byte in bytes {
                    sql.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                    sql.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
                }
                sql.push('\'');
            }
            // The exponent makes it a double; a decimal literal would be compared as one.
            (_, Value::Double(v)) => sql.push_str(&format!("{v:e}")),
            _ => sql.push_str(&value.as_sql(false)),
        }
        Ok(())
    }
}

fn decimal_bind(precision: u8, scale: u8, column: &TargetColumn) -> Result<Bind, String> {
    let target_scale = column.scale.unwrap_or(0);
    let whole = u64::from(precision.saturating_sub(scale));
    if target_scale < u64::from(scale) || column.precision.saturating_sub(target_scale) < whole {
        return Err(format!("{} cannot hold DECIMAL({precision},{scale}) unchanged", column.column_type));
    }
    Ok(Bind::Decimal { scale, target_scale: u8::try_from(target_scale).unwrap_or(38) })
}

/// The target's labels, when all that the source may send are among them.
fn labels(source: &WriterColumn, column: &TargetColumn) -> Result<Arc<Labels>, String> {
    let ty = &column.column_type;
    let labels = Labels::parse(ty).ok_or_else(|| format!("the labels of {ty} cannot be read"))?;
    let lacking = labels.lacking(&source.labels);
    if lacking.is_empty() {
        return Ok(Arc::new(labels));
    }
    let lost = if labels.may_be_lost() {
        " (the server's dictionary shows characters beyond U+FFFF as ?, so such labels cannot be used)"
    } else {
        ""
    };
    Err(format!("{ty} lacks labels of the source's: {}{lost}", lacking.join(", ")))
}

fn describe(kind: DatumKind) -> String {
    match kind {
        DatumKind::Int => "an integer".to_owned(),
        DatumKind::Decimal { precision: 20, scale: 0 } => "BIGINT UNSIGNED or DECIMAL(20,0)".to_owned(),
        DatumKind::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        DatumKind::Float => "FLOAT".to_owned(),
        DatumKind::Double => "DOUBLE".to_owned(),
        DatumKind::Date => "DATE".to_owned(),
        DatumKind::TimestampMillis => "DATETIME(3)".to_owned(),
        DatumKind::TimestampMicros => "DATETIME(6)".to_owned(),
        DatumKind::ZonedTimestamp => "TIMESTAMP".to_owned(),
        DatumKind::MicroTime => "TIME".to_owned(),
        DatumKind::Text => "text".to_owned(),
        DatumKind::Bytes => "bytes".to_owned(),
        DatumKind::Bool => "BIT(1)".to_owned(),
        DatumKind::Bits { bits } => format!("BIT({bits})"),
        DatumKind::Year => "YEAR".to_owned(),
        DatumKind::Enum => "ENUM".to_owned(),
        DatumKind::Set => "SET".to_owned(),
        DatumKind::Json => "JSON".to_owned(),
    }
}

/// A little-endian number.
fn bits(bytes: &[u8]) -> Option<u64> {
    let fits = bytes.len() <= 8;
    fits.then(|| bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// What FLOAT(M,D) and DOUBLE(M,D) make of a value.
fn rounded(value: f64, digits: u8) -> Option<f64> {
    format!("{value:.*}", usize::from(digits)).parse().ok()
}

/// Bytes that a value takes in a bulk packet, at most.
pub(crate) fn packet_bytes(value: &Value) -> usize {
    match value {
        Value::NULL => 1,
        Value::Bytes(bytes) => bytes.len() + 10,
        _ => 14,
    }
}

/// Whether two datums are the same value bit for bit.
pub(crate) fn same(a: &Datum<'_>, b: &Datum<'_>) -> bool {
    match (a, b) {
        (Datum::Float(a), Datum::Float(b)) => a.to_bits() == b.to_bits(),
        (Datum::Double(a), Datum::Double(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}
