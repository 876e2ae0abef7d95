//! One column: how wide its value is in the image, and how it becomes Avro and part of the partition's hash.
//!
//! Never panics on any bytes: what is shorter than it should be, or no server writes, is a [`Fault`].

use std::sync::Arc;

use super::decimal::{Decimal, TEXT_BYTES, UNSCALED_BYTES, put_number};
use super::fault::{Fault, SHORT};
use super::json;
use super::temporal::{self, ZONED_BYTES, fraction_bytes};
use super::write::{FIRST, LONG_BYTES, SECOND, put_bytes, put_long, put_text};
use crate::charset::{Charset, Fidelity};
use crate::partition::{Canonical, Tag};
use crate::table::ColumnType;

/// Bytes that a value takes in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// So many.
    Fixed(u8),
    /// A length of 1 to 4 bytes, little-endian, then as many.
    Prefix(u8),
}

impl Width {
    /// The value at the head of `bytes` without its length prefix, and the rest; none when they end early.
    #[inline]
    pub(super) fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = match self {
            Self::Fixed(width) => return bytes.split_at_checked(usize::from(width)),
            Self::Prefix(1) => bytes.split_first().map(|(length, rest)| (u32::from(*length), rest))?,
            Self::Prefix(2) => bytes.split_first_chunk().map(|(b, rest)| (u32::from(u16::from_le_bytes(*b)), rest))?,
            Self::Prefix(3) => {
                bytes.split_first_chunk().map(|(&[a, b, c], rest)| (u32::from_le_bytes([a, b, c, 0]), rest))?
            }
            Self::Prefix(_) => bytes.split_first_chunk().map(|(b, rest)| (u32::from_le_bytes(*b), rest))?,
        };
        rest.split_at_checked(usize::try_from(length).ok()?)
    }
}

/// How a value is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Signed,
    Unsigned,
    Unsigned64,
    Decimal(Decimal),
    Float,
    Double,
    Date,
    DateTimeMillis(u8),
    DateTimeMicros(u8),
    Timestamp(u8),
    Time(u8),
    Year,
    /// BIT(1).
    Bool,
    Bits,
    Enum(Arc<[String]>),
    Set(Arc<[String]>),
    /// Text whose bytes are UTF-8 as they stand.
    Text,
    /// Text to be decoded.
    Encoded(Charset),
    Json,
    Binary(u16),
    Bytes,
}

/// A column's plan.
#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    pub(super) width: Width,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

impl ColumnPlan {
    /// The plan for a type; none when the type's parameters are not ones a server has.
    pub(super) fn new(ty: &ColumnType, nullable: bool) -> Option<Self> {
        let (width, kind) = match *ty {
            ColumnType::Int { bytes: 8, unsigned: true } => (Width::Fixed(8), Kind::Unsigned64),
            ColumnType::Int { bytes: bytes @ (1..=4 | 8), unsigned } => {
                (Width::Fixed(bytes), if unsigned { Kind::Unsigned } else { Kind::Signed })
            }
            ColumnType::Decimal { precision: precision @ 1..=65, scale } if scale <= precision && scale <= 38 => {
                let decimal = Decimal { precision, scale };
                (Width::Fixed(decimal.width()), Kind::Decimal(decimal))
            }
            ColumnType::Float => (Width::Fixed(4), Kind::Float),
            ColumnType::Double => (Width::Fixed(8), Kind::Double),
            ColumnType::Date => (Width::Fixed(3), Kind::Date),
            ColumnType::DateTime { fsp: fsp @ 0..=3 } => {
                (Width::Fixed(5 + fraction_bytes(fsp)), Kind::DateTimeMillis(fsp))
            }
            ColumnType::DateTime { fsp: fsp @ 4..=6 } => {
                (Width::Fixed(5 + fraction_bytes(fsp)), Kind::DateTimeMicros(fsp))
            }
            ColumnType::Timestamp { fsp: fsp @ 0..=6 } => (Width::Fixed(4 + fraction_bytes(fsp)), Kind::Timestamp(fsp)),
            ColumnType::Time { fsp: fsp @ 0..=6 } => (Width::Fixed(3 + fraction_bytes(fsp)), Kind::Time(fsp)),
            ColumnType::Year => (Width::Fixed(1), Kind::Year),
            ColumnType::Bit { bits: 1 } => (Width::Fixed(1), Kind::Bool),
            ColumnType::Bit { bits: bits @ 2..=64 } => (Width::Fixed(bits.div_ceil(8)), Kind::Bits),
            ColumnType::Enum { length: length @ 1..=2, ref labels } => {
                (Width::Fixed(length), Kind::Enum(Arc::clone(labels)))
            }
            ColumnType::Set { length: length @ (1..=4 | 8), ref labels } if labels.len() <= 8 * usize::from(length) => {
                (Width::Fixed(length), Kind::Set(Arc::clone(labels)))
            }
            ColumnType::Text { length_bytes: bytes @ 1..=4, charset } => {
                let kind = if charset == Charset::Utf8 { Kind::Text } else { Kind::Encoded(charset) };
                (Width::Prefix(bytes), kind)
            }
            ColumnType::Json { length_bytes: bytes @ 1..=4 } => (Width::Prefix(bytes), Kind::Json),
            ColumnType::Binary { length, length_bytes: bytes @ 1..=2 } => (Width::Prefix(bytes), Kind::Binary(length)),
            ColumnType::Bytes { length_bytes: bytes @ 1..=4 } => (Width::Prefix(bytes), Kind::Bytes),
            _ => return None,
        };
        Some(Self { width, kind, nullable })
    }

