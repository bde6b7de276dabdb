//! Which key stands for which series of a producer: what makes a known series cost nothing but a look-up.
//!
//! Senders send their series in the same order again and again. So entries stand in the order in which they were first
//! seen, and the one behind the last hit is tried before the table: mostly a walk through memory, a few bytes a series.
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

    #[inline]
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
    /// In the order in which they were first seen.
    entries: Vec<Entry>,
    /// Finds an entry's place.
    table: HashTable<u32>,
    /// Behind the entry that was found last.
    next: usize,
    ended: usize,
    swept: Tick,
    /// Changes when references may have become worthless.
    generation: u64,
}

impl Default for SeriesBook {
    fn default() -> Self {
        Self { entries: Vec::new(), table: HashTable::new(), next: 0, ended: 0, swept: Tick(0), generation: 0 }
    }
}

impl SeriesBook {
    #[inline]
    fn find(&self, key: Key) -> Option<usize> {
        if self.entries.get(self.next).is_some_and(|e| e.is(key)) {
            return Some(self.next);
        }
        let is = |at: &u32| self.entries.get(*at as usize).is_some_and(|e| e.is(key));
        self.table.find(key.hi, is).map(|at| *at as usize)
    }

    /// The series of `key`, which is seen now; `stale` when it ends now. The second answer is true when its metadata
    /// (by hash) is not what it was.
    #[inline]
    pub fn get(&mut self, key: Key, now: Tick, stale: bool, metadata: u32) -> Option<(SeriesRef, bool)> {
        let at = self.find(key)?;
        self.next = at + 1;
        let entry = self.entries.get_mut(at)?;
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
        // More would not be told apart by their places; limits are far below.
        let Ok(at) = u32::try_from(self.entries.len()) else { return false };
        let new = self.find(key).is_none();
        if new {
            let seen = now.0 | if stale { ENDED } else { 0 };
            self.ended += usize::from(stale);
            self.entries.push(Entry { hi: halves(key.hi), lo: key.lo, reference: halves(series.0), seen, metadata });
            let entries = &self.entries;
            self.table.insert_unique(key.hi, at, |at| hash_of(entries, *at));
        }
        new
    }

    /// Series that go on.
    pub fn len(&self) -> u64 {
        (self.entries.len() - self.ended) as u64
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
        let (before, mut ended) = (self.entries.len(), 0);
        self.entries.retain(|e| {
            let is_ended = e.seen & ENDED != 0;
            let gone = due && (e.seen & !ENDED) < horizon || short && is_ended;
            ended += usize::from(!gone && is_ended);
            !gone
        });
        self.ended = ended;
        if due {
            self.swept = now;
        }
        if self.entries.len() < before {
            self.find_again();
        }
    }

    /// Places have changed.
    fn find_again(&mut self) {
        // Churn leaves room behind; a quarter in use is little enough to give the rest back.
        if self.entries.capacity() > 1024 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
            self.table = HashTable::with_capacity(self.entries.len());
        }
        self.table.clear();
        self.next = 0;
        let entries = &self.entries;
        for (at, e) in entries.iter().enumerate() {
            self.table.insert_unique(e.hash(), at as u32, |at| hash_of(entries, *at));
        }
    }

    /// Forgets everything, unless somebody else has since `generation`.
    pub fn clear(&mut self, generation: u64) {
        if generation == self.generation {
            self.entries.clear();
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

fn hash_of(entries: &[Entry], at: u32) -> u64 {
    entries.get(at as usize).map_or(0, Entry::hash)
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
    fn keys_are_found_in_whatever_order_they_come_and_after_some_were_forgotten() {
        let mut book = SeriesBook::default();
        let now = tick(0);
        for n in 0..1000 {
            assert!(book.put(key(n), SeriesRef(n), now, false, 0));
        }
        let check = |book: &mut SeriesBook, order: &mut dyn Iterator<Item = u64>| {
            order.for_each(|n| assert_eq!(book.get(key(n), now, n % 3 == 0, 0), Some((SeriesRef(n), false)), "{n}"));
        };
        check(&mut book, &mut (0..1000));
        check(&mut book, &mut (0..1000).rev());
        check(&mut book, &mut (0..1000).map(|n| n * 7 % 1000));
        // A third ended, and their places are given to others.
        book.sweep(now, true);
        assert_eq!((book.entries.len(), book.table.len(), book.len()), (666, 666, 666));
        assert_eq!(book.get(key(3), now, false, 0), None);
        check(&mut book, &mut (0..1000).filter(|n| n % 3 != 0));
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
