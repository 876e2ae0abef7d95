//! Questions to Kafka about a lane's topic: its id, its partitions, its watermarks; and what the answers mean for a
//! lane's position. The answers come from blocking calls, so they run beside the runtime, a few at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brokers::TopicFacts;
use coordination::SchemaStore;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use schemas::barrier::BarrierKind;
use schemas::documents::PipelineStart;
use schemas::gtid::Gtid;
use schemas::kafka::KafkaOptions;
use schemas::request::SeekTo;
use schemas::status::{LaneState, PipelineState, StatusBoard};
use schemas::{Code, Error, Result};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::consumer::lanes::Part;
use crate::consumer::{Callbacks, inquiry_config};
use crate::explore::{Explorer, Facts};
use crate::pipeline::show;

/// Questions at a time.
const PARALLEL: usize = 8;
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(5);

/// How often the ends of lanes that are behind, or stand still, are asked for.
const ENDS_EVERY: Duration = Duration::from_secs(5);

/// A partition as Kafka has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicNow {
    /// The topic's id.
    pub(crate) id: String,
    /// Offset of the oldest record.
    pub(crate) low: i64,
    /// The last stable offset: the end, as a reader of committed records sees it.
    pub(crate) high: i64,
    /// Count of the topic's partitions.
    pub(crate) partitions: usize,
}

/// Asks.
#[derive(Clone)]
pub(crate) struct Inquiry {
    client: Arc<BaseConsumer<Callbacks>>,
    /// Sees open transactions too; made when it is needed.
    uncommitted: Arc<OnceLock<BaseConsumer<Callbacks>>>,
    permits: Arc<Semaphore>,
    kafka: Arc<KafkaOptions>,
    schemas: SchemaStore,
}

impl Inquiry {
    /// A client of its own, without a group.
    ///
    /// # Errors
    /// `OT1004` when librdkafka refuses a property.
    pub(crate) fn new(kafka: &KafkaOptions, schemas: SchemaStore) -> Result<Self> {
        let client = inquiry_config(kafka)
            .create_with_context(Callbacks::default())
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")))?;
        let (client, permits) = (Arc::new(client), Arc::new(Semaphore::new(PARALLEL)));
        Ok(Self { client, uncommitted: Arc::default(), permits, kafka: Arc::new(kafka.clone()), schemas })
    }

    /// The names of all topics.
    ///
    /// # Errors
    /// `OT4001` without an answer.
    pub(crate) async fn topics(&self) -> Result<Vec<String>> {
        Ok(self.topic_sizes().await?.into_iter().map(|(topic, _)| topic).collect())
    }

