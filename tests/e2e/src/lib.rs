//! What end-to-end tests stand on: the built program in a world of its own, and real peers for it.
//!
//! Invariant: a [`Home`] shares no file and no port with another, so tests run side by side; a program ends with the
//! test that started it, and a test that fails shows its log.
//! Not here: what is tested (`tests/e2e`).

mod answer;
mod home;
mod peer;
mod program;
mod receiver;

use std::time::{Duration, Instant};

pub use answer::{Answer, Series};
pub use belfry_testkit::{peer, skipped};
pub use home::{Ended, Home};
pub use peer::{Prometheus, run_peer};
pub use program::Belfry;
pub use receiver::{Receiver, Seen};

/// Between two looks at what should become true.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// For what comes within a second or so on an idle machine: tests run on busy ones.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks until there is something, and fails when there is nothing in time.
pub async fn wait_until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
