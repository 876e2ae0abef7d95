//! `otter put`: documents from files, all or none of them.

use std::path::PathBuf;

use admin::control::changes::{Action, Change};
use schemas::documents::Document;
use schemas::{Code, Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::{Report, read_text};

/// What was done.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Changes(pub(crate) Vec<Change>);

/// Reads the documents of all files, in the order in which they can be written.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents: Vec<Document> = Vec::new();
    for file in files {
        let found = Document::parse_all(&read_text(file)?)
            .map_err(|e| Error::new(e.code(), format!("{}: {}", file.display(), e.message())).with_source(e))?;
        for document in found {
            if documents.iter().any(|d| d.kind() == document.kind() && d.name() == document.name()) {
                let message = format!("{}: {document} is given twice", file.display());
                return Err(Error::new(Code::DocumentInvalid, message));
            }
            documents.push(document);
        }
    }
    if documents.is_empty() {
        return Err(Error::new(Code::DocumentInvalid, "there is no document in what was given"));
    }
    documents.sort_by_key(Document::kind);
    Ok(documents)
}

impl Report for Changes {
    fn text(&self) -> String {
        let mut text = String::new();
        for change in &self.0 {
            let action = match change.action {
                Action::Created => "created",
                Action::Changed => "changed",
                Action::Unchanged => "unchanged",
            };
            text.push_str(&format!("{} {} {action} (version {})\n", change.kind, change.name, change.version));
            for field in &change.changes {
                text.push_str(&format!("  {}: {} → {}\n", field.path, plain(&field.from), plain(&field.to)));
            }
            for note in &change.notes {
                text.push_str(&format!("  note: {note}\n"));
            }
        }
        text
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::control::changes::{differences, json};
    use schemas::documents::Kind;

    #[test]
    fn changes_are_shown_field_by_field() {
        let read = |text: &str| json(&Document::parse_all(text).expect("valid").remove(0)).expect("JSON");
        let head = "kind: pipeline\nname: users\nsource: shop\ntarget: report\n";
        let old = read(&format!("{head}mappings: [{{from: shop.a, to: shop.b}}]\n"));
        let new = read(&format!(
            "{head}state: paused\nmappings: [{{from: shop.a, to: shop.c}}, {{from: shop.x, to: shop.y}}]\n\
             apply: {{writers: 2}}\n"
        ));
        let change = Change {
            kind: Kind::Pipeline,
            name: "users".into(),
            action: Action::Changed,
            version: 4,
            before: Some(3),
            changes: differences(&old, &new),
            notes: vec!["tables begin anew".to_owned()],
        };
        insta::assert_snapshot!(Changes(vec![change]).text(), @r#"
        pipeline users changed (version 4)
          apply.writers: nothing → 2
          mappings[0].to: shop.b → shop.c
          mappings[1]: nothing → {"from":"shop.x","to":"shop.y"}
          state: nothing → paused
          note: tables begin anew
        "#);
    }
}
