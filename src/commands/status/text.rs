//! The status for people: tables, then everything that is wrong with its remedy.

use schemas::documents::State;
use schemas::status::{ErrorStatus, LaneState, PipelineState, SourceState, Waiting};

use crate::table::align;
use admin::control::status::{Lane, Origin, Pipeline, Source, Status, Worker, behind};

pub(super) fn render(status: &Status) -> String {
    let mut parts = Vec::new();
    if !status.sources.is_empty() {
        let rows: Vec<_> = status.sources.iter().map(source).collect();
        parts.push(align(&["SOURCE", "STATE", "POSITION", "LAG", "ROWS", "WORKER"], &rows));
    }
    if !status.pipelines.is_empty() {
        let rows: Vec<_> = status.pipelines.iter().flat_map(pipeline).collect();
        parts.push(align(&["PIPELINE", "STATE", "TOPIC", "OFFSET", "BEHIND", "LAG", "ROWS", "WORKER"], &rows));
    }
    if !status.workers.is_empty() {
        let worker = |w: &Worker| {
            let address = w.info.status_address.clone().unwrap_or_default();
            let silent = w.silent.as_ref().map(|why| format!(" (silent: {why})")).unwrap_or_default();
            vec![w.info.id.clone(), w.info.roles.join(","), w.info.version.clone(), address + &silent]
        };
        let rows: Vec<_> = status.workers.iter().map(worker).collect();
        parts.push(align(&["WORKER", "ROLES", "VERSION", "ADDRESS"], &rows));
    }
    if parts.is_empty() {
        parts.push("There are no documents and no workers.\n".to_owned());
    } else if status.workers.is_empty() {
        parts.push("No worker runs.\n".to_owned());
    }
    let problems = problems(status);
    if !problems.is_empty() {
        parts.push(problems.join(""));
    }
    parts.join("\n")
}

fn source(source: &Source) -> Vec<String> {
    let s = &source.status;
    let state = match (source.origin, s.state) {
        (Origin::Mirror | Origin::Nobody, _) => "no leader",
        (Origin::Worker, SourceState::Waiting) => "waiting",
        (Origin::Worker, SourceState::Starting) => "starting",
        (Origin::Worker, SourceState::Running) => "running",
        (Origin::Worker, SourceState::Retrying) => "retrying",
        (Origin::Worker, SourceState::Stopped) => "stopped",
    };
    let position = match (s.gtid.is_empty(), s.file.is_empty()) {
        (true, true) => "-".to_owned(),
        (true, false) => format!("{}:{}", s.file, s.position),
        (false, _) => s.gtid.to_string(),
    };
    let worker = source.worker.clone().unwrap_or_default();
    vec![s.name.clone(), state.to_owned(), position, lag(s.lag_ms), s.rows.to_string(), worker]
}

fn pipeline(pipeline: &Pipeline) -> Vec<Vec<String>> {
    if pipeline.lanes.is_empty() {
        let workers = pipeline.workers.keys().cloned().collect::<Vec<_>>().join(",");
        let cells = [pipeline.name.as_str(), whole_state(pipeline), "-", "-", "-", "-", "-", &workers];
        return vec![cells.map(str::to_owned).to_vec()];
    }
    pipeline.lanes.iter().map(|l| lane(pipeline, l)).collect()
}

/// The worst that anybody says, unless the document says that it stands still.
fn whole_state(pipeline: &Pipeline) -> &'static str {
    let says = |state| pipeline.workers.values().any(|s| *s == state);
    match pipeline.state {
        State::Paused => "paused",
        State::Running if pipeline.workers.is_empty() => "no worker",
        State::Running if says(PipelineState::Stopped) => "stopped",
        State::Running if says(PipelineState::Retrying) => "retrying",
        State::Running if says(PipelineState::Running) => "running",
        State::Running => "starting",
    }
}

fn lane(pipeline: &Pipeline, lane: &Lane) -> Vec<String> {
    let l = &lane.status;
    let state = match l.state {
        _ if pipeline.state == State::Paused => "paused",
        LaneState::Claiming => "claiming",
        LaneState::Running if l.replaying => "replaying",
        LaneState::Running => "running",
        LaneState::Retrying => "retrying",
        LaneState::Paused if l.error.is_none() => "paused",
        LaneState::Paused => "stopped",
        LaneState::Waiting => "waiting",
        LaneState::Joined => "joined",
    };
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    vec![
        pipeline.name.clone(),
        state.to_owned(),
        format!("{}[{}]", l.topic, l.partition),
        number(l.next_offset),
        number(behind(l)),
        lag(l.lag_ms),
        l.rows.to_string(),
        lane.worker.clone(),
    ]
}

fn lag(millis: Option<i64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(ms) if ms < 10_000 => format!("{ms} ms"),
        Some(ms) => format!("{} s", ms / 1000),
    }
}

/// What a lane waits for, and what stands in the way of the lane that it waits for.
fn waits(subject: &str, lanes: &[Lane], waiting: &Waiting) -> String {
    let Waiting { for_topic, for_partition, ordinal, why, .. } = waiting;
    let other = lanes.iter().find(|l| l.status.topic == *for_topic && l.status.partition == *for_partition);
    let error = other.and_then(|l| l.status.error.as_ref());
    let stopped = error.map(|e| format!("\n  which has stopped: {}: {}", e.code, e.message)).unwrap_or_default();
    format!("{subject}: waits in front of ordinal {ordinal} for {for_topic}[{for_partition}]: {why}{stopped}\n")
}

fn problems(status: &Status) -> Vec<String> {
    let problem =
        |subject: String, e: &ErrorStatus| format!("{subject}: {}: {}\n  remedy: {}\n", e.code, e.message, e.remedy);
    let mut problems: Vec<String> = status.unreadable.iter().map(|line| format!("{line}\n")).collect();
    for source in &status.sources {
        problems.extend(source.status.error.iter().map(|e| problem(format!("source {}", source.status.name), e)));
    }
    for pipeline in &status.pipelines {
        let name = format!("pipeline {}", pipeline.name);
        problems.extend(pipeline.errors.iter().map(|e| problem(format!("{name} on {}", e.worker), &e.error)));
        for lane in &pipeline.lanes {
            let subject = format!("{name}, {}[{}]", lane.status.topic, lane.status.partition);
            problems.extend(lane.status.error.iter().map(|e| problem(subject.clone(), e)));
            problems.extend(lane.status.waiting.iter().map(|w| waits(&subject, &pipeline.lanes, w)));
        }
    }
    problems
}
