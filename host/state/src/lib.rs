//! State: what is not a time series, in one SQLite file with one writer task.
//!
//! Invariant: what a caller was told is kept is on the disk (WAL mode, `synchronous = NORMAL`; alert and notification
//! rows with `FULL`). Others reach it through their own traits or their effects.
//! Not here: what the rows mean.

mod alerts;
mod components;
mod error;
mod journal;
mod kv;
mod log;
mod migrate;
mod notify;
mod open;
mod reports;
mod retention;
mod rule_files;
mod salvage;
mod sound;
mod take;
mod worker;

pub use alerts::{EPISODES_PER_QUERY_MAX, Episode};
pub use components::ComponentRun;
pub use error::{OpenError, StateError};
pub use journal::{JOURNAL_ROWS_PER_QUERY_MAX, JournalQuery, JournalRow};
pub use kv::{KV_KEY_BYTES_MAX, KV_KEYS_PER_LIST_MAX};
pub use migrate::SCHEMA_VERSION;
pub use open::{State, StateStats};
pub use reports::{ArchivedDocument, ArchivedReport, REPORTS_PER_LIST_MAX};
pub use retention::{Pruned, Retention};
pub use rule_files::RULE_TEXTS_BYTES_MAX;
pub use salvage::{Salvaged, SalvagedTable};
pub use worker::{READ_QUEUE_JOBS_MAX, READERS, WRITE_QUEUE_JOBS_MAX};
