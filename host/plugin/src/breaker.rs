//! When a plugin that keeps failing gets its next instance.
//!
//! Invariant: pure; after `n` failures in a row no instance is made before the delay has passed; one success forgets all.

use std::time::Duration;

/// After the first failure; doubled with each further one.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// No longer than this while it is still given a chance at every turn.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// Failures in a row after which it counts as failed.
const FAILURES_OPEN: u32 = 6;
/// How often a failed plugin is tried.
const OPEN_RETRY: Duration = Duration::from_secs(300);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    until: Option<Duration>,
}

impl Breaker {
    /// It failed at `now`. Answers how long it rests.
    pub(crate) fn failed(&mut self, now: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = if self.is_open() {
            OPEN_RETRY
        } else {
            (BACK_OFF_FIRST * 2u32.saturating_pow(self.failures - 1)).min(BACK_OFF_MAX)
        };
        self.until = Some(now + delay);
        delay
    }

    /// A call went well.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// May an instance be made at `now`? Otherwise: in how long.
    pub(crate) fn ready(&self, now: Duration) -> Result<(), Duration> {
        match self.until {
            Some(until) if until > now => Err(until - now),
            _ => Ok(()),
        }
    }

    /// In a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// It failed so often that it is tried only now and then.
    pub(crate) fn is_open(&self) -> bool {
        self.failures >= FAILURES_OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_until_the_plugin_counts_as_failed() {
        let mut b = Breaker::default();
        let rests: Vec<u64> = (0..8).map(|_| b.failed(Duration::ZERO).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 300, 300, 300]);
        assert!(b.is_open());
    }

    #[test]
    fn one_success_forgets_all_failures() {
        let mut b = Breaker::default();
        let now = Duration::from_secs(10);
        b.failed(now);
        assert_eq!(b.ready(now), Err(Duration::from_secs(1)));
        assert_eq!(b.ready(now + Duration::from_secs(1)), Ok(()));
        b.succeeded();
        assert_eq!((b.ready(now), b.failures()), (Ok(()), 0));
    }
}
