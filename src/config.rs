//! The configuration: defaults < otter.toml < `OTTER_*` < `--set`.
//!
//! Unknown keys are refused with their path wherever they come from. Environment variables are configuration when they
//! are `OTTER_CLUSTER`, `OTTER_URL` (`client.url`) or hold a double underscore (`OTTER_KAFKA__BROKERS`); others that begin with `OTTER_` are left
//! to their owners, such as the variables that documents name for passwords — unless they look like a section with one
//! underscore too few, which is refused instead of ignored.

mod client;
mod env;
mod redact;
mod registry;

use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use schemas::documents::{Interval, Name};
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result, names};
use serde::{Deserialize, Serialize};

use env::Setting;
use registry::Registry;

/// Read when no file is given, if it is there.
const DEFAULT_FILE: &str = "otter.toml";

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Names the installation: it is part of ZooKeeper's chroot, of transactional ids, groups and internal topics. Since 0.1.
    pub(crate) cluster: Name,
    /// Where ZooKeeper is.
    pub(crate) zookeeper: ZooKeeper,
    /// Where Kafka is.
    pub(crate) kafka: KafkaOptions,
    /// The schema registry.
    pub(crate) registry: Registry,
    /// The HTTP endpoints.
    pub(crate) http: Http,
    /// How the command line reaches the admin API.
    pub(crate) client: client::Client,
    /// The log.
    pub(crate) log: Log,
    /// The capture role.
    pub(crate) capture: capture::Options,
    /// The apply role.
    pub(crate) apply: apply::Options,
}

/// Where ZooKeeper is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ZooKeeper {
    /// `host:port`, with commas. Since 0.1.
    pub(crate) servers: String,
    /// The node that holds everything; `/<cluster>` by default. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chroot: Option<String>,
    /// After so long without a word ZooKeeper gives this process's leases to others. Since 0.1.
    pub(crate) session_timeout: Interval,
    /// The longest a request may take. Since 0.1.
    pub(crate) request_timeout: Interval,
}

/// The HTTP endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// `host:port`; port 0 takes a free one. Since 0.1.
    pub(crate) listen: String,
    /// `host:port` under which others reach it; what it is bound to by default. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advertise: Option<String>,
    /// Whether `/metrics` answers without a token. Since 0.2.
    pub(crate) open_metrics: bool,
}

/// The log, on the standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// For people or for programs. Since 0.1.
    pub(crate) format: LogFormat,
    /// What is logged, in tracing's syntax, such as `info,capture=debug`. Since 0.1.
    pub(crate) filter: String,
}

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people.
    Human,
    /// A JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: default_cluster(),
            zookeeper: ZooKeeper::default(),
            kafka: KafkaOptions::default(),
            registry: Registry::default(),
            http: Http::default(),
            client: client::Client::default(),
            log: Log::default(),
            capture: capture::Options::default(),
            apply: apply::Options::default(),
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant that a test proves to be a name")]
fn default_cluster() -> Name {
    names::DEFAULT_CLUSTER.parse().expect("the default cluster is a name")
}

impl Default for ZooKeeper {
    fn default() -> Self {
        Self {
            servers: "127.0.0.1:2181".to_owned(),
            chroot: None,
            session_timeout: millis(coordination::Options::DEFAULT_SESSION_TIMEOUT),
            request_timeout: millis(coordination::Options::DEFAULT_REQUEST_TIMEOUT),
        }
    }
}

fn millis(duration: std::time::Duration) -> Interval {
    Interval::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8010".to_owned(), advertise: None, open_metrics: false }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned() }
    }
}

impl Config {
    /// Reads the configuration. `file` must exist when it is given; `settings` are `KEY=VALUE`.
    ///
    /// # Errors
    /// `OT1004` with the path of the key and where it came from.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
        settings: &[String],
    ) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match file {
            Some(file) if !file.is_file() => {
                return Err(invalid(format!("there is no configuration file {}", file.display())));
            }
            Some(file) => figment.merge(Toml::file_exact(file)),
            None if Path::new(DEFAULT_FILE).is_file() => figment.merge(Toml::file_exact(DEFAULT_FILE)),
            None => figment,
        };
        for (name, value) in variables {
            if let Some(setting) = Setting::from_variable(&name, &value)? {
                figment = figment.merge(setting);
            }
        }
        for setting in settings {
            figment = figment.merge(Setting::from_flag(setting)?);
        }
        let config: Self = figment.extract().map_err(|e| invalid(explain(&e)))?;
        config.coordination().validate()?;
        config.registry.validate()?;
        if config.kafka.brokers.trim().is_empty() {
            return Err(invalid("kafka.brokers: there is no broker".to_owned()));
        }
        Ok(config)
    }

    /// How to reach ZooKeeper.
    pub(crate) fn coordination(&self) -> coordination::Options {
        let mut options = coordination::Options::new(&self.zookeeper.servers);
        options.chroot = self.zookeeper.chroot.clone().unwrap_or_else(|| names::default_chroot(self.cluster.as_str()));
        options.session_timeout = self.zookeeper.session_timeout.get();
        options.request_timeout = self.zookeeper.request_timeout.get();
        options
    }

    /// As [`Config::coordination`], with the external registry if there is one, its secrets resolved.
    ///
    /// # Errors
    /// `OT1003` when a reference leads nowhere.
    pub(crate) fn coordination_of_roles(&self) -> Result<coordination::Options> {
        Ok(coordination::Options { registry: self.registry.resolve()?, ..self.coordination() })
    }

    /// Where the admin API is.
    ///
    /// # Errors
    /// `OT1004` when nothing tells.
    pub(crate) fn api_url(&self) -> Result<String> {
        self.client.url(&self.http)
    }

    /// How to reach Kafka, secrets resolved: a property for a secret may be `env:NAME` or `file:PATH`.
    ///
    /// # Errors
    /// `OT1003` when such a reference leads nowhere.
    pub(crate) fn kafka(&self) -> Result<KafkaOptions> {
        let mut kafka = self.kafka.clone();
        for (key, value) in &mut kafka.client {
            if let Some(reference) = redact::reference(key, value) {
                reference.resolve()?.expose().clone_into(value);
            }
        }
        Ok(kafka)
    }

    /// The configuration without its secrets.
    pub(crate) fn redacted(&self) -> Self {
        let mut config = self.clone();
        for (key, value) in &mut config.kafka.client {
            if redact::is_secret(key) && redact::reference(key, value).is_none() {
                "***".clone_into(value);
            }
        }
        // What is in force, also where the default depends on something else.
        config.zookeeper.chroot = Some(self.coordination().chroot);
        config
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::ConfigInvalid, message)
}

