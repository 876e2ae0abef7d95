//! Forgetting where a source was, so that one of the same name begins at its `start`.
//!
//! What must not be forgotten is how far the numbers had come. Appliers drop events whose ordinal they have seen, so a
//! source that began to count from the beginning would lose its rows at every target that still has progress of it. So
//! the last checkpoint is kept as a marker before anything is deleted, and a source that begins with it in place goes on
//! counting above it, under a raised generation, as after a reset. The topics of the tables stay: subscribers own them
//! too.
//!
//! The lease is taken first, so nobody publishes meanwhile; one who slept through that is fenced by the next session, and
//! cannot commit without the checkpoint topic either. Broken off anywhere, purging again does the rest: until the
//! mirror is gone, a source that begins without a checkpoint stops (`OT3010`).

use std::time::Duration;

use coordination::Coordination;
use schemas::checkpoint::Checkpoint;
use schemas::kafka::KafkaOptions;
use schemas::{Code, Error, Result, names};
use tokio_util::sync::CancellationToken;

use crate::kafka::checkpoints::recover;
use crate::kafka::topics::{Topics, Wanted};

/// How long the worker that led the source may take to give it up; one that was killed has its session to the end.
const LEASE_WAIT: Duration = Duration::from_secs(20);

/// Forgets a source's position: checkpoint topic and mirror. Its document must be gone. Returns what it was, if it had one.
///
/// # Errors
/// `OT2002` while a worker still leads the source, `OT2001` and those of Kafka without an answer in time.
pub async fn purge(
    cluster: &str,
    kafka: &KafkaOptions,
    coordination: &Coordination,
    source: &str,
) -> Result<Option<Checkpoint>> {
    let never = CancellationToken::new();
    let path = names::lease_path(source);
    let lease = tokio::time::timeout(LEASE_WAIT, coordination.acquire(&path, "purge", &never)).await;
    let Ok(Some(lease)) = lease else {
        return Err(Error::new(Code::LeaseLost, format!("a worker still leads the source {source}")));
    };
    let purged = forget(cluster, kafka, coordination, (source, &lease)).await;
    lease.release().await;
    purged
}

async fn forget(
    cluster: &str,
    kafka: &KafkaOptions,
    coordination: &Coordination,
    (source, lease): (&str, &coordination::Lease),
) -> Result<Option<Checkpoint>> {
    let topics = Topics::new(kafka)?;
    let topic = names::checkpoint_topic(cluster, source);
    topics.ensure(&topic, &Wanted::checkpoints(-1)).await?;
    let (of, from) = (kafka.clone(), topic.clone());
    let recovered = tokio::task::spawn_blocking(move || recover(&of, &from)).await;
    let recovered = recovered.map_err(|e| Error::new(Code::CaptureFailed, format!("reading {topic}: {e}")))??;
    let mirror = coordination.read_position(source).await?;
    let last = recovered.checkpoint.into_iter().chain(mirror).max_by_key(|c| c.ordinal);
    if let Some(last) = &last {
        coordination.write_purged(lease, source, last).await?;
    }
    topics.delete(&topic).await?;
    coordination.forget_topics(source).await?;
    coordination.delete_position(source).await?;
    tracing::info!(source, ordinal = last.as_ref().map(|c| c.ordinal), "source purged");
    Ok(last)
}
