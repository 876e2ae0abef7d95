//! The progress row of a lane: its claim, and its advance as the first statement of every batch.
//!
//! Who owns a lane is decided here and nowhere else: a claim writes a fresh random token under a row lock, and an
//! advance names both the token and the old offset. It changes exactly one row, or the lane is somebody else's.
//! Whether a lane replays follows from its row alone, so it is as exact as the position: in front of the offset that an
//! operator moved it back from, and until it is past the source position at which the generation rose.

use mysql_async::Value;
use schemas::gtid::GtidPosition;
use schemas::progress::{self, column};
use schemas::table::TableName;
use schemas::{Code, Error};

use super::connection::Session;
use super::failure::{Failure, Fault};
use super::writer::BatchOutcome;

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
    /// Generation of that ordinal.
    pub generation: i32,
    /// Id of the topic, as Kafka prints it.
    pub topic_id: String,
    /// Events of transactions in this position are passed over.
    pub gtid: Option<GtidPosition>,
    /// The target tables.
    pub targets: Vec<TableName>,
    /// Whether a lane begins here too whose row speaks of other tables.
    pub anew: bool,
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
    add_columns(session, schema).await?;
    let columns = progress::COLUMNS.map(progress::quote).join(", ");
    session.run(format!("SELECT {columns} FROM {} LIMIT 0", progress::qualified(schema))).await?;
    Ok(())
}

/// Adds the columns that a table of an earlier version lacks.
async fn add_columns(session: &mut Session, schema: &str) -> Result<(), Failure> {
    let sql = "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    for last in [false, true] {
        let names = vec![Value::from(schema), Value::from(progress::TABLE)];
        let present: Vec<(String,)> = session.rows(sql, names).await?;
        let present: Vec<String> = present.into_iter().map(|(name,)| name).collect();
        let Some(alter) = progress::alter_table(schema, &present) else { return Ok(()) };
        match session.run(alter).await {
            // Another worker may have added them in between: look once more.
            Err(failure) if last || failure.fault == Fault::Lost => return Err(failure),
            Err(_) => {}
            Ok(_) => return Ok(()),
        }
    }
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
    replay: Replay,
}

