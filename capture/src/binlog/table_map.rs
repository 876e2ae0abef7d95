//! A table's structure out of a TABLE_MAP event with full metadata (`binlog_row_metadata=FULL`).
//!
//! The structure is a pure function of the event's body and the server's collations. A type that cannot be carried
//! without loss is refused by the column's name; so is an event without the metadata that settles names, signs and
//! character sets. Callers filter by [`table_name`] first: a table that nobody follows may hold anything.

mod metadata;

use schemas::charset::{Charset, Fidelity};
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use schemas::{Code, Error, Result};

use self::metadata::Metadata;
use super::cursor::Cursor;
use super::server::Collations;

/// The collation `binary`: the column holds bytes, not text.
const BINARY: u64 = 63;

/// Column types by their numbers in TABLE_MAP.
mod code {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const TINY_BLOB: u8 = 249;
    pub(super) const MEDIUM_BLOB: u8 = 250;
    pub(super) const LONG_BLOB: u8 = 251;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

/// Schema and table of a TABLE_MAP body, without looking at the rest; `None` where the bytes don't hold them.
pub fn table_name(body: &[u8]) -> Option<(&[u8], &[u8])> {
    names(&mut Cursor::new(body))
}

fn names<'a>(fields: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    fields.take(6 + 2)?; // table id, flags
    let schema = fields.lenenc_bytes()?;
    fields.u8()?; // a zero
    let table = fields.lenenc_bytes()?;
    fields.u8()?;
    Some((schema, table))
}

/// The structure that a TABLE_MAP body describes.
///
/// # Errors
/// `TypeUnsupported` naming the column; `SourceSetting` where the metadata is not FULL; `BinlogCorrupt` where the
/// bytes contradict themselves.
pub fn parse_table_map(body: &[u8], collations: &Collations) -> Result<TableStructure> {
    let corrupt = || Error::new(Code::BinlogCorrupt, "a TABLE_MAP event is shorter than its fields");
    let raw = RawTable::read(body).ok_or_else(corrupt)?;
    let name = TableName::new(text(raw.schema)?, text(raw.table)?);
    let metadata = Metadata::read(raw.optional).ok_or_else(corrupt)?;
    if metadata.names.len() != raw.columns.len() {
        return Err(Error::new(
            Code::SourceSetting,
            format!(
                "the TABLE_MAP of {name} names {} of its {} columns: it was written without \
                 binlog_row_metadata=FULL; run: SET GLOBAL binlog_row_metadata=FULL, and start behind that",
                metadata.names.len(),
                raw.columns.len()
            ),
        ));
    }
    let mut types = Types { table: &name, metadata: &metadata, collations, seen: Seen::default() };
    let mut columns = Vec::with_capacity(raw.columns.len());
    for (index, raw_column) in raw.columns.iter().enumerate() {
        let name = text(metadata.names[index])?;
        let ty = types.column(raw_column, &name)?;
        let nullable = raw.nullable.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0);
        columns.push(Column { name, ty, nullable });
    }
    let mut key = Vec::with_capacity(metadata.key.len());
    for index in &metadata.key {
        key.push(usize::try_from(*index).ok().filter(|i| *i < columns.len()).ok_or_else(corrupt)?);
    }
    Ok(TableStructure { name, columns, key })
}

fn text(bytes: &[u8]) -> Result<String> {
    let not_utf8 = |_| Error::new(Code::BinlogCorrupt, "a name in a TABLE_MAP event is not UTF-8");
    std::str::from_utf8(bytes).map(str::to_owned).map_err(not_utf8)
}

/// A column as the first half of the event has it.
#[derive(Debug, Clone, Copy)]
struct RawColumn {
    code: u8,
    meta: [u8; 2],
}

/// The first half of the event: what it has without metadata.
struct RawTable<'a> {
    schema: &'a [u8],
    table: &'a [u8],
    columns: Vec<RawColumn>,
    nullable: &'a [u8],
    optional: &'a [u8],
}

