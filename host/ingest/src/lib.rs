//! Ingest: the one way into the store. Schedules pulls; owns limits, timestamps and host labels.
//!
//! Invariant: nothing is written to the store but through [`Ingest`](crate); a source that fails or is slow delays no
//! other; what is shed is counted by source and reason.
//! Not here: how a plugin is called (see [`Producer`]), how samples are kept.

use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Batch, TimestampMs};

/// Something that is asked for samples on a schedule. Owned here, implemented by adapters.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Measures once. `at` is the time the samples are stamped with. Ends by itself within the source's time-out.
    async fn pull(&self, at: TimestampMs) -> Result<Batch, PullError>;
}

/// Why a pull brought nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PullError {
    /// The thing that is measured, or the plugin, said no.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It is being restarted after a crash; the schedule goes on.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// When a source is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSchedule {
    /// Name of the source.
    pub source: String,
    /// Every …
    pub interval: Duration,
}

/// What the collection organ is told.
#[derive(Clone, Debug)]
pub enum CollectInput {
    /// The sources from now on. A source that stays keeps its phase; a new one is pulled at once.
    Configure(Vec<PullSchedule>),
    /// A pull ended.
    Pulled {
        /// Name of the source.
        source: String,
        /// The time it was for.
        at: TimestampMs,
    },
}

/// What the collection organ wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectEffect {
    /// Pull the source and answer with [`CollectInput::Pulled`].
    Pull {
        /// Name of the source.
        source: String,
        /// The time the samples are stamped with: the time it was due.
        at: TimestampMs,
    },
    /// The source was still busy with an earlier pull: one was left out.
    Skipped {
        /// Name of the source.
        source: String,
        /// When it was due.
        at: TimestampMs,
    },
}
