//! The mirror of a source's last committed checkpoint, for people and for the check at capture's start.
//!
//! Kafka's checkpoint topic is the truth; a mirror that lags or is missing costs nothing, one that exists while Kafka
//! has no checkpoint makes capture stop (`OT3010`).

use schemas::checkpoint::Checkpoint;
use schemas::{Code, Error, Result, names};
use zookeeper as zk;

use crate::session::refused;
use crate::{Coordination, Lease};

impl Coordination {
    /// Mirrors a checkpoint, fenced by the source's lease.
    ///
    /// # Errors
    /// As [`Lease::write_fenced`].
    pub async fn write_position(&self, lease: &Lease, source: &str, checkpoint: &Checkpoint) -> Result<()> {
        lease.write_fenced(&names::position_path(source), &checkpoint.to_json()).await
    }

    /// The checkpoint mirrored last; `None` when there never was one.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn read_position(&self, source: &str) -> Result<Option<Checkpoint>> {
        self.read_checkpoint(&names::position_path(source)).await
    }

    /// Keeps the last checkpoint of a source that is purged, fenced by its lease.
    ///
    /// # Errors
    /// As [`Lease::write_fenced`].
    pub async fn write_purged(&self, lease: &Lease, source: &str, checkpoint: &Checkpoint) -> Result<()> {
        lease.write_fenced(&names::purged_path(source), &checkpoint.to_json()).await
    }

    /// The last checkpoint of a source that was purged; `None` when it never was.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn read_purged(&self, source: &str) -> Result<Option<Checkpoint>> {
        self.read_checkpoint(&names::purged_path(source)).await
    }

    /// Deletes the mirror, if there is one.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn delete_position(&self, source: &str) -> Result<()> {
        self.delete_node(&names::position_path(source)).await
    }

    async fn read_checkpoint(&self, path: &str) -> Result<Option<Checkpoint>> {
        let answer = self.sessions().call(path, |client| async move { client.get_data(path).await });
        match answer.await?.result {
            Ok((data, _)) => Checkpoint::from_json(&data)
                .map(Some)
                .map_err(|e| Error::new(Code::NodeInvalid, format!("{path}: {}", e.message())).with_source(e)),
            Err(zk::Error::NoNode) => Ok(None),
            Err(error) => Err(refused(path, error)),
        }
    }
}
