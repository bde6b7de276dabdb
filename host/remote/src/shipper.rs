//! Takes the queue to the engine, one shipment after the other.
//!
//! Invariant: a shipment is sent again until the engine has it, refuses it for good, or the queue sheds it; nothing is
//! sent while an earlier one is on its way, so the samples of a series come in order.
//! Not here: the loop and the clock (the driver has them), the queue's files.

use std::time::Duration;

use belfry_model::TimestampMs;

use crate::engine::{SendError, Sent};
use crate::health::EngineHealth;
use crate::queue::{Parcel, Queue};

/// The first pause after a failure; each further one is twice as long …
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// … up to this.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug)]
pub enum Step {
    /// Send it and tell [`Shipper::outcome`].
    Send(Box<Parcel>),
    /// Nothing before this instant, whatever is appended.
    WaitUntil(TimestampMs),
    /// Nothing until something is appended.
    Idle,
}

/// Numbers for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShipperStats {
    /// Samples that the engine has taken.
    pub sent: u64,
    /// Requests that it has taken.
    pub requests: u64,
    /// Requests that failed and were or will be sent again.
    pub retries: u64,
    /// Samples that it refused.
    pub refused: u64,
    /// Samples that it cannot keep.
    pub left_out: u64,
    /// What it said when it last refused.
    pub refusal: Option<(TimestampMs, String)>,
}

/// When to send what.
#[derive(Debug, Default)]
pub struct Shipper {
    failures: u32,
    not_before: Option<TimestampMs>,
    stats: ShipperStats,
}

impl Shipper {
    /// What is to be done at `now`. Blocks for as long as the disk takes.
    pub fn step(&mut self, now: TimestampMs, queue: &Queue) -> Step {
        // A clock that was set back must not hold everything up.
        if let Some(until) = self.not_before.filter(|until| now < *until && until.since(now) <= RETRY_AFTER_MAX) {
            return Step::WaitUntil(until);
        }
        self.not_before = None;
        queue.next_parcel().map_or(Step::Idle, |parcel| Step::Send(Box::new(parcel)))
    }

    /// What became of the shipment. Blocks for as long as the disk takes.
    pub fn outcome(
        &mut self,
        now: TimestampMs,
        queue: &Queue,
        health: &EngineHealth,
        parcel: &Parcel,
        outcome: Result<Sent, SendError>,
    ) {
        match outcome {
            Ok(sent) => {
                self.stats.requests += 1;
                self.stats.left_out += sent.left_out;
                self.stats.sent += parcel.samples.saturating_sub(sent.left_out);
            }
            Err(SendError::Refused { reason, samples }) => {
                let refused = samples.unwrap_or(parcel.samples).min(parcel.samples);
                self.stats.requests += 1;
                self.stats.refused += refused;
                self.stats.sent += parcel.samples - refused;
                tracing::warn!(refused, "the storage engine refused samples: {reason}");
                self.stats.refusal = Some((now, reason));
            }
            Err(SendError::Away { reason, retry_after_ms }) => {
                let pause = retry_after_ms.map_or_else(|| backoff(self.failures), Duration::from_millis);
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(now.plus(pause.min(RETRY_AFTER_MAX)));
                self.stats.retries += 1;
                if health.writing.is_away(now, &reason) {
                    tracing::warn!("the storage engine takes no samples, they wait on disk: {reason}");
                }
                return;
            }
        }
        if health.writing.answered() {
            tracing::info!("the storage engine takes samples again");
        }
        self.failures = 0;
        queue.sent(parcel);
    }

    /// Numbers.
    pub fn stats(&self) -> ShipperStats {
        self.stats.clone()
    }
}

