//! `otter get`: all documents, those of a kind, or one.

use coordination::Documents;
use schemas::documents::{Document, Kind};
use schemas::{Code, Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::{Report, Selection, stored};
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
    kind: Kind,
    name: String,
    version: i32,
    /// The document as JSON; null when it cannot be read.
    document: Value,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    yaml: String,
    #[serde(skip)]
    summary: String,
}

/// The documents asked for.
pub(crate) async fn get(documents: &Documents, selection: &Selection) -> Result<Got> {
    let mut lines = Vec::new();
    for stored in stored(documents).await? {
        if selection.kinds().any(|kind| kind == stored.kind) && selection.takes(&stored.name) {
            let document = stored.document.map_err(|e| e.to_string());
            lines.push(Line::new(stored.kind, stored.name, stored.version, document)?);
        }
    }
    let Some(name) = &selection.name else { return Ok(Got::Several(lines)) };
    let kind = selection.kind.map_or("document", Kind::as_str);
    match lines.pop() {
        Some(line) => Ok(Got::One(Box::new(line))),
        None => Err(Error::new(Code::NotFound, format!("there is no {kind} {name}"))),
    }
}

impl Line {
    fn new(kind: Kind, name: String, version: i32, document: Result<Document, String>) -> Result<Self> {
        let line = Self {
            kind,
            name,
            version,
            document: Value::Null,
            error: None,
            yaml: String::new(),
            summary: String::new(),
        };
        Ok(match document {
            Ok(document) => Self {
                document: super::put::json(&document)?,
                yaml: document.to_yaml()?,
                summary: summary(&document),
                ..line
            },
            Err(error) => Self { summary: format!("cannot be read: {error}"), error: Some(error), ..line },
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
            let state = serde_json::to_value(d.state).ok();
            let state = state.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
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
            Self::One(line) => match &line.error {
                None => line.yaml.clone(),
                Some(error) => format!("{} {} cannot be read: {error}\n", line.kind, line.name),
            },
            Self::Several(lines) if lines.is_empty() => "There are no documents.\n".to_owned(),
            Self::Several(lines) => {
                let row = |l: &Line| vec![l.kind.to_string(), l.name.clone(), l.version.to_string(), l.summary.clone()];
                align(&["KIND", "NAME", "VERSION", ""], &lines.iter().map(row).collect::<Vec<_>>())
            }
        }
    }

    fn success(&self) -> bool {
        match self {
            Self::One(line) => line.error.is_none(),
            Self::Several(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_documents() {
        let text = "kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{from: a.b, to: c.d}]\n";
        let document = Document::parse_all(text).expect("valid").remove(0);
        let line = || Line::new(Kind::Pipeline, "users".into(), 3, Ok(document.clone())).expect("a line");
        let broken = Line::new(Kind::Source, "old".into(), 0, Err("OT1001: x".into())).expect("a line");
        insta::assert_snapshot!(Got::Several(vec![line(), broken]).text(), @r"
        KIND      NAME   VERSION
        pipeline  users  3        shop → report, 1 mapping, running
        source    old    0        cannot be read: OT1001: x
        ");
        let one = Got::One(Box::new(line())).text();
        assert_eq!(Document::parse_all(&one).expect("valid"), [document]);
    }
}
