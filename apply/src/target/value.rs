//! From datums to values of statements: one [`Bind`] per mapped column, compiled from the writer's kind and the
//! target's type.
//!
//! Two rules. A pair of types that would change values without an error is refused when the mapping is resolved; where
//! only some values would be changed (fraction digits, padding, trailing spaces of CHAR), each value is checked before
//! it is sent. And a column always binds as the same protocol type, because a bulk statement declares types once.

use mysql_async::Value;
use schemas::decode::{Datum, DatumKind};

use super::columns::TargetColumn;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How the datums of a column become values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// `trims`: CHAR drops trailing spaces.
    Text {
        trims: bool,
    },
    /// `exact`: BINARY(n) pads shorter values.
    Bytes {
        exact: Option<u64>,
    },
}

/// Why a value cannot be written; the text names no value.
pub(crate) type Unfit = &'static str;

impl Bind {
    /// How `kind` is written to `column`, or why it cannot be.
    pub(crate) fn new(kind: DatumKind, column: &TargetColumn) -> Result<Self, String> {
        let ty = column.data_type.as_str();
        let integer = matches!(ty, "tinyint" | "smallint" | "mediumint" | "int" | "bigint");
        let step = 10_i64.pow(6 - u32::from(column.fraction_digits.min(6)));
        let digits = column.scale.and_then(|scale| u8::try_from(scale).ok());
        let bind = match (kind, ty) {
            (DatumKind::Int, _) if integer => Self::Integer,
            (DatumKind::Int, "decimal") => Self::Integer,
            (DatumKind::Decimal { scale: 0, .. }, _) if integer => {
                Self::IntegerFromDecimal { unsigned: column.column_type.contains("unsigned") }
            }
            (DatumKind::Decimal { precision, scale }, "decimal") => return decimal(precision, scale, column),
            (DatumKind::Float, "float") => Self::Float { digits, double: false },
            (DatumKind::Float, "double") => Self::Float { digits, double: true },
            (DatumKind::Double, "double") => Self::Double { digits },
            (DatumKind::Date, "date" | "datetime") => Self::Date,
            (DatumKind::TimestampMillis, "datetime") => Self::DateTime { unit: 1000, step },
            (DatumKind::TimestampMicros, "datetime") => Self::DateTime { unit: 1, step },
            (DatumKind::ZonedTimestamp, "timestamp" | "datetime") => Self::Zoned { step },
            (DatumKind::MicroTime, "time") => Self::Time { step },
            (DatumKind::Text, "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext") => {
                Self::Text { trims: ty == "char" }
            }
            (DatumKind::Bytes, "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob") => {
                Self::Bytes { exact: None }
            }
            (DatumKind::Bytes, "binary") => Self::Bytes { exact: Some(column.octets) },
            _ => return Err(format!("{} cannot hold {} unchanged", column.column_type, describe(kind))),
        };
        Ok(bind)
    }

