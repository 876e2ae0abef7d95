//! Which source table writes which target table, counting the tables that are there without being named anywhere.
//!
//! Several source tables in one target table are refused unless all their mappings say that they merge, and their constants,
//! if they set some, tell their rows apart. Between mappings that name their tables a put sees to that; a table that a
//! pattern matches is known only when its topic is there. Its lane then asks here. Whoever claims looks at the
//! same topics, documents and progress rows, so all workers come to the same end: a named table goes before one that
//! a pattern matched, one that has progress before one that has none, then the smaller name.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::documents::{World, Writer, Writers};
use schemas::{Code, Error, Result, names};
use tokio::sync::Mutex;

use crate::config::{Config, TablePlan, table_of};
use crate::inquiry::Inquiry;
use crate::pool::Pooled;
use crate::target::siblings::siblings;

/// How old the list of topics may be; and the topic of whoever asks must be in it, so that of two tables that appear
/// within that time one sees the other.
const FRESH: Duration = Duration::from_secs(1);

/// The writers, as known last.
#[derive(Clone)]
pub(crate) struct Catalog {
    inquiry: Inquiry,
    known: Arc<Mutex<Option<Known>>>,
}

struct Known {
    at: Instant,
    world: Arc<World>,
    topics: HashSet<String>,
    writers: Arc<Writers>,
}

impl Catalog {
    pub(crate) fn new(inquiry: Inquiry) -> Self {
        Self { inquiry, known: Arc::default() }
    }

    /// Whether the table may be written, as far as others are concerned.
    ///
    /// # Errors
    /// `OT1032` when another table goes before it; those of Kafka and the target.
    pub(crate) async fn admit(&self, config: &Config, table: &TablePlan, pooled: &mut Pooled) -> Result<()> {
        if table.named {
            return Ok(());
        }
        let writers = self.writers(config, table).await?;
        let world = &config.world;
        let address = config.target().address.to_string();
        let (pipeline, mapping) = (world.pipeline(&config.name), world.route(&config.name, &table.from)?);
        let (Some(pipeline), Some(mapping)) = (pipeline, mapping) else { return Ok(()) };
        let own = self.has_progress(config, (&config.name, table), pooled).await?;
        for (to, other) in writers.others((&config.name, &table.from), &address, &table.to) {
            let merges = table.to.iter().position(|own| own == to).and_then(|at| table.merges.get(at));
            let own_writer = Writer::new(pipeline, mapping, &table.from, merges.copied().unwrap_or_default());
            let Some(why) = own_writer.conflict(other) else { continue };
            let first = other.named || {
                let theirs = TablePlan { from: other.from.clone(), ..table.clone() };
                let progress = self.has_progress(config, (&other.pipeline, &theirs), pooled).await?;
                let smaller = (&other.pipeline, &other.from) < (&config.name, &table.from);
                if progress == own { smaller } else { progress }
            };
            if first {
                return Err(shared(config, table, (&to.to_string(), why), other));
            }
        }
        Ok(())
    }

    async fn writers(&self, config: &Config, table: &TablePlan) -> Result<Arc<Writers>> {
        let world = &config.world;
        let own = world.source(config.source_name()).map(|source| names::topic(source.prefix(), &table.from));
        let fresh = |k: &&Known| {
            k.at.elapsed() < FRESH
                && Arc::ptr_eq(&k.world, world)
                && own.as_ref().is_none_or(|own| k.topics.contains(own))
        };
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(fresh) {
            return Ok(Arc::clone(&known.writers));
        }
        let topics: HashSet<String> = self.inquiry.topics().await?.into_iter().collect();
        let tables: Vec<_> = topics
            .iter()
            .flat_map(|topic| {
                let of = |source: &schemas::documents::Source| table_of(source.prefix(), topic);
                world.sources().filter_map(move |source| Some((source.name.as_str(), of(source)?)))
            })
            .collect();
        let writers = Arc::new(Writers::new(world, tables));
        *known = Some(Known { at: Instant::now(), world: Arc::clone(world), topics, writers: Arc::clone(&writers) });
        Ok(writers)
    }

    /// Whether a table of a pipeline onto the same server has a progress row.
    async fn has_progress(
        &self,
        config: &Config,
        (pipeline, table): (&str, &TablePlan),
        pooled: &mut Pooled,
    ) -> Result<bool> {
        let world = &config.world;
        let ends = world.pipeline(pipeline).map(|p| (world.source(p.source.as_str()), world.target(p.target.as_str())));
        let Some((Some(source), Some(target))) = ends else { return Ok(false) };
        let topic = names::topic(source.prefix(), &table.from);
        match siblings(pooled.session(), &target.schema, (pipeline, &topic)).await {
            Ok(lanes) => Ok(!lanes.is_empty()),
            // Another schema of progress may not be there yet.
            Err(failure) if failure.error.code() == Code::TargetTable => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }
}

fn shared(config: &Config, table: &TablePlan, (to, why): (&str, &str), other: &Writer) -> Error {
    let message = format!(
        "pipeline {}: {} would go to {to}, which {} of pipeline {} is written to; {why}",
        config.name, table.from, other.from, other.pipeline
    );
    Error::new(Code::TargetShared, message)
}
