//! Upkeep of what is kept: forced writes, blocks, retention.

use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_model::Clock;
use belfry_state::{Retention, State};
use belfry_store::Store;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the store looks for work.
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);
/// How often blocks are looked at for merges.
const MERGE_EVERY: Duration = Duration::from_secs(30);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// What is kept up.
pub struct Upkeep {
    /// Samples.
    pub store: Arc<Store>,
    /// Everything else.
    pub state: Arc<State>,
    /// The fsync policy's interval; `None` for no syncs beside the store's own.
    pub sync_every: Option<Duration>,
}

/// Syncs, maintains, merges and prunes until `stop`.
pub async fn run(upkeep: Upkeep, clock: Arc<dyn Clock>, stop: CancellationToken) {
    // Merging may take minutes: it must not hold up the rest.
    tokio::join!(keep_up(&upkeep, clock, stop.clone()), merge(upkeep.store.clone(), stop));
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
    let mut sync = every(upkeep.sync_every.unwrap_or(MAINTAIN_EVERY).max(Duration::from_millis(1)));
    loop {
        let store = upkeep.store.clone();
        let now = clock.now();
        // The disk is waited for on a thread that may: never on a worker of the reactor. The store's health tells of
        // failures.
        let work = tokio::select! {
            () = stop.cancelled() => return,
            _ = sync.tick(), if upkeep.sync_every.is_some() => {
                tokio::task::spawn_blocking(move || store.sync().map_err(|e| e.to_string()))
            }
            _ = maintain.tick() => tokio::task::spawn_blocking(move || {
                let begin = Instant::now();
                let done = store.upkeep(now).map(drop).map_err(|e| e.to_string());
                store.note_maintain(begin.elapsed());
                done
            }),
            _ = prune.tick() => {
                let state = upkeep.state.clone();
                tokio::spawn(async move {
                    state.prune(now, Retention::default()).await.map(drop).map_err(|e| e.to_string())
                })
            }
        };
        match work.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error, "upkeep failed; it is tried again"),
            Err(error) => tracing::error!(%error, "upkeep failed"),
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