    /// Bytes of Avro that a value takes at most, leaving out the contents of text and bytes of any length.
    pub(super) fn bound(&self) -> usize {
        1 + match self.kind {
            Kind::Decimal(_) | Kind::Unsigned64 => 1 + UNSCALED_BYTES,
            Kind::Timestamp(_) => 1 + ZONED_BYTES,
            Kind::Binary(length) => LONG_BYTES + usize::from(length),
            _ => LONG_BYTES,
        }
    }

    /// Appends the value as Avro, without a union's index. May leave a part behind when it fails, also when the value is
    /// [`Fault::Inexact`].
    #[inline]
    pub(super) fn write(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.kind {
            Kind::Signed => put_long(signed(value)?, out),
            Kind::Unsigned => put_long(unsigned(value)?.cast_signed(), out),
            Kind::Unsigned64 => put_number(i128::from(unsigned(value)?), out),
            Kind::Decimal(decimal) => decimal.write(value, out)?,
            Kind::Float | Kind::Double => out.extend_from_slice(value),
            Kind::Date => put_long(temporal::date(value)?, out),
            Kind::DateTimeMillis(fsp) => put_long(temporal::datetime(value, fsp)?.div_euclid(1000), out),
            Kind::DateTimeMicros(fsp) => put_long(temporal::datetime(value, fsp)?, out),
            Kind::Timestamp(fsp) => {
                let (seconds, micros) = temporal::timestamp(value, fsp)?;
                let mut text = [0; ZONED_BYTES];
                let used = temporal::zoned(seconds, micros, &mut text);
                put_bytes(&text[..used], out);
            }
            Kind::Time(fsp) => put_long(temporal::time(value, fsp)?, out),
            Kind::Year => put_long(year(value)?, out),
            Kind::Bool => out.push(value.first().ok_or(SHORT)? & 1),
            Kind::Bits => {
                put_long(value.len() as i64, out); // at most 8
                out.extend(value.iter().rev());
            }
            Kind::Enum(ref labels) => put_bytes(label(labels, value)?.as_bytes(), out),
            Kind::Set(ref labels) => {
                let length = members(labels, value)?.map(|label| label.len() + 1).sum::<usize>().saturating_sub(1);
                put_long(length as i64, out); // at most 64 labels of a TABLE_MAP
                join(members(labels, value)?, |part| out.extend_from_slice(part));
            }
            Kind::Encoded(charset) => put_text(out, |out| match charset.decode(value, out) {
                Fidelity::Whole => Ok(()),
                _ => Err(Fault::Inexact),
            })?,
            Kind::Json => put_text(out, |out| json::write(value, out))?,
            Kind::Text => {
                if std::str::from_utf8(value).is_err() {
                    return Err(Fault::Inexact);
                }
                put_bytes(value, out);
            }
            Kind::Binary(length) => {
                let padding = usize::from(length).checked_sub(value.len());
                let padding = padding.ok_or(Fault::Corrupt("more bytes than the BINARY column has"))?;
                put_long(i64::from(length), out);
                out.extend_from_slice(value);
                out.resize(out.len() + padding, 0);
            }
            Kind::Bytes => put_bytes(value, out),
        }
        Ok(())
    }

