//! One column: how wide its value is in the image, and how it becomes Avro and part of the partition's hash.
//!
//! Never panics on any bytes: what is shorter than it should be, or no server writes, is a [`Fault`].

use super::decimal::{Decimal, TEXT_BYTES, UNSCALED_BYTES, put_number};
use super::fault::{Fault, SHORT};
use super::temporal::{self, ZONED_BYTES, fraction_bytes};
use super::write::{LONG_BYTES, put_bytes, put_long};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    Text,
    Binary(u16),
    Bytes,
}

/// A column's plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnPlan {
    pub(super) width: Width,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

impl ColumnPlan {
    /// The plan for a type; none when the type's parameters are not ones a server has.
    pub(super) fn new(ty: ColumnType, nullable: bool) -> Option<Self> {
        let (width, kind) = match ty {
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
            ColumnType::Text { length_bytes: bytes @ 1..=4 } => (Width::Prefix(bytes), Kind::Text),
            ColumnType::Binary { length, length_bytes: bytes @ 1..=2 } => (Width::Prefix(bytes), Kind::Binary(length)),
            ColumnType::Bytes { length_bytes: bytes @ 1..=4 } => (Width::Prefix(bytes), Kind::Bytes),
            _ => return None,
        };
        Some(Self { width, kind, nullable })
    }

    /// Bytes of Avro that a value takes at most, leaving out the contents of text and bytes of any length.
    pub(super) fn bound(self) -> usize {
        1 + match self.kind {
            Kind::Decimal(_) | Kind::Unsigned64 => 1 + UNSCALED_BYTES,
            Kind::Timestamp(_) => 1 + ZONED_BYTES,
            Kind::Binary(length) => LONG_BYTES + usize::from(length),
            _ => LONG_BYTES,
        }
    }

    /// Appends the value as Avro, without a union's index. May leave a part behind when it fails.
    #[inline]
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
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
            Kind::Text => {
                if std::str::from_utf8(value).is_err() {
                    return Err(Fault::Unsupported("text that is not UTF-8"));
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

    /// Feeds the value's canonical form (docs/formats/partitions.md).
    pub(super) fn canonical(self, value: &[u8], sink: &mut impl Canonical) -> Result<(), Fault> {
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
            Kind::Date => sink.number(Tag::Date, i128::from(temporal::date(value)?)),
            Kind::DateTimeMillis(fsp) | Kind::DateTimeMicros(fsp) => {
                sink.number(Tag::DateTime, i128::from(temporal::datetime(value, fsp)?));
            }
            Kind::Timestamp(fsp) => {
                let (seconds, micros) = temporal::timestamp(value, fsp)?;
                sink.number(Tag::Timestamp, i128::from(seconds * 1_000_000 + micros));
            }
            Kind::Time(fsp) => sink.number(Tag::Time, i128::from(temporal::time(value, fsp)?)),
            Kind::Text => sink.text(value),
            Kind::Binary(_) | Kind::Bytes => sink.bytes(Tag::Bytes, value),
        }
        Ok(())
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
