//! Who has how many series open, and what became of what they brought.
//!
//! Invariant: a limit sheds new series, never open ones; every refusal is counted with its producer. A series counts
//! until it is closed or has had no sample for [`SERIES_IDLE`].
//! Not here: the store, labels.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Appended, Labels, SeriesRef, TimestampMs};

/// A series without a sample for so long gives up its place when places are short.
pub const SERIES_IDLE: Duration = Duration::from_secs(15 * 60);

/// Places are looked for among idle series at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// References are numbers that the store hands out: mixing them is enough, and appends look each one up.
#[derive(Default)]
pub(crate) struct RefHasher(u64);

impl Hasher for RefHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u64(&mut self, n: u64) {
        let x = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = x ^ (x >> 32);
    }
}

type RefMap<K, V> = HashMap<K, V, BuildHasherDefault<RefHasher>>;

/// What became of one producer's series and samples since it was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Its name.
    pub producer: String,
    /// Series it has open.
    pub series: u64,
    /// Times a new series was refused because of a limit.
    pub series_shed: u64,
    /// Times a series was refused because of its labels.
    pub series_refused: u64,
    /// Batches that the store acknowledged.
    pub batches: u64,
    /// Batches that were not written: the store failed, or the queue was full.
    pub batches_failed: u64,
    /// Samples of the batches that were not written.
    pub samples_lost: u64,
    /// Samples by outcome.
    pub samples: Appended,
    /// Time of the newest batch.
    pub last_batch: Option<TimestampMs>,
}

#[derive(Debug, Default)]
pub(crate) struct ProducerEntry {
    pub host_labels: Labels,
    pub series_max: Option<u64>,
    pub stats: ProducerStats,
    by_labels: RefMap<u64, SeriesRef>,
    open: RefMap<SeriesRef, Place>,
    swept_at: Option<TimestampMs>,
}

/// A series' place among its producer's.
#[derive(Clone, Copy, Debug)]
struct Place {
    labels_hash: u64,
    last_seen: TimestampMs,
}

impl ProducerEntry {
    fn newest(&self) -> TimestampMs {
        self.stats.last_batch.unwrap_or(TimestampMs::MIN)
    }

    pub fn knows(&self, labels_hash: u64) -> bool {
        self.by_labels.contains_key(&labels_hash)
    }

    pub fn series(&self) -> u64 {
        self.open.len() as u64
    }

    /// The store may hand out another reference for labels it had forgotten: the old one's place is taken over.
    pub fn opened(&mut self, labels_hash: u64, series: SeriesRef) {
        if let Some(old) = self.by_labels.insert(labels_hash, series).filter(|old| *old != series) {
            self.open.remove(&old);
        }
        self.open.insert(series, Place { labels_hash, last_seen: self.newest() });
    }

    pub fn close(&mut self, refs: &[SeriesRef]) {
        for r in refs {
            if let Some(place) = self.open.remove(r) {
                self.by_labels.remove(&place.labels_hash);
            }
        }
    }

    pub fn refs(&self) -> Vec<SeriesRef> {
        let mut refs: Vec<_> = self.open.keys().copied().collect();
        refs.sort_unstable();
        refs
    }

    /// The samples of `refs` arrived at `at`.
    pub fn seen(&mut self, at: TimestampMs, refs: impl Iterator<Item = SeriesRef>) {
        self.stats.last_batch = Some(self.newest().max(at));
        for r in refs {
            if let Some(place) = self.open.get_mut(&r) {
                place.last_seen = place.last_seen.max(at);
            }
        }
    }

    /// Frees the places of idle series.
    pub fn sweep(&mut self) {
        let now = self.newest();
        // A clock that went back must not stop the sweeping for the length of the jump.
        if self.swept_at.is_some_and(|at| at <= now && now.since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        let horizon = now.minus(SERIES_IDLE);
        let by_labels = &mut self.by_labels;
        self.open.retain(|_, place| {
            let stays = place.last_seen >= horizon;
            if !stays {
                by_labels.remove(&place.labels_hash);
            }
            stays
        });
    }

    pub fn appended(&mut self, appended: Appended) {
        self.stats.batches += 1;
        add(&mut self.stats.samples, appended);
    }

    pub fn failed(&mut self, samples: u64) {
        self.stats.batches_failed += 1;
        self.stats.samples_lost += samples;
    }

    pub fn snapshot(&self) -> ProducerStats {
        ProducerStats { series: self.series(), ..self.stats.clone() }
    }
}

fn add(sum: &mut Appended, more: Appended) {
    sum.accepted += more.accepted;
    sum.too_old += more.too_old;
    sum.duplicate += more.duplicate;
    sum.unknown_series += more.unknown_series;
}

/// By name.
pub(crate) type Producers = HashMap<Arc<str>, ProducerEntry>;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    #[test]
    fn idle_series_give_up_their_place_and_live_ones_never() {
        let mut p = ProducerEntry::default();
        p.seen(NOW, std::iter::empty());
        for n in 0..3 {
            p.opened(100 + n, SeriesRef(n));
        }
        let later = NOW + SERIES_IDLE + Duration::from_millis(1);
        p.seen(later, [SeriesRef(1)].into_iter());
        p.sweep();
        assert_eq!(p.refs(), [SeriesRef(1)]);
        assert!(p.knows(101) && !p.knows(100));
    }

    #[test]
    fn a_series_the_store_renamed_counts_once() {
        let mut p = ProducerEntry::default();
        p.opened(7, SeriesRef(1));
        p.opened(7, SeriesRef(2));
        assert_eq!(p.refs(), [SeriesRef(2)]);
        p.close(&[SeriesRef(2)]);
        assert_eq!((p.series(), p.knows(7)), (0, false));
    }
}
