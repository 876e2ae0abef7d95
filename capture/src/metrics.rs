//! Capture's metrics. Labels are the source and the table, nothing else, so their number is bounded by the documents'.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    source: String,
    table: String,
}

/// All families; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    rows: Family<TableLabels, Counter>,
    bytes: Family<TableLabels, Counter>,
    transactions: Family<SourceLabel, Counter>,
    commits: Family<SourceLabel, Counter>,
    lag: Family<SourceLabel, Gauge<f64, AtomicU64>>,
    reconnects: Family<SourceLabel, Counter>,
}

/// Handles of one source, looked up once.
#[derive(Debug, Clone)]
pub(crate) struct SourceMetrics {
    source: String,
    rows: Family<TableLabels, Counter>,
    bytes: Family<TableLabels, Counter>,
    /// Source transactions published.
    pub(crate) transactions: Counter,
    /// Kafka transactions committed.
    pub(crate) commits: Counter,
    /// Seconds from the change at the source to its commit to Kafka, of the last commit.
    pub(crate) lag: Gauge<f64, AtomicU64>,
    /// Attempts after an error that was expected to go away.
    pub(crate) reconnects: Counter,
}

/// Handles of one table, kept in its plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableMetrics {
    /// Row events handed to Kafka.
    pub(crate) rows: Counter,
    /// Bytes of their keys and values.
    pub(crate) bytes: Counter,
}

impl Metrics {
    /// Registers the families under `otter_capture_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("otter_capture");
        registry.register("rows", "Row events published", metrics.rows.clone());
        registry.register_with_unit("data", "Keys and values published", Unit::Bytes, metrics.bytes.clone());
        registry.register("transactions", "Source transactions published", metrics.transactions.clone());
        registry.register("commits", "Kafka transactions committed", metrics.commits.clone());
        registry.register_with_unit("lag", "From change to commit in Kafka", Unit::Seconds, metrics.lag.clone());
        registry.register("reconnects", "Attempts after a passing error", metrics.reconnects.clone());
        metrics
    }

    /// The handles of a source.
    pub(crate) fn source(&self, source: &str) -> SourceMetrics {
        let label = SourceLabel { source: source.to_owned() };
        SourceMetrics {
            source: source.to_owned(),
            rows: self.rows.clone(),
            bytes: self.bytes.clone(),
            transactions: self.transactions.get_or_create_owned(&label),
            commits: self.commits.get_or_create_owned(&label),
            lag: self.lag.get_or_create_owned(&label),
            reconnects: self.reconnects.get_or_create_owned(&label),
        }
    }
}

impl SourceMetrics {
    /// The handles of a table.
    pub(crate) fn table(&self, table: &str) -> TableMetrics {
        let labels = TableLabels { source: self.source.clone(), table: table.to_owned() };
        TableMetrics { rows: self.rows.get_or_create_owned(&labels), bytes: self.bytes.get_or_create_owned(&labels) }
    }
}
