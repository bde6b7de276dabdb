//! What others push: Prometheus' remote write 1 and 2, and text for backfill.
//!
//! Invariant: a request is read whole before anything of it is written; what is good of it is written, what is not is
//! told and counted; nothing is asked to be sent again that cannot be better the next time. The memory of all requests
//! together is bounded by [`IN_FLIGHT_BYTES_MAX`].
//! Not here: who may push (the guard of the HTTP server asks), how samples are kept.
//!
//! A series that is known costs a hash of the bytes that name it and one look-up; its labels are looked into when it is
//! seen for the first time.

mod book;
mod decoded;
pub mod fuzz;
pub(crate) mod histogram;
mod http;
pub mod import;
mod import_http;
mod intake;
mod key;
mod labels;
mod outcome;
mod resolve;
mod v1;
mod v2;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use belfry_model::{Clock, Labels, TimestampMs};
use tokio::sync::Semaphore;

pub use decoded::{REQUEST_BUCKETS_MAX, REQUEST_EXEMPLARS_MAX, REQUEST_METADATA_MAX, REQUEST_SAMPLES_MAX};
pub use http::routes;
pub use import::Import;
pub use import_http::import_routes;
pub use labels::{PUSHED_LABELS_MAX, PUSHED_NAME_BYTES_MAX, PUSHED_VALUE_BYTES_MAX};
pub use v2::REQUEST_SYMBOLS_MAX;

use crate::Ingest;
use crate::writer::lock;
use book::SeriesBook;
use intake::Scratch;
use key::Keys;

/// Producer of what comes by remote write.
pub const REMOTE_WRITE: &str = "remote_write";
/// Compressed bytes of a request; a longer one is answered 413. Prometheus sends about 50 kB, vmagent up to 8 MiB.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes that a request may unfold to; one that says more is answered 413 before it is unfolded.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// Bytes of all requests that are being worked on; past that they are answered 503 and come again.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
/// Samples may be so far ahead of the clock, as in Prometheus: one from next year would make all others too old.
pub const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(600);

/// Work areas that are kept for the next request, about 1 MB each.
const SCRATCH_KEPT_MAX: usize = 8;

/// Takes what is pushed.
pub struct Push {
    ingest: Arc<Ingest>,
    clock: Arc<dyn Clock>,
    keys: Keys,
    producer: Arc<str>,
    book: Mutex<SeriesBook>,
    room: Semaphore,
    #[allow(clippy::vec_box, reason = "they are handed on, through futures too: a box is cheaper to move")]
    kept: Mutex<Vec<Box<Scratch>>>,
    counts: Counts,
    typed: AtomicBool,
    durable: AtomicBool,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
    partial: AtomicU64,
    shed: AtomicU64,
    ahead: AtomicU64,
    bad_histograms: AtomicU64,
    shed_beside: AtomicU64,
    body_bytes: AtomicU64,
    last: AtomicI64,
    last_samples: AtomicU64,
}

/// What was pushed so far, beside the counters that every producer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStats {
    /// Requests.
    pub requests: u64,
    /// Of them, those of which nothing was written.
    pub failed: u64,
    /// Of them, those of which a part was refused.
    pub partial: u64,
    /// Requests sent away because there was no room for them.
    pub shed: u64,
    /// Samples refused because they were too far ahead of the clock.
    pub ahead: u64,
    /// Native histograms refused because they contradict themselves.
    pub bad_histograms: u64,
    /// Exemplars and metadata beyond what a request may carry.
    pub shed_beside: u64,
    /// Bytes of bodies, compressed as they came.
    pub body_bytes: u64,
    /// When the last one came.
    pub last: Option<TimestampMs>,
    /// Samples of the last one.
    pub last_samples: u64,
}

impl Push {
    /// Writes through `ingest`. The producer may have as many series as all together, unless `series_max` says less.
    pub fn new(ingest: Arc<Ingest>, clock: Arc<dyn Clock>, series_max: Option<u64>) -> Self {
        let limit = series_max.unwrap_or(ingest.limits.series_total);
        ingest.register(REMOTE_WRITE, Labels::empty(), Some(limit));
        Self {
            ingest,
            clock,
            keys: Keys::default(),
            producer: REMOTE_WRITE.into(),
            book: Mutex::default(),
            room: Semaphore::new(IN_FLIGHT_BYTES_MAX >> 10),
            kept: Mutex::default(),
            counts: Counts::default(),
            typed: AtomicBool::new(false),
            durable: AtomicBool::new(false),
        }
    }

    /// Whether series of remote write 2 get the labels `__type__` and `__unit__` from their metadata; at first they do
    /// not.
    pub fn type_and_unit_labels(&self, on: bool) {
        self.typed.store(on, Ordering::Relaxed);
    }

    /// Whether remote write is answered only once its samples are on the disk; at first it is not.
    pub fn durable_acks(&self, on: bool) {
        self.durable.store(on, Ordering::Relaxed);
    }

    /// Counters.
    pub fn stats(&self) -> PushStats {
        let c = &self.counts;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        PushStats {
            requests: get(&c.requests),
            failed: get(&c.failed),
            partial: get(&c.partial),
            shed: get(&c.shed),
            ahead: get(&c.ahead),
            bad_histograms: get(&c.bad_histograms),
            shed_beside: get(&c.shed_beside),
            body_bytes: get(&c.body_bytes),
            last: Some(TimestampMs(c.last.load(Ordering::Relaxed))).filter(|t| t.0 != 0),
            last_samples: get(&c.last_samples),
        }
    }

    fn scratch(&self) -> Box<Scratch> {
        lock(&self.kept).pop().unwrap_or_default()
    }

    fn give_back(&self, mut scratch: Box<Scratch>) {
        scratch.tidy();
        let mut kept = lock(&self.kept);
        if kept.len() < SCRATCH_KEPT_MAX {
            kept.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests;
