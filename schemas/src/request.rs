//! What an operator asks of a running role: a request with an id, taken once and answered once.
//!
//! A request is a node, `/sources/<name>/request` or `/pipelines/<name>/request`, that holds a [`Ticket`]. Whoever
//! serves the source or pipeline takes it, carries it out and answers; every step is a compare-and-set. A taker that
//! died may be replaced, and one that was frozen may wake beside its successor, so carrying a request out twice must
//! come to the same as once: its id is kept with what it changes (`progress.request_id`, the checkpoint).

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::documents::Start;
use crate::error::{Error, Result};
use crate::gtid::GtidPosition;
use crate::moment::Moment;

/// Longest id of a request, in characters: a column of the progress table holds it.
pub const MAX_ID: usize = 64;

/// What can be asked, and of whom.
pub trait Action: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The folder of those it is asked of, such as `pipelines`.
    const FOLDER: &'static str;
    /// One of them in words, such as `pipeline`.
    const NOUN: &'static str;
}

/// What can be asked of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceAction {
    /// Capture goes on from another position, under a raised generation.
    Reset {
        /// The position.
        to: Start,
    },
    /// The topic of a table gets more partitions; rows lie elsewhere behind a barrier.
    Repartition {
        /// The source's table, `schema.table`.
        table: String,
        /// How many partitions it is to have, more than it has; at most 1000.
        #[schemars(range(min = 2, max = 1000))]
        partitions: u32,
    },
    /// The topic of a table was deleted: the one that has its name now, or a new one, takes its place.
    Adopt {
        /// The source's table, `schema.table`.
        table: String,
    },
}

/// What can be asked of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PipelineAction {
    /// Its paused tables go on from another position.
    Seek {
        /// The source's table, `schema.table`; all of the pipeline's without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
        /// Only this partition of the table's topic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<i32>,
        /// The position.
        to: SeekTo,
    },
}

/// A position in the topic of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SeekTo {
    /// The oldest event that the topic still has.
    Earliest,
    /// What is published from now on.
    Latest,
    /// The record of this offset.
    Offset(i64),
    /// The first event whose transaction was committed at the source at this moment or later.
    Timestamp(Moment),
    /// The first event whose transaction is not in this set.
    #[schemars(with = "String")]
    Gtid(GtidPosition),
}

impl fmt::Display for SeekTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Timestamp(moment) => write!(f, "timestamp {moment}"),
            Self::Gtid(position) => write!(f, "gtid {position}"),
        }
    }
}

impl Action for SourceAction {
    const FOLDER: &'static str = "sources";
    const NOUN: &'static str = "source";
}

impl Action for PipelineAction {
    const FOLDER: &'static str = "pipelines";
    const NOUN: &'static str = "pipeline";
}

/// Who asked what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request<A> {
    /// The request's id, at most [`MAX_ID`] characters; no two requests share one.
    pub id: String,
    /// Who asked: a token's name, or the user of a command line.
    pub by: String,
    /// When, by the clock of whoever stored it.
    pub time: Moment,
    /// What.
    pub action: A,
}

/// Of a source.
pub type SourceRequest = Request<SourceAction>;
/// Of a pipeline.
pub type PipelineRequest = Request<PipelineAction>;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeState {
    /// A worker is at it.
    Taken,
    /// It was carried out.
    Done,
    /// It was not, and changed nothing.
    Refused,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// How far it is.
    pub state: OutcomeState,
    /// The worker's id.
    pub by: String,
    /// When, by the worker's clock.
    pub time: Moment,
    /// Of a refusal: the code's id, such as `OT5011`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was done, or why not.
    #[serde(default)]
    pub message: String,
    /// The same piece by piece: an object per lane, say; for programs, and for people line by line.
    #[serde(default)]
    pub details: Vec<serde_json::Value>,
}

impl Outcome {
    /// A worker is at it.
    pub fn taken(by: impl Into<String>) -> Self {
        Self::new(OutcomeState::Taken, by)
    }

    /// It was carried out: what was done.
    pub fn done(by: impl Into<String>, message: impl Into<String>, details: Vec<serde_json::Value>) -> Self {
        Self { message: message.into(), details, ..Self::new(OutcomeState::Done, by) }
    }

