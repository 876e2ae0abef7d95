//! The rows-flow benchmark: capture, apply and latency on real servers, each beside its baseline in the same run.
//!
//! `deploy/bench` builds the release binary, starts the servers and runs this program; see `docs/performance.md` for
//! what the figures mean. Every measured stretch is checked for correctness (counts, and equality of the tables)
//! before its figure is printed: a fast wrong answer is a failure.

mod baseline;
mod latency;
mod otter;
mod report;
mod servers;
mod workload;

use anyhow::{Context as _, Result, ensure};
use report::{Measure, Report};
use servers::Servers;
use workload::Workload;

/// What to run, from the command line.
struct Settings {
    runs: usize,
    inserts: u64,
    updates: u64,
    latency_seconds: u64,
    out: std::path::PathBuf,
}

impl Settings {
    /// `--runs N --inserts N --updates N --seconds N --out DIR`; everything has the default of design §7's first form.
    fn from_args() -> Result<Self> {
        let mut settings =
            Self { runs: 3, inserts: 1_000_000, updates: 200_000, latency_seconds: 20, out: "results".into() };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            if flag == "--bench" {
                continue; // cargo bench adds it
            }
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--runs" => settings.runs = value.parse()?,
                "--inserts" => settings.inserts = value.parse()?,
                "--updates" => settings.updates = value.parse()?,
                "--seconds" => settings.latency_seconds = value.parse()?,
                "--out" => settings.out = value.into(),
                other => anyhow::bail!("unknown flag {other}"),
            }
        }
        ensure!(settings.runs > 0, "--runs must be at least 1");
        Ok(settings)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::from_args()?;
    let servers = Servers::from_env()?;
    let mut report = Report::new();
    let load = Workload::fill(&servers, settings.inserts, settings.updates).await?;
    eprintln!("source filled: {} inserts, {} updates", settings.inserts, settings.updates);
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        throughput(&servers, &load, run, &mut report).await?;
        for rate in [200, 1000] {
            latency::run(&servers, run, rate, settings.latency_seconds, &mut report).await?;
        }
    }
    report.write(&settings.out)?;
    print!("{}", report.markdown());
    Ok(())
}

/// One round of the throughput figures: capture of both workloads, then apply of the first, each followed by its baseline.
async fn throughput(servers: &Servers, load: &Workload, run: usize, report: &mut Report) -> Result<()> {
    let capture = otter::capture(servers, &load.inserts, run).await?;
    report.add("capture W1 (inserts)", Measure::of(&capture.flow));
    let produce = baseline::produce(servers, &capture.topic, load.inserts.rows, run).await?;
    report.add("baseline: idempotent produce of the same records", produce);

    let apply = otter::apply(servers, &load.inserts, &capture, run).await?;
    report.add("apply W1 (inserts)", Measure::of(&apply));
    let best = baseline::client_loop(servers, load.inserts.rows).await?;
    report.add("baseline: best bare client loop (bulk inserts)", best);

    let updates = otter::capture(servers, &load.updates, run).await?;
    report.add("capture W2 (one-row updates)", Measure::of(&updates.flow));
    let stream = baseline::stream(servers, &load.updates).await?;
    report.add("baseline: bare binlog stream that counts events", stream);
    Ok(())
}
