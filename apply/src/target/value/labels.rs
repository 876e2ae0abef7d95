//! The labels of a target's ENUM or SET column, from the server's dictionary, and values by their numbers.
//!
//! Numbers are written instead of texts: as text `'1'` may count as the first label, and `'A'` as `'a'` by the collation.
//! A label is therefore looked up here, by its very bytes.

use std::collections::HashMap;

/// What the dictionary puts in the place of a character beyond U+FFFF.
const LOST: char = '?';

/// The labels in their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    texts: Vec<String>,
    /// From 1.
    numbers: HashMap<String, u64>,
}

impl Labels {
    /// From a column's type as the dictionary spells it: `enum('a','it''s')`.
    pub(super) fn parse(column_type: &str) -> Option<Self> {
        let (_, list) = column_type.split_once('(')?;
        let mut rest = list.strip_suffix(')')?.chars();
        let mut texts = Vec::new();
        loop {
            if rest.next()? != '\'' {
                return None;
            }
            texts.push(quoted(&mut rest)?);
            match rest.next() {
                None => break,
                Some(',') => {}
                Some(_) => return None,
            }
        }
        let numbers = texts.iter().zip(1..).map(|(text, number)| (text.clone(), number)).collect();
        Some(Self { texts, numbers })
    }

    /// Those of `wanted` that are not among them.
    pub(super) fn lacking<'w>(&self, wanted: &'w [String]) -> Vec<&'w str> {
        wanted.iter().map(String::as_str).filter(|label| !self.numbers.contains_key(*label)).collect()
    }

    /// The label's number, from 1.
    pub(super) fn number(&self, label: &str) -> Option<u64> {
        self.numbers.get(label).copied()
    }

    /// The bits of a SET's text, whose labels may be in another order than here.
    pub(super) fn bits(&self, text: &str) -> Option<u64> {
        if text.is_empty() {
            return Some(0);
        }
        text.split(',').try_fold(0, |bits, label| {
            let number = self.number(label).filter(|number| *number <= 64)?;
            Some(bits | 1 << (number - 1))
        })
    }

    /// A SET's text as the target prints it.
    pub(super) fn text(&self, bits: u64) -> String {
        let labels = self.texts.iter().take(64).enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        labels.map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Whether some label may have a character that the dictionary does not show.
    pub(super) fn may_be_lost(&self) -> bool {
        self.texts.iter().any(|text| text.contains(LOST))
    }
}

/// A text up to its closing quote; within it quotes are doubled and a few characters escaped.
fn quoted(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '\'' if rest.as_str().starts_with('\'') => {
                rest.next();
                text.push('\'');
            }
            '\'' => return Some(text),
            '\\' => text.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                '0' => '\0',
                'Z' => '\x1a',
                other => other,
            }),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_parsed() {
        let labels = Labels::parse(r"enum('it''s','x,y','back\\slash','new\nline','','ünï',')')").expect("labels");
        assert_eq!(labels.texts, ["it's", "x,y", r"back\slash", "new\nline", "", "ünï", ")"]);
        assert_eq!((labels.number("x,y"), labels.number("X,Y"), labels.number("1")), (Some(2), None, None));
        for text in ["enum", "enum()", "enum('a'", "enum('a'x)", "enum(a)", "enum('a',)"] {
            assert_eq!(Labels::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sets_are_put_in_the_targets_order() {
        let labels = Labels::parse("set('b','a','c')").expect("labels");
        assert_eq!((labels.bits("a,b"), labels.bits(""), labels.bits("a,d")), (Some(3), Some(0), None));
        assert_eq!((labels.text(3), labels.text(0), labels.text(6)), ("b,a".into(), String::new(), "a,c".into()));
        assert_eq!(labels.lacking(&["a".into(), "A".into()]), ["A"]);
    }
}
