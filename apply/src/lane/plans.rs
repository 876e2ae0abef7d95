//! How a lane's records are read and written: per schema id a decoder, and the mapping of its columns to the target's.

use std::collections::HashMap;
use std::sync::Arc;

use coordination::SchemaStore;
use schemas::decode::EventDecoder;
use schemas::{Error, Result};

use crate::config::TablePlan;
use crate::target::connection::Session;
use crate::target::mapping::TableMapping;

/// Schemas kept per lane. A table has one at a time; this leaves room for a lane that is read again over many changes.
const KEPT: usize = 16;

/// How the records of one schema are read and written.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The schema's id.
    pub(crate) schema: u32,
    /// Reads the records.
    pub(crate) decoder: EventDecoder,
    /// Write the rows, one for each target table.
    pub(crate) mappings: Vec<TableMapping>,
}

/// The plans of a lane.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    by_schema: HashMap<u32, Arc<Plan>>,
}

impl Plans {
    /// Forgets all: the mapping or the target table may have changed.
    pub(crate) fn clear(&mut self) {
        self.by_schema.clear();
    }

    /// Whether the plan of a schema is there.
    pub(crate) fn has(&self, schema: u32) -> bool {
        self.by_schema.contains_key(&schema)
    }

    /// The plan of a schema, made when it is not there.
    ///
    /// # Errors
    /// `OT4005` and `OT2001` when the schema cannot be had, `OT4006` when it is not an event's, `OT5003` when the target
    /// table does not fit, and lost connections.
    pub(crate) async fn get(
        &mut self,
        schema: u32,
        table: &TablePlan,
        store: &SchemaStore,
        session: &mut Session,
    ) -> Result<Arc<Plan>> {
        if let Some(plan) = self.by_schema.get(&schema) {
            return Ok(Arc::clone(plan));
        }
        let text = store.schema(schema).await?;
        let decoder = EventDecoder::compile(&text)
            .map_err(|e| Error::new(e.code(), format!("schema {schema}: {}", e.message())).with_source(e))?;
        let mut mappings = Vec::with_capacity(table.to.len());
        for (at, to) in table.to.iter().enumerate() {
            let mapping = TableMapping::resolve(session, decoder.columns(), table.rules(at), to).await;
            mappings.push(mapping.map_err(|f| f.error)?);
        }
        if self.by_schema.len() >= KEPT {
            self.by_schema.clear();
        }
        let plan = Arc::new(Plan { schema, decoder, mappings });
        self.by_schema.insert(schema, Arc::clone(&plan));
        Ok(plan)
    }
}
