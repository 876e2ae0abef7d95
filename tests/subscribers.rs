//! Other people's software reads the topics: Confluent's Python client through the schema registry that admin serves. Flink,
//! Kafka Connect and an external registry take longer and are tried by deploy/interop.

use crate::harness::{Context as _, Result, Servers, Site, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(120);

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

async fn output(what: &str, command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(LIMIT, command.output()).await.with_context(|| format!("{what} did not end"))??;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluents_python_client_reads_every_type() -> Result<()> {
    let site = Site::new("python", Servers::shared()?).await?;
    site.put(&[&site.source_document().await?]).await?;
    let mut source = site.source().await?;
    source.run(&format!("USE {}", site.name)).await?;
    let script = std::fs::read_to_string(file("tests/interop/types.sql"))?;
    for statement in script.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        source.run(statement).await?;
    }
    let mut otter = site.start("run").await?;
    let everything = |status: &schemas::status::WorkerStatus| {
        // What types.sql writes: inserts, updates, deletes, and updates of keys.
        status.sources.first().filter(|s| s.rows >= 1003 + 334 + 142 + 9).map(|_| ())
    };
    otter.wait_status("to publish everything", LIMIT, everything).await?;
    let packages = output("deploy/interop", Command::new(file("deploy/interop")).arg("python-path")).await?;
    let mut reader = Command::new("python3");
    reader.arg(file("tests/interop/python/read.py")).env("PYTHONPATH", packages.trim());
    let registry = format!("http://{}/registry", otter.address()?);
    reader.args([&site.servers.kafka, &registry, &format!("tests:{}", site.token()?.trim()), &site.topic("types")]);
    let seen = output("read.py", &mut reader).await?;

    let query = std::fs::read_to_string(file("tests/interop/rows.sql"))?;
    let (host, port) = site.servers.source.split_once(':').context("host:port")?;
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--default-character-set=utf8mb4", "--protocol=tcp", "-uroot", "-N", "-B", "--raw"]);
    client.args(["-h", host, "-P", port, "-D", &site.name, "-e", &query]);
    let expected = output("mariadb", &mut client).await?;
    for (expected, seen) in expected.lines().zip(seen.lines()) {
        ensure!(expected == seen, "the source has\n{expected}\nwhere the subscriber has\n{seen}");
    }
    ensure!(expected.lines().count() == 860 && seen.lines().count() == 860, "{} rows", seen.lines().count());
    Ok(())
}
