//! Row events from Kafka to the target database, exactly once.
//!
//! ```text
//! Apply ──▶ a runtime per pipeline ──▶ one consumer thread ──chunks──▶ lanes (a task per partition) ──▶ target
//! documents   pipeline                   consumer                        lane                              target
//! ```
//! [`Apply`] follows the documents. Each running pipeline has a consumer, a member of the pipeline's group, on a thread
//! of its own; each partition that the group gives it is a lane. A lane claims its progress row at the target, reads from
//! the offset that stands there, and commits rows and progress in one transaction; that alone is what makes it exactly
//! once. The group only spreads the lanes over the workers.
//!
//! Failure: a definite error of a table pauses its lane; a transient one is tried again; an error of the consumer starts
//! the pipeline's consumer again; nothing of one pipeline touches another.

mod catalog;
mod check;
mod chunk;
mod config;
mod consumer;
mod explore;
mod inquiry;
mod joined;
mod lane;
mod metrics;
mod offsets;
mod options;
mod pipeline;
mod pool;
mod purge;
mod seeks;
mod settings;
mod supervisor;
pub mod target;

pub use check::check;
pub use offsets::{Surroundings, offsets};
pub use options::Options;
pub use purge::{Purged, purge, standing};
pub use supervisor::{Apply, Context};
