//! Wrong input: each case is a message with its code, its cause and its remedy, and never a panic.

use crate::harness::otter::Finished;
use crate::harness::servers::Name;
use crate::harness::site::TB_USER;
use crate::harness::{Otter, Private, Result, Servers, Site, ensure, wait_for};
use schemas::status::{ErrorStatus, WorkerStatus};
use schemas::{Code, check::Finding};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The message must have the code, name the cause and give the code's remedy.
fn ensure_says(done: &Finished, code: Code, cause: &str) -> Result<()> {
    let said = format!("{}{}", done.stdout, done.stderr);
    let complete = [code.id(), cause, code.remedy()].iter().all(|part| said.contains(part));
    ensure!(done.code == Some(1) && complete && !said.contains("panicked"), "{code:?}, {cause:?} expected: {done:?}");
    Ok(())
}

fn ensure_error(error: &ErrorStatus, code: Code, cause: &str) -> Result<()> {
    let complete = error.code == code.id() && error.message.contains(cause) && error.remedy == code.remedy();
    ensure!(complete, "{code:?}, {cause:?} expected: {error:?}");
    Ok(())
}

/// The error of the source, as soon as there is one.
async fn source_error(otter: &mut Otter) -> Result<ErrorStatus> {
    let look = |status: &WorkerStatus| status.sources.iter().find_map(|source| source.error.clone());
    otter.wait_status("an error of the source", SOON, look).await
}

/// The error of the pipeline or one of its lanes, as soon as there is one.
async fn pipeline_error(otter: &mut Otter) -> Result<ErrorStatus> {
    let look = |status: &WorkerStatus| {
        let of_lanes = |p: &schemas::status::PipelineStatus| p.lanes.iter().find_map(|lane| lane.error.clone());
        status.pipelines.iter().find_map(|p| p.error.clone().or_else(|| of_lanes(p)))
    };
    otter.wait_status("an error of the pipeline", SOON, look).await
}

/// `otter check` must find it too.
async fn check_finds(site: &Site, code: Code, cause: &str) -> Result<()> {
    let done = site.otter(&["check", "--output", "json"]).await?;
    ensure!(done.code == Some(1), "{done:?}");
    let findings: Vec<Finding> = serde_json::from_str(&done.stdout)?;
    let found = findings
        .iter()
        .any(|f| f.code.as_deref() == Some(code.id()) && f.message.contains(cause) && !f.remedy.is_empty());
    ensure!(found, "{code:?}, {cause:?} expected: {findings:?}");
    Ok(())
}

#[tokio::test]
async fn documents_that_are_wrong_are_refused() -> Result<()> {
    let site = Site::new("documents", Servers::shared()?).await?;
    let good = site.source_document().await?;
    for (document, code, cause) in [
        (good.clone() + "colour: blue\n", Code::DocumentInvalid, "colour"),
        (good.clone() + "tls: {mode: sometimes}\n", Code::DocumentInvalid, "tls.mode"),
        (good.replace("kind: source", "kind: sauce"), Code::DocumentInvalid, "sauce"),
        (good.replace("user: otter", "usr: otter"), Code::DocumentInvalid, "usr"),
        (good + "topics: {transaction: true}\n", Code::NotSupportedYet, "topics.transaction"),
    ] {
        ensure_says(&site.try_put(&[&document]).await?, code, cause)?;
    }
    ensure_says(&site.otter(&["get", "source", "nobody"]).await?, Code::NotFound, "nobody")?;
    let usage = site.otter(&["put"]).await?;
    ensure!(usage.code == Some(2), "{usage:?}");
    Ok(())
}

#[tokio::test]
async fn passwords_that_are_not_there() -> Result<()> {
    let site = Site::new("password", Servers::shared()?).await?;
    let missing = |document: String| document.replace("OTTER_TEST_PASSWORD", "OTTER_TEST_NOWHERE");
    let source = site.source_document().await?;
    let mut otter = with_a_row(&site, &source, &missing(site.target_document())).await?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::SecretMissing, "OTTER_TEST_NOWHERE")?;
    check_finds(&site, Code::SecretMissing, "OTTER_TEST_NOWHERE").await?;
    site.put(&[&missing(source)]).await?;
    ensure_error(&source_error(&mut otter).await?, Code::SecretMissing, "OTTER_TEST_NOWHERE")?;
    ends_well(otter).await
}

#[tokio::test]
async fn servers_that_do_not_answer() -> Result<()> {
    let site = Site::new("unreachable", Servers::shared()?).await?;
    let nowhere = |document: String, address: &str| document.replace(address, "127.0.0.1:1");
    let source = site.source_document().await?;
    // No row yet, so no topic and no lane: the pipeline itself has to say it.
    let mut otter = started(&site, &source, &nowhere(site.target_document(), &site.servers.target)).await?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetUnreachable, "127.0.0.1:1")?;
    check_finds(&site, Code::TargetUnreachable, "127.0.0.1:1").await?;
    site.put(&[&nowhere(source, &site.servers.source)]).await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceUnreachable, "127.0.0.1:1")?;
    check_finds(&site, Code::SourceUnreachable, "127.0.0.1:1").await?;
    ends_well(otter).await
}

