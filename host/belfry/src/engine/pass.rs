//! Expressions that the engine evaluates instead of us.
//!
//! Invariant: an engine that is away, behind, or cannot evaluate something costs nobody an answer: then it is evaluated
//! here, over the engine's series and the local window together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use belfry_dashboard::backend::QueryOptions;
use belfry_promql::{Answer, MatrixRow, PointValue, QueryTime, QueryValue, VectorPoint};
use belfry_remote::engine::{EngineAnswer, EngineQueryError, EngineValue, QueryBackend, When};
use tokio::sync::Semaphore;

use super::StorageEngine;

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
    pub(super) fn new(backend: Arc<dyn QueryBackend>, engine: Arc<StorageEngine>) -> Self {
        Self { backend, engine, places: Semaphore::new(PASSED_MAX), passed: AtomicU64::new(0) }
    }

    /// Expressions that the engine has answered.
    pub fn count(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// The engine's answer; `None`: evaluate it here.
    pub async fn evaluate(&self, expression: &str, time: QueryTime, options: QueryOptions) -> Option<Answer> {
        if !self.engine.is_up_to_date() {
            return None;
        }
        let when = match time {
            QueryTime::Instant(at) => When::Instant(at),
            QueryTime::Range { start, end, step } => When::Range { start, end, step },
        };
        let _place = self.places.acquire().await.ok()?;
        match self.backend.query(expression, when, options.lookback).await {
            Ok(answer) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                Some(as_answer(answer))
            }
            Err(EngineQueryError::NotThis(why)) => {
                tracing::debug!("evaluated here: {why}");
                None
            }
            Err(EngineQueryError::Away(why)) => {
                self.engine.health.cannot_be_read(self.engine.clock.now(), &why);
                None
            }
        }
    }
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
