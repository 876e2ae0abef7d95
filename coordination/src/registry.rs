//! The schema registry's store: ids that never mean anything else, subjects with their versions.
//!
//! Nodes: `/registry/counter` holds the highest id ever given out; `/registry/ids/<10 digits>` holds
//! `{subject, schema}` and never changes; `/registry/subjects/<subject>` holds `{versions: [{version, id}]}`.
//! One ZooKeeper transaction writes all three, conditional on the versions of counter and subject, so two workers that
//! register at once cannot get the same id nor lose each other's version; who comes second looks again and finds the
//! other's schema. The counter outlives deleted ids; if it is lost itself, ids go on above the highest there is.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{Code, Error, Result, names};
use serde::{Deserialize, Serialize};
use tracing::warn;
use zookeeper as zk;

use crate::session::{Sessions, persistent, refused};
use crate::{Coordination, check_size};

/// How often a registration looks again after others were faster. Each round somebody gets through, so only a large
/// crowd could use it up; the caller then tries again later.
const ROUNDS: usize = 200;

const COUNTER_PATH: &str = "/registry/counter";

/// Schemas by id: an id never changes its meaning, so an entry is good for ever.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<HashMap<u32, Arc<str>>>>);

impl Cache {
    fn get(&self, id: u32) -> Option<Arc<str>> {
        self.0.lock().get(&id).cloned()
    }

    fn insert(&self, id: u32, schema: &str) -> Arc<str> {
        let schema: Arc<str> = Arc::from(schema);
        self.0.lock().insert(id, Arc::clone(&schema));
        schema
    }
}

/// What an id's node holds.
#[derive(Debug, Serialize, Deserialize)]
struct IdNode {
    subject: String,
    schema: String,
}

/// What a subject's node holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SubjectNode {
    versions: Vec<SubjectVersion>,
}

/// One version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectVersion {
    /// From 1, without gaps unless versions are deleted.
    pub version: u32,
    /// The schema's id.
    pub id: u32,
}

/// The store of schemas in ZooKeeper. Cheap to clone; clones share the cache of the connection.
#[derive(Debug, Clone)]
pub struct SchemaStore {
    coordination: Coordination,
}

impl Coordination {
    /// The schema registry's store.
    pub fn schemas(&self) -> SchemaStore {
        SchemaStore { coordination: self.clone() }
    }
}

impl SchemaStore {
    /// The id of a schema under a subject: the one it has already, or a new one above every id ever given out.
    ///
    /// # Errors
    /// `OT1005` when the text does not fit into a node, `OT2001` without an answer in time, `OT2003` when a registry
    /// node holds something else.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let node = IdNode { subject: subject.to_owned(), schema: schema.to_owned() };
        let text = serde_json::to_vec(&node).map_err(|e| invalid(subject, e))?;
        check_size(&format!("the schema of {subject}"), &text)?;
        let path = subject_path(subject);
        for _ in 0..ROUNDS {
            let (known, version) = self.subject_node(&path).await?;
            // The newest first: it is nearly always the one that is registered again.
            for entry in known.versions.iter().rev() {
                match self.schema(entry.id).await {
                    Ok(text) if *text == *schema => return Ok(entry.id),
                    Ok(_) => {}
                    // Somebody deleted it; what it was cannot be told, so the text gets a new id if it is not another's.
                    Err(e) if e.code() == Code::SchemaUnknown => {
                        warn!(subject, id = entry.id, "a version's schema is gone")
                    }
                    Err(e) => return Err(e),
                }
            }
            let counter = self.counter().await?;
            let proposal = Proposal::new(&path, known, version, counter, &text)?;
            if self.commit(&proposal).await? {
                self.cache().insert(proposal.id, schema);
                return Ok(proposal.id);
            }
        }
        Err(Error::new(
            Code::ZooKeeperUnavailable,
            format!("{subject}: {ROUNDS} times another registration was faster"),
        ))
    }

    /// The schema of an id; asked of ZooKeeper once.
    ///
    /// # Errors
    /// `OT4005` when there is no such id, `OT2001` without an answer in time, `OT2003` when its node holds something else.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>> {
        if let Some(schema) = self.cache().get(id) {
            return Ok(schema);
        }
        let path = id_path(id);
        match self.read(&path).await? {
            Some((data, _)) => {
                let node: IdNode = serde_json::from_slice(&data).map_err(|e| invalid(&path, e))?;
                Ok(self.cache().insert(id, &node.schema))
            }
            None => Err(Error::new(Code::SchemaUnknown, format!("there is no schema with id {id}"))),
        }
    }

    /// The versions of a subject, oldest first; empty when nothing was registered under it.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when its node holds something else.
    pub async fn versions(&self, subject: &str) -> Result<Vec<SubjectVersion>> {
        Ok(self.subject_node(&subject_path(subject)).await?.0.versions)
    }

    fn sessions(&self) -> &Sessions {
        self.coordination.sessions()
    }

    fn cache(&self) -> &Cache {
        &self.coordination.inner.schemas
    }

    /// A subject's node and its version; none: no versions yet.
    async fn subject_node(&self, path: &str) -> Result<(SubjectNode, Option<i32>)> {
        match self.read(path).await? {
            Some((data, version)) => Ok((serde_json::from_slice(&data).map_err(|e| invalid(path, e))?, Some(version))),
            None => Ok((SubjectNode::default(), None)),
        }
    }

    /// The highest id ever given out, and the version of the counter's node.
    ///
    /// The ids that exist count too: the counter may have been lost or restored from a backup.
    async fn counter(&self) -> Result<(u32, Option<i32>)> {
        let (counted, version) = match self.read(COUNTER_PATH).await? {
            Some((data, version)) => {
                let counted = String::from_utf8_lossy(&data).parse().map_err(|e| invalid(COUNTER_PATH, e))?;
                (counted, Some(version))
            }
            None => (0, None),
        };
        let ids = self.sessions().call("listing the schema ids", |client| async move {
            client.mkdir(names::REGISTRY_IDS_PATH, &persistent()).await?;
            client.mkdir(names::REGISTRY_SUBJECTS_PATH, &persistent()).await?;
            client.list_children(names::REGISTRY_IDS_PATH).await
        });
        let ids = ids.await?.result.map_err(|e| refused(names::REGISTRY_IDS_PATH, e))?;
        let highest = ids.iter().filter_map(|id| id.parse().ok()).max().unwrap_or(0);
        Ok((highest.max(counted), version))
    }

    async fn read(&self, path: &str) -> Result<Option<(Vec<u8>, i32)>> {
        match self.sessions().call(path, |client| async move { client.get_data(path).await }).await?.result {
            Ok((data, stat)) => Ok(Some((data, stat.version))),
            Err(zk::Error::NoNode) => Ok(None),
            Err(error) => Err(refused(path, error)),
        }
    }

    /// Writes counter, id and subject together; `false`: somebody else was faster, or this attempt itself was carried
    /// out by a call that broke off, which the next look will tell.
    async fn commit(&self, proposal: &Proposal<'_>) -> Result<bool> {
        let answer = self.sessions().call("registering a schema", |client| async move {
            let mut writer = client.new_multi_writer();
            proposal.write(&mut writer)?;
            writer.commit().await.map_err(zk::Error::from)
        });
        match answer.await?.result {
            Ok(_) => Ok(true),
            Err(zk::Error::BadVersion | zk::Error::NodeExists | zk::Error::NoNode) => Ok(false),
            Err(error) => Err(refused("registering a schema", error)),
        }
    }
}

