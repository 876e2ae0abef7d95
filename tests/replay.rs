//! A table's position is set back while the load goes on, and apply is killed while it writes again: both ends are equal.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, check_all};
use crate::harness::{Kind, Otter};
use crate::harness::{Load, Result, Site, ensure, seed, wait_for};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Runs a command that must succeed and prints JSON.
async fn json(site: &Site, arguments: &[&str]) -> Result<Value> {
    let done = site.otter(&[arguments, &["-o", "json"]].concat()).await?;
    ensure!(done.code == Some(0), "otter {arguments:?}: {done:?}");
    Ok(serde_json::from_str(&done.stdout)?)
}

/// The only lane of `otter offsets`.
async fn lane(site: &Site) -> Result<Value> {
    let mut all = json(site, &["offsets", &site.name]).await?;
    Ok(all[0]["lanes"][0].take())
}

/// Sets the position back while the load goes on, kills apply twice on the way, and waits until the replay is over.
async fn replay(site: &Site, apply: &mut Otter, load: &mut Load, to: &str) -> Result<()> {
    let name = site.name.as_str();
    json(site, &["pause", "pipeline", name]).await?;
    let answer = json(site, &["replay", "pipeline", name, "--table", &site.from("load"), "--to", to]).await?;
    let detail = &answer["outcome"]["details"][0];
    ensure!(detail["replays"] == true, "--to {to}: {answer}");
    json(site, &["resume", "pipeline", name]).await?;
    for _ in 0..2 {
        load.write(1_000).await?;
        apply.kill().await?;
        *apply = site.start("apply").await?;
    }
    load.write(1_000).await?;
    let lane = wait_for("the replay to be over", SOON, async || match lane(site).await {
        Ok(lane) if lane["replaying"] == false => Ok(Ok(lane)),
        Ok(lane) => Err(format!("{lane}")),
        Err(error) => Ok(Err(error)),
    })
    .await??;
    let done = &lane["replayed"];
    println!("--to {to}: from {} to {}, {done}", detail["from"], detail["to"]);
    ensure!(done["rewritten"].as_i64() > Some(0), "--to {to}: nothing was rewritten: {lane}");
    Ok(())
}

/// A load of 10,000 rows that has reached the target, and a GTID position and a moment behind 4,000 of them.
async fn loaded(site: &Site, load: &mut Load) -> Result<(String, schemas::moment::Moment)> {
    load.write(4_000).await?;
    let (gtid, moment) = (site.source().await?.gtid().await?, schemas::moment::Moment::now());
    load.write(6_000).await?;
    wait_for("the load to be at the target", SOON, async || match lane(site).await {
        Ok(lane) if lane["lag"].as_i64() == Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    Ok((gtid, moment))
}

#[tokio::test]
async fn a_table_set_back_under_load_ends_equal_although_apply_is_killed_twice() -> Result<()> {
    let site = Site::between("replay", Kind::Mariadb, Kind::Mariadb).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    let (gtid, moment) = loaded(&site, &mut load).await?;
    for to in ["offset=0", &format!("timestamp={moment}"), &format!("gtid={gtid}")] {
        replay(&site, &mut pair.apply, &mut load, to).await?;
    }
    let wrong = site.otter(&["replay", "pipeline", &site.name, "--to", "offset=0"]).await?;
    ensure!(wrong.code == Some(1) && wrong.stdout.contains("OT5013"), "it is running: {wrong:?}");
    json(&site, &["pause", "pipeline", &site.name]).await?;
    let wrong = site.otter(&["replay", "pipeline", &site.name, "--to", "offset=99999999"]).await?;
    ensure!(wrong.code == Some(1) && wrong.stdout.contains("end_offset"), "beyond the end: {wrong:?}");
    json(&site, &["resume", "pipeline", &site.name]).await?;
    check_all(&site, pair, load.counts()).await
}

#[tokio::test]
async fn a_table_of_mysql_set_back_under_load_ends_equal_at_mysql() -> Result<()> {
    let site = Site::between("replay_mysql", Kind::Mysql, Kind::Mysql).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    let (gtid, _) = loaded(&site, &mut load).await?;
    replay(&site, &mut pair.apply, &mut load, &format!("gtid={gtid}")).await?;
    check_all(&site, pair, load.counts()).await
}

#[tokio::test]
async fn a_target_seeded_from_a_dump_goes_on_behind_its_gtid() -> Result<()> {
    let site = Site::between("seeding", Kind::Mariadb, Kind::Mariadb).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put(&[&site.source_document().await?, &site.target_document()]).await?;
    let pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    load.write(3_000).await?;
    let address = site.servers.source.clone();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "3306"));
    let schema = site.name.clone();
    let dump = async {
        let dump = tokio::process::Command::new("mariadb-dump")
            .args(["--no-defaults", "-uotter", "-potter", "-h", host, "-P", port])
            .args([
                "--single-transaction",
                "--master-data=2",
                "--gtid",
                "--hex-blob",
                "--no-create-db",
                &schema,
                "load",
            ])
            .output();
        Ok::<_, anyhow::Error>(dump.await?)
    };
    let (dump, ()) = tokio::try_join!(dump, load.write(4_000))?;
    ensure!(dump.status.success(), "mariadb-dump: {}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout)?;
    let position = text.lines().find_map(|line| line.split_once("gtid_slave_pos='")?.1.split_once('\''));
    let Some((gtid, _)) = position else { anyhow::bail!("the dump names no position") };
    println!("seeded behind {gtid}");
    let address = site.servers.target.clone();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "3306"));
    let mut client = tokio::process::Command::new("mariadb")
        .args(["--no-defaults", "-uotter", "-potter", "-h", host, "-P", port, &site.target_schema])
        .stdin(std::process::Stdio::piped())
        .spawn()?;
    let mut input = client.stdin.take().ok_or_else(|| anyhow::anyhow!("no input"))?;
    tokio::io::AsyncWriteExt::write_all(&mut input, text.as_bytes()).await?;
    drop(input);
    ensure!(client.wait().await?.success(), "the dump cannot be loaded");
    let pipeline = format!("{}start: {{gtid: '{gtid}'}}\n", site.pipeline_document(&[("load", "load")]));
    site.put(&[&pipeline]).await?;
    load.write(3_000).await?;
    check_all(&site, pair, load.counts()).await
}