/// Path first, then what is wrong, then where the value came from.
fn explain(e: &figment::Error) -> String {
    // The path of an unknown key ends in the key itself.
    let path = &e.path;
    let reason = match &e.kind {
        Kind::UnknownField(_, expected) => format!("there is no such key; there are {}", expected.join(", ")),
        kind => kind.to_string(),
    };
    let origin = e.metadata.as_ref().map(|m| match &m.source {
        Some(source) => source.to_string(),
        None => m.name.to_string(),
    });
    let origin = origin.map(|o| format!(" (in {o})")).unwrap_or_default();
    if path.is_empty() { format!("{reason}{origin}") } else { format!("{}: {reason}{origin}", path.join(".")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, variables: &[(&str, &str)], settings: &[&str]) -> Result<Config> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        std::fs::write(file.path(), toml).expect("written");
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings: Vec<_> = settings.iter().map(|s| (*s).to_owned()).collect();
        Config::load(Some(file.path()), variables, &settings)
    }

    fn message(toml: &str, variables: &[(&str, &str)], settings: &[&str]) -> String {
        load(toml, variables, settings).expect_err("refused").to_string()
    }

    #[test]
    fn later_layers_win() {
        let toml = "cluster = 'one'\n[kafka]\nbrokers = 'a:1'\n[kafka.client]\nlinger.ms = 5\n";
        let config = load(toml, &[], &[]).expect("fine");
        assert_eq!((config.cluster.as_str(), config.kafka.brokers.as_str()), ("one", "a:1"));
        assert_eq!(config.kafka.client["linger.ms"], "5");
        assert_eq!(config.coordination().chroot, "/one");
        let variables = [
            ("OTTER_KAFKA__BROKERS", "b:1"),
            ("OTTER_KAFKA__CLIENT__SASL_PASSWORD", "secret"),
            ("OTTER_CLUSTER", "two"),
            ("OTTER_SHOP_PASSWORD", "unrelated"),
            ("OTHER", "x"),
        ];
        let config = load(toml, &variables, &["kafka.brokers=c:1"]).expect("fine");
        assert_eq!((config.cluster.as_str(), config.kafka.brokers.as_str()), ("two", "c:1"));
        assert_eq!(config.kafka.client["sasl.password"], "secret");
        let shown = toml::to_string(&config.redacted()).expect("TOML");
        assert!(shown.contains("\"sasl.password\" = \"***\"") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn unknown_keys_are_named_with_their_path() {
        let e = message("[kafka]\nbrokrs = 'x'\n", &[], &[]);
        assert!(e.starts_with("OT1004: kafka.brokrs: there is no such key; there are brokers, client (in "), "{e}");
        let e = message("", &[("OTTER_CAPTURE__NOTHING", "1")], &[]);
        assert!(e.starts_with("OT1004: capture.nothing: ") && e.contains("OTTER_CAPTURE__NOTHING"), "{e}");
        let e = message("", &[("OTTER_KAFKA_BROKERS", "x")], &[]);
        assert_eq!(e, "OT1004: OTTER_KAFKA_BROKERS is no key of the configuration; OTTER_KAFKA__BROKERS may be meant");
        let e = message("", &[], &["http.port=1"]);
        assert!(e.starts_with("OT1004: http.port: ") && e.contains("--set http.port"), "{e}");
        let e = message("", &[], &["http.port"]);
        assert_eq!(e, "OT1004: --set http.port: this is not KEY=VALUE");
    }

    #[test]
    fn wrong_values_are_named_with_their_path() {
        let e = message("cluster = 'Not A Name'\n", &[], &[]);
        assert!(e.starts_with("OT1004: cluster: \"Not A Name\" is not a name"), "{e}");
        let e = message("[zookeeper]\nsession_timeout = '5 parsecs'\n", &[], &[]);
        assert!(e.starts_with("OT1004: zookeeper.session_timeout: \"5 parsecs\" is not a duration"), "{e}");
        let e = message("[zookeeper\n", &[], &[]);
        assert!(e.starts_with("OT1004: "), "{e}");
        let none = Config::load(Some(Path::new("/no/such.toml")), std::iter::empty(), &[]).expect_err("refused");
        assert_eq!(none.to_string(), "OT1004: there is no configuration file /no/such.toml");
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let example = load(include_str!("../deploy/examples/otter.toml"), &[], &[]).expect("fine");
        assert_eq!(toml::to_string(&example).expect("TOML"), toml::to_string(&Config::default()).expect("TOML"));
        let documents = include_str!("../deploy/examples/shop.yaml");
        assert_eq!(schemas::documents::Document::parse_all(documents).expect("valid").len(), 3);
    }

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        let shown = toml::to_string(&Config::default().redacted()).expect("TOML");
        let again = load(&shown, &[], &[]).expect("fine");
        assert_eq!(toml::to_string(&again).expect("TOML"), shown);
    }
}
