//! The documents: written by compare-and-set, read, and watched live.
//!
//! A document is a node `/documents/{sources,targets,pipelines}/<name>` that holds its JSON. The node's version is the
//! document's: every write names the one it replaces, so nobody overwrites what he has not seen. A document that this
//! version cannot read stays visible as an error beside the others.

mod batch;
mod follow;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::documents::{Document, Kind};
use schemas::{Code, Error, Result, names};
use tokio::sync::{Mutex, watch};
use zookeeper as zk;

use crate::session::{Answer, Sessions, persistent, refused};
use crate::{Coordination, check_size};

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is, or nothing.
    Any,
    /// No document of that name.
    New,
    /// This version.
    Version(i32),
}

/// A value and the version of the node it was read from. Versions grow by one with each write, from 0; a document that
/// was deleted and made again starts at 0 again.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The version.
    pub version: i32,
    /// The value.
    pub value: T,
}

/// What all documents were at a moment. A write that names it is made only if nothing was written since with a stamp: what
/// was checked with all documents taken together then still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(i32);

/// All documents of a kind by name; those that cannot be read with the reason.
pub type Snapshot = BTreeMap<String, Versioned<Result<Document, Arc<Error>>>>;

/// The watches of a connection, one per kind, shared by all who ask.
pub(crate) type Watches = Mutex<HashMap<Kind, watch::Receiver<Arc<Snapshot>>>>;

/// The store of documents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Documents {
    coordination: Coordination,
}

impl Coordination {
    /// The store of documents.
    pub fn documents(&self) -> Documents {
        Documents { coordination: self.clone() }
    }
}

impl Documents {
    /// Writes a document and returns its new version.
    ///
    /// # Errors
    /// `OT1007` when something else is there than expected, `OT1006` when a version is expected and nothing is there,
    /// `OT1005` when the document is too large, `OT2001` without an answer in time (then the write may have been made).
    pub async fn put(&self, document: &Document, expected: Expected) -> Result<i32> {
        let data = document.to_json()?.into_bytes();
        check_size(&document.to_string(), &data)?;
        let path = names::document_path(document.kind().folder(), document.name().as_str());
        let what = format!("writing the {document}");
        let (path, data, what) = (path.as_str(), data.as_slice(), what.as_str());
        let answer = self
            .sessions()
            .call(what, |client| async move {
                match expected {
                    Expected::Any => write(&client, path, data).await,
                    Expected::New => create(&client, path, data).await,
                    Expected::Version(version) => Ok(client.set_data(path, data, Some(version)).await?.version),
                }
            })
            .await?;
        let Answer { result, repeated } = answer;
        match result {
            Ok(version) => Ok(version),
            Err(zk::Error::NodeExists | zk::Error::BadVersion) => {
                self.conflict(document, path, data, (expected, repeated)).await
            }
            Err(zk::Error::NoNode) => Err(not_found(document.kind(), document.name().as_str())),
            Err(error) => Err(refused(what, error)),
        }
    }

