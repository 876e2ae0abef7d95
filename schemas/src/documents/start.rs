//! Where a source begins, and by what its position is kept.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::gtid::GtidPosition;
use crate::moment::Moment;

/// The first event of a binlog file stands behind its four magic bytes.
pub const FIRST_POSITION: u64 = 4;

/// Where a source without a checkpoint begins, and where an operator sets it back to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is committed from now on.
    #[default]
    Latest,
    /// With the oldest binlog that the server still has.
    Earliest,
    /// With the first transaction that was committed in this second or later, by the clock of the binlog's events.
    Timestamp(Moment),
    /// Behind this GTID position.
    Gtid(GtidPosition),
    /// At this offset of this binlog file, the start of a transaction.
    File {
        /// The file.
        file: String,
        /// The offset in bytes, from [`FIRST_POSITION`].
        position: u64,
    },
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Earliest => f.write_str("earliest"),
            Self::Timestamp(moment) => write!(f, "timestamp {moment}"),
            Self::Gtid(position) => write!(f, "gtid {position}"),
            Self::File { file, position } => write!(f, "{file}:{position}"),
        }
    }
}

/// The forms that are a mapping of fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    timestamp: Option<Moment>,
    gtid: Option<GtidPosition>,
    file: Option<String>,
    position: Option<u64>,
}

impl Fields {
    fn start<E: serde::de::Error>(self) -> Result<Start, E> {
        let one = "exactly one of timestamp, gtid and file";
        match self {
            Self { timestamp: Some(moment), gtid: None, file: None, position: None } => Ok(Start::Timestamp(moment)),
            Self { timestamp: None, gtid: Some(position), file: None, position: None } => Ok(Start::Gtid(position)),
            Self { timestamp: None, gtid: None, file: Some(file), position } => {
                let position = position.unwrap_or(FIRST_POSITION);
                // The server would take it as a path.
                let name = !file.is_empty() && file.len() <= 255 && !file.contains(['/', '\\', '\0']);
                if !name || position < FIRST_POSITION {
                    return Err(E::custom("a file is the name of a binlog file, and its positions begin at 4"));
                }
                Ok(Start::File { file, position })
            }
            Self { position: Some(_), .. } => Err(E::custom("position belongs to file")),
            _ => Err(E::custom(format!("a start has {one}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Start;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`latest`, `earliest`, {timestamp}, {gtid} or {file, position}")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Start, E> {
                match word {
                    "latest" => Ok(Start::Latest),
                    "earliest" => Ok(Start::Earliest),
                    other => Err(E::unknown_variant(other, &["latest", "earliest"])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Start, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map))?.start().map_err(A::Error::custom::<A::Error>)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest => serializer.serialize_str("latest"),
            Self::Earliest => serializer.serialize_str("earliest"),
            Self::Timestamp(moment) => one(serializer, "timestamp", moment),
            Self::Gtid(position) => one(serializer, "gtid", position),
            Self::File { file, position } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("file", file)?;
                map.serialize_entry("position", position)?;
                map.end()
            }
        }
    }
}

fn one<S: Serializer>(serializer: S, name: &str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, value)?;
    map.end()
}

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let moment = generator.subschema_for::<Moment>();
        let object = |properties: serde_json::Value, required: &str, description: &str| {
            serde_json::json!({
                "type": "object", "properties": properties, "required": [required],
                "additionalProperties": false, "description": description,
            })
        };
        let timestamp = object(
            serde_json::json!({"timestamp": moment}),
            "timestamp",
            "With the first transaction that was committed in this second or later.",
        );
        let gtid = object(serde_json::json!({"gtid": {"type": "string"}}), "gtid", "Behind this GTID position.");
        let file = object(
            serde_json::json!({
                "file": {"type": "string"},
                "position": {"type": "integer", "minimum": FIRST_POSITION, "default": FIRST_POSITION},
            }),
            "file",
            "At this offset of this binlog file, the start of a transaction.",
        );
        schemars::json_schema!({
            "description": "Where a source without a checkpoint begins.",
            "oneOf": [
                {"type": "string", "const": "latest", "description": "With what is committed from now on."},
                {"type": "string", "const": "earliest",
                 "description": "With the oldest binlog that the server still has."},
                timestamp, gtid, file,
            ],
        })
    }
}

/// By what the position of a source is kept and looked up at the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PositionMode {
    /// By GTID where the server gives them out, else by file.
    #[default]
    Auto,
    /// By GTID; a server that gives out none is refused.
    Gtid,
    /// By binlog file and offset, which mean something on one server only.
    File,
}

impl PositionMode {
    /// Whether it is the default.
    pub(super) fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for json in [
            r#""latest""#,
            r#""earliest""#,
            r#"{"timestamp":"2026-11-22T13:00:00.000Z"}"#,
            r#"{"gtid":"0-1-42"}"#,
            r#"{"gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:8"}"#,
            r#"{"file":"binlog.000003","position":1234}"#,
        ] {
            let start: Start = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&start).unwrap(), json);
        }
        let head: Start = serde_json::from_str(r#"{"file":"binlog.000003"}"#).unwrap();
        assert_eq!(head, Start::File { file: "binlog.000003".into(), position: 4 });
    }

    #[test]
    fn other_forms_are_refused() {
        for (json, why) in [
            (r#""late""#, "unknown variant `late`"),
            (r#"{}"#, "exactly one of"),
            (r#"{"gtid":"0-1-42","file":"b.1"}"#, "exactly one of"),
            (r#"{"position":4}"#, "belongs to file"),
            (r#"{"gtid":"0-1-42","position":4}"#, "belongs to file"),
            (r#"{"file":"b.1","position":3}"#, "begin at 4"),
            (r#"{"file":"../b.1"}"#, "name of a binlog file"),
            (r#"{"timestamp":"yesterday"}"#, "not a time like"),
            (r#"{"offset":1}"#, "unknown field `offset`"),
            (r#"7"#, "expected `latest`"),
        ] {
            let error = serde_json::from_str::<Start>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