/// Everything in one process, with tb_user mapped to tb_user2.
async fn started(site: &Site, source: &str, target: &str) -> Result<Otter> {
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.put(&[source, target, &site.pipeline_document(&[("tb_user", "tb_user2")])]).await?;
    site.start("run").await
}

/// The same, with a row on its way.
async fn with_a_row(site: &Site, source: &str, target: &str) -> Result<Otter> {
    let otter = started(site, source, target).await?;
    site.source().await?.run(&format!("INSERT INTO {} (username) VALUES ('x')", site.from("tb_user"))).await?;
    Ok(otter)
}

/// No panic in the log, and it ends as asked.
async fn ends_well(otter: Otter) -> Result<()> {
    let printed = otter.printed()?;
    ensure!(!printed.contains("panicked"), "{printed}");
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_source_that_does_not_log_rows() -> Result<()> {
    let private = Private::start(&[Name::Source]).await?;
    let site = Site::new("statements", private.servers.clone()).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.source().await?.run("SET GLOBAL binlog_format = 'STATEMENT'").await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceSetting, "binlog_format")?;
    check_finds(&site, Code::SourceSetting, "binlog_format").await?;
    ends_well(otter).await
}

#[tokio::test]
async fn a_source_with_a_prepared_transaction() -> Result<()> {
    let private = Private::start(&[Name::Source]).await?;
    let site = Site::new("prepared", private.servers.clone()).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    let mut source = site.source().await?;
    for statement in ["XA START 'a'", "INSERT INTO {} (username) VALUES ('x')", "XA END 'a'", "XA PREPARE 'a'"] {
        source.run(&statement.replace("{}", &site.from("tb_user"))).await?;
    }
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceSetting, "prepared XA")?;
    ends_well(otter).await
}

#[tokio::test]
async fn a_session_that_does_not_log_rows() -> Result<()> {
    // the statement may stop every source of its server, so that it needs a server of its own
    let private = Private::start(&[Name::Source]).await?;
    let site = Site::new("session", private.servers.clone()).await?;
    let mut otter = with_a_row(&site, &site.source_document().await?, &site.target_document()).await?;
    let mut source = site.source().await?;
    source.run(&format!("USE {}", site.name)).await?;
    source.run("SET SESSION binlog_format = 'STATEMENT'").await?;
    source.run("INSERT INTO tb_user (username) VALUES ('as a statement')").await?;
    ensure_error(&source_error(&mut otter).await?, Code::StatementLogged, "without rows events")?;
    ends_well(otter).await
}

#[tokio::test]
async fn grants_that_are_missing() -> Result<()> {
    let site = Site::new("grants", Servers::shared()?).await?;
    for (mut server, grant) in [
        (site.source().await?, format!("GRANT SELECT ON {}.* TO", site.name)),
        (site.target().await?, format!("GRANT SELECT, CREATE ON {}.* TO", site.target_schema)),
    ] {
        server.run(&format!("CREATE USER '{}'@'%' IDENTIFIED BY 'otter'", site.name)).await?;
        server.run(&format!("{grant} '{}'@'%'", site.name)).await?;
    }
    let poor = |document: String| document.replace("user: otter", &format!("user: {}", site.name));
    let source = site.source_document().await?;
    let mut otter = with_a_row(&site, &source, &poor(site.target_document())).await?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetGrant, "INSERT")?;
    check_finds(&site, Code::TargetGrant, "INSERT").await?;
    site.put(&[&poor(source)]).await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceGrant, "REPLICATION SLAVE")?;
    check_finds(&site, Code::SourceGrant, "REPLICATION SLAVE").await?;
    ends_well(otter).await
}

#[tokio::test]
async fn a_target_without_the_column() -> Result<()> {
    let site = Site::new("narrow", Servers::shared()?).await?;
    let mut otter = with_a_row(&site, &site.source_document().await?, &site.target_document()).await?;
    let mut target = site.target().await?;
    let rows = format!("SELECT COUNT(*) FROM {}", site.to("tb_user2"));
    wait_for("the row", SOON, async || match target.row::<u64>(&rows).await {
        Ok(1) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await?;
    // found by check, and by the applier when it begins
    target.run(&format!("ALTER TABLE {} DROP COLUMN email", site.to("tb_user2"))).await?;
    check_finds(&site, Code::TargetTable, "email").await?;
    otter.stop(Duration::from_secs(10)).await?;
    otter = site.start("run").await?;
    site.source().await?.run(&format!("INSERT INTO {} (username) VALUES ('y')", site.from("tb_user"))).await?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetTable, "email")?;
    ends_well(otter).await
}

#[tokio::test]
async fn a_configuration_that_is_wrong() -> Result<()> {
    let site = Site::new("config", Servers::shared()?).await?;
    site.append_config("[kafka.flient]\n'x' = 1\n")?;
    ensure_says(&site.otter(&["config", "show"]).await?, Code::ConfigInvalid, "flient")
}
