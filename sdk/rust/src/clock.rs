//! Time, as the host tells it. A plugin has no other clock.

use crate::host;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub fn now_ms() -> i64 {
    host::clock::now()
}

/// Nanoseconds since some instant; for measuring how long something took.
pub fn monotonic_ns() -> u64 {
    host::clock::monotonic_ns()
}
