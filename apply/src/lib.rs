//! Row events from Kafka to the target database, exactly once.

pub mod target;
