//! Pulls sources when the collection organ says so, and hands what they bring to ingest.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_ingest::{CollectEffect, CollectInput, Ingest, PullError};
use belfry_model::{Clock, TimestampMs};
use tracing::Instrument as _;

use super::{Mailbox, Perform};
use crate::changes::{Changed, Changes};
use crate::sources::{Source, Sources};

/// The hands of the collection organ.
pub struct Collector {
    /// Who is pulled.
    pub sources: Arc<Sources>,
    /// Where it goes.
    pub ingest: Arc<Ingest>,
    /// Back to the organ.
    pub inputs: Mailbox<CollectInput>,
    /// For the dashboard.
    pub changes: Changes,
    /// For how long a pull took.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Perform<CollectEffect> for Collector {
    async fn perform(&self, effect: CollectEffect) {
        match effect {
            CollectEffect::Pull { source, at } => self.pull(source, at),
            CollectEffect::Skipped { source, at } => {
                if let Some(s) = self.sources.get(&source) {
                    s.status.lock().skipped += 1;
                }
                tracing::warn!(source, %at, "still busy with an earlier pull: one was left out");
            }
        }
    }
}

impl Collector {
    fn pull(&self, name: String, at: TimestampMs) {
        let source = self.sources.get(&name);
        let (ingest, inputs, changes, clock) =
            (self.ingest.clone(), self.inputs.clone(), self.changes.clone(), self.clock.clone());
        let span = tracing::info_span!("pull", source = name);
        let work = async move {
            if let Some(source) = source {
                let start = clock.monotonic();
                let outcome = pull_once(&source, &ingest, at).await;
                let took = clock.monotonic().saturating_sub(start);
                if let Err(error) = &outcome {
                    tracing::warn!(source = source.name, %error, "pull failed");
                }
                if source.pulled(at, took, &outcome) {
                    tracing::info!(source = source.name, health = ?source.status.lock().health, "health changed");
                }
                changes.tell(Changed::Sources);
                changes.tell(Changed::Overview);
            }
            // The organ is gone only when the process ends.
            inputs.send(CollectInput::Pulled { source: name, at }).await;
        };
        tokio::spawn(work.instrument(span));
    }
}

async fn pull_once(source: &Source, ingest: &Ingest, at: TimestampMs) -> Result<u64, PullError> {
    let batch = source.producer.pull(at).await?;
    let samples = (batch.refs.len() + batch.histograms.len()) as u64;
    if samples > 0 {
        ingest.append(batch).await.map_err(|e| PullError::Failed(e.to_string()))?;
    }
    Ok(samples + source.told.take_written())
}
