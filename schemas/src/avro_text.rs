//! Avro schemas as others write them: whether a text is one, and whether two texts are the same one.
//!
//! Registries hold schemas as texts, and clients write the same schema in several ways: other white space, other order
//! of attributes, `{"type":"int"}` for `"int"`, a namespace beside the name or within it. [`NormalForm`] is what is left
//! without such differences. Everything that a reader could care about stays: doc, defaults, aliases, properties.

use avro_rs::Schema;
use serde_json::{Map, Value};

/// The types that need no definition.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// A schema without differences of writing.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalForm(Value);

impl NormalForm {
    /// Reads a schema.
    ///
    /// # Errors
    /// Why the text is not an Avro schema, in words.
    pub fn of(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
        Schema::parse(&json).map_err(|e| e.to_string())?;
        Ok(Self(normal(&json, "")))
    }

    /// Whether a text is the same schema; `false` also when it is none.
    pub fn is(&self, text: &str) -> bool {
        // Texts in a registry were read as schemas before they got there.
        serde_json::from_str(text).is_ok_and(|json| normal(&json, "") == self.0)
    }
}

/// A schema, its names resolved within a namespace.
fn normal(schema: &Value, namespace: &str) -> Value {
    match schema {
        Value::String(name) => Value::String(resolved(name, namespace)),
        Value::Array(branches) => Value::Array(branches.iter().map(|branch| normal(branch, namespace)).collect()),
        Value::Object(attributes) => normal_object(attributes, namespace),
        other => other.clone(),
    }
}

fn normal_object(attributes: &Map<String, Value>, namespace: &str) -> Value {
    let mut result = attributes.clone();
    let kind = attributes.get("type").and_then(Value::as_str);
    match kind {
        Some("record" | "error" | "enum" | "fixed") => {
            let name = full_name(attributes, namespace);
            let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
            result.remove("namespace");
            if let Some(Value::Array(fields)) = result.get_mut("fields") {
                fields.iter_mut().for_each(|field| normal_field(field, inner));
            }
            result.insert("name".to_owned(), Value::String(name.clone()));
        }
        Some("array") => normal_attribute(&mut result, "items", namespace),
        Some("map") => normal_attribute(&mut result, "values", namespace),
        _ => normal_attribute(&mut result, "type", namespace),
    }
    match (result.len(), result.get("type")) {
        (1, Some(only)) => only.clone(),
        _ => Value::Object(result),
    }
}

fn normal_field(field: &mut Value, namespace: &str) {
    if let Value::Object(field) = field {
        normal_attribute(field, "type", namespace);
    }
}

fn normal_attribute(attributes: &mut Map<String, Value>, key: &str, namespace: &str) {
    if let Some(schema) = attributes.get_mut(key) {
        *schema = normal(schema, namespace);
    }
}

/// The full name of a definition: a name with dots, or the namespace given, or the one around it.
fn full_name(attributes: &Map<String, Value>, namespace: &str) -> String {
    let name = attributes.get("name").and_then(Value::as_str).unwrap_or_default();
    let namespace = attributes.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    resolved(name, namespace)
}

/// The full name behind a reference.
fn resolved(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() || PRIMITIVES.contains(&name) {
        return name.to_owned();
    }
    format!("{namespace}.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let form = NormalForm::of(a).expect("a schema");
        NormalForm::of(b).expect("a schema");
        form.is(b)
    }

    #[test]
    fn writing_makes_no_difference() {
        assert!(same("\"int\"", r#" { "type" : "int" } "#));
        assert!(same(r#"{"type":{"type":"string"}}"#, "\"string\""));
        let one = r#"{"type":"record","name":"Value","namespace":"a.b","fields":[
            {"name":"x","type":{"type":"record","name":"In","fields":[{"name":"n","type":{"type":"long"}}]}},
            {"name":"y","type":["null","In"],"default":null},
            {"name":"z","type":{"type":"array","items":{"type":"int"}}},{"name":"m","type":{"type":"map","values":"In"}}]}"#;
        let other = r#"{"name":"a.b.Value","fields":[
            {"type":{"name":"a.b.In","type":"record","fields":[{"type":"long","name":"n"}]},"name":"x"},
            {"default":null,"type":["null","a.b.In"],"name":"y"},
            {"name":"z","type":{"items":"int","type":"array"}},{"name":"m","type":{"type":"map","values":"a.b.In"}}],"type":"record"}"#;
        assert!(same(one, other));
    }

    #[test]
    fn what_a_reader_sees_makes_a_difference() {
        let field = |rest: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x",{rest}}}]}}"#);
        let plain = field(r#""type":"int""#);
        for other in [
            field(r#""type":"long""#),
            field(r#""type":"int","default":1"#),
            field(r#""type":"int","doc":"d""#),
            field(r#""type":{"type":"int","connect.name":"io.debezium.time.Date"}"#),
            field(r#""type":["int","null"]"#),
            plain.replace("\"R\"", "\"n.R\""),
        ] {
            assert!(!same(&plain, &other), "{other}");
        }
        assert!(!same(r#"["null","int"]"#, r#"["int","null"]"#));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let deep = format!("{}\"int\"{}", "{\"type\":".repeat(100_000), "}".repeat(100_000));
        for text in [
            "",
            "{",
            "1",
            "null",
            "{}",
            "\"no.such.Type\"",
            r#"{"type":"record","name":"R"}"#,
            r#"{"type":"record","name":"1R","fields":[]}"#,
            r#"{"type":"enum","name":"E","symbols":["A","A"]}"#,
            r#"["int","int"]"#,
            r#"{"type":"record","name":"R","fields":[{"name":"x","type":"int","default":"text"}]}"#,
            deep.as_str(),
        ] {
            assert!(NormalForm::of(text).is_err(), "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn our_own_schemas_are_schemas() {
        for text in
            [include_str!("../tests/golden/tb_user-value.avsc"), include_str!("../tests/golden/tb_user-key.avsc")]
        {
            let form = NormalForm::of(text).expect("a schema");
            let json: Value = serde_json::from_str(text).expect("JSON");
            assert!(form.is(&serde_json::to_string_pretty(&json).expect("JSON")));
        }
    }
}
