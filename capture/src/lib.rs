//! Binlog events of one source to Kafka, exactly once.

pub mod binlog;
