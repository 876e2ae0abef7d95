//! The command line as a client of the admin API, and both on a running installation: tokens, documents, status through the
//! workers, the audit trail.

use crate::harness::{Result, Servers, Site, ensure, http, site::TB_USER, topics, wait_for};
use admin::control::Via;
use admin::control::audit::{AuditAction, AuditRecord};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_command_line_works_through_the_api() -> Result<()> {
    let site = Site::new("api", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    let otter = site.start("run").await?;
    let address = otter.http().expect("it answers");
    let url = format!("http://{address}");
    let ask = async |arguments: &[&str]| site.otter_with(arguments, &[("OTTER_URL", &url)]).await;

    let documents =
        [site.source_document().await?, site.target_document(), site.pipeline_document(&[("tb_user", "tb_user2")])];
    std::fs::write(site.path("all.yaml"), documents.join("---\n"))?;
    // A process that answers may not have reached ZooKeeper yet.
    wait_for("put", LIMIT, async || match ask(&["put", "-f", "all.yaml"]).await {
        Ok(done) if done.code == Some(0) => Ok(done),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let direct = site.otter(&["get", "-o", "json"]).await?;
    ensure!(ask(&["get", "-o", "json"]).await?.stdout == direct.stdout, "both ways give the same");

    site.source().await?.run(&format!("INSERT INTO {} (username) VALUES ('a')", site.from("tb_user"))).await?;
    let status = wait_for("a row in the status", LIMIT, async || {
        let done = ask(&["status", "-o", "json"]).await.map_err(|e| e.to_string())?;
        let status: Value = serde_json::from_str(&done.stdout).map_err(|e| format!("{e}: {done:?}"))?;
        if status["pipelines"][0]["rows"] == 1 { Ok(status) } else { Err(status.to_string()) }
    })
    .await?;
    ensure!(status["workers"][0]["silent"].is_null(), "the worker answered to the caller's token: {status}");
    ensure!(status["pipelines"][0]["lanes"][0]["state"] == "running", "{status}");

    let made = ask(&["token", "create", "ci", "-o", "json"]).await?;
    let made: Value = serde_json::from_str(&made.stdout)?;
    let viewer = made["token"].as_str().expect("a token").to_owned();
    std::fs::write(site.path("viewer"), &viewer)?;
    let as_viewer = async |arguments: &[&str]| {
        let settings = ["--set", "client.token=file:viewer"];
        ask(&[arguments, &settings].concat()).await
    };
    let seen = wait_for("the token to work", LIMIT, async || match as_viewer(&["get"]).await {
        Ok(done) if done.code == Some(0) => Ok(done),
        other => Err(format!("{other:?}")),
    });
    ensure!(seen.await?.stdout.contains(&site.name));
    let refused = as_viewer(&["pause", "pipeline", &site.name]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.starts_with("error: OT1022: "), "{refused:?}");
    let variables = [("OTTER_URL", url.as_str()), ("OTTER_CLIENT__TOKEN", "env:NOBODY"), ("NOBODY", "otr_x")];
    let unknown = site.otter_with(&["get"], &variables).await?;
    ensure!(unknown.stderr.starts_with("error: OT1020: "), "{unknown:?}");
    let table = site.from("tb_user");
    let one = ask(&["pause", "pipeline", &site.name, "--table", &table]).await?;
    ensure!(one.stdout == format!("pipeline {}: {table} is paused (version 1)\n", site.name), "{one:?}");
    wait_for("the table paused", LIMIT, async || {
        let done = ask(&["status", "-o", "json"]).await.map_err(|e| e.to_string())?;
        let status: Value = serde_json::from_str(&done.stdout).map_err(|e| format!("{e}: {done:?}"))?;
        if status["pipelines"][0]["lanes"][0]["state"] == "paused" { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    ensure!(site.otter(&["resume", "pipeline", &site.name, "--table", &table]).await?.code == Some(0));
    ensure!(ask(&["pause", "pipeline", &site.name]).await?.code == Some(0));
    ensure!(ask(&["token", "revoke", "ci"]).await?.code == Some(0));

    let records = audit(&site, 8).await?;
    let actions: Vec<_> = records.iter().map(|r| r.action).collect();
    use AuditAction::{Create, Pause, Resume, TokenCreate, TokenRevoke};
    ensure!(actions == [Create, Create, Create, TokenCreate, Pause, Resume, Pause, TokenRevoke], "{records:?}");
    let by_api = |r: &AuditRecord| r.via == Via::Api && r.who == "test";
    ensure!(records.iter().all(|r| by_api(r) != (r.action == Resume)), "{records:?}");
    ensure!(records[4].before == Some(0) && records[4].after == Some(1), "{records:?}");
    let printed = otter.printed()? + &serde_json::to_string(&records)?;
    ensure!(!printed.contains(&viewer) && !printed.contains(&site.token()?), "no token in log or trail");

    let metrics = http::get(address, "/metrics", &site.token()?).await?;
    ensure!(metrics.contains("# EOF"), "{metrics}");
    ensure!(http::get(address, "/metrics", "otr_wrong").await.is_err(), "not without a token");
    otter.stop(LIMIT).await
}

#[tokio::test]
async fn what_keeps_the_command_line_from_the_api_is_said() -> Result<()> {
    let site = Site::new("noapi", Servers::shared()?).await?;
    let gone = site.otter_with(&["get"], &[("OTTER_URL", "http://127.0.0.1:1")]).await?;
    ensure!(gone.code == Some(1) && gone.stderr.starts_with("error: OT1026: http://127.0.0.1:1/: "), "{gone:?}");
    ensure!(gone.stderr.contains("--direct"), "{gone:?}");
    let unset = site.otter_with(&["get"], &[]).await?;
    ensure!(unset.stderr.starts_with("error: OT1004: client.url: it is not set"), "{unset:?}");
    let kafka = format!("ftp://{}", site.servers.kafka);
    let odd = site.otter_with(&["get"], &[("OTTER_URL", &kafka)]).await?;
    ensure!(odd.stderr.starts_with("error: OT1004: client.url: "), "{odd:?}");

    // A process without the admin role answers, but has no API.
    let capture = site.start("capture").await?;
    let url = format!("http://{}", capture.http().expect("it answers"));
    let done = wait_for("its answer", LIMIT, async || {
        let done = site.otter_with(&["get"], &[("OTTER_URL", &url)]).await.map_err(|e| e.to_string())?;
        if done.stderr.contains("OT2001") { Err(done.stderr) } else { Ok(done) }
    });
    let done = done.await?;
    ensure!(done.stderr.starts_with("error: OT1025: there is no GET /api/v1/documents"), "{done:?}");

    // The harness made a token already.
    let init = site.otter(&["admin", "init"]).await?;
    ensure!(init.code == Some(1) && init.stderr.starts_with("error: OT1021: "), "{init:?}");
    let again = site.otter(&["admin", "init", "--again"]).await?;
    ensure!(again.code == Some(0) && again.stdout.starts_with("otr_"), "{again:?}");
    let records = audit(&site, 1).await?;
    ensure!(records[0].via == Via::Direct && records[0].action == AuditAction::TokenCreate, "{records:?}");
    Ok(())
}

/// The first records of the site's audit trail.
async fn audit(site: &Site, count: usize) -> Result<Vec<AuditRecord>> {
    let topic = schemas::names::audit_topic(&site.name);
    wait_for("the audit trail", LIMIT, async || {
        let payloads = topics::payloads(&site.servers.kafka, &topic).await.map_err(|e| format!("{e:#}"))?;
        let read = payloads.iter().map(|p| serde_json::from_slice(p)).collect::<Result<Vec<AuditRecord>, _>>();
        let records = read.map_err(|e| e.to_string())?;
        if records.len() >= count { Ok(records) } else { Err(format!("{records:?}")) }
    })
    .await
}
