//! What operators do about the topics of tables, by the command line and by the API: more partitions, and a topic in the
//! place of one that somebody deleted.

use crate::harness::database::wait_equal;
use crate::harness::{Context as _, Database, Otter, Result, Servers, Site, ensure, topics, wait_for};
use admin::control::audit::{AuditAction, AuditRecord};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use schemas::status::{LaneState, SourceState, WorkerStatus};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// A command through the API that must succeed and prints JSON.
async fn json_of(site: &Site, url: &str, arguments: &[&str]) -> Result<Value> {
    let done = site.otter_with(&[arguments, &["-o", "json"]].concat(), &[("OTTER_URL", url)]).await?;
    ensure!(done.code == Some(0), "otter {arguments:?}: {done:?}");
    Ok(serde_json::from_str(&done.stdout)?)
}

/// Inserts rows with the ids of a range.
async fn insert(source: &mut Database, site: &Site, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
    let rows: Vec<String> = ids.map(|id| format!("({id}, 0)")).collect();
    source.run(&format!("INSERT INTO {} VALUES {}", site.from("t"), rows.join(", "))).await?;
    Ok(())
}

/// The requests in the audit trail.
async fn requests(site: &Site, count: usize) -> Result<Vec<Value>> {
    let topic = schemas::names::audit_topic(&site.name);
    wait_for("the audit trail", SOON, async || {
        let payloads = topics::payloads(&site.servers.kafka, &topic).await.map_err(|e| format!("{e:#}"))?;
        let read = payloads.iter().map(|p| serde_json::from_slice(p)).collect::<Result<Vec<AuditRecord>, _>>();
        let records = read.map_err(|e| e.to_string())?;
        let asked = records.iter().filter(|r| r.action == AuditAction::Request);
        let asked: Vec<Value> = asked.map(|r| r.details["action"].clone()).collect();
        if asked.len() >= count { Ok(asked) } else { Err(format!("{records:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_table_gets_more_partitions_by_command_and_by_the_api() -> Result<()> {
    let site = Site::new("more", Servers::shared()?).await?;
    site.create("t", "t", "id int PRIMARY KEY, n int NOT NULL").await?;
    site.put_all(&[("t", "t")]).await?;
    let otter = site.start("run").await?;
    let url = format!("http://{}", otter.address()?);
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let table = site.from("t");
    let name = site.name.as_str();
    insert(&mut source, &site, 1..=40).await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await?;

    // Through the API by command, on ZooKeeper by command, and by the API itself.
    let answer = json_of(&site, &url, &["repartition", name, "--table", &table, "--partitions", "2"]).await?;
    ensure!(answer["outcome"]["details"][0] == json!({"table": table, "partitions": 2}), "{answer}");
    insert(&mut source, &site, 41..=80).await?;
    let direct = site.otter(&["repartition", name, "--table", &table, "--partitions", "3"]).await?;
    ensure!(direct.code == Some(0) && direct.stdout.contains("has 3 partitions"), "{direct:?}");
    source.run(&format!("UPDATE {table} SET n = n + 1")).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let ask = async |body: Value| -> Result<(u16, Value)> {
        let request = client.post(format!("{url}/api/v1/sources/{name}/request?wait=30")).bearer_auth(site.token()?);
        let answer = request.json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let (status, ticket) = ask(json!({"repartition": {"table": table, "partitions": 5}})).await?;
    ensure!(status == 200 && ticket["outcome"]["state"] == "done", "{status}: {ticket}");
    source.run(&format!("DELETE FROM {table} WHERE id % 3 = 0")).await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await?;

    let fewer = ["repartition", name, "--table", &table, "--partitions", "4"];
    let fewer = site.otter_with(&fewer, &[("OTTER_URL", &url)]).await?;
    ensure!(fewer.code == Some(1) && fewer.stdout.contains("OT1024") && fewer.stdout.contains("has 5"), "{fewer:?}");
    let (status, ticket) = ask(json!({"repartition": {"table": table, "partitions": 1001}})).await?;
    ensure!(status == 200 && ticket["outcome"]["code"] == "OT1024", "{status}: {ticket}");
    let (status, problem) = ask(json!({"repartition": {"table": table}})).await?;
    ensure!(status == 400 && problem["code"] == "OT1024", "{status}: {problem}");
    let (status, problem) = ask(json!({"repartition": {"table": table, "partitions": -1}})).await?;
    ensure!(status == 400 && problem["code"] == "OT1024", "{status}: {problem}");

    // Five lanes with all that there is, each of which has passed the barriers.
    let (mut rows, mut barriers) = (0, Vec::new());
    for partition in 0..5 {
        let records = topics::marked(&site, ("t", partition)).await?;
        rows += records.iter().filter(|r| matches!(r, topics::Marked::Event { .. })).count();
        barriers.push(records.len() - records.iter().filter(|r| matches!(r, topics::Marked::Event { .. })).count());
    }
    ensure!(rows == 40 + 40 + 80 + 26 && barriers == [3, 3, 2, 1, 1], "{rows} events, barriers {barriers:?}");
    let asked: Vec<Value> = requests(&site, 5).await?.iter().map(|a| a["repartition"]["partitions"].clone()).collect();
    ensure!(asked == [2, 3, 5, 4, 1001], "{asked:?}");
    otter.stop(SOON).await
}

/// Deletes a topic behind Otter's back and waits until it is gone.
async fn delete(site: &Site, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &site.servers.kafka).create()?;
    let results = admin.delete_topics(&[topic], &AdminOptions::new()).await?;
    ensure!(results.iter().all(Result::is_ok), "{results:?}");
    wait_for("the topic to go", SOON, async || {
        let metadata = admin.inner().fetch_metadata(None, SOON).map_err(|e| e.to_string())?;
        if metadata.topics().iter().any(|t| t.name() == topic) { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await
}

fn stopped(status: &WorkerStatus) -> Option<String> {
    let source = status.sources.iter().find(|source| source.state == SourceState::Stopped)?;
    source.error.as_ref().map(|error| format!("{}: {}", error.code, error.message))
}

fn paused(status: &WorkerStatus) -> Option<String> {
    let mut lanes = status.pipelines.iter().flat_map(|pipeline| &pipeline.lanes);
    let error = lanes.find(|lane| lane.state == LaneState::Paused)?.error.as_ref()?;
    Some(format!("{}: {}", error.code, error.message))
}

/// A topic is deleted with rows in it that apply has not read. Capture stops; the operator adopts a new topic, has the source
/// read again from before the loss, and the table's lane read the new topic from its beginning: both ends are equal.
#[tokio::test]
async fn what_a_deleted_topic_held_is_brought_back_from_the_source() -> Result<()> {
    let site = Site::new("deleted", Servers::shared()?).await?;
    site.create("t", "t", "id int PRIMARY KEY, n int NOT NULL UNIQUE").await?;
    let columns = "id int PRIMARY KEY, n int NOT NULL";
    site.create("other", "other", columns).await?;
    site.put_all(&[("t", "t"), ("other", "other")]).await?;
    let mut capture = site.start("capture").await?;
    let apply = site.start("apply").await?;
    let admin = site.start("admin").await?;
    let url = format!("http://{}", admin.address()?);
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (table, name) = (site.from("t"), site.name.clone());
    let run = async |source: &mut Database, sql: &str| source.run(&sql.replace("{t}", &table)).await;
    run(&mut source, "INSERT INTO {t} VALUES (1, 10), (2, 20), (3, 30)").await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await?;
    let before = source.gtid().await?;
    run(&mut source, "UPDATE {t} SET n = n + 1").await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await?;
    apply.stop(SOON).await?;
    run(&mut source, "INSERT INTO {t} VALUES (4, 40)").await?;
    run(&mut source, "DELETE FROM {t} WHERE id = 1").await?;
    wait_for("the rows in the topic", SOON, async || match topics::check_topic(&site, "t").await {
        Ok(seen) if seen.events() == 8 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    delete(&site, &site.topic("t")).await?;
    run(&mut source, "INSERT INTO {t} VALUES (5, 50)").await?;
    let error = capture.wait_status("to stop", SOON, stopped).await?;
    ensure!(error.starts_with("OT4017: ") && error.contains("is gone") && error.contains("otter adopt"), "{error}");

    let mut apply = site.start("apply").await?;
    let answer = json_of(&site, &url, &["adopt", &name, "--table", &table]).await?;
    ensure!(answer["outcome"]["details"][0]["topic"] == site.topic("t"), "{answer}");
    let error = apply.wait_status("a lane to pause", SOON, paused).await?;
    ensure!(error.starts_with("OT4003: ") && error.contains("made again"), "{error}");
    json_of(&site, &url, &["reset", "source", &name, "--to", &format!("gtid={before}")]).await?;
    run(&mut source, "UPDATE {t} SET n = n + 100 WHERE id < 5").await?;
    source.run(&format!("INSERT INTO {} VALUES (1, 1)", site.from("other"))).await?;
    wait_equal((&mut source, &site.from("other")), (&mut target, &site.to("other")), SOON).await?;
    json_of(&site, &url, &["pause", "pipeline", &name, "--table", &table]).await?;
    let asked = ["replay", "pipeline", &name, "--table", &table, "--to", "earliest"];
    let answer = json_of(&site, &url, &asked).await?;
    json_of(&site, &url, &["resume", "pipeline", &name, "--table", &table]).await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await.with_context(|| format!("{answer}"))?;
    run(&mut source, "UPDATE {t} SET n = -n").await?;
    wait_equal((&mut source, &table), (&mut target, &site.to("t")), SOON).await?;
    let asked = requests(&site, 3).await?;
    ensure!(asked[0] == json!({"adopt": {"table": table}}), "{asked:?}");
    ensure!(paused(&status(&mut apply).await?).is_none() && stopped(&status(&mut capture).await?).is_none());
    for process in [capture, apply, admin] {
        process.stop(SOON).await?;
    }
    Ok(())
}

async fn status(otter: &mut Otter) -> Result<WorkerStatus> {
    otter.status().await?.map_err(anyhow::Error::msg)
}
