//! Wrong input: each case is a message with its code, its cause and its remedy, and never a panic.

use crate::harness::otter::Finished;
use crate::harness::servers::Name;
use crate::harness::site::TB_USER;
use crate::harness::{Otter, Private, Result, Servers, Site, ensure};
use schemas::status::{ErrorStatus, WorkerStatus};
use schemas::{Code, check::Finding};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

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
        (good + "topics: {partitions: 8}\n", Code::NotSupportedYet, "topics.partitions"),
    ] {
        ensure_says(&site.try_put(&[&document]).await?, code, cause)?;
    }
    ensure_says(&site.otter(&["get", "source", "nobody"]).await?, Code::NotFound, "nobody")?;
    let usage = site.otter(&["put"]).await?;
    ensure!(usage.code == Some(2), "{usage:?}");
    Ok(())
}

#[tokio::test]
async fn a_password_that_is_not_there() -> Result<()> {
    let site = Site::new("password", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.spawn_with("run", None)?;
    otter.answering().await?;
    ensure_error(&source_error(&mut otter).await?, Code::SecretMissing, "OTTER_TEST_PASSWORD")?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::SecretMissing, "OTTER_TEST_PASSWORD")?;
    ensure!(!otter.printed()?.contains("panicked"));
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn servers_that_do_not_answer() -> Result<()> {
    let mut site = Site::new("unreachable", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.source_address = "127.0.0.1:1".to_owned();
    site.target_address = "127.0.0.1:1".to_owned();
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceUnreachable, "127.0.0.1:1")?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetUnreachable, "127.0.0.1:1")?;
    check_finds(&site, Code::SourceUnreachable, "127.0.0.1:1").await?;
    check_finds(&site, Code::TargetUnreachable, "127.0.0.1:1").await?;
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
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_session_that_does_not_log_rows() -> Result<()> {
    let site = Site::new("session", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    let mut source = site.source().await?;
    source.run(&format!("USE {}", site.name)).await?;
    source.run("SET SESSION binlog_format = 'STATEMENT'").await?;
    source.run("INSERT INTO tb_user (username) VALUES ('as a statement')").await?;
    ensure_error(&source_error(&mut otter).await?, Code::StatementLogged, &site.name)?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn grants_that_are_missing() -> Result<()> {
    let site = Site::new("grants", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    for (mut server, grant) in [
        (site.source().await?, format!("GRANT SELECT ON {}.* TO", site.name)),
        (site.target().await?, format!("GRANT SELECT, CREATE ON {}.* TO", site.target_schema)),
    ] {
        server.run(&format!("CREATE USER '{}'@'%' IDENTIFIED BY 'otter'", site.name)).await?;
        server.run(&format!("{grant} '{}'@'%'", site.name)).await?;
    }
    let poor = |document: String| document.replace("user: otter", &format!("user: {}", site.name));
    let pipeline = site.pipeline_document(&[("tb_user", "tb_user2")]);
    site.put(&[&poor(site.source_document().await?), &poor(site.target_document()), &pipeline]).await?;
    let mut otter = site.start("run").await?;
    ensure_error(&source_error(&mut otter).await?, Code::SourceGrant, "REPLICATION SLAVE")?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetGrant, "INSERT")?;
    check_finds(&site, Code::SourceGrant, "REPLICATION SLAVE").await?;
    check_finds(&site, Code::TargetGrant, "INSERT").await?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_target_without_the_column() -> Result<()> {
    let site = Site::new("narrow", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.target().await?.run(&format!("ALTER TABLE {} DROP COLUMN email", site.to("tb_user2"))).await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    site.source().await?.run(&format!("INSERT INTO {} (username) VALUES ('x')", site.from("tb_user"))).await?;
    ensure_error(&pipeline_error(&mut otter).await?, Code::TargetTable, "email")?;
    check_finds(&site, Code::TargetTable, "email").await?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_configuration_that_is_wrong() -> Result<()> {
    let site = Site::new("config", Servers::shared()?).await?;
    site.append_config("[kafka.flient]\n'x' = 1\n")?;
    ensure_says(&site.otter(&["config", "show"]).await?, Code::ConfigInvalid, "flient")
}
