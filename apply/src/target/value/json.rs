//! Text that MySQL's JSON column would not give back: the column normalises what it stores.
//!
//! Spaces and the order of keys do not count. What counts: a key that comes twice (the last one stays), a number that is
//! neither a 64-bit integer nor exactly what a double prints back. A text that is not JSON is left to the server, which
//! refuses it.

use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether the column keeps what the text says.
pub(super) fn keeps(text: &str) -> Result<(), &'static str> {
    match serde_json::from_str::<Checked>(text) {
        Ok(_) => numbers(text),
        Err(error) if error.to_string().starts_with(TWICE) => Err("has a key twice, of which a JSON column keeps one"),
        Err(_) => Ok(()),
    }
}

const TWICE: &str = "a key comes twice";

/// A document whose objects have each key once.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Checked;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        let mut keys: HashSet<String> = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            entries.next_value::<Checked>()?;
            if !keys.insert(key) {
                return Err(serde::de::Error::custom(TWICE));
            }
        }
        Ok(Checked)
    }
}

/// Whether every number of valid JSON keeps its digits.
fn numbers(text: &str) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            rest = &string[end_of_string(string)..];
            continue;
        }
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        if !number(&rest[..end]) {
            return Err("has a number with more digits than a JSON column keeps");
        }
        rest = &rest[end..];
    }
    Ok(())
}

/// Where a string that began ends, its quote included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Whether the number is a 64-bit integer, or has the digits that the double next to it shows.
fn number(text: &str) -> bool {
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(double) = text.parse::<f64>() else { return false };
    double.is_finite() && digits(text) == digits(&format!("{double:e}"))
}

/// The digits that count, and the power of ten of the last.
fn digits(text: &str) -> (String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let power = exponent.parse::<i64>().unwrap_or(0) - fraction.len() as i64 + (all.len() - kept.len()) as i64;
    let kept = kept.trim_start_matches('0').to_owned();
    if kept.is_empty() { (kept, 0) } else { (kept, power) }
}

#[cfg(test)]
mod tests {
    use super::keeps;

    #[test]
    fn what_a_json_column_keeps() {
        for text in [
            r#"{"a": 1, "b": {"a": 2}}"#,
            "[1.50, 1e3, -0.1, 0.0, 18446744073709551615, -9223372036854775808]",
            r#""1.00000000000000000000001 \" {\"a\":1,\"a\":2}""#,
            "null",
            "not JSON: the server says so",
        ] {
            assert_eq!(keeps(text), Ok(()), "{text}");
        }
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"[{"x": {"\u0061": 1, "a": 2}}]"#,
            "18446744073709551616",
            "[0.10000000000000000001]",
        ] {
            assert!(keeps(text).is_err(), "{text}");
        }
    }
}
