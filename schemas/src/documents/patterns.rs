//! Patterns of table names, `schema.table`: `*` stands for any characters, also none, of a schema's or a table's name;
//! `[00-31]` for the numbers of two digits from 00 to 31, `[a-f]` for one letter, `[eu,us,00-09]` for one of several.
//!
//! Names compare byte by byte, as on a server with `lower_case_table_names=0`. A name with a `.`, a `*` or another
//! sign of the pattern language in it stands in backquotes, as in SQL; within them every character means itself.
//!
//! Patterns are ordered by how much they say ([`Specificity`]), so that of several that match a table one is chosen
//! whatever their order in a document. Of two patterns where one matches only tables that the other matches too, it is the
//! narrower one in every case that people write; two that say equally much and meet are for the user to tell apart.

mod meet;
mod part;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::table::TableName;
use part::Part;
pub(super) use part::{Piece, is_sign, must_be_quoted, quoted, write_text};

/// A pattern for `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablePattern {
    schema: Part,
    table: Part,
}

/// How much a pattern says; greater is more specific. Compared in this order: the characters that every match has at
/// least, fewer stars, fewer possibilities of brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    least: usize,
    stars: Reverse<usize>,
    choices: Reverse<u64>,
}

impl TablePattern {
    /// The pattern that matches this table alone.
    pub fn of(table: &TableName) -> Self {
        Self { schema: Part::literal(&table.schema), table: Part::literal(&table.table) }
    }

    /// Whether the table matches.
    pub fn matches(&self, table: &TableName) -> bool {
        self.schema.matches(&table.schema) && self.table.matches(&table.table)
    }

    /// The one table that it can match, when nothing of it is open.
    pub fn exact(&self) -> Option<TableName> {
        Some(TableName::new(self.schema.exact()?, self.table.exact()?))
    }

    /// The one schema that it can match, when that side is not open.
    pub fn exact_schema(&self) -> Option<&str> {
        self.schema.exact()
    }

    /// The one name of a table that it can match, when that side is not open.
    pub fn exact_table(&self) -> Option<&str> {
        self.table.exact()
    }

    /// How much it says.
    pub fn specificity(&self) -> Specificity {
        Specificity {
            least: self.schema.least() + self.table.least(),
            stars: Reverse(self.schema.stars() + self.table.stars()),
            choices: Reverse(self.schema.choices().saturating_mul(self.table.choices())),
        }
    }

    /// All tables that it can match, in order; `None` when it has a star or they are more than `most`.
    pub fn tables(&self, most: usize) -> Option<Vec<TableName>> {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let stars = self.schema.stars() + self.table.stars();
        if stars > 0 || self.schema.choices().saturating_mul(self.table.choices()) > most {
            return None;
        }
        let (schemas, tables) = (self.schema.without_choices(most)?, self.table.without_choices(most)?);
        let names = schemas.iter().flat_map(|schema| tables.iter().map(move |table| (schema, table)));
        names.map(|(schema, table)| Some(TableName::new(schema.exact()?, table.exact()?))).collect()
    }

    /// A table that both match, if one is found; the search is bounded.
    pub fn common(&self, other: &Self) -> Option<TableName> {
        let schema = meet::common(&self.schema, &other.schema)?;
        Some(TableName::new(schema, meet::common(&self.table, &other.table)?))
    }

    /// How much work [`TablePattern::common`] may be, in steps.
    pub(super) fn effort(&self, other: &Self) -> u64 {
        meet::effort(&self.schema, &other.schema).saturating_add(meet::effort(&self.table, &other.table))
    }

    /// Some table that it matches, for examples.
    pub fn some_table(&self) -> TableName {
        TableName::new(self.schema.some_name(), self.table.some_name())
    }

    /// The schema's and the table's side, piece by piece: its text, or `None` for what is open.
    pub fn literals(&self) -> [Vec<Option<&str>>; 2] {
        fn text(piece: &Piece) -> Option<&str> {
            if let Piece::Text(text) = piece { Some(text) } else { None }
        }
        [&self.schema, &self.table].map(|side| side.pieces().iter().map(text).collect())
    }

    pub(super) fn sides(&self) -> (&[Piece], &[Piece]) {
        (self.schema.pieces(), self.table.pieces())
    }

    pub(super) fn from_sides(schema: impl IntoIterator<Item = Piece>, table: impl IntoIterator<Item = Piece>) -> Self {
        Self { schema: Part::of(schema), table: Part::of(table) }
    }
}

