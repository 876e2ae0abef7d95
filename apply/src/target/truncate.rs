//! Taking all of a lane's rows out of its target tables, when the source's table was truncated.
//!
//! By DELETE, a chunk at a time, and not by the server's TRUNCATE: that one commits by itself, so nothing would tie it
//! to the progress row, and a worker that slept could empty the table after others had gone on. Here every chunk is a
//! transaction whose first statement finds the progress row under this worker's token at the lane's offset. Whoever
//! lost the lane deletes nothing more; whoever takes it over deletes what is left. The last chunk moves the progress.
//!
//! Where several source tables meet in one target table only the rows with the mapping's constants go; a mapping
//! without constants cannot tell its rows, and must not come here.

use std::collections::BTreeMap;

use schemas::progress::quote;
use schemas::table::TableName;

use super::columns::{TargetTable, refused};
use super::connection::Session;
use super::constants::Constant;
use super::failure::{Failure, Fault};
use super::progress::Lane;
use super::writer::WriteError;

/// Rows of one table that a transaction deletes.
const CHUNK: u64 = 5000;

/// Deletes the lane's rows from its target tables, those that have the `constants`, and moves the lane to `to` (offset of the next
/// record, ordinal). What was deleted before an error stays deleted; doing it again goes on. Answers how many rows went.
///
/// # Errors
/// [`WriteError::Taken`] when somebody else owns the lane; [`WriteError::Refused`] when a table does not fit; the others
/// as of [`super::writer::write_batch`].
pub async fn empty(
    session: &mut Session,
    lane: &mut Lane,
    (tables, constants): (&[TableName], &BTreeMap<String, String>),
    to: (i64, i64),
) -> Result<u64, WriteError> {
    let mut deletes = Vec::with_capacity(tables.len());
    for table in tables {
        let table = TargetTable::read(session, table).await?;
        let sql = delete(&table, constants).map_err(|reasons| refused(reasons.join("; ")))?;
        deletes.push(sql);
    }
    let mut gone = 0;
    loop {
        match chunk(session, lane, &deletes, to).await {
            Ok((count, last)) => {
                gone += count;
                if last {
                    lane.committed(to);
                    tracing::info!(lane = %lane.key(), rows = gone, "the tables are empty");
                    return Ok(gone);
                }
            }
            Err(Stop::Taken) => {
                session.run("ROLLBACK").await?;
                return Err(WriteError::Taken(lane.taken()));
            }
            Err(Stop::Failed(failure)) => {
                if failure.fault != Fault::Lost {
                    session.run("ROLLBACK").await?;
                }
                return Err(failure.into());
            }
            // Committed or not: only the row tells.
            Err(Stop::Unknown(failure)) => return Err(WriteError::Lost(failure.error)),
        }
    }
}

/// Why a chunk is not committed.
enum Stop {
    Taken,
    Failed(Failure),
    Unknown(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Deletes a chunk of every table; the rows that went, and whether there are no more, so that the lane has moved.
async fn chunk(session: &mut Session, lane: &Lane, deletes: &[String], to: (i64, i64)) -> Result<(u64, bool), Stop> {
    if session.run(format!("START TRANSACTION; {}", lane.fence_sql())).await? != 1 {
        return Err(Stop::Taken);
    }
    let (mut gone, mut last) = (0, true);
    for delete in deletes {
        let count = session.run(delete.as_str()).await?;
        gone += count;
        last &= count < CHUNK;
    }
    if last && session.run(lane.advance_sql(lane.next_offset(), to)).await? != 1 {
        return Err(Stop::Taken);
    }
    session.run("COMMIT").await.map_err(Stop::Unknown)?;
    Ok((gone, last))
}

/// The statement that deletes a chunk of the table's rows, or why the table cannot be emptied.
fn delete(table: &TargetTable, constants: &BTreeMap<String, String>) -> Result<String, Vec<String>> {
    let mut reasons = table.reasons();
    let mut conditions = Vec::new();
    for (name, text) in constants {
        match table.column(name) {
            Some(at) => {
                let column = &table.columns[at];
                let condition = Constant::new(text, column).and_then(|(constant, bind)| {
                    constant.condition(&column.name, &bind).map_err(|why| format!("{text:?} {}", why.what))
                });
                match condition {
                    Ok(condition) => conditions.push(condition),
                    Err(why) => reasons.push(format!("column `{name}` of {}: {why}", table.name)),
                }
            }
            None => reasons.push(format!("{} has no column `{name}`, which the mapping sets", table.name)),
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let own = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let name = format!("{}.{}", quote(&table.name.schema), quote(&table.name.table));
    Ok(format!("DELETE FROM {name}{own} LIMIT {CHUNK}"))
}
