//! Two captures of one source: one leads, the other waits; who was killed or frozen is replaced and cannot write any more.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, capturing, check_all, waiting};
use crate::harness::{Load, Result, Servers, Site, Strain, ensure, seed};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const TAKEOVER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_second_capture_takes_over_from_a_killed_and_from_a_frozen_one() -> Result<()> {
    let site = Site::new("captures", Servers::shared()?).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut first = site.start("capture").await?;
    first.wait_status("to capture", SOON, capturing).await?;
    let mut second = site.start("capture").await?;
    second.wait_status("to wait", SOON, waiting).await?;
    let apply = site.start("apply").await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    load.write(5_000).await?;

    first.kill().await?;
    let (start, strain) = (Instant::now(), Strain::begin());
    load.write(5_000).await?;
    second.wait_status("to capture after the first was killed", SOON, capturing).await?;
    in_time("kill -9", start.elapsed(), &strain)?;

    let mut third = site.start("capture").await?;
    third.wait_status("to wait", SOON, waiting).await?;
    load.write(20_000).await?; // so that the leader is frozen while it has something in hand
    second.freeze()?;
    let (start, strain) = (Instant::now(), Strain::begin());
    load.write(5_000).await?;
    third.wait_status("to capture after the second was frozen", SOON, capturing).await?;
    in_time("SIGSTOP", start.elapsed(), &strain)?;

    second.thaw()?;
    load.write(5_000).await?;
    second.wait_status("to have noticed that it leads no more", SOON, waiting).await?;
    ensure!(third.wait_status("to capture still", SOON, capturing).await.is_ok());
    load.write(5_000).await?;
    check_all(&site, Pair { capture: third, apply }, load.counts()).await?;
    second.stop(SOON).await
}

/// A takeover must not take longer than promised.
fn in_time(after: &str, took: Duration, strain: &Strain) -> Result<()> {
    println!("took over {:.1} s after {after}, under a strain of {:.1}", took.as_secs_f64(), strain.mean());
    ensure!(took < strain.stretched(TAKEOVER), "took over {took:?} after {after}, not within {TAKEOVER:?}");
    Ok(())
}
