//! `otter status`: the documents, and what the workers say about them.
//!
//! Every worker is asked at its status address, all at once; one that does not answer is shown as such. Where nobody
//! runs a source, its position is the mirror in ZooKeeper of its last checkpoint.

mod text;

use std::collections::BTreeMap;

use coordination::{Coordination, WorkerInfo};
use futures_util::future::join_all;
use schemas::Result;
use schemas::checkpoint::Checkpoint;
use schemas::documents::{Document, Kind, State};
use schemas::status::{ErrorStatus, LaneStatus, PipelineState, SourceState, SourceStatus, WorkerStatus};
use serde::Serialize;

use super::{Report, Stored, stored};
use crate::fetch;

/// A worker, and whether it answers.
#[derive(Debug, Serialize)]
pub(crate) struct Worker {
    #[serde(flatten)]
    info: WorkerInfo,
    /// Why it did not answer; null when it did.
    silent: Option<String>,
}

/// Who a source's figures are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The worker that runs it.
    Worker,
    /// ZooKeeper's mirror of its last checkpoint.
    Mirror,
    /// Nobody knows any.
    Nobody,
}

/// A source.
#[derive(Debug, Serialize)]
pub(crate) struct Source {
    /// The worker that leads it.
    worker: Option<String>,
    origin: Origin,
    #[serde(flatten)]
    status: SourceStatus,
}

/// A lane and who has it.
#[derive(Debug, Serialize)]
pub(crate) struct Lane {
    worker: String,
    #[serde(flatten)]
    status: LaneStatus,
}

/// An error of a pipeline as a whole, and whose it is.
#[derive(Debug, Serialize)]
pub(crate) struct PipelineError {
    worker: String,
    #[serde(flatten)]
    error: ErrorStatus,
}

/// A pipeline.
#[derive(Debug, Serialize)]
pub(crate) struct Pipeline {
    name: String,
    /// What the document says.
    state: State,
    /// What each worker says.
    workers: BTreeMap<String, PipelineState>,
    lanes: Vec<Lane>,
    errors: Vec<PipelineError>,
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Status {
    workers: Vec<Worker>,
    sources: Vec<Source>,
    pipelines: Vec<Pipeline>,
    /// Documents that cannot be read.
    unreadable: Vec<String>,
}

/// Asks everybody.
pub(crate) async fn status(coordination: &Coordination) -> Result<Status> {
    let stored = stored(&coordination.documents()).await?;
    let infos = coordination.workers().await?;
    let answers = join_all(infos.iter().map(ask)).await;
    let mut mirrors = BTreeMap::new();
    for source in stored.iter().filter(|s| s.kind == Kind::Source) {
        if let Some(checkpoint) = coordination.read_position(&source.name).await? {
            mirrors.insert(source.name.clone(), checkpoint);
        }
    }
    Ok(merge(&stored, &mirrors, infos, answers))
}

async fn ask(info: &WorkerInfo) -> Result<WorkerStatus, String> {
    let address = info.status_address.as_deref().ok_or("it gives no status address")?;
    let body = fetch::get(address, "/status").await?;
    let status: WorkerStatus = serde_json::from_slice(&body).map_err(|e| format!("its answer is no status: {e}"))?;
    // Another process may listen there by now.
    if status.worker == info.id { Ok(status) } else { Err(format!("worker {} answers there", status.worker)) }
}

/// What all of them know, put together.
fn merge(
    stored: &[Stored],
    mirrors: &BTreeMap<String, Checkpoint>,
    infos: Vec<WorkerInfo>,
    answers: Vec<Result<WorkerStatus, String>>,
) -> Status {
    let heard: Vec<&WorkerStatus> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
    let mut status = Status::default();
    for document in stored {
        match &document.document {
            Ok(Document::Source(_)) => {
                status.sources.push(source(&document.name, mirrors.get(&document.name), &heard));
            }
            Ok(Document::Pipeline(p)) => status.pipelines.push(pipeline(&document.name, p.state, &heard)),
            Ok(Document::Target(_)) => {}
            Err(e) => status.unreadable.push(format!("{} {}: {e}", document.kind, document.name)),
        }
    }
    let workers = infos.into_iter().zip(answers.iter());
    status.workers = workers.map(|(info, answer)| Worker { info, silent: answer.as_ref().err().cloned() }).collect();
    status
}

/// The source as the worker sees it that has most to do with it.
fn source(name: &str, mirror: Option<&Checkpoint>, heard: &[&WorkerStatus]) -> Source {
    let entries = heard.iter().flat_map(|w| w.sources.iter().map(move |s| (w.worker.as_str(), s)));
    let best = entries.filter(|(_, s)| s.name == name).max_by_key(|(_, s)| (weight(s.state), s.epoch));
    match (best, mirror) {
        (Some((worker, status)), _) if status.state != SourceState::Waiting => {
            Source { worker: Some(worker.to_owned()), origin: Origin::Worker, status: status.clone() }
        }
        (_, Some(mirror)) => Source { worker: None, origin: Origin::Mirror, status: from_mirror(name, mirror) },
        (_, None) => {
            let status = SourceStatus { name: name.to_owned(), ..SourceStatus::default() };
            Source { worker: None, origin: Origin::Nobody, status }
        }
    }
}

fn weight(state: SourceState) -> u8 {
    match state {
        SourceState::Running => 4,
        SourceState::Starting => 3,
        SourceState::Retrying => 2,
        SourceState::Stopped => 1,
        SourceState::Waiting => 0,
    }
}

fn from_mirror(name: &str, mirror: &Checkpoint) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        epoch: mirror.epoch,
        gtid: mirror.gtid.clone(),
        file: mirror.file.clone(),
        position: mirror.position,
        ordinal: mirror.ordinal,
        ..SourceStatus::default()
    }
}

