//! Topics of several partitions: a row is where its key says, and the count stays what it was at the first row.

use capture::Options;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use schemas::documents::Interval;
use schemas::request::OutcomeState;
use schemas::status::SourceState;
use serde_json::json;

use crate::barriers::assert_between;
use crate::repartition::ask;
use crate::site::{SOURCE, Site, kafka, server};
use crate::topic::{Seen, partitions};
use crate::{T, lines};

/// Where rows with the INT keys 1 to 24 go in a topic of four partitions, by an implementation of its own.
pub(crate) const OF_FOUR: [i32; 24] = [2, 2, 0, 2, 0, 2, 3, 1, 0, 0, 2, 3, 2, 2, 1, 1, 2, 3, 1, 0, 0, 2, 2, 1];
/// In one of six.
pub(crate) const OF_SIX: [i32; 24] = [2, 0, 4, 0, 4, 0, 3, 5, 4, 4, 2, 5, 2, 0, 3, 5, 2, 1, 5, 0, 4, 2, 2, 5];

/// Topics of so many partitions.
pub(crate) fn spread(site: &mut Site, partitions: u32) {
    let topics = json!({"prefix": site.name, "partitions": partitions});
    site.settings.insert("topics".to_owned(), topics);
}

/// Inserts rows of `t` with the keys of a range.
pub(crate) async fn insert(site: &mut Site, ids: std::ops::RangeInclusive<usize>) {
    let rows: Vec<_> = ids.map(|id| format!("({id},'x')")).collect();
    site.sql(&format!("INSERT INTO t VALUES {}", rows.join(","))).await;
}

/// Asserts that each inserted row of `t` with a key of the range is where the table says.
pub(crate) fn assert_placed(events: &[Seen], ids: std::ops::RangeInclusive<usize>, expected: &[i32; 24]) {
    for id in ids {
        let text = id.to_string();
        let row = events.iter().find(|e| e.after.as_ref().is_some_and(|row| row[0] == text));
        assert_eq!(row.unwrap_or_else(|| panic!("no row {id}")).partition, expected[id - 1], "row {id}");
    }
}

/// The count of partitions that is frozen of a table's topic.
pub(crate) async fn frozen(site: &Site, table: &str) -> Option<u32> {
    let frozen = site.coordination.frozen_topic(SOURCE, &site.topic(table)).await.expect("an answer");
    frozen.map(|frozen| frozen.partitions)
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", server("OTTER_SERVERS_KAFKA")).create().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_spread_by_their_keys() {
    let text = "s (k VARCHAR(10) PRIMARY KEY)";
    let mut site = Site::new(&[T, text, "keyless (a INT, b INT)"]).await;
    spread(&mut site, 4);
    site.put(&["*"]).await;
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=24).await;
    site.sql("DELETE FROM t WHERE id=1; UPDATE t SET id=1, name='moved' WHERE id=3").await;
    site.sql("INSERT INTO s VALUES ('a'),('b'),('c'),('d'); UPDATE s SET k='A' WHERE k='a'").await;
    site.sql("INSERT INTO keyless VALUES (1,1),(2,2),(3,3); UPDATE keyless SET a=a+10").await;

    let events = site.wait_events("t", 27).await;
    assert_placed(&events, 1..=24, &OF_FOUR);
    let one = |line: &str| events.iter().find(|e| e.line() == line).unwrap_or_else(|| panic!("no {line}"));
    let (gone, came) = (one("d 3,x -"), one("c - 1,moved"));
    assert_eq!((gone.partition, came.partition), (OF_FOUR[2], OF_FOUR[0]), "each where its key belongs");
    assert_eq!(gone.key, one("c - 3,x").key);
    assert_eq!(came.key, one("c - 1,x").key);
    assert_eq!(gone.headers, [("__debezium.newkey".to_owned(), came.key.clone().expect("a key"))]);
    assert_eq!(came.headers, [("__debezium.oldkey".to_owned(), gone.key.clone().expect("a key"))]);
    assert!(gone.ordinal < came.ordinal);

    let texts = site.wait_events("s", 6).await;
    let mut placed: Vec<_> = texts.iter().map(|e| (e.line(), e.partition)).collect();
    placed.sort();
    let expected = [("c - A", 2), ("c - a", 2), ("c - b", 2), ("c - c", 1), ("c - d", 3), ("d a -", 2)];
    assert_eq!(placed, expected.map(|(line, partition)| (line.to_owned(), partition)));
    let keyless = site.wait_events("keyless", 6).await;
    assert!(keyless.iter().all(|e| e.partition == 0 && e.key.is_none()), "{keyless:?}");
    capture.stop().await;
}

