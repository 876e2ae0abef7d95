//! The mark in the progress rows by which the lanes of a topic are one: `joined_until`.
//!
//! Whoever finds that the lanes cannot go on each by itself sets it in all rows and takes every owner's token away, in one
//! transaction. An owner then meets another token than its own, looks, and stands by or leads. The leader clears the mark
//! when all lanes have passed it; while its token is in every row nobody else can have moved one.

use mysql_async::Value;
use schemas::progress::{self, column};

use super::connection::Session;
use super::failure::{Failure, Fault};
use super::progress::{LaneKey, identity, matches_key};

/// A progress row as it stands, read without waiting for whoever writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its owner's token.
    pub owner: String,
    /// Offset of the next record.
    pub next_offset: i64,
    /// Up to this ordinal the lanes of the topic are one.
    pub joined_until: Option<i64>,
}

/// How a lane stands; `None` when it has no row.
///
/// # Errors
/// Lost connections; refusals.
pub async fn standing(session: &mut Session, schema: &str, key: &LaneKey) -> Result<Option<Standing>, Failure> {
    let sql = format!(
        "SELECT `{}`, `{}`, `{}` FROM {} WHERE {}",
        column::OWNER,
        column::NEXT_OFFSET,
        column::JOINED_UNTIL,
        progress::qualified(schema),
        matches_key()
    );
    let row: Option<(String, i64, Option<i64>)> = session.find(&sql, identity(key)).await?;
    Ok(row.map(|(owner, next_offset, joined_until)| Standing { owner, next_offset, joined_until }))
}

/// Up to which ordinal the lanes of a topic are one, by any of its rows: one that is new has no mark yet.
///
/// # Errors
/// Lost connections; refusals.
pub async fn joined_until(
    session: &mut Session,
    schema: &str,
    pipeline: &str,
    topic: &str,
) -> Result<Option<i64>, Failure> {
    let sql = format!(
        "SELECT MAX(`{}`) FROM {} WHERE `{}` = ? AND `{}` = ?",
        column::JOINED_UNTIL,
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC
    );
    let row: Option<(Option<i64>,)> = session.find(&sql, vec![pipeline.into(), topic.into()]).await?;
    Ok(row.and_then(|(until,)| until))
}

/// Joins the lanes of a topic up to an ordinal, and takes them from their owners.
///
/// # Errors
/// [`Fault::Busy`] while an owner still writes; lost connections; refusals.
pub async fn join(
    session: &mut Session,
    schema: &str,
    (pipeline, topic): (&str, &str),
    until: i64,
) -> Result<(), Failure> {
    let table = progress::qualified(schema);
    let of_topic = format!("`{}` = ? AND `{}` = ?", column::PIPELINE, column::TOPIC);
    let names = || vec![Value::from(pipeline), Value::from(topic)];
    let lock = format!("SELECT `{0}` FROM {table} WHERE {of_topic} ORDER BY `{0}` FOR UPDATE", column::PARTITION);
    let mark = format!(
        "UPDATE {table} SET `{0}` = GREATEST(COALESCE(`{0}`, {until}), {until}), `{1}` = '' WHERE {of_topic}",
        column::JOINED_UNTIL,
        column::OWNER
    );
    session.run("START TRANSACTION").await?;
    let marked = async {
        let _: Vec<(i32,)> = session.rows(&lock, names()).await?;
        session.execute(&mark, names()).await?;
        session.run("COMMIT").await
    };
    match marked.await {
        Ok(_) => Ok(()),
        Err(failure) => {
            if failure.fault != Fault::Lost {
                session.run("ROLLBACK").await?;
            }
            Err(failure)
        }
    }
}

/// Marks the rows of a topic that its leader has claimed: one that is new has no mark yet.
///
/// # Errors
/// Lost connections; refusals.
pub async fn keep_joined(
    session: &mut Session,
    schema: &str,
    (pipeline, topic, token): (&str, &str, &str),
    until: i64,
) -> Result<(), Failure> {
    let sql =
        format!("UPDATE {} SET `{}` = {until} WHERE {}", progress::qualified(schema), column::JOINED_UNTIL, owned());
    session.execute(&sql, vec![pipeline.into(), topic.into(), token.into()]).await.map(|_| ())
}

/// Lets the lanes of a topic go each by itself again, from this ordinal on; false when not all of the `count` lanes are
/// the leader's any more, and then nothing is changed.
///
/// # Errors
/// Lost connections; refusals.
pub async fn part(
    session: &mut Session,
    schema: &str,
    (pipeline, topic, token): (&str, &str, &str),
    (generation, ordinal): (i32, i64),
    count: u64,
) -> Result<bool, Failure> {
    let sql = format!(
        "UPDATE {} SET `{}` = NULL, `{}` = '', `{3}` = IF(`{4}` = {generation}, GREATEST(`{3}`, {ordinal}), `{3}`) WHERE {5}",
        progress::qualified(schema),
        column::JOINED_UNTIL,
        column::OWNER,
        column::ORDINAL,
        column::GENERATION,
        owned()
    );
    session.run("START TRANSACTION").await?;
    let changed = session.execute(&sql, vec![pipeline.into(), topic.into(), token.into()]).await;
    match changed {
        Ok(changed) => {
            session.run(if changed == count { "COMMIT" } else { "ROLLBACK" }).await?;
            Ok(changed == count)
        }
        Err(failure) => {
            if failure.fault != Fault::Lost {
                session.run("ROLLBACK").await?;
            }
            Err(failure)
        }
    }
}

fn owned() -> String {
    format!("`{}` = ? AND `{}` = ? AND `{}` = ?", column::PIPELINE, column::TOPIC, column::OWNER)
}
