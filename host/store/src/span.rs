//! From when to when there are samples.
//!
//! Not here: which series they belong to; what was deleted of a block that is still there counts as there.

use belfry_model::TimestampMs;

use crate::store::{Shared, Store};

/// Series looked at under one lock, so that nobody waits for long.
const SERIES_PER_LOCK: usize = 10_000;

impl Store {
    /// Times of the oldest and the newest sample; `None` without samples. Looks at every open series: ask now and then.
    pub fn span(&self) -> Option<(TimestampMs, TimestampMs)> {
        let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
        self.shared.each_span(|first, last| (oldest, newest) = (oldest.min(first), newest.max(last)));
        (oldest <= newest).then_some((TimestampMs(oldest), TimestampMs(newest)))
    }
}

impl Shared {
    /// Hands the first and the last time of each part of what is kept to `f`.
    pub(crate) fn each_span(&self, mut f: impl FnMut(i64, i64)) {
        let mut both = |first: Option<i64>, last: Option<i64>| {
            if let (Some(first), Some(last)) = (first, last) {
                f(first, last);
            }
        };
        {
            let state = self.state.read();
            for meta in state.blocks.iter().map(|b| b.meta()) {
                both(Some(meta.min), Some(meta.max));
            }
            for (first, last) in state.head.frozen().iter().flat_map(|f| f.spans()) {
                both(Some(first), Some(last));
            }
            let groups = (0..state.head.groups_end()).filter_map(|g| state.head.groups.get(g));
            for group in groups {
                for (first, last) in group.slabs.iter().filter_map(|s| s.span()) {
                    both(Some(first), Some(last));
                }
                both(group.rows.first().map(|r| r.at), group.rows.last().map(|r| r.at));
            }
        }
        let mut from = 0;
        loop {
            let state = self.state.read();
            let Some(slots) = state.head.slots.get(from..).filter(|s| !s.is_empty()) else { break };
            for own in slots.iter().take(SERIES_PER_LOCK).filter_map(|s| s.own.as_ref()) {
                both(own.min(), own.max());
            }
            from += SERIES_PER_LOCK;
        }
    }
}
