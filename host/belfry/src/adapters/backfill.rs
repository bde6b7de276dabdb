//! The store's backfill as ingest's imports want it.

use std::sync::Arc;

use belfry_ingest::push::import::{Backfill, Backfilled, BeginBackfill};
use belfry_model::{Labels, Sample, TimestampMs, WriteError};
use belfry_store::Store;

use crate::queries::Queries;

struct Blocks {
    blocks: belfry_store::Backfill,
    /// Keeps answers that may rest on what was not there yet.
    queries: Arc<Queries>,
}

impl Backfill for Blocks {
    fn push(&mut self, labels: &Labels, sample: Sample) -> Result<(), WriteError> {
        self.blocks.push(labels, sample)
    }

    fn finish(self: Box<Self>) -> Result<Backfilled, WriteError> {
        let done = self.blocks.finish();
        // Also when only part of it was written.
        self.queries.samples_changed(TimestampMs::MIN);
        let done = done?;
        Ok(Backfilled {
            accepted: done.accepted,
            duplicate: done.duplicate,
            too_old: done.too_old,
            too_new: done.too_new,
        })
    }
}

/// Begins backfills of `store`, which `queries` read.
pub fn of(store: Arc<Store>, queries: Arc<Queries>) -> BeginBackfill {
    Box::new(move |now| Box::new(Blocks { blocks: store.backfill(now), queries: queries.clone() }))
}
