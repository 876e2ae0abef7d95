//! Otter's own registry: ids that never mean anything else, subjects with their versions.
//!
//! Nodes: `/registry/counter` holds the highest id ever given out; `/registry/ids/<10 digits>` holds
//! `{subject, schema}` and never changes; `/registry/subjects/<subject>` holds
//! `{versions: [{version, id, deleted}]}`.
//! One ZooKeeper transaction writes all three, conditional on the versions of counter and subject, so two workers that
//! register at once cannot get the same id nor lose each other's version; who comes second looks again and finds the
//! other's schema. The counter outlives deleted ids; if it is lost itself, ids go on above the highest there is.

use std::sync::Arc;

use schemas::{Code, Error, Result, names};
use serde::{Deserialize, Serialize};
use tracing::warn;
use zookeeper as zk;

use super::Cache;
use crate::session::{Sessions, persistent, refused};
use crate::{Coordination, check_size};

/// How often a registration looks again after others were faster. Each round somebody gets through, so only a large
/// crowd could use it up; the caller then tries again later.
const ROUNDS: usize = 200;

/// What a subject's node is called begins with it.
const SUBJECTS: &str = "/registry/subjects/";

const COUNTER_PATH: &str = "/registry/counter";

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
    /// From 1, rising.
    pub version: u32,
    /// The schema's id.
    pub id: u32,
    /// It is hidden; its id keeps its meaning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// What a registration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The version that has the schema.
    pub found: SubjectVersion,
    /// Whether it was added now; else it was there already.
    pub added: bool,
}

/// Where a schema got its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The subject that it was registered under.
    pub subject: String,
    /// Its text.
    pub schema: String,
}

/// Otter's own registry. Cheap to clone; clones share the cache of the connection.
#[derive(Debug, Clone)]
pub struct Registry {
    coordination: Coordination,
}

impl Registry {
    pub(crate) fn new(coordination: Coordination) -> Self {
        Self { coordination }
    }

