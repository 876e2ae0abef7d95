//! Where tables go: `schema.table` of the target, in which `{schema}` and `{table}` stand for the source table's names.
//!
//! `report.orders` is one table; `{schema}.{table}` the same name at the target; `crm.{schema}_{table}` a name made of both. A
//! name with a sign of this language in it stands in backquotes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::patterns::{Piece, TablePattern, is_sign, must_be_quoted, quoted, write_text};
use crate::table::TableName;

/// Targets of one mapping.
const MAX_TARGETS: usize = 16;

/// A target table's name, made of its source table's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    schema: Vec<Bit>,
    table: Vec<Bit>,
}

/// A stretch of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bit {
    Text(String),
    Schema,
    Table,
}

impl Template {
    /// The template that is this table, whatever the source's.
    pub fn of(table: &TableName) -> Self {
        Self { schema: vec![Bit::Text(table.schema.clone())], table: vec![Bit::Text(table.table.clone())] }
    }

    /// The target of a source table.
    pub fn target(&self, from: &TableName) -> TableName {
        let fill = |bits: &[Bit]| -> String {
            let text = |bit: &Bit| match bit {
                Bit::Text(text) => text.clone(),
                Bit::Schema => from.schema.clone(),
                Bit::Table => from.table.clone(),
            };
            bits.iter().map(text).collect()
        };
        TableName::new(fill(&self.schema), fill(&self.table))
    }

    /// The one table that it is, when it has no variable.
    pub fn exact(&self) -> Option<TableName> {
        match (self.schema.as_slice(), self.table.as_slice()) {
            ([Bit::Text(schema)], [Bit::Text(table)]) => Some(TableName::new(schema, table)),
            _ => None,
        }
    }

    /// The one schema that it can be, when that side has no variable.
    pub fn exact_schema(&self) -> Option<&str> {
        match self.schema.as_slice() {
            [Bit::Text(schema)] => Some(schema),
            _ => None,
        }
    }

    /// The targets of all tables that a pattern matches, as a pattern. It may match more: what is open and stands twice
    /// in the template is open twice.
    pub(super) fn targets(&self, from: &TablePattern) -> TablePattern {
        let (schema, table) = from.sides();
        let fill = |bits: &[Bit]| -> Vec<Piece> {
            let pieces = |bit: &Bit| match bit {
                Bit::Text(text) => vec![Piece::Text(text.clone())],
                Bit::Schema => schema.to_vec(),
                Bit::Table => table.to_vec(),
            };
            bits.iter().flat_map(pieces).collect()
        };
        TablePattern::from_sides(fill(&self.schema), fill(&self.table))
    }

    /// The sides of the source's name that are open in `from` and missing here: two source tables that differ only there
    /// have the same target.
    pub(super) fn merged_sides(&self, from: &TablePattern) -> Vec<&'static str> {
        let has = |bit: &Bit| self.schema.contains(bit) || self.table.contains(bit);
        let table = (from.exact_table().is_none() && !has(&Bit::Table)).then_some("{table}");
        let schema = (from.exact_schema().is_none() && !has(&Bit::Schema)).then_some("{schema}");
        table.into_iter().chain(schema).collect()
    }

    /// The first of them.
    pub(super) fn merges(&self, from: &TablePattern) -> Option<&'static str> {
        self.merged_sides(from).first().copied()
    }
}

fn push(bits: &mut Vec<Bit>, text: &str) {
    match bits.last_mut() {
        Some(Bit::Text(before)) => before.push_str(text),
        _ => bits.push(Bit::Text(text.to_owned())),
    }
}

/// Reads one side and returns what follows it.
fn read(text: &str) -> Result<(Vec<Bit>, &str), String> {
    let mut bits = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '.' => break,
            '`' => {
                let (name, after) = quoted(rest)?;
                push(&mut bits, &name);
                after
            }
            '{' => {
                let (name, after) = rest[1..].split_once('}').ok_or("a { is not closed")?;
                bits.push(match name {
                    "schema" => Bit::Schema,
                    "table" => Bit::Table,
                    other => return Err(format!("there are {{schema}} and {{table}}, not {{{other}}}")),
                });
                after
            }
            '*' | '[' => return Err(format!("{c:?} is for `from`; in `to` write {{schema}} and {{table}}")),
            c if is_sign(c) => return Err(must_be_quoted(c)),
            c => {
                push(&mut bits, c.encode_utf8(&mut [0; 4]));
                &rest[c.len_utf8()..]
            }
        };
    }
    if bits.iter().all(|bit| *bit == Bit::Text(String::new())) {
        return Err("the name of a schema or table is missing".to_owned());
    }
    Ok((bits, rest))
}

