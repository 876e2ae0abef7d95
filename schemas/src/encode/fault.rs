//! Why a value could not be read: without allocation, so that the row loop stays small. The encoder adds the names.

/// A value that does not go into its typed field, or bytes that no server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server may well hold such a value, the typed field cannot.
    Unsupported(&'static str),
    /// No server writes such bytes.
    Corrupt(&'static str),
}

/// Bytes shorter than the type takes; the walk over the image makes it impossible.
pub(super) const SHORT: Fault = Fault::Corrupt("the value is shorter than its type");
