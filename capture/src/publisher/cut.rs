//! When the open Kafka transaction is committed: pure, fed with what went in and what time it is.
//!
//! A cut is only ever made at the end of a source transaction. Committing costs some milliseconds whatever is in it, and
//! more per partition touched, so small source transactions share one; a reader waits at most [`Limits::age`] for it.

use std::time::{Duration, Instant};

use crate::options::Options;

/// The limits of one Kafka transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Commit once the source has been silent for so long.
    pub(crate) quiet: Duration,
    /// Commit once the transaction is this old.
    pub(crate) age: Duration,
    /// Commit once it holds so many rows.
    pub(crate) rows: u64,
    /// Commit once it holds so many bytes of keys and values.
    pub(crate) bytes: u64,
    /// Commit once it touches so many partitions.
    pub(crate) partitions: usize,
}

/// What the open Kafka transaction holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// When it began.
    pub(crate) began: Instant,
    /// Records of rows in it.
    pub(crate) rows: u64,
    /// Bytes of keys and values in it.
    pub(crate) bytes: u64,
    /// Partitions touched, the checkpoint's left out.
    pub(crate) partitions: usize,
}

impl Load {
    /// An empty one.
    pub(crate) fn new(began: Instant) -> Self {
        Self { began, rows: 0, bytes: 0, partitions: 0 }
    }
}

impl Limits {
    /// As configured.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            quiet: options.quiet.get(),
            age: options.commit_interval.get(),
            rows: options.commit_rows,
            bytes: options.commit_bytes.get(),
            partitions: options.commit_topics,
        }
    }

    /// Whether to commit now, at the end of a source transaction.
    pub(crate) fn full(&self, load: &Load, now: Instant) -> bool {
        load.rows >= self.rows
            || load.bytes >= self.bytes
            || load.partitions >= self.partitions
            || now.saturating_duration_since(load.began) >= self.age
    }

    /// How long the next event may be awaited before the transaction is committed for quiet or age.
    pub(crate) fn patience(&self, load: &Load, now: Instant) -> Duration {
        let left = self.age.saturating_sub(now.saturating_duration_since(load.began));
        left.min(self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let (quiet, age) = (Duration::from_millis(1), Duration::from_millis(30));
        Limits { quiet, age, rows: 100, bytes: 1000, partitions: 10 }
    }

    #[test]
    fn each_limit_cuts() {
        let now = Instant::now();
        let load = Load::new(now);
        assert!(!limits().full(&load, now));
        assert!(limits().full(&Load { rows: 100, ..load }, now));
        assert!(limits().full(&Load { bytes: 1000, ..load }, now));
        assert!(limits().full(&Load { partitions: 10, ..load }, now));
        assert!(limits().full(&load, now + Duration::from_millis(30)));
    }

    #[test]
    fn patience_is_the_quiet_time_until_age_comes_closer() {
        let now = Instant::now();
        let load = Load::new(now);
        assert_eq!(limits().patience(&load, now), Duration::from_millis(1));
        assert_eq!(limits().patience(&load, now + Duration::from_micros(29_500)), Duration::from_micros(500));
        assert_eq!(limits().patience(&load, now + Duration::from_secs(1)), Duration::ZERO);
    }
}