impl FromStr for Template {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{s:?} is not a target like shop.tb_user2 or {{schema}}.{{table}}: {why}");
        let (schema, rest) = read(s).map_err(|e| wrong(&e))?;
        let rest = rest.strip_prefix('.').ok_or_else(|| wrong("schema and table are separated by a dot"))?;
        let (table, rest) = read(rest).map_err(|e| wrong(&e))?;
        if !rest.is_empty() {
            return Err(wrong("a name with a dot stands in backquotes"));
        }
        Ok(Self { schema, table })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, side) in [&self.schema, &self.table].into_iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            for bit in side {
                match bit {
                    Bit::Text(text) => write_text(f, text, is_sign)?,
                    Bit::Schema => f.write_str("{schema}")?,
                    Bit::Table => f.write_str("{table}")?,
                }
            }
        }
        Ok(())
    }
}

/// The targets of a mapping, at least one: a template, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Targets(Vec<Template>);

impl Targets {
    /// The templates, in the order of the document.
    pub fn templates(&self) -> &[Template] {
        &self.0
    }

    /// The target tables of a source table, in the order of the document.
    pub fn of(&self, from: &TableName) -> Vec<TableName> {
        self.0.iter().map(|template| template.target(from)).collect()
    }

    /// What types cannot say, about the mapping's `from` too.
    pub(super) fn validate(&self, from: &TablePattern) -> Result<(), String> {
        for (i, template) in self.0.iter().enumerate() {
            if self.0[..i].contains(template) {
                return Err(format!("{template} is there twice"));
            }
            if let Some(schema) = template.exact_schema().filter(|s| super::source::is_system_schema(s)) {
                return Err(format!("{schema} is a system schema"));
            }
        }
        if let Some(table) = from.exact() {
            let targets = self.of(&table);
            if let Some(at) = (1..targets.len()).find(|at| targets[..*at].contains(&targets[*at])) {
                return Err(format!("{} is there twice", targets[at]));
            }
        }
        Ok(())
    }
}

impl From<Template> for Targets {
    fn from(template: Template) -> Self {
        Self(vec![template])
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, template) in self.0.iter().enumerate() {
            write!(f, "{}{template}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [only] = self.0.as_slice() {
            return serializer.collect_str(only);
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for template in &self.0 {
            list.serialize_element(&template.to_string())?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target table or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Targets, E> {
        text.parse().map(|template| Targets(vec![template])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
        let mut templates = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            templates.push(text.parse().map_err(de::Error::custom)?);
        }
        if templates.is_empty() || templates.len() > MAX_TARGETS {
            return Err(de::Error::custom(format!("a mapping has 1 to {MAX_TARGETS} targets")));
        }
        Ok(Targets(templates))
    }
}

impl JsonSchema for Targets {
    fn schema_name() -> Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = "schema.table, with {schema} and {table} for the source table's names";
        json_schema!({
            "description": one,
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 16, "uniqueItems": true }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(template: &str) -> String {
        template.parse::<Template>().unwrap().target(&TableName::new("crm_1", "a.b")).to_string()
    }

    #[test]
    fn names_are_made_of_the_sources() {
        assert_eq!(target("{schema}.{table}"), TableName::new("crm_1", "a.b").to_string());
        assert_eq!(target("crm.{schema}_{table}"), TableName::new("crm", "crm_1_a.b").to_string());
        assert_eq!(target("`x.y`.t"), TableName::new("x.y", "t").to_string());
        assert_eq!(target("x.`{table}`"), TableName::new("x", "{table}").to_string());
        for text in ["a.b", "{schema}.{table}", "crm.{schema}_{table}", "`x.y`.`a``{b}`{table}`*`"] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
        for wrong in ["", "a", "a.", ".b", "a.b.c", "a.*", "a.[b]", "a.{name}", "a.{table", "a.b c", "a.`b", "a.}"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_open_must_be_in_the_target() {
        let merges = |from: &str, to: &str| to.parse::<Template>().unwrap().merges(&from.parse().unwrap());
        assert_eq!(merges("a.b", "c.d"), None);
        assert_eq!(merges("a.t_*", "c.{table}"), None);
        assert_eq!(merges("a.t_[0-3]", "c.d"), Some("{table}"));
        assert_eq!(merges("a_*.*", "c.{table}"), Some("{schema}"));
        assert_eq!(merges("a_*.t", "{schema}.t"), None);
    }

    #[test]
    fn a_pattern_of_targets_covers_them() {
        let targets =
            |from: &str, to: &str| to.parse::<Template>().unwrap().targets(&from.parse().unwrap()).to_string();
        assert_eq!(targets("crm_*.*", "{schema}.{table}"), "crm_*.*");
        assert_eq!(targets("crm_*.t_[00-31]", "crm.{schema}_{table}"), "crm.crm_*_t_[00-31]");
    }
}
