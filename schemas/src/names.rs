//! Names of topics, subjects, groups, transactional ids and ZooKeeper nodes: the one place that makes them.
//!
//! ZooKeeper paths are relative to the chroot (`/<cluster>` unless configured otherwise). Documents' names are
//! `[a-z0-9][a-z0-9_-]*`, so they need no escaping anywhere.

use crate::escape;
use crate::table::TableName;

/// The cluster's name when none is configured.
pub const DEFAULT_CLUSTER: &str = "otter";
/// Kafka's limit for the name of a topic, in characters.
pub const MAX_TOPIC: usize = 249;

/// The topic of a table's row events, `<prefix>.<schema>.<table>`, escaped; beyond 249 characters it is cut and ends in
/// `_h` and 16 hex digits of a hash of the whole.
pub fn topic(prefix: &str, table: &TableName) -> String {
    let full = format!("{prefix}.{}.{}", escape::topic_component(&table.schema), escape::topic_component(&table.table));
    if full.len() <= MAX_TOPIC {
        return full;
    }
    // Escaped names are ASCII, so any byte is a boundary.
    let hash = fnv1a64(full.as_bytes());
    format!("{}_h{hash:016x}", &full[..MAX_TOPIC - 18])
}

/// The topic of a source's checkpoints.
pub fn checkpoint_topic(cluster: &str, source: &str) -> String {
    format!("__otter.{cluster}.{source}.checkpoints")
}

/// The transactional.id of the producer that publishes a source.
pub fn transactional_id(cluster: &str, source: &str) -> String {
    format!("otter.{cluster}.{source}")
}

/// The consumer group of a pipeline.
pub fn group(cluster: &str, pipeline: &str) -> String {
    format!("otter.{cluster}.{pipeline}")
}

/// The registry subject of a topic's keys.
pub fn key_subject(topic: &str) -> String {
    format!("{topic}-key")
}

/// The registry subject of a topic's values.
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The chroot of a cluster when none is configured.
pub fn default_chroot(cluster: &str) -> String {
    format!("/{cluster}")
}

/// Where the documents of a kind are; `folder` is the plural, such as `sources` (`Kind::folder`).
pub fn documents_path(folder: &str) -> String {
    format!("/documents/{folder}")
}

/// The node of a document.
pub fn document_path(folder: &str, name: &str) -> String {
    format!("/documents/{folder}/{name}")
}

/// The folder of a source's lease nodes.
pub fn lease_path(source: &str) -> String {
    format!("/sources/{source}/leader")
}

/// The mirror of a source's last committed checkpoint.
pub fn position_path(source: &str) -> String {
    format!("/sources/{source}/position")
}

/// An operator's request to a source or pipeline; `folder` is the plural, such as `sources`.
pub fn request_path(folder: &str, name: &str) -> String {
    format!("/{folder}/{name}/request")
}

/// The last checkpoint of a source that was purged: a new source of the name counts on above it.
pub fn purged_path(source: &str) -> String {
    format!("/sources/{source}/purged")
}

/// Written whenever a source has made a topic.
pub fn topics_path(source: &str) -> String {
    format!("/sources/{source}/topics")
}

/// The folder of what is frozen of a source's topics.
pub fn frozen_topics_path(source: &str) -> String {
    format!("/sources/{source}/partitions")
}

/// What is frozen of a topic. Topic names hold no `/`.
pub fn frozen_topic_path(source: &str, topic: &str) -> String {
    format!("/sources/{source}/partitions/{topic}")
}

/// The repartition of a source that is under way.
pub fn growth_path(source: &str) -> String {
    format!("/sources/{source}/growth")
}

/// The folder of the workers' ephemeral nodes.
pub const WORKERS_PATH: &str = "/workers";

/// The ephemeral node of a worker.
pub fn worker_path(worker: &str) -> String {
    format!("{WORKERS_PATH}/{worker}")
}

/// The folder of the API's tokens.
pub const TOKENS_PATH: &str = "/tokens";

/// The node of a token.
pub fn token_path(id: &str) -> String {
    format!("{TOKENS_PATH}/{id}")
}

/// The topic of the audit trail.
pub fn audit_topic(cluster: &str) -> String {
    format!("__otter.{cluster}.audit")
}

/// The folder of the registry's schemas by id.
pub const REGISTRY_IDS_PATH: &str = "/registry/ids";
/// The folder of the registry's subjects.
pub const REGISTRY_SUBJECTS_PATH: &str = "/registry/subjects";

/// The node of a subject. Subjects hold no `/`, as topic names hold none.
pub fn subject_path(subject: &str) -> String {
    format!("{REGISTRY_SUBJECTS_PATH}/{subject}")
}

/// FNV-1a, 64 bits: stable by definition, which std's hashers are not.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_published() {
        assert_eq!(topic("shop", &TableName::new("shop", "tb_user")), "shop.shop.tb_user");
        assert_eq!(topic("shop", &TableName::new("my db", "a.b")), "shop.my_u0020_db.a_u002e_b");
        assert_eq!(checkpoint_topic("otter", "shop"), "__otter.otter.shop.checkpoints");
        assert_eq!(transactional_id("otter", "shop"), "otter.otter.shop");
        assert_eq!(group("otter", "users"), "otter.otter.users");
        assert_eq!(key_subject("t"), "t-key");
        assert_eq!(value_subject("t"), "t-value");
        assert_eq!(document_path("sources", "shop"), "/documents/sources/shop");
        assert_eq!(lease_path("shop"), "/sources/shop/leader");
        assert_eq!(position_path("shop"), "/sources/shop/position");
        assert_eq!(request_path("pipelines", "users"), "/pipelines/users/request");
    }

    #[test]
    fn long_names_keep_their_difference() {
        let name = |tail: &str| topic("shop", &TableName::new("用".repeat(30), format!("{}{tail}", "户".repeat(30))));
        let (a, b) = (name("a"), name("b"));
        assert_eq!(a.len(), MAX_TOPIC);
        assert_ne!(a, b);
        assert!(a.is_ascii());
        // Frozen: a change of the hash would give every such table a new topic.
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
