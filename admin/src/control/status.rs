//! The documents, and what the workers say about them.
//!
//! Every worker is asked at its status address, all at once; one that does not answer is shown as such. Where nobody
//! runs a source, its position is the mirror in ZooKeeper of its last checkpoint.

use std::collections::BTreeMap;

use coordination::WorkerInfo;
use futures_util::future::join_all;
use reqwest::StatusCode;
use schemars::JsonSchema;
use schemas::Result;
use schemas::checkpoint::Checkpoint;
use schemas::documents::{Document, Kind, State};
use schemas::status::{ErrorStatus, LaneStatus, PipelineState, SourceState, SourceStatus, WorkerStatus};
use serde::{Deserialize, Serialize};

use super::{Caller, Control, Stored, WORKER_TIMEOUT};

/// The largest status: with thousands of lanes it is a few megabytes.
const MAX_STATUS: usize = 32 << 20;

/// A worker, and whether it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WorkerReport")]
pub struct Worker {
    /// What it announced.
    #[serde(flatten)]
    pub info: WorkerInfo,
    /// Why it did not answer; null when it did.
    pub silent: Option<String>,
}

/// Who a source's figures are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The worker that runs it.
    Worker,
    /// ZooKeeper's mirror of its last checkpoint.
    Mirror,
    /// Nobody knows any.
    Nobody,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SourceReport")]
pub struct Source {
    /// The worker that leads it.
    pub worker: Option<String>,
    /// Who the figures are from.
    pub origin: Origin,
    /// The figures.
    #[serde(flatten)]
    pub status: SourceStatus,
}

/// A lane and who has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LaneReport")]
pub struct Lane {
    /// The worker that has it.
    pub worker: String,
    /// What it does.
    #[serde(flatten)]
    pub status: LaneStatus,
}

/// An error of a pipeline as a whole, and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineError {
    /// The worker that has it.
    pub worker: String,
    /// The error.
    #[serde(flatten)]
    pub error: ErrorStatus,
}

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PipelineReport")]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// What the document says.
    pub state: State,
    /// What each worker says.
    pub workers: BTreeMap<String, PipelineState>,
    /// The longest lag of its lanes, from the change at the source to its commit at the target, in milliseconds.
    pub lag_ms: Option<i64>,
    /// Events in its topics that are not applied yet; null while no lane knows.
    pub behind: Option<i64>,
    /// Events applied since its lanes were taken.
    pub rows: u64,
    /// Events a second, over the last ten seconds.
    pub rate: u64,
    /// Its lanes, by topic and partition.
    pub lanes: Vec<Lane>,
    /// What is wrong with it as a whole.
    pub errors: Vec<PipelineError>,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The workers, by id.
    pub workers: Vec<Worker>,
    /// The sources, by name.
    pub sources: Vec<Source>,
    /// The pipelines, by name.
    pub pipelines: Vec<Pipeline>,
    /// Documents that cannot be read.
    pub unreadable: Vec<String>,
}

impl Control {
    /// Asks everybody.
    ///
    /// # Errors
    /// `OT2001` when ZooKeeper does not answer in time. A worker that does not answer is shown as silent.
    pub async fn status(&self, caller: &Caller) -> Result<Status> {
        let stored = self.stored().await?;
        let infos = self.coordination.workers().await?;
        let answers = join_all(infos.iter().map(|info| self.ask(caller, info))).await;
        let mut mirrors = BTreeMap::new();
        for source in stored.iter().filter(|s| s.kind == Kind::Source) {
            if let Some(checkpoint) = self.coordination.read_position(&source.name).await? {
                mirrors.insert(source.name.clone(), checkpoint);
            }
        }
        Ok(merge(&stored, &mirrors, infos, answers))
    }

    /// A worker's status, asked for with the caller's token.
    async fn ask(&self, caller: &Caller, info: &WorkerInfo) -> Result<WorkerStatus, String> {
        let address = info.status_address.as_deref().ok_or("it gives no status address")?;
        let mut request = self.http.get(format!("http://{address}/status"));
        if let Some(token) = &caller.token {
            request = request.bearer_auth(token.expose());
        }
        let mut answer = request.send().await.map_err(reason)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED if caller.token.is_none() => {
                return Err("it asks for a token, and none was given".to_owned());
            }
            other => return Err(format!("it answers {other}")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reason)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_STATUS {
                return Err(format!("its answer is larger than {MAX_STATUS} bytes"));
            }
        }
        let status: WorkerStatus =
            serde_json::from_slice(&body).map_err(|e| format!("its answer is no status: {e}"))?;
        // Another process may listen there by now.
        if status.worker == info.id { Ok(status) } else { Err(format!("worker {} answers there", status.worker)) }
    }
}

/// The innermost cause: the outer ones repeat the address.
fn reason(e: reqwest::Error) -> String {
    if e.is_timeout() {
        return format!("no answer within {} s", WORKER_TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = &e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What all of them know, put together: the documents, the mirrors of the sources' checkpoints, the workers and what
/// each of them answered, in the same order.
pub fn merge(
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
            Ok(Document::Pipeline(p)) => {
                status.pipelines.push(pipeline(&document.name, p.state.unwrap_or_default(), &heard))
            }
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
    let mut found = Pipeline {
        name: name.to_owned(),
        state,
        workers: BTreeMap::new(),
        lag_ms: None,
        behind: None,
        rows: 0,
        rate: 0,
        lanes: Vec::new(),
        errors: Vec::new(),
    };
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
    found.lag_ms = found.lanes.iter().filter_map(|l| l.status.lag_ms).max();
    found.behind = found.lanes.iter().filter_map(|l| behind(&l.status)).reduce(|a, b| a + b);
    found.rate = found.lanes.iter().map(|l| l.status.rate).sum();
    found.rows = found.lanes.iter().map(|l| l.status.rows).sum();
    found
}

/// Events of a lane's partition that are not applied yet.
pub fn behind(lane: &LaneStatus) -> Option<i64> {
    lane.end_offset.zip(lane.next_offset).map(|(end, next)| (end - next).max(0))
}
