//! Single settings, from environment variables and flags.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use schemas::{Code, Error, Result};

/// What stands before every variable of the configuration.
const PREFIX: &str = "OTTER_";
/// The top-level key that is no section.
const SCALAR: &str = "cluster";
/// The sections.
const SECTIONS: [&str; 8] = ["zookeeper", "kafka", "registry", "http", "client", "log", "capture", "apply"];
/// A short name, for what everybody sets who works from his own machine.
const URL: &str = "url";
/// Properties of librdkafka have dots, which shells refuse in variables: an underscore stands for one.
const PROPERTIES: &str = "kafka.client.";

/// One key with its value, and where it came from.
#[derive(Debug)]
pub(super) struct Setting {
    origin: String,
    key: String,
    value: Value,
}

impl Setting {
    /// The setting of an environment variable; `None` when the variable is not about the configuration.
    ///
    /// # Errors
    /// `OT1004` when it looks like a section's key with one underscore too few.
    pub(super) fn from_variable(name: &str, value: &str) -> Result<Option<Self>> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
        let key = rest.to_ascii_lowercase();
        if key == URL {
            let value = Value::from(value);
            return Ok(Some(Self {
                origin: format!("the environment variable {name}"),
                key: "client.url".into(),
                value,
            }));
        }
        if key != SCALAR && !key.contains("__") {
            let section = SECTIONS.iter().find(|s| key.strip_prefix(**s).is_some_and(|rest| rest.starts_with('_')));
            return match section {
                Some(section) => {
                    let (section, rest) = rest.split_at(section.len());
                    let message =
                        format!("{name} is no key of the configuration; {PREFIX}{section}_{rest} may be meant");
                    Err(Error::new(Code::ConfigInvalid, message))
                }
                None => Ok(None),
            };
        }
        let mut key = key.replace("__", ".");
        if let Some(property) = key.strip_prefix(PROPERTIES) {
            key = format!("{PROPERTIES}{}", property.replace('_', "."));
        }
        Ok(Some(Self { origin: format!("the environment variable {name}"), value: parse(&key, value), key }))
    }

    /// The setting of a flag, `KEY=VALUE`.
    ///
    /// # Errors
    /// `OT1004` when there is no `=`.
    pub(super) fn from_flag(text: &str) -> Result<Self> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::new(Code::ConfigInvalid, format!("--set {text}: this is not KEY=VALUE")))?;
        Ok(Self { origin: format!("--set {key}"), key: key.to_owned(), value: parse(key, value) })
    }
}

/// Properties of librdkafka are text, whatever they look like: `0012` must not turn into 12.
fn parse(key: &str, value: &str) -> Value {
    if key.starts_with(PROPERTIES) || key == SCALAR {
        return Value::from(value);
    }
    // Numbers, booleans and text; its error type has no values.
    match value.parse() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}
