//! CPU time of one call.
//!
//! Invariant: what counts is time in which the call was being polled; a stretch in which the whole machine was busy with
//! others counts only in part, so an overloaded host does not end healthy calls.
//! Not here: wall time (`instance.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::EPOCH_TICK;

/// The most that counts between two looks at the clock, which are one tick apart unless somebody else had the processor.
const STRETCH_MAX: Duration = Duration::from_millis(EPOCH_TICK.as_millis() as u64 * 4);

/// Tells when the running poll began. Cheap to clone; one an instance.
#[derive(Clone, Debug)]
pub(crate) struct PollClock {
    base: Instant,
    began: Arc<AtomicU64>,
}

impl PollClock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), began: Arc::default() }
    }

    /// A poll begins; answers when.
    pub(crate) fn begin(&self) -> Instant {
        let now = Instant::now();
        self.began.store(nanos(now - self.base), Ordering::Relaxed);
        now
    }
}

/// What a call has spent and may spend.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    pub clock: PollClock,
    spent: Duration,
    last: Duration,
    max: Duration,
}

impl CpuBudget {
    pub(crate) fn new(max: Duration) -> Self {
        Self { clock: PollClock::new(), spent: Duration::ZERO, last: Duration::ZERO, max }
    }

    pub(crate) fn begin_call(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// A tick has passed while the guest ran. Is there anything left?
    pub(crate) fn tick(&mut self) -> bool {
        let now = self.clock.base.elapsed();
        self.tick_at(now, Duration::from_nanos(self.clock.began.load(Ordering::Relaxed)))
    }

    fn tick_at(&mut self, now: Duration, poll_began: Duration) -> bool {
        self.spent += now.saturating_sub(self.last.max(poll_began)).min(STRETCH_MAX);
        self.last = now;
        self.spent <= self.max
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn only_time_in_a_poll_counts() {
        let mut b = CpuBudget::new(ms(10));
        assert!(b.tick_at(ms(4), ms(0)), "4 ms spent");
        assert!(b.tick_at(ms(1_000), ms(996)), "8 ms: it waited for a second in between");
        assert!(!b.tick_at(ms(1_003), ms(996)), "11 ms: past the budget");
    }

    #[test]
    fn a_long_stretch_without_a_tick_counts_in_part() {
        let mut b = CpuBudget::new(ms(10));
        assert!(b.tick_at(ms(500), ms(0)), "the machine was busy");
        assert!(!b.tick_at(ms(503), ms(0)));
    }
}
