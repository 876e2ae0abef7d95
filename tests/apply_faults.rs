//! Faults on the way to the target: a frozen applier, lost commits and replies, a target that goes back in time.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, applying, check_all};
use crate::harness::proxy::Proxy;
use crate::harness::{Database, Load, Result, Servers, Site, Strain, ensure, seed, wait_for};
use schemas::progress;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const TAKEOVER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_frozen_applier_is_replaced_and_cannot_write() -> Result<()> {
    let site = Site::new("appliers", Servers::shared()?).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    load.write(5_000).await?;
    pair.apply.wait_status("to apply", SOON, applying).await?;
    let mut second = site.start("apply").await?;
    load.write(20_000).await?; // so that it is frozen while it has something in hand
    // there is one lane; whoever has it is frozen
    let first_has_it = second.status().await?.ok().and_then(|status| applying(&status)).is_none();
    if !first_has_it {
        std::mem::swap(&mut pair.apply, &mut second);
    }
    pair.apply.freeze()?;
    let (start, strain) = (Instant::now(), Strain::begin());
    load.write(5_000).await?;
    second.wait_status("to apply after the first was frozen", SOON, applying).await?;
    let took = start.elapsed();
    println!("took over {:.1} s after SIGSTOP, under a strain of {:.1}", took.as_secs_f64(), strain.mean());
    ensure!(took < strain.stretched(TAKEOVER), "took over {took:?} after SIGSTOP, not within {TAKEOVER:?}");
    load.write(5_000).await?;
    pair.apply.thaw()?;
    load.write(10_000).await?;
    check_all(&site, pair, load.counts()).await?;
    second.stop(SOON).await
}

#[tokio::test]
async fn lost_commits_and_lost_replies_leave_no_trace() -> Result<()> {
    let mut site = Site::new("replies", Servers::shared()?).await?;
    let proxy = Proxy::start(&site.servers.target).await?;
    site.target_address = proxy.address.to_string();
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    for round in 1..=6 {
        if round % 2 == 0 {
            proxy.lose_commits(1)
        } else {
            proxy.lose_commit_replies(1)
        }
        load.write(3_000).await?;
        lost(&proxy, round, &mut load).await?;
    }
    proxy.delay(Duration::from_millis(30));
    load.write(1_000).await?;
    proxy.cut();
    load.write(1_000).await?;
    proxy.delay(Duration::ZERO);
    proxy.half_close();
    load.write(1_000).await?;
    check_all(&site, pair, load.counts()).await
}

/// Waits until the proxy has lost so many commits or replies.
async fn lost(proxy: &Proxy, count: u32, load: &mut Load) -> Result<()> {
    wait_for("a commit to be lost", SOON, async || {
        // one more row each time: what was written before may have been committed before the fault was set
        load.transaction(1).await.map_err(|error| format!("{error:#}"))?;
        let seen = proxy.lost();
        if seen >= count { Ok(()) } else { Err(format!("{seen} lost, {count} expected")) }
    })
    .await
}

#[tokio::test]
async fn a_target_restored_with_its_progress_catches_up() -> Result<()> {
    let site = Site::new("restored", Servers::shared()?).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    let mut target = site.target().await?;
    load.write(5_000).await?;
    let tables = [site.to("load"), progress::qualified(&site.target_schema)];
    wait_for("progress at the target", SOON, async || match target.checksum(&tables[0]).await {
        Ok((1.., _)) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await?;
    backup(&mut target, &tables).await?;
    load.write(10_000).await?;
    restore(&mut target, &tables).await?; // while the applier is at work
    load.write(5_000).await?;
    check_all(&site, pair, load.counts()).await
}

/// Copies tables as they are at one moment.
async fn backup(target: &mut Database, tables: &[String]) -> Result<()> {
    for table in tables {
        target.run(&format!("CREATE TABLE {} LIKE {table}", saved(table))).await?;
    }
    target.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    for table in tables {
        target.run(&format!("INSERT INTO {} SELECT * FROM {table}", saved(table))).await?;
    }
    target.run("COMMIT").await?;
    Ok(())
}

/// Puts the copies back in one transaction. The progress rows are locked first, as an applier does.
async fn restore(target: &mut Database, tables: &[String]) -> Result<()> {
    target.run("START TRANSACTION").await?;
    for table in tables.iter().rev() {
        target.run(&format!("DELETE FROM {table}")).await?;
    }
    for table in tables {
        target.run(&format!("INSERT INTO {table} SELECT * FROM {}", saved(table))).await?;
    }
    target.run("COMMIT").await?;
    Ok(())
}

fn saved(table: &str) -> String {
    match table.strip_suffix('`') {
        Some(quoted) => format!("{quoted}_saved`"),
        None => format!("{table}_saved"),
    }
}
