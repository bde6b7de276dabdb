//! What the engine's answers lack because it still waits in the queue.
//!
//! Invariant: nothing is said of what the local window has: readers get that beside the engine's answer.
//! Not here: how long something may wait before the engine counts as behind for the newest samples.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::duration::format_duration;
use belfry_model::{Clock, TimestampMs};

use crate::engine::{EngineAnswer, EngineQueryError, QueryBackend, When};
use crate::queue::{Queue, QueueStats};

/// What an answer about times from `from` on may lack, as a warning. `window` is what is kept here. The queue is to be
/// looked at before the engine is asked: meanwhile it goes on.
pub fn lacking(queue: &QueueStats, window: Duration, now: TimestampMs, from: TimestampMs) -> Option<String> {
    let told = |what: String| Some(format!("the storage engine is behind: {what} wait for it and may be missing"));
    let kept_from = now.minus(window);
    let waits_from_before = queue.bytes > 0 && queue.waiting_since.is_none_or(|since| since < kept_from);
    if queue.imports_wait {
        told("imported samples".to_owned())
    } else if waits_from_before && from < kept_from {
        told(format!("samples of more than {} ago", format_duration(window)))
    } else {
        None
    }
}

/// An engine that evaluates, and whose answers say what it has not got yet.
pub struct Behind {
    /// Evaluates.
    pub backend: Arc<dyn QueryBackend>,
    /// What waits for it.
    pub queue: Arc<Queue>,
    /// How far back the local window reaches.
    pub window: Duration,
    /// What is now.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl QueryBackend for Behind {
    async fn query(
        &self,
        expression: &str,
        when: When,
        lookback: Option<Duration>,
    ) -> Result<EngineAnswer, EngineQueryError> {
        // Nobody here knows how far back the expression looks.
        let lacks = lacking(&self.queue.stats(), self.window, self.clock.now(), TimestampMs::MIN);
        let mut answer = self.backend.query(expression, when, lookback).await?;
        answer.warnings.extend(lacks);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use belfry_model::{Labels, Sample, Value};
    use belfry_testkit::SimClock;

    use super::*;
    use crate::engine::{EngineValue, SeriesSamples};
    use crate::fake;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
    const WINDOW: Duration = Duration::from_secs(3600);

    fn ago(minutes: i64) -> TimestampMs {
        TimestampMs(NOW.0 - minutes * 60_000)
    }

    #[test]
    fn only_what_the_window_has_not_can_be_missing() {
        let waits =
            |since: Option<i64>| QueueStats { bytes: 10, waiting_since: since.map(ago), ..QueueStats::default() };
        let lacks = |queue: &QueueStats, from| lacking(queue, WINDOW, NOW, ago(from));
        assert_eq!(lacks(&QueueStats::default(), 600), None, "nothing waits");
        assert_eq!(lacks(&waits(Some(30)), 600), None, "the window has what waits");
        let after_an_outage = waits(Some(90));
        assert_eq!(lacks(&after_an_outage, 30), None, "of these times the window has all");
        let told = lacks(&after_an_outage, 600).expect("a warning");
        assert!(told.contains("samples of more than 1h ago wait for it"), "{told}");
        assert!(lacks(&waits(None), 600).is_some(), "nobody knows since when");
        let import = QueueStats { imports_wait: true, ..waits(Some(0)) };
        assert!(lacks(&import, 30).is_some_and(|told| told.contains("imported samples wait")));
    }

    struct Zero;

    #[async_trait]
    impl QueryBackend for Zero {
        async fn query(&self, _: &str, _: When, _: Option<Duration>) -> Result<EngineAnswer, EngineQueryError> {
            Ok(EngineAnswer {
                value: EngineValue::Scalar(NOW, 0.0),
                warnings: vec!["its own".into()],
                infos: Vec::new(),
            })
        }
    }

    #[tokio::test]
    async fn an_engines_own_answer_says_that_an_import_waits_until_it_has_it() {
        let queue = fake::queue();
        let clock = Arc::new(SimClock::at(NOW));
        let behind = Behind { backend: Arc::new(Zero), queue: queue.clone(), window: WINDOW, clock };
        let ask = async || behind.query("0", When::Instant(NOW), None).await.expect("an answer").warnings;
        assert_eq!(ask().await, ["its own"]);
        let sample = Sample { at: ago(600), value: Value::Float(1.0), start: None };
        let labels = Labels::from_pairs([("__name__", "m")]);
        let series = SeriesSamples { labels, samples: vec![sample], exemplars: Vec::new() };
        queue.append_series(&series, NOW).expect("written");
        assert_eq!(ask().await.len(), 2);
        queue.sent(&queue.next_parcel().expect("something waits"));
        assert_eq!(ask().await, ["its own"]);
    }
}
