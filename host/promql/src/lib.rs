//! PromQL: text → tokens → AST with spans → evaluation over [`belfry_model::SeriesRead`].
//!
//! Invariant: the same expression over the same samples gives the same answer; work is bounded by [`QueryLimits`].
//! Not here: a clock (time is an argument), I/O (the reader does it), threads (the caller runs `evaluate` on its pool).
//!
//! ```
//! # use belfry_promql::*; use belfry_model::{TimestampMs, read::Cancel};
//! # async fn ask(reader: &dyn belfry_model::SeriesRead) -> Result<Answer, QueryError> {
//! let time = QueryTime::Instant(TimestampMs(1_700_000_000_000));
//! let query = Query::parse("sum by (job) (rate(http_requests_total[5m]))", time, QueryLimits::default())?;
//! let fetched = query.fetch(reader).await?; // the only part that waits
//! fetched.evaluate(&Cancel::default()) // synchronous: run it on a CPU pool
//! # }
//! ```

pub mod cache;
mod eval;
pub mod fuzz;
mod histogram;
mod names;
pub mod parts;
mod plan;
mod query;
pub mod syntax;
pub mod workers;

use std::time::Duration;

use belfry_model::{Histogram, Labels, TimestampMs};

pub use histogram::Bucket;
pub use names::Names;
pub use query::{Fetched, Query, QueryError};
pub use syntax::ast::{Expr, ExprKind, ValueType};
pub use syntax::{ParseError, ParseErrors, format_expr, parse, parse_recovering, parse_selector};

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryTime {
    /// At one instant.
    Instant(TimestampMs),
    /// At `start`, `start + step`, … up to and including `end`.
    Range {
        /// First step.
        start: TimestampMs,
        /// No step after this.
        end: TimestampMs,
        /// Distance of the steps; not zero.
        step: Duration,
    },
}

/// Bounds of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Series that all selectors together may select.
    pub series_max: usize,
    /// Samples that may be decoded.
    pub samples_max: u64,
    /// Points that the answer, or any step on the way to it, may hold; what they take is counted in `bytes_max`, too.
    pub points_max: u64,
    /// Bytes of memory that it may hold: series, buffers, what it makes on its way, and the answer.
    pub bytes_max: u64,
    /// How far back an instant selector looks.
    pub lookback: Duration,
    /// Step of subqueries that name none: the default evaluation interval.
    pub subquery_step: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            series_max: 500_000,
            samples_max: 50_000_000,
            points_max: 50_000_000,
            bytes_max: 1 << 30,
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
        }
    }
}

/// The value of one point.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(std::sync::Arc<Histogram>),
}

/// A labelled point of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPoint {
    /// Its labels.
    pub labels: Labels,
    /// When.
    pub at: TimestampMs,
    /// What.
    pub value: PointValue,
}

/// A labelled row of a matrix; points ascend in time.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixRow {
    /// Its labels.
    pub labels: Labels,
    /// Its points.
    pub points: Vec<(TimestampMs, PointValue)>,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number without labels.
    Scalar(TimestampMs, f64),
    /// A text.
    String(TimestampMs, String),
    /// Points at one instant.
    Vector(Vec<VectorPoint>),
    /// Points over time.
    Matrix(Vec<MatrixRow>),
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: QueryValue,
    /// What is probably wrong, as Prometheus says it.
    pub warnings: Vec<String>,
    /// What may be wrong, as Prometheus says it.
    pub infos: Vec<String>,
    /// Samples decoded, each once.
    pub samples_read: u64,
    /// Most points, or samples of one series, that one step of the evaluation held.
    pub points_peak: u64,
}

/// What an evaluation took, beside what its answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Samples that each step looked at, where [`Query::counting_steps`] asked for it: one that several steps look at
    /// counts for each, a histogram for as many floats as are of its size.
    pub samples_per_step: Vec<(TimestampMs, u64)>,
    /// Most bytes that it held.
    pub bytes_peak: u64,
}

/// `a + sign * b`; `None` when one has exponential and the other custom buckets.
pub fn add_histograms(a: &Histogram, b: &Histogram, sign: f64) -> Option<Histogram> {
    let mut sum = a.clone();
    histogram::add(&mut sum, b, sign).ok()?;
    Some(sum)
}

/// Was the counter behind these histograms reset between `previous` and `h`?
pub fn histogram_was_reset(h: &Histogram, previous: &Histogram) -> bool {
    histogram::detect_reset(h, previous)
}

/// The buckets that hold something, ascending: as the HTTP API lists them.
pub fn histogram_buckets(h: &Histogram) -> Vec<Bucket> {
    histogram::all_buckets(h).into_iter().filter(|b| b.count != 0.0).collect()
}
