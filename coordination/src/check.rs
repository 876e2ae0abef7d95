//! Whether ZooKeeper lets Otter work: a node is made, written, read and deleted under the chroot.

use schemas::check::Finding;
use schemas::{Error, Result};
use zookeeper as zk;

use crate::Coordination;
use crate::session::refused;

/// No document, lease or registration lies there.
const PROBE: &str = "/check-";

impl Coordination {
    /// Tries what every role does with nodes, on one that goes away with the session at the latest.
    pub async fn check(&self) -> Vec<Finding> {
        vec![match self.probe().await {
            Ok(()) => Finding::ok("zookeeper", "nodes may be made, written, read and deleted"),
            Err(error) => Finding::error("zookeeper", &error),
        }]
    }

    async fn probe(&self) -> Result<()> {
        let tried = self.sessions().call("a node for trying the rights", |client| async move {
            let ephemeral = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::anyone_all());
            let (_, sequence) = client.create(PROBE, b"1", &ephemeral).await?;
            let path = format!("{PROBE}{sequence}");
            client.set_data(&path, b"2", None).await?;
            client.get_data(&path).await?;
            client.delete(&path, None).await
        });
        tried
            .await?
            .result
            .map_err(|error: zk::Error| -> Error { refused("trying the rights under the chroot", error) })
    }
}
