//! Twenty tables over two appliers under load: one is killed, a third joins, one freezes and wakes. Each time all tables
//! move again within seconds, and at the end nothing is lost or doubled.

use crate::harness::database::wait_equal;
use crate::harness::load::COLUMNS;
use crate::harness::topics::{Counts, check_topic};
use crate::harness::{Load, Otter, Result, Servers, Site, Strain, ensure, seed, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::status::{LaneState, WorkerStatus};
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

const TABLES: u32 = 20;
/// How long a table may stand still after its applier is gone.
const TAKEOVER: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(60);
/// The ids of the rows that measure, far from those of the load.
const PROBES: u32 = 4_000_000_000;

#[tokio::test]
async fn twenty_tables_move_on_without_a_killed_or_frozen_applier() -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed());
    let site = Site::new("takeover", Servers::shared()?).await?;
    let names: Vec<String> = (0..TABLES).map(|number| format!("t{number:02}")).collect();
    for name in &names {
        site.create(name, name, COLUMNS).await?;
    }
    let mappings: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    site.put_all(&mappings).await?;
    let capture = site.start("capture").await?;
    let mut writers = Vec::new();
    for name in &names {
        writers.push(Load::new(&site, name, random.random(), 1).await?);
    }

    let done = Cell::new(false);
    let losing = async {
        let left = lose_appliers(&site, &names).await;
        done.set(true);
        left
    };
    let ((), (appliers, probes)) = tokio::try_join!(write_until(&done, &mut writers, &mut random), losing)?;

    let (mut source, mut target) = (site.source().await?, site.target().await?);
    for name in &names {
        wait_equal((&mut source, &site.from(name)), (&mut target, &site.to(name)), SOON).await?;
    }
    capture.stop(SOON).await?;
    for applier in appliers {
        applier.stop(SOON).await?;
    }
    let mut events = 0;
    for (name, writer) in names.iter().zip(&writers) {
        let written = writer.counts() + Counts { inserts: u64::from(probes), ..Counts::default() };
        let seen = check_topic(&site, name).await?;
        ensure!(seen == written, "the topic of {name} holds {seen:?}, written were {written:?}");
        events += seen.events();
    }
    println!("{events} events of {TABLES} tables");
    Ok(())
}

/// A transaction of a few rows every ten milliseconds, by one writer after another.
async fn write_until(done: &Cell<bool>, writers: &mut [Load], random: &mut StdRng) -> Result<()> {
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !done.get() {
        for writer in &mut *writers {
            ticks.tick().await;
            writer.transaction(random.random_range(1..10)).await?;
        }
    }
    Ok(())
}

/// Two appliers share the tables; the first is killed, a third joins, the second freezes and wakes. Gives the living ones
/// and the number of rows written into each table to measure with.
async fn lose_appliers(site: &Site, names: &[String]) -> Result<([Otter; 2], u32)> {
    let mut first = site.start("apply").await?;
    let mut second = site.start("apply").await?;
    shared(&mut first, &mut second).await?;
    let mut probes = Probes { site, names, count: 0 };
    probes.arrive("with both at work").await?;

    first.kill().await?;
    probes.arrive("after the first was killed").await?;

    let mut third = site.start("apply").await?;
    shared(&mut second, &mut third).await?;
    probes.arrive("after a third had joined").await?;

    second.freeze()?;
    probes.arrive("after the second was frozen").await?;

    second.thaw()?;
    shared(&mut second, &mut third).await?;
    probes.arrive("after it woke").await?;
    Ok(([second, third], probes.count))
}

/// Waits until both have tables and together all of them.
async fn shared(one: &mut Otter, other: &mut Otter) -> Result<()> {
    wait_for("two appliers to share the tables", SOON, async || {
        let lanes = match (one.status().await, other.status().await) {
            (Ok(Ok(one)), Ok(Ok(other))) => (running(&one), running(&other)),
            (one, other) => return Err(format!("{one:?}, {other:?}")),
        };
        let spread = lanes.0 > 0 && lanes.1 > 0 && lanes.0 + lanes.1 == TABLES as usize;
        spread.then_some(()).ok_or_else(|| format!("{lanes:?} tables"))
    })
    .await
}

fn running(status: &WorkerStatus) -> usize {
    status.pipelines.iter().flat_map(|pipeline| &pipeline.lanes).filter(|lane| lane.state == LaneState::Running).count()
}

/// Rows that show when each table moves again.
struct Probes<'a> {
    site: &'a Site,
    names: &'a [String],
    count: u32,
}

impl Probes<'_> {
    /// Writes a row into every table and waits until all have arrived.
    async fn arrive(&mut self, when: &str) -> Result<()> {
        let id = PROBES + self.count;
        self.count += 1;
        let (mut source, mut target) = (self.site.source().await?, self.site.target().await?);
        let (start, strain) = (Instant::now(), Strain::begin());
        source.run("START TRANSACTION").await?;
        for name in self.names {
            source.run(&format!("INSERT INTO {} (id) VALUES ({id})", self.site.from(name))).await?;
        }
        source.run("COMMIT").await?;
        let tables = self.names.iter().map(|name| format!("SELECT id FROM {} WHERE id = {id}", self.site.to(name)));
        let statement = format!("SELECT COUNT(*) FROM ({}) t", tables.collect::<Vec<_>>().join(" UNION ALL "));
        wait_for(&format!("a row of every table {when}"), SOON, async || {
            let arrived: u32 = target.row(&statement).await.map_err(|error| format!("{error:#}"))?;
            (arrived == TABLES).then_some(()).ok_or_else(|| format!("{arrived} of {TABLES} rows"))
        })
        .await?;
        let took = start.elapsed();
        println!("all tables moved {:.1} s {when}, under a strain of {:.1}", took.as_secs_f64(), strain.mean());
        ensure!(took < strain.stretched(TAKEOVER), "all tables moved {took:?} {when}, not within {TAKEOVER:?}");
        Ok(())
    }
}
