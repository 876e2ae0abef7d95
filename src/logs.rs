//! The log, on the standard error: what is printed as a result never mixes with it.

use std::io::IsTerminal as _;

use schemas::{Code, Error, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// `OT1004` when the filter cannot be read.
pub(crate) fn start(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|e| Error::new(Code::ConfigInvalid, format!("log.filter: {:?}: {e}", log.filter)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| Error::new(Code::ConfigInvalid, format!("the log cannot be started: {e}")))
}
