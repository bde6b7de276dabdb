//! The time-series store: write-ahead log, head, blocks, index, retention.
//!
//! Invariant: an acknowledged batch survives `kill -9`; a torn tail is cut, damage before it is an error that names the
//! file and keeps the rest readable.
//! Not here: PromQL, rules, who produces the samples.
//!
//! ```
//! # use std::sync::Arc;
//! # use belfry_model::{Batch, Labels, TimestampMs, Writer};
//! # use belfry_store::{RealDisk, Store, StoreConfig};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = TimestampMs(1_700_000_000_000);
//! let (store, recovery) = Store::open(StoreConfig::memory(), Arc::new(RealDisk), now)?;
//! assert!(recovery.damage.is_empty());
//!
//! let mut batch = Batch::at("thermometer", now);
//! batch.refs.push(store.open(&Labels::from_pairs([("__name__", "temperature_celsius")]))?);
//! batch.values.push(21.5);
//! assert_eq!(store.append(batch).await?.accepted, 1);
//!
//! // The driver's part, from a thread that may block: every 100 ms, and every few seconds.
//! store.sync()?;
//! store.maintain(now)?;
//! # Ok(())
//! # }
//! ```

mod append;
mod backfill;
mod block;
mod chunk;
#[cfg(test)]
mod churn_tests;
mod codec;
mod compact;
pub mod config;
mod delete;
pub mod disk;
mod downsample;
mod expire;
mod folder;
mod frozen;
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod head_restore;
mod head_rows;
mod heap;
mod index;
mod known;
#[cfg(test)]
mod lean_tests;
mod lists;
mod lost;
mod maintain;
mod newest;
mod order;
mod own;
mod pack;
mod pattern;
mod plan;
#[cfg(test)]
mod rank_tests;
mod read;
mod record;
mod replay;
mod row_record;
mod rows;
mod series;
mod slab;
mod snapshot;
mod span;
mod store;
mod stream;
mod tail;
mod values;
mod wal;
mod watch;
mod xor;

pub use backfill::{Backfill, Backfilled};
pub use config::{AHEAD_MAX, Backend, Damage, Downsample, FsyncPolicy, OpenError, Recovery, StoreConfig};
pub use delete::{DeleteError, Deleted};
pub use disk::RealDisk;
pub use folder::check_folder;
pub use head::{METADATA_BYTES_MAX, METADATA_MAX, text_bytes};
pub use maintain::Maintained;
pub use snapshot::{SNAPSHOT_MARGIN_BYTES, Snapshot};
pub use store::{Health, Stats, Store};
