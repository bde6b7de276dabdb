//! Label sets in order, kept from one read to the next: dashboards and rules ask for the same series again and again, and
//! making label sets and putting them in order takes longer than reading a sample of each.
//!
//! Invariant: what is kept for some series' numbers is what would be made anew; series that were forgotten may have left
//! their number to others, so nothing is kept beyond that.
//! Not here: which series match (`index`), samples.

use std::sync::Arc;

use belfry_model::Labels;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

/// Fewer series are made anew each time: finding them here would not be faster.
const SERIES_MIN: u64 = 32;
/// Series that are kept, in all: some 150 bytes each.
const SERIES_MAX: u64 = 1 << 17;
/// Selections that are kept: each look compares with some of them.
const SELECTIONS_MAX: usize = 256;

/// A series' number and its labels.
pub type Ordered = Arc<[(u32, Labels)]>;

struct Kept {
    ids: RoaringBitmap,
    ordered: Ordered,
    used: u64,
}

#[derive(Default)]
struct Selections {
    all: Vec<Kept>,
    series: u64,
    uses: u64,
    /// Series that had been forgotten when these were made.
    forgotten: u64,
}

/// See the module.
#[derive(Default)]
pub struct Known(Mutex<Selections>);

impl Known {
    /// These series in order of labels, if that is known. `forgotten` counts the series that were forgotten so far.
    pub fn find(&self, ids: &RoaringBitmap, forgotten: u64) -> Option<Ordered> {
        if !(SERIES_MIN..=SERIES_MAX).contains(&ids.len()) {
            return None;
        }
        let mut kept = self.0.lock();
        if kept.forgotten != forgotten {
            *kept = Selections { forgotten, uses: kept.uses, ..Selections::default() };
        }
        kept.uses += 1;
        let uses = kept.uses;
        let same = kept.all.iter_mut().find(|k| k.ids == *ids)?;
        same.used = uses;
        Some(same.ordered.clone())
    }

    /// Remembers what [`Known::find`] did not find, made while so many series had been forgotten; what was used longest ago
    /// makes room.
    pub fn keep(&self, ids: RoaringBitmap, forgotten: u64, ordered: impl FnOnce() -> Ordered) {
        let count = ids.len();
        if !(SERIES_MIN..=SERIES_MAX).contains(&count) {
            return;
        }
        let mut kept = self.0.lock();
        if kept.forgotten != forgotten || kept.all.iter().any(|k| k.ids == ids) {
            return;
        }
        while kept.series + count > SERIES_MAX || kept.all.len() >= SELECTIONS_MAX {
            let oldest = kept.all.iter().enumerate().min_by_key(|(_, k)| k.used).map(|(at, _)| at);
            let Some(oldest) = oldest else { break };
            let gone = kept.all.swap_remove(oldest);
            kept.series -= gone.ids.len();
        }
        kept.series += count;
        let used = kept.uses;
        kept.all.push(Kept { ids, ordered: ordered(), used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u32, to: u32) -> RoaringBitmap {
        (from..to).collect()
    }

    fn ordered(ids: &RoaringBitmap) -> Ordered {
        ids.iter().map(|id| (id, Labels::from_pairs([("i", id.to_string())]))).collect()
    }

    /// Whether it had to be made.
    fn made(known: &Known, ids: &RoaringBitmap, forgotten: u64) -> bool {
        match known.find(ids, forgotten) {
            Some(found) => {
                assert_eq!(found, ordered(ids));
                false
            }
            None => {
                known.keep(ids.clone(), forgotten, || ordered(ids));
                true
            }
        }
    }

    #[test]
    fn a_selection_is_made_once_while_no_series_is_forgotten() {
        let known = Known::default();
        let (a, b) = (ids(0, 100), ids(50, 150));
        let ask = |ids, forgotten| made(&known, ids, forgotten);
        assert_eq!([ask(&a, 0), ask(&b, 0), ask(&a, 0), ask(&b, 0)], [true, true, false, false]);
        // A number may be another series' now.
        assert_eq!([ask(&a, 1), ask(&a, 1), ask(&b, 1)], [true, false, true]);
        // So few are made by whoever asks.
        let few = ids(0, SERIES_MIN as u32 - 1);
        assert_eq!([ask(&few, 1), ask(&few, 1)], [true, true]);
    }

    #[test]
    fn what_was_made_before_a_series_was_forgotten_is_not_kept_after_it() {
        let known = Known::default();
        let a = ids(0, 100);
        assert!(known.find(&a, 0).is_none() && known.find(&a, 1).is_none());
        known.keep(a.clone(), 0, || ordered(&a));
        assert!(known.find(&a, 1).is_none());
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let known = Known::default();
        let half = SERIES_MAX as u32 / 2;
        let (a, b, c) = (ids(0, half), ids(1, half), ids(2, half));
        let ask = |ids| made(&known, ids, 0);
        assert_eq!([ask(&a), ask(&b), ask(&a), ask(&c), ask(&a), ask(&b)], [true, true, false, true, false, true]);
        assert!(known.0.lock().series <= SERIES_MAX);
    }
}