    /// The id of a schema under a subject: the one it has already, or a new one above every id ever given out.
    ///
    /// # Errors
    /// `OT1005` when the text does not fit into a node, `OT2001` without an answer in time, `OT2003` when a registry
    /// node holds something else.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        Ok(self.register_like(subject, schema, |text| text == schema).await?.found.id)
    }

    /// As [`Registry::register`]; `same` says whether a text that is there already is this schema.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub async fn register_like(
        &self,
        subject: &str,
        schema: &str,
        same: impl Fn(&str) -> bool,
    ) -> Result<Registration> {
        let node = IdNode { subject: subject.to_owned(), schema: schema.to_owned() };
        let text = serde_json::to_vec(&node).map_err(|e| invalid(subject, e))?;
        check_size(&format!("the schema of {subject}"), &text)?;
        let path = subject_path(subject);
        for _ in 0..ROUNDS {
            let (known, version) = self.subject_node(&path).await?;
            let counter = match self.find(subject, &known.versions, &same).await? {
                Some(found) if !found.deleted => return Ok(Registration { found, added: false }),
                // It comes back as a version of its own, with the id that records may carry.
                Some(found) => Err(found.id),
                None => Ok(self.counter().await?),
            };
            let proposal = Proposal::new(&path, known, version, counter, &text)?;
            if self.commit(&proposal).await? {
                // An id that comes back keeps the text that it was given out for, which may be written in another way.
                if proposal.new.is_some() {
                    self.cache().insert(proposal.added.id, schema);
                }
                return Ok(Registration { found: proposal.added, added: true });
            }
        }
        Err(Error::new(
            Code::ZooKeeperUnavailable,
            format!("{subject}: {ROUNDS} times another registration was faster"),
        ))
    }

    /// The newest version with this schema, one that is not deleted if there is any; the newest first, as it is nearly
    /// always the one that is asked for.
    async fn find(
        &self,
        subject: &str,
        versions: &[SubjectVersion],
        same: &impl Fn(&str) -> bool,
    ) -> Result<Option<SubjectVersion>> {
        let mut deleted = None;
        for entry in versions.iter().rev() {
            match self.schema(entry.id).await {
                Ok(text) if same(&text) && !entry.deleted => return Ok(Some(*entry)),
                Ok(text) if same(&text) => deleted = deleted.or(Some(*entry)),
                Ok(_) => {}
                // Somebody deleted it; what it was cannot be told, so the text gets a new id if it is not another's.
                Err(e) if e.code() == Code::SchemaUnknown => {
                    warn!(subject, id = entry.id, "a version's schema is gone")
                }
                Err(e) => return Err(e),
            }
        }
        Ok(deleted)
    }

    /// The version of a subject that has this schema, deleted ones included if there is no other.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when a registry node holds something else.
    pub async fn lookup(&self, subject: &str, same: impl Fn(&str) -> bool) -> Result<Option<SubjectVersion>> {
        let versions = self.versions(subject).await?;
        self.find(subject, &versions, &same).await
    }

    /// Hides a version of a subject, or all of them; returns which were hidden now. Their ids keep their meaning, as
    /// records carry them.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the subject's node holds something else.
    pub async fn hide(&self, subject: &str, version: Option<u32>) -> Result<Vec<u32>> {
        let path = subject_path(subject);
        for _ in 0..ROUNDS {
            let (mut node, at) = self.subject_node(&path).await?;
            let chosen =
                node.versions.iter_mut().filter(|v| !v.deleted && version.is_none_or(|only| v.version == only));
            let hidden: Vec<u32> = chosen
                .map(|v| {
                    v.deleted = true;
                    v.version
                })
                .collect();
            if hidden.is_empty() {
                return Ok(hidden);
            }
            let data = serde_json::to_vec(&node).map_err(|e| invalid(&path, e))?;
            let (target, data) = (path.as_str(), data.as_slice());
            let answer = self
                .sessions()
                .call("hiding a version", |client| async move { client.set_data(target, data, at).await.map(|_| ()) });
            let answer = answer.await?;
            match answer.result {
                Ok(()) => return Ok(hidden),
                // Its own first attempt may have done it; then the next look finds nothing left to hide.
                Err(zk::Error::BadVersion) if answer.repeated => return Ok(hidden),
                Err(zk::Error::BadVersion | zk::Error::NoNode) => {}
                Err(error) => return Err(refused(&path, error)),
            }
        }
        Err(Error::new(Code::ZooKeeperUnavailable, format!("{subject}: {ROUNDS} times another change was faster")))
    }

    /// Every subject, in order of its name, those whose versions are all hidden included.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when a node holds something else.
    pub async fn subjects(&self) -> Result<Vec<String>> {
        let answer = self.sessions().call("listing the subjects", |client| async move {
            client.list_children(names::REGISTRY_SUBJECTS_PATH).await
        });
        let nodes = match answer.await?.result {
            Ok(nodes) => nodes,
            Err(zk::Error::NoNode) => Vec::new(),
            Err(error) => return Err(refused(names::REGISTRY_SUBJECTS_PATH, error)),
        };
        let mut subjects: Vec<_> = nodes.iter().filter_map(|node| subject_of(node)).collect();
        subjects.sort_unstable();
        Ok(subjects)
    }

    /// Where an id comes from; `None` when it was never given out.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when its node holds something else.
    pub async fn registered(&self, id: u32) -> Result<Option<Registered>> {
        let path = id_path(id);
        match self.read(&path).await? {
            Some((data, _)) => {
                let IdNode { subject, schema } = serde_json::from_slice(&data).map_err(|e| invalid(&path, e))?;
                Ok(Some(Registered { subject, schema }))
            }
            None => Ok(None),
        }
    }

    /// The highest id ever given out; 0 when there is none.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the counter holds something else.
    pub async fn highest_id(&self) -> Result<u32> {
        Ok(self.counter().await?.0)
    }

    /// The schema of an id; asked of ZooKeeper once.
    ///
    /// # Errors
    /// `OT4005` when there is no such id, `OT2001` without an answer in time, `OT2003` when its node holds something else.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>> {
        if let Some(schema) = self.cache().get(id) {
            return Ok(schema);
        }
        match self.registered(id).await? {
            Some(found) => Ok(self.cache().insert(id, &found.schema)),
            None => Err(Error::new(Code::SchemaUnknown, format!("there is no schema with id {id}"))),
        }
    }

    /// The versions of a subject, oldest first, hidden ones included; empty when nothing was registered under it.
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
    added: SubjectVersion,
    /// The new id's node and the raised counter; none when a hidden version comes back.
    new: Option<NewId<'a>>,
    subject_path: &'a str,
    subject: Vec<u8>,
    subject_version: Option<i32>,
}

