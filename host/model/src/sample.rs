//! Samples: floats and native histograms, with their times.

use std::sync::Arc;

use crate::labels::Labels;
use crate::time::TimestampMs;

/// The NaN that says "this series ended here" (Prometheus `value.StaleNaN`). Compare by bits only.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Is this value the stale marker (and not some other NaN)?
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// One observation of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was true.
    pub at: TimestampMs,
    /// What it was.
    pub value: Value,
    /// When the counter began, where known.
    pub start: Option<TimestampMs>,
}

/// A float or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A plain number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// What a histogram says about a reset since the sample before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Look at the counts.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// A gauge histogram: resets have no meaning.
    Gauge,
}

/// `offset` empty buckets, then `length` present ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap to the end of the span before (to index 0 for the first).
    pub offset: i32,
    /// Buckets in a row.
    pub length: u32,
}

/// A native histogram: exponential (`schema` -4 to 8) or with custom bounds (`schema` -53). Counts are absolute (not
/// deltas between buckets), as in Prometheus' `FloatHistogram`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Resolution; [`Histogram::CUSTOM_BOUNDS`] for custom ones.
    pub schema: i32,
    /// Observations in all.
    pub count: f64,
    /// Sum of what was observed.
    pub sum: f64,
    /// Half-width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Their counts.
    pub positive_counts: Vec<f64>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Their counts.
    pub negative_counts: Vec<f64>,
    /// Upper bounds, without +Inf; only with custom bounds.
    pub custom_bounds: Vec<f64>,
    /// What the producer says of a reset.
    pub reset_hint: ResetHint,
    /// All counts are whole numbers (an integer histogram on the wire).
    pub integer: bool,
}

impl Histogram {
    /// The schema number of custom bounds.
    pub const CUSTOM_BOUNDS: i32 = -53;

    /// A histogram whose sum is the stale marker ends its series.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }
}

/// An example observation behind a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Usually `trace_id` and `span_id`.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// When.
    pub at: TimestampMs,
}
