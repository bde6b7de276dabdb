//! Upkeep of what is kept: forced writes, blocks, retention.

use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::Clock;
use belfry_state::State;
use belfry_store::Store;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::retention::{Retention, rough};

/// How often the store looks for work.
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);
/// How often blocks are looked at for merges.
const MERGE_EVERY: Duration = Duration::from_secs(30);
/// What Belfry collected itself is forced to the disk so often: nobody was told that it is kept, and a sync costs more
/// than all the scrapes before it.
const SYNC_COLLECTED_EVERY: Duration = Duration::from_secs(1);
/// Between two syncs, whatever the policy says.
const SYNC_PAUSE_MIN: Duration = Duration::from_millis(1);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// The code of the notice.
const HELD: &str = "retention_held";
/// A shorter wait is told by the log alone: a machine that is off at night is no news every morning.
const HELD_TOLD: Duration = Duration::from_secs(6 * 3600);

/// What is kept up.
pub struct Upkeep {
    /// Samples.
    pub store: Arc<Store>,
    /// Everything else.
    pub state: Arc<State>,
    /// By which time is judged what is too old.
    pub retention: Arc<Mutex<Retention>>,
    /// Is told when nothing is deleted.
    pub app: Arc<App>,
    /// `None` where the fsync policy wants no syncs beside the store's own.
    pub syncing: Option<Syncing>,
}

/// Forces to the disk what was written, every so often: on a thread of its own, since waking the reactor and one of its
/// threads for each costs more than the sync. Under `fsync = "always"` the store syncs by itself before it answers.
pub struct Syncing(std::thread::JoinHandle<()>);

impl Syncing {
    /// Until `stop`. Fails where there can be no thread: without it more would be lost at a power cut than the config
    /// promises, so Belfry is not to start then.
    pub fn start(store: Arc<Store>, every: Duration, stop: CancellationToken) -> std::io::Result<Self> {
        let work = move || {
            store.wake_to_sync(std::thread::current());
            while !stop.is_cancelled() {
                if !store.owes_sync() {
                    std::thread::park_timeout(every.max(SYNC_COLLECTED_EVERY));
                }
                if store.owes_sync() && !stop.is_cancelled() {
                    std::thread::park_timeout(every.max(SYNC_PAUSE_MIN));
                }
                // The store's health tells of failures too.
                if let Err(error) = store.sync() {
                    tracing::error!(%error, "the log cannot be synced; it is tried again");
                }
            }
        };
        std::thread::Builder::new().name("sync".to_owned()).spawn(work).map(Self)
    }

    /// Waits for its last sync.
    async fn end(self) {
        self.0.thread().unpark();
        let _ = tokio::task::spawn_blocking(|| self.0.join()).await;
    }
}

/// Maintains, merges and prunes until `stop`, and waits for the syncs' end then.
pub async fn run(mut upkeep: Upkeep, clock: Arc<dyn Clock>, stop: CancellationToken) {
    // Merging may take minutes: it must not hold up the rest.
    tokio::join!(keep_up(&upkeep, clock, stop.clone()), merge(upkeep.store.clone(), stop));
    if let Some(syncing) = upkeep.syncing.take() {
        syncing.end().await;
    }
}

/// Merges blocks whenever there are some to merge.
async fn merge(store: Arc<Store>, stop: CancellationToken) {
    let mut tick = every(MERGE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let merging = store.clone();
        let mut work = tokio::task::spawn_blocking(move || merging.compact());
        let done = tokio::select! {
            done = &mut work => done,
            () = stop.cancelled() => {
                store.stop_compaction();
                work.await
            }
        };
        match done {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "merging blocks failed; it is tried again"),
            Err(error) => tracing::error!(%error, "merging blocks failed"),
        }
    }
}

async fn keep_up(upkeep: &Upkeep, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut maintain = every(MAINTAIN_EVERY);
    let mut prune = every(PRUNE_EVERY);
    loop {
        let (store, clock, retention) = (upkeep.store.clone(), clock.clone(), upkeep.retention.clone());
        // The disk is waited for on a thread that may: never on a worker of the reactor. The store's health tells of
        // failures.
        let work = tokio::select! {
            () = stop.cancelled() => return,
            _ = maintain.tick() => tokio::task::spawn_blocking(move || {
                let begin = Instant::now();
                let (now, judged) = retention.lock().look(&*clock);
                let done = store.upkeep_judging(now, judged).map(drop).map_err(|e| e.to_string());
                store.note_maintain(begin.elapsed());
                done
            }),
            _ = prune.tick() => {
                let state = upkeep.state.clone();
                tokio::spawn(async move {
                    let looked = tokio::task::spawn_blocking(move || retention.lock().look(&*clock).1).await;
                    let judged = looked.map_err(|e| e.to_string())?;
                    state.prune(judged, belfry_state::Retention::default()).await.map(drop).map_err(|e| e.to_string())
                })
            }
        };
        match work.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error, "upkeep failed; it is tried again"),
            Err(error) => tracing::error!(%error, "upkeep failed"),
        }
        tell(upkeep);
    }
}

/// Says when nothing is deleted because of the clock.
fn tell(upkeep: &Upkeep) {
    let app = &upkeep.app;
    let is_told = app.notices.lock().contains_key(HELD);
    match upkeep.retention.lock().wait() {
        None if is_told => app.no_notice(HELD),
        Some(wait) if !is_told && wait >= HELD_TOLD => app.notice(Notice {
            code: HELD.to_owned(),
            level: NoticeLevel::Warning,
            title: "Nothing is deleted by age".to_owned(),
            text: format!(
                "The clock jumped, or Belfry did not run for a while: before something is deleted or downsampled by it, it \
                 has to go on evenly for {}.",
                rough(wait)
            ),
            help: Some("nothing, if the time is right; else set the clock".to_owned()),
            since_ms: app.clock.now(),
        }),
        _ => {}
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
