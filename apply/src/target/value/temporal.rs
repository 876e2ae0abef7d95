//! Dates and times as values of the protocol.

use mysql_async::Value;
use schemas::civil::civil_from_days;

/// Why a value cannot be written; the text names no value.
type Why = &'static str;

pub(super) fn fits(micros: i64, step: i64) -> Result<(), Why> {
    if micros % step == 0 { Ok(()) } else { Err("has more fraction digits than the column keeps") }
}

/// Days since 1970-01-01 and microseconds of the day as a value; years 1 to 9999.
pub(super) fn date(days: i64, micros: i64) -> Result<Value, Why> {
    if !(-719_162..=2_932_896).contains(&days) {
        return Err("is no date between the years 1 and 9999");
    }
    let (year, month, day) = civil_from_days(days);
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
pub(super) fn zoned(text: &str, step: i64) -> Result<Value, Why> {
    const NO: Why = "is not a timestamp in UTC";
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

/// Signed microseconds, up to 838:59:59.999999 either way, as text: MySQL takes a fraction of the last hour's last but
/// one second for out of range when it comes as a number.
pub(super) fn time(micros: i64) -> Result<String, Why> {
    let magnitude = micros.unsigned_abs();
    let seconds = magnitude / 1_000_000;
    if seconds >= 839 * 3600 {
        return Err("is beyond the range of TIME");
    }
    let sign = if micros < 0 { "-" } else { "" };
    let (hours, minutes, fraction) = (seconds / 3600, seconds / 60 % 60, magnitude % 1_000_000);
    Ok(format!("{sign}{hours:02}:{minutes:02}:{:02}.{fraction:06}", seconds % 60))
}

/// `0000-00-00` or `2026-02-31 00:00:00.5`: what a server prints of a date that no calendar has. The parts are taken as
/// they stand; the target decides about them, by a sql_mode that admits such dates.
pub(super) fn exact(text: &str, step: i64) -> Result<Value, Why> {
    const NO: Why = "is no date or time that `exact` may hold";
    let (day, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut day = day.split('-');
    let mut clock = clock.split(':');
    let year = digits(day.next(), 4).ok_or(NO)?;
    let (month, of_month) = (two(day.next()).ok_or(NO)?, two(day.next()).ok_or(NO)?);
    let (hour, minute, second) =
        (two(clock.next()).ok_or(NO)?, two(clock.next()).ok_or(NO)?, two(clock.next()).ok_or(NO)?);
    let whole = day.next().is_none() && clock.next().is_none();
    if !whole || month > 12 || of_month > 31 || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return Err(NO);
    }
    let micros = if fraction.is_empty() { 0 } else { digits(Some(&format!("{fraction:0<6}")), 6).ok_or(NO)? };
    fits(i64::from(micros), step)?;
    let year = u16::try_from(year).map_err(|_| NO)?;
    Ok(Value::Date(year, month, of_month, hour, minute, second, micros))
}

/// A number of so many digits.
fn digits(text: Option<&str>, count: usize) -> Option<u32> {
    let text = text.filter(|text| text.len() == count && text.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok()
}

fn two(text: Option<&str>) -> Option<u8> {
    digits(text, 2).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_dates() {
        assert_eq!(exact("0000-00-00", 1), Ok(Value::Date(0, 0, 0, 0, 0, 0, 0)));
        assert_eq!(exact("2026-02-31 23:59:58.5", 1), Ok(Value::Date(2026, 2, 31, 23, 59, 58, 500_000)));
        assert_eq!(exact("2020-00-10 00:00:00.000000", 1_000_000), Ok(Value::Date(2020, 0, 10, 0, 0, 0, 0)));
        assert!(exact("2020-00-10 00:00:00.1", 1_000_000).is_err());
        for text in [
            "",
            "0000-00",
            "0000-00-00 ",
            "0000-00-0x",
            "20260231",
            "2026-13-01",
            "2026-02-31 24:00:00",
            "+026-02-31",
            "2026-02-31-01",
            "2026-02-31 1:00:00",
            "2026-02-31T00:00:00",
            "2026-02-31 00:00:00.1234567",
        ] {
            assert!(exact(text, 1).is_err(), "{text}");
        }
    }
}
