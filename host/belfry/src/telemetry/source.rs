//! Belfry as a source: its own metrics in its own store.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use belfry_ingest::{Producer, PullError};
use belfry_model::{Batch, Labels, TimestampMs};

use crate::app::App;
use crate::sources::HealthCell;
use crate::spec::SOURCE_LABEL;
use crate::view::metrics;

/// Name of the source.
pub const NAME: &str = "belfry";

/// Reads the organs' counters. Holds the program weakly: it is part of it.
pub struct OwnProducer {
    app: Weak<App>,
    told: Arc<HealthCell>,
}

impl OwnProducer {
    /// Of this program.
    pub fn new(app: Weak<App>, told: Arc<HealthCell>) -> Self {
        Self { app, told }
    }
}

#[async_trait]
impl Producer for OwnProducer {
    async fn pull(&self, at: TimestampMs) -> Result<Batch, PullError> {
        let app = self.app.upgrade().ok_or_else(|| PullError::NotReady("shutting down".to_owned()))?;
        let own = metrics::own(&app);
        for metadata in own.metadata() {
            app.ingest.declare(metadata);
        }
        let labelled = own.samples().into_iter().map(|(labels, value)| (with_source(&labels), value)).collect();
        let appended = app.ingest.record(at, labelled).await.map_err(|e| PullError::Failed(e.to_string()))?;
        self.told.wrote(appended.accepted);
        // They are written already, as the host's own.
        Ok(Batch::at(NAME, at))
    }
}

fn with_source(labels: &Labels) -> Labels {
    let mut b = labels.to_builder();
    b.set(SOURCE_LABEL, NAME);
    b.build()
}
