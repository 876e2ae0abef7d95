//! What apply counts, for Prometheus. Labels are the pipeline, the topic and the partition: one set for each lane.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::consumer::lanes::Part;

/// A lane, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LaneLabel {
    /// The pipeline.
    pub(crate) pipeline: String,
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
}

/// The metrics of the apply role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    events: Family<LaneLabel, Counter>,
    batches: Family<LaneLabel, Counter>,
    commits: Family<LaneLabel, Counter>,
    repeats: Family<LaneLabel, Counter>,
    missing: Family<LaneLabel, Counter>,
    existing: Family<LaneLabel, Counter>,
    lag: Family<LaneLabel, Gauge>,
    next_offset: Family<LaneLabel, Gauge>,
    paused: Family<LaneLabel, Gauge>,
}

/// One lane's metrics, looked up once.
#[derive(Debug)]
pub(crate) struct LaneMetrics {
    families: Metrics,
    label: LaneLabel,
    pub(crate) events: Counter,
    pub(crate) batches: Counter,
    pub(crate) commits: Counter,
    pub(crate) repeats: Counter,
    pub(crate) missing: Counter,
    pub(crate) existing: Counter,
    pub(crate) lag: Gauge<i64, AtomicI64>,
    pub(crate) next_offset: Gauge<i64, AtomicI64>,
    pub(crate) paused: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Makes them known to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("otter_apply");
        registry.register("events", "Row events applied", self.events.clone());
        registry.register("batches", "Batches committed", self.batches.clone());
        registry.register(
            "commits",
            "Target transactions committed by this lane; several lanes may share one",
            self.commits.clone(),
        );
        registry.register("repeats", "Events dropped because they were applied before", self.repeats.clone());
        registry.register("missing_rows", "Changes of missing rows that the policy let pass", self.missing.clone());
        registry.register("existing_rows", "Inserts of existing rows that the policy let pass", self.existing.clone());
        registry.register(
            "lag_milliseconds",
            "Time from the change at the source to its commit at the target, of the last batch",
            self.lag.clone(),
        );
        registry.register("next_offset", "Offset of the next record", self.next_offset.clone());
        registry.register(
            "lane_paused",
            "1 while the lane stands still until somebody changes something",
            self.paused.clone(),
        );
    }

    /// The metrics of a lane; they go when the value is dropped.
    pub(crate) fn lane(&self, pipeline: &str, part: &Part) -> LaneMetrics {
        let label = LaneLabel { pipeline: pipeline.to_owned(), topic: part.topic.clone(), partition: part.partition };
        LaneMetrics {
            events: self.events.get_or_create_owned(&label),
            batches: self.batches.get_or_create_owned(&label),
            commits: self.commits.get_or_create_owned(&label),
            repeats: self.repeats.get_or_create_owned(&label),
            missing: self.missing.get_or_create_owned(&label),
            existing: self.existing.get_or_create_owned(&label),
            lag: self.lag.get_or_create_owned(&label),
            next_offset: self.next_offset.get_or_create_owned(&label),
            paused: self.paused.get_or_create_owned(&label),
            families: self.clone(),
            label,
        }
    }
}

impl Drop for LaneMetrics {
    fn drop(&mut self) {
        // Counters stay, as counters must; what describes the present goes with the lane.
        self.families.lag.remove(&self.label);
        self.families.next_offset.remove(&self.label);
        self.families.paused.remove(&self.label);
    }
}
