//! Settings that documents may have in later versions: refused as such, with their path, instead of as a typing error.

use serde_json::Value;

use super::Kind;

/// Path and name of the first setting of a later version.
pub(super) fn find(kind: Kind, document: &Value) -> Option<(String, String)> {
    match kind {
        Kind::Source => source(document),
        Kind::Target => target(document),
        Kind::Pipeline => pipeline(document),
    }
}

fn found(path: impl Into<String>, what: impl Into<String>) -> Option<(String, String)> {
    Some((path.into(), what.into()))
}

fn source(document: &Value) -> Option<(String, String)> {
    let topics = &document["topics"];
    for field in ["names", "transaction"] {
        if topics.get(field).is_some() {
            return found(format!("topics.{field}"), format!("topics.{field}"));
        }
    }
    None
}

fn target(document: &Value) -> Option<(String, String)> {
    let other = document["type"].as_str().filter(|t| ["postgres", "postgresql", "kafka"].contains(t));
    other.and_then(|t| found("type", format!("the target type {t}")))
}

fn pipeline(document: &Value) -> Option<(String, String)> {
    if let Some((field, what)) = apply(&document["apply"]) {
        return found(format!("apply.{field}"), what);
    }
    for (i, mapping) in items(&document["mappings"]).enumerate() {
        let path = format!("mappings[{i}]");
        if let Some((field, what)) = apply(mapping) {
            return found(format!("{path}.{field}"), what);
        }
        for field in ["filter", "where", "writers", "transform"] {
            if mapping.get(field).is_some() {
                return found(format!("{path}.{field}"), format!("{field} of a mapping"));
            }
        }
        if mapping["columns"].get("new").is_some() {
            return found(format!("{path}.columns.new"), "columns.new");
        }
    }
    None
}

/// What stands under `apply` and in mappings alike.
fn apply(settings: &Value) -> Option<(&'static str, String)> {
    let on_error = settings["on_error"].as_str().filter(|p| ["stop", "dead_letter", "dead_letters"].contains(p));
    on_error.map(|policy| ("on_error", format!("on_error: {policy}")))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
