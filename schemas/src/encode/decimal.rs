//! DECIMAL as row images hold it, to the unscaled number.
//!
//! The image has the digits in big-endian groups of nine (four bytes), with a shorter group at each end. The highest
//! bit is inverted; for a negative number all bits are. A group above its number of digits is [`Fault::Corrupt`].

use super::fault::{Fault, SHORT};
use super::write::put_bytes;

/// Bytes of a group by its digits.
const GROUP_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const POWERS: [u32; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Digits that fit into 128 bits with a sign.
const NARROW: u8 = 38;

/// The most bytes of an unscaled number: 65 digits and a sign need 217 bits.
pub(super) const UNSCALED_BYTES: usize = 28;
/// The longest text of [`Decimal::text`]: sign, a zero, point, 65 digits.
pub(super) const TEXT_BYTES: usize = 68;

/// DECIMAL(precision, scale).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: u8,
    pub(super) scale: u8,
}

impl Decimal {
    /// Bytes in the image.
    pub(super) fn width(self) -> u8 {
        self.groups().map(|digits| GROUP_BYTES[digits]).sum()
    }

    /// Digits of each group, in order.
    fn groups(self) -> impl Iterator<Item = usize> {
        let (before, after) = (usize::from(self.precision.saturating_sub(self.scale)), usize::from(self.scale));
        let full = std::iter::repeat_n(9, before / 9 + after / 9);
        std::iter::once(before % 9).chain(full).chain(std::iter::once(after % 9))
    }

    /// Calls `group(10^digits, value)` in order and returns whether the number is negative.
    fn read(self, value: &[u8], mut group: impl FnMut(u32, u32)) -> Result<bool, Fault> {
        let first = *value.first().ok_or(SHORT)?;
        let negative = first & 0x80 == 0;
        let mask = if negative { 0xff } else { 0x00 };
        let mut flip = mask ^ 0x80;
        let mut rest = value;
        for digits in self.groups() {
            let (bytes, tail) = rest.split_at_checked(usize::from(GROUP_BYTES[digits])).ok_or(SHORT)?;
            rest = tail;
            let mut number = 0_u32;
            for byte in bytes {
                number = number << 8 | u32::from(byte ^ flip);
                flip = mask;
            }
            if number >= POWERS[digits] {
                return Err(Fault::Corrupt("a DECIMAL group with too many digits"));
            }
            group(POWERS[digits], number);
        }
        Ok(negative)
    }

    /// Appends Avro's decimal: length and the shortest two's complement, big-endian.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.precision <= NARROW {
            let mut number = 0_i128;
            let negative = self.read(value, |power, group| number = number * i128::from(power) + i128::from(group))?;
            put_number(if negative { -number } else { number }, out);
            return Ok(());
        }
        let mut number = [0_u64; 4];
        let negative = self.read(value, |power, group| multiply_add(&mut number, power, group))?;
        if negative {
            negate(&mut number);
        }
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(number.iter().rev()) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        put_bytes(shortest(&bytes), out);
        Ok(())
    }

    /// Writes the number as text without zeros at either end, and returns how many bytes are used: `-1.5`, `0`, `120`.
    pub(super) fn text(self, value: &[u8], text: &mut [u8; TEXT_BYTES]) -> Result<usize, Fault> {
        self.print(value, text, |after| after.len() - after.iter().rev().take_while(|digit| **digit == b'0').count())
    }

    /// Writes the number as the server prints it, with all digits of its scale: `-1.50`, `0`, `120`.
    pub(super) fn plain(self, value: &[u8], text: &mut [u8; TEXT_BYTES]) -> Result<usize, Fault> {
        self.print(value, text, <[u8]>::len)
    }

    fn print(self, value: &[u8], text: &mut [u8; TEXT_BYTES], kept: impl Fn(&[u8]) -> usize) -> Result<usize, Fault> {
        let mut digits = [b'0'; 65];
        let mut at = 0;
        let negative = self.read(value, |power, group| {
            let mut power = power / 10;
            while power > 0 {
                if let Some(place) = digits.get_mut(at) {
                    *place = b'0' + (group / power % 10).to_le_bytes()[0];
                }
                at += 1;
                power /= 10;
            }
        })?;
        let point = usize::from(self.precision.saturating_sub(self.scale));
        let (before, after) = digits[..usize::from(self.precision)].split_at(point);
        let before = &before[before.iter().take_while(|digit| **digit == b'0').count()..];
        let zero = before.is_empty() && after.iter().all(|digit| *digit == b'0');
        let after = &after[..kept(after)];
        let mut used = 0;
        let mut put = |bytes: &[u8]| {
            text[used..used + bytes.len()].copy_from_slice(bytes);
            used += bytes.len();
        };
        if negative && !zero {
            put(b"-");
        }
        put(if before.is_empty() { b"0" } else { before });
        if !after.is_empty() {
            put(b".");
            put(after);
        }
        Ok(used)
    }
}

