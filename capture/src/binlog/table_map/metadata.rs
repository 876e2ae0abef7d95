//! The optional metadata of a TABLE_MAP: fields by number, each with its length, in any order.
//!
//! Unknown fields are read over. The counts inside are by kind of column: signs of the numeric ones, collations of those
//! with text, labels of ENUM and SET columns apart.

use crate::binlog::cursor::Cursor;

/// The optional metadata.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    /// Bits of the numeric columns, of which YEAR is one, highest bit first: whether they are UNSIGNED.
    pub(super) unsigned: &'a [u8],
    /// Of the columns with text.
    pub(super) text: ColumnCollations,
    /// Of the ENUM and SET columns.
    pub(super) labels: ColumnCollations,
    /// The labels of each ENUM column, in its character set.
    pub(super) enums: Vec<Vec<&'a [u8]>>,
    /// The labels of each SET column, likewise.
    pub(super) sets: Vec<Vec<&'a [u8]>>,
    pub(super) names: Vec<&'a [u8]>,
    pub(super) key: Vec<u64>,
}

/// The collations of the columns of one kind, in the order of the columns.
#[derive(Debug, Default)]
pub(super) struct ColumnCollations {
    /// Of the columns that `exceptions` does not name.
    default: Option<u64>,
    /// Index and collation.
    exceptions: Vec<(u64, u64)>,
    /// One by one, when there is no default.
    each: Vec<u64>,
}

impl ColumnCollations {
    pub(super) fn of(&self, place: usize) -> Option<u64> {
        let Some(default) = self.default else { return self.each.get(place).copied() };
        let exception = self.exceptions.iter().find(|(index, _)| usize::try_from(*index) == Ok(place));
        Some(exception.map_or(default, |(_, collation)| *collation))
    }

    fn read_default(&mut self, mut fields: Cursor<'_>) -> Option<()> {
        self.default = Some(fields.lenenc()?);
        self.exceptions = pairs(fields)?;
        Some(())
    }
}

impl<'a> Metadata<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        const SIGNEDNESS: u8 = 1;
        const DEFAULT_CHARSET: u8 = 2;
        const COLUMN_CHARSET: u8 = 3;
        const COLUMN_NAME: u8 = 4;
        const SET_LABELS: u8 = 5;
        const ENUM_LABELS: u8 = 6;
        const SIMPLE_PRIMARY_KEY: u8 = 8;
        const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
        const LABELS_DEFAULT_CHARSET: u8 = 10;
        const LABELS_COLUMN_CHARSET: u8 = 11;

        let mut all = Cursor::new(bytes);
        let mut metadata = Self::default();
        while !all.is_empty() {
            let field = all.u8()?;
            let value = all.lenenc_bytes()?;
            let mut rest = Cursor::new(value);
            match field {
                SIGNEDNESS => metadata.unsigned = value,
                DEFAULT_CHARSET => metadata.text.read_default(rest)?,
                COLUMN_CHARSET => metadata.text.each = numbers(rest)?,
                LABELS_DEFAULT_CHARSET => metadata.labels.read_default(rest)?,
                LABELS_COLUMN_CHARSET => metadata.labels.each = numbers(rest)?,
                SET_LABELS => metadata.sets = labels(rest)?,
                ENUM_LABELS => metadata.enums = labels(rest)?,
                COLUMN_NAME => {
                    while !rest.is_empty() {
                        metadata.names.push(rest.lenenc_bytes()?);
                    }
                }
                SIMPLE_PRIMARY_KEY => metadata.key = numbers(rest)?,
                // Values that differ within a unique prefix differ as a whole: the length adds nothing here.
                PRIMARY_KEY_WITH_PREFIX => metadata.key = pairs(rest)?.into_iter().map(|(column, _)| column).collect(),
                // Kinds of geometry, dimensions of vectors: of columns that are refused anyway. Visibility: no matter.
                _ => {}
            }
        }
        Some(metadata)
    }

    pub(super) fn is_unsigned(&self, numeric: usize) -> Option<bool> {
        self.unsigned.get(numeric / 8).map(|byte| byte & (0x80 >> (numeric % 8)) != 0)
    }
}

/// For each column the number of its labels, and the labels.
fn labels(mut fields: Cursor<'_>) -> Option<Vec<Vec<&[u8]>>> {
    let mut all = Vec::new();
    while !fields.is_empty() {
        let count = fields.lenenc()?;
        let mut column = Vec::new();
        for _ in 0..count {
            column.push(fields.lenenc_bytes()?);
        }
        all.push(column);
    }
    Some(all)
}

fn numbers(mut fields: Cursor<'_>) -> Option<Vec<u64>> {
    let mut all = Vec::new();
    while !fields.is_empty() {
        all.push(fields.lenenc()?);
    }
    Some(all)
}

fn pairs(mut fields: Cursor<'_>) -> Option<Vec<(u64, u64)>> {
    let mut all = Vec::new();
    while !fields.is_empty() {
        all.push((fields.lenenc()?, fields.lenenc()?));
    }
    Some(all)
}