impl FromStr for TablePattern {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("{s:?} is not a pattern like shop.tb_user, shop.order_[00-31] or shop.*: {why}");
        let (schema, rest) = Part::read(s).map_err(|e| wrong(&e))?;
        let rest = rest.strip_prefix('.').ok_or_else(|| wrong("schema and table are separated by a dot"))?;
        let (table, rest) = Part::read(rest).map_err(|e| wrong(&e))?;
        if !rest.is_empty() {
            return Err(wrong("a name with a dot stands in backquotes"));
        }
        Ok(Self { schema, table })
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
        json_schema!({ "type": "string", "description": "schema.table; * for any characters, [00-31] and [a,b] for one of several" })
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
        json_schema!({ "type": "string", "description": "schema.table; * for any characters, [00-31] and [a,b] for one of several; ! in front leaves out" })
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
        for wrong in [
            "",
            "shop",
            "shop.",
            ".t",
            "a.b.c",
            "`a.b",
            "a.{x}",
            "a b.c",
            "!a.b",
            "a.b[0-31]",
            "a.b[31-00]",
            "a.[]",
            "a.[x,]",
            "a.[x,x]",
            "a.[a-Z]",
            "a.[x",
            "a.[x.y]",
            "a.[a-b-c]",
            "a.b?",
        ] {
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

    #[test]
    fn brackets_stand_for_one_of_several() {
        assert!(matches("shop.t_[00-31]", "shop", "t_00"));
        assert!(matches("shop.t_[00-31]", "shop", "t_31"));
        assert!(!matches("shop.t_[00-31]", "shop", "t_32"));
        assert!(!matches("shop.t_[00-31]", "shop", "t_7"), "as many digits");
        assert!(matches("[eu,us]_[a-c].t[0-9,`x-y`]*", "us_b", "tx-yz"));
        assert!(!matches("[eu,us].t", "uk", "t"));
        let tables = |p: &str| p.parse::<TablePattern>().unwrap().tables(100);
        let names = tables("s.t_[08-11]").unwrap();
        assert_eq!(names.iter().map(|t| t.table.as_str()).collect::<Vec<_>>(), ["t_08", "t_09", "t_10", "t_11"]);
        assert_eq!(tables("[a,b].[0-9]").map(|t| t.len()), Some(20));
        assert_eq!((tables("s.*"), tables("s.[000-100]")), (None, None));
        assert_eq!("a.[07-07]b".parse::<TablePattern>().unwrap().exact(), Some(TableName::new("a", "07b")));
    }

    /// From the least to the most specific.
    #[test]
    fn the_order_is_what_people_expect() {
        let order = [
            "*.*",
            "*.t*",
            "s*.t*",
            "shop.*",
            "shop.order_*",
            "shop.order_*x",
            "shop.order_[00-31]",
            "shop.order_[05-09]",
            "shop.order_[05,06]",
            "shop.order_05",
        ];
        let order = order.map(|p| p.parse::<TablePattern>().unwrap().specificity());
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }

    #[test]
    fn tables_in_common_are_found() {
        let common = |a: &str, b: &str| {
            let (a, b): (TablePattern, TablePattern) = (a.parse().unwrap(), b.parse().unwrap());
            a.common(&b).map(|t| t.to_string())
        };
        assert_eq!(common("shop.*", "*.user"), Some("shop.user".to_owned()));
        assert_eq!(common("a*.x", "*b.x"), Some("ab.x".to_owned()));
        assert_eq!(common("s.a[1,2]*", "s.*2b"), Some("s.a12b".to_owned()));
        assert_eq!(common("s.t_[00-31]", "s.t_[30-99]"), Some("s.t_30".to_owned()));
        assert_eq!(common("s.*", "s.*"), Some("s.x".to_owned()));
        for (a, b) in [("a*.x", "b*.x"), ("s.*a", "s.*b"), ("s.t_[00-09]", "s.t_1*"), ("s.[a,b]*", "s.c*")] {
            assert_eq!(common(a, b), None, "{a} {b}");
        }
    }

    /// Patterns over few letters, so that they often meet.
    fn pattern() -> impl Strategy<Value = TablePattern> {
        let part = "([ab*]|\\[a,b\\]|\\[0-3\\]|\\[a-b,11-12\\]){1,4}";
        (part, part).prop_map(|(schema, table)| format!("{schema}.{table}").parse().unwrap())
    }

    proptest! {
        #[test]
        fn patterns_survive_printing(pattern in pattern()) {
            prop_assert_eq!(pattern.to_string().parse::<TablePattern>().unwrap(), pattern);
        }

        /// A total order: exactly one of less, equal and greater, and no circles; a single table is never less specific
        /// than a pattern that matches it.
        #[test]
        fn specificity_is_a_total_order(a in pattern(), b in pattern(), c in pattern()) {
            let (x, y, z) = (a.specificity(), b.specificity(), c.specificity());
            prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
            prop_assert!(!(x <= y && y <= z) || x <= z);
            let exact = TablePattern::of(&a.some_table());
            prop_assert!(!b.matches(&a.some_table()) || exact == b || exact.specificity() > b.specificity());
        }

        /// What fills a star in is more specific than the star.
        #[test]
        fn narrower_patterns_are_more_specific(head in "[ab]{0,2}", tail in "[ab]{0,2}", fill in "(a|b|a\\*|\\*b|\\[a,b\\])") {
            let wide: TablePattern = format!("s.{head}*{tail}").parse().unwrap();
            let narrow: TablePattern = format!("s.{head}{fill}{tail}").parse().unwrap();
            prop_assert!(narrow.specificity() > wide.specificity());
        }

        #[test]
        fn expansion_is_what_matches(pattern in pattern(), schema in "[ab0-3]{1,3}", table in "[ab0-3]{1,3}") {
            let name = TableName::new(schema, table);
            if let Some(tables) = pattern.tables(1_000) {
                prop_assert!(tables.iter().all(|t| pattern.matches(t)));
                prop_assert_eq!(tables.contains(&name), pattern.matches(&name));
            }
            prop_assert!(pattern.matches(&pattern.some_table()));
        }

        #[test]
        fn a_common_table_matches_both(a in pattern(), b in pattern(), schema in "[ab0-3]{1,3}", table in "[ab0-3]{1,3}") {
            let name = TableName::new(schema, table);
            match a.common(&b) {
                Some(table) => prop_assert!(a.matches(&table) && b.matches(&table), "{table}"),
                None => prop_assert!(!(a.matches(&name) && b.matches(&name)), "{name}"),
            }
        }

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
