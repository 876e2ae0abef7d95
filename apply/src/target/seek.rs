//! Progress rows as an operator sees and moves them: read without a lock, moved in one transaction.
//!
//! A move clears the owner's token, so a worker that still believes in the lane writes nothing more; it carries the
//! request's id, so a move that was made is not made again. What lies between the new position and the old one is
//! replayed: `replay_until` only ever grows, to the furthest offset that the rows at the target can come from.

use mysql_async::prelude::FromRow;
use mysql_async::{FromRowError, Row, Value};
use schemas::progress::{self, column};
use schemas::{Code, Error};

use super::connection::Session;
use super::failure::{Failure, Fault};
use super::progress::{LaneKey, identity, insert_sql, matches_key, no_counts};

/// A progress row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Kafka's id of the topic.
    pub topic_id: String,
    /// Offset of the next record.
    pub next_offset: i64,
    /// Ordinal of the last event applied.
    pub ordinal: i64,
    /// Its generation.
    pub generation: i32,
    /// Whether a worker owns the lane.
    pub owned: bool,
    /// The last request carried out; empty: none.
    pub request_id: String,
    /// In front of this offset the lane replays.
    pub replay_until: i64,
    /// Up to this source position the lane replays; empty: none.
    pub replay_past: String,
    /// What the last replay did: rows rewritten, restored, removed, and to remove but missing.
    pub replayed: [i64; 4],
    /// Whether the lane still passes over transactions that its start contains.
    pub has_start: bool,
}

impl Position {
    /// Whether the next events are replayed.
    pub fn is_replaying(&self) -> bool {
        self.next_offset < self.replay_until || !self.replay_past.is_empty()
    }
}

const COLUMNS: [&str; 15] = [
    column::TOPIC,
    column::PARTITION,
    column::TOPIC_ID,
    column::NEXT_OFFSET,
    column::ORDINAL,
    column::GENERATION,
    column::OWNER,
    column::REQUEST_ID,
    column::REPLAY_UNTIL,
    column::REPLAY_PAST,
    column::REPLAY_REWRITTEN,
    column::REPLAY_RESTORED,
    column::REPLAY_REMOVED,
    column::REPLAY_MISSING,
    column::START_GTID,
];

impl FromRow for Position {
    fn from_row_opt(mut row: Row) -> Result<Self, FromRowError> {
        let read = |row: &mut Row| {
            Some(Self {
                topic: row.take_opt(0)?.ok()?,
                partition: row.take_opt(1)?.ok()?,
                topic_id: row.take_opt(2)?.ok()?,
                next_offset: row.take_opt(3)?.ok()?,
                ordinal: row.take_opt(4)?.ok()?,
                generation: row.take_opt(5)?.ok()?,
                owned: !row.take_opt::<String, _>(6)?.ok()?.is_empty(),
                request_id: row.take_opt(7)?.ok()?,
                replay_until: row.take_opt(8)?.ok()?,
                replay_past: row.take_opt(9)?.ok()?,
                replayed: [
                    row.take_opt(10)?.ok()?,
                    row.take_opt(11)?.ok()?,
                    row.take_opt(12)?.ok()?,
                    row.take_opt(13)?.ok()?,
                ],
                has_start: row.take_opt::<Option<String>, _>(14)?.ok()?.is_some(),
            })
        };
        read(&mut row).ok_or(FromRowError(row))
    }
}

/// All progress rows of a pipeline, by topic and partition.
///
/// # Errors
/// `OT5003` without a progress table; lost connections; refusals.
pub async fn positions(session: &mut Session, schema: &str, pipeline: &str) -> Result<Vec<Position>, Failure> {
    let sql = format!(
        "SELECT {} FROM {} WHERE `{}` = ? ORDER BY `{}`, `{}`",
        COLUMNS.map(progress::quote).join(", "),
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC,
        column::PARTITION
    );
    session.rows(&sql, vec![Value::from(pipeline)]).await
}

/// Where a lane is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The lane.
    pub key: LaneKey,
    /// Kafka's id of the topic.
    pub topic_id: String,
    /// Offset of the next record.
    pub next_offset: i64,
    /// The end of the partition when that was found out.
    pub end: i64,
    /// Ordinal that events must be beyond.
    pub ordinal: i64,
    /// Generation of that ordinal.
    pub generation: i32,
    /// The offset that the row was seen at when the rest was found out; `None`: there was no row.
    pub from: Option<i64>,
    /// Up to this ordinal the lanes of the topic are one; `None`: as they are.
    pub joined_until: Option<i64>,
    /// The target tables that the position is to speak of; `None`: those that it speaks of.
    pub targets: Option<String>,
}

