//! Documents from and to text.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Document, Kind, Pipeline, Source, Target, reserved};
use crate::codes::Code;
use crate::error::{Error, Result};

/// The largest document, in bytes of its JSON: ZooKeeper refuses nodes of 1 MiB.
pub const MAX_BYTES: usize = 700_000;

impl Document {
    /// All documents of a text: YAML, any number of them, or one in JSON.
    ///
    /// # Errors
    /// `OT1001` with the path of what is wrong, `OT1002` for a setting of a later version, `OT1005` when one is too large.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        if text.trim_start().starts_with('{') {
            return Self::from_json(text.as_bytes()).map(|document| vec![document]);
        }
        let mut documents = Vec::new();
        for part in serde_yaml_ng::Deserializer::from_str(text) {
            let json = yaml_value(part)?;
            if !json.is_null() {
                documents.push(Self::from_value(json)?);
            }
        }
        Ok(documents)
    }

    /// One document as a value, from YAML, to complete before it is read by [`Document::from_value`].
    ///
    /// # Errors
    /// `OT1001` when it is not YAML.
    pub fn yaml_value(text: &str) -> Result<Value> {
        yaml_value(serde_yaml_ng::Deserializer::from_str(text))
    }

    /// One document from JSON, such as what ZooKeeper holds.
    ///
    /// # Errors
    /// As [`Document::parse_all`].
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::from_value(serde_json::from_slice(bytes).map_err(|e| syntax("JSON", &e))?)
    }

    /// One document from a JSON value.
    ///
    /// # Errors
    /// As [`Document::parse_all`].
    pub fn from_value(mut value: Value) -> Result<Self> {
        let map = value.as_object_mut().ok_or_else(|| invalid("a document", "", "it is not a mapping of fields"))?;
        let name = map.get("name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
        let kind = map.remove("kind").ok_or_else(|| invalid(&format!("document {name}"), "kind", "it is missing"))?;
        let kind =
            kind.as_str().and_then(|k| Kind::ALL.into_iter().find(|kind| kind.as_str() == k)).ok_or_else(|| {
                let reason = format!("{kind} is not one of source, target, pipeline");
                invalid(&format!("document {name}"), "kind", &reason)
            })?;
        let label = format!("{kind} {name}");
        if let Some((path, what)) = reserved::find(kind, &value) {
            let message = format!("{label}: {path}: this version does not have {what} yet");
            return Err(Error::new(Code::NotSupportedYet, message).with_path(path));
        }
        let document = match kind {
            Kind::Source => Self::Source(typed(&label, value)?),
            Kind::Target => Self::Target(typed(&label, value)?),
            Kind::Pipeline => Self::Pipeline(typed(&label, value)?),
        };
        let checked = match &document {
            Self::Source(d) => d.validate(),
            Self::Target(d) => d.validate(),
            Self::Pipeline(d) => d.validate(),
        };
        checked.map_err(|(path, reason)| invalid(&label, &path, &reason))?;
        let size = document.to_json()?.len();
        if size > MAX_BYTES {
            let message = format!("{label} has {size} bytes as JSON, {MAX_BYTES} are possible");
            return Err(Error::new(Code::DocumentTooLarge, message));
        }
        Ok(document)
    }

    /// The document as ZooKeeper holds it: JSON with `kind` in front and the fields in their documented order.
    ///
    /// # Errors
    /// `OT1001` when a path in it is not UTF-8.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.tagged()).map_err(|e| syntax("JSON", &e))
    }

    /// The document for people.
    ///
    /// # Errors
    /// As [`Document::to_json`].
    pub fn to_yaml(&self) -> Result<String> {
        let mut yaml = Vec::new();
        // Plain maps for enums with a value, as in JSON, instead of YAML's tags.
        let mut serializer = serde_yaml_ng::Serializer::new(&mut yaml);
        serde_yaml_ng::with::singleton_map_recursive::serialize(&self.tagged(), &mut serializer)
            .map_err(|e| syntax("YAML", &e))?;
        String::from_utf8(yaml).map_err(|e| syntax("YAML", &e))
    }

    fn tagged(&self) -> Tagged<'_> {
        match self {
            Self::Source(d) => Tagged::Source(d),
            Self::Target(d) => Tagged::Target(d),
            Self::Pipeline(d) => Tagged::Pipeline(d),
        }
    }
}

/// Writing only: reading goes through [`typed`], because serde loses paths inside tagged enums.
#[derive(serde::Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Tagged<'a> {
    Source(&'a Source),
    Target(&'a Target),
    Pipeline(&'a Pipeline),
}

/// The YAML value first: it refuses a key given twice, which JSON's would overwrite.
fn yaml_value(part: serde_yaml_ng::Deserializer<'_>) -> Result<Value> {
    let yaml = serde_yaml_ng::Value::deserialize(part).map_err(|e| syntax("YAML", &e))?;
    serde_json::to_value(yaml).map_err(|e| syntax("YAML", &e))
}

fn typed<T: DeserializeOwned>(label: &str, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let path = if path == "." { "" } else { path.as_str() };
        invalid(label, path, &e.inner().to_string())
    })
}

fn invalid(label: &str, path: &str, reason: &str) -> Error {
    let message = if path.is_empty() { format!("{label}: {reason}") } else { format!("{label}: {path}: {reason}") };
    let error = Error::new(Code::DocumentInvalid, message);
    if path.is_empty() { error } else { error.with_path(path) }
}

fn syntax(language: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(Code::DocumentInvalid, format!("this is not a document in {language}: {e}"))
}

/// The JSON Schema of a kind of document.
pub fn json_schema(kind: Kind) -> Value {
    let mut schema = match kind {
        Kind::Source => schemars::schema_for!(Source),
        Kind::Target => schemars::schema_for!(Target),
        Kind::Pipeline => schemars::schema_for!(Pipeline),
    };
    // `kind` is read before the rest and is no field of the types.
    let kind = serde_json::json!({ "const": kind.as_str() });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("kind".to_owned(), kind);
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.insert(0, Value::from("kind"));
    }
    schema.to_value()
}
