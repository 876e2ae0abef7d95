//! Dates and times as row images hold them.
//!
//! DATE is 15 bits of year, 4 of month, 5 of day, little-endian. The `*2` types are big-endian with an offset that
//! makes them sort bytewise: TIME2 is 3 bytes, DATETIME2 5, TIMESTAMP2 4 (unsigned seconds), each followed by the
//! fraction in (fsp + 1) / 2 bytes of two digits a byte. A negative TIME is the negated whole, fraction included.
//!
//! Dates with a zero part and dates the calendar does not have are values a server may hold and typed fields cannot:
//! [`Fault::Inexact`]. What no server writes (hour 25, a fraction of a second and more) is [`Fault::Corrupt`].

use super::fault::{Fault, SHORT};
use crate::civil::{civil_from_days, days_from_civil};

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Bytes of the fraction for a number of digits.
pub(super) const fn fraction_bytes(fsp: u8) -> u8 {
    fsp.div_ceil(2)
}

fn days(year: i64, month: i64, day: i64) -> Result<i64, Fault> {
    if month > 12 || year > 9999 {
        return Err(Fault::Corrupt("a date beyond 9999-12-31"));
    }
    if year == 0 || month == 0 || day == 0 {
        return Err(Fault::Inexact);
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > last {
        return Err(Fault::Inexact);
    }
    Ok(days_from_civil(year, month, day))
}

/// Year, month and day of a DATE.
fn date_parts(value: &[u8]) -> Result<(i64, i64, i64), Fault> {
    let &[a, b, c] = value.first_chunk::<3>().ok_or(SHORT)?;
    let packed = i64::from(u32::from_le_bytes([a, b, c, 0]));
    Ok((packed >> 9, packed >> 5 & 15, packed & 31))
}

/// Days since 1970-01-01 of a DATE.
pub(super) fn date(value: &[u8]) -> Result<i64, Fault> {
    let (year, month, day) = date_parts(value)?;
    days(year, month, day)
}

/// A DATE as the server prints it.
pub(super) fn date_text(value: &[u8]) -> Result<String, Fault> {
    let (year, month, day) = date_parts(value)?;
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// Splits the last `fraction_bytes(fsp)` bytes off as microseconds.
fn fraction(value: &[u8], fsp: u8) -> Result<(&[u8], i64), Fault> {
    let bytes = fraction_bytes(fsp);
    let at = value.len().checked_sub(usize::from(bytes)).ok_or(SHORT)?;
    let (whole, fraction) = value.split_at(at);
    let micros = big_endian(fraction) * 10_i64.pow(6 - 2 * u32::from(bytes));
    if micros >= MICROS {
        return Err(Fault::Corrupt("a fraction of a second and more"));
    }
    Ok((whole, micros))
}

/// An unsigned number of at most 7 bytes.
fn big_endian(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |value, byte| value << 8 | i64::from(*byte))
}

/// Year times 13 plus month, day, hour, minute and second as they are packed, the second in the lowest bits.
fn packed_parts(packed: i64) -> (i64, i64, i64, i64, i64) {
    (packed >> 22, packed >> 17 & 31, packed >> 12 & 31, packed >> 6 & 63, packed & 63)
}

/// A DATETIME as the server prints it, with a number of fraction digits.
pub(super) fn datetime_text(value: &[u8], fsp: u8, digits: u8) -> Result<String, Fault> {
    let (whole, micros) = fraction(value, fsp)?;
    let (year_month, day, hour, minute, second) = packed_parts(big_endian(whole) - 0x80_0000_0000);
    let (year, month) = (year_month / 13, year_month % 13);
    let mut text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}");
    text.truncate(text.len() - if digits == 0 { 7 } else { 6 - usize::from(digits.min(6)) });
    Ok(text)
}

