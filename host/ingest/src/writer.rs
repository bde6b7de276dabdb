//! The one holder of the store's writer.
//!
//! Invariant: every sample of Belfry passes here; what is not written is counted by producer and reason. Bounded work
//! waits for the store; past that batches are shed, so that a slow disk never grows a queue.
//! Not here: schedules, retries (a batch that failed is gone; the next one comes at the next interval).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belfry_model::sample::{is_stale, stale_nan};
use belfry_model::write::Times;
use belfry_model::{Appended, Batch, Labels, SeriesRef, TimestampMs, WriteError, Writer};
use tokio::sync::Semaphore;

use crate::labels::admit;
use crate::producers::{ProducerEntry, ProducerStats, Producers};
use crate::record::RefCache;

/// Batches the store works on at a time: enough to fill one group commit of its log.
pub const IN_FLIGHT_BATCHES_MAX: usize = 64;
/// Batches that wait for the store: about 5 s at the rated 50/s. Past that they are shed and counted.
pub const WAITING_BATCHES_MAX: usize = 256;

/// Producer of what the host itself writes.
pub const HOST_PRODUCER: &str = "belfry";
/// Collects the counters of batches whose producer was removed while they were on their way.
pub const REMOVED_PRODUCER: &str = "(removed)";

/// How many series may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Of one producer, unless it was registered with a limit of its own.
    pub series_per_producer: u64,
    /// Of all producers together; the host's own series are beside it, so that the limit can be seen at work.
    pub series_total: u64,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self { series_per_producer: 10_000, series_total: 1_000_000 }
    }
}

/// Why there is no series.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// It was never registered, or is gone.
    #[error("producer `{0}` is not registered")]
    UnknownProducer(String),
    /// The producer must change the labels.
    #[error("bad labels: {0}")]
    BadLabels(String),
    /// The producer must close series or be given more; those it has open go on.
    #[error("producer `{producer}` has {limit} series open, its limit; raise `limits.series` or drop labels")]
    ProducerLimit {
        /// Its name.
        producer: String,
        /// Its limit.
        limit: u64,
    },
    /// Somebody must close series.
    #[error("{limit} series are open, the limit of all producers together; drop labels or plugins")]
    TotalLimit {
        /// The limit.
        limit: u64,
    },
    /// The store has none.
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// Why a batch was not written. It was counted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The store is slower than what comes in; later batches may pass.
    #[error("the store is busy: {waiting} batches wait already")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// Its columns differ in length: a fault of the host's own code.
    #[error("malformed batch of `{producer}`: {reason}")]
    Malformed {
        /// Its producer.
        producer: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// What ingest has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestStats {
    /// By producer, in order of name.
    pub producers: Vec<ProducerStats>,
    /// Series open, of all producers.
    pub series: u64,
    /// Batches the store works on now.
    pub in_flight: usize,
    /// Batches that wait now.
    pub waiting: usize,
    /// Batches shed because too many waited.
    pub batches_shed: u64,
    /// Series of the host's own whose references are kept.
    pub record_cache: usize,
    /// Exemplars left out because their labels are too long.
    pub exemplars_too_long: u64,
    /// Metadata with a text that was cut, or left out because of its name.
    pub metadata_cut: u64,
}

/// The way into the store.
pub struct Ingest {
    pub(crate) writer: Arc<dyn Writer>,
    pub(crate) limits: IngestLimits,
    pub(crate) producers: Mutex<Producers>,
    recorded: Mutex<RefCache>,
    room: Semaphore,
    waiting: AtomicUsize,
    shed: AtomicU64,
    pub(crate) beside: crate::beside::Counts,
    /// New series that found no place among those of all together.
    pub(crate) shed_series: AtomicU64,
}

impl Ingest {
    /// Takes the store's writer for good.
    pub fn new(writer: Arc<dyn Writer>, limits: IngestLimits) -> Self {
        let mut producers = Producers::new();
        for name in [HOST_PRODUCER, REMOVED_PRODUCER] {
            let mut entry = ProducerEntry::default();
            entry.stats.producer = name.to_owned();
            producers.insert(name.into(), entry);
        }
        Self {
            writer,
            limits,
            producers: Mutex::new(producers),
            recorded: Mutex::default(),
            room: Semaphore::new(IN_FLIGHT_BATCHES_MAX),
            waiting: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            beside: Default::default(),
            shed_series: AtomicU64::new(0),
        }
    }

