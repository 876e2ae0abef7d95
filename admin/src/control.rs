//! The one place that carries out what people ask for, whether through the HTTP API or `otter --direct`.
//!
//! Changes are checked with all documents taken together before anything is written, are written by compare-and-set,
//! several documents in one step or not at all, and leave a record in the audit trail. Who may ask what is decided
//! before, by the HTTP layer; whoever reaches ZooKeeper may do everything.

pub mod audit;
mod caller;
pub mod changes;
mod check;
pub mod documents;
pub mod requests;
pub mod status;
pub mod tokens;

use std::sync::Arc;
use std::time::Duration;

use coordination::{Coordination, Documents};
use schemas::documents::{Document, Kind, World};
use schemas::{Error, Result};

pub use caller::{Caller, Via};

use crate::tools::Tools;

/// A worker that is there answers from memory; one that does not is not waited for.
const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Carries out what people ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    coordination: Coordination,
    tools: Arc<dyn Tools>,
    /// For asking workers.
    http: reqwest::Client,
}

impl Control {
    /// A control over an installation.
    ///
    /// # Errors
    /// `OT1010` when no HTTP client can be made.
    pub fn new(coordination: Coordination, tools: Arc<dyn Tools>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(WORKER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| Error::new(schemas::Code::RoleFailed, format!("no HTTP client: {e}")).with_source(e))?;
        Ok(Self { coordination, tools, http })
    }

    /// The connection to ZooKeeper, for what is not about documents.
    pub fn coordination(&self) -> &Coordination {
        &self.coordination
    }

    /// What the binary lends.
    pub fn tools(&self) -> &dyn Tools {
        self.tools.as_ref()
    }

    fn store(&self) -> Documents {
        self.coordination.documents()
    }

    /// All documents, by kind and name.
    pub(crate) async fn stored(&self) -> Result<Vec<Stored>> {
        let store = self.store();
        let mut all = Vec::new();
        for kind in Kind::ALL {
            for (name, versioned) in store.list(kind).await? {
                all.push(Stored { kind, name, version: versioned.version, document: versioned.value });
            }
        }
        Ok(all)
    }
}

/// Which documents are meant: all, those of a kind, or one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this name.
    pub name: Option<String>,
}

impl Selection {
    /// One document.
    pub fn one(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind: Some(kind), name: Some(name.into()) }
    }

    /// Whether a document is among them.
    pub fn takes(&self, kind: Kind, name: &str) -> bool {
        self.kind.is_none_or(|only| only == kind) && self.name.as_ref().is_none_or(|only| only == name)
    }
}

/// A document in ZooKeeper, with its version.
#[derive(Debug)]
pub struct Stored {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: i32,
    /// The document, or why it cannot be read.
    pub document: Result<Document, Arc<Error>>,
}

/// The documents that can be read, to look at together.
pub(crate) fn world(stored: &[Stored]) -> World {
    let mut world = World::default();
    for document in stored.iter().filter_map(|s| s.document.as_ref().ok()) {
        world.insert(document.clone());
    }
    world
}
