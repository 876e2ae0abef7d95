//! Documents through the API: versions, races, all or nothing, what the audit trail gets.

use admin::control::Via;
use admin::control::audit::AuditAction;
use coordination::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{ALL, Site};

const SOURCE: &str = "/api/v1/documents/source/shop";

fn source(user: &str) -> String {
    json!({"kind": "source", "name": "shop", "addresses": ["db1:3306"], "user": user}).to_string()
}

#[tokio::test]
async fn a_document_lives_and_dies() {
    let site = Site::new().await;
    assert_eq!(site.get(SOURCE).await.code(), "OT1006");
    let made = site.write(Method::PUT, SOURCE, &[("If-None-Match", "*")], &source("a")).await;
    assert_eq!((made.status, made.etag.as_deref()), (201, Some("\"0\"")));
    assert_eq!(made.json()["action"], "created");
    let again = site.write(Method::PUT, SOURCE, &[("If-None-Match", "*")], &source("b")).await;
    assert_eq!((again.status, again.code().as_str()), (412, "OT1007"));

    let read = site.get(SOURCE).await;
    assert_eq!((read.status, read.etag.as_deref()), (200, Some("\"0\"")));
    assert_eq!((read.json()["kind"].as_str(), read.json()["user"].as_str()), (Some("source"), Some("a")));
    let fresh = site.request(Method::GET, SOURCE).bearer_auth(&site.viewer).header("If-None-Match", "\"0\"");
    assert_eq!(crate::site::send(fresh).await.status, 304);
    let yaml = site.request(Method::GET, SOURCE).bearer_auth(&site.viewer).header("Accept", "application/yaml");
    let yaml = crate::site::send(yaml).await;
    assert_eq!(yaml.media, "application/yaml");

    // What was read can be put; kind and name may be left out.
    let same = site.write(Method::PUT, SOURCE, &[], &yaml.text).await;
    assert_eq!((same.status, same.json()["action"].as_str()), (200, Some("unchanged")));
    let changed = site.write(
        Method::PUT,
        "/api/v1/documents/sources/shop",
        &[("If-Match", "\"0\"")],
        "addresses: ['db1:3306']\nuser: b\n",
    );
    let changed = changed.await;
    assert_eq!((changed.status, changed.etag.as_deref()), (200, Some("\"1\"")));
    assert_eq!(changed.json()["changes"], json!([{"path": "user", "from": "a", "to": "b"}]));

    let stale = |method, body| site.write(method, SOURCE, &[("If-Match", "\"0\"")], body);
    let refused = [stale(Method::PUT, "user: c\naddresses: ['db1:3306']\n").await, stale(Method::DELETE, "").await];
    for answer in refused {
        assert_eq!((answer.status, answer.code().as_str()), (412, "OT1007"));
    }
    assert_eq!(site.write(Method::DELETE, SOURCE, &[("If-Match", "\"1\"")], "").await.status, 200);
    let gone = site.write(Method::DELETE, SOURCE, &[], "").await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "OT1006"));
    let gone = site.write(Method::PUT, SOURCE, &[("If-Match", "\"1\"")], &source("d")).await;
    assert_eq!(gone.status, 412);

    let actions: Vec<_> = site.audit.records().iter().map(|r| (r.action, r.before, r.after)).collect();
    let expected = [
        (AuditAction::Create, None, Some(0)),
        (AuditAction::Change, Some(0), Some(1)),
        (AuditAction::Delete, Some(1), None),
    ];
    assert_eq!(actions, expected);
    let record = site.audit.records().remove(1);
    assert_eq!((record.who.as_str(), record.role, record.via), ("works", Role::Operator, Via::Api));
    assert_eq!((record.kind.as_str(), record.name.as_str()), ("source", "shop"));
    assert_eq!(record.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(record.details["changes"][0]["path"], "user");
}

#[tokio::test]
async fn of_those_who_change_one_version_one_wins() {
    let site = Site::new().await;
    site.write(Method::PUT, SOURCE, &[], &source("start")).await;
    for version in 0..5 {
        let tag = format!("\"{version}\"");
        let attempts = (0..8).map(|i| {
            let (site, tag) = (&site, tag.as_str());
            async move {
                let headers = [("If-Match", tag)];
                site.write(Method::PUT, SOURCE, &headers, &source(&format!("v{version}-{i}"))).await.status
            }
        });
        let mut statuses = futures_util::future::join_all(attempts).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    }
    assert_eq!(site.get(SOURCE).await.etag.as_deref(), Some("\"5\""));
    assert_eq!(site.audit.records().len(), 6);
}