    /// All topics, each with the count of its partitions.
    ///
    /// # Errors
    /// `OT4001` without an answer.
    pub(crate) async fn topic_sizes(&self) -> Result<Vec<(String, usize)>> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || client.fetch_metadata(None, WAIT)).await;
        let failed = |why: String| Error::new(Code::KafkaUnavailable, format!("the list of topics: {why}"));
        let metadata = answer.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
    }

    /// How to reach Kafka.
    pub(crate) fn kafka(&self) -> &KafkaOptions {
        &self.kafka
    }

    /// The partition as it is now.
    ///
    /// # Errors
    /// `OT4003` when the topic is gone, or has no such partition; `OT4001` without an answer.
    pub(crate) async fn topic(&self, part: &Part) -> Result<TopicNow> {
        let (client, part) = (Arc::clone(&self.client), part.clone());
        self.blocking(move || ask(&client, &part)).await
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// `OT4003` when it is gone; `OT4001` without an answer.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<usize> {
        let (client, topic) = (Arc::clone(&self.client), topic.to_owned());
        self.blocking(move || describe(&client, &topic).map(|facts| facts.partitions)).await
    }

    /// Those of the topics that are there.
    ///
    /// # Errors
    /// `OT4001` without an answer.
    pub(crate) async fn existing(&self, topics: &BTreeSet<String>) -> Result<Vec<String>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let (client, topics) = (Arc::clone(&self.client), topics.clone());
        self.blocking(move || {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            Ok(brokers::describe(client.client(), &names, WAIT)?.into_keys().collect())
        })
        .await
    }

    /// The ends of a topic's partitions, behind the records of open transactions: whatever the source committed before an
    /// event that a lane has read lies before them.
    ///
    /// # Errors
    /// As [`Inquiry::topic`].
    pub(crate) async fn ends(&self, topic: &str) -> Result<Vec<i64>> {
        let (this, topic) = (self.clone(), topic.to_owned());
        self.blocking(move || {
            let count = describe(&this.client, &topic)?.partitions;
            let client = match this.uncommitted.get() {
                Some(client) => client,
                None => {
                    let mut config = inquiry_config(&this.kafka);
                    let made =
                        config.set("isolation.level", "read_uncommitted").create_with_context(Callbacks::default());
                    let made = made.map_err(|e| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")))?;
                    this.uncommitted.get_or_init(|| made)
                }
            };
            ends(client, &topic, count)
        })
        .await
    }

    /// Looks at records of a partition.
    ///
    /// # Errors
    /// What `look` says.
    pub(crate) async fn explore<T: Send + 'static>(
        &self,
        part: &Part,
        look: impl FnOnce(&mut Explorer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut explorer = Explorer::new(&self.kafka, self.schemas.clone(), part.clone())?;
        self.blocking(move || look(&mut explorer)).await
    }

    /// The last record before an offset; `None` when the partition has none any more.
    ///
    /// # Errors
    /// As [`Inquiry::topic`] and [`Explorer::at`].
    pub(crate) async fn before(&self, part: &Part, offset: i64) -> Result<Option<Facts>> {
        let low = self.topic(part).await?.low;
        self.explore(part, move |explorer| explorer.before(offset, low)).await
    }

    /// Where in the source's order a repartition added the partition, as its first record tells.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) async fn added_at(&self, part: &Part, now: &TopicNow) -> Result<Option<(i32, i64)>> {
        let (low, high) = (now.low, now.high);
        let first = self.explore(part, move |explorer| explorer.barrier(low, high)).await?;
        Ok(first.filter(|(kind, _)| *kind == BarrierKind::Repartition).map(|(_, at)| at))
    }

    /// Where a lane without progress begins.
    ///
    /// # Errors
    /// As [`Explorer::at`].
    pub(crate) async fn start(&self, part: &Part, now: &TopicNow, start: &PipelineStart) -> Result<i64> {
        let (low, high) = (now.low, now.high);
        let to = match start {
            PipelineStart::Earliest => return Ok(low),
            PipelineStart::Latest => return Ok(high),
            PipelineStart::Timestamp(moment) => SeekTo::Timestamp(*moment),
            PipelineStart::Gtid(position) => SeekTo::Gtid(position.clone()),
        };
        self.explore(part, move |explorer| seek_offset(explorer, &to, low, high)).await
    }

    async fn blocking<T: Send + 'static>(&self, ask: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Error::new(Code::KafkaUnavailable, "the client is closed"));
        };
        let answer = tokio::task::spawn_blocking(ask).await;
        answer.map_err(|e| Error::new(Code::KafkaUnavailable, "the question was not answered").with_source(e))?
    }
}

