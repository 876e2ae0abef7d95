//! A source that keeps names in lower case (`lower_case_table_names=1`): statements about a followed table are seen however
//! they spell it.

use crate::harness::database::wait_equal;
use crate::harness::servers::Name;
use crate::harness::{Kind, Private, Result, Site, ensure};
use schemas::check::Finding;
use schemas::status::{SourceState, WorkerStatus};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn statements_are_seen_in_any_spelling_at_mariadb() -> Result<()> {
    any_spelling("lower_a", Kind::Mariadb, Name::Source).await
}

#[tokio::test]
async fn statements_are_seen_in_any_spelling_at_mysql() -> Result<()> {
    any_spelling("lower_y", Kind::Mysql, Name::MysqlSource).await
}

async fn any_spelling(test: &str, kind: Kind, server: Name) -> Result<()> {
    let private = Private::start_in_lower_case(&[server]).await?;
    let site = Site::new(test, private.servers.clone().between(kind, Kind::Mariadb)).await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let setting: String = source.row("SELECT CAST(@@lower_case_table_names AS CHAR)").await?;
    ensure!(setting == "1", "lower_case_table_names is {setting}");
    let upper = site.name.to_uppercase();
    source.run(&format!("CREATE TABLE {upper}.TB (id int PRIMARY KEY, n int NOT NULL)")).await?;
    target.run(&format!("CREATE TABLE {} (id int PRIMARY KEY, n int NOT NULL)", site.to("tb"))).await?;
    let wrong = site.source_document().await?.replace(".*'", ".*', '!{0}.Secret'").replace("{0}", &site.name);
    site.put(&[&wrong, &site.target_document(), &site.pipeline_document(&[("tb", "tb")])]).await?;
    let mut otter = site.start("run").await?;
    let error = otter.wait_status("to stop", SOON, stopped).await?;
    ensure!(error.starts_with("OT3002: ") && error.contains("Secret") && error.contains("secret"), "{error}");
    let done = site.otter(&["check", "--output", "json"]).await?;
    let findings: Vec<Finding> = serde_json::from_str(&done.stdout)?;
    let found = findings.iter().any(|f| f.code.as_deref() == Some("OT3002") && f.message.contains("Secret"));
    ensure!(done.code == Some(1) && found, "{findings:?}");
    site.put(&[&wrong.replace("Secret", "secret")]).await?;

    let (from, to) = (site.from("tb"), site.to("tb"));
    source.run(&format!("INSERT INTO {from} VALUES (1, 1), (2, 2)")).await?;
    source.run(&format!("USE {upper}")).await?;
    source.run("INSERT INTO Tb VALUES (3, 3)").await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    for truncate in ["TRUNCATE TABLE tB".to_owned(), format!("TRUNCATE `{upper}`.`TB`")] {
        source.run(&truncate).await?;
        source.run("INSERT INTO tb VALUES (3, 4), (9, 9)").await?;
        wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
        let left: Vec<(i32, i32)> = target.rows(&format!("SELECT id, n FROM {to} ORDER BY id")).await?;
        ensure!(left == [(3, 4), (9, 9)], "{truncate}: {left:?}");
    }
    // Of tables that are not followed nothing is seen, in any spelling.
    source.run("CREATE TABLE Secret (id int PRIMARY KEY)").await?;
    source.run("ALTER TABLE SECRET MODIFY id bigint").await?;
    source.run("INSERT INTO TB VALUES (10, 10)").await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    source.run("ALTER TABLE TB MODIFY n bigint NOT NULL").await?;
    let error = otter.wait_status("to stop", SOON, stopped).await?;
    ensure!(error.starts_with("OT3009: ") && error.contains(&from), "{error}");
    otter.stop(SOON).await
}

fn stopped(status: &WorkerStatus) -> Option<String> {
    let source = status.sources.iter().find(|source| source.state == SourceState::Stopped)?;
    source.error.as_ref().map(|error| format!("{}: {}", error.code, error.message))
}