    /// How many series may be open.
    pub fn limits(&self) -> IngestLimits {
        self.limits
    }

    /// Makes a producer known, or changes what the host says of it; its counters and open series stay. Series that are
    /// open keep the labels they were opened with.
    pub fn register(&self, producer: &str, host_labels: Labels, series_max: Option<u64>) {
        let mut producers = lock(&self.producers);
        let entry = producers.entry(producer.into()).or_default();
        entry.stats.producer = producer.to_owned();
        entry.host_labels = host_labels;
        entry.series_max = series_max;
    }

    /// Forgets a producer and marks its open series as ended at `at`.
    pub async fn retire(&self, producer: &str, at: TimestampMs) -> Result<(), AppendError> {
        if [HOST_PRODUCER, REMOVED_PRODUCER].contains(&producer) {
            return Ok(());
        }
        let refs = match lock(&self.producers).remove(producer) {
            Some(entry) => entry.refs(),
            None => return Ok(()),
        };
        self.end(producer, at, refs).await
    }

    /// The producer's series `refs` have ended at `at`: they are marked, and their places are free.
    pub async fn close(&self, producer: &str, at: TimestampMs, refs: &[SeriesRef]) -> Result<(), AppendError> {
        if let Some(entry) = lock(&self.producers).get_mut(producer) {
            entry.close(refs);
        }
        self.end(producer, at, refs.to_vec()).await
    }

    async fn end(&self, producer: &str, at: TimestampMs, refs: Vec<SeriesRef>) -> Result<(), AppendError> {
        if refs.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::at(producer, at);
        batch.values = vec![stale_nan(); refs.len()];
        batch.refs = refs;
        self.append(batch).await.map(drop)
    }

    /// The reference of a producer's series: checks names, adds the host's labels, counts it against the limits.
    /// Opening one that is open already always succeeds.
    pub fn open(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, OpenError> {
        let mut producers = lock(&self.producers);
        let total: u64 = producers.values().map(ProducerEntry::series).sum();
        let entry = producers.get_mut(producer).ok_or_else(|| OpenError::UnknownProducer(producer.to_owned()))?;
        let all = admit(labels, &entry.host_labels).map_err(|reason| {
            entry.stats.series_refused += 1;
            OpenError::BadLabels(reason)
        })?;
        let hash = all.stable_hash();
        if !entry.knows(hash) {
            let limit = entry.series_max.unwrap_or(self.limits.series_per_producer);
            let before = entry.series();
            if entry.is_crowded(limit) || total >= self.limits.series_total {
                entry.sweep();
            }
            let freed = before - entry.series();
            let refused = if entry.series() >= limit {
                Some(OpenError::ProducerLimit { producer: producer.to_owned(), limit })
            } else if total - freed >= self.limits.series_total {
                Some(OpenError::TotalLimit { limit: self.limits.series_total })
            } else {
                None
            };
            if let Some(refused) = refused {
                entry.stats.series_shed += 1;
                self.note_shed(&refused);
                return Err(refused);
            }
        }
        let series = self.writer.open(&all).map_err(|e| {
            let refused = OpenError::from(e);
            entry.stats.series_shed += 1;
            self.note_shed(&refused);
            refused
        })?;
        entry.opened(hash, series);
        Ok(series)
    }

    /// Writes a batch; waits while the store is busy. Samples that the store refuses are in the answer and counted.
    pub async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        let producer = batch.producer.clone();
        let samples = (batch.refs.len() + batch.histograms.len()) as u64;
        let times = times_of(&batch);
        let floats = batch.refs.iter().copied().zip(batch.values.iter().map(|v| is_stale(*v)));
        let histograms = batch.histograms.iter().map(|h| (h.0, h.3.is_stale()));
        let series: Vec<(SeriesRef, bool)> = floats.chain(histograms).collect();
        let outcome = self.write_checked(batch).await;
        let mut producers = lock(&self.producers);
        let name = if producers.contains_key(&producer) { &*producer } else { REMOVED_PRODUCER };
        if let Some(entry) = producers.get_mut(name) {
            match &outcome {
                Ok(appended) => {
                    entry.appended(appended);
                    if let Some(at) = times {
                        entry.seen(at, series.into_iter());
                    }
                }
                Err(_) => entry.failed(samples),
            }
        }
        outcome
    }

    pub(crate) async fn write_checked(&self, batch: Batch) -> Result<Appended, AppendError> {
        match malformed(&batch) {
            Some(reason) => Err(AppendError::Malformed { producer: batch.producer.to_string(), reason }),
            None => self.write(batch).await,
        }
    }

