//! `otter offsets`: where sources and pipelines stand.

use schemas::offsets::{LaneOffset, PipelineOffsets, RecordPlace};
use serde::Serialize;

use super::Report;
use crate::table;

/// The pipelines.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Offsets(pub(crate) Vec<PipelineOffsets>);

impl Report for Offsets {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "there is no pipeline\n".to_owned();
        }
        self.0.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    fn success(&self) -> bool {
        self.0.iter().all(|p| p.error.is_none() && p.lanes.iter().all(|lane| lane.error.is_none()))
    }
}

fn of(pipeline: &PipelineOffsets) -> String {
    let mut text = match &pipeline.checkpoint {
        Some(at) => format!(
            "source {}: {} {} {}:{}, ordinal {}, generation {}\n",
            pipeline.source, at.time, at.gtid, at.file, at.position, at.ordinal, at.generation
        ),
        None => format!("source {}: no checkpoint yet\n", pipeline.source),
    };
    text.push_str(&format!("pipeline {}\n", pipeline.pipeline));
    if let Some(error) = &pipeline.error {
        text.push_str(&format!("  {error}\n"));
        return text;
    }
    let header = ["TABLE", "TOPIC", "PARTITION", "NEXT", "END", "LAG", "AT", "AVAILABLE FROM", "STATE"];
    let rows: Vec<Vec<String>> = pipeline.lanes.iter().map(row).collect();
    text.push_str(&table::align(&header, &rows));
    text
}

fn row(lane: &LaneOffset) -> Vec<String> {
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let place = |place: &RecordPlace| {
        let gtid = place.gtid.as_deref().unwrap_or("-");
        format!("{} {gtid} {}:{}", place.time, place.file, place.position)
    };
    let at = match (&lane.next, &lane.last) {
        (Some(next), _) => place(next),
        (None, Some(last)) => format!("behind {}", place(last)),
        (None, None) => "-".to_owned(),
    };
    let oldest = lane.oldest.as_ref().map_or_else(String::new, |oldest| format!(" {}", place(oldest)));
    let owned = if lane.owned { "owned" } else { "free" };
    let state = match (&lane.error, lane.replaying) {
        (Some(error), _) => error.clone(),
        (None, true) => format!("{owned}, replaying until {}", number(lane.replay_until)),
        (None, false) => owned.to_owned(),
    };
    vec![
        lane.table.clone().unwrap_or_else(|| "-".to_owned()),
        lane.topic.clone(),
        lane.partition.to_string(),
        number(lane.next_offset),
        lane.end_offset.to_string(),
        number(lane.lag),
        at,
        format!("{}{oldest}", lane.low_offset),
        state,
    ]
}
