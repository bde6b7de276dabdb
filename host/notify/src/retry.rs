//! How long to wait after a failed delivery.
//!
//! Invariant: the pause follows from the dedup key and the attempt alone, so that it can be replayed, and channels
//! that failed together do not come back together.

use std::time::Duration;

/// Never tried again sooner, whatever the jitter says.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Retry of failed deliveries: exponential with full jitter derived from the dedup key ("Exponential Backoff And
/// Jitter", AWS Architecture Blog 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// First pause.
    pub initial: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// Given up (and journalled) after this long.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            give_up_after: Duration::from_secs(3600),
        }
    }
}

impl RetryPolicy {
    /// The pause after `attempt` (1, 2, …) failed; not shorter than what the other end asked for.
    pub fn pause(&self, dedup_key: &str, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let ceiling = self.initial.saturating_mul(1 << doublings).min(self.max);
        let ceiling_ms = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX).max(1);
        let jittered = Duration::from_millis(hash(dedup_key, attempt) % ceiling_ms + 1);
        jittered.max(PAUSE_MIN).max(retry_after.unwrap_or_default())
    }
}

fn hash(key: &str, attempt: u32) -> u64 {
    let mut h = fnv(key.bytes().chain(attempt.to_le_bytes()));
    // FNV's last bytes barely reach the low bits: finish as splitmix64 does.
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

/// FNV-1a: equal on every machine and version.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(60),
        give_up_after: Duration::from_secs(3600),
    };

    #[test]
    fn pauses_grow_to_the_maximum_and_are_spread_over_it() {
        for (attempt, ceiling) in [(1, 1), (2, 2), (3, 4), (7, 60), (1_000, 60)] {
            let pauses: Vec<_> = (0..500).map(|n| POLICY.pause(&format!("key{n}"), attempt, None)).collect();
            let ceiling = Duration::from_secs(ceiling);
            assert!(pauses.iter().all(|p| *p >= PAUSE_MIN && *p <= ceiling), "attempt {attempt}");
            assert!(pauses.iter().any(|p| *p < ceiling / 4) && pauses.iter().any(|p| *p > ceiling / 4 * 3));
        }
    }

    #[test]
    fn a_pause_can_be_replayed_and_is_never_shorter_than_asked_for() {
        assert_eq!(POLICY.pause("k", 3, None), POLICY.pause("k", 3, None));
        let asked = Duration::from_secs(120);
        assert_eq!(POLICY.pause("k", 1, Some(asked)), asked);
    }
}
