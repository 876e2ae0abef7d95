//! Everything that touches librdkafka: client configuration, errors, the transactional producer, topics, checkpoints.

pub(crate) mod checkpoints;
mod config;
pub(crate) mod ends;
mod error;
pub(crate) mod producer;
pub(crate) mod topics;
pub(crate) mod watch;

pub(crate) use config::{Logs, MessageSizes, admin_config, consumer_config, producer_config};
pub(crate) use error::kafka_error;
