//! Requests to pipelines: setting the position of paused tables.
//!
//! Each worker follows the requests of all pipelines; one takes a request, resolves the position for each partition,
//! compares it with what the topic holds, and moves the progress rows in one transaction of the target together with the
//! request's id. Killed between that and the answer, it is replaced, and whoever takes the request again finds the id in
//! the rows and answers. A position outside the topic moves nothing, and the refusal lists what there is.

mod together;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordination::{Coordination, Requests, Snapshot, Taken};
use schemas::documents::{Document, Kind, Mapping, Pipeline, Source, TablePattern, Target};
use schemas::offsets::RecordPlace;
use schemas::request::{Outcome, PipelineAction, SeekTo};
use schemas::table::TableName;
use schemas::{Code, Error, Reaction, Result};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::table_of;
use crate::consumer::lanes::Part;
use crate::inquiry::{Inquiry, seek_offset};
use crate::offsets::{connect, lanes, parts as topic_parts, place, read_positions};
use crate::pool::Backoff;
use crate::target::failure::Fault;
use crate::target::progress::LaneKey;
use crate::target::seek::{Move, Moved, Position, seek};

/// How often an open request is looked at again: its taker may have died.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long the events that a move skips are counted.
const COUNT_FOR: Duration = Duration::from_secs(10);

/// Carries requests out until the role ends.
#[derive(Clone)]
pub(crate) struct Seeks {
    /// The connection to ZooKeeper.
    pub(crate) coordination: Coordination,
    /// Questions to Kafka.
    pub(crate) inquiry: Inquiry,
    /// This worker's id.
    pub(crate) worker: String,
}

