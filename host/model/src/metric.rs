//! What is known of a metric beside its samples.

use serde::{Deserialize, Serialize};

/// OpenMetrics' kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, or starts again.
    Counter,
    /// Counts by bucket.
    Histogram,
    /// Quantiles computed by the producer.
    Summary,
    /// Facts as labels, value 1.
    Info,
    /// One series a state, 0 or 1.
    StateSet,
    /// A histogram of what is there now: its buckets go down too.
    GaugeHistogram,
    /// Not told.
    #[default]
    Unknown,
}

impl MetricKind {
    /// As in OpenMetrics and Prometheus' metadata API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Unknown => "unknown",
        }
    }
}

/// Kind, unit and help of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricMetadata {
    /// The metric's name.
    pub name: String,
    /// What its numbers mean.
    pub kind: MetricKind,
    /// Base unit ("seconds", "bytes"), or empty.
    pub unit: String,
    /// One sentence.
    pub help: String,
}
