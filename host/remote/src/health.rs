//! Whether the engine can be read, and whether it can be written to, as the last exchanges went.
//!
//! Invariant: each of the two is judged by its own exchanges: an engine that takes no samples may answer readers, and the
//! other way round. While it cannot be read it is asked again only now and then: readers do not wait for a timeout each.
//! Not here: why it is away, what is done instead.

use std::time::Duration;

use belfry_model::read::ReadError;
use belfry_model::{
    Clock, METRIC_NAME, MatchOp, Matcher, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs,
};
use parking_lot::Mutex;

/// An engine that could not be read is not asked again by a reader before this has passed.
pub const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A series that nobody has: asking for it costs an engine little.
const NOBODYS: &str = "belfry_engine_is_there";

#[derive(Debug)]
struct Away {
    since: TimestampMs,
    why: String,
    /// When it was found so for the last time.
    last: TimestampMs,
}

/// How the exchanges of one kind go.
#[derive(Debug, Default)]
pub struct Exchanges(Mutex<Option<Away>>);

impl Exchanges {
    /// It answered. `true` when it had been away.
    pub fn answered(&self) -> bool {
        self.0.lock().take().is_some()
    }

    /// It did not. `true` when it had answered before.
    pub fn is_away(&self, now: TimestampMs, reason: &str) -> bool {
        let mut away = self.0.lock();
        let since = away.as_ref().map(|a| a.since);
        *away = Some(Away { since: since.unwrap_or(now), why: reason.to_owned(), last: now });
        since.is_none()
    }

    /// Since when and why it is away.
    pub fn away(&self) -> Option<(TimestampMs, String)> {
        self.0.lock().as_ref().map(|a| (a.since, a.why.clone()))
    }

    /// Why it should not be asked now.
    pub fn do_not_ask(&self, now: TimestampMs) -> Option<String> {
        let away = self.0.lock();
        let a = away.as_ref()?;
        (now.since(a.last) < ASK_AGAIN && now >= a.last).then(|| a.why.clone())
    }
}

/// Shared by who sends and who reads.
#[derive(Debug, Default)]
pub struct EngineHealth {
    /// Questions of readers.
    pub reading: Exchanges,
    /// Shipments.
    pub writing: Exchanges,
}

impl EngineHealth {
    /// Finds out whether an engine that could not be read can be: perhaps nobody else asks it, and what is told of it must
    /// not be of yesterday. To be called every [`ASK_AGAIN`]; asks nothing while there is nothing to find out.
    pub async fn look(&self, engine: &dyn SeriesRead, clock: &dyn Clock) {
        let now = clock.now();
        if self.reading.away().is_none() || self.reading.do_not_ask(now).is_some() {
            return;
        }
        let Ok(nobodys) = Matcher::new(METRIC_NAME, MatchOp::Equal, NOBODYS) else { return };
        let lately = TimeRange::inclusive(now.minus(Duration::from_secs(60)), now);
        let Some(lately) = lately else { return };
        match engine.select(&[nobodys], lately, &SelectHints::default(), SelectLimits::default()).await {
            Ok(_) => self.read(),
            Err(ReadError::Unavailable(why)) => self.cannot_be_read(clock.now(), &why),
            Err(_) => {}
        }
    }

    /// It answered a reader.
    pub fn read(&self) {
        if self.reading.answered() {
            tracing::info!("the storage engine can be read again");
        }
    }

    /// It did not.
    pub fn cannot_be_read(&self, now: TimestampMs, why: &str) {
        if self.reading.is_away(now, why) {
            tracing::warn!("the storage engine cannot be read: {why}");
        }
    }
}
