//! Patterns of table names, `schema.table`: `*` stands for any characters, also none, of a schema's or a table's name.
//!
//! Names compare byte by byte, as on a server with `lower_case_table_names=0`. A name with a `.`, a `*` or another
//! sign of the pattern language in it stands in backquotes, as in SQL; within them every character means itself.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::table::TableName;

/// Signs that mean something in a pattern, or will: a name that contains one is to be quoted.
const SIGNS: &str = "*?[]{}!,'\"";

/// A pattern for `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablePattern {
    schema: Part,
    table: Part,
}

/// Literal text between stars: one piece is a literal name, `["", ""]` is `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part(Vec<String>);

impl TablePattern {
    /// The pattern that matches this table alone.
    pub fn of(table: &TableName) -> Self {
        Self { schema: Part(vec![table.schema.clone()]), table: Part(vec![table.table.clone()]) }
    }

    /// Whether the table matches.
    pub fn matches(&self, table: &TableName) -> bool {
        self.schema.matches(&table.schema) && self.table.matches(&table.table)
    }

    /// The one table that it can match, when it has no `*`.
    pub fn exact(&self) -> Option<TableName> {
        Some(TableName::new(self.schema.exact()?, self.table.exact()?))
    }

    /// The one schema that it can match, when that side has no `*`.
    pub fn exact_schema(&self) -> Option<&str> {
        self.schema.exact()
    }
}

impl Part {
    fn exact(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Leftmost match of each piece in turn: with `*` alone as a wildcard that is complete, no backtracking needed.
    fn matches(&self, name: &str) -> bool {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return false };
        if self.0.len() == 1 {
            return name == first;
        }
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for piece in &self.0[1..self.0.len() - 1] {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }

    /// Reads one part and returns what follows it.
    fn read(text: &str) -> Result<(Self, &str), String> {
        let mut pieces = vec![String::new()];
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '.' => break,
                '`' => {
                    let (name, after) = quoted(rest)?;
                    push(&mut pieces, &name);
                    rest = after;
                    continue;
                }
                '*' => pieces.push(String::new()),
                c if SIGNS.contains(c) || c.is_whitespace() => {
                    return Err(format!("{c:?} has to stand in backquotes when it belongs to a name"));
                }
                c => push(&mut pieces, c.encode_utf8(&mut [0; 4])),
            }
            rest = &rest[c.len_utf8()..];
        }
        if pieces.len() == 1 && pieces.iter().all(String::is_empty) {
            return Err("the name of a schema or table is missing".to_owned());
        }
        Ok((Self(pieces), rest))
    }
}

fn push(pieces: &mut [String], text: &str) {
    if let Some(last) = pieces.last_mut() {
        last.push_str(text);
    }
}

/// The name in backquotes at the head, a doubled backquote standing for one, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let (before, after) = rest.split_once('`').ok_or("a backquote is not closed")?;
        name.push_str(before);
        match after.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Ok((name, after)),
        }
    }
}

impl FromStr for TablePattern {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{s:?} is not a pattern like shop.tb_user or shop.*: {why}");
        let (schema, rest) = Part::read(s).map_err(|e| wrong(&e))?;
        let rest = rest.strip_prefix('.').ok_or_else(|| wrong("schema and table are separated by a dot"))?;
        let (table, rest) = Part::read(rest).map_err(|e| wrong(&e))?;
        if !rest.is_empty() {
            return Err(wrong("a name with a dot stands in backquotes"));
        }
        Ok(Self { schema, table })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, piece) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("*")?;
            }
            let needs_quotes = |c: char| c == '.' || c == '`' || SIGNS.contains(c) || c.is_whitespace();
            if piece.contains(needs_quotes) {
                write!(f, "`{}`", piece.replace('`', "``"))?;
            } else {
                f.write_str(piece)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl TryFrom<String> for TablePattern {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<TablePattern> for String {
    fn from(pattern: TablePattern) -> Self {
        pattern.to_string()
    }
}

impl JsonSchema for TablePattern {
    fn schema_name() -> Cow<'static, str> {
        "TablePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "schema.table, with * for any characters" })
    }
}

/// A line of a source's `tables`: a pattern, or one to leave out, `!schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// Whether what matches is left out.
    pub exclude: bool,
    /// The pattern.
    pub pattern: TablePattern,
}

impl Rule {
    /// Whether the rules let a table through: the last rule that matches decides; without any it is out, unless the
    /// list is empty or begins with an exclusion, that is, takes away from everything.
    pub fn all_admit(rules: &[Self], table: &TableName) -> bool {
        let last = rules.iter().rev().find(|rule| rule.pattern.matches(table));
        last.map_or_else(|| rules.first().is_none_or(|first| first.exclude), |rule| !rule.exclude)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (exclude, pattern) = s.strip_prefix('!').map_or((false, s), |rest| (true, rest));
        Ok(Self { exclude, pattern: pattern.parse()? })
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.exclude { "!" } else { "" }, self.pattern)
    }
}

impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "schema.table, with * for any characters; ! in front leaves out" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, schema: &str, table: &str) -> bool {
        pattern.parse::<TablePattern>().unwrap().matches(&TableName::new(schema, table))
    }

    #[test]
    fn stars_match_any_characters() {
        assert!(matches("shop.*", "shop", "tb_user"));
        assert!(matches("*.*", "", "x"));
        assert!(matches("shop.order_*", "shop", "order_"));
        assert!(matches("s*p.*a*b", "shop", "xaxxb"));
        assert!(!matches("shop.*ab", "shop", "a"));
        assert!(!matches("shop.a*a", "shop", "a"));
        assert!(!matches("shop.tb_user", "shop", "TB_USER"));
        assert!(matches("`my.db`.`a``b*`", "my.db", "a`b*"));
        assert!(!matches("`my.db`.`a*`", "my.db", "ab"));
    }

    #[test]
    fn what_is_not_a_pattern_is_named() {
        for wrong in ["", "shop", "shop.", ".t", "a.b.c", "`a.b", "a.b[0-9]", "a.{x}", "a b.c", "!a.b"] {
            assert!(wrong.parse::<TablePattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let admits = |rules: &[&str], table: &str| {
            let rules: Vec<Rule> = rules.iter().map(|r| r.parse().unwrap()).collect();
            Rule::all_admit(&rules, &TableName::new("shop", table))
        };
        assert!(admits(&[], "t"));
        assert!(admits(&["!shop.audit_*"], "t"));
        assert!(!admits(&["!shop.audit_*"], "audit_1"));
        assert!(admits(&["!shop.audit_*", "shop.audit_1"], "audit_1"));
        assert!(!admits(&["crm.*"], "t"));
        assert!(!admits(&["shop.*", "!shop.t"], "t"));
        assert!(admits(&["shop.*", "!shop.t"], "u"));
    }

    proptest! {
        #[test]
        fn exact_patterns_survive_printing(schema in "[a-z.`*! {é]{1,6}", table in "[a-z.`*!\\[ é]{1,6}") {
            let name = TableName::new(schema, table);
            let pattern = TablePattern::of(&name);
            let again: TablePattern = pattern.to_string().parse().unwrap();
            prop_assert!(again.matches(&name));
            prop_assert_eq!(again.exact(), Some(name));
        }

        #[test]
        fn stars_match_like_a_regex(pattern in "[ab*]{1,6}", name in "[ab]{0,6}") {
            let regex = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(matches(&format!("s.{pattern}"), "s", &name), regex.is_match(&name));
        }
    }
}
