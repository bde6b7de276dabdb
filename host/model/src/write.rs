//! The seam between ingest and those who keep samples.

use std::sync::Arc;

use async_trait::async_trait;

use crate::labels::Labels;
use crate::metric::MetricMetadata;
use crate::sample::{Exemplar, Histogram};
use crate::time::TimestampMs;

/// A series opened with [`Writer::open`]. Valid for the life of the process or until the series is forgotten; a batch
/// that names a forgotten one is told so in [`Appended::unknown_series`] and opens it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u64);

/// Times of a batch's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// One for all: a scrape or a collect.
    One(TimestampMs),
    /// One each.
    Each(Vec<TimestampMs>),
}

/// What one producer brought in one go, in columns. `refs`, `values` and (with [`Times::Each`]) the times are of one
/// length.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who: for limits and counters. A plugin instance, a scrape target, a rule group.
    pub producer: Arc<str>,
    /// When.
    pub times: Times,
    /// Which series.
    pub refs: Vec<SeriesRef>,
    /// What; stale markers end a series.
    pub values: Vec<f64>,
    /// Start timestamps: empty, or one each (0 for "not known").
    pub starts: Vec<i64>,
    /// Native histograms with their times and start timestamps.
    pub histograms: Vec<(SeriesRef, TimestampMs, Option<TimestampMs>, Arc<Histogram>)>,
    /// Exemplars by series.
    pub exemplars: Vec<(SeriesRef, Exemplar)>,
}

impl Batch {
    /// An empty batch of `producer`, all at one time.
    pub fn at(producer: impl Into<Arc<str>>, at: TimestampMs) -> Self {
        Self {
            producer: producer.into(),
            times: Times::One(at),
            refs: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
        }
    }
}

/// What became of a batch. Refused samples are counted, never an error: the rest was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Written, or already there with the same value.
    pub accepted: u64,
    /// Older than the out-of-order window allows.
    pub too_old: u64,
    /// Another value stands at that time.
    pub duplicate: u64,
    /// The reference is not known any more: open the series again.
    pub unknown_series: u64,
    /// So far ahead of the clock that it would make all that is right too old.
    pub too_far_ahead: u64,
    /// Exemplars kept, or there already: samples of all kinds are counted above, these apart.
    pub exemplars: u64,
    /// The first that were refused.
    pub examples: Examples,
}

/// Places of samples that were refused, for whoever sent them: the first of each reason. Those of [`Batch::values`] come
/// first, then those of [`Batch::histograms`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Examples {
    /// Of [`Appended::too_old`].
    pub too_old: Option<usize>,
    /// Of [`Appended::duplicate`].
    pub duplicate: Option<usize>,
}

/// All are equal: what became of a batch is told by its counts.
impl PartialEq for Examples {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Examples {}

/// Why a write failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WriteError {
    /// New series are shed; those that are open go on.
    #[error("limit of {limit} series reached; raise it or drop labels")]
    SeriesLimit {
        /// The bound that was reached.
        limit: u64,
    },
    /// Nothing was written; it can be tried again once there is room.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// Nothing was acknowledged.
    #[error("cannot write: {0}")]
    Io(String),
    /// The labels cannot be stored.
    #[error("bad labels: {0}")]
    BadLabels(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// Takes samples. One writer per process holds it (`ingest`); the store implements it.
#[async_trait]
pub trait Writer: Send + Sync {
    /// The reference of the series with these labels, made if it is new.
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError>;

    /// The same beyond the limit of series: for the few that tell how the collecting itself goes, which are missed most
    /// when there is no room.
    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.open(labels)
    }

    /// Writes a batch. `Ok` means that `write()` has returned for it (and `fsync`, under that policy).
    async fn append(&self, batch: Batch) -> Result<Appended, WriteError>;

    /// The same at once, on this thread, for what Belfry collected itself and nobody outside was promised: after `Ok` it
    /// can be read, `write()` comes with [`Writer::write_out`], and an `fsync` may be as much as a second away. `None` when
    /// it would have to wait, or never can: then [`Writer::append`] it.
    fn append_now(&self, _batch: &Batch) -> Option<Result<Appended, WriteError>> {
        None
    }

    /// Writes what [`Writer::append_now`] left to be written. To be called before the thread waits for anything.
    fn write_out(&self) {}

    /// Remembers what a metric is. It is written with the next batch, and that may be an empty one.
    fn declare(&self, metadata: MetricMetadata);
}
