//! Several sources into one table, and tables without a key: the target is the union, each row as many times as it is there.

use crate::harness::{Database, Result, Servers, Site, ensure, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::status::LaneState;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Rows of a query as texts, in order.
async fn rows(database: &mut Database, sql: &str) -> Result<Vec<String>> {
    Ok(database.rows::<(String,)>(sql).await?.into_iter().map(|(row,)| row).collect())
}

/// Waits until the target's query gives what the source's gives.
async fn wait_same(source: (&mut Database, &str), target: (&mut Database, &str)) -> Result<()> {
    let expected = rows(source.0, source.1).await?;
    wait_for("the target to be the same", SOON, async || {
        let found = rows(target.0, target.1).await.map_err(|error| format!("{error:#}"))?;
        (found == expected).then_some(()).ok_or_else(|| format!("{} rows, not {}", found.len(), expected.len()))
    })
    .await
}

/// Random changes of a table with key and value, keys from a small domain.
async fn change(database: &mut Database, table: &str, rng: &mut StdRng, odd: Option<u32>) -> Result<()> {
    for _ in 0..120 {
        let number: u32 = rng.random_range(0..40);
        let id = odd.map_or(number, |odd| number * 2 + odd);
        let v = ["a", "A", "a ", "é"][rng.random_range(0..4)];
        let sql = match rng.random_range(0..10) {
            0..5 => format!("REPLACE INTO {table} VALUES ({id}, '{v}')"),
            5..7 => format!("UPDATE {table} SET v = '{v}' WHERE id > {id}"),
            _ => format!("DELETE FROM {table} WHERE id = {id}"),
        };
        database.run(&sql).await?;
    }
    Ok(())
}

/// A second source document on the same server, of the tables whose names begin with `b`.
async fn second(site: &Site) -> Result<String> {
    let name = &site.name;
    let document = site.source_document().await?.replace(&format!("name: {name}\n"), &format!("name: {name}-b\n"));
    Ok(document.replace(&format!("['{name}.*']"), &format!("['{name}.b*']")))
}

fn pipeline(site: &Site, suffix: &str, mappings: &str) -> String {
    let name = &site.name;
    format!("kind: pipeline\nname: {name}{suffix}\nsource: {name}{suffix}\ntarget: {name}\nmappings: [{mappings}]\n")
}

#[tokio::test]
async fn two_sources_merge_into_one_table() -> Result<()> {
    let site = Site::new("merges", Servers::shared()?).await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let ddl = "id int PRIMARY KEY, v varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci";
    for table in ["a1", "b1", "a2", "b2"] {
        source.run(&format!("CREATE TABLE {} ({ddl})", site.from(table))).await?;
    }
    let merged = ddl.replace("int PRIMARY KEY", "int");
    target
        .run(&format!("CREATE TABLE {} (shard varchar(60), {merged}, PRIMARY KEY (shard, id))", site.to("t1")))
        .await?;
    target.run(&format!("CREATE TABLE {} ({ddl})", site.to("t2"))).await?;
    let mappings = |letter: &str| {
        format!(
            "{{from: {}, to: {}, merge: true, columns: {{set: {{shard: '{{source}}'}}}}}}, {{from: {}, to: {}, merge: true}}",
            site.from(&format!("{letter}1")),
            site.to("t1"),
            site.from(&format!("{letter}2")),
            site.to("t2"),
        )
    };
    let documents = [
        site.source_document().await?,
        second(&site).await?,
        site.target_document(),
        pipeline(&site, "", &mappings("a")),
        pipeline(&site, "-b", &mappings("b")),
    ];
    site.put(&documents.each_ref().map(String::as_str)).await?;
    let mut otter = site.start("run").await?;
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..2 {
        if round == 1 {
            // Only the rows of this one go.
            source.run(&format!("TRUNCATE TABLE {}", site.from("a1"))).await?;
        }
        change(&mut source, &site.from("a1"), &mut rng, None).await?;
        change(&mut source, &site.from("b1"), &mut rng, None).await?;
        change(&mut source, &site.from("a2"), &mut rng, Some(0)).await?;
        change(&mut source, &site.from("b2"), &mut rng, Some(1)).await?;
    }
    let name = &site.name;
    let union = format!(
        "SELECT CONCAT_WS('|', s, id, HEX(v)) r FROM (SELECT '{name}' s, a.* FROM {} a UNION ALL SELECT '{name}-b', b.* FROM {} b) u ORDER BY r",
        site.from("a1"),
        site.from("b1")
    );
    let found = format!("SELECT CONCAT_WS('|', shard, id, HEX(v)) r FROM {} ORDER BY r", site.to("t1"));
    wait_same((&mut source, &union), (&mut target, &found)).await?;
    let union = format!(
        "SELECT CONCAT_WS('|', id, HEX(v)) r FROM (SELECT * FROM {} UNION ALL SELECT * FROM {}) u ORDER BY r",
        site.from("a2"),
        site.from("b2")
    );
    let found = format!("SELECT CONCAT_WS('|', id, HEX(v)) r FROM {} ORDER BY r", site.to("t2"));
    wait_same((&mut source, &union), (&mut target, &found)).await?;

    // An equal key pauses the second source's lane, and the first one's row stays.
    source.run(&format!("INSERT INTO {} VALUES (1000, 'first')", site.from("a2"))).await?;
    wait_same(
        (&mut source, "SELECT 'first'"),
        (&mut target, &format!("SELECT v FROM {} WHERE id = 1000", site.to("t2"))),
    )
    .await?;
    source.run(&format!("INSERT INTO {} VALUES (1000, 'second')", site.from("b2"))).await?;
    let error = otter
        .wait_status("the second source's lane paused", SOON, |status| {
            let lanes = status.pipelines.iter().flat_map(|p| &p.lanes);
            lanes.filter(|lane| lane.state == LaneState::Paused).find_map(|lane| lane.error.clone())
        })
        .await?;
    ensure!(error.code == "OT5005" && error.message.contains("several tables are merged"), "{error:?}");
    let kept = rows(&mut target, &format!("SELECT v FROM {} WHERE id = 1000", site.to("t2"))).await?;
    ensure!(kept == ["first"], "{kept:?}");

    // Without a column that tells whose row it is, a TRUNCATE is for people.
    let count = format!("SELECT CAST(COUNT(*) AS CHAR) FROM {}", site.to("t2"));
    let before = rows(&mut target, &count).await?;
    source.run(&format!("TRUNCATE TABLE {}", site.from("a2"))).await?;
    let paused = |status: &schemas::status::WorkerStatus| {
        let mut lanes = status.pipelines.iter().flat_map(|p| &p.lanes);
        lanes.find(|lane| lane.error.as_ref().is_some_and(|error| error.code == "OT5014")).map(|_| ())
    };
    otter.wait_status("the first source's lane paused in front of the TRUNCATE", SOON, paused).await?;
    ensure!(rows(&mut target, &count).await? == before, "rows went");
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_table_without_a_key_is_the_same_multiset() -> Result<()> {
    let site = Site::new("keyless", Servers::shared()?).await?;
    let ddl = "v varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, f float, n decimal(9,2), d datetime(3)";
    site.create("k", "k", ddl).await?;
    // One with a key at the source alone.
    site.source()
        .await?
        .run(&format!("CREATE TABLE {} (id int AUTO_INCREMENT PRIMARY KEY, {ddl})", site.from("p")))
        .await?;
    site.target().await?.run(&format!("CREATE TABLE {} (id int, {ddl})", site.to("p"))).await?;
    site.put_all(&[("k", "k"), ("p", "p")]).await?;
    let otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..150 {
        let v = ["'a'", "'A'", "'a '", "NULL"];
        let (one, other) = (v[rng.random_range(0..4)], v[rng.random_range(0..4)]);
        let table = site.from(["k", "p"][rng.random_range(0..2)]);
        let sql = match rng.random_range(0..10) {
            0..4 => format!(
                "INSERT INTO {table} (v, f, n, d) VALUES ({one}, 0.1, NULL, '2026-01-01 00:00:00.5'), ({other}, NULL, 1.5, NULL), ({one}, 0.1, NULL, NULL)"
            ),
            4..8 => format!("UPDATE {table} SET v = {one} WHERE BINARY v <=> {other} LIMIT 2"),
            _ => format!("DELETE FROM {table} WHERE BINARY v <=> {one} LIMIT 2"),
        };
        source.run(&sql).await?;
    }
    for table in ["k", "p"] {
        let sql =
            |table: String| format!("SELECT COALESCE(CONCAT_WS('|', HEX(v), f, n, d), '') r FROM {table} ORDER BY r");
        wait_same((&mut source, &sql(site.from(table))), (&mut target, &sql(site.to(table)))).await?;
    }
    otter.stop(Duration::from_secs(10)).await
}
