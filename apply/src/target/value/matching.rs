//! Finding a row by what a column holds rather than by a key: NULL meets NULL, and nothing else but the same bytes.
//!
//! A collation, the padding of strings, the two zeros of floating point and JSON's numbers all take different values
//! for equal; deleting or changing one of two such rows would be the wrong one half of the time. So text compares as
//! the bytes of its UTF-8, ENUM and SET by their labels' bytes, a document by its printed text, and zero with its sign.

use mysql_async::Value;
use schemas::decode::Datum;

use super::super::statements::as_bytes;
use super::{Bind, Unfit};

impl Bind {
    /// The condition that only rows with the value meet; its parameters are those of [`Bind::match_values`]. `folds`: the
    /// column's collation takes different bytes for equal, or they are of another character set.
    pub(crate) fn match_condition(&self, name: &str, folds: bool) -> String {
        match self {
            Self::Text { .. } if !folds => format!("{name} <=> ?"),
            Self::Text { .. } | Self::Enum(_) | Self::Set(_) => format!("{} <=> ?", as_bytes(name)),
            // The same text goes the same way into the column and through the cast.
            Self::Json { .. } => format!("BINARY CAST({name} AS CHAR) <=> BINARY CAST(CAST(? AS JSON) AS CHAR)"),
            // MySQL keeps the sign of zero and MariaDB does not, neither in the column nor in the cast.
            Self::Float { .. } | Self::Double { .. } => {
                format!("{name} <=> ? AND IF({name} = 0, LEFT({name}, 1), NULL) <=> LEFT(CAST(? AS DOUBLE), 1)")
            }
            _ => format!("{name} <=> {}", self.key_placeholder()),
        }
    }

    /// The parameters of [`Bind::match_condition`].
    pub(crate) fn match_values(&self, datum: &Datum<'_>, values: &mut Vec<Value>) -> Result<(), Unfit> {
        let value = if *datum == Datum::Null { Value::NULL } else { self.key_value(datum)? };
        let zero = match value {
            Value::Double(v) if v == 0.0 => Value::from(if v.is_sign_negative() { "-0" } else { "0" }),
            _ => Value::NULL,
        };
        values.push(value);
        if matches!(self, Self::Float { .. } | Self::Double { .. }) {
            values.push(zero);
        }
        Ok(())
    }
}