impl<'a> RawTable<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut fields = Cursor::new(body);
        let (schema, table) = names(&mut fields)?;
        let count = usize::try_from(fields.lenenc()?).ok()?;
        let codes = fields.take(count)?;
        let mut meta = Cursor::new(fields.lenenc_bytes()?);
        let nullable = fields.take(count.div_ceil(8))?;
        let columns = codes.iter().map(|code| RawColumn::read(*code, &mut meta)).collect::<Option<_>>()?;
        Some(Self { schema, table, columns, nullable, optional: fields.rest() })
    }
}

impl RawColumn {
    /// Unknown types are taken as having no metadata: they are refused before what follows them matters.
    fn read(code: u8, meta: &mut Cursor<'_>) -> Option<Self> {
        let meta = match code {
            code::FLOAT
            | code::DOUBLE
            | code::TIMESTAMP2
            | code::DATETIME2
            | code::TIME2
            | code::TINY_BLOB
            | code::MEDIUM_BLOB
            | code::LONG_BLOB
            | code::BLOB
            | code::BLOB_COMPRESSED
            | code::VECTOR
            | code::JSON
            | code::GEOMETRY => [meta.u8()?, 0],
            code::VARCHAR
            | code::VARCHAR_COMPRESSED
            | code::VAR_STRING
            | code::STRING
            | code::BIT
            | code::NEWDECIMAL
            | code::ENUM
            | code::SET => [meta.u8()?, meta.u8()?],
            _ => [0, 0],
        };
        Some(Self { code, meta })
    }
}

/// Resolves the columns in turn, counting the numeric and the character columns as the metadata does.
struct Types<'a> {
    table: &'a TableName,
    metadata: &'a Metadata<'a>,
    collations: &'a Collations,
    seen: Seen,
}

/// Columns so far, by the kinds that the metadata counts apart.
#[derive(Debug, Default)]
struct Seen {
    numeric: usize,
    text: usize,
    labelled: usize,
    enums: usize,
    sets: usize,
}

