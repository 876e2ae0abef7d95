//! A load while capture, apply and both are killed at random moments: nothing is lost, nothing doubled, nothing reordered.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, applying, capturing, check_all};
use crate::harness::{Load, Result, Servers, Site, long, seed};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

const RECOVERY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_load_survives_kills_of_capture_and_apply() -> Result<()> {
    let (rows, kills) = if long() { (1_000_000, 50) } else { (100_000, 10) };
    let mut random = StdRng::seed_from_u64(seed());
    let site = Site::new("kills", Servers::shared()?).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut one = Load::new(&site, "load", random.random(), 1).await?;
    let mut other = Load::new(&site, "load", random.random(), 2_000_000_000).await?;

    for round in 0..kills {
        let share = rows / kills / 2;
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
