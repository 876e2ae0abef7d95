//! Restarts of the servers that Otter stands on, while a load runs.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, capturing, check_all};
use crate::harness::servers::Name;
use crate::harness::{Load, Private, Result, Site, ensure, seed, wait_for};
use schemas::status::WorkerStatus;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_broker_restarted_in_the_middle_of_transactions() -> Result<()> {
    let private = Private::start(&[Name::Kafka]).await?;
    let site = Site::new("broker", private.servers.clone()).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    pair.capture.wait_status("to capture", SOON, capturing).await?;
    for kill in [true, false] {
        let mut written = load.written();
        let moment = *written.borrow() + 10_000;
        let restart = async {
            written.wait_for(|count| *count >= moment).await?;
            if kill {
                private.kill(Name::Kafka).await?;
            }
            private.restart(Name::Kafka).await
        };
        tokio::try_join!(load.write(20_000), restart)?;
    }
    arrived(&site, &mut load).await?;
    private.restart(Name::Kafka).await?;
    // nothing is written now, so no record shows that the outage is over
    let well = |status: &WorkerStatus| status.pipelines.iter().all(|p| p.error.is_none()).then_some(());
    pair.apply.wait_status("to show that the outage is over", SOON, well).await?;
    check_all(&site, pair, load.counts()).await
}

#[tokio::test]
async fn zookeeper_away_and_back() -> Result<()> {
    let private = Private::start(&[Name::ZooKeeper]).await?;
    let site = Site::new("keeper", private.servers.clone()).await?;
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let mut pair = Pair::start(&site).await?;
    let mut load = Load::new(&site, "load", seed(), 1).await?;
    load.write(5_000).await?;
    arrived(&site, &mut load).await?;

    private.kill(Name::ZooKeeper).await?;
    load.write(5_000).await?;
    arrived(&site, &mut load).await?; // rows flow while it is away
    private.restart(Name::ZooKeeper).await?;
    load.write(5_000).await?;
    pair.capture.wait_status("to capture", SOON, capturing).await?;
    // documents are watched again
    site.create("tb", "tb", "id int primary key").await?;
    site.put(&[&site.pipeline_document(&[("load", "load"), ("tb", "tb")])]).await?;
    site.source().await?.run(&format!("INSERT INTO {} VALUES (1)", site.from("tb"))).await?;
    let mut target = site.target().await?;
    wait_for("a row of the new mapping", SOON, async || match target.checksum(&site.to("tb")).await {
        Ok((1, _)) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await?;
    ensure!(pair.apply.status().await?.is_ok());
    check_all(&site, pair, load.counts()).await
}

/// Waits until what is written so far has arrived.
async fn arrived(site: &Site, load: &mut Load) -> Result<()> {
    load.transaction(1).await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    crate::harness::database::wait_equal((&mut source, &site.from("load")), (&mut target, &site.to("load")), SOON).await
}
