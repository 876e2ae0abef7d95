//! Row images to Avro events.
//!
//! [`EventEncoder`] is compiled once per version of a table. Per row it goes once over the raw image of the binlog and
//! appends Avro to the caller's buffer: no value objects, no strings, no allocation beyond the buffer's own growth.
//! The bytes are those that an Avro library writes for the schemas of [`crate::avro`] (property tests compare them).
//!
//! An image is `(columns + 7) / 8` bytes of null bits, lowest first, then the values that are not NULL; it must have all
//! columns (`binlog_row_image=FULL`). No bytes make the encoder panic: bytes that no server writes are
//! [`Code::BinlogCorrupt`] with column and value. Values that the typed field cannot carry (zero dates, text that is not
//! valid in its character set) stand in the envelope's `exact`. After an error the buffer is as it was before.

mod column;
mod decimal;
mod exact;
mod fault;
mod json;
mod source;
mod temporal;
mod write;

pub use source::{SourceBlock, SourceFacts};

use self::column::ColumnPlan;
use self::fault::Fault;
use self::write::{FIRST, LONG_BYTES, SECOND, put_bytes, put_some_long};
use crate::framing::{HEADER_BYTES, put_header};
use crate::partition::{Canonical, Length, Murmur2};
use crate::table::{TableName, TableStructure};
use crate::{Code, Error, Result};

/// Parts that a key can have: MariaDB's limit, MySQL's is 16.
const KEY_PARTS: usize = 32;

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
pub struct EventEncoder {
    table: TableName,
    ids: SchemaIds,
    columns: Vec<ColumnPlan>,
    names: Vec<String>,
    /// Bytes of the null bits.
    bitmap: usize,
    /// Bytes of Avro that a row takes at most without the contents of text and bytes.
    bound: usize,
    /// Key columns in key order.
    key: Vec<usize>,
    /// For each column up to the last of the key: its place in the key.
    key_places: Vec<Option<usize>>,
}

impl EventEncoder {
    /// Compiles the plan.
    ///
    /// # Errors
    /// [`Code::TypeUnsupported`] when a type's parameters, the key or the ids do not fit together.
    pub fn compile(structure: &TableStructure, ids: SchemaIds) -> Result<Self> {
        let invalid = |what: String| Error::new(Code::TypeUnsupported, format!("{}: {what}", structure.name));
        if structure.columns.is_empty() {
            return Err(invalid("no columns".into()));
        }
        if structure.key.is_empty() != ids.key.is_none() {
            return Err(invalid("a key without a schema id, or an id without a key".into()));
        }
        let mut columns = Vec::with_capacity(structure.columns.len());
        for column in &structure.columns {
            let plan = ColumnPlan::new(&column.ty, column.nullable);
            columns.push(plan.ok_or_else(|| invalid(format!("column {} is of type {:?}", column.name, column.ty)))?);
        }
        if structure.key.len() > KEY_PARTS {
            return Err(invalid(format!("a key of {} parts", structure.key.len())));
        }
        let mut key_places = vec![None; structure.key.iter().max().map_or(0, |last| last + 1).min(columns.len())];
        for (place, &index) in structure.key.iter().enumerate() {
            match key_places.get_mut(index) {
                Some(slot @ None) => *slot = Some(place),
                _ => {
                    return Err(invalid(format!("key part {place} is column {index}, which is no or an earlier part")));
                }
            }
        }
        Ok(Self {
            table: structure.name.clone(),
            ids,
            bitmap: columns.len().div_ceil(8),
            bound: columns.iter().map(ColumnPlan::bound).sum(),
            names: structure.columns.iter().map(|column| column.name.clone()).collect(),
            columns,
            key: structure.key.clone(),
            key_places,
        })
    }

    /// Whether records of the table have a key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Length in bytes of the row image at the head of `image`, with all columns present; always 1 or more.
    ///
    /// # Errors
    /// [`Code::BinlogCorrupt`] when `image` ends before the row does.
    pub fn image_len(&self, image: &[u8]) -> Result<usize> {
        let rest = self.walk(image, self.columns.len(), |_, _| Ok(()))?;
        Ok(image.len() - rest.len())
    }

