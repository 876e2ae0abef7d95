//! Row images to Avro events.

mod source;

pub use source::{SourceBlock, SourceFacts};

use crate::table::TableStructure;
use crate::{Code, Error, Result};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `c`: inserted.
    Create,
    /// `u`: updated.
    Update,
    /// `d`: deleted.
    Delete,
}

/// The registered ids of a table's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key schema; present exactly when the table has a key.
    pub key: Option<u32>,
    /// Of the value schema.
    pub value: u32,
}

/// Where a row stands in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPosition {
    /// Binlog position of the rows event.
    pub pos: u64,
    /// Index of the row in its event.
    pub row: u32,
    /// The ordinal (docs/decisions/0002-ordinal.md).
    pub ordinal: i64,
}

/// One row change to encode.
#[derive(Debug, Clone, Copy)]
pub struct RowEvent<'a> {
    /// What happened.
    pub op: Op,
    /// Row image before; bytes behind the image's end are ignored.
    pub before: Option<&'a [u8]>,
    /// Row image after; bytes behind the image's end are ignored.
    pub after: Option<&'a [u8]>,
    /// The constant part of `source`.
    pub source: &'a SourceBlock,
    /// The part of `source` that differs from row to row.
    pub position: RowPosition,
    /// When Otter made the event, microseconds since 1970 UTC: the envelope's ts_ms, ts_us, ts_ns.
    pub ts_us: i64,
}

/// The encoder of one version of one table.
#[derive(Debug)]
pub struct EventEncoder {}

impl EventEncoder {
    /// Compiles the plan.
    pub fn compile(_structure: &TableStructure, _ids: SchemaIds) -> Result<Self> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }

    /// Whether records of the table have a key.
    pub fn has_key(&self) -> bool {
        false
    }

    /// Length in bytes of the row image at the head of `image`, with all columns present.
    pub fn image_len(&self, _image: &[u8]) -> Result<usize> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }

    /// Appends the framed key; appends nothing when the table has no key (the record's key is then null).
    pub fn encode_key(&self, _image: &[u8], _out: &mut Vec<u8>) -> Result<()> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }

    /// The hash that decides the partition; 0 when the table has no key.
    pub fn partition_hash(&self, _image: &[u8]) -> Result<u32> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }

    /// Whether two images have the same key, compared bytewise; true when the table has no key.
    pub fn same_key(&self, _before: &[u8], _after: &[u8]) -> Result<bool> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }

    /// Appends the framed value.
    pub fn encode_value(&self, _row: &RowEvent<'_>, _out: &mut Vec<u8>) -> Result<()> {
        Err(Error::new(Code::NotSupportedYet, "encode"))
    }
}