/// DATE or DATETIME(6) as a JSON document has it: 24 bits of fraction below the parts.
pub(super) fn packed_datetime(packed: i64, with_time: bool) -> String {
    let (year_month, day, hour, minute, second) = packed_parts(packed >> 24);
    let (year, month, micros) = (year_month / 13, year_month % 13, packed & 0xff_ffff);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if with_time { format!("{date} {hour:02}:{minute:02}:{second:02}.{micros:06}") } else { date }
}

/// TIME(6) as a JSON document has it.
pub(super) fn packed_time(packed: i64) -> String {
    let magnitude = packed.unsigned_abs();
    let (sign, parts, micros) = (if packed < 0 { "-" } else { "" }, magnitude >> 24, magnitude & 0xff_ffff);
    let (hours, minutes, seconds) = (parts >> 12 & 1023, parts >> 6 & 63, parts & 63);
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
}

/// Microseconds since 1970 of a DATETIME, read as UTC.
pub(super) fn datetime(value: &[u8], fsp: u8) -> Result<i64, Fault> {
    let (whole, micros) = fraction(value, fsp)?;
    let packed = big_endian(whole) - 0x80_0000_0000;
    if packed < 0 {
        return Err(Fault::Corrupt("a negative DATETIME"));
    }
    let (year_month, day, hour, minute, second) = packed_parts(packed);
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::Corrupt("a time of day beyond 23:59:59"));
    }
    let seconds = days(year_month / 13, year_month % 13, day)? * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Ok(seconds * MICROS + micros)
}

/// Microseconds of a TIME, signed.
pub(super) fn time(value: &[u8], fsp: u8) -> Result<i64, Fault> {
    let bits = 8 * u32::from(fraction_bytes(fsp));
    if value.len() != 3 + usize::from(fraction_bytes(fsp)) {
        return Err(SHORT);
    }
    let packed = big_endian(value) - (0x80_0000_i64 << bits);
    let magnitude = packed.abs();
    let (whole, fraction) = (magnitude >> bits, magnitude & ((1 << bits) - 1));
    let micros = fraction * 10_i64.pow(6 - bits / 4);
    let (hours, minutes, seconds) = (whole >> 12, whole >> 6 & 63, whole & 63);
    if hours > 838 || minutes > 59 || seconds > 59 || micros >= MICROS {
        return Err(Fault::Corrupt("a TIME beyond 838:59:59.999999"));
    }
    let total = ((hours * 60 + minutes) * 60 + seconds) * MICROS + micros;
    Ok(if packed < 0 { -total } else { total })
}

/// Seconds since 1970 UTC and microseconds of a TIMESTAMP.
pub(super) fn timestamp(value: &[u8], fsp: u8) -> Result<(i64, i64), Fault> {
    let (whole, micros) = fraction(value, fsp)?;
    let seconds = big_endian(whole);
    if seconds == 0 && micros == 0 {
        return Err(Fault::Inexact);
    }
    Ok((seconds, micros))
}

/// The zero TIMESTAMP as the server prints it.
pub(super) fn zero_text(fsp: u8) -> &'static str {
    const ZERO: &str = "0000-00-00 00:00:00.000000";
    &ZERO[..if fsp == 0 { 19 } else { 20 + usize::from(fsp.min(6)) }]
}

/// The longest text of [`zoned`].
pub(super) const ZONED_BYTES: usize = 27;

/// `2024-01-02T03:04:05.12Z` as ISO_OFFSET_DATE_TIME prints it: no trailing zeros in the fraction, no fraction of zero.
/// Returns how many bytes of `text` are used. The year must have four digits, which every TIMESTAMP's has.
pub(super) fn zoned(seconds: i64, micros: i64, text: &mut [u8; ZONED_BYTES]) -> usize {
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    *text = *b"0000-00-00T00:00:00.000000Z";
    digits(year, &mut text[0..4]);
    digits(month, &mut text[5..7]);
    digits(day, &mut text[8..10]);
    digits(of_day / 3600, &mut text[11..13]);
    digits(of_day / 60 % 60, &mut text[14..16]);
    digits(of_day % 60, &mut text[17..19]);
    if micros == 0 {
        text[19] = b'Z';
        return 20;
    }
    digits(micros, &mut text[20..26]);
    let mut end = 26;
    while text[end - 1] == b'0' {
        end -= 1;
    }
    text[end] = b'Z';
    end + 1
}

