//! Conflicts between the lanes of one table, one at a time: a key in another spelling, a unique value that goes round
//! between lanes of two workers.

use super::crew::Crew;
use super::{put, settle};
use crate::harness::{Database, Result, Servers, Site, ensure, wait_for};
use schemas::partition;
use std::time::Duration;

const PARTITIONS: u32 = 8;
const SOON: Duration = Duration::from_secs(30);

/// The partition of a key that is a number.
fn of_number(number: u32) -> u32 {
    of(b'n', number.to_string().as_bytes())
}

/// The partition of a key that is text.
fn of_text(text: &str) -> u32 {
    of(b'c', text.to_ascii_lowercase().as_bytes())
}

fn of(tag: u8, value: &[u8]) -> u32 {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes();
    partition::partition(partition::hash(&[&[tag], &length[..], value].concat()), PARTITIONS)
}

/// 'a' and 'A' are one key to the server and lie in one partition; 'é' and 'e' are one key and do not.
#[tokio::test]
async fn a_key_takes_another_spelling() -> Result<()> {
    let site = Site::new("spelling", Servers::shared()?).await?;
    let columns = "w varchar(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, n int NOT NULL";
    site.create("words", "words", columns).await?;
    put(&site, &[("words", PARTITIONS)]).await?;
    let mut crew = Crew::start(&site, 2).await?;
    let mut source = site.source().await?;
    let table = site.from("words");
    let moved = (0..40).filter(|n| of_text(&format!("é{n}")) != of_text(&format!("e{n}"))).count();
    ensure!(moved > 20, "only {moved} words change their partition");
    ensure!(
        (0..40).all(|n| of_text(&format!("a{n}")) == of_text(&format!("A{n}"))),
        "case decides about the partition"
    );

    for n in 0..40 {
        source.run(&format!("INSERT INTO {table} VALUES ('é{n}', 0), ('a{n}', 0)")).await?;
    }
    for spellings in [["É", "e", "E", "ê"], ["é", "È", "e", "é"]] {
        for spelling in spellings {
            for n in 0..40 {
                source.run(&format!("UPDATE {table} SET w = '{spelling}{n}', n = n + 1 WHERE w = 'e{n}'")).await?;
            }
        }
        for (old, new) in [("a", "A"), ("A", "á"), ("á", "a")] {
            for n in 0..40 {
                source.run(&format!("DELETE FROM {table} WHERE w = '{old}{n}'")).await?;
                source.run(&format!("INSERT INTO {table} VALUES ('{new}{n}', 1)")).await?;
            }
        }
    }
    settle(&site, &mut crew, &["words"]).await?;
    crew.at_rest().await?;
    crew.stop().await
}

/// Three rows in three lanes, not all of one worker, pass a unique value round, again and again.
#[tokio::test]
async fn a_unique_value_goes_round_between_two_workers() -> Result<()> {
    let site = Site::new("round", Servers::shared()?).await?;
    site.create("t", "t", "id int PRIMARY KEY, u int NOT NULL UNIQUE, n int NOT NULL DEFAULT 0").await?;
    put(&site, &[("t", PARTITIONS)]).await?;
    let mut crew = Crew::start(&site, 2).await?;
    let mut source = site.source().await?;
    let table = site.from("t");
    let rows: Vec<String> = (1..=40).map(|id| format!("({id}, {id}, 0)")).collect();
    source.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await?;
    settle(&site, &mut crew, &["t"]).await?;

    let ids = ids_of_both(&site, &mut crew).await?;
    for _ in 0..50 {
        round(&mut source, &table, ids, true).await?;
        round(&mut source, &table, ids, false).await?;
        round(&mut source, &table, [ids[2], ids[1], ids[0]], true).await?;
    }
    settle(&site, &mut crew, &["t"]).await?;
    crew.at_rest().await?;
    crew.stop().await
}

/// Each row takes the next one's value, in one transaction or statement by statement.
async fn round(source: &mut Database, table: &str, ids: [u32; 3], at_once: bool) -> Result<()> {
    let mut values = Vec::new();
    for id in ids {
        values.push(source.row::<u32>(&format!("SELECT u FROM {table} WHERE id = {id}")).await?);
    }
    if at_once {
        source.run("START TRANSACTION").await?;
    }
    for (id, value) in [(ids[0], 1000), (ids[2], values[0]), (ids[1], values[2]), (ids[0], values[1])] {
        source.run(&format!("UPDATE {table} SET u = {value}, n = n + 1 WHERE id = {id}")).await?;
    }
    if at_once {
        source.run("COMMIT").await?;
    }
    Ok(())
}

/// Three ids of three partitions; both workers have one of them.
async fn ids_of_both(site: &Site, crew: &mut Crew<'_>) -> Result<[u32; 3]> {
    let topic = site.topic("t");
    let shares = wait_for("both workers to have lanes", SOON, async || {
        let shares = crew.shares(&topic).await.map_err(|error| format!("{error:#}"))?;
        let all: usize = shares.iter().map(Vec::len).sum();
        let both = shares.iter().all(|lanes| !lanes.is_empty()) && all == PARTITIONS as usize;
        if both { Ok(shares) } else { Err(format!("{shares:?}")) }
    })
    .await?;
    let of = |lane: i32| (1..=40).find(|id| i32::try_from(of_number(*id)) == Ok(lane));
    let [one, other] = shares.as_slice() else { anyhow::bail!("there are {} workers", shares.len()) };
    let mut lanes: Vec<i32> = vec![one[0], other[0]];
    lanes.extend(one.get(1).or(other.get(1)));
    let ids: Vec<u32> = lanes.iter().filter_map(|lane| of(*lane)).collect();
    <[u32; 3]>::try_from(ids).map_err(|ids| anyhow::anyhow!("not three ids: {ids:?} of {lanes:?}"))
}
