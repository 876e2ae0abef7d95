//! The progress rows of all lanes of a topic, read together: how far the siblings of a lane are.
//!
//! Lanes of one topic compare by the position of their last event, (generation, ordinal). Reading takes no lock, so what is
//! read is a moment's view of committed rows; rows only ever advance unless an operator moves them, so a lane that was seen
//! beyond a place is beyond it.

use mysql_async::Value;
use schemas::progress::{self, column};

use super::connection::Session;
use super::failure::Failure;

/// A lane of the topic, as its progress row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sibling {
    /// The partition.
    pub(crate) partition: i32,
    /// Offset of the next record.
    pub(crate) next_offset: i64,
    /// Generation of the last event applied.
    pub(crate) generation: i32,
    /// Its ordinal.
    pub(crate) ordinal: i64,
}

/// The progress rows of a topic, by partition.
///
/// # Errors
/// `OT5003` without a progress table; lost connections; refusals.
pub(crate) async fn siblings(
    session: &mut Session,
    schema: &str,
    (pipeline, topic): (&str, &str),
) -> Result<Vec<Sibling>, Failure> {
    let columns = [column::PARTITION, column::NEXT_OFFSET, column::GENERATION, column::ORDINAL];
    let sql = format!(
        "SELECT {} FROM {} WHERE `{}` = ? AND `{}` = ? ORDER BY `{}`",
        columns.map(progress::quote).join(", "),
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC,
        column::PARTITION,
    );
    let rows: Vec<(i32, i64, i32, i64)> = session.rows(&sql, vec![Value::from(pipeline), Value::from(topic)]).await?;
    let sibling =
        |(partition, next_offset, generation, ordinal)| Sibling { partition, next_offset, generation, ordinal };
    Ok(rows.into_iter().map(sibling).collect())
}
