//! The progress row of a lane: its claim, and its advance as the first statement of every batch.
//!
//! Who owns a lane is decided here and nowhere else: a claim writes a fresh random token under a row lock, and an
//! advance names both the token and the old offset. It changes exactly one row, or the lane is somebody else's.

use mysql_async::Value;
use schemas::progress::{self, column};
use schemas::{Code, Error};

use super::connection::Session;
use super::failure::{Failure, Fault};

/// A lane by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The pipeline.
    pub pipeline: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

impl std::fmt::Display for LaneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.pipeline, self.topic, self.partition)
    }
}

/// Where a lane begins that has no progress row yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Offset of the first record.
    pub next_offset: i64,
    /// Ordinal that events must be beyond; -1 takes all.
    pub ordinal: i64,
    /// Id of the topic, as Kafka prints it.
    pub topic_id: String,
}

/// What the progress row said when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Offset of the next record to read.
    pub next_offset: i64,
    /// Ordinal of the last event applied.
    pub ordinal: i64,
    /// Id of the topic that the offsets belong to; compare it with the topic's own.
    pub topic_id: String,
    /// Whether the row was made by this claim.
    pub new: bool,
}

/// Creates the schema and the progress table where they are missing, and checks that the table is transactional.
///
/// # Errors
/// `OT5002` without the privilege, `OT5003` when the table is not InnoDB or lacks a column; lost connections.
pub async fn ensure_schema(session: &mut Session, schema: &str) -> Result<(), Failure> {
    let sql = "SELECT TABLE_SCHEMA, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let names = || vec![Value::from(schema), Value::from(progress::TABLE)];
    let mut found: Option<(String, Option<String>)> = session.find(sql, names()).await?;
    if found.is_none() {
        let known: Option<(String,)> = session
            .find("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", vec![schema.into()])
            .await?;
        if known.is_none() {
            session.run(progress::create_schema(schema)).await?;
        }
        session.run(progress::create_table(schema)).await?;
        found = session.find(sql, names()).await?;
    }
    let engine = found.and_then(|(_, engine)| engine).unwrap_or_default();
    if !engine.eq_ignore_ascii_case("InnoDB") {
        let message = format!(
            "the progress table {} has the engine {engine:?}; run ALTER TABLE {} ENGINE=InnoDB",
            progress::qualified(schema),
            progress::qualified(schema)
        );
        return Err(Failure { fault: Fault::Refused, error: Error::new(Code::TargetTable, message) });
    }
    let columns = progress::COLUMNS.map(progress::quote).join(", ");
    session.run(format!("SELECT {columns} FROM {} LIMIT 0", progress::qualified(schema))).await?;
    Ok(())
}

/// A lane that this worker owns as far as it knows, and its position.
#[derive(Debug)]
pub struct Lane {
    key: LaneKey,
    token: String,
    table: String,
    next_offset: i64,
    ordinal: i64,
    document_version: i32,
}

impl Lane {
    /// Claims the lane for `token` (32 hex digits): waits for whoever is writing, reads the progress row under a lock
    /// and makes the token its owner. Without a row one is made from `start`. Repeating a claim is harmless, so after
    /// an unknown outcome it is simply done again.
    ///
    /// # Errors
    /// [`Fault::Busy`] while the former owner still writes; lost connections; refusals.
    pub async fn claim(
        session: &mut Session,
        schema: &str,
        key: LaneKey,
        token: &str,
        start: &Start,
    ) -> Result<(Self, Claimed), Failure> {
        let table = progress::qualified(schema);
        let claimed = claim_row(session, &table, &key, token, start).await;
        match claimed {
            Ok(claimed) => {
                session.run("COMMIT").await?;
                let Claimed { next_offset, ordinal, .. } = claimed;
                Ok((Self { key, token: token.to_owned(), table, next_offset, ordinal, document_version: 0 }, claimed))
            }
            Err(failure) => {
                if failure.fault != Fault::Lost {
                    session.run("ROLLBACK").await?;
                }
                Err(failure)
            }
        }
    }

    /// Version of the pipeline document that the next batches are applied by.
    pub fn set_document_version(&mut self, version: i32) {
        self.document_version = version;
    }

    /// The lane's name.
    pub fn key(&self) -> &LaneKey {
        &self.key
    }

    /// Offset of the next record, as last committed.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Ordinal of the last event applied, as last committed.
    pub fn ordinal(&self) -> i64 {
        self.ordinal
    }

