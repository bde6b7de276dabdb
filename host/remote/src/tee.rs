//! The writer of a house whose samples go to an engine: the local store first, then the queue.
//!
//! Invariant: `Ok` means that both have the batch; what the store refused as a whole is not queued.
//! Not here: limits and producers (`ingest`), sending.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::{Appended, Batch, Clock, Labels, MetricMetadata, SeriesRef, WriteError, Writer};

use crate::queue::{Queue, SeriesNames};

/// Writes to the store and to the queue.
pub struct Tee {
    /// The local window.
    pub store: Arc<dyn Writer>,
    /// Knows the labels of what the store opened.
    pub names: Arc<dyn SeriesNames>,
    /// What waits for the engine.
    pub queue: Arc<Queue>,
    /// When something was queued.
    pub clock: Arc<dyn Clock>,
}

/// A queue that cannot be written to, as producers are told.
pub fn write_error(e: &std::io::Error) -> WriteError {
    match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            WriteError::DiskFull(format!("the queue for the storage engine: {e}"))
        }
        _ => WriteError::Io(format!("the queue for the storage engine: {e}")),
    }
}

#[async_trait]
impl Writer for Tee {
    fn open(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.store.open(labels)
    }

    fn open_always(&self, labels: &Labels) -> Result<SeriesRef, WriteError> {
        self.store.open_always(labels)
    }

    async fn append(&self, batch: Batch) -> Result<Appended, WriteError> {
        let copy = batch.clone();
        let appended = self.store.append(batch).await?;
        let is_refused = appended.accepted == 0 && !(copy.refs.is_empty() && copy.histograms.is_empty());
        if is_refused && copy.exemplars.is_empty() {
            return Ok(appended);
        }
        let (queue, names, now) = (self.queue.clone(), self.names.clone(), self.clock.now());
        // A disk may take its time; the reactor has others to serve.
        let queued = tokio::task::spawn_blocking(move || queue.append(&copy, &*names, now));
        let queued = queued.await.map_err(|_| WriteError::Closed)?;
        queued.map_err(|e| write_error(&e))?;
        Ok(appended)
    }

    fn declare(&self, metadata: MetricMetadata) {
        self.queue.declare(metadata.clone());
        self.store.declare(metadata);
    }
}
