//! Row images as the server writes them, made from the description of the formats, value by value.

use schemas::charset::Charset;
use schemas::table::{ColumnType, TableStructure};

use crate::rows::Cell;

/// The image of a row with all columns.
pub(crate) fn image(structure: &TableStructure, row: &[Cell]) -> Vec<u8> {
    let mut out = vec![0; row.len().div_ceil(8)];
    for (index, cell) in row.iter().enumerate() {
        if *cell == Cell::Null {
            out[index / 8] |= 1 << (index % 8);
        }
    }
    if !row.len().is_multiple_of(8) {
        // the server sets the bits beyond the last column
        out[row.len() / 8] |= 0xff << (row.len() % 8);
    }
    for (column, cell) in structure.columns.iter().zip(row) {
        put(&column.ty, cell, &mut out);
    }
    out
}

fn put(ty: &ColumnType, cell: &Cell, out: &mut Vec<u8>) {
    match (ty.clone(), cell) {
        (_, Cell::Null) => {}
        (ColumnType::Int { bytes, .. }, Cell::Int(n)) => out.extend(&n.to_le_bytes()[..usize::from(bytes)]),
        (ColumnType::Decimal { precision, scale }, Cell::Decimal { negative, digits }) => {
            decimal(usize::from(precision - scale), *negative, digits, out);
        }
        (ColumnType::Float, Cell::Float(n)) => out.extend(n.to_le_bytes()),
        (ColumnType::Double, Cell::Double(n)) => out.extend(n.to_le_bytes()),
        (ColumnType::Date, Cell::Date(year, month, day)) => {
            let packed = u32::from(year.cast_unsigned()) * 512 + u32::from(month.cast_unsigned()) * 32;
            out.extend(&(packed + u32::from(day.cast_unsigned())).to_le_bytes()[..3]);
        }
        (ColumnType::DateTime { fsp }, Cell::DateTime { date, time, micros }) => {
            let (year, month, day) = (i64::from(date.0), i64::from(date.1), i64::from(date.2));
            let (hour, minute, second) = (i64::from(time.0), i64::from(time.1), i64::from(time.2));
            let ymd = ((year * 13 + month) << 5) | day;
            let hms = (hour << 12) | (minute << 6) | second;
            out.extend(&(((ymd << 17) | hms) + 0x80_0000_0000).to_be_bytes()[3..]);
            fraction(i64::from(*micros), fsp, out);
        }
        (ColumnType::Timestamp { fsp }, Cell::Timestamp { seconds, micros }) => {
            out.extend(seconds.to_be_bytes());
            fraction(i64::from(*micros), fsp, out);
        }
        (ColumnType::Time { fsp }, Cell::Time { negative, hours, minutes, seconds, micros }) => {
            // as the server has it in memory: 24 bits of fraction below the whole, one sign for both
            let hms = i64::from(hours << 12 | minutes << 6 | seconds);
            let packed = (hms << 24) + i64::from(*micros);
            time(if *negative { -packed } else { packed }, fsp, out);
        }
        (ColumnType::Year, Cell::Int(0)) => out.push(0),
        (ColumnType::Year, Cell::Int(year)) => out.push(u8::try_from(year - 1900).expect("a YEAR")),
        (ColumnType::Bit { bits }, Cell::Int(n)) => {
            out.extend(&n.to_be_bytes()[16 - usize::from(bits.div_ceil(8))..]);
        }
        (ColumnType::Enum { length, .. } | ColumnType::Set { length, .. }, Cell::Int(n)) => {
            out.extend(&n.to_le_bytes()[..usize::from(length)]);
        }
        (ColumnType::Json { length_bytes }, Cell::Json(stored, _)) => prefixed(length_bytes, stored, out),
        (ColumnType::Text { length_bytes, charset }, Cell::Text(text)) => {
            let bytes: Vec<u8> = match charset {
                Charset::Latin1 => text.chars().map(|char| u8::try_from(char).expect("as in Unicode")).collect(),
                Charset::Utf16 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                _ => text.clone().into_bytes(),
            };
            prefixed(length_bytes, &bytes, out);
        }
        (ColumnType::Binary { length_bytes, .. }, Cell::Bytes(bytes)) => {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            prefixed(length_bytes, &bytes[..used], out);
        }
        (ColumnType::Bytes { length_bytes }, Cell::Bytes(bytes)) => prefixed(length_bytes, bytes, out),
        (ty, cell) => panic!("{cell:?} in a column of type {ty:?}"),
    }
}

fn prefixed(length_bytes: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(&bytes.len().to_le_bytes()[..usize::from(length_bytes)]);
    out.extend(bytes);
}

/// Two digits a byte, big-endian; the low bits of a negative number as they are in two's complement.
fn fraction(micros: i64, fsp: u8, out: &mut Vec<u8>) {
    match fsp {
        0 => {}
        1 | 2 => out.extend(&(micros / 10_000).to_be_bytes()[7..]),
        3 | 4 => out.extend(&(micros / 100).to_be_bytes()[6..]),
        _ => out.extend(&micros.to_be_bytes()[5..]),
    }
}

fn time(packed: i64, fsp: u8, out: &mut Vec<u8>) {
    if fsp > 4 {
        out.extend(&(packed + 0x8000_0000_0000).to_be_bytes()[2..]);
        return;
    }
    out.extend(&((packed >> 24) + 0x80_0000).to_be_bytes()[5..]);
    fraction(packed % (1 << 24), fsp, out);
}

fn decimal(whole_digits: usize, negative: bool, digits: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let (whole, part) = digits.split_at(whole_digits);
    let (short, groups) = whole.split_at(whole.len() % 9);
    let mut all = vec![short];
    for full in [groups, part] {
        let mut rest = full;
        while !rest.is_empty() {
            let (group, tail) = rest.split_at(rest.len().min(9));
            all.push(group);
            rest = tail;
        }
    }
    for group in all {
        let bytes = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][group.len()];
        let number: u32 = if group.is_empty() { 0 } else { group.parse().expect("digits") };
        out.extend(&number.to_be_bytes()[4 - bytes..]);
    }
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    out[start] ^= 0x80;
}
