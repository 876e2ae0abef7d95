//! `otter explain CODE`.

use schemas::{Code, Error, Result};
use serde::Serialize;

use super::Report;

/// A code.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    code: &'static str,
    title: &'static str,
    reaction: &'static str,
    remedy: &'static str,
    page: &'static str,
}

/// What a code means.
///
/// # Errors
/// `OT1006` when there is no such code.
pub(crate) fn explain(id: &str) -> Result<Explained> {
    let code = Code::from_id(id).ok_or_else(|| {
        Error::new(Code::NotFound, format!("there is no code {id:?}; codes look like {}", Code::DocumentInvalid.id()))
    })?;
    let reaction = code.reaction().name();
    Ok(Explained { code: code.id(), title: code.title(), reaction, remedy: code.remedy(), page: code.page() })
}

impl Report for Explained {
    fn text(&self) -> String {
        self.page.to_owned()
    }
}
