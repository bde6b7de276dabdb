//! The seam between the queue and an engine.
//!
//! Not here: the queue (`queue`), when something is sent (`shipper`), HTTP (`http`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::sample::Sample;
use belfry_model::{Exemplar, Labels, MetricMetadata, SeriesRead, TimestampMs};

/// Samples of one series, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    /// Its labels, the metric's name and the external labels among them.
    pub labels: Labels,
    /// Its samples, times ascending strictly; stale markers included.
    pub samples: Vec<Sample>,
    /// Its exemplars in order of time; an engine that cannot keep them leaves them out.
    pub exemplars: Vec<Exemplar>,
}

/// What one request carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shipment {
    /// By series.
    pub series: Vec<SeriesSamples>,
    /// What the metrics are, where the engine can keep that.
    pub metadata: Vec<MetricMetadata>,
}

impl Shipment {
    /// How many samples it has.
    pub fn samples(&self) -> u64 {
        self.series.iter().map(|s| s.samples.len() as u64).sum()
    }
}

/// What an engine did with a shipment that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Samples that it cannot keep and that were left out (a histogram, NaN): counted, not tried again.
    pub left_out: u64,
}

/// Why an engine did not take a shipment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// Send it again later: the engine is away, busy or at fault (connection, timeout, 5xx, 429), or does not let us in
    /// (401, 403, 404, or a refusal of an empty request, too: a person must mend the config or the engine, and nothing shall
    /// be lost until then).
    #[error("the engine is away: {reason}")]
    Away {
        /// For people; without secrets.
        reason: String,
        /// What it asked to be waited, in milliseconds (`Retry-After`).
        retry_after_ms: Option<u64>,
    },
    /// It will never take it, or has taken only a part of it (other 4xx, once smaller parts were tried): it is not sent again.
    #[error("the engine refused: {reason}")]
    Refused {
        /// For people; without secrets.
        reason: String,
        /// How many samples it did not take, where it says so; else all of them are counted.
        samples: Option<u64>,
    },
}

/// One engine: how queued samples are written, and how series are read back.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Its kind, as the config names it.
    fn kind(&self) -> &'static str;

    /// Writes a shipment: `Ok` when the engine said that it has it. The same one may come again.
    async fn send(&self, shipment: &Shipment) -> Result<Sent, SendError>;

    /// Reads from it. An engine that is away is `ReadError::Unavailable`.
    fn reader(&self) -> Arc<dyn SeriesRead>;

    /// Evaluates PromQL itself, if it can.
    fn query_backend(&self) -> Option<Arc<dyn QueryBackend>> {
        None
    }
}

/// When an engine shall evaluate an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one instant.
    Instant(TimestampMs),
    /// At each step, both ends included.
    Range {
        /// The first.
        start: TimestampMs,
        /// Not after this.
        end: TimestampMs,
        /// Between two.
        step: Duration,
    },
}

/// The value of an expression: floats only.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineValue {
    /// One number.
    Scalar(TimestampMs, f64),
    /// A text.
    Text(TimestampMs, String),
    /// A value for each series, in the engine's order.
    Vector(Vec<(Labels, TimestampMs, f64)>),
    /// Values over time for each series, in the engine's order.
    Matrix(Vec<(Labels, Vec<(TimestampMs, f64)>)>),
}

/// What an engine answered.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineAnswer {
    /// The value.
    pub value: EngineValue,
    /// As the engine says them.
    pub warnings: Vec<String>,
    /// As the engine says them.
    pub infos: Vec<String>,
}

/// Why an engine did not evaluate.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EngineQueryError {
    /// It does not answer.
    #[error("the engine is away: {0}")]
    Away(String),
    /// It cannot evaluate this, or its answer cannot be passed on (native histograms): evaluate it here.
    #[error("the engine does not evaluate this: {0}")]
    NotThis(String),
}

/// An engine that evaluates PromQL itself.
#[async_trait]
pub trait QueryBackend: Send + Sync {
    /// Evaluates `expression` as it is. `lookback` where the request said one.
    async fn query(
        &self,
        expression: &str,
        when: When,
        lookback: Option<Duration>,
    ) -> Result<EngineAnswer, EngineQueryError>;
}
