//! `otter config show`.

use schemas::{Code, Error, Result};
use serde::Serialize;

use super::Report;
use crate::config::Config;

/// The configuration in force, secrets left out.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Shown {
    config: Config,
    #[serde(skip)]
    toml: String,
}

/// What is in force.
pub(crate) fn show(config: &Config) -> Result<Shown> {
    let config = config.redacted();
    let toml = toml::to_string(&config)
        .map_err(|e| Error::new(Code::ConfigInvalid, format!("the configuration cannot be shown: {e}")))?;
    Ok(Shown { config, toml })
}

impl Report for Shown {
    fn text(&self) -> String {
        self.toml.clone()
    }
}
