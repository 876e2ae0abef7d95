//! What [`crate::control::Control`] needs from roles that this crate may not depend on: looking at servers, the audit trail.

use std::fmt::Debug;
use std::pin::Pin;

use coordination::{Coordination, SchemaStore};
use schemas::Result;
use schemas::check::Finding;
use schemas::documents::{Pipeline, Source, Target};
use schemas::offsets::LaneOffset;

use crate::control::audit::AuditRecord;

/// A future whose type is forgotten, so that [`Tools`] can be an object.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the binary lends to the admin role: it alone knows capture, apply and the secrets.
pub trait Tools: Debug + Send + Sync {
    /// Looks at what sources and their appliers need of Kafka and ZooKeeper.
    fn check_site<'a>(&'a self, coordination: &'a Coordination, sources: Vec<Source>) -> Work<'a, Vec<Finding>>;

    /// Looks at a source's server; what cannot be looked at is a finding too.
    fn check_source<'a>(&'a self, source: &'a Source) -> Work<'a, Vec<Finding>>;

    /// Looks at what every pipeline needs of a target's server.
    fn check_target<'a>(&'a self, target: &'a Target) -> Work<'a, Vec<Finding>>;

    /// Looks at the tables of a pipeline at its target, compared with the source's.
    fn check_pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        source: &'a Source,
        target: &'a Target,
    ) -> Work<'a, Vec<Finding>>;

    /// Where the lanes of a pipeline stand.
    fn offsets<'a>(
        &'a self,
        schemas: SchemaStore,
        pipeline: &'a Pipeline,
        source: &'a Source,
        target: &'a Target,
    ) -> Work<'a, Result<Vec<LaneOffset>>>;

    /// Progress rows that pipelines of this name have left at their target: where they are, a new one goes on there.
    fn standing<'a>(&'a self, target: &'a Target, pipeline: &'a str) -> Work<'a, Result<u64>>;

    /// Takes away the progress and the consumer group of a deleted pipeline; what that was, in words.
    fn purge_pipeline<'a>(&'a self, target: &'a Target, pipeline: &'a str) -> Work<'a, Result<String>>;

    /// Takes away the position of a deleted source; what that was, in words.
    fn purge_source<'a>(&'a self, coordination: &'a Coordination, source: &'a str) -> Work<'a, Result<String>>;

    /// Hands a record over to the audit trail. It returns at once and never fails: a change is not undone because its
    /// record is late. A record that cannot be delivered is written to the log.
    fn audit(&self, record: AuditRecord);
}
