//! Binlog events of one source to Kafka, exactly once.
//!
//! [`Capture`] watches the source documents and keeps a runner for each. A runner holds the source's lease and runs
//! sessions: a `binlog::reader` task feeds, through a channel bounded in bytes, a publisher thread that owns the
//! transactional producer. Position and rows are committed to Kafka together; everything starts again from the last
//! committed checkpoint.

pub mod binlog;
pub mod check;
mod kafka;
mod metrics;
mod options;
mod publisher;
mod purge;
mod runner;
mod supervisor;

pub use options::Options;
pub use purge::purge;
pub use supervisor::{Capture, Context};
