//! From when to when there are samples.
//!
//! Not here: which series they belong to; what was deleted of a block that is still there counts as there.

use belfry_model::TimestampMs;

use crate::store::Store;

/// Series looked at under one lock, so that nobody waits for long.
const SERIES_PER_LOCK: usize = 10_000;

impl Store {
    /// Times of the oldest and the newest sample; `None` without samples. Looks at every open series: ask now and then.
    pub fn span(&self) -> Option<(TimestampMs, TimestampMs)> {
        let mut seen = Seen { oldest: i64::MAX, newest: i64::MIN };
        {
            let state = self.shared.state.read();
            for meta in state.blocks.iter().map(|b| b.meta()) {
                seen.take(meta.min, meta.max);
            }
            for (oldest, newest) in state.head.frozen().iter().flat_map(|f| f.spans()) {
                seen.take(oldest, newest);
            }
            let groups = (0..state.head.groups_end()).filter_map(|g| state.head.groups.get(g));
            for group in groups {
                for (oldest, newest) in group.slabs.iter().filter_map(|s| s.span()) {
                    seen.take(oldest, newest);
                }
                seen.take_both(group.rows.first().map(|r| r.at), group.rows.last().map(|r| r.at));
            }
        }
        let mut from = 0;
        loop {
            let state = self.shared.state.read();
            let Some(slots) = state.head.slots.get(from..).filter(|s| !s.is_empty()) else { break };
            for own in slots.iter().take(SERIES_PER_LOCK).filter_map(|s| s.own.as_ref()) {
                seen.take_both(own.min(), own.max());
            }
            from += SERIES_PER_LOCK;
        }
        (seen.oldest <= seen.newest).then_some((TimestampMs(seen.oldest), TimestampMs(seen.newest)))
    }
}

struct Seen {
    oldest: i64,
    newest: i64,
}

impl Seen {
    fn take(&mut self, oldest: i64, newest: i64) {
        self.oldest = self.oldest.min(oldest);
        self.newest = self.newest.max(newest);
    }

    fn take_both(&mut self, oldest: Option<i64>, newest: Option<i64>) {
        if let (Some(oldest), Some(newest)) = (oldest, newest) {
            self.take(oldest, newest);
        }
    }
}