    /// Text of the UPDATE that moves the progress row from `from` to `to` (offset, ordinal); it must find one row.
    pub(crate) fn advance_sql(&self, from: i64, to: (i64, i64)) -> String {
        format!(
            "UPDATE {} SET `{}` = {}, `{}` = {}, `{}` = {} WHERE {} AND `{}` = {from} AND `{}` = {}",
            self.table,
            column::NEXT_OFFSET,
            to.0,
            column::ORDINAL,
            to.1,
            column::DOCUMENT_VERSION,
            self.document_version,
            self.where_key(),
            column::NEXT_OFFSET,
            column::OWNER,
            text(&self.token),
        )
    }

    fn where_key(&self) -> String {
        format!(
            "`{}` = {} AND `{}` = {} AND `{}` = {}",
            column::PIPELINE,
            text(&self.key.pipeline),
            column::TOPIC,
            text(&self.key.topic),
            column::PARTITION,
            self.key.partition
        )
    }

    /// Takes over a position that was committed.
    pub(crate) fn committed(&mut self, (next_offset, ordinal): (i64, i64)) {
        self.next_offset = next_offset;
        self.ordinal = ordinal;
    }

    /// The error of a lane that somebody else owns.
    pub(crate) fn taken(&self) -> Error {
        Error::new(
            Code::LaneTaken,
            format!("{}: the progress row is not at offset {} under this worker's token", self.key, self.next_offset),
        )
    }
}

/// The token in a lane's progress row, without waiting for whoever writes; `None` when there is no row.
///
/// # Errors
/// Lost connections; refusals.
pub async fn owner(session: &mut Session, schema: &str, key: &LaneKey) -> Result<Option<String>, Failure> {
    let sql = format!(
        "SELECT `{}` FROM {} WHERE `{}` = ? AND `{}` = ? AND `{}` = ?",
        column::OWNER,
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC,
        column::PARTITION
    );
    let identity = vec![Value::from(&key.pipeline), Value::from(&key.topic), Value::from(key.partition)];
    Ok(session.find::<(String,)>(&sql, identity).await?.map(|(owner,)| owner))
}

async fn claim_row(
    session: &mut Session,
    table: &str,
    key: &LaneKey,
    token: &str,
    start: &Start,
) -> Result<Claimed, Failure> {
    let identity = || vec![Value::from(&key.pipeline), Value::from(&key.topic), Value::from(key.partition)];
    let matches = format!("`{}` = ? AND `{}` = ? AND `{}` = ?", column::PIPELINE, column::TOPIC, column::PARTITION);
    let select = format!(
        "SELECT `{}`, `{}`, `{}` FROM {table} WHERE {matches} FOR UPDATE",
        column::NEXT_OFFSET,
        column::ORDINAL,
        column::TOPIC_ID
    );
    session.run("START TRANSACTION").await?;
    let mut row: Option<(i64, i64, String)> = session.find(&select, identity()).await?;
    let mut new = false;
    if row.is_none() {
        let insert = format!(
            "INSERT INTO {table} (`{}`, `{}`, `{}`, `{}`, `{}`, `{}`, `{}`) VALUES (?, ?, ?, ?, ?, ?, ?)",
            column::PIPELINE,
            column::TOPIC,
            column::PARTITION,
            column::NEXT_OFFSET,
            column::ORDINAL,
            column::TOPIC_ID,
            column::OWNER
        );
        let mut values = identity();
        values.extend([start.next_offset.into(), start.ordinal.into(), (&start.topic_id).into(), token.into()]);
        match session.execute(&insert, values).await {
            Ok(_) => new = true,
            // Somebody else made the row between the two statements; the next SELECT waits for it.
            Err(failure) if failure.fault == Fault::Duplicate => {}
            Err(failure) => return Err(failure),
        }
        row = session.find(&select, identity()).await?;
    }
    let Some((next_offset, ordinal, topic_id)) = row else {
        return Err(Failure {
            fault: Fault::Busy,
            error: Error::new(Code::TargetBusy, format!("{key}: the progress row went away while it was claimed")),
        });
    };
    let mut values = vec![Value::from(token)];
    values.extend(identity());
    session.execute(&format!("UPDATE {table} SET `{}` = ? WHERE {matches}", column::OWNER), values).await?;
    Ok(Claimed { next_offset, ordinal, topic_id, new })
}

/// A string literal; names of pipelines and topics have no character to escape, but nothing is left to that.
fn text(value: &str) -> String {
    Value::from(value).as_sql(false)
}