    /// Appends what stands in the field, the union's index included, for a value that it cannot carry: null, or in a
    /// column that is NOT NULL what Debezium puts there; text that merely has other bytes on the way back is itself.
    #[cold]
    pub(super) fn write_fallback(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut text = Vec::new();
        let reads = match self.kind {
            Kind::Encoded(charset) => charset.decode(value, &mut text) != Fidelity::Damaged,
            Kind::Text => Charset::Utf8.decode(value, &mut text) != Fidelity::Damaged,
            _ => false,
        };
        if self.nullable {
            out.push(if reads { SECOND } else { FIRST });
            if !reads {
                return;
            }
        }
        match self.kind {
            Kind::Timestamp(_) => put_bytes(b"1970-01-01T00:00:00Z", out),
            Kind::Text | Kind::Encoded(_) => put_bytes(&text, out),
            _ => put_long(0, out),
        }
    }

    /// What `exact` says of a value, when its field cannot carry it: dates as the server prints them, text as `0x` and
    /// the bytes in hexadecimal.
    #[cold]
    pub(super) fn exact(&self, value: &[u8]) -> Result<Option<String>, Fault> {
        let mut scratch = Vec::new();
        let inexact = match self.kind {
            Kind::Date => temporal::date(value) == Err(Fault::Inexact),
            Kind::DateTimeMillis(fsp) | Kind::DateTimeMicros(fsp) => {
                temporal::datetime(value, fsp) == Err(Fault::Inexact)
            }
            Kind::Timestamp(fsp) => temporal::timestamp(value, fsp) == Err(Fault::Inexact),
            Kind::Text => std::str::from_utf8(value).is_err(),
            Kind::Encoded(charset) => charset.decode(value, &mut scratch) != Fidelity::Whole,
            _ => false,
        };
        if !inexact {
            return Ok(None);
        }
        Ok(Some(match self.kind {
            Kind::Date => temporal::date_text(value)?,
            Kind::DateTimeMillis(fsp) | Kind::DateTimeMicros(fsp) => temporal::datetime_text(value, fsp, fsp)?,
            Kind::Timestamp(fsp) => temporal::zero_text(fsp).to_owned(),
            _ => value.iter().fold(String::from("0x"), |hex, byte| hex + &format!("{byte:02x}")),
        }))
    }

