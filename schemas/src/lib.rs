//! The contracts of Otter, without I/O: value types, table structure, Avro schemas and the compiled plans,
//! the event envelope, documents, names, codes.

pub mod avro;
pub mod avro_text;
pub mod barrier;
pub mod charset;
pub mod check;
pub mod checkpoint;
pub mod civil;
pub mod codes;
pub mod decode;
pub mod documents;
pub mod encode;
pub mod error;
pub mod escape;
pub mod framing;
pub mod gtid;
pub mod kafka;
pub mod moment;
pub mod names;
pub mod offsets;
pub mod partition;
pub mod progress;
pub mod request;
pub mod secret;
pub mod server;
pub mod status;
pub mod table;

pub use codes::{Code, Reaction};
pub use error::{Error, Result};
