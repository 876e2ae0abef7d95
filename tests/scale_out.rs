//! Two workers apply more than one when the target is not the limit: a network with long round trips makes the connections
//! wait.

use crate::harness::proxy::Proxy;
use crate::harness::{Database, Otter, Result, Servers, Site, ensure, wait_for};
use schemas::status::{LaneState, WorkerStatus};
use std::time::{Duration, Instant};

const TABLES: u32 = 8;
const ROWS: u32 = 16_000;
/// How much more two workers apply than one.
const GAIN: f64 = 1.4;
/// Stretches that are measured: the machine may do other work in one of them.
const STRETCHES: u32 = 3;
/// Each way.
const DELAY: Duration = Duration::from_millis(10);
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn two_workers_apply_faster_than_one_over_a_slow_network() -> Result<()> {
    let servers = Servers::shared()?;
    let proxy = Proxy::start(&servers.target).await?;
    let mut site = Site::new("scaleout", servers).await?;
    site.target_address = proxy.address.to_string();
    let names: Vec<String> = (0..TABLES).map(|number| format!("t{number}")).collect();
    for name in &names {
        site.create(name, name, "id int unsigned primary key, name varchar(40)").await?;
    }
    let mappings: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let pipeline = format!("{}apply: {{writers: 2, batch: {{rows: 50}}}}\n", site.pipeline_document(&mappings));
    site.put(&[&site.source_document().await?, &site.target_document(), &pipeline]).await?;
    let mut source = site.source().await?;
    source.run(&format!("USE {}", site.name)).await?; // the tables of numbers have no schema of their own
    for name in &names {
        let rows = format!("SELECT seq, 'some name' FROM seq_1_to_{ROWS}");
        source.run(&format!("INSERT INTO {} {rows}", site.from(name))).await?;
    }
    let capture = site.start("capture").await?;
    proxy.delay(DELAY);
    let mut watch = Watch { target: site.target().await?, site: &site, names: &names };
    let mut first = site.start("apply").await?;
    wait_for_lanes(&mut [&mut first]).await?;
    let one = watch.rate(10_000).await?;
    let mut second = site.start("apply").await?;
    wait_for_lanes(&mut [&mut first, &mut second]).await?;
    let two = watch.best_rate(10_000, GAIN * one.rows).await?;
    println!("one worker: {one}; two workers: {two}; ratio {:.2}", two.rows / one.rows);
    ensure!(two.rows > GAIN * one.rows, "two workers apply {two}, one {one}");
    for otter in [capture, first, second] {
        otter.stop(Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// A rate, and what of the machine's time the target took meanwhile.
struct Rate {
    rows: f64,
    cores: f64,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} rows/s with {:.2} cores of the target", self.rows, self.cores)
    }
}

struct Watch<'a> {
    target: Database,
    site: &'a Site,
    names: &'a [String],
}

impl Watch<'_> {
    /// The best rate of the next stretches of so many rows each, or the first that is enough.
    async fn best_rate(&mut self, rows: u64, enough: f64) -> Result<Rate> {
        let mut best = self.rate(rows).await?;
        for _ in 1..STRETCHES {
            if best.rows > enough {
                break;
            }
            let next = self.rate(rows).await?;
            if next.rows > best.rows {
                best = next;
            }
        }
        Ok(best)
    }

    /// The rate of the next so many rows.
    async fn rate(&mut self, rows: u64) -> Result<Rate> {
        let (began, first, cpu) = (Instant::now(), self.count().await?, self.cpu().await?);
        let mut last = first;
        wait_for("rows to arrive", SOON, async || {
            last = self.count().await.map_err(|error| format!("{error:#}"))?;
            if last >= first + rows { Ok(()) } else { Err(format!("{last} rows")) }
        })
        .await?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(last < u64::from(TABLES * ROWS), "all rows were there before the measurement ended");
        Ok(Rate { rows: (last - first) as f64 / seconds, cores: (self.cpu().await? - cpu) / seconds })
    }

    async fn count(&mut self) -> Result<u64> {
        let counts = self.names.iter().map(|name| format!("(SELECT COUNT(*) FROM {})", self.site.to(name)));
        self.target.row(&format!("SELECT {}", counts.collect::<Vec<_>>().join(" + "))).await
    }

    /// Seconds of processor time that the server has taken so far.
    async fn cpu(&mut self) -> Result<f64> {
        let file: String = self.target.row("SELECT @@pid_file").await?;
        let folder: String = self.target.row("SELECT @@datadir").await?;
        let pid = std::fs::read_to_string(std::path::Path::new(&folder).join(file))?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))?;
        // The fields behind the name, which may have spaces: utime and stime are the 12th and 13th of them.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) / 100.0)
    }
}

/// Waits until these workers run all lanes, each some of them.
async fn wait_for_lanes(workers: &mut [&mut Otter]) -> Result<()> {
    wait_for("the workers to run all lanes", SOON, async || {
        let mut counts = Vec::new();
        for worker in &mut *workers {
            counts.push(match worker.status().await {
                Ok(Ok(status)) => running(&status),
                other => return Err(format!("{other:?}")),
            });
        }
        let fits = counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == TABLES as usize;
        if fits { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await
}

fn running(status: &WorkerStatus) -> usize {
    status.pipelines.iter().flat_map(|p| &p.lanes).filter(|lane| lane.state == LaneState::Running).count()
}
