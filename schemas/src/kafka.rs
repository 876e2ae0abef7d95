//! How to reach Kafka: `[kafka]` of otter.toml.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// How long a client is content without metadata before it begins with `brokers` again, in milliseconds; librdkafka's own
/// five minutes would be the length of a standstill, when all brokers that it knew have gone at once.
const REBOOTSTRAP: (&str, &str) = ("metadata.recovery.rebootstrap.trigger.ms", "10000");

/// The brokers, and any property of librdkafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaOptions {
    /// `host:port`, with commas.
    pub brokers: String,
    /// Properties for librdkafka, applied to every client before what Otter itself has to set. Their names have dots,
    /// which TOML reads as tables when they are not quoted: both are the same here, and values may be numbers.
    #[serde(deserialize_with = "properties")]
    pub client: BTreeMap<String, String>,
}

fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let tree = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let mut flat = BTreeMap::new();
    for (key, value) in tree {
        flatten(key, value, &mut flat).map_err(de::Error::custom)?;
    }
    Ok(flat)
}

fn flatten(key: String, value: Value, flat: &mut BTreeMap<String, String>) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text,
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::Object(inner) => {
            return inner.into_iter().try_for_each(|(name, value)| flatten(format!("{key}.{name}"), value, flat));
        }
        Value::Array(_) | Value::Null => return Err(format!("{key}: a property is text, a number or a boolean")),
    };
    match flat.insert(key, text) {
        None => Ok(()),
        Some(_) => Err("a property is given twice".to_owned()),
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: "127.0.0.1:9092".to_owned(), client: BTreeMap::new() }
    }
}

impl KafkaOptions {
    /// The properties to give librdkafka's configuration first, in this order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let client = self.client.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        std::iter::once(REBOOTSTRAP).chain(client).chain(std::iter::once(("bootstrap.servers", self.brokers.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_may_be_tables_and_numbers() {
        let json = r#"{"client": {"socket": {"timeout": {"ms": 5}}, "sasl.username": "u", "log_level": "3"}}"#;
        let options: KafkaOptions = serde_json::from_str(json).unwrap();
        let expected = [("log_level", "3"), ("sasl.username", "u"), ("socket.timeout.ms", "5")];
        assert_eq!(options.client, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(serde_json::from_str::<KafkaOptions>(r#"{"client": {"a": [1]}}"#).is_err());
        assert!(serde_json::from_str::<KafkaOptions>(r#"{"client": {"a.b": 1, "a": {"b": 2}}}"#).is_err());
    }

    #[test]
    fn brokers_win_over_a_property() {
        let client = BTreeMap::from([("bootstrap.servers".to_owned(), "x:1".to_owned())]);
        let options = KafkaOptions { brokers: "y:2".into(), client };
        assert_eq!(options.properties().last(), Some(("bootstrap.servers", "y:2")));
    }

    #[test]
    fn a_property_wins_over_ours() {
        let client = BTreeMap::from([(REBOOTSTRAP.0.to_owned(), "1".to_owned())]);
        let options = KafkaOptions { brokers: "y:2".into(), client };
        let last = options.properties().filter(|(name, _)| *name == REBOOTSTRAP.0).last();
        assert_eq!(last, Some((REBOOTSTRAP.0, "1")));
    }
}
