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
    /// Whoever sent it is told only once it is on the disk, where the writer's policy syncs at all.
    pub durable: bool,
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
            durable: false,
        }
    }

    /// Takes what was refused out of it. Exemplars stay: they are judged apart.
    pub fn remove(&mut self, refused: &Refused) {
        if refused.is_empty() {
            return;
        }
        let mut kept = all_but(&refused.floats);
        // What has no value or no time was never a sample.
        let whole = match &self.times {
            Times::One(_) => self.values.len(),
            Times::Each(times) => self.values.len().min(times.len()),
        };
        self.refs.truncate(whole);
        self.refs.retain(|_| kept());
        let mut kept = all_but(&refused.floats);
        self.values.truncate(whole);
        self.values.retain(|_| kept());
        if let Times::Each(times) = &mut self.times {
            let mut kept = all_but(&refused.floats);
            times.truncate(whole);
            times.retain(|_| kept());
        }
        let mut kept = all_but(&refused.floats);
        self.starts.truncate(whole);
        self.starts.retain(|_| kept());
        let mut kept = all_but(&refused.histograms);
        self.histograms.retain(|_| kept());
    }
}

/// Says of one place after the other whether it is kept.
fn all_but(refused: &[(usize, Refusal)]) -> impl FnMut() -> bool {
    let mut refused = refused.iter().map(|(place, _)| *place).peekable();
    let mut place = 0;
    move || {
        let kept = refused.next_if_eq(&place).is_none();
        place += 1;
        kept
    }
}

/// What became of a batch. Refused samples are counted, never an error: the rest was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Which were refused: for whoever sent them, and for whoever hands the rest on.
    pub refused: Refused,
}

impl Appended {
    /// The float at this place was refused. To be told in the order of the batch.
    pub fn refuse_float(&mut self, place: usize, why: Refusal) {
        self.refused.floats.push((place, why));
        self.count(why);
    }

    /// The same of a histogram.
    pub fn refuse_histogram(&mut self, place: usize, why: Refusal) {
        self.refused.histograms.push((place, why));
        self.count(why);
    }

    fn count(&mut self, why: Refusal) {
        *match why {
            Refusal::TooOld => &mut self.too_old,
            Refusal::Duplicate => &mut self.duplicate,
            Refusal::UnknownSeries => &mut self.unknown_series,
            Refusal::TooFarAhead => &mut self.too_far_ahead,
        } += 1;
    }
}

/// Why a sample was refused: the counts of [`Appended`] say what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// [`Appended::too_old`].
    TooOld,
    /// [`Appended::duplicate`].
    Duplicate,
    /// [`Appended::unknown_series`].
    UnknownSeries,
    /// [`Appended::too_far_ahead`].
    TooFarAhead,
}

/// Which samples of a batch were refused, and why. Takes no memory where all were taken.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// Places in [`Batch::refs`], ascending.
    pub floats: Vec<(usize, Refusal)>,
    /// Places in [`Batch::histograms`], ascending.
    pub histograms: Vec<(usize, Refusal)>,
}

impl Refused {
    /// Was everything taken?
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }
}

/// All are equal: what became of a batch is told by its counts.
impl PartialEq for Refused {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Refused {}

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

    /// Writes a batch. `Ok` means that `write()` has returned for it (and `fsync`, under that policy or where
    /// [`Batch::durable`] asks for it).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_goes_with_its_value_time_and_start() {
        let mut batch = Batch {
            times: Times::Each([10, 11, 12, 13].map(TimestampMs).into()),
            refs: [0, 1, 2, 3].map(SeriesRef).into(),
            values: vec![0.5, 1.5, 2.5, 3.5],
            starts: vec![0, 1, 2, 3],
            ..Batch::at("test", TimestampMs(0))
        };
        batch.histograms = (0..3).map(|n| (SeriesRef(n), TimestampMs(20), None, Arc::default())).collect();
        let whole = batch.clone();
        batch.remove(&Refused::default());
        assert_eq!(batch.refs, whole.refs);
        let mut appended = Appended::default();
        appended.refuse_float(0, Refusal::TooOld);
        appended.refuse_float(2, Refusal::Duplicate);
        appended.refuse_histogram(1, Refusal::Duplicate);
        assert_eq!((appended.too_old, appended.duplicate), (1, 2), "each is counted");
        batch.remove(&appended.refused);
        assert_eq!(batch.refs, [1, 3].map(SeriesRef));
        assert_eq!(batch.values, [1.5, 3.5]);
        assert_eq!(batch.times, Times::Each([11, 13].map(TimestampMs).into()));
        assert_eq!(batch.starts, [1, 3]);
        assert_eq!(batch.histograms.iter().map(|h| h.0.0).collect::<Vec<_>>(), [0, 2]);
    }
}
