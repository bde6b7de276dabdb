//! The seam between those who keep samples and those who read them.
//!
//! A read is in two steps: an asynchronous [`SeriesRead::select`] finds the series (it may touch a disk or a network),
//! then [`SampleSource::decode`] runs synchronously on a CPU thread, each chunk once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::metric::MetricMetadata;
use crate::sample::{Exemplar, Histogram, Sample, Value};
use crate::time::{TimeRange, TimestampMs};

/// What a reader will do with the samples: lets a store skip or pre-aggregate. Ignoring it is always correct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelectHints {
    /// Distance of the evaluation's steps; 0 for an instant query.
    pub step_ms: i64,
    /// Width of the range selector; 0 for an instant selector.
    pub range_ms: i64,
    /// The function around the selector, if one stands directly there.
    pub function: Option<&'static str>,
    /// At most this many series are wanted; 0 for all.
    pub limit: usize,
    /// The reader understands [`Coarse`]. Else it is given what is left of downsampled data as if that were all.
    pub coarse: bool,
}

/// Bounds of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectLimits {
    /// More series than this is [`ReadError::TooManySeries`].
    pub series_max: usize,
    /// More samples than this is [`ReadError::TooManySamples`].
    pub samples_max: u64,
}

impl Default for SelectLimits {
    fn default() -> Self {
        Self { series_max: 500_000, samples_max: 50_000_000 }
    }
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// Narrow the matchers.
    #[error("the query selects more than {limit} series; narrow its matchers or raise the limit")]
    TooManySeries {
        /// The bound that was passed.
        limit: usize,
    },
    /// Narrow the range or the matchers.
    #[error("the query reads more than {limit} samples; narrow its range or matchers, or raise the limit")]
    TooManySamples {
        /// The bound that was passed.
        limit: u64,
    },
    /// Nobody waits for the answer any more.
    #[error("the read was cancelled")]
    Cancelled,
    /// Data cannot be read; names the file.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// A remote engine does not answer; trying again may help.
    #[error("the storage backend is unavailable: {0}")]
    Unavailable(String),
}

/// Samples in columns. `times` ascend strictly. Reuse one buffer for many series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleBuf {
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// As long as `times`; where a histogram stands, its sum.
    pub floats: Vec<f64>,
    /// Empty when the series has none, else as long as `times`.
    pub histograms: Vec<Option<Arc<Histogram>>>,
    /// Start timestamps (0 for "not known"); empty when the series has none, else as long as `times`.
    pub starts: Vec<i64>,
    /// What the samples stand for, where they are of downsampled data.
    pub coarse: Coarse,
}

/// Downsampled data, for readers that asked for it ([`SelectHints::coarse`]). A *segment* is a run of samples of which
/// the first and the last one are left. Samples are given by whole segments: some may lie outside the range that was
/// asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coarse {
    /// No segment is longer than this.
    pub resolution_ms: i64,
    /// One for each sample from the first one on. Samples beyond the last row stand for themselves.
    pub rows: Vec<Rollup>,
}

/// What a sample stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollup {
    /// Samples of its segment: for the last one of several all of them, for the first one 0. 1: it is the only one.
    pub count: u32,
    /// Time of its segment's first sample.
    pub since: i64,
    /// The smallest value of the segment; of the first of several samples its own value. NaN is left out if it can be.
    /// Where [`SelectHints::function`] asks for none of `min`, `max`, `sum` and `avg_over_time` these three are NaN.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The sum of the values.
    pub sum: f64,
}

impl Rollup {
    /// Of a sample that stands for itself.
    pub fn alone(at: i64, value: f64) -> Self {
        Self { count: 1, since: at, min: value, max: value, sum: value }
    }
}

impl SampleBuf {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.coarse.rows.clear();
        self.coarse.resolution_ms = 0;
        self.times.clear();
        self.floats.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Appends one sample. Its time must be after the last one's.
    pub fn push(&mut self, sample: &Sample) {
        let n = self.times.len();
        self.times.push(sample.at.0);
        match &sample.value {
            Value::Float(v) => {
                self.floats.push(*v);
                if !self.histograms.is_empty() {
                    self.histograms.push(None);
                }
            }
            Value::Histogram(h) => {
                self.floats.push(h.sum);
                self.histograms.resize(n, None);
                self.histograms.push(Some(h.clone()));
            }
        }
        match sample.start {
            Some(start) => {
                self.starts.resize(n, 0);
                self.starts.push(start.0);
            }
            None if self.starts.is_empty() => {}
            None => self.starts.push(0),
        }
    }

