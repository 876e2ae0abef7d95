//! Offsets, requests to sources and pipelines, and purging, as far as the API is concerned.

use admin::control::audit::AuditAction;
use reqwest::Method;
use serde_json::json;

use super::site::{ALL, Site};

const PIPELINE: &str = "/api/v1/pipelines/users/request";

#[tokio::test]
async fn a_request_is_stored_once_and_read() {
    let site = Site::new().await;
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    assert_eq!(site.get(PIPELINE).await.code(), "OT1006", "nothing was asked yet");
    let seek = r#"{"seek": {"table": "shop.a", "to": {"offset": 5}}}"#;
    let asked = site.write(Method::POST, PIPELINE, &[], seek).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let ticket = asked.json();
    assert_eq!(ticket["request"]["action"], json!({"seek": {"table": "shop.a", "to": {"offset": 5}}}));
    assert_eq!((&ticket["request"]["by"], &ticket["outcome"]), (&json!("works"), &json!(null)));
    assert_eq!(site.get(PIPELINE).await.json(), ticket);
    let again = site.write(Method::POST, PIPELINE, &[], seek).await;
    assert_eq!((again.status, again.code().as_str()), (409, "OT1011"));
    let reset = site.write(Method::POST, "/api/v1/sources/shop/request?wait=1", &[], r#"{"reset": {"to": "latest"}}"#);
    assert_eq!(reset.await.status, 202, "no worker answers within a second");
    let actions: Vec<_> = site.audit.records().iter().skip(3).map(|r| r.action).collect();
    assert_eq!(actions, [AuditAction::Request, AuditAction::Request]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let site = Site::new().await;
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    for (path, body, status, code) in [
        ("/api/v1/pipelines/nobody/request", r#"{"seek": {"to": "latest"}}"#, 404, "OT1006"),
        ("/api/v1/pipelines/No%20Body/request", r#"{"seek": {"to": "latest"}}"#, 422, "OT1001"),
        (PIPELINE, r#"{"seek": {"to": "begin"}}"#, 400, "OT1024"),
        (PIPELINE, r#"{"seek": {"to": "latest", "tabel": "x"}}"#, 400, "OT1024"),
        (PIPELINE, r#"{"reset": {"to": "latest"}}"#, 400, "OT1024"),
        ("/api/v1/sources/shop/request?wait=soon", r#"{"reset": {"to": "latest"}}"#, 400, "OT1024"),
    ] {
        let answer = site.write(Method::POST, path, &[], body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {body}");
    }
    assert_eq!(site.get("/api/v1/pipelines/nobody/offsets").await.code(), "OT1006");
    let offsets = site.get("/api/v1/offsets").await.json();
    assert_eq!(offsets[0]["pipeline"], "users");
    assert_eq!(site.get("/api/v1/pipelines/users/offsets").await.json(), offsets[0]);
}

#[tokio::test]
async fn what_is_purged_is_said_and_written_down() {
    let site = Site::new().await;
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    let delete = async |path: &str| site.write(Method::DELETE, path, &[], "").await;
    let gone = delete("/api/v1/documents/pipeline/users?purge=true").await.json();
    assert_eq!(gone["purged"], "progress of users at report");
    assert_eq!(delete("/api/v1/documents/target/report?purge=true").await.code(), "OT1001");
    assert_eq!(delete("/api/v1/documents/source/shop?purge=true").await.json()["purged"], "position of shop");
    let again = delete("/api/v1/documents/source/shop?purge=true").await;
    assert_eq!(again.json()["purged"], "position of shop", "a purge that was broken off is done again");
    assert!(delete("/api/v1/documents/target/report").await.json().get("purged").is_none());
    let actions: Vec<_> = site.audit.records().iter().skip(3).map(|r| r.action).collect();
    let (delete, purge) = (AuditAction::Delete, AuditAction::Purge);
    assert_eq!(actions, [delete, purge, delete, purge, purge, delete]);
}