struct NewId<'a> {
    path: String,
    text: &'a [u8],
    counter: Vec<u8>,
    counter_version: Option<i32>,
}

impl<'a> Proposal<'a> {
    /// `id`: the counter as it was read, for a new id, or the id that is there already.
    fn new(
        subject_path: &'a str,
        known: SubjectNode,
        subject_version: Option<i32>,
        id: std::result::Result<(u32, Option<i32>), u32>,
        text: &'a [u8],
    ) -> Result<Self> {
        let (id, new) = match id {
            Err(id) => (id, None),
            Ok((highest, counter_version)) => {
                let overflow =
                    || Error::new(Code::NodeInvalid, format!("{COUNTER_PATH}: no ids are left above {highest}"));
                // Confluent's clients hold ids in a signed 32-bit number.
                let id = highest.checked_add(1).filter(|id| i32::try_from(*id).is_ok()).ok_or_else(overflow)?;
                let counter = id.to_string().into_bytes();
                (id, Some(NewId { path: id_path(id), text, counter, counter_version }))
            }
        };
        let mut subject = known;
        let version = subject.versions.last().map_or(1, |last| last.version.saturating_add(1));
        let added = SubjectVersion { version, id, deleted: false };
        subject.versions.push(added);
        let subject = serde_json::to_vec(&subject).map_err(|e| invalid(subject_path, e))?;
        check_size(&format!("the list of versions of {subject_path}"), &subject)?;
        Ok(Self { added, new, subject_path, subject, subject_version })
    }

    fn write(&self, writer: &mut zk::MultiWriter<'_>) -> Result<(), zk::Error> {
        if let Some(new) = &self.new {
            match new.counter_version {
                Some(version) => writer.add_set_data(COUNTER_PATH, &new.counter, Some(version))?,
                None => writer.add_create(COUNTER_PATH, &new.counter, &persistent())?,
            }
            writer.add_create(&new.path, new.text, &persistent())?;
        }
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
    let mut path = SUBJECTS.to_owned();
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || (byte == b'.' && !dots) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The subject of a node; `None` when Otter cannot have made it.
fn subject_of(node: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(node.len());
    let mut rest = node.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    // One subject has one node: other ways to write it are not Otter's.
    String::from_utf8(bytes).ok().filter(|subject| subject_path(subject).strip_prefix(SUBJECTS) == Some(node))
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
        for subject in ["shop.shop.tb_user-value", "a/b %é", "..", "%2F", ":.ctx:x"] {
            assert_eq!(name(subject).as_deref().and_then(subject_of).as_deref(), Some(subject));
        }
        for broken in ["%", "%2", "%zz", "%FF", "a%+1"] {
            assert_eq!(subject_of(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_proposal_counts_on() {
        let known = || SubjectNode { versions: vec![SubjectVersion { version: 1, id: 7, deleted: true }] };
        let proposal = Proposal::new("/s", known(), Some(0), Ok((9, Some(4))), b"x").expect("fits");
        assert_eq!(proposal.added, SubjectVersion { version: 2, id: 10, deleted: false });
        assert_eq!(proposal.new.expect("a new id").counter, b"10");
        assert_eq!(proposal.subject, br#"{"versions":[{"version":1,"id":7,"deleted":true},{"version":2,"id":10}]}"#);
        let back = Proposal::new("/s", known(), Some(0), Err(7), b"x").expect("fits");
        assert!(back.new.is_none() && back.added.id == 7 && back.added.version == 2);
        let full = Proposal::new("/s", SubjectNode::default(), None, Ok((i32::MAX as u32, None)), b"x");
        assert_eq!(full.err().map(|e| e.code()), Some(Code::NodeInvalid));
    }
}