    /// Appends the framed key: 0x00, schema id (4 bytes, big-endian), Avro. Appends nothing when the table has no key:
    /// the record's key is then null, not empty.
    ///
    /// # Errors
    /// [`Code::BinlogCorrupt`]; `out` is then as before.
    pub fn encode_key(&self, image: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Some(id) = self.ids.key else { return Ok(()) };
        let values = self.key_values(image)?;
        let start = out.len();
        put_header(id, out);
        for (&index, value) in self.key.iter().zip(values) {
            if let Err(error) = self.write_value(index, value, out) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The hash that decides the partition (31 bits, docs/formats/partitions.md); 0 when the table has no key.
    ///
    /// # Errors
    /// [`Code::BinlogCorrupt`].
    pub fn partition_hash(&self, image: &[u8]) -> Result<u32> {
        if self.key.is_empty() {
            return Ok(0);
        }
        let values = self.key_values(image)?;
        // murmur2 begins with the length, so the canonical form is made twice instead of kept
        let mut length = Length::default();
        self.canonical(&values, &mut length)?;
        let mut hash = Murmur2::new(length.bytes());
        self.canonical(&values, &mut hash)?;
        Ok(hash.finish())
    }

    /// Whether two images have the same key, compared bytewise; true when the table has no key.
    ///
    /// # Errors
    /// [`Code::BinlogCorrupt`].
    pub fn same_key(&self, before: &[u8], after: &[u8]) -> Result<bool> {
        Ok(self.key.is_empty() || self.key_values(before)? == self.key_values(after)?)
    }

    /// Appends the framed value: 0x00, schema id (4 bytes, big-endian), Avro.
    ///
    /// # Errors
    /// [`Code::BinlogCorrupt`]; [`Code::ImageIncomplete`] when an image that the operation
    /// needs is missing (or one it cannot have is there). `out` is then as before.
    pub fn encode_value(&self, row: &RowEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        let (letter, fits) = match row.op {
            Op::Create => (b"c", row.before.is_none() && row.after.is_some()),
            Op::Update => (b"u", row.before.is_some() && row.after.is_some()),
            Op::Delete => (b"d", row.before.is_some() && row.after.is_none()),
        };
        if !fits {
            let message = format!("{}: {:?} with the wrong row images", self.table, row.op);
            return Err(Error::new(Code::ImageIncomplete, message));
        }
        let start = out.len();
        out.reserve(HEADER_BYTES + 2 * (1 + self.bound) + row.source.bound() + 3 * (1 + LONG_BYTES) + 4);
        put_header(self.ids.value, out);
        let mut inexact = false;
        for image in [row.before, row.after] {
            match self.write_row(image, out) {
                Ok(some) => inexact |= some,
                Err(error) => {
                    out.truncate(start);
                    return Err(error);
                }
            }
        }
        row.source.write(row.position, out);
        out.push(FIRST); // transaction
        put_bytes(letter, out);
        put_some_long(row.ts_us.div_euclid(1_000), out);
        put_some_long(row.ts_us, out);
        put_some_long(row.ts_us.saturating_mul(1_000), out);
        if inexact {
            self.write_exact(row, out).inspect_err(|_| out.truncate(start))?;
        } else {
            out.push(FIRST); // exact
        }
        Ok(())
    }

    /// Appends `before` or `after`, and says whether one of its values needs `exact`. May leave a part behind when it
    /// fails.
    fn write_row(&self, image: Option<&[u8]>, out: &mut Vec<u8>) -> Result<bool> {
        let Some(image) = image else {
            out.push(FIRST);
            return Ok(false);
        };
        out.push(SECOND);
        let mut inexact = false;
        self.walk(image, self.columns.len(), |index, value| {
            inexact |= self.write_value(index, value, out)?;
            Ok(())
        })?;
        Ok(inexact)
    }

    /// Appends a column's field, and says whether its value needs `exact`.
    #[inline]
    fn write_value(&self, index: usize, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<bool> {
        let column = &self.columns[index];
        let Some(value) = value else {
            out.push(FIRST); // the walk has seen that the column is nullable
            return Ok(false);
        };
        let start = out.len();
        if column.nullable {
            out.push(SECOND);
        }
        match column.write(value, out) {
            Ok(()) => Ok(false),
            Err(Fault::Inexact) => {
                out.truncate(start);
                column.write_fallback(value, out);
                Ok(true)
            }
            Err(Fault::Corrupt(what)) => Err(self.fault(index, value, what)),
        }
    }

    /// Goes over the first columns of an image, with the value of each (none: NULL), and returns what lies behind them.
    #[inline]
    fn walk<'a>(
        &self,
        image: &'a [u8],
        columns: usize,
        mut visit: impl FnMut(usize, Option<&'a [u8]>) -> Result<()>,
    ) -> Result<&'a [u8]> {
        let Some((nulls, mut rest)) = image.split_at_checked(self.bitmap) else {
            return Err(self.corrupt("a row image ends within its null bits"));
        };
        for (index, column) in self.columns[..columns].iter().enumerate() {
            if nulls[index >> 3] >> (index & 7) & 1 == 1 {
                if !column.nullable {
                    return Err(self.corrupt(&format!("column {} is NULL against its structure", self.names[index])));
                }
                visit(index, None)?;
                continue;
            }
            let Some((value, tail)) = column.width.split(rest) else {
                return Err(self.corrupt(&format!("a row image ends within column {}", self.names[index])));
            };
            rest = tail;
            visit(index, Some(value))?;
        }
        Ok(rest)
    }

    /// The values of the key columns, in key order; places beyond the key are none.
    fn key_values<'a>(&self, image: &'a [u8]) -> Result<[Option<&'a [u8]>; KEY_PARTS]> {
        let mut values = [None; KEY_PARTS];
        self.walk(image, self.key_places.len(), |index, value| {
            if let Some(place) = self.key_places[index] {
                values[place] = value;
            }
            Ok(())
        })?;
        Ok(values)
    }

    fn canonical(&self, values: &[Option<&[u8]>; KEY_PARTS], sink: &mut impl Canonical) -> Result<()> {
        for (&index, value) in self.key.iter().zip(values) {
            match value {
                None => sink.null(),
                Some(value) => {
                    let done = self.columns[index].canonical(value, sink);
                    done.map_err(|fault| self.fault(index, value, fault.what()))?;
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn corrupt(&self, what: &str) -> Error {
        Error::new(Code::BinlogCorrupt, format!("{}: {what}", self.table))
    }

    /// Names column and value: what the operator looks for at the source.
    #[cold]
    fn fault(&self, index: usize, value: &[u8], what: &str) -> Error {
        const SHOWN: usize = 32;
        let mut message = format!("{}, column {}: {what}: bytes ", self.table, self.names[index]);
        for byte in &value[..value.len().min(SHOWN)] {
            message.push_str(&format!("{byte:02x}"));
        }
        if value.len() > SHOWN {
            message.push_str(&format!("… ({} in all)", value.len()));
        }
        Error::new(Code::BinlogCorrupt, message)
    }
}