/// Writes the last digits of a number over a field.
fn digits(mut value: i64, field: &mut [u8]) {
    for place in field.iter_mut().rev() {
        *place = b'0' + (value % 10).to_le_bytes()[0];
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_agree_with_jiff() {
        let first = jiff::civil::date(1, 1, 1);
        let epoch = jiff::civil::date(1970, 1, 1);
        let mut day = first;
        loop {
            let expected = i64::from(epoch.until(day).expect("in range").get_days());
            let (year, month, of_month) = (i64::from(day.year()), i64::from(day.month()), i64::from(day.day()));
            assert_eq!(days(year, month, of_month), Ok(expected), "{day}");
            assert_eq!(civil_from_days(expected), (year, month, of_month), "{day}");
            match day.tomorrow() {
                Ok(next) => day = next,
                Err(_) => break,
            }
        }
        assert_eq!(day, jiff::civil::date(9999, 12, 31));
    }

    #[test]
    fn dates_that_do_not_exist() {
        for (year, month, day) in [(0, 0, 0), (0, 1, 1), (2024, 0, 1), (2024, 1, 0)] {
            assert_eq!(days(year, month, day), Err(Fault::Inexact));
        }
        for (year, month, day) in [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31)] {
            assert_eq!(days(year, month, day), Err(Fault::Inexact));
        }
        for (year, month, day) in [(2024, 13, 1), (10_000, 1, 1)] {
            assert_eq!(days(year, month, day), Err(Fault::Corrupt("a date beyond 9999-12-31")));
        }
    }

    #[test]
    fn times_as_the_server_packs_them() {
        let second = MICROS;
        assert_eq!(time(&[0x80, 0x00, 0x01], 0), Ok(second));
        assert_eq!(time(&[0x7f, 0xff, 0xff], 0), Ok(-second));
        // the server's own example: -00:00:00.01 in TIME(2)
        assert_eq!(time(&[0x7f, 0xff, 0xff, 0xff], 2), Ok(-10_000));
        assert_eq!(time(&[0x7f, 0xff, 0xfe, 0xf6], 2), Ok(-1_100_000));
        assert_eq!(time(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], 6), Ok(-1));
        let most = ((838 * 60 + 59) * 60 + 59) * second;
        assert_eq!(time(&[0xb4, 0x6e, 0xfb], 0), Ok(most));
        assert_eq!(time(&[0xb4, 0x6e, 0xfb, 0x0f, 0x42, 0x3f], 6), Ok(most + 999_999));
        assert_eq!(time(&[0x4b, 0x91, 0x05], 0), Ok(-most));
        assert!(time(&[0xff, 0xff, 0xff], 0).is_err());
        assert!(time(&[0x80, 0x00, 0x3c], 0).is_err());
        assert!(time(&[0x80, 0x00, 0x00, 100], 2).is_err());
    }

    #[test]
    fn zoned_text_trims_zeros() {
        let mut text = [0; ZONED_BYTES];
        let mut print = |seconds, micros| {
            let used = zoned(seconds, micros, &mut text);
            String::from_utf8(text[..used].to_vec()).expect("ascii")
        };
        assert_eq!(print(1_704_164_645, 0), "2024-01-02T03:04:05Z");
        assert_eq!(print(1_704_164_645, 120_000), "2024-01-02T03:04:05.12Z");
        assert_eq!(print(1_704_164_645, 1), "2024-01-02T03:04:05.000001Z");
        assert_eq!(print(0, 500_000), "1970-01-01T00:00:00.5Z");
        assert_eq!(print(4_294_967_295, 999_999), "2106-02-07T06:28:15.999999Z");
    }
}
