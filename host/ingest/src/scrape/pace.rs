//! When a target is scraped: each at a fixed place within its interval, so that targets do not come all at once, and the
//! same place after a restart.
//!
//! Places are a [`SLOT`] apart: targets that share one are scraped one after the other on warm caches, with few wake-ups
//! and writes to the log for all of them.

use std::time::Duration;

use belfry_model::TimestampMs;

/// A due time and a start this close are one: then the sample gets the due time, which compresses better.
const LATE_MAX: Duration = Duration::from_millis(2);

/// Between two places: a fifth of the shortest usual interval.
const SLOT: Duration = Duration::from_millis(200);
/// An interval has so many places at least.
const SLOTS_MIN: i64 = 5;

/// The rhythm of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval_ms: i64,
    offset_ms: i64,
}

impl Pace {
    /// `seed` tells targets apart; an interval below a millisecond counts as one.
    pub fn new(interval: Duration, seed: u64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let slot_ms = (SLOT.as_millis() as i64).min(interval_ms / SLOTS_MIN).max(1);
        let offset_ms = (seed % interval_ms as u64) as i64;
        Self { interval_ms, offset_ms: offset_ms - offset_ms % slot_ms }
    }

    /// The first due time after `now`.
    pub fn next_due(&self, now: TimestampMs) -> TimestampMs {
        let into = (now.0.saturating_sub(self.offset_ms)).rem_euclid(self.interval_ms);
        TimestampMs(now.0.saturating_add(self.interval_ms - into))
    }

    /// The time that samples get which were due at `due` and asked for at `start`.
    pub fn stamp(&self, due: TimestampMs, start: TimestampMs) -> TimestampMs {
        let tolerance = LATE_MAX.min(Duration::from_millis(self.interval_ms as u64 / 100));
        if start.since(due) <= tolerance && start >= due { due } else { start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn due_times_lie_an_interval_apart_and_stay_after_a_restart(
            ms in 1_i64..100_000, seed: u64, now in -1_000_000_i64..2_000_000_000_000,
        ) {
            let pace = Pace::new(Duration::from_millis(ms as u64), seed);
            let due = pace.next_due(TimestampMs(now));
            proptest::prop_assert!(due.0 > now && due.0 <= now + ms);
            proptest::prop_assert_eq!(pace.next_due(due).0, due.0 + ms);
            proptest::prop_assert_eq!(pace.next_due(TimestampMs(due.0 - 1)), due);
        }
    }

    #[test]
    fn targets_share_places_that_lie_all_over_the_interval() {
        let places = |ms: u64, slot: i64| {
            let due = |seed| Pace::new(Duration::from_millis(ms), seed).next_due(TimestampMs(-1)).0;
            let all: std::collections::BTreeSet<i64> = (0..10_000).map(due).collect();
            assert!(all.iter().all(|t| t % slot == 0), "{ms} ms: {all:?}");
            all.len()
        };
        assert_eq!((places(1_000, 200), places(10_000, 200), places(500, 100), places(7, 1)), (5, 50, 5, 7));
    }

    #[test]
    fn samples_bear_the_due_time_unless_the_scrape_was_late() {
        let pace = Pace::new(Duration::from_secs(10), 7);
        let due = TimestampMs(1_000);
        assert_eq!(pace.stamp(due, TimestampMs(1_002)), due);
        assert_eq!(pace.stamp(due, TimestampMs(1_003)), TimestampMs(1_003));
        assert_eq!(Pace::new(Duration::from_millis(100), 7).stamp(due, TimestampMs(1_002)), TimestampMs(1_002));
    }
}
