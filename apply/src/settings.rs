//! A lane's view of the documents: what concerns its own table, and whether that has changed.
//!
//! Every put of any document of the pipeline reaches every lane. One whose table it does not concern goes on with the new
//! documents in hand and neither claims again nor lets its stream go; so whatever is changed, other tables do not notice.

use std::sync::Arc;

use schemas::table::TableName;
use schemas::{Error, Result};
use tokio::sync::watch;

use crate::config::{Config, TablePlan, table_by_schema};

/// What documents that changed mean for a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    Nothing,
    /// The lane must claim again.
    Concern,
    /// Other documents changed: a table that a pattern matched may have to give way to another.
    Others,
    /// The pipeline ends.
    End,
}

/// The documents as a lane sees them.
#[derive(Debug)]
pub(crate) struct Settings {
    receiver: watch::Receiver<Arc<Config>>,
    topic: String,
    table: Option<TableName>,
    config: Arc<Config>,
    plan: Arc<Option<TablePlan>>,
}

impl Settings {
    /// Of the lane of a topic.
    pub(crate) fn new(mut receiver: watch::Receiver<Arc<Config>>, topic: &str) -> Self {
        let config = Arc::clone(&receiver.borrow_and_update());
        Self { receiver, topic: topic.to_owned(), table: None, config, plan: Arc::default() }
    }

    /// The documents in hand.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Takes the newest documents and what they say about the table; `None` when no mapping has it.
    ///
    /// # Errors
    /// `OT1031` when two mappings match; those of the registry when only it knows the table.
    pub(crate) async fn take(&mut self, store: &coordination::SchemaStore) -> Result<Arc<Option<TablePlan>>> {
        self.config = Arc::clone(&self.receiver.borrow_and_update());
        // Nothing is known to hold until it is; what changes meanwhile is then a concern.
        self.plan = Arc::default();
        if self.table.is_none() {
            self.table = match self.config.table_of(&self.topic) {
                Some(table) => Some(table),
                None => table_by_schema(store, &self.topic).await?,
            };
        }
        let Some(table) = &self.table else { return Ok(Arc::default()) };
        self.plan = Arc::new(self.config.plan(&self.topic, table)?);
        Ok(Arc::clone(&self.plan))
    }

    /// Whether documents have changed in what concerns the table. What else they say is taken over.
    pub(crate) fn look(&mut self) -> News {
        match self.receiver.has_changed() {
            Ok(false) => return News::Nothing,
            Ok(true) => {}
            Err(_) => return News::End,
        }
        let now = Arc::clone(&self.receiver.borrow_and_update());
        let plan = self.table.as_ref().map(|table| now.plan(&self.topic, table));
        let same = matches!(plan, Some(Ok(plan)) if plan == *self.plan) && now.target() == self.config.target();
        if !same {
            // To be taken: it counts as not seen.
            self.receiver.mark_changed();
            return News::Concern;
        }
        let others =
            !Arc::ptr_eq(&now.world, &self.config.world) && self.plan.as_ref().as_ref().is_some_and(|p| !p.named);
        self.config = now;
        if others { News::Others } else { News::Nothing }
    }

    /// Waits for a change that concerns the table.
    pub(crate) async fn concern(&mut self) -> News {
        loop {
            match self.look() {
                News::Nothing => {}
                news => return news,
            }
            if self.receiver.changed().await.is_err() {
                return News::End;
            }
            self.receiver.mark_changed();
        }
    }

    /// Waits for any change; false when the pipeline ends.
    pub(crate) async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}

/// The error of a table that is not to be written, for what the documents say together.
pub(crate) fn refused(config: &Config, table: &TablePlan) -> Option<Error> {
    config.world.check_table(&config.name, &table.from).err()
}
