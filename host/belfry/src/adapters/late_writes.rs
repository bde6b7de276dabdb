//! Tells the queries what times samples arrive for: a series that has been silent may go on long ago, where answers are
//! kept, and an engine shows what it is sent only after a while.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::write::{Appended, Batch, SeriesRef, Times, WriteError, Writer};
use belfry_model::{Labels, MetricMetadata, TimestampMs};

use crate::queries::Queries;

/// A writer whose late samples are told of.
pub struct LateWrites {
    /// Writes.
    pub writer: Arc<dyn Writer>,
    /// Is told.
    pub queries: Arc<Queries>,
}

#[async_trait]
impl Writer for LateWrites {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.writer.open(labels)
    }

    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.writer.open_always(labels)
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let oldest = oldest(&batch);
        let appended = self.writer.append(batch).await;
        self.written(oldest.filter(|_| is_written(&appended)));
        appended
    }

    fn append_now(&self, batch: &Batch) -> Option<Result<Appended, WriteError>> {
        let appended = self.writer.append_now(batch)?;
        self.written(oldest(batch).filter(|_| is_written(&appended)));
        Some(appended)
    }

    fn write_out(&self) {
        self.writer.write_out();
    }

    fn declare(&self, metadata: MetricMetadata) {
        self.writer.declare(metadata);
    }
}

impl LateWrites {
    /// Behind the write: a query that begins from now on reads it.
    fn written(&self, oldest: Option<TimestampMs>) {
        if let Some(at) = oldest {
            self.queries.written(at);
        }
    }
}

/// Some of it, perhaps.
fn is_written(appended: &Result<Appended, WriteError>) -> bool {
    !matches!(appended, Ok(Appended { accepted: 0, .. }))
}

fn oldest(batch: &Batch) -> Option<TimestampMs> {
    let floats = match &batch.times {
        Times::One(at) => Some(*at),
        Times::Each(times) => times.iter().min().copied(),
    };
    let histograms = batch.histograms.iter().map(|h| h.1).min();
    floats.into_iter().chain(histograms).min()
}
