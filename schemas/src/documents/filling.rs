//! The text that a mapping sets a column to: `{source}`, `{schema}` and `{table}` stand for the names of where a row
//! comes from; `{{` and `}}` for braces.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::table::TableName;

/// A text with names to be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filling(Vec<Bit>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bit {
    Text(String),
    Source,
    Schema,
    Table,
}

impl Filling {
    /// The text for rows of a table of a source.
    pub fn of(&self, source: &str, from: &TableName) -> String {
        let text = |bit: &Bit| match bit {
            Bit::Text(text) => text.clone(),
            Bit::Source => source.to_owned(),
            Bit::Schema => from.schema.clone(),
            Bit::Table => from.table.clone(),
        };
        self.0.iter().map(text).collect()
    }

    /// Whether `{schema}` or `{table}` (as named with the braces) is in it.
    pub(super) fn has(&self, side: &str) -> bool {
        self.0.iter().any(|bit| matches!((bit, side), (Bit::Schema, "{schema}") | (Bit::Table, "{table}")))
    }
}

impl FromStr for Filling {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut bits = Vec::new();
        let mut text = String::new();
        let mut rest = s;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = match c {
                '{' | '}' if after.starts_with(c) => {
                    text.push(c);
                    &after[1..]
                }
                '}' => return Err(format!("{s:?}: a }} that closes nothing; write }}}} for the character")),
                '{' => {
                    let (name, after) = after.split_once('}').ok_or_else(|| format!("{s:?}: a {{ is not closed"))?;
                    if !text.is_empty() {
                        bits.push(Bit::Text(std::mem::take(&mut text)));
                    }
                    bits.push(match name {
                        "source" => Bit::Source,
                        "schema" => Bit::Schema,
                        "table" => Bit::Table,
                        other => {
                            return Err(format!(
                                "{s:?}: there are {{source}}, {{schema}} and {{table}}, not {{{other}}}"
                            ));
                        }
                    });
                    after
                }
                c => {
                    text.push(c);
                    after
                }
            };
        }
        if !text.is_empty() {
            bits.push(Bit::Text(text));
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|bit| match bit {
            Bit::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Bit::Source => f.write_str("{source}"),
            Bit::Schema => f.write_str("{schema}"),
            Bit::Table => f.write_str("{table}"),
        })
    }
}

impl Serialize for Filling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Filling {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filling".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A text in which {source}, {schema} and {table} stand for the names of where a row comes from.",
            "examples": ["eu", "{source}", "{schema}.{table}"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let of = |text: &str| text.parse::<Filling>().unwrap().of("shop", &TableName::new("crm_1", "t{x}"));
        assert_eq!(of("{source}/{schema}.{table}!"), "shop/crm_1.t{x}!");
        assert_eq!(of("{{eu}}"), "{eu}");
        assert_eq!(of(""), "");
        for text in ["", "eu", "{source}-{table}", "{{{schema}}}"] {
            assert_eq!(text.parse::<Filling>().unwrap().to_string(), text);
        }
        for wrong in ["{name}", "{schema", "a}b", "{}"] {
            assert!(wrong.parse::<Filling>().is_err(), "{wrong}");
        }
    }
}
