//! Columns that a mapping sets to a constant text, and what finds the rows that have it.
//!
//! Where several source tables meet in one target table, such a column says whose row it is. So the value must be in
//! the column exactly as the mapping says it, and is found again byte by byte, whatever the collation takes for equal.
//!
//! Failure: a text that the column would not hold unchanged is a reason against the mapping, before any row is written.

use schemas::decode::{Datum, DatumKind, WriterColumn};
use schemas::progress::quote;

use super::columns::TargetColumn;
use super::statements::as_bytes;
use super::value::{Bind, Unfit};

/// A constant, as a value of its column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Constant {
    /// Of the integer types.
    Integer(i64),
    /// Of the text types and ENUM.
    Text(String),
    /// Of the binary types.
    Bytes(Vec<u8>),
}

impl Constant {
    /// The constant of a text for a column, and how it is written there; or why the column cannot hold it.
    pub(crate) fn new(text: &str, column: &TargetColumn) -> Result<(Self, Bind), String> {
        let (constant, kind) = match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
                let number = text.parse().ok().filter(|number| in_range(*number, column));
                let number =
                    number.ok_or_else(|| format!("{text:?} is no number that {} holds", column.column_type))?;
                (Self::Integer(number), DatumKind::Int)
            }
            "enum" => (Self::Text(text.to_owned()), DatumKind::Enum),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                (Self::Bytes(text.as_bytes().to_vec()), DatumKind::Bytes)
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                (Self::Text(text.to_owned()), DatumKind::Text)
            }
            _ => return Err(format!("{} takes no constant; text, integers and ENUM do", column.column_type)),
        };
        let size = match &constant {
            Self::Text(text) if matches!(column.data_type.as_str(), "char" | "varchar") => text.chars().count(),
            Self::Text(text) if kind == DatumKind::Text => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        if size as u64 > column.length.max(1) || (size > 0 && column.length == 0) {
            return Err(format!("{text:?} is longer than {}", column.column_type));
        }
        let labels = if kind == DatumKind::Enum { vec![text.to_owned()] } else { Vec::new() };
        let bind = Bind::new(&WriterColumn { name: column.name.clone(), kind, nullable: false, labels }, column)?;
        bind.value(&constant.datum()).map_err(|why| format!("{text:?} {}", why.what))?;
        Ok((constant, bind))
    }

    /// As a row has it.
    pub(crate) fn datum(&self) -> Datum<'_> {
        match self {
            Self::Integer(number) => Datum::Int(*number),
            Self::Text(text) => Datum::Text(text),
            Self::Bytes(bytes) => Datum::Bytes(bytes),
        }
    }

    /// The condition that rows with this constant meet, and no others: `` `shard` = 'eu' AND … ``.
    pub(crate) fn condition(&self, name: &str, bind: &Bind) -> Result<String, Unfit> {
        let name = quote(name);
        let mut literal = String::new();
        bind.key_literal(&self.datum(), &mut literal)?;
        Ok(match self {
            Self::Text(_) => format!("{name} = {literal} AND {} = {literal}", as_bytes(&name)),
            Self::Integer(_) | Self::Bytes(_) => format!("{name} = {literal}"),
        })
    }
}

fn in_range(number: i64, column: &TargetColumn) -> bool {
    let bits = match column.data_type.as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        _ => 64,
    };
    let number = i128::from(number);
    if column.column_type.contains("unsigned") {
        (0..1 << bits).contains(&number)
    } else {
        (-(1 << (bits - 1))..1 << (bits - 1)).contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: &str, column_type: &str, length: u64) -> TargetColumn {
        TargetColumn {
            name: "shard".to_owned(),
            data_type: data_type.to_owned(),
            column_type: column_type.to_owned(),
            length,
            octets: length,
            charset: Some("utf8mb4".to_owned()),
            ..TargetColumn::default()
        }
    }

    fn condition(text: &str, column: &TargetColumn) -> Result<String, String> {
        let (constant, bind) = Constant::new(text, column)?;
        constant.condition(&column.name, &bind).map_err(|why| why.what.to_owned())
    }

    #[test]
    fn a_constant_is_found_as_it_was_written() {
        let varchar = column("varchar", "varchar(4)", 4);
        assert_eq!(
            condition("e'u", &varchar).unwrap(),
            "`shard` = 'e\\'u' AND BINARY CONVERT(`shard` USING utf8mb4) = 'e\\'u'"
        );
        assert_eq!(condition("7", &column("tinyint", "tinyint unsigned", 0)).unwrap(), "`shard` = 7");
        assert_eq!(condition("é", &column("varbinary", "varbinary(2)", 2)).unwrap(), "`shard` = X'c3a9'");
        assert!(condition("eu", &column("enum", "enum('eu','us')", 2)).unwrap().starts_with("`shard` = 'eu' AND"));
        assert!(condition("", &varchar).is_ok());
    }

    #[test]
    fn a_constant_that_the_column_would_change_is_refused() {
        for (text, column) in [
            ("shard1", column("varchar", "varchar(4)", 4)),
            ("a ", column("char", "char(4)", 4)),
            ("256", column("tinyint", "tinyint unsigned", 0)),
            ("-1", column("bigint", "bigint unsigned", 0)),
            ("128", column("tinyint", "tinyint(4)", 0)),
            ("one", column("int", "int(11)", 0)),
            ("EU", column("enum", "enum('eu','us')", 2)),
            ("é", column("binary", "binary(3)", 3)),
            ("1", column("datetime", "datetime", 0)),
        ] {
            assert!(condition(text, &column).is_err(), "{text} {}", column.column_type);
        }
    }
}