    /// Appends one float. Its time must be after the last one's.
    pub fn push_float(&mut self, at: i64, value: f64) {
        self.times.push(at);
        self.floats.push(value);
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// The sample at `i`.
    pub fn get(&self, i: usize) -> Option<Sample> {
        let at = TimestampMs(*self.times.get(i)?);
        let value = match self.histograms.get(i) {
            Some(Some(h)) => Value::Histogram(h.clone()),
            _ => Value::Float(self.floats[i]),
        };
        let start = self.starts.get(i).filter(|s| **s != 0).map(|s| TimestampMs(*s));
        Some(Sample { at, value, start })
    }
}

/// The samples of one selected series, not yet decoded.
pub trait SampleSource: Send + Sync {
    /// Appends the samples within `range` to `into`, in order of time. Stale markers are kept bit for bit. On
    /// [`ReadError::Damaged`] what could be read is in `into`, in order: whoever goes on with it must say that samples are
    /// missing. After any other error what is in `into` is of no use.
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError>;
    /// About how many samples there are: for limits before decoding.
    fn estimate(&self) -> u64;
}

/// One selected series.
#[derive(Clone)]
pub struct Series {
    /// Metric name included.
    pub labels: Labels,
    /// Its samples.
    pub samples: Arc<dyn SampleSource>,
}

/// The answer of [`SeriesRead::select`]: a consistent snapshot, ordered by labels.
#[derive(Clone, Default)]
pub struct SeriesSet {
    /// In order of labels, each label set once.
    pub series: Vec<Series>,
    /// What the reader should pass on to its user.
    pub warnings: Vec<String>,
}

/// The newest sample of each of many series, in columns: what an instant query asks for.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// In order, each label set once; there may be some without a sample. Shared with whoever keeps them.
    pub labels: Arc<[Labels]>,
    /// Which of `labels` have a sample, in ascending order.
    pub of: Vec<u32>,
    /// Milliseconds since the epoch; as long as `of`, as are the values.
    pub times: Vec<i64>,
    /// Stale markers are kept bit for bit; where a histogram stands, its sum.
    pub floats: Vec<f64>,
    /// Empty when there are none, else as long as `of`.
    pub histograms: Vec<Option<Arc<Histogram>>>,
    /// What the reader should pass on to its user.
    pub warnings: Vec<String>,
}

impl Newest {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The labels of the series whose sample stands at `i`.
    pub fn labels_of(&self, i: usize) -> Option<&Labels> {
        self.labels.get(*self.of.get(i)? as usize)
    }

    /// The histogram at `i`, if one stands there.
    pub fn histogram(&self, i: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(i)?.as_ref()
    }
}

/// Set when nobody waits for the answer; long loops look at it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ask the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Was it asked to?
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads series. Implemented by the store and by remote backends.
#[async_trait]
pub trait SeriesRead: Send + Sync {
    /// The series that satisfy all `matchers` and may have samples within `range`.
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError>;

    /// Of all series that satisfy all `matchers` the newest sample within `range`: the one that is last of what
    /// [`SeriesRead::select`] gives. `None`: this reader has no shorter way to it, or not now.
    async fn newest(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _limits: SelectLimits,
    ) -> Result<Option<Newest>, ReadError> {
        Ok(None)
    }

    /// Label sets alone, in order; at most `limit` (0 for all).
    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError>;

    /// Names of labels on the matching series, in order; at most `limit` (0 for all).
    async fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize)
    -> Result<Vec<String>, ReadError>;

    /// Values of `name` on the matching series, in order; at most `limit` (0 for all).
    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError>;

    /// Exemplars of the matching series, by series.
    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError>;

    /// What is known of `metric`, or of all metrics.
    async fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError>;
}
