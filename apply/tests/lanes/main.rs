//! Apply against real servers: Kafka, ZooKeeper and a target, named by `OTTER_SERVERS_…`, which `./deploy/test` sets.

mod basics;
mod frozen;
mod groups;
mod joined;
mod partitions;
mod replay;
mod trouble;
mod world;
