//! MySQL's binary JSON to the text that the server prints: `CAST(column AS CHAR)`, byte for byte.
//!
//! A value is a type byte and its contents; objects and arrays have a table of offsets, counted from their own head, in
//! two bytes or (the large form) four. Keys stand in the order of the document: by length, then bytes. Columns that
//! got their rows before JSON could be NULL hold nothing at all, which is `null`.
//!
//! Hostile bytes end in [`Fault::Corrupt`]: offsets may point anywhere, so depth is bounded as the server bounds it, and
//! all parts together may not have more bytes than the document, which parts that lie side by side never do.

use super::decimal::{Decimal, TEXT_BYTES};
use super::fault::Fault;
use super::temporal;

const CORRUPT: Fault = Fault::Corrupt("JSON that contradicts itself");
/// The server's own bound.
const DEPTH: u32 = 100;

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

/// Column types of opaque values that have a text of their own.
const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const NEWDECIMAL: u8 = 246;

/// Appends the document's text. May leave a part behind when it fails.
pub(super) fn write(document: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let Some((&kind, contents)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    Printer { budget: document.len(), out }.value(kind, contents, 0)
}

struct Printer<'a> {
    /// Bytes that parts may still have.
    budget: usize,
    out: &'a mut Vec<u8>,
}

impl Printer<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(bytes).ok_or(CORRUPT)?;
        Ok(())
    }

    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        use std::io::Write;
        // writing to a vector does not fail
        drop(self.out.write_fmt(text));
    }

    fn value(&mut self, kind: u8, contents: &[u8], depth: u32) -> Result<(), Fault> {
        match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => self.container(kind, contents, depth),
            LITERAL => {
                let text: &[u8] = match contents.first() {
                    Some(0) => b"null",
                    Some(1) => b"true",
                    Some(2) => b"false",
                    _ => return Err(CORRUPT),
                };
                self.out.extend_from_slice(text);
                Ok(())
            }
            INT16 | UINT16 | INT32 | UINT32 | INT64 | UINT64 | DOUBLE => self.number(kind, contents),
            STRING => {
                let (text, _) = with_length(contents)?;
                self.spend(text.len())?;
                self.quoted(text)
            }
            OPAQUE => self.opaque(contents),
            _ => Err(CORRUPT),
        }
    }

    fn number(&mut self, kind: u8, contents: &[u8]) -> Result<(), Fault> {
        match kind {
            INT16 => self.print(format_args!("{}", i16::from_le_bytes(head(contents)?))),
            UINT16 => self.print(format_args!("{}", u16::from_le_bytes(head(contents)?))),
            INT32 => self.print(format_args!("{}", i32::from_le_bytes(head(contents)?))),
            UINT32 => self.print(format_args!("{}", u32::from_le_bytes(head(contents)?))),
            INT64 => self.print(format_args!("{}", i64::from_le_bytes(head(contents)?))),
            UINT64 => self.print(format_args!("{}", u64::from_le_bytes(head(contents)?))),
            _ => return self.double(f64::from_le_bytes(head(contents)?)),
        }
        Ok(())
    }

    /// As the server's `my_gcvt`: the shortest digits, plain up to 15 places on either side of the point, and beyond where
    /// there are digits behind the point, with a point in any case; else with an exponent.
    fn double(&mut self, number: f64) -> Result<(), Fault> {
        if !number.is_finite() {
            return Err(CORRUPT);
        }
        let exponent = if number == 0.0 { 0 } else { exponent(number) };
        let whole = number.trunc() == number;
        if exponent >= -15 && (exponent <= 14 || !whole) {
            self.print(format_args!("{number}"));
            if whole {
                self.out.extend_from_slice(b".0");
            }
        } else {
            self.print(format_args!("{number:e}"));
        }
        Ok(())
    }

    fn container(&mut self, kind: u8, contents: &[u8], depth: u32) -> Result<(), Fault> {
        if depth >= DEPTH {
            return Err(CORRUPT);
        }
        let object = kind == SMALL_OBJECT || kind == LARGE_OBJECT;
        let large = kind == LARGE_OBJECT || kind == LARGE_ARRAY;
        let word = if large { 4 } else { 2 };
        let count = number_at(contents, 0, large)?;
        let size = number_at(contents, word, large)?;
        let contents = contents.get(..size).ok_or(CORRUPT)?;
        let keys = 2 * word;
        let values = keys + if object { count.checked_mul(word + 2).ok_or(CORRUPT)? } else { 0 };
        let end = count.checked_mul(word + 1).and_then(|bytes| bytes.checked_add(values));
        if end.is_none_or(|end| end > size) {
            return Err(CORRUPT);
        }
        self.out.push(if object { b'{' } else { b'[' });
        for place in 0..count {
            if place > 0 {
                self.out.extend_from_slice(b", ");
            }
            if object {
                let entry = keys + place * (word + 2);
                let from = number_at(contents, entry, large)?;
                let length = number_at(contents, entry + word, false)?;
                let key = contents.get(from..).and_then(|rest| rest.get(..length)).ok_or(CORRUPT)?;
                self.spend(length)?;
                self.quoted(key)?;
                self.out.extend_from_slice(b": ");
            }
            self.entry(contents, values + place * (word + 1), large, depth)?;
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }

    /// A value by its entry: small ones stand in it, others at the offset that it has.
    fn entry(&mut self, contents: &[u8], entry: usize, large: bool, depth: u32) -> Result<(), Fault> {
        self.spend(1)?;
        let kind = *contents.get(entry).ok_or(CORRUPT)?;
        let inline = matches!(kind, LITERAL | INT16 | UINT16) || (large && matches!(kind, INT32 | UINT32));
        let at = if inline { entry + 1 } else { number_at(contents, entry + 1, large)? };
        self.value(kind, contents.get(at..).ok_or(CORRUPT)?, depth + 1)
    }

    fn quoted(&mut self, text: &[u8]) -> Result<(), Fault> {
        if std::str::from_utf8(text).is_err() {
            return Err(Fault::Corrupt("JSON with a string that is not UTF-8"));
        }
        self.out.push(b'"');
        for byte in text {
            let short = match byte {
                b'"' | b'\\' => *byte,
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0c => b'f',
                b'\r' => b'r',
                0..=0x1f => {
                    self.print(format_args!("\\u{byte:04x}"));
                    continue;
                }
                _ => {
                    self.out.push(*byte);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
        self.out.push(b'"');
        Ok(())
    }

    /// A value of a column type that JSON does not have.
    fn opaque(&mut self, contents: &[u8]) -> Result<(), Fault> {
        let (&kind, rest) = contents.split_first().ok_or(CORRUPT)?;
        let (value, _) = with_length(rest)?;
        self.spend(value.len())?;
        match kind {
            NEWDECIMAL => {
                let &[precision, scale, ref digits @ ..] = value else { return Err(CORRUPT) };
                if !(1..=65).contains(&precision) || scale > precision.min(38) {
                    return Err(CORRUPT);
                }
                let mut text = [0; TEXT_BYTES];
                let used = Decimal { precision, scale }.plain(digits, &mut text)?;
                self.out.extend_from_slice(&text[..used]);
            }
            DATE | DATETIME | TIMESTAMP | TIME => {
                let packed = i64::from_le_bytes(head(value)?);
                let text = match kind {
                    DATE => temporal::packed_datetime(packed, false),
                    TIME => temporal::packed_time(packed),
                    _ => temporal::packed_datetime(packed, true),
                };
                self.print(format_args!("\"{text}\""));
            }
            _ => {
                self.print(format_args!("\"base64:type{kind}:"));
                self.base64(value);
                self.out.push(b'"');
            }
        }
        Ok(())
    }

    /// With the line breaks that the server's own encoder makes, escaped as they stand in a string.
    fn base64(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (place, chunk) in bytes.chunks(3).enumerate() {
            if place > 0 && place % 19 == 0 {
                self.out.extend_from_slice(b"\\n");
            }
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4 {
                let index = bits >> (18 - 6 * digit) & 63;
                self.out.push(if digit as usize > chunk.len() { b'=' } else { DIGITS[index as usize] });
            }
        }
    }
}

/// The decimal exponent of a number's shortest text.
fn exponent(number: f64) -> i32 {
    let text = format!("{number:e}");
    text.rsplit('e').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn head<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.first_chunk().copied().ok_or(CORRUPT)
}

/// A count, size or offset.
fn number_at(bytes: &[u8], at: usize, large: bool) -> Result<usize, Fault> {
    let rest = bytes.get(at..).ok_or(CORRUPT)?;
    if large {
        usize::try_from(u32::from_le_bytes(head(rest)?)).map_err(|_| CORRUPT)
    } else {
        Ok(usize::from(u16::from_le_bytes(head(rest)?)))
    }
}

/// Bytes behind their length: seven bits a byte, lowest first.
fn with_length(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut length = 0_u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let length = usize::try_from(length).map_err(|_| CORRUPT)?;
            return bytes[place + 1..].split_at_checked(length).ok_or(CORRUPT);
        }
    }
    Err(CORRUPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> Result<String, Fault> {
        let mut out = vec![];
        write(document, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn documents_as_the_server_stores_them() {
        // {"a": [1, null, "x\n"]} in the small form
        let document = [
            0, 1, 0, 25, 0, 11, 0, 1, 0, 2, 12, 0, b'a', // object: one key, its value an array at 12
            3, 0, 16, 0, 5, 1, 0, 4, 0, 0, 12, 13, 0, 2, b'x', b'\n',
        ];
        let mut document = document.to_vec();
        document[3] = 28; // size of the object
        assert_eq!(text(&document).expect("valid"), r#"{"a": [1, null, "x\n"]}"#);
        assert_eq!(text(&[]).expect("valid"), "null");
        assert_eq!(text(&[4, 1]).expect("valid"), "true");
    }

    #[test]
    fn doubles_as_the_server_prints_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (-2497932949639995.5, "-2497932949639995.5"),
            (2497932949639995.0, "2.497932949639995e15"),
            (-1.25e-20, "-1.25e-20"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            let document = [&[11][..], &f64::to_le_bytes(number)].concat();
            assert_eq!(text(&document).expect("valid"), expected);
        }
        assert!(text(&[&[11][..], &f64::NAN.to_le_bytes()].concat()).is_err());
    }

    #[test]
    fn arrays_within_themselves_end() {
        // an array of 200 entries, each the array itself
        let mut document = vec![2, 200, 0, 92, 2];
        document.extend([2, 0, 0].repeat(200));
        assert!(text(&document).is_err());
    }
}