/// A longer pause than this is not kept, whoever asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use belfry_model::{Labels, Sample, Value};

    use super::*;
    use crate::engine::SeriesSamples;
    use crate::fake;

    const T0: TimestampMs = TimestampMs(1_000_000);

    struct World {
        queue: Arc<Queue>,
        shipper: Shipper,
        health: EngineHealth,
        now: TimestampMs,
    }

    impl World {
        fn new() -> Self {
            Self { queue: fake::queue(), shipper: Shipper::default(), health: EngineHealth::default(), now: T0 }
        }

        fn append(&self, samples: i64) {
            let all = (0..samples).map(|i| Sample { at: TimestampMs(i), value: Value::Float(0.0), start: None });
            let labels = Labels::from_pairs([("__name__", "m")]);
            let series = SeriesSamples { labels, samples: all.collect(), exemplars: Vec::new() };
            self.queue.append_series(&series, self.now).expect("written");
        }

        /// Sends if it is time, with this outcome; how many samples went.
        fn go(&mut self, outcome: Result<Sent, SendError>) -> Option<u64> {
            match self.shipper.step(self.now, &self.queue) {
                Step::Send(parcel) => {
                    self.shipper.outcome(self.now, &self.queue, &self.health, &parcel, outcome);
                    Some(parcel.samples)
                }
                _ => None,
            }
        }

        fn wait(&mut self, ms: i64) {
            self.now = TimestampMs(self.now.0 + ms);
        }
    }

    fn away(retry_after_ms: Option<u64>) -> Result<Sent, SendError> {
        Err(SendError::Away { reason: "status 503".into(), retry_after_ms })
    }

    #[test]
    fn an_engine_that_is_away_is_tried_again_with_longer_and_longer_pauses() {
        let mut w = World::new();
        w.append(3);
        let mut pauses = Vec::new();
        let mut last = w.now;
        for _ in 0..8 {
            while w.go(away(None)).is_none() {
                w.wait(10);
            }
            pauses.push(w.now.since(last).as_millis());
            last = w.now;
        }
        assert_eq!(pauses, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert!(w.health.writing.away().is_some_and(|(since, why)| since == T0 && why == "status 503"));
        assert_eq!(w.health.reading.away(), None, "readers may still be answered");
        w.wait(10_000);
        assert_eq!(w.go(Ok(Sent::default())), Some(3));
        assert_eq!(w.health.writing.away(), None);
        assert_eq!((w.shipper.stats().retries, w.shipper.stats().sent), (8, 3));
        w.append(1);
        assert_eq!(w.go(Ok(Sent::default())), Some(1), "without a pause again");
        assert!(matches!(w.shipper.step(w.now, &w.queue), Step::Idle));
    }

    #[test]
    fn a_pause_that_the_engine_asks_for_is_kept() {
        let mut w = World::new();
        w.append(1);
        w.go(away(Some(30_000)));
        w.wait(29_999);
        assert_eq!(w.go(away(None)), None);
        w.wait(1);
        assert_eq!(w.go(Ok(Sent::default())), Some(1));
    }

    #[test]
    fn what_is_refused_is_counted_and_not_sent_again() {
        let mut w = World::new();
        w.append(5);
        w.go(Err(SendError::Refused { reason: "out of order".into(), samples: Some(2) }));
        w.append(4);
        w.go(Err(SendError::Refused { reason: "bad name".into(), samples: None }));
        w.append(2);
        w.go(Ok(Sent { left_out: 1 }));
        let stats = w.shipper.stats();
        assert_eq!((stats.sent, stats.refused, stats.left_out, stats.retries), (4, 6, 1, 0));
        assert!(w.queue.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut w = World::new();
        w.append(1);
        w.go(away(None));
        w.wait(-3_600_000);
        assert_eq!(w.go(Ok(Sent::default())), Some(1));
    }

    #[test]
    fn readers_leave_an_absent_engine_alone_for_a_while() {
        let health = EngineHealth::default().reading;
        assert!(health.do_not_ask(T0).is_none());
        assert!(health.is_away(T0, "down") && !health.is_away(T0, "down"));
        assert_eq!(health.do_not_ask(T0).as_deref(), Some("down"));
        assert!(health.do_not_ask(T0.plus(crate::health::ASK_AGAIN)).is_none());
        assert!(health.answered() && !health.answered());
    }
}
