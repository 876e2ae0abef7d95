//! The documents by which people say what Otter does: [`Source`], [`Target`], [`Pipeline`].
//!
//! They come as YAML (several in one file) or JSON and are stored as JSON. Reading is strict and happens in three
//! steps, each naming the path of what is wrong: settings of later versions are refused as such (`OT1002`), then
//! unknown fields and wrong types, then values that contradict each other (`OT1001`). What has been read is valid, so
//! the methods on documents have few ways to fail. [`World`] checks what only several documents together can get wrong.

mod changes;
mod duration;
mod filling;
mod names;
mod patterns;
mod pipeline;
mod reserved;
mod routes;
mod size;
mod source;
mod start;
mod target;
mod templates;
mod text;
mod world;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use changes::{Replaced, changes};
pub use duration::Interval;
pub use filling::Filling;
pub use names::{Address, Name};
pub use patterns::{Rule, Specificity, TablePattern};
pub use pipeline::{
    ApplySettings, BatchSettings, Columns, ExistingRow, ForeignKeys, Mapping, MissingRow, OnError, Pipeline,
    PipelineStart, RowSettings, State, Truncate,
};
pub use routes::Routes;
pub use size::Size;
pub use source::{MAX_PARTITIONS, SYSTEM_SCHEMAS, Source, TopicOverride, TopicSettings, Topics};
pub use start::{FIRST_POSITION, PositionMode, Start};
pub use target::{DEFAULT_SCHEMA, Target, TargetType, Tls, TlsMode};
pub use templates::{Targets, Template};
pub use text::{MAX_BYTES, json_schema};
pub use world::{World, Writer, Writers};

use crate::codes::Code;
use crate::error::Error;

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A server whose binlog is published.
    Source,
    /// A server that is written to.
    Target,
    /// What goes from a source to a target.
    Pipeline,
}

impl Kind {
    /// All kinds, in an order in which documents can be put so that references lead to what is there.
    pub const ALL: [Self; 3] = [Self::Source, Self::Target, Self::Pipeline];

    /// As it stands in `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Pipeline => "pipeline",
        }
    }

    /// The plural: the folder of the documents in ZooKeeper.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Target => "targets",
            Self::Pipeline => "pipelines",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    /// Singular or plural.
    fn from_str(s: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|kind| s == kind.as_str() || s == kind.folder());
        found.ok_or_else(|| {
            let message = format!("{s:?} is not a kind of document; there are source, target and pipeline");
            Error::new(Code::DocumentInvalid, message)
        })
    }
}

/// A document of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A server whose binlog is published.
    Source(Source),
    /// A server that is written to.
    Target(Target),
    /// What goes from a source to a target.
    Pipeline(Pipeline),
}

impl Document {
    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Source(_) => Kind::Source,
            Self::Target(_) => Kind::Target,
            Self::Pipeline(_) => Kind::Pipeline,
        }
    }

    /// The name.
    pub fn name(&self) -> &Name {
        match self {
            Self::Source(d) => &d.name,
            Self::Target(d) => &d.name,
            Self::Pipeline(d) => &d.name,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}
