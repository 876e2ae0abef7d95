//! The verbs that do something and end, all of them as clients of the admin API, or with `--direct` on
//! ZooKeeper through the same [`admin::control::Control`] that the API stands on.
//!
//! Each verb makes a report, a value that can be printed as a table, JSON or YAML. What a verb did is printed even when
//! it then failed.

mod check;
mod config;
mod delete;
mod explain;
mod front;
mod get;
mod offsets;
mod put;
mod requests;
mod state;
mod status;
mod tokens;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use admin::control::{Caller, Control, Selection};
use coordination::{Coordination, Role};
use schemas::documents::{Document, Kind, State};
use schemas::request::{PipelineAction, SourceAction};
use schemas::{Code, Error, Result};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::cli::{AdminVerb, ConfigVerb, Global, Output, TokenVerb, Verb};
use crate::client::Client;
use crate::config::Config;
use crate::tools::Lent;
use front::Front;

/// How long a direct command waits for its records in the audit trail.
const TRAIL: Duration = Duration::from_secs(5);

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
pub(crate) async fn run(config: &Config, global: &Global, verb: Verb) -> Result<bool> {
    let output = global.output;
    // Before connecting: a wrong document is said to be wrong whether anybody answers or not.
    let job = match verb {
        Verb::Config { verb: ConfigVerb::Show } => return print(output, &config::show(config)?),
        Verb::Explain { code } => return print(output, &explain::explain(&code)?),
        verb => Job::of(verb)?,
    };
    if !global.direct && !matches!(job, Job::Init { .. }) {
        let front = Front::Api(Client::new(config)?);
        return job.run(output, &front).await;
    }
    let coordination = Coordination::connect(&config.coordination(), CancellationToken::new()).await?;
    let (audit, trail) = Audit::start(config.kafka()?, config.cluster.as_str());
    let control = Control::new(coordination.clone(), Arc::new(Lent::new(audit, config)?))?;
    let front = Front::Direct(control, Caller::direct(user(), config.client.token()?));
    let result = job.run(output, &front).await;
    if let Err(e) = trail.finish(TRAIL).await {
        eprintln!("warning: {e}");
    }
    coordination.close().await;
    result
}

/// What is to be done, its arguments read.
enum Job {
    Put(Vec<Document>),
    Get(Selection),
    Delete(Kind, String, bool),
    State { name: String, table: Option<String>, state: State },
    Check(Selection),
    Status,
    Init { again: bool },
    TokenCreate(String, Role),
    TokenList,
    TokenRevoke(String),
    Offsets(Option<String>),
    Replay { name: String, action: PipelineAction, wait: bool },
    Ask { name: String, action: SourceAction },
}

impl Job {
    fn of(verb: Verb) -> Result<Self> {
        Ok(match verb {
            Verb::Put { files } => Self::Put(put::read(&files)?),
            Verb::Get { kind, name } => Self::Get(selection(kind.as_deref(), name)?),
            Verb::Check { kind, name } => Self::Check(selection(kind.as_deref(), name)?),
            Verb::Delete { kind, name, purge } => Self::Delete(kind.parse()?, name, purge),
            Verb::Pause { kind, name, table } => {
                requests::expect(&kind, Kind::Pipeline)?;
                Self::State { name, table, state: State::Paused }
            }
            Verb::Resume { kind, name, table } => {
                requests::expect(&kind, Kind::Pipeline)?;
                Self::State { name, table, state: State::Running }
            }
            Verb::Status => Self::Status,
            Verb::Offsets { name } => Self::Offsets(name),
            Verb::Replay { kind, name, table, partition, to, wait } => {
                requests::expect(&kind, Kind::Pipeline)?;
                let action = PipelineAction::Seek { table, partition, to: requests::seek_to(&to)? };
                Self::Replay { name, action, wait }
            }
            Verb::Reset { kind, name, to } => {
                requests::expect(&kind, Kind::Source)?;
                Self::Ask { name, action: SourceAction::Reset { to: requests::start(&to)? } }
            }
            Verb::Repartition { source, table, partitions } => {
                Self::Ask { name: source, action: SourceAction::Repartition { table, partitions } }
            }
            Verb::Adopt { source, table } => Self::Ask { name: source, action: SourceAction::Adopt { table } },
            Verb::Admin { verb: Some(AdminVerb::Init { again }) } => Self::Init { again },
            Verb::Token { verb: TokenVerb::Create { name, role } } => Self::TokenCreate(name, role),
            Verb::Token { verb: TokenVerb::List } => Self::TokenList,
            Verb::Token { verb: TokenVerb::Revoke { id } } => Self::TokenRevoke(id),
            Verb::Run
            | Verb::Capture
            | Verb::Apply
            | Verb::Admin { verb: None }
            | Verb::Config { .. }
            | Verb::Explain { .. } => {
                return Err(Error::new(Code::ConfigInvalid, "this verb does not work on documents"));
            }
        })
    }

    async fn run(self, output: Output, front: &Front) -> Result<bool> {
        match self {
            Self::Put(documents) => print(output, &put::Changes(front.put(documents).await?)),
            Self::Get(selection) => {
                print(output, &get::Got::new(front.documents(&selection).await?, selection.name.is_some())?)
            }
            Self::Delete(kind, name, purge) => print(output, &front.delete(kind, &name, purge).await?),
            Self::State { name, table, state } => {
                print(output, &front.set_state(&name, table.as_deref(), state).await?)
            }
            Self::Check(selection) => print(output, &check::Findings(front.check(&selection).await?)),
            Self::Status => print(output, &front.status().await?),
            Self::Init { again } => print(output, &front.init_token(again).await?),
            Self::TokenCreate(name, role) => print(output, &front.create_token(&name, role).await?),
            Self::TokenList => print(output, &tokens::TokenList(front.tokens().await?)),
            Self::TokenRevoke(id) => print(output, &tokens::Revoked(front.revoke_token(&id).await?)),
            Self::Offsets(name) => print(output, &offsets::Offsets(front.offsets(name.as_deref()).await?)),
            Self::Replay { name, action, wait } => print(output, &requests::replay(front, &name, action, wait).await?),
            Self::Ask { name, action } => print(output, &requests::ask(front, &name, action).await?),
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
