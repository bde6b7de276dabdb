//! Ingest: the one way into the store. Schedules pulls; owns limits, timestamps and host labels.
//!
//! Invariant: nothing is written to the store but through [`Ingest`]; a source that fails or is slow delays no other;
//! what is shed is counted by producer and reason.
//! Not here: how a plugin is called (see [`Producer`]), how samples are kept.

mod beside;
mod bulk;
pub mod collection;
pub mod exposition;
mod labels;
mod producers;
pub mod push;
mod record;
pub mod relabel;
pub mod scrape;
mod writer;

pub use beside::{EXEMPLAR_CHARS_MAX, HELP_BYTES_MAX, METADATA_NAME_BYTES_MAX, UNIT_BYTES_MAX};
pub use collection::{CollectEffect, CollectInput, Collection, Producer, PullError, PullSchedule, SourceSchedule};
pub use labels::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, METRIC_NAME_BYTES_MAX};
pub use producers::{ProducerStats, SERIES_IDLE};
pub use record::RECORD_CACHE_SERIES_MAX;
pub use writer::{
    AppendError, HOST_PRODUCER, IN_FLIGHT_BATCHES_MAX, Ingest, IngestLimits, IngestStats, OpenError, REMOVED_PRODUCER,
    WAITING_BATCHES_MAX,
};
