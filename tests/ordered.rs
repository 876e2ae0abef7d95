//! Tables under foreign keys, from a real source: its cascades, its TRUNCATE, and what it answers to a seek and to a reset.

use crate::harness::otter::Finished;
use crate::harness::{Kind, Result, Site, ensure, wait_for};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);
const PARENT: &str = "id int PRIMARY KEY, n int NOT NULL";
const CHILD: &str = "id int PRIMARY KEY, parent int NOT NULL, n int NOT NULL";
const KEY: &str = "ADD FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE";

/// A site whose tables are written in the order of the source.
async fn site(test: &str, kind: Kind) -> Result<Site> {
    let site = Site::between(test, kind, kind).await?;
    site.create("parent", "parent", PARENT).await?;
    site.create("child", "child", CHILD).await?;
    let mut source = site.source().await?;
    source.run(&format!("ALTER TABLE {} {}", site.from("child"), key(&site.name))).await?;
    site.target().await?.run(&format!("ALTER TABLE {} {}", site.to("child"), key(&site.target_schema))).await?;
    // MySQL logs what its cascades do since 9.6, and the target's cascade was first.
    let missing = if kind == Kind::Mysql { ", missing_row: ignore" } else { "" };
    let pipeline = site.pipeline_document(&[("parent", "parent"), ("child", "child")])
        + &format!("apply: {{foreign_keys: ordered{missing}}}\n");
    site.put(&[&site.source_document().await?, &site.target_document(), &pipeline]).await?;
    Ok(site)
}

fn key(schema: &str) -> String {
    KEY.replace("REFERENCES parent", &format!("REFERENCES {schema}.parent"))
}

/// Waits until both tables have at the target the rows that they have at the source.
async fn same(site: &Site) -> Result<()> {
    let sql = |parent: String, child: String| {
        format!("SELECT id, 0, n FROM {parent} UNION ALL SELECT id, parent, n FROM {child} ORDER BY 1, 2, 3")
    };
    let wanted: Vec<(i32, i32, i32)> = site.source().await?.rows(&sql(site.from("parent"), site.from("child"))).await?;
    let (mut target, sql) = (site.target().await?, sql(site.to("parent"), site.to("child")));
    wait_for("the target to be the same", SOON, async || {
        let found: Vec<(i32, i32, i32)> = target.rows(&sql).await.map_err(|error| format!("{error:#}"))?;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    })
    .await
}

/// Parents and children that come and go, by cascades and by TRUNCATE.
async fn generations(site: &Site, first: u32) -> Result<()> {
    let (mut source, parent, child) = (site.source().await?, site.from("parent"), site.from("child"));
    let rows = |of: &dyn Fn(u32) -> String| (first..first + 20).map(of).collect::<Vec<_>>().join(", ");
    source.run(&format!("INSERT INTO {parent} VALUES {}", rows(&|id| format!("({id}, 0)")))).await?;
    let children = rows(&|id| format!("({id}, {id}, 1), ({}, {id}, 2)", 1000 + id));
    source.run(&format!("INSERT INTO {child} VALUES {children}")).await?;
    source.run(&format!("DELETE FROM {parent} WHERE id BETWEEN {first} AND {}", first + 5)).await?;
    source.run(&format!("TRUNCATE TABLE {child}")).await?;
    source.run(&format!("INSERT INTO {child} VALUES ({first}, {0}, 3), (1{first}, {0}, 4)", first + 10)).await?;
    source.run(&format!("DELETE FROM {parent} WHERE id = {}", first + 11)).await?;
    Ok(())
}

/// What a command printed as JSON.
fn json(done: &Finished) -> Result<Value> {
    Ok(serde_json::from_str(&done.stdout)?)
}

async fn refusals(test: &str, kind: Kind) -> Result<()> {
    let site = site(test, kind).await?;
    let otter = site.start("run").await?;
    let url = format!("http://{}", otter.address()?);
    let ask = async |arguments: &[&str]| site.otter_with(arguments, &[("OTTER_URL", &url)]).await;
    let (name, start) = (site.name.as_str(), site.source().await?.gtid().await?);
    generations(&site, 100).await?;
    same(&site).await?;
    // A seek back is refused and moves nothing.
    ensure!(ask(&["pause", "pipeline", name]).await?.code == Some(0));
    let table = site.from("child");
    for of in [&["--table", table.as_str()][..], &[]] {
        let done = ask(&[&["replay", "pipeline", name, "--to", "earliest", "-o", "json"], of].concat()).await?;
        let answer = json(&done)?;
        ensure!(done.code == Some(1) && answer["outcome"]["code"] == "OT5011", "{done:?}");
        let message = answer["outcome"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains("under foreign keys") && message.contains("foreign_keys: off"), "{message}");
    }
    let done = ask(&["replay", "pipeline", name, "--to", "latest"]).await?;
    ensure!(done.code == Some(0), "forward: {done:?}");
    ensure!(ask(&["resume", "pipeline", name]).await?.code == Some(0));
    generations(&site, 200).await?;
    same(&site).await?;
    // A reset of capture to where it is gives nothing a second time; one to the beginning stops the set in front of it.
    let here = format!("gtid={}", site.source().await?.gtid().await?);
    let done = ask(&["reset", "source", name, "--to", &here]).await?;
    ensure!(done.code == Some(0), "to where it is: {done:?}");
    generations(&site, 300).await?;
    same(&site).await?;
    let done = ask(&["reset", "source", name, "--to", &format!("gtid={start}")]).await?;
    ensure!(done.code == Some(0), "to the beginning: {done:?}");
    let stopped = wait_for("the set to stop", SOON, async || {
        let done = ask(&["status", "-o", "json"]).await.map_err(|error| format!("{error:#}"))?;
        let status: Value = serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done:?}"))?;
        let lanes = status["pipelines"][0]["lanes"].as_array().cloned().unwrap_or_default();
        let error = lanes.into_iter().map(|mut lane| lane["error"].take()).find(|error| error["code"] == "OT5011");
        error.ok_or_else(|| status.to_string())
    })
    .await?;
    let message = stopped["message"].as_str().unwrap_or_default();
    ensure!(message.contains("capture was reset") && message.contains("foreign_keys: off"), "{message}");
    same(&site).await?;
    otter.stop(SOON).await
}

#[tokio::test]
async fn tables_under_foreign_keys_are_not_written_again_on_mariadb() -> Result<()> {
    refusals("ordered_a", Kind::Mariadb).await
}

#[tokio::test]
async fn tables_under_foreign_keys_are_not_written_again_on_mysql() -> Result<()> {
    refusals("ordered_y", Kind::Mysql).await
}
