//! A clock that moves only when told to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use belfry_model::{Clock, TimestampMs};

/// Starts at a given instant; [`SimClock::advance`] moves it.
#[derive(Debug)]
pub struct SimClock {
    start: i64,
    now: AtomicI64,
}

impl SimClock {
    /// A clock that shows `start`.
    pub fn at(start: TimestampMs) -> Self {
        Self { start: start.0, now: AtomicI64::new(start.0) }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis((self.now.load(Ordering::SeqCst) - self.start).max(0) as u64)
    }
}
