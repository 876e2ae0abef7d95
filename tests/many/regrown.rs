//! A table under load gets more partitions again and again while capture is killed at any moment of it. Each time it
//! happens once, and every row is where the count of its time says.

use crate::harness::database::wait_equal;
use crate::harness::load::COLUMNS;
use crate::harness::pair::Pair;
use crate::harness::topics::{Marked, marked};
use crate::harness::{Context as _, Kind, Load, Result, Site, ensure, long, seed, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::moment::Moment;
use schemas::partition;
use schemas::request::{OutcomeState, Request, SourceAction, Ticket};
use std::cell::Cell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Within this time after a death the repartition must have ended, and after the last one all must have arrived.
const BOUND: Duration = Duration::from_secs(60);
/// Partitions at first.
const FIRST: u32 = 2;

#[tokio::test]
async fn a_repartition_happens_once_whenever_capture_is_killed_on_mariadb() -> Result<()> {
    happens_once("regrown_a", Kind::Mariadb).await
}

#[tokio::test]
async fn a_repartition_happens_once_whenever_capture_is_killed_on_mysql() -> Result<()> {
    happens_once("regrown_y", Kind::Mysql).await
}

async fn happens_once(test: &str, kind: Kind) -> Result<()> {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::between(test, kind, kind).await?;
    site.create("load", "load", COLUMNS).await?;
    super::put(&site, &[("load", FIRST)]).await?;
    let mut pair = Pair::start(&site).await?;
    let second = site.start("apply").await?;
    let mut load = Load::new(&site, "load", seed, 1).await?;
    // Behind this the topic is there.
    load.write(200).await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    wait_equal((&mut source, &site.from("load")), (&mut target, &site.to("load")), BOUND).await?;
    let done = Cell::new(false);
    let rounds = if long() { 40 } else { 2 };
    let growing = async {
        for to in (FIRST + 1..).take(rounds) {
            grow(&site, &mut pair, to, &mut random).await.with_context(|| format!("to {to} partitions"))?;
        }
        done.set(true);
        Ok(())
    };
    let writing = async {
        while !done.get() {
            load.write(100).await?;
        }
        load.write(200).await
    };
    tokio::try_join!(growing, writing)?;
    wait_equal((&mut source, &site.from("load")), (&mut target, &site.to("load")), BOUND).await?;
    pair.capture.stop(BOUND).await?;
    pair.apply.stop(BOUND).await?;
    second.stop(BOUND).await?;
    let events = check(&site, FIRST + u32::try_from(rounds)?).await?;
    ensure!(events == load.counts().events(), "the topic holds {events} events, written were {:?}", load.counts());
    println!("{events} events over {FIRST} to {} partitions", FIRST as usize + rounds);
    Ok(())
}

/// Asks for so many partitions, and kills capture once or twice on the way.
async fn grow(site: &Site, pair: &mut Pair, to: u32, random: &mut StdRng) -> Result<()> {
    let requests = site.coordination().await?.requests();
    let action = SourceAction::Repartition { table: site.from("load"), partitions: to };
    let request = Request { id: format!("to{to}"), by: "test".into(), time: Moment::now(), action };
    requests.submit(&site.name, &request).await?;
    let asked = Instant::now();
    for _ in 0..random.random_range(1..=2) {
        // The random moment of the death, not a wait for anything.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1200))).await;
        pair.capture.kill().await?;
        pair.capture = site.spawn("capture")?;
    }
    let outcome = wait_for("the answer", BOUND, async || {
        let ticket = requests.read(&site.name).await.map_err(|e| e.to_string())?;
        let closed = ticket.clone().filter(|ticket: &Ticket<SourceAction>| !ticket.is_open());
        closed.and_then(|ticket| ticket.outcome).ok_or_else(|| format!("{ticket:?}"))
    })
    .await?;
    ensure!(outcome.state == OutcomeState::Done, "{outcome:?}");
    println!("to {to}: answered after {:.1} s", asked.elapsed().as_secs_f64());
    Ok(())
}

/// Every record of every partition: barriers once in each, events where the count of their time says, and for each key
/// what the event before left. How many events.
async fn check(site: &Site, partitions: u32) -> Result<u64> {
    let mut barriers: Vec<(i64, u32)> = Vec::new();
    let mut events = Vec::new();
    for partition in 0..partitions {
        let (mut last, mut own) = (i64::MIN, Vec::new());
        for record in marked(site, ("load", i32::try_from(partition)?)).await? {
            let ordinal = record.ordinal();
            ensure!(ordinal > last, "partition {partition}: ordinal {ordinal} follows {last}");
            last = ordinal;
            match record {
                Marked::Barrier(barrier) => own.push((barrier.ordinal, barrier.partitions)),
                Marked::Event { id, before, after, .. } => events.push((ordinal, partition, id, before, after)),
            }
        }
        if partition == 0 {
            let counts: Vec<u32> = own.iter().map(|(_, count)| *count).collect();
            ensure!(counts == (FIRST + 1..=partitions).collect::<Vec<_>>(), "{own:?}");
            barriers = own;
        } else {
            let expected: Vec<_> = barriers.iter().copied().filter(|(_, count)| *count > partition).collect();
            ensure!(own == expected, "partition {partition}: {own:?}, not {expected:?}");
        }
    }
    events.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
    let mut rows: HashMap<String, String> = HashMap::new();
    for (ordinal, partition, id, before, after) in &events {
        let count = barriers.iter().rev().find(|(at, _)| at < ordinal).map_or(FIRST, |(_, count)| *count);
        ensure!(of_number(id, count) == *partition, "{id} at {ordinal} is in {partition} of {count}");
        let known = match after {
            Some(row) => rows.insert(id.clone(), row.clone()),
            None => rows.remove(id),
        };
        ensure!(known == *before, "{id} at {ordinal}: the row before is not what the event before left");
    }
    Ok(events.len() as u64)
}

/// The partition of a key that is a number, given as text.
fn of_number(number: &str, partitions: u32) -> u32 {
    let length = u32::try_from(number.len()).unwrap_or(u32::MAX).to_be_bytes();
    partition::partition(partition::hash(&[b"n", &length[..], number.as_bytes()].concat()), partitions)
}
