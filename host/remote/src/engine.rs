//! The seam between the queue and an engine.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::sample::Sample;
use belfry_model::{Labels, MetricMetadata, SeriesRead};

/// Samples of one series, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSamples {
    /// Its labels, the metric's name among them.
    pub labels: Labels,
    /// Its samples; stale markers included.
    pub samples: Vec<Sample>,
}

/// What one request carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shipment {
    /// By series.
    pub series: Vec<SeriesSamples>,
    /// What the metrics are, where the engine can keep that.
    pub metadata: Vec<MetricMetadata>,
}

/// Why an engine did not take a shipment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// Send it again later: the engine is away, busy or at fault (connection, timeout, 5xx, 429).
    #[error("the engine is away: {reason}")]
    Away {
        /// For people; without secrets.
        reason: String,
        /// What it asked to be waited, in milliseconds (`Retry-After`).
        retry_after_ms: Option<u64>,
    },
    /// It will never take it (4xx): drop it and count it.
    #[error("the engine refused: {reason}")]
    Refused {
        /// For people; without secrets.
        reason: String,
    },
}

/// One engine: how queued samples are written, and how series are read back.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Its kind, as the config names it.
    fn kind(&self) -> &'static str;

    /// Writes a shipment: `Ok` when the engine said that it has it.
    async fn send(&self, shipment: &Shipment) -> Result<(), SendError>;

    /// Reads from it.
    fn reader(&self) -> Arc<dyn SeriesRead>;
}