    async fn write(&self, batch: Batch) -> Result<Appended, AppendError> {
        let permit = match self.room.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
                // Counted down on every way out, also when the caller gives up waiting.
                let _one_less = Waiting(&self.waiting);
                if waiting >= WAITING_BATCHES_MAX {
                    self.shed.fetch_add(1, Ordering::Relaxed);
                    return Err(AppendError::Busy { waiting });
                }
                self.room.acquire().await.map_err(|_| WriteError::Closed)?
            }
        };
        let appended = self.writer.append(batch).await?;
        drop(permit);
        Ok(appended)
    }

    /// Writes what the host itself has to say at `at`: rule output and its own metrics, labels complete with the
    /// metric's name. Series that cannot be opened are counted and the rest is written.
    pub async fn record(&self, at: TimestampMs, samples: Vec<(Labels, f64)>) -> Result<Appended, AppendError> {
        let first = self.append(self.resolve(at, &samples)).await?;
        if first.unknown_series == 0 {
            return Ok(first);
        }
        // The store forgot some (retention, a restore). Which ones it does not say; what is there already at the same
        // value is accepted again.
        lock(&self.recorded).clear();
        self.append(self.resolve(at, &samples)).await
    }

    fn resolve(&self, at: TimestampMs, samples: &[(Labels, f64)]) -> Batch {
        let mut batch = Batch::at(HOST_PRODUCER, at);
        let mut refused = 0;
        let mut cache = lock(&self.recorded);
        for (labels, value) in samples {
            let series = match cache.get(labels) {
                Some(series) => series,
                None => match self.writer.open(labels) {
                    Ok(series) => {
                        cache.put(labels.clone(), series);
                        series
                    }
                    Err(error) => {
                        tracing::debug!(%labels, %error, "a series of the host's own was not opened");
                        let limit = matches!(error, WriteError::SeriesLimit { .. });
                        self.shed_series.fetch_add(u64::from(limit), Ordering::Relaxed);
                        refused += 1;
                        continue;
                    }
                },
            };
            batch.refs.push(series);
            batch.values.push(*value);
        }
        drop(cache);
        if let Some(entry) = lock(&self.producers).get_mut(HOST_PRODUCER).filter(|_| refused > 0) {
            entry.stats.series_refused += refused;
        }
        batch
    }

    /// Counters and levels.
    pub fn stats(&self) -> IngestStats {
        let producers = lock(&self.producers);
        let by_name: std::collections::BTreeMap<_, _> =
            producers.iter().map(|(name, entry)| (name.clone(), entry.snapshot())).collect();
        IngestStats {
            series: by_name.values().map(|p| p.series).sum(),
            producers: by_name.into_values().collect(),
            in_flight: IN_FLIGHT_BATCHES_MAX - self.room.available_permits(),
            waiting: self.waiting.load(Ordering::Acquire),
            batches_shed: self.shed.load(Ordering::Relaxed),
            record_cache: lock(&self.recorded).len(),
            exemplars_too_long: self.beside.exemplars.load(Ordering::Relaxed),
            metadata_cut: self.beside.metadata.load(Ordering::Relaxed),
        }
    }

    /// Times a new series was shed because all together, or the store, have as many as they may.
    pub fn series_shed(&self) -> u64 {
        self.shed_series.load(Ordering::Relaxed)
    }

    /// Counters of one producer.
    pub fn producer_stats(&self, producer: &str) -> Option<ProducerStats> {
        lock(&self.producers).get(producer).map(ProducerEntry::snapshot)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn times_of(batch: &Batch) -> Option<TimestampMs> {
    let histograms = batch.histograms.iter().map(|h| h.1).max();
    match &batch.times {
        Times::One(at) => Some(*at),
        Times::Each(times) => times.iter().copied().max().max(histograms),
    }
}

pub(crate) fn malformed(batch: &Batch) -> Option<&'static str> {
    let n = batch.refs.len();
    if batch.values.len() != n {
        return Some("as many values as series are needed");
    }
    if matches!(&batch.times, Times::Each(times) if times.len() != n) {
        return Some("as many times as series are needed");
    }
    (!batch.starts.is_empty() && batch.starts.len() != n).then_some("as many start timestamps as series are needed")
}

/// Nothing between lock and unlock can leave the counters half-changed, so a panic elsewhere does not stop ingest.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
