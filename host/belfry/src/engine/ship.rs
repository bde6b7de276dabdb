//! The loop that takes the queue to the engine: it has the clock, the shipper decides.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::TimestampMs;
use belfry_remote::health::ASK_AGAIN;
use belfry_remote::shipper::Step;
use tokio_util::sync::CancellationToken;

use super::{StorageEngine, view};
use crate::app::App;

/// While nothing waits the notices are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ships until `stop`. What is on its way then is sent again after the next start.
pub async fn run(app: Arc<App>, engine: Arc<StorageEngine>, stop: CancellationToken) {
    loop {
        view::tell(&app, &engine);
        let step = {
            let (engine, now) = (engine.clone(), app.clock.now());
            // The disk is waited for on a thread that may.
            tokio::task::spawn_blocking(move || engine.next_step(now)).await
        };
        let done = match step {
            Ok(Step::Send(parcel)) => {
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = engine.engine.send(&parcel.shipment) => outcome,
                };
                let (engine, now) = (engine.clone(), app.clock.now());
                tokio::task::spawn_blocking(move || engine.outcome(now, &parcel, outcome)).await
            }
            Ok(Step::WaitUntil(until)) => {
                let pause = pause(app.clock.now(), until);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => Ok(()),
                }
            }
            Ok(Step::Idle) => tokio::select! {
                () = stop.cancelled() => return,
                () = engine.queue.changed() => Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(%error, "sending to the storage engine failed; it is tried again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Looks whether an engine that could not be read can be, until `stop`.
pub async fn watch(engine: Arc<StorageEngine>, stop: CancellationToken) {
    let reader = engine.engine.reader();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.health.look(&*reader, &*engine.clock) => {}
        }
    }
}

/// At most a little at a time: the clock may be set meanwhile.
fn pause(now: TimestampMs, until: TimestampMs) -> Duration {
    until.since(now).clamp(Duration::from_millis(1), LOOK_EVERY)
}

/// Forces the queue to the disk, as often as the policy says, until `stop`.
pub async fn sync(engine: Arc<StorageEngine>, stop: CancellationToken) {
    let every = engine.sync_every;
    loop {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(every.unwrap_or(LOOK_EVERY).max(Duration::from_millis(1))), if every.is_some() => {}
        }
        let queue = engine.queue.clone();
        match tokio::task::spawn_blocking(move || queue.sync()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the queue for the storage engine cannot be synced"),
            Err(error) => tracing::error!(%error, "the queue for the storage engine cannot be synced"),
        }
        if stop.is_cancelled() {
            return;
        }
    }
}
