//! The storage engine beyond this machine, if the config names one: its queue, what reads it, what writes to it.
//!
//! Invariant: everything that is written to the local store by a producer is queued for the engine; without an engine
//! nothing here is used.
//! Not here: the protocols and the queue's files (`remote`), the local store.

mod backfill;
mod lost;
mod pass;
mod ship;
mod unseen;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use belfry_config::types::remote::{Remote, RemoteEngine};
use belfry_config::types::{Fsync, Storage};
use belfry_ingest::push::import::BeginBackfill;
use belfry_model::{Clock, Labels, SeriesRead, SeriesRef, TimestampMs, Writer};
use belfry_promql::parts::Unshown;
use belfry_remote::behind::{Behind, lacking};
use belfry_remote::engine::{Engine, SendError, Sent};
use belfry_remote::health::EngineHealth;
use belfry_remote::influx::{Influx, InfluxConfig, Place};
use belfry_remote::joined::{Joined, alone};
use belfry_remote::prometheus::{Prometheus, PrometheusOptions, Protocol};
use belfry_remote::queue::{Parcel, Queue, QueueConfig, QueueStats, SeriesNames};
use belfry_remote::shipper::{Shipper, Step};
use belfry_remote::tee::Tee;
use belfry_store::{AHEAD_MAX, RealDisk, Store};
use parking_lot::Mutex;

use crate::adapters::client_options::client_options;
use crate::clock::SystemClock;

use lost::Lost;
pub use pass::Pass;
pub use ship::{run, sync, watch};
use unseen::Unseen;

/// The queue's folder in the data folder.
pub const QUEUE_FOLDER: &str = "queue";

/// A queue whose oldest record waits longer than this is behind: what the engine would answer lacks what is new.
const BEHIND: Duration = Duration::from_secs(5);

/// The engine and what belongs to it.
pub struct StorageEngine {
    /// How it is written to and read.
    pub engine: Arc<dyn Engine>,
    /// What waits for it.
    pub queue: Arc<Queue>,
    /// Whether it answers.
    pub health: Arc<EngineHealth>,
    /// When what is sent.
    pub shipper: Arc<Mutex<Shipper>>,
    /// Between two syncs of the queue; `None` for none.
    pub sync_every: Option<Duration>,
    external: Labels,
    window: Duration,
    pass_queries: bool,
    unseen: Mutex<Unseen>,
    lost: Mutex<Lost>,
    clock: Arc<dyn Clock>,
}

/// The store knows what its references mean.
struct Names(Arc<Store>);

impl SeriesNames for Names {
    fn labels_of(&self, refs: &[SeriesRef]) -> Vec<Option<Labels>> {
        self.0.labels_of(refs)
    }
}

/// Opens the queue and makes the client, if there is an engine. Asks the engine nothing: it may be away.
pub fn open(storage: &Storage, clock: Arc<dyn Clock>) -> Result<Option<Arc<StorageEngine>>> {
    let Some(remote) = &storage.remote else { return Ok(None) };
    let engine =
        client(remote, clock.clone()).map_err(|e| anyhow::anyhow!("the storage engine cannot be used: {e}"))?;
    let queue = QueueConfig {
        folder: storage.path.join(QUEUE_FOLDER),
        bytes_max: remote.queue_bytes,
        sync_each: storage.fsync == Fsync::Always,
        sync: storage.fsync != Fsync::Never,
        external: remote.external_labels.clone(),
    };
    let queue = Queue::open(queue, Arc::new(RealDisk)).context("the queue for the storage engine cannot be opened")?;
    let unseen = if queue.is_empty() { Unseen::default() } else { Unseen::unknown(clock.now()) };
    Ok(Some(Arc::new(StorageEngine {
        engine,
        queue: Arc::new(queue),
        health: Arc::default(),
        shipper: Arc::default(),
        sync_every: match storage.fsync {
            Fsync::Every(every) => Some(every),
            _ => None,
        },
        external: remote.external_labels.clone(),
        window: storage.retention.unwrap_or(Duration::MAX),
        pass_queries: remote.pass_queries,
        unseen: Mutex::new(unseen),
        lost: Mutex::default(),
        clock,
    })))
}

/// Says what [`open`] would fail with, and changes nothing.
pub fn check(storage: &Storage) -> Result<()> {
    let Some(remote) = &storage.remote else { return Ok(()) };
    client(remote, Arc::new(SystemClock::new()))
        .map_err(|e| anyhow::anyhow!("the storage engine cannot be used: {e}"))?;
    let queue = belfry_remote::queue::look(&storage.path.join(QUEUE_FOLDER), &RealDisk);
    queue.map(drop).context("the queue for the storage engine cannot be opened")
}

impl StorageEngine {
    /// What the house reads.
    pub fn reader(&self, store: Arc<Store>) -> Arc<dyn SeriesRead> {
        Arc::new(Joined {
            engine: self.engine.reader(),
            local: store,
            external: self.external.clone(),
            window: self.window,
            queue: self.queue.clone(),
            health: self.health.clone(),
            clock: self.clock.clone(),
        })
    }

    /// Why a list was answered without it, as a warning.
    pub fn unasked(&self) -> Option<String> {
        self.health.reading.away().map(|(_, why)| alone(&why))
    }

    /// What lists over times from `from` on may lack because it waits for the engine, as a warning.
    pub fn lacking(&self, from: TimestampMs) -> Option<String> {
        if self.health.reading.away().is_some() {
            return None;
        }
        lacking(&self.queue.stats(), self.window, self.clock.now(), from)
    }

    /// What the house writes to.
    pub fn writer(&self, store: Arc<Store>) -> Arc<dyn Writer> {
        let names = Arc::new(Names(store.clone()));
        Arc::new(Tee { store, names, queue: self.queue.clone(), clock: self.clock.clone() })
    }

