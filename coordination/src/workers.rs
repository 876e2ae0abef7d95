//! The workers that are alive: an ephemeral node each, made again whenever the session changed.

use schemas::{Code, Error, Result, names};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use zookeeper as zk;

use crate::session::{Sessions, is_definite, persistent, refused};
use crate::{Coordination, check_size};

/// A running `otter` process, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkerInfo {
    /// The id, unique among the running workers; also the holder's name in leases.
    pub id: String,
    /// The roles it has, such as `capture`.
    pub roles: Vec<String>,
    /// The name of its host.
    pub host: String,
    /// Its version of Otter.
    pub version: String,
    /// `host:port` of its HTTP server, where `/status` is.
    pub status_address: Option<String>,
}

impl Coordination {
    /// Announces a worker for as long as this connection is open: at once or, when ZooKeeper is away or a node of that
    /// id still stands (a crashed process whose session has not expired yet), as soon as it can.
    ///
    /// # Errors
    /// `OT1004` when the id cannot be the name of a node.
    pub fn register_worker(&self, info: &WorkerInfo) -> Result<()> {
        if info.id.is_empty() || info.id.contains(|c: char| c == '/' || c.is_control()) || info.id.starts_with('.') {
            return Err(Error::new(Code::ConfigInvalid, format!("worker id {:?} cannot be used", info.id)));
        }
        let data = serde_json::to_vec(info)
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("worker {}: {e}", info.id)).with_source(e))?;
        check_size("the worker's description", &data)?;
        let registration =
            Registration { sessions: self.sessions().clone(), path: names::worker_path(&info.id), data, past: vec![] };
        tokio::spawn(registration.run());
        Ok(())
    }

    /// The workers that are alive now, by id.
    ///
    /// A node that is not a worker's is left out with a warning in the log.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        let answer = self.sessions().call("listing the workers", |client| async move {
            let mut found = Vec::new();
            for id in client.list_children(names::WORKERS_PATH).await? {
                match client.get_data(&names::worker_path(&id)).await {
                    Ok((data, _)) => found.push((id, data)),
                    Err(zk::Error::NoNode) => {} // it ended in between
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        });
        let found = match answer.await?.result {
            Ok(found) => found,
            Err(zk::Error::NoNode) => vec![],
            Err(error) => return Err(refused("listing the workers", error)),
        };
        let mut workers: Vec<WorkerInfo> = found
            .into_iter()
            .filter_map(|(id, data)| {
                serde_json::from_slice(&data).inspect_err(|error| warn!(id, %error, "not a worker's node")).ok()
            })
            .collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(workers)
    }
}

/// Keeps one ephemeral node there, session after session.
struct Registration {
    sessions: Sessions,
    path: String,
    data: Vec<u8>,
    /// The sessions of this process: a node left by one that has ended may be replaced at once.
    past: Vec<i64>,
}

impl Registration {
    async fn run(mut self) {
        let closed = self.sessions.closed().clone();
        let work = async {
            while let Some(client) = self.sessions.connected().await {
                tokio::select! {
                    result = self.stand(&client) => if let Err(error) = result {
                        if is_definite(&error) {
                            warn!(path = self.path, %error, "cannot announce this worker; trying again");
                        }
                        tokio::time::sleep(self.sessions.options().session_timeout / 8).await;
                    },
                    () = Sessions::disconnected(&client) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = work => {}
        }
    }

    /// Makes the node and waits until it changes or goes.
    async fn stand(&mut self, client: &zk::Client) -> Result<(), zk::Error> {
        let session = client.session_id().0;
        // Before the attempt: its outcome may stay unknown.
        if !self.past.contains(&session) {
            self.past.push(session);
        }
        loop {
            let ephemeral = zk::CreateMode::Ephemeral.with_acls(zk::Acls::anyone_all());
            match client.create(&self.path, &self.data, &ephemeral).await {
                Ok(_) => info!(path = self.path, "announced this worker"),
                Err(zk::Error::NodeExists) => {}
                Err(zk::Error::NoNode) => {
                    client.mkdir(names::WORKERS_PATH, &persistent()).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (stat, watcher) = match client.check_and_watch_stat(&self.path).await? {
                (Some(stat), watcher) => (stat, watcher),
                (None, _) => continue,
            };
            let owner = stat.ephemeral_owner;
            if owner != session && self.past.contains(&owner) {
                match client.delete(&self.path, Some(stat.version)).await {
                    Ok(()) | Err(zk::Error::NoNode | zk::Error::BadVersion) => continue,
                    Err(error) => return Err(error),
                }
            }
            if owner != session {
                warn!(path = self.path, "another session holds this worker's id; waiting for it to end");
            }
            watcher.changed().await;
        }
    }
}