    /// It was not carried out: why, and what is available instead.
    pub fn refused(by: impl Into<String>, error: &Error, details: Vec<serde_json::Value>) -> Self {
        let code = Some(error.code().id().to_owned());
        Self { code, message: error.message().to_owned(), details, ..Self::new(OutcomeState::Refused, by) }
    }

    fn new(state: OutcomeState, by: impl Into<String>) -> Self {
        Self { state, by: by.into(), time: Moment::now(), code: None, message: String::new(), details: Vec::new() }
    }
}

/// What the node holds: the request asked last, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ticket<A> {
    /// The request.
    pub request: Request<A>,
    /// What became of it; nothing yet when `null`.
    pub outcome: Option<Outcome>,
}

impl<A: Action> Ticket<A> {
    /// Of a request that nobody has seen yet.
    pub fn new(request: Request<A>) -> Self {
        Self { request, outcome: None }
    }

    /// Whether there is no answer yet.
    pub fn is_open(&self) -> bool {
        self.outcome.as_ref().is_none_or(|outcome| outcome.state == OutcomeState::Taken)
    }

    /// The JSON of the node.
    ///
    /// # Errors
    /// `OT2003` when it cannot be written, which its types exclude.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(Code::NodeInvalid, e.to_string()).with_source(e))
    }

    /// Reads the node.
    ///
    /// # Errors
    /// `OT2003` when it holds something else.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|e| Error::new(Code::NodeInvalid, e.to_string()).with_source(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(to: SeekTo) -> Ticket<PipelineAction> {
        let action = PipelineAction::Seek { table: Some("shop.t".into()), partition: None, to };
        Ticket::new(Request { id: "r1".into(), by: "ops".into(), time: Moment::from_ms(0), action })
    }

    #[test]
    fn the_node_is_as_published() {
        let mut asked = ticket(SeekTo::Offset(5));
        let json = r#"{"request":{"id":"r1","by":"ops","time":"1970-01-01T00:00:00.000Z","action":{"seek":{"table":"shop.t","to":{"offset":5}}}},"outcome":null}"#;
        assert_eq!(asked.to_json().unwrap(), json.as_bytes());
        assert!(asked.is_open());
        asked.outcome = Some(Outcome::taken("w1"));
        assert!(asked.is_open());
        let refusal = Error::new(Code::OffsetLost, "gone");
        asked.outcome = Some(Outcome::refused("w1", &refusal, vec!["0 to 9".into()]));
        assert!(!asked.is_open());
        assert_eq!(Ticket::from_json(&asked.to_json().unwrap()).unwrap(), asked);
    }

    #[test]
    fn positions_are_written_as_people_do() {
        for (to, json) in [
            (SeekTo::Earliest, r#""earliest""#),
            (SeekTo::Latest, r#""latest""#),
            (SeekTo::Timestamp(Moment::from_ms(1)), r#"{"timestamp":"1970-01-01T00:00:00.001Z"}"#),
            (SeekTo::Gtid("0-1-5".parse().unwrap()), r#"{"gtid":"0-1-5"}"#),
        ] {
            assert_eq!(serde_json::to_string(&to).unwrap(), json);
            assert_eq!(serde_json::from_str::<SeekTo>(json).unwrap(), to);
            let asked = ticket(to);
            assert_eq!(Ticket::from_json(&asked.to_json().unwrap()).unwrap(), asked);
        }
        let reset = r#"{"reset":{"to":{"gtid":"0-1-5"}}}"#;
        let action = SourceAction::Reset { to: Start::Gtid("0-1-5".parse().unwrap()) };
        assert_eq!(serde_json::from_str::<SourceAction>(reset).unwrap(), action);
        let more = r#"{"repartition":{"table":"shop.t","partitions":8}}"#;
        let action = SourceAction::Repartition { table: "shop.t".to_owned(), partitions: 8 };
        assert_eq!(serde_json::to_string(&action).unwrap(), more);
        assert_eq!(serde_json::from_str::<SourceAction>(more).unwrap(), action);
        let action = SourceAction::Adopt { table: "shop.t".to_owned() };
        assert_eq!(serde_json::to_string(&action).unwrap(), r#"{"adopt":{"table":"shop.t"}}"#);
        for wrong in [r#"{"seek":{"to":"latest","tabel":"x"}}"#, r#"{"seek":{}}"#, r#"{"purge":{}}"#] {
            assert!(serde_json::from_str::<PipelineAction>(wrong).is_err(), "{wrong}");
        }
    }
}
