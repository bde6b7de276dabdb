//! References of the series that the host itself writes: rule output and its own metrics, which arrive as labels.
//!
//! Invariant: at most [`RECORD_CACHE_SERIES_MAX`] references are kept; one that is dropped is opened again.

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::{Appended, Batch, Histogram, Labels, SeriesRef, TimestampMs};

use crate::writer::{AppendError, HOST_PRODUCER, Ingest};

/// References kept, about 3 MB with their labels: Belfry's own metrics and the alerts of a large installation.
pub const RECORD_CACHE_SERIES_MAX: usize = 20_000;

/// Two generations: what was used since the last turn, and what was used in the turn before. Cheaper than a list in
/// order of use, and what is written at every evaluation never falls out.
#[derive(Debug, Default)]
pub(crate) struct RefCache {
    young: HashMap<Labels, SeriesRef>,
    old: HashMap<Labels, SeriesRef>,
}

impl RefCache {
    pub fn get(&mut self, labels: &Labels) -> Option<SeriesRef> {
        if let Some(found) = self.young.get(labels) {
            return Some(*found);
        }
        let (labels, found) = self.old.remove_entry(labels)?;
        self.put(labels, found);
        Some(found)
    }

    pub fn put(&mut self, labels: Labels, series: SeriesRef) {
        if self.young.len() >= RECORD_CACHE_SERIES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(labels, series);
    }

    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Ingest {
    /// Like [`Ingest::record`], for native histograms: rules that record them. They are few, so their series are looked
    /// up each time.
    pub async fn record_histograms(
        &self,
        at: TimestampMs,
        samples: Vec<(Labels, Arc<Histogram>)>,
    ) -> Result<Appended, AppendError> {
        let mut batch = Batch::at(HOST_PRODUCER, at);
        for (labels, histogram) in samples {
            match self.writer.open(&labels) {
                Ok(series) => batch.histograms.push((series, at, None, histogram)),
                Err(error) => tracing::debug!(%labels, %error, "a series of the host's own was not opened"),
            }
        }
        self.append(batch).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = RefCache::default();
        let label = |n: usize| Labels::from_pairs([("n", n.to_string())]);
        cache.put(label(0), SeriesRef(0));
        for n in 1..RECORD_CACHE_SERIES_MAX * 3 {
            cache.put(label(n), SeriesRef(n as u64));
            assert_eq!(cache.get(&label(0)), Some(SeriesRef(0)), "after {n}");
            assert!(cache.len() <= RECORD_CACHE_SERIES_MAX);
        }
        assert_eq!(cache.get(&label(1)), None);
    }
}