/// Appends a number as Avro's decimal.
pub(super) fn put_number(number: i128, out: &mut Vec<u8>) {
    put_bytes(shortest(&number.to_be_bytes()), out);
}

/// Two's complement without the leading bytes that only repeat the sign; at least one byte.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        match tail.first() {
            Some(next) if (*first == 0x00 && next & 0x80 == 0) || (*first == 0xff && next & 0x80 != 0) => rest = tail,
            _ => break,
        }
    }
    rest
}

/// `number * factor + addend`, in limbs from the lowest; 65 digits never overflow 256 bits.
fn multiply_add(number: &mut [u64; 4], factor: u32, addend: u32) {
    let mut carry = u128::from(addend);
    for limb in number {
        let wide = u128::from(*limb) * u128::from(factor) + carry;
        *limb = wide as u64; // the low half; the high half is carried
        carry = wide >> 64;
    }
}

fn negate(number: &mut [u64; 4]) {
    let mut carry = true;
    for limb in number {
        (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's own bytes for 1234567890.1234 in DECIMAL(14,4), from its manual.
    const POSITIVE: [u8; 7] = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
    const NEGATIVE: [u8; 7] = [0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d];
    const MANUAL: Decimal = Decimal { precision: 14, scale: 4 };

    fn text(decimal: Decimal, value: &[u8]) -> String {
        let mut text = [0; TEXT_BYTES];
        let used = decimal.text(value, &mut text).expect("valid");
        String::from_utf8(text[..used].to_vec()).expect("ascii")
    }

    #[test]
    fn the_manuals_example() {
        assert_eq!(MANUAL.width(), 7);
        for (bytes, expected) in [(POSITIVE, 12_345_678_901_234_i128), (NEGATIVE, -12_345_678_901_234)] {
            let mut out = vec![];
            MANUAL.write(&bytes, &mut out).expect("valid");
            let mut wanted = vec![];
            put_number(expected, &mut wanted);
            assert_eq!(out, wanted);
        }
        assert_eq!(text(MANUAL, &POSITIVE), "1234567890.1234");
        assert_eq!(text(MANUAL, &NEGATIVE), "-1234567890.1234");
    }

    #[test]
    fn numbers_take_the_fewest_bytes() {
        let cases: [(i128, &[u8]); 7] = [
            (0, &[2, 0]),
            (127, &[2, 0x7f]),
            (128, &[4, 0, 0x80]),
            (-128, &[2, 0x80]),
            (-129, &[4, 0xff, 0x7f]),
            (-1, &[2, 0xff]),
            (18_446_744_073_709_551_615, &[18, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (number, expected) in cases {
            let mut out = vec![];
            put_number(number, &mut out);
            assert_eq!(out, expected, "{number}");
        }
    }

    #[test]
    fn zero_has_no_sign_and_groups_have_bounds() {
        let one = Decimal { precision: 2, scale: 1 };
        assert_eq!(text(one, &[0x80, 0x00]), "0");
        assert_eq!(text(one, &[0x7f, 0xff]), "0");
        assert_eq!(text(one, &[0x80, 0x05]), "0.5");
        assert_eq!(one.write(&[0x8a, 0], &mut vec![]), Err(Fault::Corrupt("a DECIMAL group with too many digits")));
    }
}