/// A registration that holds if counter and subject are still as they were read.
struct Proposal<'a> {
    id: u32,
    id_path: String,
    text: &'a [u8],
    counter: Vec<u8>,
    counter_version: Option<i32>,
    subject_path: &'a str,
    subject: Vec<u8>,
    subject_version: Option<i32>,
}

impl<'a> Proposal<'a> {
    fn new(
        subject_path: &'a str,
        known: SubjectNode,
        subject_version: Option<i32>,
        (highest, counter_version): (u32, Option<i32>),
        text: &'a [u8],
    ) -> Result<Self> {
        let overflow = || Error::new(Code::NodeInvalid, format!("{COUNTER_PATH}: no ids are left above {highest}"));
        // Confluent's clients hold ids in a signed 32-bit number.
        let id = highest.checked_add(1).filter(|id| i32::try_from(*id).is_ok()).ok_or_else(overflow)?;
        let mut subject = known;
        let version = subject.versions.last().map_or(1, |last| last.version.saturating_add(1));
        subject.versions.push(SubjectVersion { version, id });
        let subject = serde_json::to_vec(&subject).map_err(|e| invalid(subject_path, e))?;
        check_size(&format!("the list of versions of {subject_path}"), &subject)?;
        Ok(Self {
            id,
            id_path: id_path(id),
            text,
            counter: id.to_string().into_bytes(),
            counter_version,
            subject_path,
            subject,
            subject_version,
        })
    }

    fn write(&self, writer: &mut zk::MultiWriter<'_>) -> Result<(), zk::Error> {
        match self.counter_version {
            Some(version) => writer.add_set_data(COUNTER_PATH, &self.counter, Some(version))?,
            None => writer.add_create(COUNTER_PATH, &self.counter, &persistent())?,
        }
        writer.add_create(&self.id_path, self.text, &persistent())?;
        match self.subject_version {
            Some(version) => writer.add_set_data(self.subject_path, &self.subject, Some(version)),
            None => writer.add_create(self.subject_path, &self.subject, &persistent()),
        }
    }
}

fn id_path(id: u32) -> String {
    format!("{}/{id:010}", names::REGISTRY_IDS_PATH)
}

/// A subject's node. Topic characters stay as they are; every other byte becomes `%` and two hex digits, as do the dots
/// of `.` and `..`, which no node can be called.
fn subject_path(subject: &str) -> String {
    let dots = matches!(subject, "." | "..");
    let mut path = format!("{}/", names::REGISTRY_SUBJECTS_PATH);
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || (byte == b'.' && !dots) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn invalid(path: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Code::NodeInvalid, format!("{path}: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_make_node_names() {
        let name = |subject| subject_path(subject).strip_prefix("/registry/subjects/").map(str::to_owned);
        assert_eq!(name("shop.shop.tb_user-value").as_deref(), Some("shop.shop.tb_user-value"));
        assert_eq!(name("a/b %é").as_deref(), Some("a%2Fb%20%25%C3%A9"));
        assert_eq!(name("..").as_deref(), Some("%2E%2E"));
        assert_eq!(id_path(42), "/registry/ids/0000000042");
    }

    #[test]
    fn a_proposal_counts_on() {
        let known = SubjectNode { versions: vec![SubjectVersion { version: 1, id: 7 }] };
        let proposal = Proposal::new("/s", known, Some(0), (9, Some(4)), b"x").expect("fits");
        assert_eq!(proposal.id, 10);
        assert_eq!(proposal.counter, b"10");
        assert_eq!(proposal.subject, br#"{"versions":[{"version":1,"id":7},{"version":2,"id":10}]}"#);
        let full = Proposal::new("/s", SubjectNode::default(), None, (i32::MAX as u32, None), b"x");
        assert_eq!(full.err().map(|e| e.code()), Some(Code::NodeInvalid));
    }
}
