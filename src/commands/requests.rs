//! `otter replay`, `otter reset` and `otter repartition`: a request, its answer, and waiting for the end of a replay.

use std::time::Duration;

use schemas::documents::{Kind, Start, State};
use schemas::offsets::PipelineOffsets;
use schemas::request::{Action, Outcome, OutcomeState, PipelineAction, SeekTo, SourceAction, Ticket};
use schemas::{Code, Error, Result};
use serde::Serialize;

use super::Report;
use super::front::Front;

/// How often the positions are looked at while a replay is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What became of a request.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// Who it was asked of.
    name: String,
    /// The request's id.
    id: String,
    /// What came of it.
    outcome: Option<Outcome>,
    /// Where the pipeline stood in the end, when that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets: Option<PipelineOffsets>,
}

impl Report for Answer {
    fn text(&self) -> String {
        let Some(outcome) = &self.outcome else { return format!("request {}: no answer\n", self.id) };
        let code = outcome.code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
        let state = match outcome.state {
            OutcomeState::Taken => "taken",
            OutcomeState::Done => "done",
            OutcomeState::Refused => "refused",
        };
        let mut text = format!("request {} {state} by {}: {code}{}\n", self.id, outcome.by, outcome.message);
        for detail in &outcome.details {
            text.push_str(&format!("  {}\n", line(detail)));
        }
        if let Some(offsets) = &self.offsets {
            for lane in &offsets.lanes {
                let done = &lane.replayed;
                text.push_str(&format!(
                    "  {}/{}: rewritten {}, restored {}, removed {}, missing {}\n",
                    lane.topic, lane.partition, done.rewritten, done.restored, done.removed, done.missing
                ));
            }
        }
        text
    }

    fn success(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.state == OutcomeState::Done)
    }
}

/// An object on one line, without what is null.
fn line(detail: &serde_json::Value) -> String {
    let serde_json::Value::Object(fields) = detail else { return detail.to_string() };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    let parts: Vec<String> = shown
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name} {text}"),
            serde_json::Value::Object(_) => format!("{name} ({})", line(value)),
            other => format!("{name} {other}"),
        })
        .collect();
    parts.join(", ")
}

/// Sets a pipeline's position; with `wait`, resumes it and waits until it has written all again.
///
/// # Errors
/// What the API or ZooKeeper says; a refusal of the worker is an answer, not an error.
pub(crate) async fn replay(front: &Front, name: &str, action: PipelineAction, wait: bool) -> Result<Answer> {
    let mut answer = answer(name, front.ask_pipeline(name, action).await?);
    if wait && answer.success() {
        front.set_state(name, None, State::Running).await?;
        loop {
            let offsets = front.offsets(Some(name)).await?.into_iter().next();
            if offsets.as_ref().is_some_and(|o| o.error.is_none() && o.lanes.iter().all(|lane| !lane.replaying)) {
                answer.offsets = offsets;
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(answer)
}

/// Asks something of a source: to go on from another position, or to give a topic more partitions.
///
/// # Errors
/// As [`replay`].
pub(crate) async fn ask(front: &Front, name: &str, action: SourceAction) -> Result<Answer> {
    Ok(answer(name, front.ask_source(name, action).await?))
}

fn answer<A: Action>(name: &str, ticket: Ticket<A>) -> Answer {
    Answer { name: name.to_owned(), id: ticket.request.id, outcome: ticket.outcome, offsets: None }
}

/// Refuses another kind than the one that the verb is about.
///
/// # Errors
/// `OT1004` naming the kind.
pub(crate) fn expect(kind: &str, wanted: Kind) -> Result<()> {
    if kind.parse::<Kind>()? == wanted {
        return Ok(());
    }
    Err(Error::new(Code::ConfigInvalid, format!("this verb is about a {wanted}, not a {kind}")))
}

/// A position in a topic, as written on the command line.
///
/// # Errors
/// `OT1004` when it is none.
pub(crate) fn seek_to(text: &str) -> Result<SeekTo> {
    let wrong = |why: &dyn std::fmt::Display| Error::new(Code::ConfigInvalid, format!("--to {text}: {why}"));
    Ok(match text.split_once('=') {
        None if text == "earliest" => SeekTo::Earliest,
        None if text == "latest" => SeekTo::Latest,
        Some(("offset", offset)) => SeekTo::Offset(offset.parse().map_err(|e| wrong(&e))?),
        Some(("timestamp", moment)) => SeekTo::Timestamp(moment.parse().map_err(|e: Error| wrong(&e.message()))?),
        Some(("gtid", position)) => SeekTo::Gtid(position.parse().map_err(|e: Error| wrong(&e.message()))?),
        _ => return Err(wrong(&"earliest, latest, offset=5, timestamp=2026-11-22T13:00:00Z or gtid=0-1-5")),
    })
}

/// A position in a source, as written on the command line.
///
/// # Errors
/// `OT1004` when it is none.
pub(crate) fn start(text: &str) -> Result<Start> {
    let wrong = |why: &dyn std::fmt::Display| Error::new(Code::ConfigInvalid, format!("--to {text}: {why}"));
    let value = match text.split_once('=') {
        None => serde_json::Value::from(text),
        Some(("file", place)) => {
            let (file, position) = place.rsplit_once(':').ok_or_else(|| wrong(&"a file and a position, file:4"))?;
            let position: u64 = position.parse().map_err(|e| wrong(&e))?;
            serde_json::json!({"file": file, "position": position})
        }
        Some((field, value)) => serde_json::json!({field: value}),
    };
    serde_json::from_value(value).map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_from_the_command_line() {
        assert_eq!(seek_to("earliest").ok(), Some(SeekTo::Earliest));
        assert_eq!(seek_to("offset=5").ok(), Some(SeekTo::Offset(5)));
        assert!(matches!(seek_to("timestamp=2026-11-22T13:00:00Z"), Ok(SeekTo::Timestamp(_))));
        assert!(matches!(seek_to("gtid=0-1-5,7-1-2"), Ok(SeekTo::Gtid(_))));
        for wrong in ["", "begin", "offset=x", "timestamp=today", "gtid=5", "offset"] {
            assert_eq!(seek_to(wrong).map_err(|e| e.code()), Err(Code::ConfigInvalid), "{wrong}");
        }
        assert_eq!(start("latest").ok(), Some(Start::Latest));
        assert!(matches!(start("gtid=0-1-5"), Ok(Start::Gtid(_))));
        assert!(start("offset=5").is_err());
        assert!(expect("pipeline", Kind::Pipeline).is_ok());
        assert!(expect("source", Kind::Pipeline).is_err());
    }
}
