//! Unscaled numbers of any length as decimal text.

/// Two's complement, big-endian.
pub(super) fn integer(bytes: &[u8]) -> Option<i128> {
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
pub(super) fn decimal_text(bytes: &[u8], scale: u8) -> Vec<u8> {
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
