//! Where Avro schemas get their ids, and where ids get their schemas back.
//!
//! Two registries can stand behind [`SchemaStore`]: Otter's own in ZooKeeper ([`Registry`], which admin serves over HTTP), or
//! one that the site has already, reached by URL ([`External`]). Capture and apply see no difference: `register` gives an
//! id, `schema` gives the text of an id, both fail with a code whose reaction says whether trying again helps, and
//! neither ever makes up an answer. Ids never change their meaning, so their texts are asked for once.

mod external;
mod own;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::Result;

pub use self::external::{Credentials, RegistryOptions};
pub use self::own::{Registered, Registration, Registry, SubjectVersion};

pub(crate) use self::external::External;

use crate::Coordination;

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

/// The registry that this installation uses. Cheap to clone; clones share the cache of the connection.
#[derive(Debug, Clone)]
pub struct SchemaStore {
    coordination: Coordination,
}

impl Coordination {
    /// The registry that this installation uses: its own, or the external one of [`crate::Options::registry`].
    pub fn schemas(&self) -> SchemaStore {
        SchemaStore { coordination: self.clone() }
    }

    /// Otter's own registry in ZooKeeper, whether it is in use or not.
    pub fn registry(&self) -> Registry {
        Registry::new(self.clone())
    }

    /// Whether schemas are in a registry of the site's instead of Otter's own.
    pub fn has_external_registry(&self) -> bool {
        self.inner.external.is_some()
    }
}

impl SchemaStore {
    /// The id of a schema under a subject: the one it has already, or a new one.
    ///
    /// # Errors
    /// Otter's own: `OT1005` when the text does not fit into a node, `OT2001` without an answer in time, `OT2003` when a
    /// registry node holds something else. An external one: `OT4014` without an answer in time, `OT4013` when it holds
    /// the schema to be incompatible, `OT4015` when it refuses for another reason.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        match &self.coordination.inner.external {
            Some(external) => {
                let id = external.register(subject, schema).await?;
                self.coordination.inner.schemas.insert(id, schema);
                Ok(id)
            }
            None => self.coordination.registry().register(subject, schema).await,
        }
    }

    /// The newest schema of a subject; `None` when nothing is registered under it.
    ///
    /// # Errors
    /// Those of [`SchemaStore::schema`].
    pub async fn newest(&self, subject: &str) -> Result<Option<Arc<str>>> {
        if let Some(external) = &self.coordination.inner.external {
            return Ok(external.newest(subject).await?.map(Arc::from));
        }
        let registry = self.coordination.registry();
        match registry.versions(subject).await?.last() {
            Some(newest) => registry.schema(newest.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// The schema of an id; asked of the registry once.
    ///
    /// # Errors
    /// `OT4005` when there is no such id, and those of [`SchemaStore::register`].
    pub async fn schema(&self, id: u32) -> Result<Arc<str>> {
        let cache = &self.coordination.inner.schemas;
        match &self.coordination.inner.external {
            Some(external) => match cache.get(id) {
                Some(schema) => Ok(schema),
                None => Ok(cache.insert(id, &external.schema(id).await?)),
            },
            None => self.coordination.registry().schema(id).await,
        }
    }
}