/// What the progress row says besides the position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// Generation of the last event applied.
    pub generation: i32,
    /// In front of this offset the lane replays.
    pub until: i64,
    /// Up to this source position the lane replays; empty: none.
    pub past: String,
    /// Events of transactions in this position are passed over.
    pub start: Option<GtidPosition>,
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
            Ok((claimed, replay)) => {
                session.run("COMMIT").await?;
                let Claimed { next_offset, ordinal, .. } = claimed;
                let token = token.to_owned();
                Ok((Self { key, token, table, next_offset, ordinal, document_version: 0, replay }, claimed))
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

    /// Whether the next events are written so that rows which are there already do not matter.
    pub fn is_replaying(&self) -> bool {
        self.next_offset < self.replay.until || !self.replay.past.is_empty()
    }

    /// What the progress row says besides the position.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The next event is of a higher generation: its ordinals begin behind `ordinal`, and the lane replays until it is
    /// past this source position (empty: it need not).
    ///
    /// # Errors
    /// [`Fault::Busy`] with `OT5007` when somebody else owns the lane; lost connections; refusals.
    pub async fn enter_generation(
        &mut self,
        session: &mut Session,
        generation: i32,
        past: &str,
        ordinal: i64,
    ) -> Result<(), Failure> {
        let mut set = format!(
            "`{}` = {generation}, `{}` = {}, `{}` = {ordinal}, `{}` = NULL",
            column::GENERATION,
            column::REPLAY_PAST,
            text(past),
            column::ORDINAL,
            column::PENDING_ORDINAL,
        );
        if !self.is_replaying() {
            set = format!("{set}, {}", no_counts());
        }
        self.change(session, &set).await?;
        self.ordinal = ordinal;
        self.replay.generation = generation;
        past.clone_into(&mut self.replay.past);
        Ok(())
    }

    /// The lane is past the source position up to which it replays.
    ///
    /// # Errors
    /// As [`Lane::enter_generation`].
    pub async fn leave_generation(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.change(session, &format!("`{}` = ''", column::REPLAY_PAST)).await?;
        self.replay.past.clear();
        Ok(())
    }

    /// The lane replays until it is past this source position.
    ///
    /// # Errors
    /// As [`Lane::enter_generation`].
    pub(crate) async fn replay_past(&mut self, session: &mut Session, past: &str) -> Result<(), Failure> {
        self.change(session, &format!("`{}` = {}", column::REPLAY_PAST, text(past))).await?;
        past.clone_into(&mut self.replay.past);
        Ok(())
    }

    /// No transaction of the position that the lane began behind can come any more.
    ///
    /// # Errors
    /// As [`Lane::enter_generation`].
    pub async fn leave_start(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.change(session, &format!("`{}` = NULL", column::START_GTID)).await?;
        self.replay.start = None;
        Ok(())
    }

    /// Changes the row in a transaction of its own; it must be at this lane's offset under its token.
    async fn change(&self, session: &mut Session, set: &str) -> Result<(), Failure> {
        let sql = format!("UPDATE {} SET {set} WHERE {}", self.table, self.where_ours(self.next_offset));
        match session.run(sql).await? {
            1 => Ok(()),
            _ => Err(Failure { fault: Fault::Busy, error: self.taken() }),
        }
    }

    /// Text of the UPDATE that counts what a replayed batch did, after the progress row has moved to `next_offset`.
    pub(crate) fn count_sql(&self, next_offset: i64, outcome: &BatchOutcome) -> String {
        let counts = [
            (column::REPLAY_REWRITTEN, outcome.rewritten),
            (column::REPLAY_RESTORED, outcome.restored),
            (column::REPLAY_REMOVED, outcome.removed),
            (column::REPLAY_MISSING, outcome.missing),
        ];
        let set: Vec<String> = counts.iter().map(|(name, count)| format!("`{name}` = `{name}` + {count}")).collect();
        format!("UPDATE {} SET {} WHERE {}", self.table, set.join(", "), self.where_ours(next_offset))
    }

    fn where_ours(&self, next_offset: i64) -> String {
        format!(
            "{} AND `{}` = {next_offset} AND `{}` = {}",
            self.where_key(),
            column::NEXT_OFFSET,
            column::OWNER,
            text(&self.token)
        )
    }

    /// Text of the UPDATE that moves the progress row from `from` to `to` (offset, ordinal); it must find one row.
    pub(crate) fn advance_sql(&self, from: i64, to: (i64, i64)) -> String {
        self.move_sql(from, to, "NULL")
    }

    /// The same, where the lane then stands in front of an event of this ordinal.
    pub(crate) fn stand_sql(&self, from: i64, to: (i64, i64), pending: i64) -> String {
        self.move_sql(from, to, &pending.to_string())
    }

    fn move_sql(&self, from: i64, to: (i64, i64), pending: &str) -> String {
        format!(
            "UPDATE {} SET `{}` = {}, `{}` = {}, `{}` = {}, `{}` = {pending} WHERE {}",
            self.table,
            column::NEXT_OFFSET,
            to.0,
            column::ORDINAL,
            to.1,
            column::DOCUMENT_VERSION,
            self.document_version,
            column::PENDING_ORDINAL,
            self.where_ours(from),
        )
    }

    /// Text of an UPDATE that finds the progress row if this worker owns the lane at its offset, and keeps others from
    /// claiming it until the transaction's end; it changes nothing, and must find one row.
    pub(crate) fn fence_sql(&self) -> String {
        let name = column::NEXT_OFFSET;
        format!("UPDATE {} SET `{name}` = `{name}` WHERE {}", self.table, self.where_ours(self.next_offset))
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

    /// Position of the last event applied, as last committed.
    pub(crate) fn position(&self) -> (i32, i64) {
        (self.replay.generation, self.ordinal)
    }

    /// The token by which the lane is owned.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a token is this lane's.
    pub(crate) fn is_owner(&self, token: &str) -> bool {
        self.token == token
    }

    /// The error of a lane that somebody else owns.
    pub(crate) fn taken(&self) -> Error {
        Error::new(
            Code::LaneTaken,
            format!("{}: the progress row is not at offset {} under this worker's token", self.key, self.next_offset),
        )
    }
}

/// The token in a lane's progress row and the targets it speaks of, without waiting for whoever writes; `None` when
/// there is no row.
///
/// # Errors
/// Lost connections; refusals.
pub async fn owner(
    session: &mut Session,
    schema: &str,
    key: &LaneKey,
) -> Result<Option<(String, Option<String>)>, Failure> {
    let sql = format!(
        "SELECT `{}`, `{}` FROM {} WHERE `{}` = ? AND `{}` = ? AND `{}` = ?",
        column::OWNER,
        column::TARGETS,
        progress::qualified(schema),
        column::PIPELINE,
        column::TOPIC,
        column::PARTITION
    );
    let identity = vec![Value::from(&key.pipeline), Value::from(&key.topic), Value::from(key.partition)];
    session.find(&sql, identity).await
}

/// Position, ordinal, topic id, generation, and how far the lane replays, as the row has them.
type Row = (i64, i64, String, i32, i64, String, Option<String>, Option<String>);

async fn claim_row(
    session: &mut Session,
    table: &str,
    key: &LaneKey,
    token: &str,
    start: &Start,
) -> Result<(Claimed, Replay), Failure> {
    let matches = matches_key();
    let columns = [
        column::NEXT_OFFSET,
        column::ORDINAL,
        column::TOPIC_ID,
        column::GENERATION,
        column::REPLAY_UNTIL,
        column::REPLAY_PAST,
        column::START_GTID,
        column::TARGETS,
    ];
    let select = format!("SELECT {} FROM {table} WHERE {matches} FOR UPDATE", columns.map(progress::quote).join(", "));
    session.run("START TRANSACTION").await?;
    let mut row: Option<Row> = session.find(&select, identity(key)).await?;
    let mut new = false;
    if row.is_none() {
        let columns = [
            column::NEXT_OFFSET,
            column::ORDINAL,
            column::GENERATION,
            column::TOPIC_ID,
            column::OWNER,
            column::START_GTID,
            column::TARGETS,
        ];
        let gtid = start.gtid.as_ref().map(ToString::to_string);
        let mut values = identity(key);
        values.extend([start.next_offset.into(), start.ordinal.into(), start.generation.into()]);
        values.extend([(&start.topic_id).into(), token.into()]);
        values.extend([gtid.into(), progress::targets(&start.targets).into()]);
        match session.execute(&insert_sql(table, &columns), values).await {
            Ok(_) => new = true,
            // Somebody else made the row between the two statements; the next SELECT waits for it.
            Err(failure) if failure.fault == Fault::Duplicate => {}
            Err(failure) => return Err(failure),
        }
        row = session.find(&select, identity(key)).await?;
    }
    if let Some((offset, .., until, _, _, Some(had))) = &row
        && let Some(stays) = other_targets(key, had, start)?
    {
        begin_anew(session, table, key, stays.then_some((*offset, *until)), start).await?;
        new = true;
        row = session.find(&select, identity(key)).await?;
    }
    let Some((next_offset, ordinal, topic_id, generation, until, past, gtid, _)) = row else {
        return Err(Failure {
            fault: Fault::Busy,
            error: Error::new(Code::TargetBusy, format!("{key}: the progress row went away while it was claimed")),
        });
    };
    let behind = gtid.map(|text| text.parse()).transpose().map_err(|error: Error| {
        let message = format!("{key}: `{}` of the progress row: {}", column::START_GTID, error.message());
        Failure { fault: Fault::Refused, error: Error::new(Code::TargetTable, message) }
    })?;
    let mut values = vec![Value::from(token), progress::targets(&start.targets).into()];
    values.extend(identity(key));
    let sql = format!("UPDATE {table} SET `{}` = ?, `{}` = ? WHERE {matches}", column::OWNER, column::TARGETS);
    session.execute(&sql, values).await?;
    Ok((Claimed { next_offset, ordinal, topic_id, new }, Replay { generation, until, past, start: behind }))
}

/// Whether the position is not that of all the lane's tables, because one is not among those that it speaks of: then,
/// whether it speaks of another of them. `None` when it holds for all.
fn other_targets(key: &LaneKey, had: &str, start: &Start) -> Result<Option<bool>, Failure> {
    if !progress::leads_elsewhere(had, &start.targets) {
        return Ok(None);
    }
    let now = progress::targets(&start.targets);
    let spoken = progress::read_targets(had);
    let stays = start.targets.iter().any(|table| spoken.contains(table));
    let message = if !start.anew {
        format!(
            "{key}: the table goes to {now} now, and its progress is that of {had}; give its mapping a `start` that says where \
             the new target begins"
        )
    } else if stays && start.gtid.is_some() {
        format!(
            "{key}: the table goes to {now} now, and its progress is that of {had}; behind a GTID position the table that \
             stays would miss what it does not have yet; seed the new one by a pipeline of its own"
        )
    } else {
        return Ok(Some(stays));
    };
    Err(Failure { fault: Fault::Refused, error: Error::new(Code::StartRequired, message) })
}

/// Sets a lane back to its start. A table that stays among its targets, at the offset and replaying up to the one of `stays`,
/// must miss nothing: then the lane begins at the earlier of both places, replays up to the later, and its topic remains
/// the one that the offset is of.
async fn begin_anew(
    session: &mut Session,
    table: &str,
    key: &LaneKey,
    stays: Option<(i64, i64)>,
    start: &Start,
) -> Result<(), Failure> {
    let back = stays.is_none_or(|(offset, _)| start.next_offset < offset);
    let until = stays.map_or(-1, |(offset, until)| offset.max(until).max(start.next_offset));
    let gtid = start.gtid.as_ref().map(ToString::to_string);
    let mut set = vec![
        (column::START_GTID, gtid.into()),
        (column::REPLAY_UNTIL, Value::from(until)),
        (column::PENDING_ORDINAL, Value::NULL),
    ];
    if back {
        set.extend([
            (column::NEXT_OFFSET, start.next_offset.into()),
            (column::ORDINAL, start.ordinal.into()),
            (column::GENERATION, start.generation.into()),
            (column::REPLAY_PAST, "".into()),
        ]);
    }
    if stays.is_none() {
        set.push((column::TOPIC_ID, (&start.topic_id).into()));
    }
    let names: Vec<String> = set.iter().map(|(name, _)| format!("`{name}` = ?")).collect();
    let sql = format!("UPDATE {table} SET {}, {} WHERE {}", names.join(", "), no_counts(), matches_key());
    let values = set.into_iter().map(|(_, value)| value).chain(identity(key)).collect();
    session.execute(&sql, values).await?;
    Ok(())
}

/// The parameters of [`matches_key`].
pub(crate) fn identity(key: &LaneKey) -> Vec<Value> {
    vec![Value::from(&key.pipeline), Value::from(&key.topic), Value::from(key.partition)]
}

/// The condition that finds a lane's row.
pub(crate) fn matches_key() -> String {
    format!("`{}` = ? AND `{}` = ? AND `{}` = ?", column::PIPELINE, column::TOPIC, column::PARTITION)
}

/// An INSERT of a lane's row with these columns besides the key.
pub(crate) fn insert_sql(table: &str, columns: &[&str]) -> String {
    let all: Vec<String> = [column::PIPELINE, column::TOPIC, column::PARTITION]
        .iter()
        .chain(columns)
        .map(|name| progress::quote(name))
        .collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", all.join(", "), vec!["?"; all.len()].join(", "))
}

/// Assignments that begin the counts of a replay.
pub(crate) fn no_counts() -> String {
    let counts = [column::REPLAY_REWRITTEN, column::REPLAY_RESTORED, column::REPLAY_REMOVED, column::REPLAY_MISSING];
    counts.map(|name| format!("`{name}` = 0")).join(", ")
}

/// A string literal; names of pipelines and topics have no character to escape, but nothing is left to that.
fn text(value: &str) -> String {
    Value::from(value).as_sql(false)
}