impl Seeks {
    /// Follows the pipelines and the requests to each.
    pub(crate) async fn run(self, mut pipelines: watch::Receiver<Arc<Snapshot>>, shutdown: CancellationToken) {
        let mut serving: BTreeMap<String, CancellationToken> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let now = Arc::clone(&pipelines.borrow_and_update());
            serving.retain(|name, stop| {
                let stays = now.contains_key(name);
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for name in now.keys() {
                serving.entry(name.clone()).or_insert_with(|| {
                    let stop = shutdown.child_token();
                    tasks.spawn(self.clone().serve(name.clone(), stop.clone()));
                    stop
                });
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = pipelines.changed() => if changed.is_err() { break },
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a task for requests panicked");
                },
            }
        }
        for stop in serving.values() {
            stop.cancel();
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn serve(self, name: String, stop: CancellationToken) {
        let requests = self.coordination.requests();
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let served = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                served = self.follow(&requests, &name) => served,
            };
            if let Err(error) = served {
                tracing::warn!(pipeline = name, %error, "requests; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
    }

    /// Carries out request after request. Given up at any point, the next call or another worker goes on.
    async fn follow(&self, requests: &Requests, name: &str) -> Result<()> {
        let mut live = requests.watch::<PipelineAction>(name).await?;
        loop {
            let open = live.borrow_and_update().as_ref().is_some_and(schemas::request::Ticket::is_open);
            if open && let Some(taken) = requests.take::<PipelineAction>(name, &self.worker).await? {
                let outcome = self.carry_out(&taken).await?;
                requests.answer(&taken, outcome).await?;
                continue;
            }
            tokio::select! {
                changed = live.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(LOOK_AGAIN), if open => {}
            }
        }
    }

    /// Carries a request out; an error is one to try again on.
    async fn carry_out(&self, taken: &Taken<PipelineAction>) -> Result<Outcome> {
        let PipelineAction::Seek { table, partition, to } = &taken.request.action;
        tracing::info!(pipeline = taken.name, id = taken.request.id, by = taken.request.by, %to, "request taken");
        let done = match self.world(&taken.name).await {
            Ok(world) => self.seek(&world, &taken.request.id, (table.as_deref(), *partition), to).await,
            Err(error) => Err(Refusal::from(error)),
        };
        match done {
            Ok((message, details)) => Ok(Outcome::done(&self.worker, message, details)),
            Err(Refusal { error, details }) if error.code().reaction() != Reaction::Retry => {
                Ok(Outcome::refused(&self.worker, &error, details))
            }
            Err(Refusal { error, .. }) => Err(error),
        }
    }

    async fn world(&self, name: &str) -> Result<World> {
        let documents = self.coordination.documents();
        let missing = |kind: Kind, name: &str| Error::new(Code::NotFound, format!("there is no {kind} {name}"));
        let Some(Document::Pipeline(pipeline)) = documents.get(Kind::Pipeline, name).await?.map(|v| v.value) else {
            return Err(missing(Kind::Pipeline, name));
        };
        let of = pipeline.source.as_str();
        let Some(Document::Source(source)) = documents.get(Kind::Source, of).await?.map(|v| v.value) else {
            return Err(missing(Kind::Source, of));
        };
        let to = pipeline.target.as_str();
        let Some(Document::Target(target)) = documents.get(Kind::Target, to).await?.map(|v| v.value) else {
            return Err(missing(Kind::Target, to));
        };
        Ok(World { pipeline, source, target })
    }

    async fn seek(
        &self,
        world: &World,
        id: &str,
        (table, partition): (Option<&str>, Option<i32>),
        to: &SeekTo,
    ) -> Result<(String, Vec<Value>), Refusal> {
        let table = table.map(table_name).transpose()?;
        check_paused(&world.pipeline, table.as_ref())?;
        let rows = read_positions(&world.pipeline, &world.target).await?;
        let mut parts = lanes(&self.inquiry, &world.pipeline, &world.source, &rows).await;
        if let Some(table) = &table {
            let topic = world.source.topic_for(table)?;
            for part in topic_parts(&self.inquiry, &topic).await? {
                parts.entry(part).or_default().0 = Some(table.to_string());
            }
            parts.retain(|part, _| part.topic == topic);
        }
        parts.retain(|part, _| partition.is_none_or(|only| only == part.partition));
        if parts.is_empty() {
            let what = "there is no such table or partition with a topic in the pipeline";
            return Err(Error::new(Code::NotFound, what.to_owned()).into());
        }
        let mut found = Vec::new();
        for (part, (_, row)) in &parts {
            // A table without progress has nothing to move unless it was asked for.
            if row.is_some() || table.is_some() {
                found.push(self.resolve(part, row.as_ref(), Where::To(to.clone())).await?);
            }
        }
        if let Some(outside) = found.iter().find_map(Found::outside) {
            let available = found.iter().map(Found::available).collect();
            return Err(Refusal { error: outside, details: available });
        }
        let found = self.together(world, &rows, found).await?;
        self.carry(world, id, &parts, found).await
    }

    /// What a position means in a partition.
    async fn resolve(&self, part: &Part, row: Option<&Position>, to: Where) -> Result<Found> {
        let now = self.inquiry.topic(part).await?;
        let (low, high) = (now.low, now.high);
        let from = row.map(|row| row.next_offset);
        // Offsets of a topic that is no more mean nothing in this one.
        let same_topic = row.is_none_or(|row| row.topic_id.is_empty() || row.topic_id == now.id);
        let since = if same_topic { from } else { Some(low) };
        let seen = self.inquiry.explore(part, move |explorer| {
            let offset = match &to {
                Where::To(to) => seek_offset(explorer, to, low, high)?,
                Where::From(first) => {
                    explorer.first_where(low, high, |facts| Some((facts.generation, facts.ordinal) >= *first))?
                }
            };
            let within = (low..=high).contains(&offset);
            let first = if within { explorer.record(offset, high)? } else { None };
            let unkeyed = within && explorer.at(offset, high)?.is_some_and(|facts| !facts.keyed);
            let before = if within { explorer.before(offset, low)? } else { None };
            // A lane may stand at the end for good: the move is to the end, not to a record.
            let skipped = match since {
                Some(since) if within && since < offset => explorer.count(since.max(low), offset, COUNT_FOR)?,
                _ => (0, true),
            };
            let ends = (explorer.at(low, high)?, explorer.before(high, low)?);
            Ok((offset, first, unkeyed, before, skipped, ends))
        });
        let (offset, first, unkeyed, before, skipped, (oldest, newest)) = seen.await?;
        let generation = before.as_ref().or(first.as_ref()).map_or(0, |facts| facts.generation);
        let again = if same_topic {
            from.is_some_and(|from| from > offset)
        } else {
            row.is_some_and(|row| row.generation < generation)
        };
        Ok(Found {
            part: part.clone(),
            topic_id: now.id,
            ends: (low, high),
            offset,
            unkeyed,
            ordinal: ordinal_before(first.as_ref(), before.as_ref()),
            generation,
            again,
            place: first.map(place),
            oldest: oldest.map(place),
            newest: newest.map(place),
            from,
            skipped,
            joined_until: None,
        })
    }

    async fn carry(
        &self,
        world: &World,
        id: &str,
        parts: &BTreeMap<Part, (Option<String>, Option<Position>)>,
        found: Vec<Found>,
    ) -> Result<(String, Vec<Value>), Refusal> {
        if let Some(keyless) = found.iter().find(|f| f.unkeyed && f.again) {
            let message = format!(
                "the events of {}/{} have no key; without one nothing says which rows they wrote before",
                keyless.part.topic, keyless.part.partition
            );
            return Err(Error::new(Code::ReplayRefused, message).into());
        }
        let moves: Vec<Move> = found
            .iter()
            .map(|f| Move {
                key: LaneKey {
                    pipeline: world.pipeline.name.to_string(),
                    topic: f.part.topic.clone(),
                    partition: f.part.partition,
                },
                topic_id: f.topic_id.clone(),
                next_offset: f.offset,
                end: f.ends.1,
                ordinal: f.ordinal,
                generation: f.generation,
                from: f.from,
                joined_until: f.joined_until,
                targets: world.targets(&f.part.topic),
            })
            .collect();
        let mut session = connect(&world.target).await?;
        let moved = seek(&mut session, &world.target.schema, id, &moves).await.map_err(|failure| {
            let code = match failure.fault {
                Fault::Busy | Fault::Lost => Code::TargetBusy,
                Fault::Duplicate | Fault::Refused => failure.error.code(),
            };
            Error::new(code, failure.error.message().to_owned())
        })?;
        session.close().await;
        let before = match moved {
            Moved::Now(before) => before,
            Moved::Before => found.iter().map(|_| None).collect(),
        };
        let details = found.iter().zip(before).map(|(f, before)| {
            let table = parts.get(&f.part).and_then(|(table, _)| table.clone());
            f.done(table, before.or(f.from))
        });
        Ok((format!("{} lanes moved", found.len()), details.collect()))
    }
}

/// The documents that a request is about.
struct World {
    pipeline: Pipeline,
    source: Source,
    target: Target,
}

impl World {
    /// Where a topic's table goes, as a progress row keeps it; `None` where that is not known.
    fn targets(&self, topic: &str) -> Option<String> {
        let table = table_of(self.source.prefix(), topic)?;
        let mapping = self.pipeline.mapping_for(&table)?;
        Some(schemas::progress::targets(&mapping.to.of(&table)))
    }
}

/// Why nothing was moved, and what is available instead.
struct Refusal {
    error: Error,
    details: Vec<Value>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, details: Vec::new() }
    }
}

/// A position as it was found in a partition.
struct Found {
    part: Part,
    topic_id: String,
    ends: (i64, i64),
    offset: i64,
    unkeyed: bool,
    ordinal: i64,
    generation: i32,
    /// Whether events come that the lane may have applied: it goes back, or into another topic of a later generation.
    again: bool,
    place: Option<RecordPlace>,
    oldest: Option<RecordPlace>,
    newest: Option<RecordPlace>,
    from: Option<i64>,
    skipped: (i64, bool),
    joined_until: Option<i64>,
}

/// What is looked for in a partition.
enum Where {
    /// What was asked for.
    To(SeekTo),
    /// The first record of this generation and ordinal, or behind it.
    From((i32, i64)),
}

impl Found {
    /// Whether the lane goes back, and so replays.
    fn goes_back(&self) -> bool {
        self.again
    }

