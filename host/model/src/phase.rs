//! A grid in time: every `interval`, shifted by an offset that follows from a name. Two organs on one interval do not
//! all wake at the same instant, and a restart does not move anybody's phase.

use std::time::Duration;

use crate::time::TimestampMs;

/// No grid is finer than this: a zero interval must not become an endless loop.
pub const INTERVAL_MIN_MS: i64 = 1;

/// Instants `offset + n * interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    interval_ms: i64,
    offset_ms: i64,
}

impl Phase {
    /// The grid of `name`; equal on every machine and version.
    pub fn of(name: &str, interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(INTERVAL_MIN_MS);
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for b in name.bytes() {
            h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        // FNV's low bits are weak for short names: fold the high half in.
        Self { interval_ms, offset_ms: ((h ^ (h >> 32)) % interval_ms as u64) as i64 }
    }

    /// Distance of two instants of the grid.
    pub fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms as u64)
    }

    /// The last instant of the grid that is not after `t`.
    pub fn at_or_before(self, t: TimestampMs) -> TimestampMs {
        let into = t.0.saturating_sub(self.offset_ms).rem_euclid(self.interval_ms);
        TimestampMs(t.0.saturating_sub(into))
    }

    /// The first instant of the grid after `t`.
    pub fn after(self, t: TimestampMs) -> TimestampMs {
        TimestampMs(self.at_or_before(t).0.saturating_add(self.interval_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_grid_brackets_every_instant(name in ".{0,8}", ms in 0u64..100_000, t in -1_000_000_000i64..1_000_000_000) {
            let phase = Phase::of(&name, Duration::from_millis(ms));
            let t = TimestampMs(t);
            let (before, after) = (phase.at_or_before(t), phase.after(t));
            proptest::prop_assert!(before <= t && t < after);
            proptest::prop_assert_eq!(after.since(before), phase.interval());
            proptest::prop_assert_eq!(phase.at_or_before(after), after);
        }
    }
}