#[tokio::test]
async fn several_documents_are_written_together_or_not_at_all() {
    let site = Site::new().await;
    let post = |path: &'static str, body: String| {
        let site = &site;
        async move { site.write(Method::POST, path, &[], &body).await }
    };
    let dry = post("/api/v1/documents?dry_run=true", ALL.to_owned()).await;
    assert_eq!((dry.status, dry.json()[2]["action"].as_str()), (200, Some("created")));
    assert_eq!(site.get("/api/v1/documents").await.json(), json!([]));

    let broken = ALL.replace("source: shop", "source: nobody");
    let refused = post("/api/v1/documents", broken).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "OT1001"));
    assert_eq!(site.get("/api/v1/documents").await.json(), json!([]), "all or nothing");

    let made = post("/api/v1/documents", ALL.to_owned()).await;
    assert_eq!(made.status, 200, "{made:?}");
    let versions: Vec<_> = made.json().as_array().expect("a list").iter().map(|c| c["version"].clone()).collect();
    assert_eq!(versions, [0, 0, 0]);
    let list = site.get("/api/v1/documents").await.json();
    let documents: Vec<_> = list.as_array().expect("a list").iter().map(|e| e["document"].clone()).collect();
    let same = post("/api/v1/documents", serde_json::to_string(&documents).expect("JSON")).await;
    assert!(same.json().as_array().expect("a list").iter().all(|c| c["action"] == "unchanged"), "{same:?}");
    assert_eq!(site.get("/api/v1/documents?kind=target").await.json().as_array().expect("a list").len(), 1);
    assert_eq!(site.get("/api/v1/documents?kind=target&name=no").await.code(), "OT1006");

    let used = site.write(Method::DELETE, SOURCE, &[], "").await;
    assert_eq!((used.status, used.code().as_str()), (409, "OT1009"));
    assert_eq!(site.audit.records().len(), 3);
}

#[tokio::test]
async fn pipelines_pause_and_resume() {
    let site = Site::new().await;
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    let set = |verb: &'static str| {
        let site = &site;
        async move { site.write(Method::POST, &format!("/api/v1/pipelines/users/{verb}"), &[], "").await.json() }
    };
    assert_eq!(set("pause").await, json!({"name": "users", "state": "paused", "version": 1, "changed": true}));
    assert_eq!(set("pause").await, json!({"name": "users", "state": "paused", "version": 1, "changed": false}));
    assert_eq!(set("resume").await["version"], 2);
    let none = site.write(Method::POST, "/api/v1/pipelines/nobody/pause", &[], "").await;
    assert_eq!(none.code(), "OT1006");
    let actions: Vec<_> = site.audit.records().iter().skip(3).map(|r| r.action).collect();
    assert_eq!(actions, [AuditAction::Pause, AuditAction::Resume]);
}

