//! Structure changes at the source: ADD and DROP COLUMN are followed, others stop the source in front of them.

use crate::harness::database::wait_equal;
use crate::harness::topics::check_topic;
use crate::harness::{Database, Otter, Result, Servers, Site, ensure};
use schemas::status::{ErrorStatus, SourceState};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn columns_added_and_dropped_at_the_source() -> Result<()> {
    let site = Site::new("columns", Servers::shared()?).await?;
    site.source()
        .await?
        .run(&format!("CREATE TABLE {} (id int primary key, a int, b varchar(20))", site.from("t")))
        .await?;
    let wide = "id int primary key, a int, b varchar(20), c decimal(8,2) default 7";
    site.target().await?.run(&format!("CREATE TABLE {} ({wide})", site.to("t"))).await?;
    site.put_all(&[("t", "t")]).await?;
    let otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("t"), site.to("t"));
    run(&mut source, &from, &["INSERT INTO t VALUES (1, 1, 'one'), (2, 2, 'two')"]).await?;
    run(&mut source, &from, &["ALTER TABLE t ADD COLUMN c decimal(8,2)", "INSERT INTO t VALUES (3, 3, 'three', 3.25)"])
        .await?;
    run(&mut source, &from, &["UPDATE t SET c = id / 2, a = a + 1"]).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    run(
        &mut source,
        &from,
        &["ALTER TABLE t DROP COLUMN b", "INSERT INTO t VALUES (4, 4, 4.5)", "DELETE FROM t WHERE id = 2"],
    )
    .await?;
    target.run(&format!("CREATE VIEW {to}_without AS SELECT id, a, c FROM {to}")).await?;
    wait_equal((&mut source, &from), (&mut target, &format!("{to}_without")), SOON).await?;
    let kept: Vec<(i32, Option<String>)> = target.rows(&format!("SELECT id, b FROM {to} ORDER BY id")).await?;
    let text = |text: &str| Some(text.to_owned());
    ensure!(kept == [(1, text("one")), (3, text("three")), (4, None)], "{kept:?}");
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_changed_key_stops_the_source_in_front_of_it() -> Result<()> {
    stops("newkey", "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a)", "OT3009").await
}

#[tokio::test]
async fn a_renamed_table_stops_the_source_in_front_of_it() -> Result<()> {
    stops("renamed", "RENAME TABLE t TO t2", "OT3009").await
}

/// A statement that is not carried yet: rows before it arrive, nothing behind it is published, and the status says why.
async fn stops(test: &str, statement: &str, code: &str) -> Result<()> {
    let site = Site::new(test, Servers::shared()?).await?;
    site.create("t", "t", "id int primary key, a int not null").await?;
    site.put_all(&[("t", "t")]).await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("t"), site.to("t"));
    run(&mut source, &from, &["INSERT INTO t VALUES (1, 11), (2, 12)"]).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    run(&mut source, &from, &[statement]).await?;
    let error = stopped(&mut otter).await?;
    ensure!(error.code == code && error.message.contains(&site.name) && !error.remedy.is_empty(), "{error:?}");
    let rows = target.checksum(&to).await?.0;
    ensure!(rows == 2, "{rows} rows at the target");
    otter.stop(Duration::from_secs(10)).await?;
    let seen = check_topic(&site, "t").await?;
    ensure!(seen.events() == 2, "{seen:?}");
    Ok(())
}

async fn stopped(otter: &mut Otter) -> Result<ErrorStatus> {
    let look = |status: &schemas::status::WorkerStatus| {
        status.sources.iter().find(|source| source.state == SourceState::Stopped)?.error.clone()
    };
    otter.wait_status("the source to stop", SOON, look).await
}

/// Runs statements about the table `t`.
async fn run(database: &mut Database, table: &str, statements: &[&str]) -> Result<()> {
    let (schema, _) = table.split_once('.').unwrap_or_default();
    database.run(&format!("USE {schema}")).await?;
    for statement in statements {
        database.run(statement).await?;
    }
    Ok(())
}
