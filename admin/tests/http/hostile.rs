//! Malformed and hostile requests: 4xx with a code, never 5xx, never a panic, nothing written.

use proptest::prelude::*;
use reqwest::Method;

use crate::openapi::operations;
use crate::site::{Site, send};

/// Method, path, headers, body, and the status of the answer.
type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

#[tokio::test]
async fn malformed_requests_get_a_code() {
    let site = Site::new().await;
    let deep_json = "[".repeat(200_000);
    let deep_yaml = format!("kind: source\nname: {}", "[".repeat(5_000));
    let deep_map = format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000));
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let large = format!("{{\"kind\": \"source\", \"name\": \"{}\"}}", "x".repeat(admin::api::MAX_BODY));
    let document = "/api/v1/documents/source/shop";
    let all = "/api/v1/documents";
    let json = ("Content-Type", "application/json");
    let yaml = ("Content-Type", "application/yaml");
    let cases: &[Case<'_>] = &[
        (Method::POST, all, &[json], "{", 400),
        (Method::POST, all, &[json], "", 400),
        (Method::POST, all, &[json], "[1, null]", 422),
        (Method::POST, all, &[json], "null", 422),
        (Method::POST, all, &[json], &deep_json, 400),
        (Method::POST, all, &[json], &deep_map, 400),
        (Method::POST, all, &[yaml], &deep_yaml, 422),
        (Method::POST, all, &[yaml], laughs, 422),
        (Method::POST, all, &[yaml], "", 422),
        (Method::POST, all, &[yaml], "\u{0}", 422),
        (Method::POST, all, &[yaml], "kind: !!binary x", 422),
        (Method::POST, all, &[json], &large, 413),
        (Method::POST, all, &[("Content-Type", "text/html")], "{}", 415),
        (Method::POST, all, &[("Content-Type", "application/x-www-form-urlencoded")], "a=b", 415),
        (Method::POST, "/api/v1/documents?dry_run=perhaps", &[json], "[]", 400),
        (Method::POST, "/api/v1/documents?dry=true", &[json], "[]", 400),
        (Method::PATCH, all, &[], "", 405),
        (Method::DELETE, all, &[], "", 405),
        (Method::GET, "/api/v1/nothing", &[], "", 404),
        (Method::GET, "/api/v2/documents", &[], "", 404),
        (Method::GET, "/api/v1/documents/source/", &[], "", 404),
        (Method::GET, "/api/v1/documents/table/shop", &[], "", 404),
        (Method::GET, "/api/v1/documents/source/..%2f..%2ftokens", &[], "", 404),
        (Method::GET, "/api/v1/documents/source/%00", &[], "", 404),
        (Method::GET, "/api/v1/documents/source/%ff", &[], "", 400),
        (Method::GET, "/api/v1/pipelines/%2e%2e", &[], "", 404),
        (Method::PUT, "/api/v1/documents/source/Not%20A%20Name", &[json], "{}", 422),
        (Method::PUT, document, &[json], r#"{"name": "other"}"#, 422),
        (Method::PUT, document, &[json], r#"{"kind": 7}"#, 422),
        (Method::PUT, document, &[json, ("If-Match", "3")], "{}", 422),
        (Method::PUT, document, &[yaml, ("If-Match", "\"x\"")], "addresses: ['a:1']\nuser: u", 400),
        (Method::PUT, document, &[yaml, ("If-Match", "*")], "addresses: ['a:1']\nuser: u", 400),
        (Method::PUT, document, &[yaml, ("If-Match", "\"99999999999\"")], "addresses: ['a:1']\nuser: u", 400),
        (Method::PUT, document, &[yaml, ("If-None-Match", "\"1\"")], "addresses: ['a:1']\nuser: u", 400),
        (
            Method::PUT,
            document,
            &[yaml, ("If-Match", "\"1\""), ("If-Match", "\"2\"")],
            "addresses: ['a:1']\nuser: u",
            400,
        ),
        (Method::DELETE, document, &[("If-None-Match", "*")], "", 400),
        (Method::POST, "/api/v1/pipelines/..%2fx/pause", &[], "", 404),
        (Method::POST, "/api/v1/check/source/x%2fy", &[], "", 404),
    ];
    for (method, path, headers, body, status) in cases {
        let answer = site.write(method.clone(), path, headers, body).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(answer.status, *status, "{method} {path} {headers:?} {shown}: {answer:?}");
        assert!(answer.code().starts_with("OT1"), "{method} {path}: {answer:?}");
        assert!(answer.text.len() < 4_000, "{method} {path}: an answer does not repeat what it was sent: {shown}");
    }
    assert_eq!(site.get("/api/v1/documents").await.json(), serde_json::json!([]));
    assert!(site.audit.records().is_empty());
}

/// One request out of odd parts.
#[derive(Debug, Clone)]
struct Odd {
    operation: usize,
    name: String,
    query: String,
    media: String,
    body: String,
    tag: Option<String>,
}

fn odd() -> impl Strategy<Value = Odd> {
    let names = prop_oneof![".{0,12}", "[a-z]{1,8}", Just("%00".to_owned()), Just("..".to_owned()), "[/%.]{1,6}"];
    let bodies = prop_oneof![
        ".{0,40}",
        "[{}\\[\\]\":,a1]{0,30}",
        "kind: (source|target|pipeline)\nname: [a-z]{0,3}\n(addresses|mappings|user): .{0,20}",
        Just(r#"{"name":"x","role":"viewer","role":"admin"}"#.to_owned()),
    ];
    let media = prop_oneof![
        Just("application/json".to_owned()),
        Just("application/yaml".to_owned()),
        Just("application/json; charset=utf-16".to_owned()),
        "[ -~]{0,20}",
    ];
    let query = prop_oneof![Just(String::new()), "[a-z_]{1,6}=[ -~]{0,10}", Just("kind=%ff".to_owned())];
    let parts = (any::<usize>(), names, query, media, bodies, proptest::option::of("[ -~]{0,8}"));
    parts.prop_map(|(operation, name, query, media, body, tag)| Odd { operation, name, query, media, body, tag })
}

#[test]
fn whatever_is_sent_is_answered_without_5xx() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = runtime.block_on(Site::new());
    let operations = operations();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&odd(), |odd| {
        let (path, method, _) = &operations[odd.operation % operations.len()];
        let path = path.replace("{kind}", "source").replace("{name}", &odd.name).replace("{id}", &odd.name);
        let Ok(mut url) = reqwest::Url::parse(&format!("{}{path}", site.base)) else { return Ok(()) };
        url.set_query((!odd.query.is_empty()).then_some(odd.query.as_str()));
        let mut request = site.client.request(method.parse().expect("a method"), url).bearer_auth(&site.admin);
        request = request.header("Content-Type", odd.media.trim()).body(odd.body.clone());
        if let Some(tag) = &odd.tag {
            request = request.header("If-Match", tag.trim());
        }
        let answer = runtime.block_on(send(request));
        prop_assert!(answer.status < 500, "{answer:?}");
        if answer.status >= 400 {
            prop_assert!(answer.code().starts_with("OT"), "{answer:?}");
        }
        Ok(())
    });
    result.expect("every answer is sound");
}
