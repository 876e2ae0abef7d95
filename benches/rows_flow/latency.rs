//! Commit at the source to visible at the target, through `otter run`, at a fixed rate of one-row transactions.
//!
//! The writer keeps its schedule whatever the answers take (an open loop), notes when each commit's answer came, and a
//! poller at the target notes when each id was first seen. Ids are committed in order by one connection, so the
//! highest id seen shows that all lower ones are there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::*;
use tokio::task::JoinHandle;

use crate::otter::{Process, equal, pipeline_documents, source_document};
use crate::report::{Measure, Report};
use crate::servers::Servers;
use crate::workload::{create_table, position};

const SCHEMA: &str = "bench_lat";

/// Seconds at the start that are not counted.
const WARM_UP: u64 = 3;

/// One run at `rate` transactions a second for `seconds`.
pub(crate) async fn run(servers: &Servers, run: usize, rate: u64, seconds: u64, report: &mut Report) -> Result<()> {
    let start = prepare(servers).await?;
    let cluster = format!("bench-lat-{run}-{rate}-{}", std::process::id());
    let documents = source_document(servers, "bench-lat", SCHEMA, &cluster, &format!("{{gtid: \"{start}\"}}"))
        + &pipeline_documents(servers, "bench-lat", SCHEMA);
    let mut process = Process::start(servers, &cluster, "run", &documents)?;
    flowing(servers, &mut process).await?;

    let total = rate * (seconds + WARM_UP);
    let poller = poll(servers.target.clone(), total + 1);
    let committed = write(servers, rate, total).await?;
    let seen = poller.await??;
    process.check()?;
    equal(servers, SCHEMA).await?;

    let skip = usize::try_from(rate * WARM_UP)?;
    let mut waits: Vec<f64> = committed
        .iter()
        .zip(&seen)
        .skip(skip)
        .map(|(answer, seen)| seen.saturating_duration_since(*answer).as_secs_f64() * 1e3)
        .collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get(((waits.len() - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    report.add(
        &format!("latency at {rate} tx/s (otter run)"),
        Measure(BTreeMap::from([
            ("p50 ms", at(0.5)),
            ("p99 ms", at(0.99)),
            ("p99.9 ms", at(0.999)),
            ("peak RSS MiB", process.peak_rss_mib()?),
        ])),
    );
    Ok(())
}

/// Empty tables on both sides; the source's GTID position behind that.
async fn prepare(servers: &Servers) -> Result<String> {
    for (address, table) in [(&servers.source, "tb_user"), (&servers.target, "tb_user2")] {
        let mut conn = Servers::connect(address).await?;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {SCHEMA}")).await?;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {SCHEMA}_otter")).await?;
        conn.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
        conn.query_drop(create_table(SCHEMA, table)).await?;
        conn.disconnect().await?;
    }
    position(&mut Servers::connect(&servers.source).await?).await
}

/// Writes a first row, with id 1, and waits until it arrives: what comes up with the processes is not measured.
async fn flowing(servers: &Servers, process: &mut Process) -> Result<()> {
    let mut source = Servers::connect(&servers.source).await?;
    let mut target = Servers::connect(&servers.target).await?;
    source.query_drop(format!("INSERT INTO {SCHEMA}.tb_user (id) VALUES (1)")).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut every = tokio::time::interval(Duration::from_millis(100));
    while target.query_first::<u64, _>(format!("SELECT id FROM {SCHEMA}.tb_user2 WHERE id = 1")).await?.is_none() {
        process.check()?;
        ensure!(Instant::now() < deadline, "no row arrived within 60 s");
        every.tick().await;
    }
    Ok(())
}

/// Ids 2 to total + 1, one a transaction; when each commit was answered.
async fn write(servers: &Servers, rate: u64, total: u64) -> Result<Vec<Instant>> {
    let mut conn = Servers::connect(&servers.source).await?;
    let statement = conn
        .prep(format!(
            "INSERT INTO {SCHEMA}.tb_user (id, username, age, email) VALUES (?, ?, 30, 'someone@example.org')"
        ))
        .await?;
    let mut every = tokio::time::interval(Duration::from_nanos(1_000_000_000 / rate));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut answers = Vec::with_capacity(usize::try_from(total)?);
    for id in 2..total + 2 {
        every.tick().await;
        conn.exec_drop(&statement, (id, format!("user{id}"))).await?;
        answers.push(Instant::now());
    }
    conn.disconnect().await?;
    Ok(answers)
}

/// When each id from 2 to `last` was first seen at the target.
fn poll(address: String, last: u64) -> JoinHandle<Result<Vec<Instant>>> {
    tokio::spawn(async move {
        let mut conn = Servers::connect(&address).await?;
        let statement = conn.prep(format!("SELECT MAX(id) FROM {SCHEMA}.tb_user2")).await?;
        let mut seen: Vec<Instant> = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(300);
        let mut every = tokio::time::interval(Duration::from_millis(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while (seen.len() as u64) < last - 1 {
            every.tick().await;
            let highest: Option<Option<u64>> = conn.exec_first(&statement, ()).await?;
            let now = Instant::now();
            let highest = highest.flatten().context("the target lost its rows")?;
            while seen.len() as u64 + 1 < highest {
                seen.push(now);
            }
            ensure!(now < deadline, "only {} of {} rows arrived", seen.len(), last - 1);
        }
        conn.disconnect().await?;
        Ok(seen)
    })
}
