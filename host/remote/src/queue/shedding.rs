//! What a full queue lost, and whether that goes on.
//!
//! Invariant: what is shed without a pause is one loss, from its first sample to its last.
//! Not here: what is shed (`Queue`), who is told.

use std::time::Duration;

use belfry_model::TimestampMs;

/// A queue that has room again has ended shedding when nothing was shed for so long: an engine that comes and goes is one
/// trouble.
pub const SHEDDING_ENDS: Duration = Duration::from_secs(300);

/// A loss since the start: the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shedding {
    /// When the first samples were shed.
    pub since: TimestampMs,
    /// When the last ones were.
    pub last: TimestampMs,
    /// How many.
    pub samples: u64,
    /// There is hardly room now: files are shed as a whole, so that between two may lie hours.
    pub is_full: bool,
}

impl Shedding {
    /// Samples are shed, after what was shed `before`.
    pub(super) fn more(before: Option<Self>, samples: u64, now: TimestampMs) -> Self {
        match before.filter(|b| b.goes_on(now)) {
            Some(b) => Self { last: now, samples: b.samples + samples, is_full: true, ..b },
            None => Self { since: now, last: now, samples, is_full: true },
        }
    }

    /// Does it go on, or has it ended only just now?
    pub fn goes_on(&self, now: TimestampMs) -> bool {
        self.is_full || now.since(self.last) < SHEDDING_ENDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> TimestampMs {
        TimestampMs(seconds * 1000)
    }

    #[test]
    fn what_is_shed_while_the_queue_is_full_is_one_loss_and_what_comes_later_another() {
        let first = Shedding::more(None, 10, at(0));
        let hours_later = Shedding::more(Some(first), 5, at(7_200));
        assert_eq!(hours_later, Shedding { since: at(0), last: at(7_200), samples: 15, is_full: true });
        let has_room = Shedding { is_full: false, ..hours_later };
        assert!(has_room.goes_on(at(7_499)) && !has_room.goes_on(at(7_500)));
        let soon = Shedding::more(Some(has_room.clone()), 1, at(7_400));
        assert_eq!((soon.since, soon.samples), (at(0), 16));
        let another = Shedding::more(Some(has_room), 1, at(9_000));
        assert_eq!((another.since, another.samples), (at(9_000), 1));
    }
}
