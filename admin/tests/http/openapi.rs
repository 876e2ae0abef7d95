//! The OpenAPI document: committed as it is generated, and whole.

use serde_json::Value;

use crate::site::Site;

/// The operations: path, method, description.
pub(crate) fn operations() -> Vec<(String, String, Value)> {
    let document = admin::api::document();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            found.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

/// `OTTER_UPDATE_OPENAPI=1` writes the file.
#[test]
fn the_committed_document_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let generated = serde_json::to_string_pretty(&admin::api::document()).expect("JSON") + "\n";
    if std::env::var_os("OTTER_UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &generated).expect("written");
    }
    let committed = std::fs::read_to_string(path).expect("docs/openapi.json");
    assert!(
        committed == generated,
        "docs/openapi.json is not what is generated; run this test with OTTER_UPDATE_OPENAPI=1"
    );
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.push(reference.clone());
            }
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_route_has_a_role() {
    let document = admin::api::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = Vec::new();
    for (path, method, operation) in operations() {
        let role = operation["x-otter-role"].as_str().unwrap_or_default();
        assert!(["viewer", "operator", "admin"].contains(&role), "{method} {path}: {role}");
        let changes = method != "GET";
        assert!(!changes || role != "viewer", "{method} {path} changes something and is for viewers");
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
        ids.push(operation["operationId"].as_str().expect("an id").to_owned());
    }
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn it_is_served() {
    let site = Site::new().await;
    let answer = site.get("/api/v1/openapi.json").await;
    assert_eq!(answer.json(), admin::api::document());
}