/// Keeps the end offsets of a pipeline's lanes on the board true until `stop`. A lane that stands at the end and has not
/// moved needs no question: the consumer would have delivered what is new. After a connection error all are asked, for
/// librdkafka does not say when it is over, and an idle pipeline has no record to show it: an answer does.
pub(crate) async fn follow_ends(inquiry: Inquiry, board: StatusBoard, pipeline: String, stop: CancellationToken) {
    let mut seen: HashMap<Part, Option<i64>> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ENDS_EVERY) => {}
        }
        let Some(entry) = board.snapshot().pipelines.into_iter().find(|p| p.name == pipeline) else { continue };
        let troubled = entry.state == PipelineState::Retrying;
        let mut now = HashMap::new();
        for lane in entry.lanes {
            let part = Part { topic: lane.topic, partition: lane.partition };
            let rests = seen.get(&part) == Some(&lane.next_offset) && lane.next_offset == lane.end_offset;
            if !rests || troubled || lane.state != LaneState::Running {
                tokio::select! {
                    () = stop.cancelled() => return,
                    answer = inquiry.topic(&part) => match answer {
                        Ok(answer) => {
                            show_end(&board, &pipeline, &part, answer.high);
                            if troubled {
                                show(&board, &pipeline, PipelineState::Running, None);
                            }
                        }
                        Err(error) => tracing::debug!(%error, "end offset"),
                    },
                }
            }
            now.insert(part, lane.next_offset);
        }
        seen = now;
    }
}

/// Sets the end of a lane that is still on the board.
fn show_end(board: &StatusBoard, pipeline: &str, part: &Part, end: i64) {
    board.pipeline(pipeline, |entry| {
        let lane = entry.lanes.iter_mut().find(|l| l.topic == part.topic && l.partition == part.partition);
        if let Some(lane) = lane {
            lane.end_offset = Some(end.max(lane.next_offset.unwrap_or(end)));
        }
    });
}

fn describe(client: &BaseConsumer<Callbacks>, topic: &str) -> Result<TopicFacts> {
    // Serves what librdkafka has to say to this client, which nobody else polls.
    while client.poll(Duration::ZERO).is_some() {}
    let mut topics = brokers::describe(client.client(), &[topic], WAIT)?;
    topics.remove(topic).ok_or_else(|| Error::new(Code::TopicInvalid, format!("the topic {topic} is gone")))
}

fn ends(client: &BaseConsumer<Callbacks>, topic: &str, partitions: usize) -> Result<Vec<i64>> {
    while client.poll(Duration::ZERO).is_some() {}
    let failed = |why: String| Error::new(Code::KafkaUnavailable, format!("the ends of {topic}: {why}"));
    let mut list = TopicPartitionList::new();
    for partition in (0_i32..).take(partitions) {
        list.add_partition_offset(topic, partition, Offset::End).map_err(|e| failed(e.to_string()))?;
    }
    let answer = client.offsets_for_times(list, WAIT).map_err(|e| failed(e.to_string()).with_source(e))?;
    let mut ends = vec![None; partitions];
    for element in answer.elements() {
        let place = usize::try_from(element.partition()).ok().and_then(|at| ends.get_mut(at));
        if let (Some(place), Offset::Offset(end)) = (place, element.offset()) {
            *place = Some(end);
        }
    }
    let all: Option<Vec<i64>> = ends.into_iter().collect();
    all.ok_or_else(|| failed("a partition has none".to_owned()))
}

fn ask(client: &BaseConsumer<Callbacks>, part: &Part) -> Result<TopicNow> {
    let facts = describe(client, &part.topic)?;
    if usize::try_from(part.partition).is_ok_and(|partition| partition >= facts.partitions) {
        let message = format!(
            "the topic {} has {} partitions, and no partition {}",
            part.topic, facts.partitions, part.partition
        );
        return Err(Error::new(Code::TopicInvalid, message));
    }
    let (low, high) = client.fetch_watermarks(&part.topic, part.partition, WAIT).map_err(|e| {
        Error::new(Code::KafkaUnavailable, format!("the ends of {}/{}: {e}", part.topic, part.partition)).with_source(e)
    })?;
    Ok(TopicNow { id: facts.id, low, high, partitions: facts.partitions })
}

