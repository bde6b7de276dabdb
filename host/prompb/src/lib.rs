//! The protobuf messages of Prometheus' remote write 1 and 2 and remote read, and what of the model they stand for.
//! As the protocols' own files have them, but for what nobody here sends or reads:
//! <https://github.com/prometheus/prometheus/tree/main/prompb>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
//!
//! Invariant: what a message says of a histogram is taken as it is; nothing panics on it, and whether it makes sense is
//! checked by whoever takes it in.
//! Not here: limits (whoever decodes bounds the bytes first), HTTP. What Belfry is sent is not decoded with these:
//! `ingest::push` reads those bytes where they lie.

pub mod chunk;
mod frame;
mod histogram;
mod labels;
pub mod read;
pub mod v2;

pub use frame::framed;
pub use histogram::{BucketSpan, Histogram};
pub use labels::{Label, labels, labels_of};
use prost::Message;

/// `prometheus.WriteRequest`: the body of remote write 1.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Series with their samples.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// Of metrics, whether or not they have samples here.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`: remote write 1, and what remote read answers.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// In order of time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// In order of time.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// In order of time.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// `prometheus.Sample` of both versions.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// A stale marker is a NaN of its own.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// Since when it counts, in milliseconds; 0 for unknown. Of version 2 alone.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// `prometheus.Exemplar` of version 1.
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// Its own: not the series'.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// What was measured.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// `prometheus.MetricMetadata` of version 1.
#[derive(Clone, PartialEq, Message)]
pub struct MetricMetadata {
    /// See [`kind_number`].
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The metric's name, without `_bucket` and the like.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// For people.
    #[prost(string, tag = "4")]
    pub help: String,
    /// `seconds` and so on.
    #[prost(string, tag = "5")]
    pub unit: String,
}

impl From<&belfry_model::Exemplar> for Exemplar {
    fn from(e: &belfry_model::Exemplar) -> Self {
        Self { labels: labels_of(&e.labels), value: e.value, timestamp: e.at.0 }
    }
}

impl From<&belfry_model::MetricMetadata> for MetricMetadata {
    fn from(m: &belfry_model::MetricMetadata) -> Self {
        let (help, unit) = (m.help.clone(), m.unit.clone());
        Self { kind: kind_number(m.kind), metric_family_name: m.name.clone(), help, unit }
    }
}

/// The number of a kind; both versions number them alike.
pub fn kind_number(kind: belfry_model::MetricKind) -> i32 {
    use belfry_model::MetricKind;
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

/// More than 4 GiB: snappy's block format cannot say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is too long to be packed")]
pub struct TooLong;

/// A message as it is sent: encoded, and packed by snappy in its block format.
pub fn packed(message: &impl Message) -> Result<Vec<u8>, TooLong> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).map_err(|_| TooLong)
}
