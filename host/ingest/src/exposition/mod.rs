//! What exporters say, in the formats that Prometheus reads: text 0.0.4, OpenMetrics 1.0, protobuf.
//!
//! Invariant: parsers are pull parsers over bytes that are already there; no input makes them panic, recurse or take
//! more memory than the input itself; an error names its line and what was expected.
//! Not here: whose samples they are, relabelling, limits.
//!
//! ```
//! use belfry_ingest::exposition::{Event, TextFormat, TextParser, series_labels};
//!
//! let mut parser = TextParser::new(b"# TYPE up gauge\nup{job=\"web\"} 1 1700000000000\n", TextFormat::Prometheus);
//! while let Some(event) = parser.next_event().unwrap() {
//!     if let Event::Sample(sample) = event {
//!         assert_eq!(sample.series, "up{job=\"web\"}");
//!         assert_eq!(series_labels(sample.series).unwrap().to_string(), "up{job=\"web\"}");
//!         assert_eq!((sample.value, sample.at), (1.0, Some(1_700_000_000_000)));
//!     }
//! }
//! ```

mod created;
mod protobuf;
mod series;
mod text;
#[cfg(test)]
mod text_tests;
mod wire;

use std::borrow::Cow;
use std::sync::Arc;

use belfry_model::{Histogram, MetricKind};

pub use protobuf::{PROTOBUF_CONTENT_TYPE, ProtobufParser};
pub use series::{SeriesPairs, series_labels, series_pairs};
pub use text::{TextFormat, TextParser};

/// What a parser found next.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// `# HELP`, unescaped.
    Help {
        /// The metric family.
        metric: Cow<'a, str>,
        /// For people.
        text: Cow<'a, str>,
    },
    /// `# TYPE`.
    Type {
        /// The metric family.
        metric: Cow<'a, str>,
        /// Its kind.
        kind: MetricKind,
    },
    /// `# UNIT`.
    Unit {
        /// The metric family.
        metric: Cow<'a, str>,
        /// Its base unit.
        unit: &'a str,
    },
    /// One float.
    Sample(Sample<'a>),
    /// One native histogram; only in protobuf.
    Histogram(HistogramSample<'a>),
}

/// One float as it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The series as written, `name{label="value"}`: equal bytes are the same series, and [`series_labels`] reads it.
    pub series: &'a str,
    /// Every NaN but the stale marker is the one quiet NaN that Prometheus stores.
    pub value: f64,
    /// Milliseconds since the epoch, where the exporter says when.
    pub at: Option<i64>,
    /// When the counter began, in milliseconds since the epoch (OpenMetrics' `_created`, protobuf's
    /// `created_timestamp`).
    pub start: Option<i64>,
    /// An example observation.
    pub exemplar: Option<ExemplarText<'a>>,
}

/// One native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample<'a> {
    /// As in [`Sample`].
    pub series: &'a str,
    /// What was observed.
    pub histogram: Arc<Histogram>,
    /// As in [`Sample`].
    pub at: Option<i64>,
    /// As in [`Sample`].
    pub start: Option<i64>,
    /// Example observations.
    pub exemplars: Vec<ExemplarText<'a>>,
}

/// An exemplar as it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarText<'a> {
    /// `{trace_id="…"}`; [`series_labels`] reads it.
    pub labels: &'a str,
    /// What was observed.
    pub value: f64,
    /// Milliseconds since the epoch, where it is said.
    pub at: Option<i64>,
}

/// The input is not what its format allows; what came before the line was handed out already.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Counted from 1; in protobuf the number of the message.
    pub line: usize,
    /// What was expected.
    pub message: String,
    /// It was read as a sample and is none that can be kept: a histogram that contradicts itself.
    pub is_sample: bool,
}

/// The NaN that Prometheus stores for every NaN that is not the stale marker.
pub(crate) const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Scraped text has only one NaN: a producer cannot write a stale marker.
pub(crate) fn normal_nan(v: f64) -> f64 {
    if v.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { v }
}

/// Runs the text parser over anything; for the fuzzer. Returns how many events there were.
pub fn fuzz_text(body: &[u8], format: TextFormat) -> usize {
    let mut parser = TextParser::new(body, format);
    let mut events = 0;
    while let Ok(Some(event)) = parser.next_event() {
        if let Event::Sample(sample) = event {
            let _ = series_labels(sample.series);
            if let Some(exemplar) = sample.exemplar {
                let _ = series_labels(exemplar.labels);
            }
        }
        events += 1;
    }
    events
}

/// Runs the protobuf parser over anything; for the fuzzer. Returns how many events there were.
pub fn fuzz_protobuf(body: &[u8]) -> usize {
    let mut events = 0;
    for (native, classic) in [(true, true), (false, false)] {
        let mut parser = ProtobufParser::new(body, native, classic);
        while let Ok(Some(event)) = parser.next_event() {
            if let Event::Sample(Sample { series, .. }) | Event::Histogram(HistogramSample { series, .. }) = event {
                let _ = series_labels(series);
            }
            events += 1;
        }
    }
    events
}
