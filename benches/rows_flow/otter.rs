//! Runs `otter` roles as processes of their own and measures how fast rows pass through them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::*;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use crate::servers::Servers;
use crate::workload::{Stretch, create_table};

/// How long any one stretch may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// A stretch of rows that passed: between two samples of progress, so that starting up is not counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) rows: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

/// What a capture run left behind for the apply run.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) flow: Flow,
    pub(crate) topic: String,
    pub(crate) cluster: String,
}

/// A running `otter`, killed when dropped.
pub(crate) struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("could not end otter: {error}");
        }
    }
}

impl Process {
    /// Puts `documents` into `cluster` and starts `otter ROLE`.
    pub(crate) fn start(servers: &Servers, cluster: &str, role: &str, documents: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("otter.toml");
        std::fs::write(
            &config,
            format!(
                "cluster = \"{cluster}\"\n[zookeeper]\nservers = \"{}\"\n[kafka]\nbrokers = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
                servers.zookeeper, servers.kafka
            ),
        )?;
        let file = folder.path().join("documents.yaml");
        std::fs::write(&file, documents)?;
        let put = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .args(["put", "--direct", "-f"])
            .arg(&file)
            .env("OTTER_BENCH_PASSWORD", "otter")
            .output()
            .context("otter put")?;
        ensure!(put.status.success(), "otter put failed: {}", String::from_utf8_lossy(&put.stderr));
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .arg(role)
            .env("OTTER_BENCH_PASSWORD", "otter")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { child, folder })
    }

    /// Fails with the log's end when the process is gone.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(self.folder.path().join("log"))?;
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            bail!("otter ended with {status}:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }

    /// User and system CPU seconds so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / 100.0) // USER_HZ is 100 on Linux
    }

    /// The highest resident size so far, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
        Ok(line.split_whitespace().nth(1).context("VmHWM")?.parse::<f64>()? / 1024.0)
    }
}

/// The release binary beside this program.
fn binary() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_otter")).to_owned()
}

/// Source document `name` for the tables of `schema`, published under `prefix`.
pub(crate) fn source_document(servers: &Servers, name: &str, schema: &str, prefix: &str, start: &str) -> String {
    format!(
        r#"kind: source
name: {name}
addresses: ["{}"]
user: otter
password: env:OTTER_BENCH_PASSWORD
start: {start}
tables: ["{schema}.*"]
topics: {{prefix: {prefix}}}
"#,
        servers.source
    )
}

/// Target and pipeline documents that map `schema.tb_user` to `schema.tb_user2`.
pub(crate) fn pipeline_documents(servers: &Servers, name: &str, schema: &str) -> String {
    format!(
        r#"---
kind: target
name: bench
type: mysql
address: "{}"
user: otter
password: env:OTTER_BENCH_PASSWORD
schema: {schema}_otter
---
kind: pipeline
name: {name}
source: {name}
target: bench
mappings:
  - {{from: {schema}.tb_user, to: {schema}.tb_user2}}
"#,
        servers.target
    )
}

/// Captures a stretch into a topic of its own.
pub(crate) async fn capture(servers: &Servers, stretch: &Stretch, run: usize) -> Result<Captured> {
    let cluster = format!("{}-{run}-{}", stretch.name, std::process::id());
    let topic = format!("{cluster}.{}.tb_user", stretch.schema);
    let start = format!("{{gtid: \"{}\"}}", stretch.start);
    let documents = source_document(servers, stretch.name, stretch.schema, &cluster, &start);
    let mut process = Process::start(servers, &cluster, "capture", &documents)?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.kafka)
        .set("group.id", "bench")
        .set("allow.auto.create.topics", "false")
        .create()?;
    let flow = watch(&mut process, stretch.rows, || std::future::ready(end_offset(&consumer, &topic))).await?;
    Ok(Captured { flow, topic, cluster })
}

/// Records committed to partition 0 so far; a topic not made yet has none. Control records count one each, so the
/// figure can run ahead by a few; the row count is checked by the reader of the topic.
fn end_offset(consumer: &BaseConsumer, topic: &str) -> Result<u64> {
    const NOT_YET: [RDKafkaErrorCode; 2] =
        [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownPartition];
    match consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)) {
        Ok((_, high)) => Ok(u64::try_from(high)?),
        Err(error) if error.rdkafka_error_code().is_some_and(|code| NOT_YET.contains(&code)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Applies a captured stretch to the target.
pub(crate) async fn apply(servers: &Servers, stretch: &Stretch, captured: &Captured, run: usize) -> Result<Flow> {
    let mut conn = Servers::connect(&servers.target).await?;
    conn.query_drop(format!("DROP DATABASE IF EXISTS {}", stretch.schema)).await?;
    conn.query_drop(format!("DROP DATABASE IF EXISTS {}_otter", stretch.schema)).await?;
    conn.query_drop(format!("CREATE DATABASE {}", stretch.schema)).await?;
    conn.query_drop(create_table(stretch.schema, "tb_user2")).await?;
    let mut process = Process::start(
        servers,
        &captured.cluster,
        "apply",
        &pipeline_documents(servers, stretch.name, stretch.schema),
    )?;
    let schema = stretch.schema;
    let address = servers.target.clone();
    let flow = watch(&mut process, stretch.rows, || count(&address, schema)).await?;
    equal(servers, stretch.schema).await.with_context(|| format!("run {run}"))?;
    Ok(flow)
}

/// Committed rows at the target.
async fn count(address: &str, schema: &str) -> Result<u64> {
    let mut conn = Servers::connect(address).await?;
    let count = conn.query_first(format!("SELECT MAX(id) FROM {schema}.tb_user2")).await?;
    conn.disconnect().await?;
    Ok(count.flatten().unwrap_or(0))
}

/// Both tables hold the same rows.
pub(crate) async fn equal(servers: &Servers, schema: &str) -> Result<()> {
    let mut sums = Vec::new();
    for (address, table) in [(&servers.source, "tb_user"), (&servers.target, "tb_user2")] {
        let mut conn = Servers::connect(address).await?;
        let sum: Option<(u64, u64)> = conn
            .query_first(format!(
                "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', id, HEX(username), age, HEX(email), created_time, modified_time, is_deleted))) FROM {schema}.{table}"
            ))
            .await?;
        sums.push(sum);
        conn.disconnect().await?;
    }
    ensure!(sums[0] == sums[1], "source and target differ: {sums:?}");
    Ok(())
}

/// Samples `progress` until it reaches `rows`; the clock runs from the first sample that shows any.
async fn watch<F, P>(process: &mut Process, rows: u64, progress: P) -> Result<Flow>
where
    P: Fn() -> F,
    F: Future<Output = Result<u64>>,
{
    let started = Instant::now();
    let mut first: Option<(Instant, f64, u64)> = None;
    let mut every = tokio::time::interval(Duration::from_millis(20));
    loop {
        every.tick().await;
        process.check()?;
        let done = progress().await?;
        if done > 0 && first.is_none() {
            first = Some((Instant::now(), process.cpu_seconds()?, done));
        }
        if done >= rows {
            let (since, cpu, at) = first.context("no sample before the end; take more rows")?;
            ensure!(done > at, "all rows passed between two samples; take more rows");
            return Ok(Flow {
                rows: rows - at.min(rows),
                seconds: since.elapsed().as_secs_f64(),
                cpu_seconds: process.cpu_seconds()? - cpu,
                peak_rss_mib: process.peak_rss_mib()?,
            });
        }
        ensure!(started.elapsed() < DEADLINE, "only {done} of {rows} rows after {DEADLINE:?}");
    }
}