    /// Where its first record stands in the source.
    fn position(&self) -> Option<(i32, i64)> {
        self.place.as_ref().map(|place| (place.generation, place.ordinal))
    }

    /// Why the position is none of the partition's.
    fn outside(&self) -> Option<Error> {
        let (low, high) = self.ends;
        (!(low..=high).contains(&self.offset)).then(|| {
            let Part { topic, partition } = &self.part;
            let message = format!("{topic}/{partition} has the offsets {low} to {high}, not {}", self.offset);
            Error::new(Code::PositionOutside, message)
        })
    }

    fn available(&self) -> Value {
        json!({
            "topic": self.part.topic, "partition": self.part.partition, "low_offset": self.ends.0,
            "end_offset": self.ends.1, "oldest": self.oldest, "newest": self.newest,
        })
    }

    fn done(&self, table: Option<String>, from: Option<i64>) -> Value {
        let (skipped, all) = self.skipped;
        json!({
            "table": table, "topic": self.part.topic, "partition": self.part.partition, "from": from,
            "to": self.offset, "at": self.place, "replays": self.again,
            "skipped": skipped, "skipped_counted": all,
        })
    }
}

/// The ordinal that events at a position must be beyond: they are the first, whatever was published before them.
fn ordinal_before(first: Option<&crate::explore::Facts>, before: Option<&crate::explore::Facts>) -> i64 {
    match (first, before) {
        (Some(first), Some(before)) if first.generation == before.generation => before.ordinal.min(first.ordinal - 1),
        (_, Some(before)) => before.ordinal,
        (Some(first), None) => first.ordinal - 1,
        (None, None) => -1,
    }
}

fn table_name(text: &str) -> Result<TableName> {
    let pattern: TablePattern = text.parse().map_err(|why: String| Error::new(Code::DocumentInvalid, why))?;
    pattern
        .exact()
        .ok_or_else(|| Error::new(Code::DocumentInvalid, format!("{text}: a request names one table, or none for all")))
}

fn check_paused(pipeline: &Pipeline, table: Option<&TableName>) -> Result<()> {
    let mapping = table.map(|table| {
        let missing = || Error::new(Code::NotFound, format!("pipeline {} maps no table {table}", pipeline.name));
        pipeline.mapping_for(table).ok_or_else(missing)
    });
    if pipeline.is_paused() || mapping.transpose()?.is_some_and(Mapping::is_paused) {
        return Ok(());
    }
    let message = format!(
        "pipeline {} is running; pause it first (otter pause pipeline {}), or the mapping of the table",
        pipeline.name, pipeline.name
    );
    Err(Error::new(Code::NotPaused, message))
}