impl Types<'_> {
    fn column(&mut self, raw: &RawColumn, name: &str) -> Result<ColumnType> {
        let [first, second] = raw.meta;
        let fsp = |fsp: u8| (fsp <= 6).then_some(fsp).ok_or_else(|| self.odd(name, "has more than 6 fraction digits"));
        match raw.code {
            code::TINY => self.int(1, name),
            code::SHORT => self.int(2, name),
            code::INT24 => self.int(3, name),
            code::LONG => self.int(4, name),
            code::LONGLONG => self.int(8, name),
            code::FLOAT => self.number(ColumnType::Float),
            code::DOUBLE => self.number(ColumnType::Double),
            code::NEWDECIMAL => {
                if !(1..=65).contains(&first) || second > 38 || second > first {
                    return Err(self.odd(name, "has an impossible precision or scale"));
                }
                self.number(ColumnType::Decimal { precision: first, scale: second })
            }
            code::YEAR => self.number(ColumnType::Year),
            code::DATE | code::NEWDATE => Ok(ColumnType::Date),
            code::DATETIME2 => Ok(ColumnType::DateTime { fsp: fsp(first)? }),
            code::TIMESTAMP2 => Ok(ColumnType::Timestamp { fsp: fsp(first)? }),
            code::TIME2 => Ok(ColumnType::Time { fsp: fsp(first)? }),
            code::VARCHAR | code::VAR_STRING => {
                let length_bytes = if u16::from_le_bytes(raw.meta) > 255 { 2 } else { 1 };
                self.string(name, ColumnType::Bytes { length_bytes }, length_bytes)
            }
            code::BLOB | code::TINY_BLOB | code::MEDIUM_BLOB | code::LONG_BLOB => {
                if !(1..=4).contains(&first) {
                    return Err(self.odd(name, "has an impossible size of its length"));
                }
                self.string(name, ColumnType::Bytes { length_bytes: first }, first)
            }
            code::BIT => {
                let bits = u16::from(first) + 8 * u16::from(second);
                let bits = u8::try_from(bits).ok().filter(|bits| (1..=64).contains(bits));
                Ok(ColumnType::Bit { bits: bits.ok_or_else(|| self.odd(name, "has an impossible number of bits"))? })
            }
            code::JSON => {
                if !(1..=4).contains(&first) {
                    return Err(self.odd(name, "has an impossible size of its length"));
                }
                Ok(ColumnType::Json { length_bytes: first })
            }
            code::STRING => self.fixed(name, first, second),
            other => Err(self.refused(name, type_name(other))),
        }
    }

    fn int(&mut self, bytes: u8, name: &str) -> Result<ColumnType> {
        let unsigned = self.metadata.is_unsigned(self.seen.numeric);
        let unsigned = unsigned.ok_or_else(|| self.odd(name, "comes without its sign"))?;
        self.number(ColumnType::Int { bytes, unsigned })
    }

    fn number(&mut self, ty: ColumnType) -> Result<ColumnType> {
        self.seen.numeric += 1;
        Ok(ty)
    }

    /// A type number of CHAR and BINARY may hide ENUM or SET, and carries two bits of the length.
    fn fixed(&mut self, name: &str, first: u8, second: u8) -> Result<ColumnType> {
        let (real, length) = if first & 0x30 == 0x30 {
            (first, u16::from(second))
        } else {
            (first | 0x30, u16::from(second) | (u16::from((first & 0x30) ^ 0x30) << 4))
        };
        match real {
            code::STRING => {}
            code::ENUM => return self.labelled(name, second, false),
            code::SET => return self.labelled(name, second, true),
            _ => return Err(self.refused(name, type_name(real))),
        }
        let length_bytes = if length > 255 { 2 } else { 1 };
        self.string(name, ColumnType::Binary { length, length_bytes }, length_bytes)
    }

    /// `bytes` for the collation `binary`, text for character sets that are UTF-8 as they stand.
    fn string(&mut self, name: &str, bytes: ColumnType, length_bytes: u8) -> Result<ColumnType> {
        let collation = self.metadata.text.of(self.seen.text);
        let collation = collation.ok_or_else(|| self.odd(name, "comes without its character set"))?;
        self.seen.text += 1;
        if collation == BINARY {
            return Ok(bytes);
        }
        Ok(ColumnType::Text { length_bytes, charset: self.charset(name, collation)? })
    }

    fn charset(&self, name: &str, collation: u64) -> Result<Charset> {
        match self.collations.charset(collation) {
            Some(set) => Charset::of(set).ok_or_else(|| self.refused(name, &format!("text in {set}"))),
            None => Err(self.refused(name, &format!("text in the unknown collation {collation}"))),
        }
    }

    /// ENUM or SET with its labels in UTF-8.
    fn labelled(&mut self, name: &str, length: u8, set: bool) -> Result<ColumnType> {
        let collation = self.metadata.labels.of(self.seen.labelled);
        let collation = collation.ok_or_else(|| self.odd(name, "comes without the character set of its labels"))?;
        // labels of the collation binary are bytes, and text only where they happen to be
        let charset = if collation == BINARY { Charset::Utf8 } else { self.charset(name, collation)? };
        let (all, place) =
            if set { (&self.metadata.sets, self.seen.sets) } else { (&self.metadata.enums, self.seen.enums) };
        let raw = all.get(place).ok_or_else(|| self.odd(name, "comes without its labels"))?;
        let mut labels = Vec::with_capacity(raw.len());
        for label in raw {
            let mut text = Vec::with_capacity(label.len());
            let whole = charset.decode(label, &mut text) != Fidelity::Damaged;
            let text = String::from_utf8(text).ok().filter(|_| whole);
            labels.push(text.ok_or_else(|| self.refused(name, "ENUM or SET with a label that is no text"))?);
        }
        self.seen.labelled += 1;
        if set {
            self.seen.sets += 1;
            if !matches!(length, 1..=4 | 8) || labels.len() > 8 * usize::from(length) {
                return Err(self.odd(name, "has an impossible size"));
            }
            return Ok(ColumnType::Set { length, labels: labels.into() });
        }
        self.seen.enums += 1;
        if !(1..=2).contains(&length) {
            return Err(self.odd(name, "has an impossible size"));
        }
        Ok(ColumnType::Enum { length, labels: labels.into() })
    }

    fn refused(&self, column: &str, what: &str) -> Error {
        let message = format!("column {column} of {} is of type {what}, which this version does not carry", self.table);
        Error::new(Code::TypeUnsupported, message)
    }

    fn odd(&self, column: &str, what: &str) -> Error {
        Error::new(Code::BinlogCorrupt, format!("column {column} of {} {what} in TABLE_MAP", self.table))
    }
}

