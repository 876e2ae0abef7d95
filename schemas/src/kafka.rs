//! How to reach Kafka: `[kafka]` of otter.toml.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The brokers, and any property of librdkafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaOptions {
    /// `host:port`, with commas.
    pub brokers: String,
    /// Properties for librdkafka, applied to every client before what Otter itself has to set.
    pub client: BTreeMap<String, String>,
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
        client.chain(std::iter::once(("bootstrap.servers", self.brokers.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_win_over_a_property() {
        let client = BTreeMap::from([("bootstrap.servers".to_owned(), "x:1".to_owned())]);
        let options = KafkaOptions { brokers: "y:2".into(), client };
        assert_eq!(options.properties().last(), Some(("bootstrap.servers", "y:2")));
    }
}
