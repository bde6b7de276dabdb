//! Whether the engine answers, as its last exchanges went.
//!
//! Invariant: while it is away it is asked again only now and then: readers do not wait for a timeout each.
//! Not here: why it is away, what is done instead.

use std::time::Duration;

use belfry_model::TimestampMs;
use parking_lot::Mutex;

/// An engine that was away is not asked again by a reader before this has passed.
pub const ASK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Inner {
    /// Since when, why, and when it was found so for the last time.
    away: Option<(TimestampMs, String, TimestampMs)>,
}

/// Shared by who sends and who reads.
#[derive(Debug, Default)]
pub struct EngineHealth(Mutex<Inner>);

impl EngineHealth {
    /// It answered. `true` when it had been away.
    pub fn answered(&self) -> bool {
        self.0.lock().away.take().is_some()
    }

    /// It did not. `true` when it had answered before.
    pub fn is_away(&self, now: TimestampMs, reason: &str) -> bool {
        let mut inner = self.0.lock();
        let since = inner.away.as_ref().map(|a| a.0);
        inner.away = Some((since.unwrap_or(now), reason.to_owned(), now));
        since.is_none()
    }

    /// Since when and why it is away.
    pub fn away(&self) -> Option<(TimestampMs, String)> {
        self.0.lock().away.as_ref().map(|(since, why, _)| (*since, why.clone()))
    }

    /// Why a reader should not ask it now.
    pub fn do_not_ask(&self, now: TimestampMs) -> Option<String> {
        let inner = self.0.lock();
        let (_, why, last) = inner.away.as_ref()?;
        (now.since(*last) < ASK_AGAIN && now >= *last).then(|| why.clone())
    }
}
