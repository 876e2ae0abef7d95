//! Many lanes: random tables over several partitions and several workers that die, freeze, come and go, and in the end the
//! target equals the source.
//!
//! A case is a seed: of it come the tables (their keys, unique keys, partitions), what each writer does, and what befalls
//! the processes and in which order. Only the moments differ when a seed is run again. Whatever the writers manage to
//! commit is right: statements that the source refuses, and transactions that it takes back for a deadlock, are part of
//! the game. The oracle is the source itself, row for row as a multiset, by the hex of every column.
//!
//! It never stands still for longer than a bound: what has not arrived by then fails with the state of every lane.
//!
//! `OTTER_TEST_SEED` runs one case, `OTTER_TEST_CASES` that many; the long form goes on for a quarter of an hour with each
//! pairing of servers. Both take one seed after another, from `OTTER_TEST_FROM` or from anywhere, and so can be continued.

mod bank;
mod crew;
mod emptied;
mod regrown;
mod shape;
mod single;
mod writer;

use crate::harness::database::wait_equal;
use crate::harness::{Context as _, Kind, Result, Site, bail, long};
use crew::Crew;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shape::Table;
use std::cell::Cell;
use std::time::{Duration, Instant};
use writer::Writer;

/// Within this time after the last fault and the last change, all of it must have arrived.
const BOUND: Duration = Duration::from_secs(60);
/// How long the long form goes on with each pairing of servers.
const LONG: Duration = Duration::from_secs(15 * 60);
/// The cases of every run; a random one comes on top.
const SEEDS: [u64; 2] = [1, 2];

#[tokio::test]
async fn from_mariadb_to_mariadb() -> Result<()> {
    cases("many_aa", Kind::Mariadb, Kind::Mariadb).await
}

#[tokio::test]
async fn from_mysql_to_mysql() -> Result<()> {
    cases("many_yy", Kind::Mysql, Kind::Mysql).await
}

/// The other pairings, in the long form only.
#[tokio::test]
async fn between_the_kinds() -> Result<()> {
    if !long() {
        return Ok(());
    }
    cases("many_ay", Kind::Mariadb, Kind::Mysql).await?;
    cases("many_ya", Kind::Mysql, Kind::Mariadb).await
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// All cases of a pairing; each says its seed.
async fn cases(test: &str, from: Kind, to: Kind) -> Result<()> {
    let start = Instant::now();
    let asked = number("OTTER_TEST_CASES");
    let mut count = 0;
    for seed in number("OTTER_TEST_SEED").map_or_else(seeds, |seed| Box::new(std::iter::once(seed))) {
        println!("{test}: OTTER_TEST_SEED={seed}");
        let case = Instant::now();
        let done = run(test, (from, to), seed).await;
        let done = done.map_err(|error| error.context(format!("{test}: OTTER_TEST_SEED={seed}")))?;
        println!("{test}: seed {seed}: {done} in {:.1} s", case.elapsed().as_secs_f64());
        count += 1;
        let enough = match asked {
            Some(cases) => count >= cases,
            None if long() => start.elapsed() >= LONG,
            None => false,
        };
        if enough {
            break;
        }
    }
    println!("{test}: {count} cases in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The fixed seeds and a random one; where cases are counted, or the time, one after another without an end.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let any = u64::from(rand::random::<u32>());
    if long() || number("OTTER_TEST_CASES").is_some() {
        return Box::new(number("OTTER_TEST_FROM").unwrap_or(any)..);
    }
    Box::new(SEEDS.into_iter().chain([any]))
}

/// One case; what it was, in words.
async fn run(test: &str, (from, to): (Kind, Kind), seed: u64) -> Result<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::between(test, from, to).await?;
    let tables: Vec<Table> = (0..random.random_range(2..=4)).map(|at| Table::random(at, &mut random)).collect();
    for table in &tables {
        println!("  {table}");
        site.create(&table.name, &table.name, &table.definition()).await?;
    }
    let partitions: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.partitions)).collect();
    put(&site, &partitions).await?;
    let mut crew = Crew::start(&site, random.random_range(1..=3)).await?;
    let mut writers = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        writers.push(Writer::new(&site, tables.clone(), random.random()).await?);
    }
    let done = Cell::new(false);
    let faults = if long() { random.random_range(3..10) } else { 3 };
    let trouble = async {
        let troubled = crew.trouble(&mut random, faults).await;
        done.set(true);
        troubled
    };
    let writing =
        async { futures_util::future::try_join_all(writers.iter_mut().map(|writer| writer.write_until(&done))).await };
    let (told, _) = tokio::try_join!(trouble, writing)?;

    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    settle(&site, &mut crew, &names).await.with_context(|| told.clone())?;
    crew.at_rest().await?;
    crew.stop().await?;
    let transactions: u64 = writers.iter().map(Writer::committed).sum();
    Ok(format!("{transactions} transactions by {} writers, {told}", writers.len()))
}

/// Puts the documents: tables with their numbers of partitions.
async fn put(site: &Site, tables: &[(&str, u32)]) -> Result<()> {
    let overrides: Vec<String> = tables
        .iter()
        .filter(|(_, partitions)| *partitions > 1)
        .map(|(table, partitions)| format!("{{tables: {}, partitions: {partitions}}}", site.from(table)))
        .collect();
    let source = format!("{}topics: {{overrides: [{}]}}\n", site.source_document().await?, overrides.join(", "));
    let mapped: Vec<_> = tables.iter().map(|(table, _)| (*table, *table)).collect();
    site.put(&[&source, &site.target_document(), &site.pipeline_document(&mapped)]).await
}

/// Waits until tables have arrived; when they have not in time, the error says how every lane is.
async fn settle(site: &Site, crew: &mut Crew<'_>, tables: &[&str]) -> Result<()> {
    if let Err(error) = arrive(site, tables).await {
        bail!("{error:#}\n{}", crew.status().await);
    }
    Ok(())
}

/// Waits until every table has arrived.
async fn arrive(site: &Site, tables: &[&str]) -> Result<()> {
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let deadline = Instant::now() + BOUND;
    for table in tables {
        let (from, to) = (site.from(table), site.to(table));
        let left = deadline.saturating_duration_since(Instant::now());
        wait_equal((&mut source, &from), (&mut target, &to), left).await?;
    }
    Ok(())
}
