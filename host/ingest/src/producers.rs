//! Who has how many series open, and what became of what they brought.
//!
//! Invariant: a limit sheds new series, never open ones; every refusal is counted with its producer. A series counts
//! until it is closed, a stale marker ended it, or it has had no sample for [`SERIES_IDLE`].
//! Not here: the store, labels.

use std::collections::{HashMap, HashSet};
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
    /// Samples by outcome: how many, not which.
    pub samples: Appended,
    /// Time of the newest batch.
    pub last_batch: Option<TimestampMs>,
}

#[derive(Debug, Default)]
pub(crate) struct ProducerEntry {
    pub host_labels: Labels,
    pub series_max: Option<u64>,
    pub stats: ProducerStats,
    /// Series of a producer that keeps book of them itself (`bulk`).
    pub held: u64,
    /// Those of `held` that tell of the collecting itself: the producer's own limit does not count them.
    pub beside: u64,
    by_labels: RefMap<u64, SeriesRef>,
    open: RefMap<SeriesRef, Place>,
    /// Those of `open` whose last value was a stale marker: they do not count, but one may come back.
    ended: HashSet<SeriesRef, BuildHasherDefault<RefHasher>>,
    swept_at: Option<TimestampMs>,
}

/// A series' place among its producer's.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Not known of a series that came back after its place was given away.
    labels_hash: Option<u64>,
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
        (self.open.len() - self.ended.len()) as u64 + self.held
    }

    /// The store may hand out another reference for labels it had forgotten: the old one's place is taken over.
    pub fn opened(&mut self, labels_hash: u64, series: SeriesRef) {
        if let Some(old) = self.by_labels.insert(labels_hash, series).filter(|old| *old != series) {
            self.forget(old);
        }
        self.ended.remove(&series);
        self.open.insert(series, Place { labels_hash: Some(labels_hash), last_seen: self.newest() });
    }

    fn forget(&mut self, series: SeriesRef) {
        self.ended.remove(&series);
        if let Some(hash) = self.open.remove(&series).and_then(|place| place.labels_hash)
            && self.by_labels.get(&hash) == Some(&series)
        {
            self.by_labels.remove(&hash);
        }
    }

    pub fn close(&mut self, refs: &[SeriesRef]) {
        refs.iter().for_each(|r| self.forget(*r));
    }

    /// Those that go on.
    pub fn refs(&self) -> Vec<SeriesRef> {
        let mut refs: Vec<_> = self.open.keys().copied().filter(|r| !self.ended.contains(r)).collect();
        refs.sort_unstable();
        refs
    }

    /// A batch of `at` brought these series; `true` for those that it ended.
    pub fn seen(&mut self, at: TimestampMs, series: impl Iterator<Item = (SeriesRef, bool)>) {
        self.stats.last_batch = Some(self.newest().max(at));
        for (r, ended) in series {
            if ended {
                if self.open.contains_key(&r) {
                    self.ended.insert(r);
                }
                continue;
            }
            if !self.ended.is_empty() {
                self.ended.remove(&r);
            }
            let place = self.open.entry(r).or_insert(Place { labels_hash: None, last_seen: at });
            place.last_seen = place.last_seen.max(at);
        }
    }

    /// Gives away the places of series that ended, and of idle ones.
    pub fn sweep(&mut self) {
        for r in std::mem::take(&mut self.ended) {
            self.forget(r);
        }
        let now = self.newest();
        // A clock that went back must not stop the sweeping for the length of the jump.
        if self.swept_at.is_some_and(|at| at <= now && now.since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        let horizon = now.minus(SERIES_IDLE);
        // Opened before its producer's first batch: its time begins now.
        self.open.values_mut().filter(|p| p.last_seen == TimestampMs::MIN).for_each(|p| p.last_seen = now);
        let idle: Vec<_> = self.open.iter().filter(|(_, p)| p.last_seen < horizon).map(|(r, _)| *r).collect();
        self.close(&idle);
    }

    /// Are there so many places in use, ended series included, that they should be tidied up?
    pub fn is_crowded(&self, limit: u64) -> bool {
        self.open.len() as u64 >= limit
    }

    pub fn appended(&mut self, appended: &Appended) {
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

fn add(sum: &mut Appended, more: &Appended) {
    sum.accepted += more.accepted;
    sum.too_old += more.too_old;
    sum.duplicate += more.duplicate;
    sum.unknown_series += more.unknown_series;
    sum.too_far_ahead += more.too_far_ahead;
    sum.exemplars += more.exemplars;
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
        p.seen(later, [(SeriesRef(1), false)].into_iter());
        p.sweep();
        assert_eq!(p.refs(), [SeriesRef(1)]);
        assert!(p.knows(101) && !p.knows(100));
    }

    #[test]
    fn a_series_that_ended_does_not_count_until_it_comes_back() {
        let mut p = ProducerEntry::default();
        p.opened(7, SeriesRef(1));
        p.opened(8, SeriesRef(2));
        p.seen(NOW, [(SeriesRef(1), true)].into_iter());
        assert_eq!((p.series(), p.refs()), (1, vec![SeriesRef(2)]));
        p.seen(NOW, [(SeriesRef(1), false)].into_iter());
        assert_eq!(p.series(), 2);
        // Also when its place was given away in the meantime.
        p.seen(NOW, [(SeriesRef(1), true)].into_iter());
        p.sweep();
        assert!(!p.knows(7) && p.knows(8));
        p.seen(NOW, [(SeriesRef(1), false)].into_iter());
        assert_eq!(p.series(), 2);
        p.opened(7, SeriesRef(1));
        assert_eq!((p.series(), p.knows(7)), (2, true));
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
