//! Avro's primitives, appended to a buffer.
//!
//! Callers reserve what a row can need at once, so that none of these pushes grows the buffer on its own.

/// The most bytes that an int or a long takes.
pub(super) const LONG_BYTES: usize = 10;

/// Appends an int or a long: zig-zag, seven bits a byte, lowest first.
#[inline]
pub(super) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag.to_le_bytes()[0]);
}

/// Appends bytes or a string: length, then the bytes.
#[inline]
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // a slice never has more than isize::MAX bytes
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends a string of a length that is known once `write` has appended it.
pub(super) fn put_text<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    let done = write(out);
    let end = out.len();
    put_long((end - start) as i64, out);
    let prefix = out.len() - end;
    out[start..].rotate_right(prefix);
    done
}

/// Appends the second branch of `["null", long]`.
pub(super) fn put_some_long(value: i64, out: &mut Vec<u8>) {
    out.push(SECOND);
    put_long(value, out);
}

/// Index of a union's first branch, as Avro writes it.
pub(super) const FIRST: u8 = 0;
/// Index of a union's second branch, as Avro writes it.
pub(super) const SECOND: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_of_every_width() {
        let cases: [(i64, &[u8]); 8] = [
            (0, &[0]),
            (-1, &[1]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-64, &[0x7f]),
            (-65, &[0x81, 0x01]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (value, expected) in cases {
            let mut out = vec![];
            put_long(value, &mut out);
            assert_eq!(out, expected, "{value}");
            assert!(out.len() <= LONG_BYTES);
        }
    }
}
