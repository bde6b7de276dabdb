//! Series that are no news: `scrape_series_added` does not count those again that were there before scrapes failed.
//!
//! Invariant: one more than [`OVER_MAX`] beyond the last good answer and the last bad one is not remembered, as in
//! Prometheus.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault};

use super::slots::{Slots, TextHasher};

/// Series beyond those of the last good answer that bad ones may leave behind.
const OVER_MAX: usize = 1000;

/// Since the last good answer, by the hash of their text: a mistake would cost a one in a count.
#[derive(Default)]
pub(super) struct Before {
    hashes: HashSet<u64, BuildHasherDefault<TextHasher>>,
    /// Series of the last good answer.
    good: usize,
}

impl Before {
    /// Whether a series was there.
    pub fn had(&self, text: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&hash(text))
    }

    /// A scrape went well and left `series`: from now on those alone are no news.
    pub fn succeeded(&mut self, series: usize) {
        self.hashes = HashSet::default();
        self.good = series;
    }

    /// Scrape `now` failed: all that is in `slots` is about to be forgotten.
    pub fn failed(&mut self, slots: &Slots, now: u32) {
        let with_series = |slot: &&super::slots::Slot| slot.series.is_some();
        self.hashes.extend(slots.iter().filter(with_series).map(|s| hash(s.text())));
        if self.hashes.len() > self.good + OVER_MAX {
            let of_this_one = slots.iter().filter(with_series).filter(|s| s.made == now || s.seen == now);
            self.hashes = of_this_one.map(|s| hash(s.text())).collect();
        }
    }

    /// All are news.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

fn hash(text: &str) -> u64 {
    BuildHasherDefault::<TextHasher>::default().hash_one(text)
}
