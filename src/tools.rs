//! What the binary lends to the admin role: checks by capture and apply, the audit trail.

use admin::control::audit::AuditRecord;
use admin::tools::{Tools, Work};
use coordination::{Coordination, SchemaStore};
use schemas::Result;
use schemas::check::{Finding, SourceTables};
use schemas::documents::{ApplySettings, Pipeline, PipelineStart, Source, State, Target};
use schemas::kafka::KafkaOptions;
use schemas::offsets::LaneOffset;

use crate::audit::Audit;
use crate::config::Config;

/// Tables of a pipeline that are looked at.
const MOST_TABLES: usize = 1_000;

/// The parts of this process that the admin role uses.
#[derive(Debug)]
pub(crate) struct Lent {
    audit: Audit,
    cluster: String,
    kafka: KafkaOptions,
    capture: capture::Options,
}

impl Lent {
    /// Tools whose records go to this trail, and that ask the Kafka of the configuration.
    ///
    /// # Errors
    /// `OT1003` when a secret of `[kafka.client]` is missing.
    pub(crate) fn new(audit: Audit, config: &Config) -> Result<Self> {
        let (cluster, capture) = (config.cluster.to_string(), config.capture.clone());
        Ok(Self { audit, cluster, kafka: config.kafka()?, capture })
    }
}

impl Tools for Lent {
    fn check_site<'a>(&'a self, coordination: &'a Coordination, sources: Vec<Source>) -> Work<'a, Vec<Finding>> {
        Box::pin(async move {
            let mut findings = coordination.check().await;
            findings.extend(capture::check::check_kafka(&self.cluster, &self.kafka, &self.capture, &sources).await);
            findings
        })
    }

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

    fn standing<'a>(&'a self, target: &'a Target, pipeline: &'a str) -> Work<'a, Result<u64>> {
        Box::pin(apply::standing(target, pipeline))
    }

    fn purge_pipeline<'a>(&'a self, target: &'a Target, pipeline: &'a str) -> Work<'a, Result<String>> {
        Box::pin(async move {
            let gone = apply::purge(&self.cluster, &self.kafka, target, pipeline).await?;
            let group = if gone.group { " and the consumer group" } else { "" };
            Ok(format!("{} progress rows at target {}{group}", gone.progress, target.name))
        })
    }

    fn purge_source<'a>(&'a self, coordination: &'a Coordination, source: &'a str) -> Work<'a, Result<String>> {
        Box::pin(async move {
            let last = capture::purge(&self.cluster, &self.kafka, coordination, source).await?;
            Ok(match last {
                Some(last) => {
                    format!("the position, which was GTID {} in {} at {}", last.gtid, last.file, last.position)
                }
                None => "there was no position".to_owned(),
            })
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
