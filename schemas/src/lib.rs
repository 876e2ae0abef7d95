//! The contracts of Otter, without I/O: value types, table structure, Avro schemas and the compiled plans,
//! the event envelope, documents, names, codes.

pub mod codes;
pub mod error;
pub mod table;

pub use codes::{Code, Reaction};
pub use error::{Error, Result};