    /// Where old samples of an import go: to the engine alone.
    pub fn backfill(&self, store: Arc<Store>) -> BeginBackfill {
        backfill::of(self.queue.clone(), store, self.window)
    }

    /// Who evaluates instead of us, if the engine can and the config lets it.
    pub fn pass(self: &Arc<Self>) -> Option<Pass> {
        let backend = self.engine.query_backend().filter(|_| self.pass_queries)?;
        let (queue, window, clock) = (self.queue.clone(), self.window, self.clock.clone());
        Some(Pass::new(Arc::new(Behind { backend, queue, window, clock }), self.clone()))
    }

    /// Samples were written, none of them before `oldest`. What is older than the window is not in it.
    fn wrote(&self, oldest: TimestampMs) {
        let now = self.clock.now();
        let oldest = oldest.max(now.minus(self.window));
        self.unseen.lock().wrote(now, oldest, || waiting_since(&self.queue.stats()));
    }

    /// What it may not show. What is older than the window nobody else has.
    fn unshown(&self) -> Unshown {
        let (waiting, now) = (waiting_since(&self.queue.stats()), self.clock.now());
        let window_from = now.minus(self.window);
        let from = self.unseen.lock().from(now, waiting).max(window_from);
        Unshown { from, never: self.lost.lock().since(window_from) }
    }

    /// What is to be done for the engine. Blocks for as long as the disk takes.
    pub fn next_step(&self, now: TimestampMs) -> Step {
        // Looked at before: what is shed from now on is found the next time.
        let shed = self.queue.stats().shed;
        let step = self.shipper.lock().step(now, &self.queue);
        if let Step::Send(parcel) = &step {
            let mut lost = self.lost.lock();
            if std::mem::replace(&mut lost.shed, shed) != shed {
                for (oldest, written) in self.unseen.lock().unsent_before(parcel.first_written) {
                    lost.between(oldest, written.plus(AHEAD_MAX));
                }
            }
        }
        step
    }

    /// What became of a shipment. Blocks for as long as the disk takes.
    pub fn outcome(&self, now: TimestampMs, parcel: &Parcel, outcome: Result<Sent, SendError>) {
        if let Err(SendError::Refused { samples, .. }) = &outcome
            && *samples != Some(0)
        {
            // Which of them nobody says.
            let samples = parcel.shipment.series.iter().flat_map(|s| &s.samples);
            self.lost.lock().samples(samples.map(|s| s.at));
        }
        self.shipper.lock().outcome(now, &self.queue, &self.health, parcel, outcome);
    }
}

/// Since when the oldest of what waits does.
fn waiting_since(queue: &QueueStats) -> Option<TimestampMs> {
    (queue.bytes > 0).then(|| queue.waiting_since.unwrap_or(TimestampMs::MIN))
}

/// Has it waited for so long that an answer of the engine's lacks something? So has what nobody can say of how long.
fn is_behind(queue: &QueueStats, now: TimestampMs) -> bool {
    queue.bytes > 0 && queue.waiting_since.is_none_or(|since| now.since(since) >= BEHIND)
}

fn client(remote: &Remote, clock: Arc<dyn Clock>) -> Result<Arc<dyn Engine>, String> {
    match &remote.engine {
        RemoteEngine::Prometheus { write_url, read_url, protocol_2, http, timeout } => {
            let options = PrometheusOptions {
                write_url: write_url.clone(),
                read_url: read_url.clone(),
                protocol: if *protocol_2 { Protocol::V2 } else { Protocol::V1 },
                http: client_options(http),
                timeout: *timeout,
            };
            Ok(Arc::new(Prometheus::new(options, clock)?))
        }
        RemoteEngine::Influx { url, version, database, bucket, retention_policy, org, http, timeout } => {
            let named = || database.clone().unwrap_or_default();
            let place = match version {
                1 => Place::V1 { database: named(), retention_policy: retention_policy.clone() },
                2 => Place::V2 { org: org.clone(), bucket: bucket.clone(), database: database.clone() },
                _ => Place::V3 { database: named() },
            };
            let (write_timeout, read_timeout) = (*timeout, *timeout);
            let http = client_options(http);
            Ok(Arc::new(Influx::new(InfluxConfig { url: url.clone(), place, http, write_timeout, read_timeout })?))
        }
    }
}

#[cfg(test)]
impl StorageEngine {
    /// This engine, with a queue in `folder`.
    pub fn of(
        engine: Arc<dyn Engine>,
        folder: &std::path::Path,
        window: Duration,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Arc<Self>> {
        let (folder, external) = (folder.join(QUEUE_FOLDER), Labels::empty());
        let queue = QueueConfig { folder, bytes_max: 1 << 20, sync_each: false, sync: false, external };
        Ok(Arc::new(Self {
            engine,
            queue: Arc::new(Queue::open(queue, Arc::new(RealDisk))?),
            health: Arc::default(),
            shipper: Arc::default(),
            sync_every: None,
            external: Labels::empty(),
            window,
            pass_queries: true,
            unseen: Mutex::default(),
            lost: Mutex::default(),
            clock,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_behind_by_what_waits_also_where_nobody_knows_since_when() {
        let now = TimestampMs(1_000_000);
        let queue = |bytes, waiting_since: Option<i64>| {
            let waiting_since = waiting_since.map(TimestampMs);
            is_behind(&QueueStats { bytes, waiting_since, ..QueueStats::default() }, now)
        };
        assert!(!queue(0, None));
        assert!(!queue(10, Some(999_000)));
        assert!(queue(10, Some(900_000)));
        assert!(queue(10, None));
    }
}
