//! `otter pause` and `otter resume`: the state in a pipeline's document, by compare-and-set.

use coordination::{Documents, Expected};
use schemas::documents::{Document, Kind, State};
use schemas::{Code, Error, Result};
use serde::Serialize;

use super::{Report, Selection};

/// How often somebody else may have changed the document in between.
const ATTEMPTS: usize = 5;

/// A pipeline's state.
#[derive(Debug, Serialize)]
pub(crate) struct StateSet {
    name: String,
    state: State,
    version: i32,
    changed: bool,
}

/// Sets the state; only that is changed, whatever others change at the same time.
pub(crate) async fn set(documents: &Documents, selection: &Selection, state: State) -> Result<StateSet> {
    let (kind, name) = selection.exact()?;
    if kind != Kind::Pipeline {
        let message = format!("this version pauses and resumes pipelines only, not a {kind}");
        return Err(Error::new(Code::NotSupportedYet, message));
    }
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let found = documents.get(kind, name).await?;
        let Some((version, Document::Pipeline(mut pipeline))) = found.map(|f| (f.version, f.value)) else {
            return Err(Error::new(Code::NotFound, format!("there is no pipeline {name}")));
        };
        let name = name.to_owned();
        if pipeline.state == state {
            return Ok(StateSet { name, state, version, changed: false });
        }
        pipeline.state = state;
        match documents.put(&Document::Pipeline(pipeline), Expected::Version(version)).await {
            Ok(version) => return Ok(StateSet { name, state, version, changed: true }),
            Err(e) if e.code() == Code::VersionConflict => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Code::VersionConflict, format!("pipeline {name} keeps changing"))))
}

impl Report for StateSet {
    fn text(&self) -> String {
        let state = match self.state {
            State::Running => "running",
            State::Paused => "paused",
        };
        let already = if self.changed { "" } else { " already" };
        format!("pipeline {} is {state}{already} (version {})\n", self.name, self.version)
    }
}
