//! Over how many partitions a topic's rows are spread, and which topic it is: frozen when the first row is published.
//!
//! The count holds whatever the source's document says later, because a row must find its key's partition. Only a
//! repartition changes it, and leaves a [`Growth`] behind while it is under way, so that whoever dies is followed by
//! somebody who ends it. The id tells a topic from one that was made later under its name. Only an operator changes it.

use serde::{Deserialize, Serialize};

use schemas::{Code, Error, Result, names};
use zookeeper as zk;

use crate::session::{persistent, refused};
use crate::{Coordination, Lease};

/// What is frozen of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenTopic {
    /// How many partitions its rows are spread over.
    pub partitions: u32,
    /// Its id; none where the node is of a version without ids, until its next use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Id of the request by which an operator adopted the topic of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

impl FrozenTopic {
    /// What is frozen of a topic that Kafka shows like this.
    pub fn new(partitions: u32, id: impl Into<String>) -> Self {
        Self { partitions, id: Some(id.into()), request: None }
    }
}

/// A topic that is being given more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// Id of the request that asked for it.
    pub request: String,
    /// The topic.
    pub topic: String,
    /// Partitions before.
    pub from: u32,
    /// Partitions behind the barrier.
    pub to: u32,
}

impl Coordination {
    /// What is frozen of a source's topic; `None` before its first use.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn frozen_topic(&self, source: &str, topic: &str) -> Result<Option<FrozenTopic>> {
        let found = self.read_json(&names::frozen_topic_path(source, topic)).await?;
        Ok(found.map(|(frozen, _)| frozen))
    }

    /// Freezes a topic unless it is frozen, or what is not frozen of it yet: what holds from now on.
    ///
    /// # Errors
    /// As [`Coordination::frozen_topic`].
    pub async fn freeze_topic(&self, source: &str, topic: &str, as_found: &FrozenTopic) -> Result<FrozenTopic> {
        let path = names::frozen_topic_path(source, topic);
        let (path, data) = (path.as_str(), json(as_found)?);
        let data = data.as_slice();
        let answer = self.sessions().call(path, |client| async move {
            match client.create(path, data, &persistent()).await {
                Err(zk::Error::NoNode) => {
                    let folder = path.rfind('/').map_or("", |end| &path[..end]);
                    client.mkdir(folder, &persistent()).await?;
                    client.create(path, data, &persistent()).await
                }
                result => result,
            }
        });
        match answer.await?.result {
            Ok(_) => Ok(as_found.clone()),
            // Somebody was faster, or an earlier attempt of this call got no answer.
            Err(zk::Error::NodeExists) => self.complete_topic(path, as_found).await,
            Err(error) => Err(refused(path, error)),
        }
    }

    /// Writes the id into a node that has none yet.
    async fn complete_topic(&self, path: &str, as_found: &FrozenTopic) -> Result<FrozenTopic> {
        loop {
            let Some((frozen, version)) = self.read_json::<FrozenTopic>(path).await? else {
                return Err(Error::new(Code::ZooKeeperUnavailable, format!("{path} went while it was looked at")));
            };
            if frozen.id.is_some() || as_found.id.is_none() {
                return Ok(frozen);
            }
            let complete = FrozenTopic { id: as_found.id.clone(), ..frozen };
            let data = json(&complete)?;
            let data = data.as_slice();
            let answer =
                self.sessions().call(path, |client| async move { client.set_data(path, data, Some(version)).await });
            match answer.await?.result {
                Ok(_) => return Ok(complete),
                // Somebody was faster, or an earlier attempt of this call: look again.
                Err(zk::Error::BadVersion | zk::Error::NoNode) => {}
                Err(error) => return Err(refused(path, error)),
            }
        }
    }

    /// Another topic takes the place of the one that was frozen; fenced by the source's lease.
    ///
    /// # Errors
    /// As [`Lease::write_fenced`].
    pub async fn refreeze_topic(&self, lease: &Lease, source: &str, topic: &str, frozen: &FrozenTopic) -> Result<()> {
        lease.write_fenced(&names::frozen_topic_path(source, topic), &json(frozen)?).await
    }

    /// The repartition of a source that has begun and not ended.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn growth(&self, source: &str) -> Result<Option<Growth>> {
        Ok(self.read_json::<Option<Growth>>(&names::growth_path(source)).await?.and_then(|(growth, _)| growth))
    }

    /// Notes that a repartition begins, or with `None` that it has ended without one; fenced by the source's lease.
    ///
    /// # Errors
    /// As [`Lease::write_fenced`].
    pub async fn write_growth(&self, lease: &Lease, source: &str, growth: Option<&Growth>) -> Result<()> {
        lease.write_fenced(&names::growth_path(source), &json(&growth)?).await
    }

    /// The repartition is done: the topic is frozen anew. Again does no harm. Fenced by the source's lease.
    ///
    /// # Errors
    /// As [`Lease::write_fenced`].
    pub async fn end_growth(&self, lease: &Lease, source: &str, growth: &Growth) -> Result<()> {
        let frozen = self.frozen_topic(source, &growth.topic).await?;
        let (id, request) = frozen.map_or((None, None), |frozen| (frozen.id, frozen.request));
        let frozen = FrozenTopic { partitions: growth.to, id, request };
        self.refreeze_topic(lease, source, &growth.topic, &frozen).await?;
        self.write_growth(lease, source, None).await
    }

    /// Forgets what is frozen of all topics of a source.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn forget_topics(&self, source: &str) -> Result<()> {
        let folder = names::frozen_topics_path(source);
        let folder = folder.as_str();
        let answer = self.sessions().call(folder, |client| async move { client.list_children(folder).await });
        let topics = match answer.await?.result {
            Ok(topics) => topics,
            Err(zk::Error::NoNode) => Vec::new(),
            Err(error) => return Err(refused(folder, error)),
        };
        let nodes = topics.iter().map(|topic| names::frozen_topic_path(source, topic));
        for path in nodes.chain([folder.to_owned(), names::growth_path(source)]) {
            self.delete_node(&path).await?;
        }
        Ok(())
    }

    pub(crate) async fn delete_node(&self, path: &str) -> Result<()> {
        let answer = self.sessions().call(path, |client| async move { client.delete(path, None).await });
        match answer.await?.result {
            Ok(()) | Err(zk::Error::NoNode) => Ok(()),
            Err(error) => Err(refused(path, error)),
        }
    }

    /// What a node holds, and its version.
    async fn read_json<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<Option<(T, i32)>> {
        let answer = self.sessions().call(path, |client| async move { client.get_data(path).await });
        match answer.await?.result {
            Ok((data, stat)) => serde_json::from_slice(&data)
                .map(|value| Some((value, stat.version)))
                .map_err(|e| Error::new(Code::NodeInvalid, format!("{path}: {e}")).with_source(e)),
            Err(zk::Error::NoNode) => Ok(None),
            Err(error) => Err(refused(path, error)),
        }
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::new(Code::NodeInvalid, e.to_string()).with_source(e))
}