#[tokio::test]
async fn one_table_pauses_and_resumes() {
    let site = Site::new().await;
    let more = ALL.replace("shop.b}]", "shop.b}, {from: 'crm_*.orders', to: '{schema}.{table}'}]");
    assert_eq!(site.write(Method::POST, "/api/v1/documents", &[], &more).await.status, 200);
    let set = async |what: &str| site.write(Method::POST, &format!("/api/v1/pipelines/users/{what}"), &[], "").await;
    let paused = json!({"name": "users", "table": "shop.a", "state": "paused", "version": 1, "changed": true});
    assert_eq!(set("pause?table=shop.a").await.json(), paused);
    assert_eq!(set("pause?table=shop.a").await.json()["changed"], false);
    assert_eq!(set("pause?table=crm_*.orders").await.json()["version"], 2);
    let document = async || site.get("/api/v1/documents/pipeline/users").await.json();
    assert_eq!(document().await["mappings"][0]["state"], "paused");
    assert_eq!(document().await["mappings"][1]["state"], "paused");
    assert_eq!(document().await["state"], Value::Null, "the pipeline itself was not touched");
    assert_eq!(set("resume?table=shop.a").await.json()["version"], 3);
    assert_eq!(document().await["mappings"][0]["state"], "running");

    let refusals = [("shop.no", 404, "OT1006"), ("crm_1.orders", 422, "OT1002"), ("shop", 422, "OT1001")];
    for (table, status, code) in refusals {
        let refused = set(&format!("pause?table={table}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{table}");
    }
    assert_eq!(set("pause?tabel=shop.a").await.status, 400);
    let records: Vec<_> = site.audit.records().into_iter().skip(3).collect();
    assert_eq!(records.len(), 3);
    assert_eq!((records[0].action, &records[0].details), (AuditAction::Pause, &json!({"table": "shop.a"})));
    assert_eq!(records[2].action, AuditAction::Resume);
}

#[tokio::test]
async fn status_checks_and_codes() {
    let site = Site::new().await;
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    let status = site.get("/api/v1/status").await.json();
    assert_eq!(status["sources"][0]["origin"], "nobody");
    assert_eq!(site.get("/api/v1/sources").await.json(), status["sources"]);
    assert_eq!(site.get("/api/v1/sources/shop").await.json(), status["sources"][0]);
    assert_eq!(site.get("/api/v1/pipelines/users").await.json(), status["pipelines"][0]);
    assert_eq!(site.get("/api/v1/pipelines").await.json()[0]["state"], "running");
    assert_eq!(site.get("/api/v1/workers").await.json(), json!([]));
    for path in ["/api/v1/sources/nobody", "/api/v1/pipelines/nobody", "/api/v1/codes/OT0000"] {
        assert_eq!(site.get(path).await.code(), "OT1006");
    }
    let findings = site.ask(Method::POST, "/api/v1/check").await.json();
    assert_eq!(findings.as_array().expect("a list").len(), 3, "the target is looked at with its pipeline");
    assert_eq!(findings[0]["subject"], "kafka for 1 sources");
    let one = site.ask(Method::POST, "/api/v1/check/target/report").await.json();
    assert_eq!(one[0]["level"], "ok");
    let codes = site.get("/api/v1/codes").await.json();
    assert_eq!(codes.as_array().expect("a list").len(), schemas::Code::ALL.len());
    let code = site.get("/api/v1/codes/ot1007").await.json();
    assert_eq!(code["code"], "OT1007");
    assert!(code["page"].as_str().expect("a page").starts_with("# OT1007"));
}

#[tokio::test]
async fn what_is_only_wrong_together_is_not_put_at_the_same_time() {
    let site = Site::new().await;
    let body = r#"{"addresses": ["a:1"], "user": "u", "topics": {"prefix": "same"}}"#;
    let paths: Vec<String> = (0..6).map(|i| format!("/api/v1/documents/source/s{i}")).collect();
    let puts = paths.iter().map(|path| site.write(Method::PUT, path, &[], body));
    let answers = futures_util::future::join_all(puts).await;
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|a| a.status == 422).count(), 5, "{answers:?}");

    // Those that have nothing to do with each other all get through.
    let bodies: Vec<String> =
        (0..6).map(|i| format!(r#"{{"addresses": ["a:1"], "user": "u", "topics": {{"prefix": "p{i}"}}}}"#)).collect();
    let paths: Vec<String> = (0..6).map(|i| format!("/api/v1/documents/source/t{i}")).collect();
    let puts = paths.iter().zip(&bodies).map(|(path, body)| site.write(Method::PUT, path, &[], body));
    let answers = futures_util::future::join_all(puts).await;
    assert!(answers.iter().all(|a| a.status == 201), "{answers:?}");

    // A source is not deleted while a pipeline that needs it is put.
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    for _ in 0..10 {
        site.ask(Method::DELETE, "/api/v1/documents/pipeline/users").await;
        let (put, deleted) = tokio::join!(
            site.write(Method::POST, "/api/v1/documents", &[], ALL.rsplit("---").next().unwrap_or_default()),
            site.ask(Method::DELETE, "/api/v1/documents/source/shop"),
        );
        assert_ne!(put.status == 200, deleted.status == 200, "{put:?} {deleted:?}");
        site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    }
}
