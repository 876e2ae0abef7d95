//! The one error of all crates: a [`Code`] that decides the reaction, a message, and what caused it.

use crate::codes::Code;

/// Anything that went wrong in a way an operator can see.
///
/// `Display` gives `OT1001: message`; the remedy is asked of the code, so that each front end can lay it out as it likes.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", .code.id())]
pub struct Error {
    code: Code,
    message: String,
    path: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a code and what happened, in words, with names and positions.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), path: None, source: None }
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the field of a document or request that is wrong, such as `mappings[0].to`.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The field that is wrong, if it is known. The message names it too.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, without the code.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
