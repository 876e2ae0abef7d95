//! The verbs that do something and end. They work on ZooKeeper directly; a running role is asked for its status only.
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

use coordination::{Coordination, Documents};
use schemas::documents::{Document, Kind, World};
use schemas::{Code, Error, Result};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::{ConfigVerb, Output, Verb};
use crate::config::Config;

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
    let options = config.coordination();
    let connect = || Coordination::connect(&options, CancellationToken::new());
    if let Verb::Config { verb: ConfigVerb::Show } = verb {
        return print(output, &config::show(config)?);
    }
    if let Verb::Put { files } = &verb {
        // Before connecting: a wrong document is said to be wrong whether ZooKeeper answers or not.
        let documents = put::read(files)?;
        let coordination = connect().await?;
        let (changes, failure) = put::put(&coordination.documents(), documents).await;
        coordination.close().await;
        print(output, &changes)?;
        return failure.map_or(Ok(true), Err);
    }
    let selection = Selection::of(&verb)?;
    let coordination = connect().await?;
    let result = on_documents(output, verb, selection, &coordination).await;
    coordination.close().await;
    result
}

async fn on_documents(output: Output, verb: Verb, selection: Selection, coordination: &Coordination) -> Result<bool> {
    use schemas::documents::State;
    let documents = coordination.documents();
    match verb {
        Verb::Get { .. } => print(output, &get::get(&documents, &selection).await?),
        Verb::Delete { .. } => print(output, &delete::delete(&documents, &selection).await?),
        Verb::Pause { .. } => print(output, &state::set(&documents, &selection, State::Paused).await?),
        Verb::Resume { .. } => print(output, &state::set(&documents, &selection, State::Running).await?),
        Verb::Check { .. } => print(output, &check::check(&documents, &selection).await?),
        Verb::Status => print(output, &status::status(coordination).await?),
        Verb::Run | Verb::Capture | Verb::Apply | Verb::Admin | Verb::Put { .. } | Verb::Config { .. } => {
            Err(Error::new(Code::ConfigInvalid, "this verb does not work on documents"))
        }
    }
}

/// Which documents a verb is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    kind: Option<Kind>,
    name: Option<String>,
}

impl Selection {
    fn of(verb: &Verb) -> Result<Self> {
        let (kind, name) = match verb {
            Verb::Get { kind, name } | Verb::Check { kind, name } => (kind.as_ref(), name.as_ref()),
            Verb::Delete { kind, name, purge } => {
                if *purge {
                    let message = "delete --purge: this version does not drop positions and progress yet";
                    return Err(Error::new(Code::NotSupportedYet, message));
                }
                (Some(kind), Some(name))
            }
            Verb::Pause { kind, name } | Verb::Resume { kind, name } => (Some(kind), Some(name)),
            _ => (None, None),
        };
        Ok(Self { kind: kind.map(|k| k.parse()).transpose()?, name: name.cloned() })
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let only = self.kind;
        Kind::ALL.into_iter().filter(move |kind| only.is_none_or(|only| only == *kind))
    }

    fn takes(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|only| only == name)
    }

    /// Kind and name, for verbs whose command line demands both.
    fn exact(&self) -> Result<(Kind, &str)> {
        match (self.kind, &self.name) {
            (Some(kind), Some(name)) => Ok((kind, name)),
            _ => Err(Error::new(Code::NotFound, "kind and name of a document are needed")),
        }
    }
}

/// A document in ZooKeeper, with its version.
#[derive(Debug)]
struct Stored {
    kind: Kind,
    name: String,
    version: i32,
    document: Result<Document, std::sync::Arc<Error>>,
}

/// All documents, by kind and name.
async fn stored(documents: &Documents) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for (name, versioned) in documents.list(kind).await? {
            all.push(Stored { kind, name, version: versioned.version, document: versioned.value });
        }
    }
    Ok(all)
}

/// The documents that can be read, to look at together.
fn world(stored: &[Stored]) -> World {
    let mut world = World::default();
    for document in stored.iter().filter_map(|s| s.document.as_ref().ok()) {
        world.insert(document.clone());
    }
    world
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
