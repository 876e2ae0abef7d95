//! What the binary lends to the admin role: checks by capture and apply, the audit trail.

use admin::control::audit::AuditRecord;
use admin::tools::{Tools, Work};
use coordination::SchemaStore;
use schemas::Result;
use schemas::check::{Finding, SourceTables};
use schemas::documents::{ApplySettings, Pipeline, PipelineStart, Source, State, Target};
use schemas::kafka::KafkaOptions;
use schemas::offsets::LaneOffset;

use crate::audit::Audit;

/// Tables of a pipeline that are looked at.
const MOST_TABLES: usize = 1_000;

/// The parts of this process that the admin role uses.
#[derive(Debug)]
pub(crate) struct Lent {
    audit: Audit,
    kafka: KafkaOptions,
}

impl Lent {
    /// Tools whose records go to this trail, and that ask this Kafka.
    pub(crate) fn new(audit: Audit, kafka: KafkaOptions) -> Self {
        Self { audit, kafka }
    }
}

impl Tools for Lent {
    fn check_source<'a>(&'a self, source: &'a Source) -> Work<'a, Vec<Finding>> {
        Box::pin(capture::check::check(source))
    }

    fn check_target<'a>(&'a self, target: &'a Target) -> Work<'a, Vec<Finding>> {
        Box::pin(async move { apply::check(&bare(target), target, &SourceTables::new()).await })
    }

    fn check_pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        source: &'a Source,
        target: &'a Target,
    ) -> Work<'a, Vec<Finding>> {
        Box::pin(against_both(pipeline, source, target))
    }

    fn offsets<'a>(
        &'a self,
        schemas: SchemaStore,
        pipeline: &'a Pipeline,
        source: &'a Source,
        target: &'a Target,
    ) -> Work<'a, Result<Vec<LaneOffset>>> {
        Box::pin(async move {
            let around = apply::Surroundings { kafka: &self.kafka, schemas };
            apply::offsets(&around, pipeline, source, target).await
        })
    }

    fn audit(&self, record: AuditRecord) {
        self.audit.record(record);
    }
}

/// The target, its tables compared with the source's as far as the source can be asked.
async fn against_both(pipeline: &Pipeline, source: &Source, target: &Target) -> Vec<Finding> {
    match capture::check::source_tables(source, |table| pipeline.mapping_for(table).is_some(), MOST_TABLES).await {
        Ok(tables) => apply::check(pipeline, target, &tables).await,
        Err(e) => {
            let subject = format!("pipeline {}: columns are not compared", pipeline.name);
            let mut findings = vec![Finding::error(subject, &e)];
            findings.extend(apply::check(pipeline, target, &SourceTables::new()).await);
            findings
        }
    }
}

/// A pipeline without mappings, to look at what every pipeline needs of a target.
fn bare(target: &Target) -> Pipeline {
    Pipeline {
        name: target.name.clone(),
        source: target.name.clone(),
        target: target.name.clone(),
        state: Some(State::Paused),
        mappings: Vec::new(),
        start: PipelineStart::default(),
        apply: ApplySettings::default(),
    }
}
