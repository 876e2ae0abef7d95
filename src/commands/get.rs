//! `otter get`: all documents, those of a kind, or one.

use admin::control::documents::Entry;
use schemas::Result;
use schemas::documents::Document;
use serde::Serialize;

use super::Report;
use crate::table::align;

/// The documents asked for: one as itself, several as a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Got {
    /// One document.
    One(Box<Line>),
    /// A list.
    Several(Vec<Line>),
}

/// A document with its version.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    entry: Entry,
    #[serde(skip)]
    yaml: String,
    #[serde(skip)]
    summary: String,
}

impl Got {
    /// The entries; `one`: they are the one document that was asked for.
    pub(crate) fn new(entries: Vec<Entry>, one: bool) -> Result<Self> {
        let mut lines = entries.into_iter().map(Line::new).collect::<Result<Vec<_>>>()?;
        let single = if one { lines.pop() } else { None };
        Ok(single.map_or(Self::Several(lines), |line| Self::One(Box::new(line))))
    }
}

impl Line {
    fn new(entry: Entry) -> Result<Self> {
        Ok(match &entry.error {
            Some(error) => {
                let summary = format!("cannot be read: {error}");
                Self { entry, yaml: String::new(), summary }
            }
            None => {
                let document = Document::from_value(entry.document.clone())?;
                Self { entry, yaml: document.to_yaml()?, summary: summary(&document) }
            }
        })
    }
}

fn summary(document: &Document) -> String {
    match document {
        Document::Source(d) => {
            let addresses: Vec<_> = d.addresses.iter().map(ToString::to_string).collect();
            addresses.join(", ")
        }
        Document::Target(d) => d.address.to_string(),
        Document::Pipeline(d) => {
            let state = if d.is_paused() { "paused" } else { "running" };
            format!("{} → {}, {}, {state}", d.source, d.target, count(d.mappings.len()))
        }
    }
}

fn count(mappings: usize) -> String {
    if mappings == 1 { "1 mapping".to_owned() } else { format!("{mappings} mappings") }
}

impl Report for Got {
    fn text(&self) -> String {
        match self {
            Self::One(line) => match &line.entry.error {
                None => line.yaml.clone(),
                Some(error) => format!("{} {} cannot be read: {error}\n", line.entry.kind, line.entry.name),
            },
            Self::Several(lines) if lines.is_empty() => "There are no documents.\n".to_owned(),
            Self::Several(lines) => {
                let row = |l: &Line| {
                    let e = &l.entry;
                    vec![e.kind.to_string(), e.name.clone(), e.version.to_string(), l.summary.clone()]
                };
                align(&["KIND", "NAME", "VERSION", ""], &lines.iter().map(row).collect::<Vec<_>>())
            }
        }
    }

    fn success(&self) -> bool {
        match self {
            Self::One(line) => line.entry.error.is_none(),
            Self::Several(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::documents::Kind;
    use serde_json::Value;

    #[test]
    fn lists_and_single_documents() {
        let text = "kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{from: a.b, to: c.d}]\n";
        let document = Document::parse_all(text).expect("valid").remove(0);
        let json = admin::control::changes::json(&document).expect("JSON");
        let entry = Entry { kind: Kind::Pipeline, name: "users".into(), version: 3, document: json, error: None };
        let broken = Entry {
            kind: Kind::Source,
            name: "old".into(),
            version: 0,
            document: Value::Null,
            error: Some("OT1001: x".into()),
        };
        let several = Got::new(vec![entry.clone(), broken], false).expect("a list");
        insta::assert_snapshot!(several.text(), @r"
        KIND      NAME   VERSION
        pipeline  users  3        shop → report, 1 mapping, running
        source    old    0        cannot be read: OT1001: x
        ");
        let one = Got::new(vec![entry], true).expect("one").text();
        assert_eq!(Document::parse_all(&one).expect("valid"), [document]);
    }
}
