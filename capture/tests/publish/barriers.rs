//! TRUNCATE: a barrier in every partition, between the rows before it and those behind.

use capture::Options;
use schemas::barrier::BarrierKind;
use schemas::status::SourceState;

use crate::T;
use crate::partitions::{insert, spread};
use crate::site::Site;
use crate::topic::{Found, Seen, partitions};

/// A barrier stands in each partition once, behind what is before it and in front of what is behind it.
pub(crate) fn assert_between(events: &[Seen], barrier: &[Found]) {
    let first = &barrier[0].barrier;
    for (partition, found) in barrier.iter().enumerate() {
        assert_eq!(found.barrier, *first, "the same everywhere");
        assert_eq!(found.partition, i32::try_from(partition).expect("few"), "once in each");
        let end = first.ends.get(partition).copied().unwrap_or_default();
        assert!(end <= found.offset, "{found:?}");
        for event in events.iter().filter(|e| e.partition == found.partition) {
            assert_ne!(event.ordinal, first.ordinal);
            if event.ordinal < first.ordinal {
                assert!(event.offset < end, "{event:?} before {found:?}");
            } else {
                assert!(event.offset > found.offset, "{event:?} behind {found:?}");
            }
        }
    }
}

/// The barriers of a topic, one after another.
fn one_by_one(mut found: Vec<Found>) -> Vec<Vec<Found>> {
    found.sort_by_key(|f| (f.barrier.ordinal, f.partition, f.offset));
    found.chunk_by(|a, b| a.barrier.ordinal == b.barrier.ordinal).map(<[Found]>::to_vec).collect()
}

async fn truncates(variable: &str, statements: &[&str]) {
    let mut site = Site::on(variable, &[T, "other LIKE t", "never LIKE t"]).await;
    spread(&mut site, 3);
    site.put(&["t", "never"]).await;
    let capture = site.run("a", Options::default()).await;
    for (round, statement) in statements.iter().enumerate() {
        insert(&mut site, 1..=5).await;
        let statement = statement.replace("SCHEMA", &site.name);
        site.sql("INSERT INTO other VALUES (1,'x')").await;
        site.sql(&statement).await;
        site.sql("TRUNCATE TABLE other").await;
        let found = site.wait_barriers("t", 3 * (round + 1)).await;
        assert_eq!(one_by_one(found).len(), round + 1, "{statement}");
    }
    insert(&mut site, 1..=5).await;
    let events = site.wait_events("t", 5 * (statements.len() + 1)).await;
    for barrier in one_by_one(site.barriers("t").await) {
        assert_between(&events, &barrier);
        let said = &barrier[0].barrier;
        assert_eq!((said.kind, said.partitions, said.ends.len()), (BarrierKind::Truncate, 3, 3));
        let last = events.iter().filter(|e| e.ordinal < said.ordinal).max_by_key(|e| e.ordinal).expect("rows before");
        assert_ne!(said.gtid, last.gtid);
        assert!(said.gtid.is_some() && !said.file.is_empty() && said.pos > 0 && said.ts_ms > 1_700_000_000_000);
    }
    // A target may have been seeded with rows of a table that nobody has written since.
    site.sql("TRUNCATE never").await;
    let found = site.wait_barriers("never", 3).await;
    assert_between(&[], &found);
    assert!(found[0].barrier.ends.iter().all(|end| *end == 0));
    assert_eq!(partitions(&site.topic("other")), 0);
    capture.stop().await;
    // Read on from the checkpoint behind it, not again.
    let capture = site.run("a", Options::default()).await;
    site.sql("INSERT INTO never VALUES (1,'x')").await;
    assert_between(&site.wait_events("never", 1).await, &found);
    assert_eq!(site.barriers("never").await, found);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_of_mariadb_is_a_barrier() {
    let statements = [
        "TRUNCATE TABLE t",
        "TRUNCATE t",
        "/* all of it */ truncate /* now */ `t` -- gone",
        "TRUNCATE TABLE `SCHEMA` . `t`",
        "TRUNCATE TABLE t WAIT 5",
        "TRUNCATE t NOWAIT",
        "SET STATEMENT lock_wait_timeout=5 FOR TRUNCATE t",
    ];
    truncates("OTTER_SERVERS_SOURCE", &statements).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_of_mysql_is_a_barrier() {
    let statements = ["TRUNCATE TABLE t", "TRUNCATE t", "/*!80000 TRUNCATE */ `SCHEMA`.t # gone"];
    truncates("OTTER_SERVERS_MYSQL_SOURCE", &statements).await;
}

/// What empties something else, or only a part, is no barrier of the table.
async fn no_barriers(variable: &str) {
    let parts = "p (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4";
    let mut site = Site::on(variable, &[T, parts]).await;
    site.put(&["*"]).await;
    let capture = site.run("a", Options::default()).await;
    site.sql("CREATE TEMPORARY TABLE t (id INT); TRUNCATE t; DROP TEMPORARY TABLE t; INSERT INTO t VALUES (1,'x')")
        .await;
    site.wait_events("t", 1).await;
    assert_eq!(site.barriers("t").await, []);
    site.sql("ALTER TABLE p TRUNCATE PARTITION p1").await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    assert_eq!(stopped.error.expect("an error").code, "OT3009");
    site.put(&["t"]).await;
    capture.state("running", |status| status.state == SourceState::Running).await;
    // In this format the statement on the temporary table is logged, and says that it is its session's.
    site.sql("SET SESSION binlog_format=STATEMENT; CREATE TEMPORARY TABLE t (id INT); TRUNCATE t").await;
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    let error = stopped.error.expect("an error");
    assert_eq!(error.code, "OT3009", "{error:?}");
    assert!(error.message.contains("TRUNCATE TABLE concerns"), "{error:?}");
    assert_eq!(site.barriers("t").await, []);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_truncate_of_the_table_stops_or_passes_on_mariadb() {
    no_barriers("OTTER_SERVERS_SOURCE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_truncate_of_the_table_stops_or_passes_on_mysql() {
    no_barriers("OTTER_SERVERS_MYSQL_SOURCE").await;
}
