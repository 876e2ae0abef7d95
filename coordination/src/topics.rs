//! A source's word that it has made a topic, so that appliers which follow tables by a pattern ask Kafka at once.
//!
//! A hint and no more: the node holds the name of the topic made last, and only that it was written matters. Whoever
//! misses it sees the topic when the client asks for the metadata by itself, seconds later.

use schemas::{Result, names};
use tokio::sync::watch;
use zookeeper as zk;

use crate::Coordination;
use crate::session::{persistent, refused};

impl Coordination {
    /// Says that a source has made a topic.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn announce_topic(&self, source: &str, topic: &str) -> Result<()> {
        let (path, data) = (names::topics_path(source), topic.as_bytes());
        let path = path.as_str();
        let answer = self.sessions().call(path, |client| async move {
            match client.set_data(path, data, None).await {
                Err(zk::Error::NoNode) => {
                    let folder = path.rfind('/').map_or("", |end| &path[..end]);
                    client.mkdir(folder, &persistent()).await?;
                    match client.create(path, data, &persistent()).await {
                        // Somebody else was faster; appliers look all the same.
                        Ok(_) | Err(zk::Error::NodeExists) => Ok(()),
                        Err(error) => Err(error),
                    }
                }
                result => result.map(drop),
            }
        });
        answer.await?.result.map_err(|error| refused(path, error))
    }

    /// Changes whenever the source may have made a topic, also after each outage.
    pub fn watch_topics(&self, source: &str) -> watch::Receiver<u64> {
        let (publish, receiver) = watch::channel(0);
        let (sessions, path) = (self.sessions().clone(), names::topics_path(source));
        tokio::spawn(async move {
            let follow = |client| follow_session(client, &path, &publish);
            sessions.keep_following(&path, publish.closed(), follow).await;
        });
        receiver
    }
}

/// Follows the node until the connection breaks.
async fn follow_session(client: zk::Client, path: &str, publish: &watch::Sender<u64>) -> Result<(), zk::Error> {
    loop {
        let (_, watcher) = client.check_and_watch_stat(path).await?;
        publish.send_modify(|count| *count += 1);
        if watcher.changed().await.event_type == zk::EventType::Session {
            return Ok(());
        }
    }
}
