//! Where a pipeline stands: for each table and partition the next offset, what stands there, and what there is to choose
//! from. Reads the target's progress table and Kafka, and changes nothing; so it works while the pipeline is paused.

use std::collections::BTreeMap;

use coordination::SchemaStore;
use futures_util::future::try_join_all;
use schemas::documents::{Pipeline, Source, Target};
use schemas::kafka::KafkaOptions;
use schemas::moment::Moment;
use schemas::offsets::{LaneOffset, RecordPlace, Replayed};
use schemas::server::ServerAccess;
use schemas::{Code, Error, Result};

use crate::config::table_by_schema;
use crate::consumer::lanes::Part;
use crate::explore::Facts;
use crate::inquiry::Inquiry;
use crate::target::connection::Session;
use crate::target::progress::ensure_schema;
use crate::target::seek::{Position, positions};

/// A record's place as people see it.
pub(crate) fn place(facts: Facts) -> RecordPlace {
    RecordPlace {
        offset: facts.offset,
        time: Moment::from_ms(facts.time),
        gtid: facts.gtid,
        file: facts.file,
        position: facts.pos,
        ordinal: facts.ordinal,
        generation: facts.generation,
    }
}

/// What is needed to look.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// How to reach Kafka.
    pub kafka: &'a KafkaOptions,
    /// The schemas of the records.
    pub schemas: SchemaStore,
}

/// Where each lane of a pipeline stands, by topic and partition.
///
/// # Errors
/// `OT5001` and others when the target's progress cannot be read, `OT4001` when Kafka does not answer.
pub async fn offsets(
    around: &Surroundings<'_>,
    pipeline: &Pipeline,
    source: &Source,
    target: &Target,
) -> Result<Vec<LaneOffset>> {
    let inquiry = Inquiry::new(around.kafka, around.schemas.clone())?;
    let rows = read_positions(pipeline, target).await?;
    let lanes = lanes(&inquiry, pipeline, source, &rows).await;
    let named = lanes.into_iter().map(async |(part, (table, row))| {
        // A table that only a pattern names: its schema knows it.
        let table = match table {
            None => table_by_schema(&around.schemas, &part.topic).await?.map(|table| table.to_string()),
            known => known,
        };
        one(&inquiry, part, table, row).await
    });
    try_join_all(named).await
}

/// The progress rows of a pipeline.
pub(crate) async fn read_positions(pipeline: &Pipeline, target: &Target) -> Result<Vec<Position>> {
    let mut session = connect(target).await?;
    let rows = positions(&mut session, &target.schema, pipeline.name.as_str()).await.map_err(|f| f.error)?;
    session.close().await;
    Ok(rows)
}

/// A connection to the target, with the progress table as this version needs it.
pub(crate) async fn connect(target: &Target) -> Result<Session> {
    let options = ServerAccess::from(target).options()?;
    let mut session = Session::connect(&options).await.map_err(|f| f.error)?;
    ensure_schema(&mut session, &target.schema).await.map_err(|f| f.error)?;
    Ok(session)
}

type Lanes = BTreeMap<Part, (Option<String>, Option<Position>)>;

/// The lanes that have progress, and those of the tables that mappings name. A topic that Kafka does not tell of now counts
/// as one lane.
pub(crate) async fn lanes(inquiry: &Inquiry, pipeline: &Pipeline, source: &Source, rows: &[Position]) -> Lanes {
    let mut lanes = Lanes::new();
    for row in rows {
        lanes.insert(Part { topic: row.topic.clone(), partition: row.partition }, (None, Some(row.clone())));
    }
    for table in pipeline.mappings.iter().filter_map(|mapping| mapping.from.exact()) {
        if let Ok(topic) = source.topic_for(&table) {
            let known = parts(inquiry, &topic).await;
            for part in known.unwrap_or_else(|_| vec![Part { topic, partition: 0 }]) {
                lanes.entry(part).or_default().0 = Some(table.to_string());
            }
        }
    }
    lanes
}

/// The partitions of a topic; of one that is not there, the one that is sure to come.
///
/// # Errors
/// `OT4001` without an answer of Kafka.
pub(crate) async fn parts(inquiry: &Inquiry, topic: &str) -> Result<Vec<Part>> {
    let count = match inquiry.partitions(topic).await {
        Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
        Err(error) if error.code() == Code::TopicInvalid => 1,
        Err(error) => return Err(error),
    };
    Ok((0..count.max(1)).map(|partition| Part { topic: topic.to_owned(), partition }).collect())
}

async fn one(inquiry: &Inquiry, part: Part, table: Option<String>, row: Option<Position>) -> Result<LaneOffset> {
    let mut lane = blank(&part, table, row);
    match look(inquiry, &part, lane.next_offset).await {
        Ok(seen) => {
            (lane.low_offset, lane.end_offset) = (seen.low, seen.high);
            lane.lag = lane.next_offset.map(|next| (seen.high - next).max(0));
            (lane.next, lane.last, lane.oldest) = (seen.next, seen.last, seen.oldest);
        }
        Err(error) if error.code() == Code::ConfigInvalid => return Err(error),
        Err(error) => lane.error = Some(error.to_string()),
    }
    Ok(lane)
}

fn blank(part: &Part, table: Option<String>, row: Option<Position>) -> LaneOffset {
    let replaying = row.as_ref().is_some_and(Position::is_replaying);
    let until = row.as_ref().map(|row| row.replay_until).filter(|_| replaying);
    let [rewritten, restored, removed, missing] = row.as_ref().map_or([0; 4], |row| row.replayed);
    LaneOffset {
        table,
        topic: part.topic.clone(),
        partition: part.partition,
        next_offset: row.as_ref().map(|row| row.next_offset),
        next: None,
        last: None,
        ordinal: row.as_ref().map(|row| row.ordinal),
        low_offset: 0,
        oldest: None,
        end_offset: 0,
        lag: None,
        owned: row.as_ref().is_some_and(|row| row.owned),
        replaying,
        replay_until: until,
        replayed: Replayed { rewritten, restored, removed, missing },
        request: row.map(|row| row.request_id).filter(|id| !id.is_empty()),
        error: None,
    }
}

/// What Kafka has around an offset.
struct Seen {
    low: i64,
    high: i64,
    next: Option<RecordPlace>,
    last: Option<RecordPlace>,
    oldest: Option<RecordPlace>,
}

async fn look(inquiry: &Inquiry, part: &Part, next: Option<i64>) -> Result<Seen, Error> {
    let now = inquiry.topic(part).await?;
    let (low, high) = (now.low, now.high);
    inquiry
        .explore(part, move |explorer| {
            let oldest = explorer.at(low, high)?.map(place);
            let within = next.filter(|next| (low..=high).contains(next));
            let last = within.map(|next| explorer.before(next, low)).transpose()?.flatten();
            let next = within.map(|next| explorer.at(next, high)).transpose()?.flatten();
            Ok(Seen { low, high, next: next.map(place), last: last.map(place), oldest })
        })
        .await
}
