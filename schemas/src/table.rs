//! The structure of a source table, as the binlog itself describes it.
//!
//! It is built from TABLE_MAP's optional metadata (`binlog_row_metadata=FULL`) and nothing else, so that an event and
//! its structure can never belong to different moments.

use std::fmt;
use std::sync::Arc;

use crate::charset::Charset;

/// A table by schema and name, as the server spells them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema (database).
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// `schema` and `table` as they are.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A column's type, with what is needed to read it from a row image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// TINYINT to BIGINT.
    Int {
        /// Width in the image: 1, 2, 3, 4 or 8 bytes.
        bytes: u8,
        /// Whether the column is UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits in all, 1 to 65.
        precision: u8,
        /// Digits after the point, 0 to 38.
        scale: u8,
    },
    /// FLOAT, 32 bits.
    Float,
    /// DOUBLE, 64 bits.
    Double,
    /// DATE.
    Date,
    /// DATETIME(fsp).
    DateTime {
        /// Fraction digits, 0 to 6.
        fsp: u8,
    },
    /// TIMESTAMP(fsp).
    Timestamp {
        /// Fraction digits, 0 to 6.
        fsp: u8,
    },
    /// TIME(fsp).
    Time {
        /// Fraction digits, 0 to 6.
        fsp: u8,
    },
    /// YEAR: one byte, 0 or the years since 1900.
    Year,
    /// BIT(bits), big-endian in `ceil(bits / 8)` bytes.
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// ENUM: the label's number, from 1; 0 is the empty string of a value that was not among the labels.
    Enum {
        /// Width in the image: 1 or 2 bytes.
        length: u8,
        /// The labels in order, in UTF-8.
        labels: Arc<[String]>,
    },
    /// SET: a bit for each label, the first the lowest.
    Set {
        /// Width in the image: 1, 2, 3, 4 or 8 bytes.
        length: u8,
        /// The labels in order, in UTF-8; at most 64.
        labels: Arc<[String]>,
    },
    /// CHAR, VARCHAR and the TEXT family. MariaDB's JSON is one of them.
    Text {
        /// Size of the length prefix in the image, 1 to 4 bytes.
        length_bytes: u8,
        /// What the bytes mean.
        charset: Charset,
    },
    /// JSON in MySQL's binary form.
    Json {
        /// Size of the length prefix in the image, 1 to 4 bytes.
        length_bytes: u8,
    },
    /// BINARY(length): the image leaves trailing zero bytes out.
    Binary {
        /// Declared length in bytes.
        length: u16,
        /// Size of the length prefix in the image, 1 or 2 bytes.
        length_bytes: u8,
    },
    /// VARBINARY and the BLOB family.
    Bytes {
        /// Size of the length prefix in the image, 1 to 4 bytes.
        length_bytes: u8,
    },
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name as the server spells it.
    pub name: String,
    /// The type.
    pub ty: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A table at one moment of its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableStructure {
    /// Schema and table.
    pub name: TableName,
    /// The columns in the order of the row image.
    pub columns: Vec<Column>,
    /// Indices of the primary key's columns, in key order; empty when there is no primary key.
    pub key: Vec<usize>,
}
