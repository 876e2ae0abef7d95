//! What the decoder does with a record, in the order of the writer's fields.

use super::exact::ExactField;
use super::input::{Fault, Input};
use super::{Datum, EventHead, WriterColumn};
use crate::encode::Op;

/// The plan of an envelope.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fields: Vec<Field>,
    pub(super) row: Vec<Column>,
}

/// A field of the envelope. Unions of null and another know null's index.
#[derive(Debug)]
pub(super) enum Field {
    Before {
        null: usize,
    },
    After {
        null: usize,
    },
    Source(Vec<SourceField>),
    Op,
    /// `skip` reads over the record behind the union.
    Exact {
        null: usize,
        fields: Vec<ExactField>,
        skip: Skip,
    },
    Skip(Skip),
}

/// A field of `source`.
#[derive(Debug)]
pub(super) enum SourceField {
    TsMs,
    Gtid { null: usize },
    File,
    Pos,
    Row,
    Ordinal,
    Generation,
    Skip(Skip),
}

/// A column of the row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) null: Option<usize>,
    pub(super) read: Read,
}

/// How a column's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Int,
    Long,
    /// Bytes that are a number of at most so many bytes.
    Decimal(usize),
    Float,
    Double,
    Text,
    Bytes,
    Bool,
    /// Little-endian bytes of so many bits.
    Bits(u8),
}

/// What is read over, whatever it is.
#[derive(Debug, Clone)]
pub(super) enum Skip {
    Fixed(usize),
    Number,
    Bytes,
    Union(Vec<Skip>),
    Record(Vec<Skip>),
    /// Arrays (one item) and maps (key and value).
    Blocks(Box<Skip>),
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid(Fault),
    /// `exact` speaks of a column that is not there, or whose kind leaves nothing out.
    Exact,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

impl Plan {
    /// Reads a whole envelope; `input` must be empty afterwards, which the caller checks.
    pub(super) fn read<'a>(
        &self,
        columns: &[WriterColumn],
        input: &mut Input<'a>,
        before: &mut Vec<Datum<'a>>,
        after: &mut Vec<Datum<'a>>,
    ) -> Result<EventHead<'a>, Refusal> {
        let mut exact = None;
        let mut head = EventHead {
            op: Op::Create,
            has_before: false,
            has_after: false,
            ordinal: 0,
            generation: 0,
            gtid: None,
            source_ts_ms: 0,
            file: "",
            pos: 0,
            row: 0,
        };
        for field in &self.fields {
            match field {
                Field::Before { null } => head.has_before = self.row(*null, input, before)?,
                Field::After { null } => head.has_after = self.row(*null, input, after)?,
                Field::Source(fields) => source(fields, input, &mut head)?,
                Field::Op => head.op = op(input.text()?)?,
                Field::Exact { null, fields, skip } => {
                    // The rows may come behind it.
                    if !input.is_null(*null)? {
                        exact = Some((fields, *input));
                        skip.over(input)?;
                    }
                }
                Field::Skip(skip) => skip.over(input)?,
            }
        }
        let fits = match head.op {
            Op::Create => !head.has_before && head.has_after,
            Op::Update => head.has_before && head.has_after,
            Op::Delete => head.has_before && !head.has_after,
        };
        if !fits {
            return Err(Refusal::Invalid("before and after do not fit op"));
        }
        if let Some((fields, mut input)) = exact {
            super::exact::put(fields, columns, &mut input, before, after)?;
        }
        Ok(head)
    }

    #[inline]
    fn row<'a>(&self, null: usize, input: &mut Input<'a>, out: &mut Vec<Datum<'a>>) -> Result<bool, Fault> {
        if input.is_null(null)? {
            return Ok(false);
        }
        out.reserve(self.row.len());
        for column in &self.row {
            let datum = match column.null {
                Some(null) if input.is_null(null)? => Datum::Null,
                _ => column.read.datum(input)?,
            };
            out.push(datum);
        }
        Ok(true)
    }
}

impl Read {
    #[inline]
    fn datum<'a>(self, input: &mut Input<'a>) -> Result<Datum<'a>, Fault> {
        Ok(match self {
            Self::Int => Datum::Int(i64::from(input.int()?)),
            Self::Long => Datum::Int(input.long()?),
            Self::Decimal(most) => {
                let bytes = input.bytes()?;
                if bytes.is_empty() || bytes.len() > most {
                    return Err("a decimal has no bytes or more than its precision needs");
                }
                Datum::Decimal(bytes)
            }
            Self::Float => Datum::Float(f32::from_le_bytes(input.array()?)),
            Self::Double => Datum::Double(f64::from_le_bytes(input.array()?)),
            Self::Text => Datum::Text(input.text()?),
            Self::Bytes => Datum::Bytes(input.bytes()?),
            Self::Bool => match input.array()? {
                [bit @ (0 | 1)] => Datum::Int(i64::from(bit)),
                _ => return Err("a boolean is neither 0 nor 1"),
            },
            Self::Bits(bits) => {
                let bytes = input.bytes()?;
                let rest = bits % 8;
                let beyond = rest != 0 && bytes.last().is_some_and(|last| last >> rest != 0);
                if bytes.len() != usize::from(bits.div_ceil(8)) || beyond {
                    return Err("a BIT is not as long as its schema says");
                }
                Datum::Bytes(bytes)
            }
        })
    }
}

fn source<'a>(fields: &[SourceField], input: &mut Input<'a>, head: &mut EventHead<'a>) -> Result<(), Fault> {
    for field in fields {
        match field {
            SourceField::TsMs => head.source_ts_ms = input.long()?,
            SourceField::Gtid { null } => head.gtid = if input.is_null(*null)? { None } else { Some(input.text()?) },
            SourceField::File => head.file = input.text()?,
            SourceField::Pos => head.pos = input.long()?,
            SourceField::Row => head.row = input.int()?,
            SourceField::Ordinal => head.ordinal = input.long()?,
            SourceField::Generation => head.generation = input.int()?,
            SourceField::Skip(skip) => skip.over(input)?,
        }
    }
    Ok(())
}

fn op(letter: &str) -> Result<Op, Fault> {
    match letter {
        "c" => Ok(Op::Create),
        "u" => Ok(Op::Update),
        "d" => Ok(Op::Delete),
        _ => Err("op is none of c, u, d"),
    }
}

impl Skip {
    pub(super) fn over(&self, input: &mut Input<'_>) -> Result<(), Fault> {
        match self {
            Self::Fixed(bytes) => input.take(*bytes).map(drop),
            Self::Number => input.long().map(drop),
            Self::Bytes => input.bytes().map(drop),
            Self::Union(branches) => branches[input.branch(branches.len())?].over(input),
            Self::Record(fields) => fields.iter().try_for_each(|field| field.over(input)),
            Self::Blocks(item) => blocks(item, input),
        }
    }
}

fn blocks(item: &Skip, input: &mut Input<'_>) -> Result<(), Fault> {
    loop {
        let count = input.long()?;
        match count {
            0 => return Ok(()),
            // a negative count comes with the size in bytes
            ..0 => input.bytes().map(drop)?,
            1.. => {
                // items of no bytes would otherwise let a few bytes keep us busy for years
                if usize::try_from(count).map_or(true, |count| count > input.left()) {
                    return Err("a block has more items than bytes");
                }
                for _ in 0..count {
                    item.over(input)?;
                }
            }
        }
    }
}
