//! The progress rows of all lanes of a topic, read together: how far the siblings of a lane are.
//!
//! Lanes of one topic compare by the position of their last event, (generation, ordinal). Reading takes no lock, so what is
//! read is a moment's view of committed rows; rows only ever advance unless an operator moves them, so a lane that was seen
//! beyond a place is beyond it.

use mysql_async::Value;
use schemas::progress::{self, column};

use super::connection::Session;
use super::failure::{Failure, Fault};
use super::progress::LaneKey;

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
    /// Ordinal of the event in front of which the lane stands, if it stands.
    pub(crate) pending: Option<i64>,
    /// Its owner's token.
    pub(crate) owner: String,
    /// In front of this offset it replays.
    pub(crate) replay_until: i64,
    /// Up to this source position it replays; empty: none.
    pub(crate) replay_past: String,
    /// The operator's request that moved it last; empty: none.
    pub(crate) request: String,
}

impl Sibling {
    /// The position of its last event.
    pub(crate) fn position(&self) -> (i32, i64) {
        (self.generation, self.ordinal)
    }
}

/// The progress rows of a topic (of a pipeline, by name), by partition.
///
/// # Errors
/// `OT5003` without a progress table; lost connections; refusals.
pub(crate) async fn siblings(session: &mut Session, schema: &str, of: (&str, &str)) -> Result<Vec<Sibling>, Failure> {
    read(session, schema, of, "").await
}

async fn read(
    session: &mut Session,
    schema: &str,
    (pipeline, topic): (&str, &str),
    lock: &str,
) -> Result<Vec<Sibling>, Failure> {
    let columns = [
        column::PARTITION,
        column::NEXT_OFFSET,
        column::GENERATION,
        column::ORDINAL,
        column::PENDING_ORDINAL,
        column::OWNER,
        column::REPLAY_UNTIL,
        column::REPLAY_PAST,
        column::REQUEST_ID,
    ];
    let sql = format!(
        "SELECT {} FROM {} WHERE `{}` = ? AND `{}` = ? ORDER BY `{}`{lock}",
        columns.map(progress::quote).join(", "),
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC,
        column::PARTITION,
    );
    type Columns = (i32, i64, i32, i64, Option<i64>, String, i64, String, String);
    let rows: Vec<Columns> = session.rows(&sql, vec![Value::from(pipeline), Value::from(topic)]).await?;
    let rows = rows.into_iter().map(|row| {
        let (partition, next_offset, generation, ordinal, pending, owner, replay_until, replay_past, request) = row;
        Sibling { partition, next_offset, generation, ordinal, pending, owner, replay_until, replay_past, request }
    });
    Ok(rows.collect())
}

/// Joins the lanes of the topic of `key` up to the one that is furthest beyond `at` (generation, ordinal), and takes them
/// from their owners; the ordinal. `None`: none is beyond, or the lane is not `token`'s any more, and nothing is changed.
/// All rows are locked in the order of their keys, so nobody moves one in between.
///
/// # Errors
/// [`Fault::Busy`] while an owner still writes; lost connections; refusals.
pub(crate) async fn join_ahead(
    session: &mut Session,
    schema: &str,
    (key, token): (&LaneKey, &str),
    at: (i32, i64),
) -> Result<Option<i64>, Failure> {
    let joined = async {
        session.run("START TRANSACTION").await?;
        let of = (key.pipeline.as_str(), key.topic.as_str());
        let rows = read(session, schema, of, " FOR UPDATE").await?;
        let own = rows.iter().any(|row| row.partition == key.partition && row.owner == token);
        let furthest = rows.iter().filter(|row| own && row.position() > at).map(|row| row.ordinal).max();
        let Some(until) = furthest else {
            session.run("ROLLBACK").await?;
            return Ok(None);
        };
        let sql = format!(
            "UPDATE {} SET `{}` = {until}, `{}` = '' WHERE `{}` = ? AND `{}` = ?",
            progress::qualified(schema),
            column::JOINED_UNTIL,
            column::OWNER,
            column::PIPELINE,
            column::TOPIC,
        );
        session.execute(&sql, vec![Value::from(of.0), Value::from(of.1)]).await?;
        session.run("COMMIT").await?;
        Ok::<_, Failure>(Some(until))
    };
    match joined.await {
        Err(failure) if failure.fault != Fault::Lost => {
            session.run("ROLLBACK").await?;
            Err(failure)
        }
        done => done,
    }
}
