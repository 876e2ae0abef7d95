//! Compressed binlogs: MySQL's compressed transactions and MariaDB's compressed events carry the same rows as plain ones.

use crate::harness::load::COLUMNS;
use crate::harness::pair::{Pair, check_all};
use crate::harness::servers::Name;
use crate::harness::{Kind, Load, Private, Result, Site, ensure, seed};

const ROWS: u64 = 20_000;

#[tokio::test]
async fn compressed_transactions_of_mysql_arrive() -> Result<()> {
    let site = Site::between("packed", Kind::Mysql, Kind::Mysql).await?;
    arrives(&site, Some("binlog_transaction_compression = ON")).await
}

#[tokio::test]
async fn compressed_events_of_mariadb_arrive() -> Result<()> {
    let private = Private::start(&[Name::Source]).await?;
    let site = Site::new("packed", private.servers.clone()).await?;
    let mut source = site.source().await?;
    source.run("SET GLOBAL log_bin_compress = ON").await?;
    source.run("SET GLOBAL log_bin_compress_min_len = 10").await?;
    let file: (String, String) = source.row("SELECT @@log_bin_compress, @@log_bin_compress_min_len").await?;
    ensure!(file == ("1".to_owned(), "10".to_owned()), "the server has {file:?}");
    arrives(&site, None).await
}

/// A load, half of it from a session with this setting, arrives.
async fn arrives(site: &Site, setting: Option<&str>) -> Result<()> {
    site.create("load", "load", COLUMNS).await?;
    site.put_all(&[("load", "load")]).await?;
    let seed = seed();
    let mut plain = Load::new(site, "load", seed, 1).await?;
    let mut packed = Load::new(site, "load", seed, 2_000_000_000).await?;
    if let Some(setting) = setting {
        packed.set(setting).await?;
    }
    let pair = Pair::start(site).await?;
    tokio::try_join!(plain.write(ROWS / 2), packed.write(ROWS / 2))?;
    check_all(site, pair, plain.counts() + packed.counts()).await
}
