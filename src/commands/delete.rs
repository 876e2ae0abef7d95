//! `otter delete`: one document, unless others refer to it. Topics, positions and progress stay.

use coordination::Documents;
use schemas::documents::Kind;
use schemas::{Code, Error, Result};
use serde::Serialize;

use super::{Report, Selection, stored, world};

/// What was deleted.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    kind: Kind,
    name: String,
}

/// Deletes the document.
pub(crate) async fn delete(documents: &Documents, selection: &Selection) -> Result<Deleted> {
    let (kind, name) = selection.exact()?;
    let stored = stored(documents).await?;
    let referrers = world(&stored);
    let referrers = referrers.referrers(kind, name);
    if !referrers.is_empty() {
        let message = format!("{kind} {name} is used by pipeline {}", referrers.join(", "));
        return Err(Error::new(Code::StillReferenced, message));
    }
    let version = stored.iter().find(|s| s.kind == kind && s.name == name).map(|s| s.version);
    documents.delete(kind, name, version).await?;
    Ok(Deleted { kind, name: name.to_owned() })
}

impl Report for Deleted {
    fn text(&self) -> String {
        let kept = match self.kind {
            Kind::Source => "; its topics and checkpoints stay, and a new source of this name goes on from them",
            Kind::Target => "; its progress table stays",
            Kind::Pipeline => "; its progress stays, and a new pipeline of this name goes on from there",
        };
        format!("{} {} deleted{kept}\n", self.kind, self.name)
    }
}