/// The offset in `low..=high` that a position means. An offset is taken as it is, whether or not it is within.
///
/// # Errors
/// As [`Explorer::at`].
pub(crate) fn seek_offset(explorer: &mut Explorer, to: &SeekTo, low: i64, high: i64) -> Result<i64> {
    match to {
        SeekTo::Earliest => Ok(low),
        SeekTo::Latest => Ok(high),
        SeekTo::Offset(offset) => Ok(*offset),
        SeekTo::Timestamp(moment) => explorer.first_where(low, high, |facts| {
            let holds = facts.time >= moment.ms() || (is_mariadb(facts) && is_within_second(facts.time, moment.ms()));
            is_of_source(facts).then_some(holds)
        }),
        SeekTo::Gtid(position) => explorer.first_where(low, high, |facts| {
            let gtid = facts.gtid.as_deref().and_then(|text| text.parse::<Gtid>().ok());
            is_of_source(facts).then(|| gtid.is_none_or(|gtid| !position.contains(&gtid)))
        }),
    }
}

/// Whether a record stands for something in the source's binlog: an event, or a TRUNCATE.
fn is_of_source(facts: &Facts) -> bool {
    facts.barrier != Some(BarrierKind::Repartition)
}

/// Whether the event is of a MariaDB server.
fn is_mariadb(facts: &Facts) -> bool {
    matches!(facts.gtid.as_deref().map(str::parse), Some(Ok(Gtid::Mariadb(_))))
}

/// Whether what has this time (milliseconds) in whole seconds, as MariaDB logs it, may have been committed behind the
/// moment: what was, within its second, has a time before it.
fn is_within_second(time: i64, moment: i64) -> bool {
    time % 1000 == 0 && time + 1000 > moment
}

/// Whether a position fits its topic.
///
/// # Errors
/// `OT4003` when the topic was made anew or was cut off behind the position, `OT4004` when retention has passed it.
pub(crate) fn check_position(part: &Part, next_offset: i64, topic_id: &str, now: &TopicNow) -> Result<()> {
    let name = format!("{}/{}", part.topic, part.partition);
    if !topic_id.is_empty() && topic_id != now.id {
        let message = format!(
            "the topic {} was deleted and made again: the progress belongs to the topic id {topic_id}, it has {} now",
            part.topic, now.id
        );
        return Err(Error::new(Code::TopicInvalid, message));
    }
    if next_offset < now.low {
        let message = format!(
            "{name}: the offsets {next_offset} to {} are lost, the oldest record there is {}",
            now.low - 1,
            now.low
        );
        return Err(Error::new(Code::OffsetLost, message));
    }
    if next_offset > now.high {
        let message =
            format!("{name} ends at offset {}, before the next offset {next_offset} of the progress", now.high);
        return Err(Error::new(Code::TopicInvalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_within_the_second_of_a_moment_counts() {
        assert!(is_within_second(53_000, 53_491) && is_within_second(53_000, 53_000));
        assert!(!is_within_second(53_490, 53_491), "not in whole seconds");
        assert!(!is_within_second(52_000, 53_491) && !is_within_second(52_000, 53_000));
    }

    #[test]
    fn positions_are_compared_with_the_topic() {
        let part = Part { topic: "t".into(), partition: 0 };
        let now = TopicNow { id: "A".into(), low: 10, high: 20, partitions: 1 };
        let code = |next, id| check_position(&part, next, id, &now).map_err(|e| (e.code(), e.message().to_owned()));
        for next in [10, 15, 20] {
            assert_eq!(code(next, "A"), Ok(()));
            assert_eq!(code(next, ""), Ok(()), "progress made before ids were kept");
        }
        let lost = code(7, "A").expect_err("lost");
        assert_eq!(lost.0, Code::OffsetLost);
        assert!(lost.1.contains("the offsets 7 to 9 are lost"), "{}", lost.1);
        assert_eq!(code(21, "A").expect_err("cut").0, Code::TopicInvalid);
        assert_eq!(code(15, "B").expect_err("other").0, Code::TopicInvalid);
    }
}
