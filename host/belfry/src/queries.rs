//! PromQL on a pool of its own size: parse, fetch, evaluate on a blocking thread; a dropped query stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use belfry_model::SeriesRead;
use belfry_model::read::Cancel;
use belfry_promql::{Answer, Query, QueryError, QueryLimits, QueryTime};
use tokio::sync::Semaphore;

/// Queries evaluated at a time: they are bound by the CPU, and two more keep it busy while others read.
const SPARE_QUERIES: usize = 2;
/// Queries that may wait for a place; a further one is refused.
const WAITING_QUERIES_MAX: usize = 256;

/// Evaluates queries over one reader.
pub struct Queries {
    reader: Arc<dyn SeriesRead>,
    places: Semaphore,
    waiting: AtomicU64,
    evaluated: AtomicU64,
    failed: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryFault {
    /// The query itself.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many wait already.
    #[error("{WAITING_QUERIES_MAX} queries wait already; try again later")]
    Busy,
    /// The evaluation panicked: a defect.
    #[error("the evaluation failed: {0}")]
    Broken(String),
}

/// Cancels the evaluation when nobody waits for it any more.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Queries {
    /// Over this reader.
    pub fn new(reader: Arc<dyn SeriesRead>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            reader,
            places: Semaphore::new(cores + SPARE_QUERIES),
            waiting: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Queries answered, and failed, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.evaluated.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The answer; dropping the future stops the work.
    pub async fn evaluate(&self, expression: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        let answer = self.evaluate_uncounted(expression, time).await;
        let counter = if answer.is_ok() { &self.evaluated } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }

    async fn evaluate_uncounted(&self, expression: &str, time: QueryTime) -> Result<Answer, QueryFault> {
        let query = Query::parse(expression, time, QueryLimits::default())?;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_QUERIES_MAX as u64 {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(QueryFault::Busy);
        }
        let place = self.places.acquire().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let _place = place.map_err(|_| QueryFault::Busy)?;
        let fetched = query.fetch(&*self.reader).await?;
        let cancel = Cancel::default();
        let _cancel_on_drop = CancelOnDrop(cancel.clone());
        let answer = tokio::task::spawn_blocking(move || fetched.evaluate(&cancel))
            .await
            .map_err(|e| QueryFault::Broken(e.to_string()))??;
        Ok(answer)
    }
}
