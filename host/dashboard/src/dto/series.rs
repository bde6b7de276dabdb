//! Metrics, sources and bucketed time series.

use std::collections::BTreeMap;

use belfry_model::{Labels, MetricKind, TimestampMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// `GET /api/metrics`: current values by source. Query: [`MetricsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CurrentMetrics {
    /// When it was read.
    #[schemars(with = "i64")]
    pub now_ms: TimestampMs,
    /// In order of name.
    pub sources: Vec<SourceMetrics>,
    /// There were more series than the answer may hold; the rest is left out.
    pub truncated: bool,
}

/// Narrows `GET /api/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct MetricsQuery {
    /// Only this source.
    pub source: Option<String>,
    /// Only this metric.
    pub metric: Option<String>,
}

/// Current values of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SourceMetrics {
    /// Name of the source: its label `source`.
    pub source: String,
    /// In order of name.
    pub metrics: Vec<CurrentMetric>,
}

/// Current values of one metric of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CurrentMetric {
    /// Its name.
    pub name: String,
    /// Gauge, counter, …
    #[schemars(with = "schema::MetricKind")]
    pub kind: MetricKind,
    /// `bytes`, `seconds`, … or empty.
    pub unit: String,
    /// One sentence, or empty.
    pub help: String,
    /// One a series.
    pub series: Vec<CurrentValue>,
}

/// The newest sample of a series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CurrentValue {
    /// Without the metric's name.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// `null` when it is not finite.
    pub value: Option<f64>,
    /// When it was measured.
    #[schemars(with = "i64")]
    pub at_ms: TimestampMs,
}

/// How a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last pull brought what it should.
    Up,
    /// It answers, but says itself that something is wrong, or it is late.
    Degraded,
    /// The last pulls brought nothing.
    Down,
    /// Not pulled yet.
    #[default]
    Unknown,
}

/// One line of `GET /api/sources`, and of the payload of the event `sources` (the whole list).
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Source {
    /// Unique.
    pub name: String,
    /// `collector`, `metric_source`, `scrape`, `push` or `internal`.
    pub kind: String,
    /// For people: what it stands for ("MCP server weather").
    pub title: String,
    /// The plugin that it runs in, if any.
    pub plugin: Option<String>,
    /// How it is.
    pub health: Health,
    /// Why it is not up; empty when it is.
    pub reason: String,
    /// Since when it has this health.
    #[schemars(with = "Option<i64>")]
    pub health_since_ms: Option<TimestampMs>,
    /// When it was last pulled.
    #[schemars(with = "Option<i64>")]
    pub last_pull_ms: Option<TimestampMs>,
    /// How long that took.
    pub last_duration_seconds: Option<f64>,
    /// Distance of pulls.
    pub interval_seconds: f64,
    /// Samples of the last pull.
    pub last_samples: u64,
    /// Series it has open.
    pub series: u64,
    /// Pulls since the start.
    pub pulls_total: u64,
    /// Pulls that brought nothing.
    pub errors_total: u64,
    /// Samples since the start.
    pub samples_total: u64,
    /// Samples refused or shed since the start, by reason; zeros are left out.
    pub rejected: BTreeMap<String, u64>,
    /// Durations of the last pulls, oldest first; `null` is a failed one. At most [`RECENT_PULLS_MAX`].
    #[schemars(length(max = RECENT_PULLS_MAX))]
    pub recent_pull_seconds: Vec<Option<f64>>,
    /// Host labels on its series.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
}

/// Pulls that a source's row shows: about two minutes at the usual interval, and as many bars as fit a tile.
pub const RECENT_PULLS_MAX: usize = 30;

/// The query string of `GET /api/timeseries`, as it comes. The routes check it into a [`TimeSeriesRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct TimeSeriesQuery {
    /// Name of the metric, or a selector (`name{label="value"}`). Needed.
    pub metric: String,
    /// Only of this source.
    pub source: Option<String>,
    /// Seconds since the epoch (fractions allowed), RFC 3339, or `-15m`: that long before `to`. Default: `-1h`.
    pub from: Option<String>,
    /// As `from`; default: now.
    pub to: Option<String>,
    /// Width of a bucket: `10s`, `1m`, or seconds. Default: the range in about 200 buckets.
    pub interval: Option<String>,
    /// See [`Aggregator`]. Default: `avg`.
    pub aggregator: Option<String>,
}

/// What a bucket's samples become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregator {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Avg,
    /// The smallest.
    Min,
    /// The greatest.
    Max,
    /// How many.
    Count,
}

/// Buckets that one answer of `GET /api/timeseries` may have for each series: Prometheus' bound for a range query.
pub const BUCKETS_MAX: usize = 11_000;

/// A checked [`TimeSeriesQuery`]: `from_ms < to_ms`, `interval_ms > 0`, at most [`BUCKETS_MAX`] buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSeriesRequest {
    /// Name or selector.
    pub metric: String,
    /// Only of this source.
    pub source: Option<String>,
    /// The first instant.
    pub from_ms: TimestampMs,
    /// The first instant after it.
    pub to_ms: TimestampMs,
    /// Width of a bucket in milliseconds.
    pub interval_ms: i64,
    /// What a bucket's samples become.
    pub aggregator: Aggregator,
}

/// `GET /api/timeseries`: samples in buckets. A bucket starts at a multiple of its width since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TimeSeries {
    /// As asked for.
    pub metric: String,
    /// `bytes`, `seconds`, … or empty.
    pub unit: String,
    /// What a bucket's samples became.
    pub aggregator: Aggregator,
    /// Start of the first bucket.
    #[schemars(with = "i64")]
    pub from_ms: TimestampMs,
    /// The first instant after the range.
    #[schemars(with = "i64")]
    pub to_ms: TimestampMs,
    /// Width of a bucket.
    pub interval_seconds: f64,
    /// In order of labels.
    pub series: Vec<BucketedSeries>,
    /// What the reader should know of the answer.
    pub warnings: Vec<String>,
}

/// One series in buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct BucketedSeries {
    /// Without the metric's name.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// Start of the bucket in milliseconds since the epoch, and its value. Buckets without samples are left out.
    pub points: Vec<(i64, Option<f64>)>,
}
