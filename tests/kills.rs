//! A load while capture, apply and both are killed at random moments: nothing is lost, nothing doubled, nothing reordered.
//! Between both kinds of servers, by GTID and by file and position.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, applying, capturing, check_all};
use crate::harness::site::By;
use crate::harness::{Kind, Load, Result, Site, long, seed};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn from_mariadb_to_mariadb() -> Result<()> {
    survives("kills_aa", (Kind::Mariadb, Kind::Mariadb), By::Gtid).await
}

#[tokio::test]
async fn from_mysql_to_mysql() -> Result<()> {
    survives("kills_yy", (Kind::Mysql, Kind::Mysql), By::Gtid).await
}

/// The other pairings, in the long form only.
#[tokio::test]
async fn of_every_other_pairing() -> Result<()> {
    if !long() {
        return Ok(());
    }
    survives("kills_aaf", (Kind::Mariadb, Kind::Mariadb), By::File).await?;
    survives("kills_yyf", (Kind::Mysql, Kind::Mysql), By::File).await?;
    survives("kills_ay", (Kind::Mariadb, Kind::Mysql), By::Gtid).await?;
    survives("kills_ya", (Kind::Mysql, Kind::Mariadb), By::Gtid).await
}

/// The number of kills: `OTTER_TEST_KILLS`, or what fits the form.
fn kills() -> u64 {
    let asked = std::env::var("OTTER_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if long() { 50 } else { 8 })
}

async fn survives(test: &str, (from, to): (Kind, Kind), by: By) -> Result<()> {
    let share = if long() { 10_000 } else { 4_000 }; // rows of one writer between two kills
    let mut random = StdRng::seed_from_u64(seed());
    let site = Site::between(test, from, to).await?;
    site.create("load", "load", COLUMNS).await?;
    let source = site.source_document_by(by).await?;
    site.put(&[&source, &site.target_document(), &site.pipeline_document(&[("load", "load")])]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut one = Load::new(&site, "load", random.random(), 1).await?;
    let mut other = Load::new(&site, "load", random.random(), 2_000_000_000).await?;

    for round in 0..kills() {
        let from = *one.written().borrow();
        let (moment, mut written) = (from + random.random_range(0..share), one.written());
        let killing = async {
            written.wait_for(|count| *count >= moment).await?;
            kill(&mut pair, &site, &mut random).await
        };
        let ((), (), killed) = tokio::try_join!(one.write(share), other.write(share), killing)?;

        println!("kill {round} after {moment} events: {killed}");
    }
    check_all(&site, pair, one.counts() + other.counts()).await
}

/// Kills one role or both, half of the time while they are at work, and starts them again; says which.
async fn kill(pair: &mut Pair, site: &Site, random: &mut StdRng) -> Result<&'static str> {
    let choice = random.random_range(0..3);
    let victims = [("capture", choice != 1, &mut pair.capture), ("apply", choice != 0, &mut pair.apply)];
    for (role, killed, otter) in victims {
        if !killed {
            continue;
        }
        if random.random() {
            let at_work = if role == "capture" { capturing } else { applying };
            otter.wait_status("to be at work", RECOVERY, at_work).await?;
        }
        otter.kill().await?;
        *otter = site.spawn(role)?;
    }
    Ok(["capture", "apply", "both"][choice])
}
