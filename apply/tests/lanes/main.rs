//! Apply against real servers: Kafka, ZooKeeper and a target, named by `OTTER_SERVERS_…`, which `./deploy/test` sets.

mod apart;
mod barriers;
mod basics;
mod deferral;
mod elsewhere;
mod emptied;
mod frozen;
mod groups;
mod handles;
mod joined;
mod lag;
mod ordered;
mod partitions;
mod quiet;
mod replay;
mod scale;
#[path = "../../../tests/harness/strain.rs"]
mod strain;
mod trouble;
mod truncated;
mod world;
