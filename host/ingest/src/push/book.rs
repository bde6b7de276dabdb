//! Which key stands for which series of a producer: what makes a known series cost nothing but a look-up.
//!
//! Invariant: a series that was not seen for [`SERIES_IDLE`] leaves the book, so churn cannot grow it; a full producer
//! forgets idle and ended series before it sheds a new one.
//! Not here: limits (`bulk`), labels.

use belfry_model::{SeriesRef, TimestampMs};
use hashbrown::HashTable;

use super::decoded::Key;
use crate::producers::SERIES_IDLE;

/// Idle series are looked for this often, in ticks.
const SWEEP_EVERY_TICKS: u32 = 16;
/// Milliseconds of a tick: precise enough for [`SERIES_IDLE`], and 31 bits of them last 2,000 years.
const TICK_MS: i64 = 16_384;
/// Set in `seen` when the last value was a stale marker.
const ENDED: u32 = 1 << 31;

/// 28 bytes: it is there once a series. Numbers of 64 bits are in halves, so that it needs no padding.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hi: [u32; 2],
    lo: u32,
    reference: [u32; 2],
    seen: u32,
    metadata: u32,
}

impl Entry {
    fn hash(&self) -> u64 {
        joined(self.hi)
    }

    fn is(&self, key: Key) -> bool {
        self.lo == key.lo && self.hash() == key.hi
    }
}

#[inline]
fn joined(halves: [u32; 2]) -> u64 {
    u64::from(halves[0]) << 32 | u64::from(halves[1])
}

#[inline]
fn halves(n: u64) -> [u32; 2] {
    [(n >> 32) as u32, n as u32]
}

/// A point in time, coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    pub fn of(at: TimestampMs) -> Self {
        Self((at.0.max(0) / TICK_MS) as u32 & !ENDED)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SeriesBook {
    table: HashTable<Entry>,
    ended: usize,
    swept: Tick,
    /// Changes when references may have become worthless.
    generation: u64,
}

impl Default for SeriesBook {
    fn default() -> Self {
        Self { table: HashTable::new(), ended: 0, swept: Tick(0), generation: 0 }
    }
}

impl SeriesBook {
    /// The series of `key`, which is seen now; `stale` when it ends now. The second answer is true when its metadata
    /// (by hash) is not what it was.
    #[inline]
    pub fn get(&mut self, key: Key, now: Tick, stale: bool, metadata: u32) -> Option<(SeriesRef, bool)> {
        let entry = self.table.find_mut(key.hi, |e| e.is(key))?;
        let seen = now.0 | if stale { ENDED } else { 0 };
        if (entry.seen ^ seen) & ENDED != 0 {
            match stale {
                true => self.ended += 1,
                false => self.ended -= 1,
            }
        }
        entry.seen = seen;
        let news = entry.metadata != metadata && metadata != 0;
        entry.metadata = metadata;
        Some((SeriesRef(joined(entry.reference)), news))
    }

    /// Remembers a series; false when it was there already.
    pub fn put(&mut self, key: Key, series: SeriesRef, now: Tick, stale: bool, metadata: u32) -> bool {
        let new = self.table.find(key.hi, |e| e.is(key)).is_none();
        if new {
            let seen = now.0 | if stale { ENDED } else { 0 };
            self.ended += usize::from(stale);
            let entry = Entry { hi: halves(key.hi), lo: key.lo, reference: halves(series.0), seen, metadata };
            self.table.insert_unique(key.hi, entry, Entry::hash);
        }
        new
    }

    /// Series that go on.
    pub fn len(&self) -> u64 {
        (self.table.len() - self.ended) as u64
    }

    /// Forgets idle series when that is due, and ended ones too when `short` of places.
    pub fn sweep(&mut self, now: Tick, short: bool) {
        // A clock that went back must not stop the sweeping for the length of the jump.
        let due = now < self.swept || now.0 - self.swept.0 >= SWEEP_EVERY_TICKS;
        if !(due || short && self.ended > 0) {
            return;
        }
        let idle = (SERIES_IDLE.as_millis() as i64 / TICK_MS) as u32;
        let horizon = now.0.saturating_sub(idle);
        let mut ended = 0;
        self.table.retain(|e| {
            let is_ended = e.seen & ENDED != 0;
            let gone = due && (e.seen & !ENDED) < horizon || short && is_ended;
            ended += usize::from(!gone && is_ended);
            !gone
        });
        self.ended = ended;
        if due {
            self.swept = now;
            // Churn leaves room behind; a quarter in use is little enough to give the rest back.
            if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 4 {
                self.table.shrink_to(self.table.len() * 2, Entry::hash);
            }
        }
    }

    /// Forgets everything, unless somebody else has since `generation`.
    pub fn clear(&mut self, generation: u64) {
        if generation == self.generation {
            self.table.clear();
            self.ended = 0;
            self.generation += 1;
        }
    }

    /// For [`SeriesBook::clear`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key { hi: n.wrapping_mul(0x9e37_79b9_7f4a_7c15), lo: n as u32 }
    }

    fn tick(seconds: u64) -> Tick {
        Tick::of(TimestampMs(1_700_000_000_000 + seconds as i64 * 1000))
    }

    #[test]
    fn churn_does_not_grow_it() {
        let mut book = SeriesBook::default();
        let mut most = 0;
        for round in 0..400 {
            let now = tick(round * 60);
            book.sweep(now, false);
            for n in 0..1000 {
                // A tenth is new each minute.
                let n = round * 100 + n;
                if book.get(key(n), now, false, 0).is_none() {
                    book.put(key(n), SeriesRef(n), now, false, 0);
                }
            }
            most = most.max(book.len());
        }
        assert!((1000..4000).contains(&most), "{most}");
        assert_eq!(book.get(key(400 * 100), tick(400 * 60), false, 0), Some((SeriesRef(40_000), false)));
        assert_eq!(book.get(key(1), tick(400 * 60), false, 0), None);
    }

    #[test]
    fn a_series_that_ended_does_not_count_until_it_comes_back() {
        let mut book = SeriesBook::default();
        let now = tick(0);
        assert!(book.put(key(1), SeriesRef(1), now, false, 0));
        assert!(book.put(key(2), SeriesRef(2), now, false, 0));
        assert!(!book.put(key(2), SeriesRef(2), now, false, 0));
        book.get(key(1), now, true, 0);
        book.get(key(1), now, true, 0);
        assert_eq!(book.len(), 1);
        book.get(key(1), now, false, 0);
        assert_eq!(book.len(), 2);
        book.get(key(1), now, true, 0);
        book.sweep(now, false);
        assert!(book.get(key(1), now, true, 0).is_some());
        book.sweep(now, true);
        assert!(book.get(key(1), now, true, 0).is_none());
        assert_eq!(book.len(), 1);
    }

    #[test]
    fn changed_metadata_is_told_once() {
        let mut book = SeriesBook::default();
        let now = tick(0);
        book.put(key(1), SeriesRef(1), now, false, 7);
        assert_eq!(book.get(key(1), now, false, 7), Some((SeriesRef(1), false)));
        assert_eq!(book.get(key(1), now, false, 8), Some((SeriesRef(1), true)));
        assert_eq!(book.get(key(1), now, false, 8), Some((SeriesRef(1), false)));
    }
}
