//! The verbs that do something and end, all of them through [`admin::control::Control`].
//!
//! Each verb makes a report, a value that can be printed as a table, JSON or YAML. What a verb did is printed even when
//! it then failed.

mod check;
mod config;
mod delete;
mod get;
mod put;
mod state;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use admin::control::documents::Put;
use admin::control::{Caller, Control, Selection};
use coordination::Coordination;
use schemas::documents::{Document, Kind, State};
use schemas::{Code, Error, Result};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::{ConfigVerb, Output, Verb};
use crate::config::Config;
use crate::tools::Lent;

/// A result that can be printed.
pub(crate) trait Report: Serialize {
    /// For people.
    fn text(&self) -> String;

    /// Whether the command did what it was asked to: exit code 0 or 1.
    fn success(&self) -> bool {
        true
    }
}

/// Carries out a verb; `false` when it found something wrong and said so.
pub(crate) async fn run(config: &Config, output: Output, verb: Verb) -> Result<bool> {
    if let Verb::Config { verb: ConfigVerb::Show } = verb {
        return print(output, &config::show(config)?);
    }
    // Before connecting: a wrong document is said to be wrong whether anybody answers or not.
    let job = Job::of(verb)?;
    let coordination = Coordination::connect(&config.coordination(), CancellationToken::new()).await?;
    let control = Control::new(coordination.clone(), Arc::new(Lent))?;
    let result = job.run(output, &control, &Caller::direct(user(), None)).await;
    coordination.close().await;
    result
}

/// What is to be done, its arguments read.
enum Job {
    Put(Vec<Document>),
    Get(Selection),
    Delete(Kind, String),
    State(Kind, String, State),
    Check(Selection),
    Status,
}

impl Job {
    fn of(verb: Verb) -> Result<Self> {
        Ok(match verb {
            Verb::Put { files } => Self::Put(put::read(&files)?),
            Verb::Get { kind, name } => Self::Get(selection(kind.as_deref(), name)?),
            Verb::Check { kind, name } => Self::Check(selection(kind.as_deref(), name)?),
            Verb::Delete { purge: true, .. } => {
                let message = "delete --purge: this version does not drop positions and progress yet";
                return Err(Error::new(Code::NotSupportedYet, message));
            }
            Verb::Delete { kind, name, purge: false } => Self::Delete(kind.parse()?, name),
            Verb::Pause { kind, name } => Self::State(kind.parse()?, name, State::Paused),
            Verb::Resume { kind, name } => Self::State(kind.parse()?, name, State::Running),
            Verb::Status => Self::Status,
            Verb::Run | Verb::Capture | Verb::Apply | Verb::Admin | Verb::Config { .. } => {
                return Err(Error::new(Code::ConfigInvalid, "this verb does not work on documents"));
            }
        })
    }

    async fn run(self, output: Output, control: &Control, caller: &Caller) -> Result<bool> {
        match self {
            Self::Put(documents) => print(output, &put::Changes(control.put(caller, documents, Put::default()).await?)),
            Self::Get(selection) => {
                print(output, &get::Got::new(control.documents(&selection).await?, selection.name.is_some())?)
            }
            Self::Delete(kind, name) => print(output, &control.delete(caller, kind, &name, None).await?),
            Self::State(kind, name, state) => print(output, &control.set_state(caller, kind, &name, state).await?),
            Self::Check(selection) => print(output, &check::Findings(control.check(&selection).await?)),
            Self::Status => print(output, &control.status(caller).await?),
        }
    }
}

fn selection(kind: Option<&str>, name: Option<String>) -> Result<Selection> {
    Ok(Selection { kind: kind.map(str::parse).transpose()?, name })
}

/// Who works on ZooKeeper directly, for the audit trail: the user and his host.
fn user() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", crate::roles::host())
}

/// The text of a file, or of the standard input for `-`.
fn read_text(file: &PathBuf) -> Result<String> {
    let (name, text) = if file.as_os_str() == "-" {
        ("the standard input".to_owned(), std::io::read_to_string(std::io::stdin()))
    } else {
        (file.display().to_string(), std::fs::read_to_string(file))
    };
    text.map_err(|e| Error::new(Code::FileUnreadable, format!("{name} cannot be read: {e}")).with_source(e))
}

/// Prints a report; gives whether it reports success.
fn print<R: Report>(output: Output, report: &R) -> Result<bool> {
    let fail =
        |e: &dyn std::fmt::Display| Error::new(Code::FileUnreadable, format!("the result cannot be printed: {e}"));
    let text = match output {
        Output::Table => report.text(),
        Output::Json => serde_json::to_string_pretty(report).map_err(|e| fail(&e))? + "\n",
        Output::Yaml => serde_yaml_ng::to_string(report).map_err(|e| fail(&e))?,
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read our output has seen enough, as in `otter get | head`.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(report.success()),
        Err(e) => Err(fail(&e)),
        Ok(()) => Ok(report.success()),
    }
}
