//! `exact`: for each row image a map from a column's original name to the text of what its typed field cannot carry.

use super::input::{Fault, Input};
use super::plan::{Refusal, Skip};
use super::{Datum, WriterColumn};

/// A field of the record.
#[derive(Debug)]
pub(super) enum ExactField {
    Before { null: usize },
    After { null: usize },
    Skip(Skip),
}

/// Reads the record and puts its texts in the place of the rows' datums.
#[cold]
pub(super) fn put<'a>(
    fields: &[ExactField],
    columns: &[WriterColumn],
    input: &mut Input<'a>,
    before: &mut [Datum<'a>],
    after: &mut [Datum<'a>],
) -> Result<(), Refusal> {
    for field in fields {
        match field {
            ExactField::Before { null } => image(*null, columns, input, before)?,
            ExactField::After { null } => image(*null, columns, input, after)?,
            ExactField::Skip(skip) => skip.over(input)?,
        }
    }
    Ok(())
}

fn image<'a>(
    null: usize,
    columns: &[WriterColumn],
    input: &mut Input<'a>,
    row: &mut [Datum<'a>],
) -> Result<(), Refusal> {
    if input.is_null(null)? {
        return Ok(());
    }
    // Each column once at most, so that a record of many entries cannot keep us busy.
    let mut left = row.len();
    loop {
        let count = block(input)?;
        if count == 0 {
            return Ok(());
        }
        left = left.checked_sub(count).ok_or("`exact` has more entries than the row has columns")?;
        for _ in 0..count {
            let (name, text) = (input.text()?, input.text()?);
            let at = columns.iter().position(|column| column.name == name).ok_or(Refusal::Exact)?;
            if !columns[at].kind.has_exact() {
                return Err(Refusal::Exact);
            }
            row[at] = Datum::Exact(text);
        }
    }
}

/// The count of entries of a block; 0 ends the map.
fn block(input: &mut Input<'_>) -> Result<usize, Fault> {
    let count = input.long()?;
    if count < 0 {
        // the block's size in bytes follows
        input.long()?;
    }
    usize::try_from(count.unsigned_abs()).map_err(|_| "a block has more items than bytes")
}
