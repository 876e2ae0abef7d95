//! The Avro schemas of a table's events.

use crate::table::TableStructure;
use crate::{Code, Error, Result};

/// The schemas of a table's records, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchemas {
    /// Of the record key; none when the table has no key.
    pub key: Option<String>,
    /// Of the record value, the envelope.
    pub value: String,
}

/// The schemas of a table's events on a topic.
pub fn event_schemas(_structure: &TableStructure, _topic: &str) -> Result<EventSchemas> {
    Err(Error::new(Code::NotSupportedYet, "event_schemas"))
}