    /// The value for a parameter.
    pub(crate) fn value(self, datum: &Datum<'_>) -> Result<Value, Unfit> {
        Ok(match (self, *datum) {
            (_, Datum::Null) => Value::NULL,
            (Self::Integer, Datum::Int(v)) => Value::Int(v),
            (Self::IntegerFromDecimal { unsigned: true }, Datum::Decimal(bytes)) => {
                Value::UInt(integer(bytes).and_then(|v| u64::try_from(v).ok()).ok_or("out of range")?)
            }
            (Self::IntegerFromDecimal { unsigned: false }, Datum::Decimal(bytes)) => {
                Value::Int(integer(bytes).and_then(|v| i64::try_from(v).ok()).ok_or("out of range")?)
            }
            (Self::Decimal { scale, .. }, Datum::Decimal(bytes)) => Value::Bytes(decimal_text(bytes, scale)),
            (Self::Float { digits, double }, Datum::Float(v)) => {
                if !digits.is_none_or(|d| rounded(f64::from(v), d).is_some_and(|r| r as f32 == v)) {
                    return Err("has more digits than the column keeps");
                }
                if double { Value::Double(f64::from(v)) } else { Value::Float(v) }
            }
            (Self::Double { digits }, Datum::Double(v)) => {
                if !digits.is_none_or(|d| rounded(v, d) == Some(v)) {
                    return Err("has more digits than the column keeps");
                }
                Value::Double(v)
            }
            (Self::Date, Datum::Int(days)) => date(days, 0)?,
            (Self::DateTime { unit, step }, Datum::Int(v)) => {
                let micros = v.checked_mul(unit).ok_or("is no date")?;
                fits(micros, step)?;
                date(micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))?
            }
            (Self::Zoned { step }, Datum::Text(text)) => zoned(text, step)?,
            (Self::Time { step }, Datum::Int(micros)) => {
                fits(micros, step)?;
                time(micros)?
            }
            (Self::Text { trims }, Datum::Text(text)) => {
                if trims && text.ends_with(' ') {
                    return Err("ends in a space, which CHAR drops");
                }
                Value::Bytes(text.as_bytes().to_vec())
            }
            (Self::Bytes { exact }, Datum::Bytes(bytes)) => {
                if exact.is_some_and(|n| n != bytes.len() as u64) {
                    return Err("is not as long as the BINARY column, which pads it");
                }
                Value::Bytes(bytes.to_vec())
            }
            _ => return Err("is not of the type that its schema says"),
        })
    }

    /// The value for a comparison with the column, as a parameter: FLOAT compares as DOUBLE.
    pub(crate) fn key_value(self, datum: &Datum<'_>) -> Result<Value, Unfit> {
        Ok(match self.value(datum)? {
            Value::NULL => return Err("is NULL in the target's key"),
            Value::Float(v) => Value::Double(f64::from(v)),
            other => other,
        })
    }

    /// The placeholder for a comparison with the column: a decimal must not be compared as text, which means as double.
    pub(crate) fn key_placeholder(self) -> String {
        match self {
            Self::Decimal { target_scale, .. } => format!("CAST(? AS DECIMAL(65,{target_scale}))"),
            _ => "?".to_owned(),
        }
    }

    /// The value for a comparison with the column, as text of a statement.
    pub(crate) fn key_literal(self, datum: &Datum<'_>, sql: &mut String) -> Result<(), Unfit> {
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

fn decimal(precision: u8, scale: u8, column: &TargetColumn) -> Result<Bind, String> {
    let target_scale = column.scale.unwrap_or(0);
    let whole = u64::from(precision.saturating_sub(scale));
    if target_scale < u64::from(scale) || column.precision.saturating_sub(target_scale) < whole {
        return Err(format!("{} cannot hold DECIMAL({precision},{scale}) unchanged", column.column_type));
    }
    Ok(Bind::Decimal { scale, target_scale: u8::try_from(target_scale).unwrap_or(38) })
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

/// What FLOAT(M,D) and DOUBLE(M,D) make of a value.
fn rounded(value: f64, digits: u8) -> Option<f64> {
    format!("{value:.*}", usize::from(digits)).parse().ok()
}

fn fits(micros: i64, step: i64) -> Result<(), Unfit> {
    if micros % step == 0 { Ok(()) } else { Err("has more fraction digits than the column keeps") }
}

/// Two's complement, big-endian.
fn integer(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let (head, tail) = bytes.split_at(bytes.len().saturating_sub(16));
    let fill = if negative { 0xff } else { 0 };
    let sign_kept = tail.first().is_none_or(|b| (b & 0x80 != 0) == negative);
    if head.iter().any(|&b| b != fill) || !sign_kept {
        return None;
    }
    Some(tail.iter().fold(if negative { -1 } else { 0 }, |value, &b| (value << 8) | i128::from(b)))
}

/// Two's complement, big-endian, as decimal text with `scale` digits after the point.
fn decimal_text(bytes: &[u8], scale: u8) -> Vec<u8> {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let mut digits = match integer(bytes) {
        Some(value) => value.unsigned_abs().to_string().into_bytes(),
        None => long_magnitude(bytes, negative),
    };
    let scale = usize::from(scale);
    if digits.len() <= scale {
        let zeros = scale + 1 - digits.len();
        digits.splice(0..0, std::iter::repeat_n(b'0', zeros));
    }
    if scale > 0 {
        digits.insert(digits.len() - scale, b'.');
    }
    if negative {
        digits.insert(0, b'-');
    }
    digits
}

/// Decimal digits of the magnitude of a number beyond 128 bits.
fn long_magnitude(bytes: &[u8], negative: bool) -> Vec<u8> {
    let mut magnitude: Vec<u8> = bytes.iter().map(|b| if negative { !b } else { *b }).collect();
    if negative {
        for byte in magnitude.iter_mut().rev() {
            let (next, carry) = byte.overflowing_add(1);
            *byte = next;
            if !carry {
                break;
            }
        }
    }
    let mut digits = Vec::with_capacity(80);
    while magnitude.iter().any(|&b| b != 0) {
        let mut rest = 0_u32;
        for byte in &mut magnitude {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(b'0' + rest as u8);
    }
    digits.reverse();
    digits
}

/// Days since 1970-01-01 and microseconds of the day as a value; years 1 to 9999.
fn date(days: i64, micros: i64) -> Result<Value, Unfit> {
    if !(-719_162..=2_932_896).contains(&days) {
        return Err("is no date between the years 1 and 9999");
    }
    // Days of eras of 400 years from 0000-03-01; the year begins in March, so that leap days come last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let seconds = micros / 1_000_000;
    Ok(Value::Date(
        year as u16,
        month as u8,
        day as u8,
        (seconds / 3600) as u8,
        (seconds / 60 % 60) as u8,
        (seconds % 60) as u8,
        (micros % 1_000_000) as u32,
    ))
}

/// `2024-01-02T03:04:05[.123456]Z`.
fn zoned(text: &str, step: i64) -> Result<Value, Unfit> {
    const NO: Unfit = "is not a timestamp in UTC";
    let rest = text.strip_suffix('Z').ok_or(NO)?;
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let bytes = whole.as_bytes();
    if bytes.len() != 19 || bytes[4] != b'-' || bytes[7] != b'-' || bytes[10] != b'T' || fraction.len() > 9 {
        return Err(NO);
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = whole.get(range)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse::<u16>().ok() } else { None }
    };
    let field = |range| number(range).and_then(|v| u8::try_from(v).ok()).ok_or(NO);
    let nanos: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().map_err(|_| NO)? };
    if nanos % 1000 != 0 || nanos < 0 {
        return Err(NO);
    }
    fits(nanos / 1000, step)?;
    let year = number(0..4).ok_or(NO)?;
    let micros = (nanos / 1000) as u32;
    Ok(Value::Date(year, field(5..7)?, field(8..10)?, field(11..13)?, field(14..16)?, field(17..19)?, micros))
}

/// Signed microseconds, up to 838:59:59.999999 either way.
fn time(micros: i64) -> Result<Value, Unfit> {
    let magnitude = micros.unsigned_abs();
    let seconds = magnitude / 1_000_000;
    if seconds >= 839 * 3600 {
        return Err("is beyond the range of TIME");
    }
    Ok(Value::Time(
        micros < 0,
        (seconds / 86_400) as u32,
        (seconds / 3600 % 24) as u8,
        (seconds / 60 % 60) as u8,
        (seconds % 60) as u8,
        (magnitude % 1_000_000) as u32,
    ))
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
