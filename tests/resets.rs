//! Resets of a source while capture is killed at random moments between the request and its answer: each counts once.

use crate::harness::load::COLUMNS;
use crate::harness::pair::capturing;
use crate::harness::{Kind, Result, Site, ensure, long, seed, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::documents::Start;
use schemas::moment::Moment;
use schemas::request::{OutcomeState, Request, SourceAction, Ticket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_reset_counts_once_whenever_capture_is_killed_on_mariadb() -> Result<()> {
    counts_once("resets_a", Kind::Mariadb).await
}

#[tokio::test]
async fn a_reset_counts_once_whenever_capture_is_killed_on_mysql() -> Result<()> {
    counts_once("resets_y", Kind::Mysql).await
}

async fn counts_once(test: &str, from: Kind) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed());
    let site = Site::between(test, from, Kind::Mariadb).await?;
    site.create("load", "load", COLUMNS).await?;
    let begin = site.source().await?.gtid().await?;
    site.put(&[&site.source_document().await?]).await?;
    let requests = site.coordination().await?.requests();
    let mut capture = site.start("capture").await?;
    capture.wait_status("to capture", SOON, capturing).await?;
    for round in 1..=if long() { 30 } else { 2 } {
        let action = SourceAction::Reset { to: Start::Gtid(begin.parse()?) };
        let request = Request { id: format!("r{round}"), by: "test".into(), time: Moment::now(), action };
        requests.submit(&site.name, &request).await?;
        // The random moment of the death, not a wait for anything.
        let moment = Duration::from_millis(random.random_range(0..900));
        tokio::time::sleep(moment).await;
        capture.kill().await?;
        capture = site.spawn("capture")?;
        let outcome = wait_for("the answer", SOON, async || {
            let ticket = requests.read(&site.name).await.map_err(|e| e.to_string())?;
            let closed = ticket.clone().filter(|ticket: &Ticket<SourceAction>| !ticket.is_open());
            closed.and_then(|ticket| ticket.outcome).ok_or_else(|| format!("{ticket:?}"))
        })
        .await?;
        println!("killed after {moment:?}: {}", outcome.message);
        ensure!(outcome.state == OutcomeState::Done, "{outcome:?}");
        ensure!(outcome.details[0]["generation"] == round, "{outcome:?}");
    }
    capture.wait_status("to capture", SOON, capturing).await?;
    capture.stop(SOON).await
}
