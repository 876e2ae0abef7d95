//! Injective escaping of schema, table and column names into what Kafka topics and Avro names can hold.
//!
//! A character that cannot stand becomes `_uXXXX_` (its code point, lower-case hex, four to six digits). So that no
//! name can pass for the escape of another, the `_` of every literal `_u` that four hex digits follow is escaped as
//! well. That is a little more than looking for a whole `_uXXXX_` in the name, and needed: an escape begins with `_`
//! itself, so `_u1234é` would otherwise turn into `_u1234_u00e9_`, which is also the escape of `ሴu00e9_`.
//!
//! Decoding reads from the left: wherever `_u` and four to six hex digits and `_` stand, it is an escape. Escapes begin
//! with `_`, so the `u` and the digits behind a literal `_` are literal too, and then that `_` was escaped.

/// Escapes one component (schema or table) of a topic name: `[A-Za-z0-9_-]` stay.
pub fn topic_component(name: &str) -> String {
    escape(name, |_, c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Escapes a name (a column's) into an Avro name: `[A-Za-z0-9_]` stay, but for a digit in front.
pub fn avro_name(name: &str) -> String {
    escape(name, |i, c| c == '_' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()))
}

/// The Avro namespace of a topic: component by component what [`avro_name`] would make of the original name.
///
/// The components are escaped already, hence only `-` and a digit in front are left to do; escapes stay as they are.
pub fn avro_namespace(topic: &str) -> String {
    let mut out = String::with_capacity(topic.len());
    for (n, component) in topic.split('.').enumerate() {
        if n > 0 {
            out.push('.');
        }
        for (i, c) in component.char_indices() {
            if c == '_' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()) {
                out.push(c);
            } else {
                push_escape(&mut out, c);
            }
        }
    }
    out
}

/// Takes the escapes out again; `None` when an escape does not stand for a character.
pub fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((code, len)) = escape_at(rest) {
            out.push(char::from_u32(code)?);
            rest = &rest[len..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(out)
}

fn escape(name: &str, stays: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, c) in name.char_indices() {
        if stays(i, c) && !(c == '_' && looks_like_escape(&name[i..])) {
            out.push(c);
        } else {
            push_escape(&mut out, c);
        }
    }
    out
}

fn push_escape(out: &mut String, c: char) {
    out.push_str(&format!("_u{:04x}_", u32::from(c)));
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

/// Whether `_u` and four hex digits stand at the head.
fn looks_like_escape(s: &str) -> bool {
    let bytes = s.as_bytes();
    bytes.len() >= 6 && bytes.starts_with(b"_u") && bytes[2..6].iter().copied().all(is_hex)
}

/// The code point and the length of the escape at the head, if there is one.
fn escape_at(s: &str) -> Option<(u32, usize)> {
    let digits = s.strip_prefix("_u")?;
    let end = digits.find('_')?;
    let hex = &digits[..end];
    if !(4..=6).contains(&end) || !hex.bytes().all(is_hex) {
        return None;
    }
    Some((u32::from_str_radix(hex, 16).ok()?, end + 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_use_stays() {
        assert_eq!(topic_component("tb_user-2"), "tb_user-2");
        assert_eq!(topic_component("用户"), "_u7528__u6237_");
        assert_eq!(topic_component("a.b"), "a_u002e_b");
        assert_eq!(topic_component("_u00e9_"), "_u005f_u00e9_");
        assert_eq!(topic_component("x😀"), "x_u1f600_");
        assert_eq!(topic_component("_user"), "_user");
        assert_eq!(avro_name("2nd-name"), "_u0032_nd_u002d_name");
        assert_eq!(avro_namespace("shop.my-db._u00e9_"), "shop.my_u002d_db._u00e9_");
    }

    #[test]
    fn a_literal_before_an_escape_cannot_join_it() {
        assert_ne!(topic_component("_u1234é"), topic_component("ሴu00e9_"));
    }

    proptest! {
        #[test]
        fn escapes_can_be_undone(name in "([_u]|[0-9a-f]{1,5}|_u00e9_|[-.é😀$A-Z]){0,12}") {
            prop_assert_eq!(unescape(&topic_component(&name)), Some(name.clone()));
            prop_assert_eq!(unescape(&avro_name(&name)), Some(name.clone()));
            // The namespace of a topic is what the original component would give.
            prop_assert_eq!(avro_namespace(&topic_component(&name)), avro_name(&name));
        }
    }
}