/// A commit costs by the partitions touched: those count, not the tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_ends_when_it_has_touched_enough_partitions() {
    let mut site = Site::new(&[T]).await;
    spread(&mut site, 4);
    site.put(&["t"]).await;
    let long = Interval::from_secs(60);
    // What others write to the server moves the position, and must not be committed in between either.
    let (quiet, commit_interval, checkpoint_interval) = (long, long, long);
    let options = Options { quiet, commit_interval, checkpoint_interval, commit_topics: 3, ..Options::default() };
    let capture = site.run("a", options).await;
    for id in [1, 2, 4, 3, 7] {
        insert(&mut site, id..=id).await;
    }
    let events = site.wait_events("t", 5).await;
    assert_placed(&events, 1..=4, &OF_FOUR);
    // The two of the start, and one for the rows, which lie in three partitions.
    assert_eq!(site.checkpoint_records().await.len(), 4);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_frozen_at_the_first_row() {
    let mut site = Site::new(&[T, "later LIKE t"]).await;
    spread(&mut site, 4);
    site.put(&["*"]).await;
    let topic = site.topic("t");
    let frozen = async |site: &Site| frozen(site, "t").await;
    let capture = site.run("a", Options::default()).await;
    assert_eq!(frozen(&site).await, None);
    insert(&mut site, 1..=6).await;
    site.wait_events("t", 6).await;
    assert_eq!(frozen(&site).await, Some(4));

    spread(&mut site, 6);
    site.put(&["*"]).await;
    capture.state("the new document", |status| status.epoch == 2).await;
    insert(&mut site, 7..=24).await;
    site.sql("INSERT INTO later VALUES (1,'x'),(2,'x')").await;
    assert_placed(&site.wait_events("t", 24).await, 1..=24, &OF_FOUR);
    assert_placed(&site.wait_events("later", 2).await, 1..=2, &OF_SIX);
    assert_eq!((partitions(&topic), partitions(&site.topic("later"))), (4, 6));
    capture.stop().await;

    // Somebody gives the topic partitions behind Otter's back.
    let results = admin().create_partitions([&NewPartitions::new(&topic, 6)], &AdminOptions::new()).await;
    assert!(results.expect("an answer").iter().all(Result::is_ok));
    let capture = site.start("a", Options::default());
    site.sql("INSERT INTO t VALUES (25,'y')").await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    let error = stopped.error.expect("an error");
    assert_eq!(error.code, "OT4016");
    assert!(error.message.contains("has 6 partitions") && error.message.contains("published over 4"), "{error:?}");
    assert_eq!(site.events("t").await.len(), 24, "no row before the count is right");
    let outcome = ask(&site, "t", 6).await;
    assert_eq!(outcome.state, OutcomeState::Done, "{outcome:?}");
    site.wait_events("t", 25).await;
    assert_between(&site.events("t").await, &site.wait_barriers("t", 6).await);
    capture.stop().await;

    let documents = site.coordination.documents();
    let gone = documents.delete(schemas::documents::Kind::Source, SOURCE, None).await;
    gone.expect("deleted");
    capture::purge(&site.name, &kafka(), &site.coordination, SOURCE).await.expect("purged");
    assert_eq!(frozen(&site).await, None);
}

/// An installation from before counts were frozen, or a topic that somebody made beforehand.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_there_keeps_its_count() {
    let mut site = Site::new(&[T]).await;
    let topic = site.topic("t");
    let new = NewTopic::new(&topic, 6, TopicReplication::Fixed(1));
    let made = admin().create_topics([&new], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    insert(&mut site, 1..=24).await;
    let events = site.wait_events("t", 24).await;
    assert_placed(&events, 1..=24, &OF_SIX);
    assert_eq!(lines(&events).len(), 24);
    assert_eq!(frozen(&site, "t").await, Some(6));
    capture.stop().await;
}
