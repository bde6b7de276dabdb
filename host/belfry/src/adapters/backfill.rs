//! The store's backfill as ingest's imports want it.

use std::sync::Arc;

use belfry_ingest::push::import::{Backfill, Backfilled, BeginBackfill};
use belfry_model::{Labels, Sample, WriteError};
use belfry_store::Store;

struct Blocks(belfry_store::Backfill);

impl Backfill for Blocks {
    fn push(&mut self, labels: &Labels, sample: Sample) -> Result<(), WriteError> {
        self.0.push(labels, sample)
    }

    fn finish(self: Box<Self>) -> Result<Backfilled, WriteError> {
        let done = self.0.finish()?;
        Ok(Backfilled {
            accepted: done.accepted,
            duplicate: done.duplicate,
            too_old: done.too_old,
            too_new: done.too_new,
        })
    }
}

/// Begins backfills of `store`.
pub fn of(store: Arc<Store>) -> BeginBackfill {
    Box::new(move |now| Box::new(Blocks(store.backfill(now))))
}
