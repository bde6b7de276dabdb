//! The driver: the only place with loops. Sleeps until an organ is due or has an input, steps it, performs its effects.
//!
//! Invariant: effects are performed in the order in which the organ gave them; slow ones are begun, not awaited.
//! Not here: decisions.

pub mod clock_watch;
pub mod collect;
pub mod groups;
pub mod judged_time;
pub mod lock_watch;
pub mod maintain;
pub mod notify;
pub mod reports;
pub mod rules;
pub mod scrape;
pub mod series_watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Clock, Organ, TimestampMs};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Inputs that wait for an organ: answers of work it asked for, so there are never many. A sender waits for room.
pub const ORGAN_INPUTS_MAX: usize = 1_024;
/// The clock can be set while we sleep: we look at it at least this often.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What an organ is told, and who waits until it has been acted upon.
pub struct Letter<I> {
    input: I,
    done: Option<oneshot::Sender<()>>,
}

/// Tells an organ something. An organ is gone only when the process ends: then letters are dropped, and what they said
/// is found again from what is kept.
pub struct Mailbox<I>(mpsc::Sender<Letter<I>>);

impl<I> Clone for Mailbox<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The organ's end of a [`Mailbox`].
pub type Letters<I> = mpsc::Receiver<Letter<I>>;

/// A mailbox and its other end.
pub fn mailbox<I>() -> (Mailbox<I>, Letters<I>) {
    let (sender, receiver) = mpsc::channel(ORGAN_INPUTS_MAX);
    (Mailbox(sender), receiver)
}

impl<I> Mailbox<I> {
    /// Waits for room only; false when the organ is gone.
    pub async fn send(&self, input: I) -> bool {
        self.0.send(Letter { input, done: None }).await.is_ok()
    }

    /// Waits until the organ was stepped with it and every effect of that step was performed.
    pub async fn send_and_wait(&self, input: I) {
        let (done, acted) = oneshot::channel();
        if self.0.send(Letter { input, done: Some(done) }).await.is_ok() {
            let _ = acted.await;
        }
    }
}

/// Performs what an organ wants done.
#[async_trait]
pub trait Perform<E>: Send + Sync {
    /// Begins (or, where order matters, finishes) `effect`.
    async fn perform(&self, effect: E);
}

/// At most [`SLEEP_MAX`], and for all who look at the clock the same: they share one wake-up.
fn until_second(now: TimestampMs) -> Duration {
    let second = SLEEP_MAX.as_millis() as i64;
    Duration::from_millis((second - now.0.rem_euclid(second)).unsigned_abs())
}

/// Steps `organ` until `stop`; inputs that have come by then are still given to it.
pub async fn drive<O>(
    organ: Arc<Mutex<O>>,
    mut letters: Letters<O::Input>,
    hands: Arc<dyn Perform<O::Effect>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) where
    O: Organ + Send,
    O::Input: Send,
    O::Effect: Send,
{
    let mut batch = Vec::new();
    loop {
        let due = organ.lock().next_due();
        let now = clock.now();
        let pause = due.map_or(SLEEP_MAX, |t| t.since(now)).min(until_second(now));
        let stopping = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            n = letters.recv_many(&mut batch, ORGAN_INPUTS_MAX) => n == 0,
            () = tokio::time::sleep(pause) => false,
        };
        if stopping {
            letters.close();
            while let Ok(letter) = letters.try_recv() {
                batch.push(letter);
            }
        }
        let (inputs, waiting): (Vec<_>, Vec<_>) = batch.drain(..).map(|l| (l.input, l.done)).unzip();
        let effects = organ.lock().step(clock.now(), inputs);
        for effect in effects {
            hands.perform(effect).await;
        }
        for done in waiting.into_iter().flatten() {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
        if stopping {
            return;
        }
    }
}
