//! The way in for producers that bring many series and keep book of them themselves: remote write, import.
//!
//! Invariant: the limits are those of [`Ingest::open`], and every refusal is counted with its producer; but a sample of a
//! known series costs no look-up here.
//! Not here: which labels pass (the producer's protocol says that), the book (`push::book`).

use std::sync::atomic::Ordering;

use belfry_model::{Appended, Batch, Labels, SeriesRef, TimestampMs, WriteError};

use crate::writer::{AppendError, Ingest, OpenError, lock, malformed};

/// Which limits count a series.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// The producer's and that of all together.
    OfProducer,
    /// None refuses it.
    Beside,
}

impl Ingest {
    /// The reference of a series with exactly these labels, counted as one more of the producer's.
    pub fn open_as_is(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, OpenError> {
        let series = self.try_open_as_is(producer, labels);
        self.shed_if_failed(producer, &series);
        series
    }

    /// The same for one that tries again: what is shed in the end it counts with [`Self::open_as_is`].
    pub(crate) fn try_open_as_is(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, OpenError> {
        self.place(producer, Counted::OfProducer).and_then(|()| {
            self.writer.open(labels).map_err(|e| {
                self.hand_back(producer, 1);
                OpenError::from(e)
            })
        })
    }

    /// The same for a series that tells of the producer itself, such as `up`: what it brings cannot take its place, for
    /// no limit refuses it; beside that of all together it counts. [`Self::hand_back_report`] gives it back.
    pub fn open_report(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, OpenError> {
        let series = self.place(producer, Counted::Beside).and_then(|()| {
            self.writer.open_always(labels).map_err(|e| {
                self.hand_back_report(producer, 1);
                OpenError::from(e)
            })
        });
        self.shed_if_failed(producer, &series);
        series
    }

    fn shed_if_failed(&self, producer: &str, series: &Result<SeriesRef, OpenError>) {
        let Err(error) = series else { return };
        if let Some(entry) = lock(&self.producers).get_mut(producer) {
            entry.stats.series_shed += 1;
        }
        self.note_shed(error);
    }

    /// Counts what the limit of all together shed.
    pub(crate) fn note_shed(&self, error: &OpenError) {
        if matches!(error, OpenError::TotalLimit { .. } | OpenError::Store(WriteError::SeriesLimit { .. })) {
            self.shed_series.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn place(&self, producer: &str, counted: Counted) -> Result<(), OpenError> {
        let mut producers = lock(&self.producers);
        let total: u64 = producers.values().map(|p| p.series()).sum();
        let entry = producers.get_mut(producer).ok_or_else(|| OpenError::UnknownProducer(producer.to_owned()))?;
        let limit = entry.series_max.unwrap_or(self.limits.series_per_producer);
        if counted == Counted::OfProducer && entry.series().saturating_sub(entry.beside) >= limit {
            return Err(OpenError::ProducerLimit { producer: producer.to_owned(), limit });
        }
        if counted == Counted::OfProducer && total >= self.limits.series_total {
            return Err(OpenError::TotalLimit { limit: self.limits.series_total });
        }
        entry.held += 1;
        entry.beside += u64::from(counted == Counted::Beside);
        Ok(())
    }

    /// The producer has `series` fewer than it opened.
    pub fn hand_back(&self, producer: &str, series: u64) {
        if series > 0
            && let Some(entry) = lock(&self.producers).get_mut(producer)
        {
            entry.held = entry.held.saturating_sub(series);
        }
    }

    /// The same for series of [`Self::open_report`].
    pub fn hand_back_report(&self, producer: &str, series: u64) {
        if series > 0
            && let Some(entry) = lock(&self.producers).get_mut(producer)
        {
            entry.held = entry.held.saturating_sub(series);
            entry.beside = entry.beside.saturating_sub(series);
        }
    }

    /// The producer has exactly so many series, by its book.
    pub fn holds(&self, producer: &str, series: u64) {
        if let Some(entry) = lock(&self.producers).get_mut(producer) {
            entry.held = series;
        }
    }

    /// Counts series or samples that the producer's protocol refused.
    pub fn refused(&self, producer: &str, n: u64) {
        if n > 0
            && let Some(entry) = lock(&self.producers).get_mut(producer)
        {
            entry.stats.series_refused += n;
        }
    }

    /// Counts samples that were written past the live path.
    pub(crate) fn count(&self, producer: &str, done: Appended, newest: TimestampMs) {
        if let Some(entry) = lock(&self.producers).get_mut(producer) {
            entry.appended(&done);
            entry.seen(newest, std::iter::empty());
        }
    }

    /// Writes a batch and counts it, without looking at which series it has.
    pub async fn append_as_is(&self, batch: Batch, newest: TimestampMs) -> Result<Appended, AppendError> {
        let producer = batch.producer.clone();
        let samples = (batch.refs.len() + batch.histograms.len()) as u64;
        let outcome = self.write_checked(batch).await;
        self.count_batch(&producer, samples, newest, &outcome);
        outcome
    }

    /// The same for what Belfry collected itself: at once, on this thread, if nothing stands in its way.
    pub async fn append_collected(&self, batch: Batch, newest: TimestampMs) -> Result<Appended, AppendError> {
        let now = if malformed(&batch).is_none() { self.writer.append_now(&batch) } else { None };
        let Some(outcome) = now else { return self.append_as_is(batch, newest).await };
        let outcome = outcome.map_err(AppendError::from);
        self.count_batch(&batch.producer, (batch.refs.len() + batch.histograms.len()) as u64, newest, &outcome);
        outcome
    }

    /// To be called before the thread that collected waits for anything: writes what it brought.
    pub fn write_out(&self) {
        self.writer.write_out();
    }

    fn count_batch(&self, producer: &str, samples: u64, newest: TimestampMs, outcome: &Result<Appended, AppendError>) {
        if let Some(entry) = lock(&self.producers).get_mut(producer) {
            match outcome {
                Ok(appended) => {
                    entry.appended(appended);
                    entry.seen(newest, std::iter::empty());
                }
                Err(_) => entry.failed(samples),
            }
        }
    }
}
