//! Why a value could not be read: without allocation, so that the row loop stays small. The encoder adds the names.

/// Why a value is not in its typed field as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server may well hold such a value, the typed field cannot: it goes into `exact`.
    Inexact,
    /// No server writes such bytes.
    Corrupt(&'static str),
}

impl Fault {
    /// In words.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Inexact => "a value that its field cannot carry",
            Self::Corrupt(what) => what,
        }
    }
}

/// Bytes shorter than the type takes; the walk over the image makes it impossible.
pub(super) const SHORT: Fault = Fault::Corrupt("the value is shorter than its type");
