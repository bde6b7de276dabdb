//! The time-series store: write-ahead log, head, blocks, index, retention.
//!
//! Invariant: an acknowledged batch survives `kill -9`; a torn tail is cut, damage before it is an error that names the
//! file and keeps the rest readable.
//! Not here: PromQL, rules, who produces the samples.

mod append;
mod block;
mod chunk;
mod codec;
pub mod config;
pub mod disk;
mod head;
mod index;
mod maintain;
mod pack;
mod read;
mod record;
mod series;
mod store;
mod tail;
mod wal;
mod xor;

pub use config::{Backend, Damage, FsyncPolicy, OpenError, Recovery, StoreConfig};
pub use disk::RealDisk;
pub use maintain::Maintained;
pub use store::{Health, Stats, Store};
