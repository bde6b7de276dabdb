//! Label sets in order, kept from one read to the next: dashboards and rules ask for the same series again and again, and
//! making label sets and putting them in order takes longer than reading a sample of each.
//!
//! Which series match is kept as well, where finding out means a look at many values.
//!
//! Invariant: what is kept for some series' numbers is what would be made anew; series that were forgotten may have left
//! their number to others, so nothing is kept beyond that. Which series match is kept until there is another series.
//! Not here: finding out which series match (`index`), samples.

use std::sync::Arc;

use belfry_model::{Labels, MatchOp, Matcher};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

/// Fewer series are made anew each time: finding them here would not be faster.
const SERIES_MIN: u64 = 32;
/// Series that are kept, in all: some 150 bytes each.
const SERIES_MAX: u64 = 1 << 17;
/// Selections that are kept: each look compares with some of them.
const SELECTIONS_MAX: usize = 256;

/// Answers of matchers that are kept: each takes 8 KiB for every 65,536 series there are, or less.
const MATCHES_MAX: usize = 64;

/// Series in order of labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Their numbers.
    pub ids: Box<[u32]>,
    /// Their labels.
    pub labels: Arc<[Labels]>,
    /// In order of number: which one of the others it is.
    pub ranks: Box<[u32]>,
}

impl Ordered {
    /// Of ascending numbers with their labels, and which of them is the first, second, … in order of labels.
    pub fn new(ids: &[u32], labels: &[Labels], order: &[u32]) -> Self {
        let mut ranks = vec![0; ids.len()].into_boxed_slice();
        for (rank, at) in order.iter().enumerate() {
            if let Some(of) = ranks.get_mut(*at as usize) {
                *of = rank as u32;
            }
        }
        Self {
            ids: order.iter().filter_map(|at| ids.get(*at as usize)).copied().collect(),
            labels: order.iter().filter_map(|at| labels.get(*at as usize)).cloned().collect(),
            ranks,
        }
    }
}

struct Kept {
    ids: Arc<RoaringBitmap>,
    ordered: Arc<Ordered>,
    used: u64,
}

/// Matchers and what they match.
struct Matches {
    matchers: Vec<Matcher>,
    ids: Arc<RoaringBitmap>,
}

#[derive(Default)]
struct Selections {
    all: Vec<Kept>,
    series: u64,
    uses: u64,
    /// Series that had been forgotten when these were made.
    forgotten: u64,
    /// The one used last comes last.
    matches: Vec<Matches>,
    /// Which series there were when those were made.
    version: u64,
}

/// See the module.
#[derive(Default)]
pub struct Known(Mutex<Selections>);

impl Known {
    /// These series in order of labels, if that is known. `forgotten` counts the series that were forgotten so far.
    pub fn find(&self, ids: &Arc<RoaringBitmap>, forgotten: u64) -> Option<Arc<Ordered>> {
        if !(SERIES_MIN..=SERIES_MAX).contains(&ids.len()) {
            return None;
        }
        let mut kept = self.0.lock();
        if kept.forgotten != forgotten {
            (kept.forgotten, kept.series) = (forgotten, 0);
            kept.all.clear();
        }
        kept.uses += 1;
        let uses = kept.uses;
        let same = kept.all.iter_mut().find(|k| Arc::ptr_eq(&k.ids, ids) || k.ids == *ids)?;
        same.used = uses;
        Some(same.ordered.clone())
    }

    /// Remembers what [`Known::find`] did not find, made while so many series had been forgotten; what was used longest ago
    /// makes room.
    pub fn keep(&self, ids: Arc<RoaringBitmap>, forgotten: u64, ordered: impl FnOnce() -> Arc<Ordered>) {
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

    /// The series that satisfy all `matchers`, from `find` where that is not known. `version` is another one whenever
    /// there is another series, or one less.
    pub fn matching(
        &self,
        matchers: &[Matcher],
        version: u64,
        find: impl FnOnce() -> RoaringBitmap,
    ) -> Arc<RoaringBitmap> {
        // Else there is little to save.
        if !matchers.iter().any(|m| matches!(m.op(), MatchOp::Regex | MatchOp::NotRegex)) {
            return Arc::new(find());
        }
        {
            let mut kept = self.0.lock();
            if kept.version != version {
                kept.version = version;
                kept.matches.clear();
            }
            if let Some(at) = kept.matches.iter().position(|k| same(&k.matchers, matchers)) {
                let known = kept.matches.remove(at);
                let ids = known.ids.clone();
                kept.matches.push(known);
                return ids;
            }
        }
        let ids = Arc::new(find());
        let mut kept = self.0.lock();
        if kept.version == version {
            if kept.matches.len() >= MATCHES_MAX {
                kept.matches.remove(0);
            }
            kept.matches.push(Matches { matchers: matchers.to_vec(), ids: ids.clone() });
        }
        ids
    }
}

fn same(a: &[Matcher], b: &[Matcher]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| a.op() == b.op() && a.name() == b.name() && a.value() == b.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u32, to: u32) -> Arc<RoaringBitmap> {
        Arc::new((from..to).collect())
    }

    fn ordered(ids: &RoaringBitmap) -> Arc<Ordered> {
        let ids: Vec<u32> = ids.iter().collect();
        let labels: Vec<_> = ids.iter().map(|id| Labels::from_pairs([("i", id.to_string())])).collect();
        Arc::new(Ordered::new(&ids, &labels, &crate::order::order(&labels)))
    }

    /// Whether it had to be made.
    fn made(known: &Known, ids: &Arc<RoaringBitmap>, forgotten: u64) -> bool {
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

    #[test]
    fn what_matches_is_found_once_while_the_series_stay_the_same() {
        let known = Known::default();
        let matcher = |text: &str| -> Matcher { text.parse().expect("a matcher") };
        let found = std::cell::Cell::new(0);
        let ask = |text: &str, version| {
            let find = || {
                found.set(found.get() + 1);
                (0..found.get()).collect()
            };
            known.matching(&[matcher(text)], version, find).len()
        };
        assert_eq!([ask("a=~\"x.*\"", 1), ask("a!~\"x.*\"", 1), ask("b=~\"x.*\"", 1)], [1, 2, 3]);
        assert_eq!([ask("a=~\"x.*\"", 1), ask("a!~\"x.*\"", 1), ask("b=~\"x.*\"", 1)], [1, 2, 3]);
        assert_eq!([ask("a=~\"x.*\"", 2), ask("a=~\"x.*\"", 2)], [4, 4]);
        // So little is to be found here that it is not kept.
        assert_eq!([ask("a=x", 2), ask("a=x", 2)], [5, 6]);
        (0..=MATCHES_MAX).for_each(|i| assert!(ask(&format!("a=~\"{i}\""), 2) > 6));
        assert_eq!(known.0.lock().matches.len(), MATCHES_MAX);
    }

    #[test]
    fn a_rank_tells_where_a_number_stands_in_order_of_labels() {
        let of = ordered(&ids(8, 12));
        assert_eq!(&*of.ids, [10, 11, 8, 9]);
        assert_eq!(&*of.ranks, [2, 3, 0, 1]);
        assert_eq!(of.labels.iter().map(|l| l.get("i").unwrap_or("")).collect::<Vec<_>>(), ["10", "11", "8", "9"]);
    }
}
