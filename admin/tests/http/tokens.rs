//! Tokens: made, used, revoked; and nothing secret in any answer.

use std::sync::Arc;
use std::time::Duration;

use admin::control::{Caller, Control};
use reqwest::Method;
use serde_json::json;

use crate::site::{ALL, Site, send};

#[tokio::test]
async fn a_token_lives_and_dies() {
    let site = Site::new().await;
    let make = |body: &'static str| {
        let request = site.request(Method::POST, "/api/v1/tokens").bearer_auth(&site.admin);
        send(request.header("Content-Type", "application/json").body(body))
    };
    let made = make(r#"{"name": "ci", "role": "viewer"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("otr_") && token.len() > 40);
    let same = make(r#"{"name": "ci", "role": "admin"}"#).await;
    assert_eq!((same.status, same.code().as_str()), (409, "OT1007"));
    for wrong in [
        r#"{"name": "ci2", "role": "god"}"#,
        r#"{"name": "../x", "role": "viewer"}"#,
        r#"{"name": "a", "role": "viewer", "x": 1}"#,
    ] {
        assert_eq!(make(wrong).await.code(), "OT1024", "{wrong}");
    }

    // Known within the time of a watch.
    let used = async || send(site.request(Method::GET, "/api/v1/documents").bearer_auth(&token)).await.status;
    wait("the token to work", async || used().await == 200).await;
    let list = site.get("/api/v1/tokens").await;
    let names: Vec<_> = list.json().as_array().expect("a list").iter().map(|t| t["name"].clone()).collect();
    assert!(names.contains(&json!("ci")) && names.len() == 4);
    let hash = |t: &str| list.text.contains(t) || list.text.contains("hash");
    assert!(![&token, &site.admin, &site.viewer].iter().any(|t| hash(t)), "{}", list.text);

    assert_eq!(site.ask(Method::DELETE, "/api/v1/tokens/ci").await.json()["name"], "ci");
    wait("the token to end", async || used().await == 401).await;
    assert_eq!(site.ask(Method::DELETE, "/api/v1/tokens/ci").await.code(), "OT1006");
    assert_eq!(site.ask(Method::DELETE, "/api/v1/tokens/a%2F..%2Fb").await.code(), "OT1006");
    let records = site.audit.records();
    assert!(!serde_json::to_string(&records).expect("JSON").contains(&token));
    assert_eq!(records.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>(), ["token", "token"]);
}

#[tokio::test]
async fn the_first_token_is_made_once() {
    let site = Site::serve().await;
    let coordination = site.coordination(None).await;
    let tools = Arc::clone(&site.audit);
    let control = Control::new(coordination.clone(), tools).expect("a control");
    let caller = Caller::direct("root@here", None);
    let both = tokio::join!(control.init_token(&caller, false), control.init_token(&caller, false));
    assert_eq!(usize::from(both.0.is_ok()) + usize::from(both.1.is_ok()), 1, "{both:?}");
    let refused = control.init_token(&caller, false).await.expect_err("there is one");
    assert_eq!(refused.code().id(), "OT1021");
    let again = control.init_token(&caller, true).await.expect("another one");
    let tools = Arc::clone(&site.audit);
    site.services.connect(&coordination, tools).await.expect("ZooKeeper answers");
    assert_eq!(send(site.request(Method::GET, "/api/v1/tokens").bearer_auth(&again.token)).await.status, 200);
    assert_eq!(control.tokens().await.expect("tokens").len(), 2);
}

#[tokio::test]
async fn a_password_typed_into_a_document_is_not_repeated() {
    let site = Site::new().await;
    for typed in
        ["hunter2", "4711474711", "[hunter2]", "{hunter2: hunter2}", "'file:'", "env:hunter2=4711474711", "'a:hunter2'"]
    {
        let body = format!("kind: target\nname: t\naddress: 'a:1'\nuser: u\npassword: {typed}\n");
        for (method, path) in [(Method::POST, "/api/v1/documents"), (Method::PUT, "/api/v1/documents/target/t")] {
            let answer = site.write(method, path, &[], &body).await;
            assert_eq!((answer.status, answer.code().as_str()), (422, "OT1001"), "{typed}");
            assert!(!answer.text.contains("hunter2") && !answer.text.contains("4711474711"), "{answer:?}");
            assert_eq!(answer.json()["path"], "password");
        }
    }
    site.write(Method::POST, "/api/v1/documents", &[], ALL).await;
    assert!(site.get("/api/v1/documents").await.text.contains("env:SHOP_PASSWORD"), "a reference is no secret");
}

async fn wait(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while !look().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}");
        ticks.tick().await;
    }
}
