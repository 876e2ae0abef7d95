//! A table's structure out of a TABLE_MAP event with full metadata (`binlog_row_metadata=FULL`).
//!
//! The structure is a pure function of the event's body and the server's collations. A type that cannot be carried
//! without loss is refused by the column's name; so is an event without the metadata that settles names, signs and
//! character sets. Callers filter by [`table_name`] first: a table that nobody follows may hold anything.

use schemas::charset::Charset;
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use schemas::{Code, Error, Result};

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
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
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
    let mut types = Types { table: &name, metadata: &metadata, collations, numeric: 0, character: 0 };
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

/// The optional metadata.
#[derive(Debug, Default)]
struct Metadata<'a> {
    /// Bits of the numeric columns, highest bit first: whether they are UNSIGNED.
    unsigned: &'a [u8],
    /// Collation of character columns that `charset_exceptions` does not name.
    default_collation: Option<u64>,
    /// Index among the character columns, and collation.
    charset_exceptions: Vec<(u64, u64)>,
    /// Collation of each character column, when there is no default.
    column_collations: Vec<u64>,
    names: Vec<&'a [u8]>,
    key: Vec<u64>,
}

impl<'a> Metadata<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        const SIGNEDNESS: u8 = 1;
        const DEFAULT_CHARSET: u8 = 2;
        const COLUMN_CHARSET: u8 = 3;
        const COLUMN_NAME: u8 = 4;
        const SIMPLE_PRIMARY_KEY: u8 = 8;
        const PRIMARY_KEY_WITH_PREFIX: u8 = 9;

        let mut all = Cursor::new(bytes);
        let mut metadata = Self::default();
        while !all.is_empty() {
            let field = all.u8()?;
            let value = all.lenenc_bytes()?;
            let mut rest = Cursor::new(value);
            match field {
                SIGNEDNESS => metadata.unsigned = value,
                DEFAULT_CHARSET => {
                    metadata.default_collation = Some(rest.lenenc()?);
                    metadata.charset_exceptions = pairs(rest)?;
                }
                COLUMN_CHARSET => metadata.column_collations = numbers(rest)?,
                COLUMN_NAME => {
                    while !rest.is_empty() {
                        metadata.names.push(rest.lenenc_bytes()?);
                    }
                }
                SIMPLE_PRIMARY_KEY => metadata.key = numbers(rest)?,
                // Values that differ within a unique prefix differ as a whole: the length adds nothing here.
                PRIMARY_KEY_WITH_PREFIX => metadata.key = pairs(rest)?.into_iter().map(|(column, _)| column).collect(),
                // Members of ENUM and SET, kinds of geometry: of columns that are refused anyway.
                _ => {}
            }
        }
        Some(metadata)
    }

    fn is_unsigned(&self, numeric: usize) -> Option<bool> {
        self.unsigned.get(numeric / 8).map(|byte| byte & (0x80 >> (numeric % 8)) != 0)
    }

    fn collation(&self, character: usize) -> Option<u64> {
        let Some(default) = self.default_collation else { return self.column_collations.get(character).copied() };
        let exception = self.charset_exceptions.iter().find(|(index, _)| usize::try_from(*index) == Ok(character));
        Some(exception.map_or(default, |(_, collation)| *collation))
    }
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

/// Resolves the columns in turn, counting the numeric and the character columns as the metadata does.
struct Types<'a> {
    table: &'a TableName,
    metadata: &'a Metadata<'a>,
    collations: &'a Collations,
    numeric: usize,
    character: usize,
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
            code::STRING => self.fixed(name, first, second),
            other => Err(self.refused(name, type_name(other))),
        }
    }

    fn int(&mut self, bytes: u8, name: &str) -> Result<ColumnType> {
        let unsigned = self.metadata.is_unsigned(self.numeric);
        let unsigned = unsigned.ok_or_else(|| self.odd(name, "comes without its sign"))?;
        self.number(ColumnType::Int { bytes, unsigned })
    }

    fn number(&mut self, ty: ColumnType) -> Result<ColumnType> {
        self.numeric += 1;
        Ok(ty)
    }

    /// A type number of CHAR and BINARY may hide ENUM or SET, and carries two bits of the length.
    fn fixed(&mut self, name: &str, first: u8, second: u8) -> Result<ColumnType> {
        let (real, length) = if first & 0x30 == 0x30 {
            (first, u16::from(second))
        } else {
            (first | 0x30, u16::from(second) | (u16::from((first & 0x30) ^ 0x30) << 4))
        };
        if real != code::STRING {
            return Err(self.refused(name, type_name(real)));
        }
        let length_bytes = if length > 255 { 2 } else { 1 };
        self.string(name, ColumnType::Binary { length, length_bytes }, length_bytes)
    }

    /// `bytes` for the collation `binary`, text for character sets that are UTF-8 as they stand.
    fn string(&mut self, name: &str, bytes: ColumnType, length_bytes: u8) -> Result<ColumnType> {
        let collation = self.metadata.collation(self.character);
        let collation = collation.ok_or_else(|| self.odd(name, "comes without its character set"))?;
        self.character += 1;
        if collation == BINARY {
            return Ok(bytes);
        }
        match self.collations.charset(collation) {
            Some(name_of_set) => match Charset::of(name_of_set) {
                Some(charset) => Ok(ColumnType::Text { length_bytes, charset }),
                None => Err(self.refused(name, &format!("text in {name_of_set}"))),
            },
            None => Err(self.refused(name, &format!("text in the unknown collation {collation}"))),
        }
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
        13 => "YEAR",
        code::BIT => "BIT",
        code::BLOB_COMPRESSED => "a compressed TEXT or BLOB",
        code::VARCHAR_COMPRESSED => "a compressed VARCHAR or VARBINARY",
        242 => "VECTOR",
        code::JSON => "JSON of MySQL",
        code::ENUM => "ENUM",
        code::SET => "SET",
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
        [(45, "utf8mb4"), (63, "binary"), (9, "latin2"), (33, "utf8mb3")].into_iter().collect()
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
    fn what_cannot_be_carried_is_refused_by_name() {
        for (ty, meta, charset, what) in [
            (code::BIT, &[1, 0][..], 45, "BIT"),
            (13, &[], 45, "YEAR"),
            (7, &[], 45, "TIMESTAMP in the format before 5.6"),
            (code::STRING, &[247, 1], 45, "ENUM"),
            (code::STRING, &[248, 1], 45, "SET"),
            (code::JSON, &[4], 45, "JSON"),
            (code::GEOMETRY, &[4], 45, "GEOMETRY"),
            (code::VARCHAR_COMPRESSED, &[10, 0], 45, "compressed"),
            (code::VARCHAR, &[10, 0], 9, "latin2"),
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
            [("id", code::LONG, &[]), ("a", code::VARCHAR, &[1, 1]), ("b", code::STRING, &[254, 4])];
        let sound = body(&columns, &[(1, &[0]), (2, &[45, 1, 63]), (8, &[0])]);
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
