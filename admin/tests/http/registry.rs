//! The Schema Registry API over a real socket and a real ZooKeeper: each path, each refusal, hostile input.

use coordination::{Coordination, RegistryOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site;

struct Site {
    inner: site::Site,
    base: String,
    client: reqwest::Client,
}

impl Site {
    /// Serves, not connected yet.
    async fn serve() -> Self {
        let inner = site::Site::serve().await;
        let client = inner.client.clone();
        Self { base: format!("{}/registry", inner.base), client, inner }
    }

    async fn new() -> Self {
        let mut site = Self::serve().await;
        site.open(None).await;
        site
    }

    async fn open(&mut self, registry: Option<RegistryOptions>) {
        let coordination = self.connect(registry).await;
        self.inner.open(&coordination).await;
    }

    async fn connect(&self, registry: Option<RegistryOptions>) -> Coordination {
        self.inner.coordination(registry).await
    }

    /// Asks, and checks that the answer is JSON of the registry's kind.
    async fn ask(&self, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
        // Until there is a token any will do: nobody can tell.
        let token = if self.inner.operator.is_empty() { "otr_x" } else { &self.inner.operator };
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token);
        if let Some(body) = body {
            let kind = "application/vnd.schemaregistry.v1+json";
            request = request.header("Content-Type", kind).body(body.to_owned());
        }
        let answer = request.send().await.expect("an answer");
        let kind = answer.headers().get("Content-Type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert_eq!(kind, "application/vnd.schemaregistry.v1+json", "{path}: {}", answer.status());
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, schema: &str) -> (u16, Value) {
        self.ask(Method::POST, path, Some(&json!({ "schema": schema }).to_string())).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.ask(Method::DELETE, path, None).await
    }

    /// The status and error code of a refusal, whose message must say something.
    async fn refused(&self, method: Method, path: &str, body: Option<&str>) -> (u16, u64) {
        let (status, answer) = self.ask(method, path, body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.len() > 5, "{path}: {status} {answer}");
        (status, answer["error_code"].as_u64().unwrap_or_else(|| panic!("{path}: {answer}")))
    }
}

const ONE: &str = r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":"int"}]}"#;
const ONE_WRITTEN_OTHERWISE: &str =
    r#"{ "name": "a.R", "type": "record", "fields": [ {"type": {"type": "int"}, "name": "x"} ] }"#;
const TWO: &str = r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":"string"}]}"#;

#[tokio::test]
async fn schemas_are_registered_found_and_read() {
    let site = Site::new().await;
    assert_eq!(site.get("/subjects").await, (200, json!([])));
    assert_eq!(site.post("/subjects/t-value/versions", ONE).await, (200, json!({"id": 1, "version": 1})));
    let again = site.post("/subjects/t-value/versions?normalize=true", ONE_WRITTEN_OTHERWISE).await;
    assert_eq!(again, (200, json!({"id": 1, "version": 1})), "the same schema keeps its id");
    // What is incompatible elsewhere is fine here.
    assert_eq!(site.post("/subjects/t-value/versions", TWO).await.1["id"], 2);
    // Capture uses the same store.
    let id = site.connect(None).await.schemas().register("t-value", TWO).await.expect("registered");
    assert_eq!(id, 2);
    assert_eq!(site.get("/schemas/ids/1").await, (200, json!({"schema": ONE})));
    assert_eq!(site.get("/schemas/ids/1?fetchMaxId=true&subject=t-value").await.1["maxId"], 2);
    assert_eq!(site.get("/schemas/ids/1/schema").await.1, serde_json::from_str::<Value>(ONE).expect("JSON"));
    assert_eq!(site.get("/schemas/ids/2/subjects").await.1, json!(["t-value"]));
    assert_eq!(site.get("/schemas/ids/2/subjects?subject=u").await.1, json!([]));
    assert_eq!(site.get("/schemas/ids/2/versions").await.1, json!([{"subject": "t-value", "version": 2}]));
    assert_eq!(site.get("/subjects/t-value/versions").await.1, json!([1, 2]));
    let first = json!({"subject": "t-value", "version": 1, "id": 1, "schema": ONE});
    assert_eq!(site.get("/subjects/t-value/versions/1").await.1, first);
    assert_eq!(site.post("/subjects/t-value", ONE_WRITTEN_OTHERWISE).await.1, first);
    for latest in ["latest", "-1", "2"] {
        assert_eq!(site.get(&format!("/subjects/t-value/versions/{latest}")).await.1["id"], 2);
    }
    assert_eq!(
        site.get("/subjects/t-value/versions/1/schema").await.1,
        serde_json::from_str::<Value>(ONE).expect("JSON")
    );
    assert_eq!(site.get("/subjects/t-value/versions/1/referencedby").await.1, json!([]));
    for path in ["globalIds/2", "contentIds/2", "contentIds/2/"] {
        let answer = site.get(&format!("/apis/registry/v2/ids/{path}")).await;
        assert_eq!(answer, (200, serde_json::from_str(TWO).expect("JSON")));
    }
    assert_eq!(site.get("/apis/registry/v2/ids/contentIds/2/references").await, (200, json!([])));
    let strange = "/subjects/a%2Fb%20%25%C3%A9";
    assert_eq!(site.post(&format!("{strange}/versions"), "\"long\"").await.1["id"], 3);
    assert_eq!(site.get("/subjects").await.1, json!(["a/b %é", "t-value"]));
    assert_eq!(site.get("/subjects?subjectPrefix=t-").await.1, json!(["t-value"]));
    assert_eq!(site.get("/subjects?offset=1&limit=5").await.1, json!(["t-value"]));
    assert_eq!(site.get(&format!("{strange}/versions/1")).await.1["subject"], "a/b %é");
}

#[tokio::test]
async fn what_is_deleted_is_hidden_and_its_id_keeps_its_meaning() {
    let site = Site::new().await;
    for schema in [ONE, TWO] {
        site.post("/subjects/t-value/versions", schema).await;
    }
    let erase = site.refused(Method::DELETE, "/subjects/t-value?permanent=true", None).await;
    assert_eq!(erase, (422, 42205));
    assert_eq!(site.delete("/subjects/t-value/versions/latest").await, (200, json!(2)));
    assert_eq!(site.get("/subjects/t-value/versions").await.1, json!([1]));
    assert_eq!(site.get("/subjects/t-value/versions?deleted=true").await.1, json!([1, 2]));
    assert_eq!(site.get("/subjects/t-value/versions?deletedOnly=true").await.1, json!([2]));
    let gone = site.refused(Method::GET, "/subjects/t-value/versions/2", None).await;
    assert_eq!(gone, (404, 40402));
    assert_eq!(site.get("/subjects/t-value/versions/2?deleted=true").await.1["id"], 2);
    assert_eq!(site.get("/schemas/ids/2").await.0, 200);
    let body = json!({ "schema": TWO }).to_string();
    assert_eq!(site.refused(Method::POST, "/subjects/t-value", Some(&body)).await, (404, 40403));
    assert_eq!(site.ask(Method::POST, "/subjects/t-value?deleted=true", Some(&body)).await.1["version"], 2);
    assert_eq!(site.delete("/subjects/t-value").await, (200, json!([1])));
    assert_eq!(site.get("/subjects").await.1, json!([]));
    assert_eq!(site.get("/subjects?deleted=true").await.1, json!(["t-value"]));
    assert_eq!(site.refused(Method::DELETE, "/subjects/t-value", None).await, (404, 40401));
    // Registered again, it is a new version with the id that records carry.
    let back = site.connect(None).await.schemas().register("t-value", TWO).await.expect("registered");
    assert_eq!(back, 2);
    assert_eq!(site.get("/subjects/t-value/versions/latest").await.1["version"], 3);
}

#[tokio::test]
async fn levels_and_modes_are_said_as_they_are() {
    let site = Site::new().await;
    site.post("/subjects/t-value/versions", ONE).await;
    assert_eq!(site.get("/config").await, (200, json!({"compatibilityLevel": "NONE"})));
    assert_eq!(site.get("/config/t-value").await, (200, json!({"compatibilityLevel": "NONE"})));
    assert_eq!(site.get("/config/u?defaultToGlobal=true").await.0, 200);
    assert_eq!(site.refused(Method::GET, "/config/u", None).await, (404, 40408));
    let put = async |path, body| site.ask(Method::PUT, path, Some(body)).await;
    let none = (200, json!({"compatibility": "NONE"}));
    assert_eq!(put("/config/new", r#"{"compatibility":"NONE"}"#).await, none);
    assert_eq!(put("/config", r#"{"compatibility":"none"}"#).await, none);
    for body in [r#"{"compatibility":"FULL"}"#, "{}"] {
        assert_eq!(site.refused(Method::PUT, "/config/t-value", Some(body)).await, (422, 42203));
    }
    assert_eq!(site.get("/mode").await, (200, json!({"mode": "READWRITE"})));
    assert_eq!(site.get("/mode/t-value?defaultToGlobal=true").await.0, 200);
    assert_eq!(put("/mode", r#"{"mode":"READWRITE"}"#).await.0, 200);
    assert_eq!(site.refused(Method::PUT, "/mode", Some(r#"{"mode":"IMPORT"}"#)).await, (422, 42204));
    assert_eq!(site.get("/schemas/types").await.1, json!(["AVRO"]));
    assert_eq!(site.get("").await, (200, json!({})));
    let compatible = (200, json!({"is_compatible": true}));
    for path in ["t-value/versions/latest", "t-value/versions", "t-value/versions/1", "new/versions/latest"] {
        assert_eq!(site.post(&format!("/compatibility/subjects/{path}"), TWO).await, compatible);
    }
    let body = json!({ "schema": TWO }).to_string();
    let missing = site.refused(Method::POST, "/compatibility/subjects/t-value/versions/9", Some(&body)).await;
    assert_eq!(missing, (404, 40402));
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_code() {
    let site = Site::new().await;
    site.post("/subjects/t-value/versions", ONE).await;
    for (path, expected) in [
        ("/schemas/ids/7", (404, 40403)),
        ("/schemas/ids/99999999999999999999", (404, 40403)),
        ("/schemas/ids/seven", (400, 400)),
        ("/schemas/ids/-1", (400, 400)),
        ("/schemas/ids/1%00", (400, 400)),
        ("/schemas/ids/1?format=ignore_extensions", (400, 400)),
        ("/schemas/ids/7/versions", (404, 40403)),
        ("/subjects/u/versions", (404, 40401)),
        ("/subjects/u/versions/latest", (404, 40401)),
        ("/subjects/t-value/versions/2", (404, 40402)),
        ("/subjects/t-value/versions/0", (422, 42202)),
        ("/subjects/t-value/versions/x", (422, 42202)),
        ("/subjects/t-value/versions/99999999999", (422, 42202)),
        ("/subjects/%FF/versions", (400, 400)),
        ("/subjects/..%2F..%2F..%2Fdocuments/versions", (404, 40401)),
        ("/subjects?limit=many", (400, 400)),
        ("/nothing", (404, 404)),
        ("/apis/registry/v2/ids/globalIds/x", (400, 400)),
    ] {
        assert_eq!(site.refused(Method::GET, path, None).await, expected, "{path}");
    }
    assert_eq!(site.refused(Method::PATCH, "/subjects", None).await, (405, 405));
    let large = format!("{{\"schema\":\"{}\"}}", "x".repeat(3 << 20));
    let wide = json!({"schema": json!({"type": "enum", "name": "E", "doc": "x".repeat(800_000), "symbols": ["A"]}).to_string()});
    let wide = wide.to_string();
    for (body, expected) in [
        ("", (400, 400)),
        ("{", (400, 400)),
        ("[]", (400, 400)),
        (r#"{"schema": 7}"#, (400, 400)),
        ("{}", (422, 42201)),
        (r#"{"schema": "{}"}"#, (422, 42201)),
        (r#"{"schema": "\"no.such.Type\""}"#, (422, 42201)),
        (r#"{"schema": "\"int\"", "schemaType": "PROTOBUF"}"#, (422, 42201)),
        (r#"{"schema": "\"int\"", "references": [{"name": "a", "subject": "b", "version": 1}]}"#, (422, 42201)),
        (r#"{"schema": "\"int\"", "ruleSet": {"domainRules": []}}"#, (422, 42201)),
        (r#"{"schema": "\"int\"", "id": 5}"#, (422, 42205)),
        (wide.as_str(), (422, 42209)),
        (large.as_str(), (413, 413)),
    ] {
        let seen = site.refused(Method::POST, "/subjects/t-value/versions", Some(body)).await;
        assert_eq!(seen, expected, "{}", &body[..body.len().min(100)]);
    }
    let long = format!("/subjects/{}/versions", "x".repeat(1001));
    for path in ["/subjects/:.ctx:t/versions", "/subjects/a%0Ab/versions", "/subjects/__GLOBAL/versions", long.as_str()]
    {
        assert_eq!(site.refused(Method::POST, path, Some(r#"{"schema": "\"int\""}"#)).await, (422, 42208), "{path}");
    }
    let form = site.client.post(format!("{}/subjects/t-value/versions", site.base));
    let form = form
        .bearer_auth(&site.inner.operator)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("schema=1");
    assert_eq!(form.send().await.expect("an answer").status(), 415);
    assert_eq!(site.get("/subjects").await.1, json!(["t-value"]), "nothing of it was registered");
}

#[tokio::test]
async fn there_is_nothing_to_answer_from_before_zookeeper_and_beside_another_registry() {
    let mut site = Site::serve().await;
    assert_eq!(site.refused(Method::GET, "/subjects", None).await, (503, 503));
    let other = RegistryOptions { url: "http://127.0.0.1:1".to_owned(), credentials: None, ca: None };
    site.open(Some(other)).await;
    assert_eq!(site.refused(Method::GET, "/schemas/ids/1", None).await, (501, 501));
}

#[tokio::test]
async fn what_people_change_is_audited() {
    let site = Site::new().await;
    for _ in 0..2 {
        assert_eq!(site.post("/subjects/s/versions", ONE).await.0, 200);
    }
    assert_eq!(site.post("/subjects/s", ONE).await.0, 200);
    assert_eq!(site.delete("/subjects/s/versions/1").await.0, 200);
    assert_eq!(site.post("/subjects/s/versions", ONE_WRITTEN_OTHERWISE).await.0, 200);
    assert_eq!(site.delete("/subjects/s").await, (200, json!([2])));
    let seen: Vec<_> = site.inner.audit.records().iter().map(|r| serde_json::to_value(r).expect("JSON")).collect();
    let actions: Vec<_> = seen.iter().map(|r| (r["action"].as_str(), r["details"].clone())).collect();
    let (register, hide) = (Some("schema-register"), Some("schema-hide"));
    let expected = [
        (register, json!({"id": 1, "version": 1})),
        (hide, json!({"versions": [1]})),
        (register, json!({"id": 1, "version": 2})),
        (hide, json!({"versions": [2]})),
    ];
    assert_eq!(actions, expected);
    assert!(seen.iter().all(|r| r["who"] == "works" && r["kind"] == "subject" && r["name"] == "s"), "{seen:?}");
}