    /// Feeds the value's canonical form (docs/formats/partitions.md).
    pub(super) fn canonical(&self, value: &[u8], sink: &mut impl Canonical) -> Result<(), Fault> {
        match self.kind {
            Kind::Signed => sink.number(Tag::Number, i128::from(signed(value)?)),
            Kind::Unsigned | Kind::Unsigned64 => sink.number(Tag::Number, i128::from(unsigned(value)?)),
            Kind::Decimal(decimal) => {
                let mut text = [0; TEXT_BYTES];
                let used = decimal.text(value, &mut text)?;
                sink.bytes(Tag::Number, &text[..used]);
            }
            Kind::Float => sink.float(f32::from_le_bytes(*value.first_chunk().ok_or(SHORT)?)),
            Kind::Double => sink.float(f64::from_le_bytes(*value.first_chunk().ok_or(SHORT)?)),
            Kind::Date => match temporal::date(value) {
                Err(Fault::Inexact) => sink.bytes(Tag::Date, temporal::date_text(value)?.as_bytes()),
                days => sink.number(Tag::Date, i128::from(days?)),
            },
            Kind::DateTimeMillis(fsp) | Kind::DateTimeMicros(fsp) => match temporal::datetime(value, fsp) {
                Err(Fault::Inexact) => sink.bytes(Tag::DateTime, temporal::datetime_text(value, fsp, 6)?.as_bytes()),
                micros => sink.number(Tag::DateTime, i128::from(micros?)),
            },
            Kind::Timestamp(fsp) => match temporal::timestamp(value, fsp) {
                Err(Fault::Inexact) => sink.number(Tag::Timestamp, 0), // a real one is never 0
                parts => {
                    let (seconds, micros) = parts?;
                    sink.number(Tag::Timestamp, i128::from(seconds * 1_000_000 + micros));
                }
            },
            Kind::Time(fsp) => sink.number(Tag::Time, i128::from(temporal::time(value, fsp)?)),
            Kind::Year => sink.number(Tag::Number, i128::from(year(value)?)),
            Kind::Bool | Kind::Bits => {
                sink.number(Tag::Number, value.iter().fold(0, |number, byte| number << 8 | i128::from(*byte)));
            }
            Kind::Enum(ref labels) => sink.text(label(labels, value)?.as_bytes()),
            Kind::Set(ref labels) => {
                let mut text = Vec::new();
                join(members(labels, value)?, |part| text.extend_from_slice(part));
                sink.text(&text);
            }
            Kind::Encoded(charset) => {
                let mut text = Vec::new();
                match charset.decode(value, &mut text) {
                    Fidelity::Damaged => sink.bytes(Tag::Bytes, value),
                    _ => sink.text(&text),
                }
            }
            Kind::Text if std::str::from_utf8(value).is_ok() => sink.text(value),
            Kind::Text | Kind::Binary(_) | Kind::Bytes | Kind::Json => sink.bytes(Tag::Bytes, value),
        }
        Ok(())
    }
}

/// 0, or the year that a YEAR's byte counts from 1900.
fn year(value: &[u8]) -> Result<i64, Fault> {
    Ok(match *value.first().ok_or(SHORT)? {
        0 => 0,
        since => 1900 + i64::from(since),
    })
}

/// The label of an ENUM's number; 0 is the empty string.
fn label<'a>(labels: &'a [String], value: &[u8]) -> Result<&'a str, Fault> {
    let Some(index) = unsigned(value)?.checked_sub(1) else { return Ok("") };
    let label = usize::try_from(index).ok().and_then(|index| labels.get(index));
    label.map(String::as_str).ok_or(Fault::Corrupt("an ENUM's number beyond its labels"))
}

/// The labels of a SET's bits.
fn members<'a>(labels: &'a [String], value: &[u8]) -> Result<impl Iterator<Item = &'a str>, Fault> {
    let bits = unsigned(value)?;
    if u64::BITS - bits.leading_zeros() > u32::try_from(labels.len()).unwrap_or(u32::MAX) {
        return Err(Fault::Corrupt("a SET's bit beyond its labels"));
    }
    let set = labels.iter().enumerate().filter(move |(place, _)| bits >> place & 1 == 1);
    Ok(set.map(|(_, label)| label.as_str()))
}

/// Hands over the labels with a comma between each two.
fn join<'a>(labels: impl Iterator<Item = &'a str>, mut put: impl FnMut(&[u8])) {
    for (place, label) in labels.enumerate() {
        if place > 0 {
            put(b",");
        }
        put(label.as_bytes());
    }
}

/// A little-endian number of 1 to 8 bytes.
#[inline]
fn unsigned(value: &[u8]) -> Result<u64, Fault> {
    Ok(match *value {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c] => u64::from(u32::from_le_bytes([a, b, c, 0])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => u64::from_le_bytes(*value.first_chunk().ok_or(SHORT)?),
    })
}

/// A little-endian number of 1 to 8 bytes in two's complement.
#[inline]
fn signed(value: &[u8]) -> Result<i64, Fault> {
    let unused = 64_u32.saturating_sub(8 * u32::try_from(value.len()).unwrap_or(8)).min(56);
    Ok((unsigned(value)? << unused).cast_signed() >> unused)
}