fn pipeline(name: &str, state: State, heard: &[&WorkerStatus]) -> Pipeline {
    let mut found =
        Pipeline { name: name.to_owned(), state, workers: BTreeMap::new(), lanes: Vec::new(), errors: Vec::new() };
    for worker in heard {
        for entry in worker.pipelines.iter().filter(|p| p.name == name) {
            let id = &worker.worker;
            found.workers.insert(id.clone(), entry.state);
            found.lanes.extend(entry.lanes.iter().map(|l| Lane { worker: id.clone(), status: l.clone() }));
            let error = entry.error.clone();
            found.errors.extend(error.map(|error| PipelineError { worker: id.clone(), error }));
        }
    }
    found.lanes.sort_by(|a, b| {
        let key = |l: &Lane| (l.status.topic.clone(), l.status.partition);
        key(a).cmp(&key(b))
    });
    found
}

impl Report for Status {
    fn text(&self) -> String {
        text::render(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::status::{LaneState, PipelineStatus};
    use schemas::{Code, Error};

    fn documents() -> Vec<Stored> {
        let text = "
kind: source
name: crm
addresses: ['db1:3306']
user: otter
---
kind: source
name: shop
addresses: ['db2:3306']
user: otter
---
kind: pipeline
name: idle
source: crm
target: report
state: paused
mappings: [{from: a.b, to: c.d}]
---
kind: pipeline
name: users
source: shop
target: report
mappings: [{from: shop.tb_user, to: shop.tb_user2}]
";
        let stored = |d: Document| Stored { kind: d.kind(), name: d.name().to_string(), version: 0, document: Ok(d) };
        Document::parse_all(text).expect("valid").into_iter().map(stored).collect()
    }

    fn info(id: &str) -> WorkerInfo {
        let (host, version) = ("h".to_owned(), "0.1.0".to_owned());
        let roles = vec!["capture".to_owned(), "apply".to_owned()];
        WorkerInfo { id: id.to_owned(), roles, host, version, status_address: Some("127.0.0.1:8010".to_owned()) }
    }

    /// One worker that leads `shop` and has a lane that stands still.
    fn heard() -> WorkerStatus {
        let shop = SourceStatus {
            name: "shop".into(),
            state: SourceState::Running,
            gtid: "0-1-42".parse().expect("a position"),
            lag_ms: Some(7),
            rows: 1234,
            ..SourceStatus::default()
        };
        let error = ErrorStatus::new(&Error::new(Code::RowExists, "shop.tb_user2: id=7"), 0);
        let lane = LaneStatus {
            topic: "shop.shop.tb_user".into(),
            state: LaneState::Paused,
            next_offset: Some(90),
            end_offset: Some(100),
            rows: 80,
            error: Some(error),
            ..LaneStatus::default()
        };
        let users = PipelineStatus {
            name: "users".into(),
            state: PipelineState::Running,
            lanes: vec![lane],
            ..PipelineStatus::default()
        };
        WorkerStatus { worker: "h-1".into(), sources: vec![shop], pipelines: vec![users], ..WorkerStatus::default() }
    }

    #[test]
    fn what_people_see() {
        let mirror = Checkpoint {
            epoch: 1,
            file: "binlog.000001".into(),
            position: 4,
            ..Checkpoint::new(schemas::checkpoint::ServerIdentity::mariadb(1), "0-1-7".parse().expect("a position"))
        };
        let mirrors = BTreeMap::from([("crm".to_owned(), mirror)]);
        let answers = vec![Ok(heard()), Err("no answer within 2 s".to_owned())];
        let status = merge(&documents(), &mirrors, vec![info("h-1"), info("h-2")], answers);
        insta::assert_snapshot!(status.text(), @r"
        SOURCE  STATE      POSITION  LAG   ROWS  WORKER
        crm     no leader  0-1-7     -     0
        shop    running    0-1-42    7 ms  1234  h-1

        PIPELINE  STATE    TOPIC                 OFFSET  BEHIND  LAG  ROWS  WORKER
        idle      paused   -                     -       -       -    -
        users     stopped  shop.shop.tb_user[0]  90      10      -    80    h-1

        WORKER  ROLES          VERSION  ADDRESS
        h-1     capture,apply  0.1.0    127.0.0.1:8010
        h-2     capture,apply  0.1.0    127.0.0.1:8010 (silent: no answer within 2 s)

        pipeline users, shop.shop.tb_user[0]: OT5005: shop.tb_user2: id=7
          remedy: Repair the row, or set `existing_row` of the mapping; then resume.
        ");
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(json["sources"][0]["origin"], "mirror");
        assert_eq!(json["sources"][1]["state"], "running");
        assert_eq!(json["pipelines"][1]["lanes"][0]["error"]["code"], "OT5005");
    }

    #[test]
    fn without_workers_and_documents() {
        assert_eq!(Status::default().text(), "There are no documents and no workers.\n");
        let status = merge(&documents(), &BTreeMap::new(), vec![], vec![]);
        assert!(status.text().contains("shop    no leader  -") && status.text().ends_with("No worker runs.\n"));
    }
}
