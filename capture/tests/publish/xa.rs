//! XA transactions: those of other tables pass, and none passes whose rows were not seen.

use capture::Options;
use mysql_async::prelude::Queryable;
use schemas::status::SourceState;

use crate::lines;
use crate::site::{Site, wait_for};
use crate::topic::partitions;

const T: &str = "t (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT '')";

/// Of a transaction on a table, up to its PREPARE.
fn prepare(name: &str, table: &str) -> String {
    format!("XA START '{name}'; INSERT INTO {table} VALUES (7,'xa'); XA END '{name}'; XA PREPARE '{name}'")
}

async fn only_what_was_seen_passes(variable: &str, position: &str) {
    let mut site = Site::on(variable, &[T, "other LIKE t"]).await;
    site.put(&["t"]).await;
    let capture = site.run("a", Options::default()).await;
    let name = site.name.clone();
    site.sql(&format!("{}; XA COMMIT '{name}'", prepare(&name, "other"))).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    assert_eq!(lines(&site.wait_events("t", 1).await), ["c - 1,a"]);
    capture.stop().await;
    // A start between PREPARE and COMMIT, once there is nothing prepared any more.
    let mut late = Site::on(variable, &[T]).await;
    let name = late.name.clone();
    late.sql(&prepare(&name, "t")).await;
    let between: Option<String> = late.conn.query_first(position).await.expect("an answer");
    late.sql(&format!("XA COMMIT '{name}'")).await;
    late.settings.insert("start".to_owned(), serde_json::json!({ "gtid": between.expect("a position") }));
    late.put(&["t"]).await;
    let capture = late.start("a", Options::default());
    let stopped = capture.state("stopped", |status| status.state == SourceState::Stopped).await;
    let error = stopped.error.expect("an error");
    assert!(error.code == "OT3006" && error.message.contains("prepared before the start"), "{error:?}");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_seen_passes_on_mariadb() {
    only_what_was_seen_passes("OTTER_SERVERS_SOURCE", "SELECT @@global.gtid_binlog_pos").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_seen_passes_on_mysql() {
    only_what_was_seen_passes("OTTER_SERVERS_MYSQL_SOURCE", "SELECT @@global.gtid_executed").await;
}

/// Where XA transactions are used, one is prepared at almost any moment, and decided milliseconds later.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_start_waits_for_one_that_is_about_to_be_decided() {
    let mut site = Site::new(&[T]).await;
    site.put(&["t"]).await;
    let name = site.name.clone();
    site.sql(&prepare(&name, "t")).await;
    let capture = site.start("a", Options::default());
    // The next that it does is to look for a place to start at.
    let checkpoints = site.checkpoints();
    wait_for("the topic of checkpoints", || async {
        let topic = checkpoints.clone();
        let found = tokio::task::spawn_blocking(move || partitions(&topic)).await.expect("asked");
        if found > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    site.sql(&format!("DO SLEEP(0.5); XA COMMIT '{name}'")).await;
    capture.state("running", |status| status.state == SourceState::Running).await;
    site.sql("INSERT INTO t VALUES (1,'a')").await;
    assert_eq!(lines(&site.wait_events("t", 1).await), ["c - 1,a"]);
    capture.stop().await;
}