fn type_name(code: u8) -> &'static str {
    match code {
        0 => "DECIMAL in the format before 5.0",
        7 => "TIMESTAMP in the format before 5.6 (ALTER TABLE … FORCE renews it)",
        11 => "TIME in the format before 5.6 (ALTER TABLE … FORCE renews it)",
        12 => "DATETIME in the format before 5.6 (ALTER TABLE … FORCE renews it)",
        code::BLOB_COMPRESSED => "a compressed TEXT or BLOB",
        code::VARCHAR_COMPRESSED => "a compressed VARCHAR or VARBINARY",
        code::VECTOR => "VECTOR",
        code::GEOMETRY => "GEOMETRY",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    fn collations() -> Collations {
        [(45, "utf8mb4"), (63, "binary"), (8, "latin1"), (10, "swe7"), (33, "utf8mb3")].into_iter().collect()
    }

    /// A TABLE_MAP body of shop.t out of (name, type, metadata), the optional metadata behind.
    fn body(columns: &[(&str, u8, &[u8])], optional: &[(u8, &[u8])]) -> Vec<u8> {
        let lenenc = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x04shop\0\x01t\0");
        body.extend(lenenc(&columns.iter().map(|c| c.1).collect::<Vec<_>>()));
        body.extend(lenenc(&columns.iter().flat_map(|c| c.2.to_vec()).collect::<Vec<_>>()));
        body.extend(vec![0b10; columns.len().div_ceil(8)]);
        for (field, value) in optional {
            body.push(*field);
            body.extend(lenenc(value));
        }
        body.push(4);
        body.extend(lenenc(&columns.iter().flat_map(|c| lenenc(c.0.as_bytes())).collect::<Vec<_>>()));
        body
    }

    #[test]
    fn full_metadata_gives_the_structure() {
        let columns: [(&str, u8, &[u8]); 7] = [
            ("id", code::LONG, &[]),
            ("名", code::VARCHAR, &[0x90, 0x01]),
            ("price", code::NEWDECIMAL, &[10, 2]),
            ("n", code::TINY, &[]),
            ("hash", code::STRING, &[254, 20]),
            ("char", code::STRING, &[238, 252]),
            ("note", code::BLOB, &[2]),
        ];
        // id is unsigned; the second character column, hash, is binary; the key is (n, id).
        let body = body(&columns, &[(1, &[0b1000_0000]), (2, &[45, 1, 63]), (8, &[3, 0])]);
        let table = parse_table_map(&body, &collations()).unwrap();
        assert_eq!(table_name(&body), Some((&b"shop"[..], &b"t"[..])));
        assert_eq!(table.name, TableName::new("shop", "t"));
        assert_eq!(table.key, [3, 0]);
        let types: Vec<_> = table.columns.iter().map(|c| c.ty.clone()).collect();
        assert_eq!(
            types,
            [
                ColumnType::Int { bytes: 4, unsigned: true },
                ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 },
                ColumnType::Decimal { precision: 10, scale: 2 },
                ColumnType::Int { bytes: 1, unsigned: false },
                ColumnType::Binary { length: 20, length_bytes: 1 },
                ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 }, // CHAR(255) in utf8mb4: 1020 bytes
                ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 },
            ]
        );
        assert_eq!(table.columns.iter().map(|c| c.nullable).collect::<Vec<_>>()[..3], [false, true, false]);
        assert_eq!(table.columns[1].name, "名");
    }

    #[test]
    fn labels_come_in_the_character_set_of_their_column() {
        let columns: [(&str, u8, &[u8]); 7] = [
            ("e", code::STRING, &[247, 1]),
            ("y", code::YEAR, &[]),
            ("s", code::STRING, &[248, 2]),
            ("b", code::BIT, &[3, 1]),
            ("f", code::STRING, &[247, 2]),
            ("j", code::JSON, &[4]),
            ("n", code::LONG, &[]),
        ];
        let labels: [(u8, &[u8]); 5] = [
            (1, &[0b1000_0000]), // of the year and the number
            (5, b"\x02\x01x\x03y,z"),
            (6, b"\x01\x02\xfcn\x02\x01a\x02\xc3\xbc"),
            (10, &[45, 0, 8]), // the first in latin1
            (12, &[0]),
        ];
        let table = parse_table_map(&body(&columns, &labels), &collations()).unwrap();
        let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>().into();
        let types: Vec<_> = table.columns.into_iter().map(|column| column.ty).collect();
        assert_eq!(
            types,
            [
                ColumnType::Enum { length: 1, labels: labels(&["ün"]) },
                ColumnType::Year,
                ColumnType::Set { length: 2, labels: labels(&["x", "y,z"]) },
                ColumnType::Bit { bits: 11 },
                ColumnType::Enum { length: 2, labels: labels(&["a", "ü"]) },
                ColumnType::Json { length_bytes: 4 },
                ColumnType::Int { bytes: 4, unsigned: false },
            ]
        );
        let without = parse_table_map(&body(&columns[..1], &[(10, &[45])]), &collations()).unwrap_err();
        assert!(without.message().contains("without its labels"), "{without}");
    }

    #[test]
    fn what_cannot_be_carried_is_refused_by_name() {
        for (ty, meta, charset, what) in [
            (code::VECTOR, &[4][..], 45, "VECTOR"),
            (7, &[], 45, "TIMESTAMP in the format before 5.6"),
            (code::GEOMETRY, &[4], 45, "GEOMETRY"),
            (code::VARCHAR_COMPRESSED, &[10, 0], 45, "compressed"),
            (code::VARCHAR, &[10, 0], 10, "swe7"),
            (code::VARCHAR, &[10, 0], 200, "unknown collation"),
            (99, &[], 45, "unknown"),
        ] {
            let body = body(&[("id", code::LONG, &[]), ("x", ty, meta)], &[(1, &[0]), (2, &[charset])]);
            let error = parse_table_map(&body, &collations()).unwrap_err();
            assert_eq!(error.code(), Code::TypeUnsupported, "{error}");
            assert!(error.message().starts_with("column x of shop.t") && error.message().contains(what), "{error}");
        }
    }

    #[test]
    fn missing_metadata_is_a_setting() {
        let with_names = body(&[("id", code::LONG, &[])], &[(1, &[0])]);
        let error = parse_table_map(&with_names[..with_names.len() - 5], &collations()).unwrap_err();
        assert_eq!(error.code(), Code::SourceSetting, "{error}");
        assert!(error.message().contains("SET GLOBAL binlog_row_metadata=FULL"));
    }

    #[test]
    fn hostile_bytes_give_an_error_at_worst() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let columns: [(&str, u8, &[u8]); 3] =
            [("id", code::STRING, &[247, 1]), ("a", code::VARCHAR, &[1, 1]), ("b", code::STRING, &[248, 4])];
        let optional: [(u8, &[u8]); 5] =
            [(2, &[45, 1, 63]), (5, b"\x02\x01x\x01y"), (6, b"\x01\x01x"), (10, &[45]), (8, &[0])];
        let sound = body(&columns, &optional);
        assert!(parse_table_map(&sound, &collations()).is_ok());
        for length in 0..sound.len() {
            assert!(parse_table_map(&sound[..length], &collations()).is_err(), "{length}");
        }
        for _ in 0..100_000 {
            let mut bytes = sound.clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            let _ignored = parse_table_map(&bytes, &collations());
            let mut noise = vec![0; random.random_range(0..80)];
            random.fill_bytes(&mut noise);
            let _ignored = parse_table_map(&noise, &collations());
        }
    }
}