/// What became of the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// They were moved; each with its offset before, `None` where it had no progress.
    Now(Vec<Option<i64>>),
    /// They had been moved by the same request before.
    Before,
}

/// Moves the lanes, all or none, for the request of this id.
///
/// # Errors
/// [`Fault::Busy`] while an owner still writes, or when a lane has moved since it was looked at; lost connections (it may
/// have been done); refusals.
pub async fn seek(session: &mut Session, schema: &str, request: &str, moves: &[Move]) -> Result<Moved, Failure> {
    match seek_rows(session, &progress::qualified(schema), request, moves).await {
        Ok(moved) => {
            session.run("COMMIT").await?;
            Ok(moved)
        }
        Err(failure) => {
            if failure.fault != Fault::Lost {
                session.run("ROLLBACK").await?;
            }
            Err(failure)
        }
    }
}

/// Offset, ordinal, generation, topic id, request id, and up to where it is to be replayed, of a row that is to move.
type Found = (i64, i64, i32, String, String, i64, String);

/// What a row keeps when it moves: the ordinal that events must be beyond, and up to where it is to be replayed.
fn kept(
    (offset, applied, generation, topic_id, _, replay_until, replay_past): &Found,
    to: &Move,
) -> (i64, i64, String) {
    let same_topic = topic_id.is_empty() || *topic_id == to.topic_id;
    let until = match same_topic {
        true => (*offset).max(*replay_until),
        // Read again at the source since the other topic went: nobody knows any more up to where it was applied.
        false if *generation < to.generation => to.end,
        false => -1,
    };
    // Still to be replayed, wherever the lane goes.
    let past = if same_topic || *generation == to.generation { replay_past.clone() } else { String::new() };
    // Forward, events that were applied stay applied, also where they were published once more.
    let forward = *generation == to.generation && (!same_topic || *offset <= to.next_offset);
    (if forward { to.ordinal.max(*applied) } else { to.ordinal }, until, past)
}

async fn seek_rows(session: &mut Session, table: &str, request: &str, moves: &[Move]) -> Result<Moved, Failure> {
    let read = [
        column::NEXT_OFFSET,
        column::ORDINAL,
        column::GENERATION,
        column::TOPIC_ID,
        column::REQUEST_ID,
        column::REPLAY_UNTIL,
        column::REPLAY_PAST,
    ];
    let select =
        format!("SELECT {} FROM {table} WHERE {} FOR UPDATE", read.map(progress::quote).join(", "), matches_key());
    let set = read.map(|name| format!("`{name}` = ?")).join(", ");
    let update = format!(
        "UPDATE {table} SET {set}, `{0}` = COALESCE(?, `{0}`), `{6}` = COALESCE(GREATEST(?, COALESCE(`{6}`, ?)), `{6}`), `{1}` = '', `{2}` = NULL, `{3}` = NULL, {4} WHERE {5}",
        column::TARGETS,
        column::OWNER,
        column::START_GTID,
        column::PENDING_ORDINAL,
        no_counts(),
        matches_key(),
        column::JOINED_UNTIL
    );
    let columns = [column::NEXT_OFFSET, column::ORDINAL, column::GENERATION, column::TOPIC_ID, column::REQUEST_ID];
    let mut before = Vec::new();
    session.run("START TRANSACTION").await?;
    for to in moves {
        let row: Option<Found> = session.find(&select, identity(&to.key)).await?;
        if row.as_ref().is_some_and(|(.., done, _, _)| done == request) {
            return Ok(Moved::Before);
        }
        // Also a worker that slept after it looked, while another carried out this request and a later one.
        if row.as_ref().map(|(offset, ..)| *offset) != to.from {
            let message = format!("{} has moved since its position was looked at", to.key);
            return Err(Failure { fault: Fault::Busy, error: Error::new(Code::TargetBusy, message) });
        }
        let (ordinal, until, past) = row.as_ref().map_or_else(|| (to.ordinal, -1, String::new()), |row| kept(row, to));
        let position =
            [to.next_offset.into(), ordinal.into(), to.generation.into(), (&to.topic_id).into(), request.into()];
        if row.is_some() {
            let values = position
                .into_iter()
                .chain([
                    until.into(),
                    past.into(),
                    (&to.targets).into(),
                    to.joined_until.into(),
                    to.joined_until.into(),
                ])
                .chain(identity(&to.key));
            session.execute(&update, values.collect()).await?;
        } else {
            let values: Vec<Value> = identity(&to.key).into_iter().chain(position).collect();
            session.execute(&insert_sql(table, &columns), values).await?;
        }
        before.push(row.map(|(offset, ..)| offset));
    }
    Ok(Moved::Now(before))
}
