//! The contracts of Otter, without I/O: value types, table structure, Avro schemas and the compiled plans,
//! the event envelope, documents, names, codes.

pub mod avro;
pub mod codes;
pub mod decode;
pub mod encode;
pub mod error;
pub mod framing;
pub mod partition;
pub mod table;

pub use codes::{Code, Reaction};
pub use error::{Error, Result};
