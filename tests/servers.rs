//! The servers that the tests stand on are what the tests take them for.

use crate::harness::servers::Name;
use crate::harness::{Context as _, Database, Kind, Private, Result, Servers, Site, ensure};
use mysql_async::prelude::Queryable as _;

#[tokio::test]
async fn each_pairing_has_its_servers() -> Result<()> {
    let both = [Kind::Mariadb, Kind::Mysql];
    for (from, to) in both.into_iter().flat_map(|from| both.map(|to| (from, to))) {
        let site = Site::between("pairing", from, to).await?;
        let (source, target) = (site.source().await?, site.target().await?);
        ensure!((source.kind(), target.kind()) == (from, to), "{from:?} → {to:?} has other servers");
        ensure!(site.servers.source != site.servers.target, "one server is both ends");
    }
    Ok(())
}

#[tokio::test]
async fn mysql_is_set_up_as_a_source_has_to_be() -> Result<()> {
    let servers = Servers::shared()?;
    let mut root = Database::connect(&servers.mysql_source).await?;
    let seen: (String, String, String, String, bool) = root
        .row(
            "SELECT VERSION(), @@gtid_mode, @@binlog_row_metadata, \
             (SELECT plugin FROM mysql.user WHERE user = 'otter'), @@performance_schema",
        )
        .await?;
    ensure!(seen.0.starts_with("9."), "this is MySQL {}", seen.0);
    let expected = ("ON", "FULL", "caching_sha2_password", false);
    ensure!((&*seen.1, &*seen.2, &*seen.3, seen.4) == expected, "{seen:?}");
    let other: String = Database::connect(&servers.mysql_target).await?.row("SELECT @@server_uuid").await?;
    let one: String = root.row("SELECT @@server_uuid").await?;
    ensure!(one != other, "both servers have the identity {one}");
    Ok(())
}

/// Otter's own user logs in by caching_sha2, whose first login without TLS needs the server's public key.
#[tokio::test]
async fn a_private_mysql_lets_the_user_in_and_comes_back_on_its_port() -> Result<()> {
    let private = Private::start(&[Name::MysqlSource]).await?;
    let address = private.servers.mysql_source.clone();
    ensure!(address != Servers::shared()?.mysql_source, "it is the shared one");
    let identity: String = Database::connect(&address).await?.row("SELECT @@server_uuid").await?;
    private.kill(Name::MysqlSource).await?;
    private.restart(Name::MysqlSource).await?;
    let again: String = Database::connect(&address).await?.row("SELECT @@server_uuid").await?;
    ensure!(identity == again, "{identity} came back as {again}");

    let (host, port) = address.split_once(':').context("an address is host:port")?;
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse()?)
        .user(Some("otter"))
        .pass(Some("otter"))
        .prefer_socket(false);
    let mut otter = mysql_async::Conn::new(options).await?;
    let user: Option<String> = otter.query_first("SELECT CURRENT_USER()").await?;
    ensure!(user.as_deref() == Some("otter@%"), "logged in as {user:?}");
    Ok(())
}
