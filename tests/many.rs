//! Many lanes: random tables over several partitions and several workers that die, freeze, come and go, and in the end the
//! target equals the source.
//!
//! A case is a seed: of it come the tables (their keys, unique keys, partitions, how they go to the target), what each
//! writer does, what befalls the processes and what an operator does, and in which order. Only the moments differ when a
//! seed is run again. Whatever the writers manage to commit is right: statements that the source refuses, and transactions
//! that it takes back for a deadlock, are part of the game. The oracle is the source itself, row for row as a multiset, by
//! the hex of every column.
//!
//! It never stands still for longer than a bound: what has not arrived by then fails with the state of every lane.
//!
//! `OTTER_TEST_SEED` runs one case, `OTTER_TEST_CASES` that many; the long form goes on for a quarter of an hour with each
//! pairing of servers. Both take one seed after another, from `OTTER_TEST_FROM` or from anywhere, and so can be continued.
//! Families under `foreign_keys: ordered` come from MariaDB; from MySQL only with `OTTER_TEST_FAMILIES`, as they do not always stand it yet.

mod bank;
mod case;
mod crew;
mod emptied;
mod operator;
mod regrown;
mod shape;
mod single;
mod writer;

use crate::harness::database::wait_equal;
use crate::harness::{Context as _, Kind, Result, Site, bail, long};
use case::{CLOSING, Case};
use crew::Crew;
use operator::Operator;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cell::Cell;
use std::time::{Duration, Instant};
use writer::Writer;

/// Within this time after the last fault and the last change, all of it must have arrived.
const BOUND: Duration = Duration::from_secs(60);
/// How long the long form goes on with each pairing of servers.
const LONG: Duration = Duration::from_secs(15 * 60);
/// The case of every run; a random one comes on top.
const SEEDS: [u64; 1] = [1];

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
    let (mut count, mut all) = (0, Tally::default());
    for seed in number("OTTER_TEST_SEED").map_or_else(seeds, |seed| Box::new(std::iter::once(seed))) {
        println!("{test}: OTTER_TEST_SEED={seed}");
        let case = Instant::now();
        let done = run(test, (from, to), seed).await;
        let done = done.map_err(|error| error.context(format!("{test}: OTTER_TEST_SEED={seed}")))?;
        println!("{test}: seed {seed}: {} in {:.1} s", done.told, case.elapsed().as_secs_f64());
        count += 1;
        all.transactions += done.transactions;
        all.faults += done.faults;
        all.acts += done.acts;
        let enough = match asked {
            Some(cases) => count >= cases,
            None if long() => start.elapsed() >= LONG,
            None => false,
        };
        if enough {
            break;
        }
    }
    let Tally { transactions, faults, acts, .. } = all;
    println!(
        "{test}: {count} cases, {transactions} transactions, {faults} faults, {acts} acts of an operator; every target equal to \
         its source; {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// What a case was, or several.
#[derive(Debug, Default)]
struct Tally {
    transactions: u64,
    faults: u32,
    acts: u32,
    /// In words.
    told: String,
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
async fn run(test: &str, (from, to): (Kind, Kind), seed: u64) -> Result<Tally> {
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::between(test, from, to).await?;
    let case = Case::random(from, &mut random);
    for table in &case.tables {
        println!("  {table}");
    }
    case.create(&site).await?;
    let operator = Operator::new(&site, &case, StdRng::seed_from_u64(random.random())).await?;
    site.put(&[&case.source(&site).await?, &site.target_document(), &case.pipeline(&site, &[])]).await?;
    let mut crew = Crew::start(&site, random.random_range(1..=3)).await?;
    let mut writers = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        writers.push(Writer::new(&site, case.tables.clone(), random.random()).await?);
    }
    let done = Cell::new(false);
    let (faults, acts) = if long() { (random.random_range(3..10), random.random_range(3..10)) } else { (3, 3) };
    let trouble = async {
        let (faults, acts) = tokio::try_join!(crew.trouble(&mut random, faults), operator.work(acts))?;
        done.set(true);
        anyhow::Ok(format!("{faults}; {acts}"))
    };
    let writing =
        async { futures_util::future::try_join_all(writers.iter_mut().map(|writer| writer.write_until(&done))).await };
    let (told, _) = tokio::try_join!(trouble, writing)?;

    site.source().await?.run(&format!("INSERT INTO {} VALUES (1)", site.from(CLOSING))).await?;
    let pairs = case.pairs(&site);
    settle_all(&site, &mut crew, &pairs).await.with_context(|| told.clone())?;
    crew.at_rest().await.with_context(|| told.clone())?;
    // What was being written a second time may have been equal on its way.
    settle_all(&site, &mut crew, &pairs).await.with_context(|| told.clone())?;
    crew.stop().await?;
    let transactions: u64 = writers.iter().map(Writer::committed).sum();
    let told = format!("{transactions} transactions by {} writers, {told}", writers.len());
    Ok(Tally { transactions, faults, acts, told })
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
    let pairs: Vec<_> = tables.iter().map(|table| (site.from(table), site.to(table))).collect();
    settle_all(site, crew, &pairs).await
}

/// The same, of full names at the source and the target.
async fn settle_all(site: &Site, crew: &mut Crew<'_>, pairs: &[(String, String)]) -> Result<()> {
    if let Err(error) = arrive(site, pairs).await {
        bail!("{error:#}\n{}", crew.status().await);
    }
    Ok(())
}

/// Waits until every table has arrived.
async fn arrive(site: &Site, pairs: &[(String, String)]) -> Result<()> {
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let deadline = Instant::now() + BOUND;
    for (from, to) in pairs {
        let left = deadline.saturating_duration_since(Instant::now());
        wait_equal((&mut source, from), (&mut target, to), left).await?;
    }
    Ok(())
}
