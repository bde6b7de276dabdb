//! Expressions that the engine evaluates instead of us.
//!
//! Invariant: an engine that is away, or cannot evaluate something, costs nobody an answer: then it is evaluated here,
//! over the engine's series and the local window together.
//! Not here: which expressions, or which of their steps (`queries`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use belfry_model::TimestampMs;
use belfry_model::duration::format_duration;
use belfry_model::read::ReadError;
use belfry_promql::parts::Unshown;
use belfry_promql::{Answer, MatrixRow, PointValue, QueryError, QueryLimits, QueryTime, QueryValue, VectorPoint};
use belfry_remote::engine::{EngineAnswer, EngineQueryError, EngineValue, QueryBackend, When};
use tokio::sync::Semaphore;

use super::{StorageEngine, is_behind};

/// Expressions that the engine evaluates for us at a time; others wait.
const PASSED_MAX: usize = 16;

/// Hands expressions on.
pub struct Pass {
    backend: Arc<dyn QueryBackend>,
    engine: Arc<StorageEngine>,
    places: Semaphore,
    passed: AtomicU64,
}

impl Pass {
    /// To `backend`, which is how `engine` evaluates.
    pub fn new(backend: Arc<dyn QueryBackend>, engine: Arc<StorageEngine>) -> Self {
        Self { backend, engine, places: Semaphore::new(PASSED_MAX), passed: AtomicU64::new(0) }
    }

    /// Expressions that the engine has answered.
    pub fn count(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Does nobody answer?
    pub fn is_away(&self) -> bool {
        self.engine.health.reading.away().is_some()
    }

    /// What the engine may lack.
    pub fn unshown(&self) -> Unshown {
        self.engine.unshown()
    }

    /// How much time the local window holds.
    pub fn window(&self) -> Duration {
        self.engine.window
    }

    /// Samples were written, none of them before `oldest`.
    pub fn wrote(&self, oldest: TimestampMs) {
        self.engine.wrote(oldest);
    }

    /// What an answer about the newest samples lacks when the engine gives it alone, as far as is known.
    pub fn warning(&self) -> Option<String> {
        let (queue, now) = (self.engine.queue.stats(), self.engine.clock.now());
        is_behind(&queue, now).then(|| {
            let long = |since| format!(" for {}", format_duration(Duration::from_secs(now.since(since).as_secs())));
            format!(
                "the storage engine is behind: samples have waited for it{} and are not in this answer, which it gave alone",
                queue.waiting_since.map(long).unwrap_or_default()
            )
        })
    }

    /// What an answer lacks that the engine gives alone about times of which it never got all samples.
    pub fn loss_warning() -> String {
        "the storage engine refused samples, or its full queue shed them: they may be missing from this answer, which it gave \
         alone"
            .to_owned()
    }

    /// The engine's answer; `None`: evaluate it here. `waiting` is dropped once it is its turn.
    pub async fn evaluate(
        &self,
        expression: &str,
        time: QueryTime,
        lookback: Option<Duration>,
        limits: &QueryLimits,
        waiting: impl Send,
    ) -> Result<Option<Answer>, QueryError> {
        let when = match time {
            QueryTime::Instant(at) => When::Instant(at),
            QueryTime::Range { start, end, step } => When::Range { start, end, step },
        };
        let Ok(_place) = self.places.acquire().await else { return Ok(None) };
        drop(waiting);
        match self.backend.query(expression, when, lookback).await {
            Ok(answer) => {
                let answer = as_answer(answer);
                if matches!(time, QueryTime::Range { .. }) && !matches!(answer.value, QueryValue::Matrix(_)) {
                    tracing::debug!("evaluated here: the engine's answer to a range query is none");
                    return Ok(None);
                }
                within(&answer.value, time, limits)?;
                self.passed.fetch_add(1, Ordering::Relaxed);
                Ok(Some(answer))
            }
            Err(EngineQueryError::NotThis(why)) => {
                tracing::debug!("evaluated here: {why}");
                Ok(None)
            }
            Err(EngineQueryError::Away(why)) => {
                self.engine.health.cannot_be_read(self.engine.clock.now(), &why);
                Ok(None)
            }
        }
    }
}

/// What the engine read is its matter; what it answers is bounded as what is evaluated here.
fn within(value: &QueryValue, time: QueryTime, limits: &QueryLimits) -> Result<(), QueryError> {
    let (series, points) = match value {
        QueryValue::Scalar(..) | QueryValue::String(..) => return Ok(()),
        QueryValue::Vector(rows) => (rows.len(), rows.len()),
        QueryValue::Matrix(rows) => (rows.len(), rows.iter().map(|r| r.points.len()).sum()),
    };
    let points = points as u64;
    if series > limits.series_max {
        return Err(ReadError::TooManySeries { limit: limits.series_max }.into());
    }
    // At an instant a matrix is samples as they are.
    let are_samples = matches!((value, time), (QueryValue::Matrix(_), QueryTime::Instant(_)));
    if are_samples && points > limits.samples_max {
        return Err(ReadError::TooManySamples { limit: limits.samples_max }.into());
    }
    if points > limits.points_max {
        return Err(QueryError::too_many_points(limits.points_max));
    }
    Ok(())
}

fn as_answer(answer: EngineAnswer) -> Answer {
    let float = PointValue::Float;
    let value = match answer.value {
        EngineValue::Scalar(at, v) => QueryValue::Scalar(at, v),
        EngineValue::Text(at, text) => QueryValue::String(at, text),
        EngineValue::Vector(rows) => {
            let point = |(labels, at, v)| VectorPoint { labels, at, value: float(v) };
            QueryValue::Vector(rows.into_iter().map(point).collect())
        }
        EngineValue::Matrix(rows) => {
            let points = |all: Vec<_>| all.into_iter().map(|(at, v)| (at, float(v))).collect();
            QueryValue::Matrix(
                rows.into_iter().map(|(labels, all)| MatrixRow { labels, points: points(all) }).collect(),
            )
        }
    };
    // What the engine read it does not say.
    Answer { value, warnings: answer.warnings, infos: answer.infos, samples_read: 0, points_peak: 0 }
}
