//! Confluent's framing: a zero byte, the schema id (four bytes, big-endian), then the Avro datum.

use crate::{Code, Error, Result};

/// Bytes before the Avro datum.
pub const HEADER_BYTES: usize = 5;

/// Appends the header for a schema id.
pub fn put_header(id: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}

/// The schema id and the Avro datum of a framed record.
///
/// # Errors
/// [`Code::RecordInvalid`] when the bytes are shorter than the header or do not begin with the zero byte.
pub fn split(bytes: &[u8]) -> Result<(u32, &[u8])> {
    match bytes {
        [0, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        [first, ..] if *first != 0 => Err(Error::new(
            Code::RecordInvalid,
            format!("the record begins with byte {first:#04x}, not with the 0x00 of the framing"),
        )),
        _ => Err(Error::new(
            Code::RecordInvalid,
            format!("the record has {} bytes, fewer than the {HEADER_BYTES} of the framing", bytes.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back() {
        let mut out = vec![];
        put_header(0x0102_0304, &mut out);
        out.push(9);
        assert_eq!(out, [0, 1, 2, 3, 4, 9]);
        assert_eq!(split(&out).expect("framed"), (0x0102_0304, &[9][..]));
    }

    #[test]
    fn short_and_foreign_records_are_refused() {
        for bytes in [&[][..], &[0], &[0, 0, 0, 1], &[1, 0, 0, 0, 1, 2], b"{\"a\":1}"] {
            let error = split(bytes).expect_err("not framed");
            assert_eq!(error.code(), Code::RecordInvalid);
        }
    }
}
