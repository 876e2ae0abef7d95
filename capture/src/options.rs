//! `[capture]` of otter.toml.

use schemas::documents::{Interval, Size};
use serde::{Deserialize, Serialize};

/// How capture works; every key has a default that fits most sites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Commit the open Kafka transaction once the source has been silent for so long. Since 0.1.
    pub quiet: Interval,
    /// Commit it once it is this old, at the end of a source transaction. Since 0.1.
    pub commit_interval: Interval,
    /// Commit it once it holds so many rows. Since 0.1.
    pub commit_rows: u64,
    /// Commit it once it holds so many bytes of keys and values. Since 0.1.
    pub commit_bytes: Size,
    /// Commit it once it touches so many topics: each costs the brokers about 0.6 ms a transaction. Since 0.1.
    pub commit_topics: usize,
    /// A source transaction is held back until its end while its rows take no more than this; a larger one is streamed
    /// into a Kafka transaction of its own. Since 0.1.
    pub memory: Size,
    /// Bytes of binlog events that wait between the reader and the publisher. Since 0.1.
    pub read_ahead: Size,
    /// Bytes of records that wait in the Kafka producer. Since 0.1.
    pub producer_queue: Size,
    /// How often a quiet source server shows that it is alive; three of these without a byte end the connection. Since 0.1.
    pub heartbeat: Interval,
    /// How often the position moves while only tables that are not followed change, and how often it is mirrored to
    /// ZooKeeper. Since 0.1.
    pub checkpoint_interval: Interval,
    /// Kafka's transaction.timeout.ms: bounds how long a dead capture without a successor holds readers up. Since 0.1.
    pub transaction_timeout: Interval,
    /// The same for source transactions above `memory`; at most the brokers' transaction.max.timeout.ms. Since 0.1.
    pub oversize_timeout: Interval,
    /// The longest pause between two attempts after an error that is expected to go away. Since 0.1.
    pub retry_max: Interval,
    /// How long a shutdown waits for the open Kafka transaction. Since 0.1.
    pub shutdown_timeout: Interval,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quiet: Interval::from_millis(1),
            commit_interval: Interval::from_millis(30),
            commit_rows: 50_000,
            commit_bytes: Size::mebibytes(16),
            commit_topics: 100,
            memory: Size::mebibytes(32),
            read_ahead: Size::mebibytes(8),
            producer_queue: Size::mebibytes(64),
            heartbeat: Interval::from_secs(5),
            checkpoint_interval: Interval::from_secs(1),
            transaction_timeout: Interval::from_secs(10),
            oversize_timeout: Interval::from_secs(900),
            retry_max: Interval::from_secs(15),
            shutdown_timeout: Interval::from_secs(5),
        }
    }
}