    /// The stamp of the documents; to be taken before they are read.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn stamp(&self) -> Result<Stamp> {
        batch::stamp(self.sessions()).await
    }

    /// Writes several documents, all or none, and returns their new versions; `None` when others were written since the
    /// stamp: read, check and try again.
    ///
    /// # Errors
    /// As [`Documents::put`]; `OT1005` also when they are too large together.
    pub async fn put_all(&self, writes: &[(&Document, Expected)], since: Stamp) -> Result<Option<Vec<i32>>> {
        batch::put_all(self.sessions(), writes, since).await
    }

    /// Deletes this version of a document; `false` when others were written since the stamp.
    ///
    /// # Errors
    /// As [`Documents::delete`].
    pub async fn delete_since(&self, kind: Kind, name: &str, version: i32, since: Stamp) -> Result<bool> {
        check_name(kind, name)?;
        batch::delete(self.sessions(), (kind, name), version, since).await
    }

    /// A document; `None` when there is none of that name.
    ///
    /// # Errors
    /// The reason why it cannot be read, `OT2001` without an answer in time.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Option<Versioned<Document>>> {
        check_name(kind, name)?;
        match self.read(&names::document_path(kind.folder(), name)).await? {
            Some((data, version)) => Ok(Some(Versioned { version, value: parse(kind, name, &data)? })),
            None => Ok(None),
        }
    }

    /// All documents of a kind.
    ///
    /// # Errors
    /// `OT2001` without an answer in time.
    pub async fn list(&self, kind: Kind) -> Result<Snapshot> {
        let loaded = follow::load(self.sessions(), kind).await?;
        Ok(follow::snapshot(&loaded))
    }

    /// Deletes a document, of this version if one is given.
    ///
    /// # Errors
    /// `OT1006` when there is none of that name, `OT1007` when it has another version, `OT2001` without an answer in time.
    pub async fn delete(&self, kind: Kind, name: &str, version: Option<i32>) -> Result<()> {
        check_name(kind, name)?;
        let path = names::document_path(kind.folder(), name);
        let path = path.as_str();
        let what = format!("deleting the {kind} {name}");
        let answer = self.sessions().call(&what, |client| async move { client.delete(path, version).await }).await?;
        match answer.result {
            Ok(()) => Ok(()),
            Err(zk::Error::NoNode) if answer.repeated => Ok(()), // the attempt that broke off did it
            Err(zk::Error::NoNode) => Err(not_found(kind, name)),
            Err(zk::Error::BadVersion) => {
                let now = self.read(path).await?.map(|(_, version)| version);
                Err(conflicting(&format!("{kind} {name}"), now))
            }
            Err(error) => Err(refused(&what, error)),
        }
    }

    /// The documents of a kind, live: the receiver always holds the state known last, through outages too.
    ///
    /// # Errors
    /// `OT2001` when the first state cannot be read in time.
    pub async fn watch(&self, kind: Kind) -> Result<watch::Receiver<Arc<Snapshot>>> {
        let mut watches = self.coordination.inner.watches.lock().await;
        if let Some(receiver) = watches.get(&kind) {
            return Ok(receiver.clone());
        }
        let receiver = follow::start(self.sessions(), kind).await?;
        watches.insert(kind, receiver.clone());
        Ok(receiver)
    }

    fn sessions(&self) -> &Sessions {
        self.coordination.sessions()
    }

    async fn read(&self, path: &str) -> Result<Option<(Vec<u8>, i32)>> {
        match self.sessions().call(path, |client| async move { client.get_data(path).await }).await?.result {
            Ok((data, stat)) => Ok(Some((data, stat.version))),
            Err(zk::Error::NoNode) => Ok(None),
            Err(error) => Err(refused(path, error)),
        }
    }

    /// A compare-and-set was refused: somebody else's write, unless it was its own first attempt, whose answer got lost.
    async fn conflict(
        &self,
        document: &Document,
        path: &str,
        data: &[u8],
        (expected, repeated): (Expected, bool),
    ) -> Result<i32> {
        let now = self.read(path).await?;
        let ours = match expected {
            Expected::Version(version) => version.wrapping_add(1),
            Expected::New | Expected::Any => 0,
        };
        match now {
            Some((found, version)) if repeated && version == ours && found == data => Ok(version),
            now => Err(conflicting(&document.to_string(), now.map(|(_, version)| version))),
        }
    }
}

async fn create(client: &zk::Client, path: &str, data: &[u8]) -> Result<i32, zk::Error> {
    match client.create(path, data, &persistent()).await {
        Ok((stat, _)) => Ok(stat.version),
        Err(zk::Error::NoNode) => {
            let folder = path.rfind('/').map_or("", |end| &path[..end]);
            client.mkdir(folder, &persistent()).await?;
            Ok(client.create(path, data, &persistent()).await?.0.version)
        }
        Err(error) => Err(error),
    }
}

async fn write(client: &zk::Client, path: &str, data: &[u8]) -> Result<i32, zk::Error> {
    loop {
        match client.set_data(path, data, None).await {
            Err(zk::Error::NoNode) => {}
            result => return Ok(result?.version),
        }
        match create(client, path, data).await {
            Err(zk::Error::NodeExists) => {} // made in between: replace it
            result => return result,
        }
    }
}

/// Reads a node's data as the document that its path promises.
fn parse(kind: Kind, name: &str, data: &[u8]) -> Result<Document> {
    let document = Document::from_json(data)?;
    if document.kind() != kind || document.name().as_str() != name {
        let why = format!("the node of the {kind} {name} holds the {document}");
        return Err(Error::new(Code::NodeInvalid, why));
    }
    Ok(document)
}

/// Names are checked where documents are read; a name from a command line comes here unchecked.
fn check_name(kind: Kind, name: &str) -> Result<()> {
    name.parse::<schemas::documents::Name>()
        .map(|_| ())
        .map_err(|e| Error::new(Code::NotFound, format!("{kind} {name:?}: {e}")))
}

fn not_found(kind: Kind, name: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no {kind} {name}"))
}

fn conflicting(what: &str, now: Option<i32>) -> Error {
    let now = now.map_or_else(|| "it is gone".to_owned(), |version| format!("it has version {version} now"));
    Error::new(Code::VersionConflict, format!("{what}: {now}"))
}
