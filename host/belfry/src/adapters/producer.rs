//! A plugin as something that is pulled.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_dashboard::dto::Health;
use belfry_ingest::{Ingest, Producer, PullError};
use belfry_model::{Batch, TimestampMs};
use belfry_plugin::{CallError, Health as Told, Kind, Plugin};

use crate::sources::HealthCell;

/// Asks a collector or a metric source.
pub struct PluginProducer {
    /// The plugin.
    pub plugin: Plugin,
    /// Told what its metrics are.
    pub ingest: Arc<Ingest>,
    /// Filled by metric sources.
    pub told: Arc<HealthCell>,
}

#[async_trait]
impl Producer for PluginProducer {
    async fn pull(&self, at: TimestampMs) -> Result<Batch, PullError> {
        let kinds = self.plugin.kinds();
        let batch = if kinds.contains(&Kind::MetricSource) {
            let (health, batch) = self.plugin.snapshot(at).await.map_err(pull_error)?;
            let (health, reason) = match health {
                Told::Up => (Health::Up, String::new()),
                Told::Degraded(why) => (Health::Degraded, why),
                Told::Down(why) => (Health::Down, why),
                Told::Other(word) => (Health::Degraded, word),
            };
            self.told.set(health, reason);
            batch
        } else {
            self.plugin.collect(at).await.map_err(pull_error)?
        };
        for metadata in self.plugin.metadata() {
            self.ingest.declare(metadata);
        }
        Ok(batch)
    }
}

fn pull_error(error: CallError) -> PullError {
    match error {
        CallError::TimedOut { limit, .. } => PullError::TimedOut(limit),
        CallError::BackingOff { .. } | CallError::Busy { .. } => PullError::NotReady(error.to_string()),
        other => PullError::Failed(other.to_string()),
    }
}
