//! Who may ask what: no route without a token, none beyond the token's role.

use reqwest::Method;

use crate::openapi::operations;
use crate::site::{ALL, Site, send};

/// A path that could be asked for.
fn filled(path: &str) -> String {
    let name = if path.contains("{kind}") { path.replace("{kind}", "source") } else { path.to_owned() };
    let mut filled = String::new();
    for part in name.split('/').filter(|p| !p.is_empty()) {
        filled.push('/');
        filled.push_str(if part.starts_with('{') { "shop" } else { part });
    }
    filled
}

fn method(text: &str) -> Method {
    text.parse().expect("a method")
}

#[tokio::test]
async fn no_route_answers_without_a_token() {
    let site = Site::new().await;
    let mut asked: Vec<(Method, String)> = operations().iter().map(|(path, m, _)| (method(m), filled(path))).collect();
    for path in
        ["/status", "/metrics", "/", "/nothing", "/api/v1", "/api/v1/nothing", "/registry/subjects", "/registry"]
    {
        asked.push((Method::GET, path.to_owned()));
    }
    for (method, path) in asked {
        for header in
            [None, Some("Bearer otr_wrong"), Some("Basic b3R0ZXI6d3Jvbmc="), Some("nonsense"), Some("Bearer ")]
        {
            let mut request = site.request(method.clone(), &path);
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let answer = send(request).await;
            // Beyond some wrong ones it is 429.
            let wrong = header.is_some_and(|h| h.len() > 10);
            assert!(answer.status == 401 || (wrong && answer.status == 429), "{method} {path} {header:?}: {answer:?}");
            if answer.status == 401 {
                assert_eq!(answer.challenges.len(), 2, "{method} {path}: {answer:?}");
            }
            if path.starts_with("/registry") {
                assert_eq!(answer.json()["error_code"], answer.status);
            } else if method != Method::HEAD {
                assert_eq!(answer.code(), if answer.status == 401 { "OT1020" } else { "OT1023" });
            }
        }
    }
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = send(site.request(Method::GET, path)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text));
    }
    assert!(site.audit.records().is_empty(), "nothing was done");
}

#[tokio::test]
async fn each_role_may_do_what_its_routes_say() {
    let site = Site::new().await;
    for (path, name, operation) in operations() {
        let needed = operation["x-otter-role"].as_str().expect("a role").to_owned();
        let rank = |role: &str| ["viewer", "operator", "admin"].iter().position(|r| *r == role);
        for (role, token) in [("viewer", &site.viewer), ("operator", &site.operator), ("admin", &site.admin)] {
            // A body that is refused: nothing is to change here.
            let request = site.request(method(&name), &filled(&path)).bearer_auth(token).body("[");
            let answer = send(request.header("Content-Type", "application/json")).await;
            let allowed = rank(role) >= rank(&needed);
            assert_eq!(answer.status != 403, allowed, "{name} {path} as {role}: {answer:?}");
            if !allowed {
                assert_eq!(answer.code(), "OT1022");
                assert!(answer.text.contains(&needed), "{answer:?}");
            }
            assert_ne!(answer.status, 401);
        }
    }
    // The registry: viewers look, operators register.
    let register = |token: &str| {
        let request = site.request(Method::POST, "/registry/subjects/s/versions").bearer_auth(token);
        let media = "application/vnd.schemaregistry.v1+json";
        send(request.header("Content-Type", media).body(r#"{"schema": "\"int\""}"#))
    };
    let refused = register(&site.viewer).await;
    assert_eq!((refused.status, refused.json()["error_code"].as_u64()), (403, Some(403)));
    assert_eq!(register(&site.operator).await.status, 200);
    let found = send(site.request(Method::GET, "/registry/subjects").basic_auth("any", Some(&site.viewer))).await;
    assert_eq!((found.status, found.json()), (200, serde_json::json!(["s"])));
}

#[tokio::test]
async fn a_token_is_a_bearer_or_the_password_of_basic() {
    let site = Site::new().await;
    let answer = send(site.request(Method::GET, "/status").basic_auth("whoever", Some(&site.viewer))).await;
    assert_eq!((answer.status, answer.json()["worker"].as_str()), (200, Some("w1")));
    let user = send(site.request(Method::GET, "/status").basic_auth(&site.viewer, None::<&str>)).await;
    assert_eq!(user.status, 401);
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_valid_ones_go_through() {
    let site = Site::new().await;
    let mut statuses = Vec::new();
    for _ in 0..14 {
        let answer = send(site.request(Method::GET, "/status").bearer_auth("otr_guess")).await;
        assert!(!answer.text.contains("otr_guess"));
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [429; 4]);
    assert_eq!(send(site.request(Method::GET, "/status").bearer_auth(&site.viewer)).await.status, 200);
    assert_eq!(send(site.request(Method::GET, "/status")).await.status, 401, "no guess, no limit");
}

#[tokio::test]
async fn before_zookeeper_was_reached_nobody_can_be_told() {
    let site = Site::serve().await;
    assert_eq!(send(site.request(Method::GET, "/api/v1/documents")).await.code(), "OT1020");
    let answer = send(site.request(Method::GET, "/api/v1/documents").bearer_auth("otr_x")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "OT2001"));
}

#[tokio::test]
async fn an_outage_leaves_the_tokens_in_force() {
    let mut site = Site::serve().await;
    let coordination = site.coordination(None).await;
    site.open(&coordination).await;
    assert_eq!(site.write(Method::POST, "/api/v1/documents", &[], ALL).await.status, 200);
    coordination.close().await;
    assert_eq!(site.get("/status").await.status, 200);
    let answer = site.get("/api/v1/documents").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "OT2001"));
    assert_eq!(send(site.request(Method::GET, "/status").bearer_auth("otr_x")).await.status, 401);
}
