//! The task that owns a plugin's instance: one call after the other, a fresh instance after a failure, swaps in between.
//!
//! Invariant: calls are answered in the order they came, each exactly once; a swap takes effect between two calls, so
//! none is missed; series that are live when an instance goes are handed to the next.
//! Not here: how a call is made (`calls.rs`), when it is made.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_model::sample::stale_nan;
use belfry_model::{Batch, SeriesRef};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use crate::breaker::Breaker;
use crate::calls::Answer;
use crate::capabilities::sink::Carry;
use crate::error::CallError;
use crate::instance::Instance;
use crate::prepared::Prepared;
use crate::status::{Board, PluginState};
use futures::future::BoxFuture;

/// Calls that may wait for one plugin: a schedule, a retry and a few people; more would only wait longer.
pub(crate) const PLUGIN_QUEUE_CALLS_MAX: usize = 32;

/// What is left to do once the books are written: tell the caller.
type Reply = Box<dyn FnOnce() + Send>;

/// How a call ended, for the task.
pub(crate) enum Outcome {
    Good {
        samples: usize,
    },
    Refused(CallError),
    Failed(CallError),
    /// The caller went away before it ended.
    Dropped,
}

/// A call with its caller behind it.
#[async_trait]
pub(crate) trait Work: Send {
    /// There is no instance for it.
    fn refuse(self: Box<Self>, error: CallError);
    /// Runs it.
    async fn run(self: Box<Self>, instance: &mut Instance, prepared: &Prepared) -> (Outcome, Reply);
}

/// A [`Work`] that answers an `R`.
pub(crate) struct Typed<R, F> {
    pub call: F,
    pub samples: fn(&R) -> usize,
    /// The caller's: what the plugin does is part of it.
    pub span: tracing::Span,
    pub reply: oneshot::Sender<Result<R, CallError>>,
}

#[async_trait]
impl<R, F> Work for Typed<R, F>
where
    R: Send + 'static,
    F: for<'a> FnOnce(&'a mut Instance) -> BoxFuture<'a, Answer<R>> + Send,
{
    fn refuse(self: Box<Self>, error: CallError) {
        let _ = self.reply.send(Err(error));
    }

    async fn run(self: Box<Self>, instance: &mut Instance, prepared: &Prepared) -> (Outcome, Reply) {
        let Self { call, samples, span, mut reply } = *self;
        let answer = tokio::select! {
            biased;
            answer = call(instance).instrument(span) => answer,
            () = reply.closed() => return (Outcome::Dropped, Box::new(|| ())),
        };
        let (outcome, answer) = match answer {
            Ok(Ok(value)) => (Outcome::Good { samples: samples(&value) }, Ok(value)),
            Ok(Err(error)) => (Outcome::Refused(error.clone()), Err(error)),
            Err(failure) => {
                let error = prepared.failed(failure);
                (Outcome::Failed(error.clone()), Err(error))
            }
        };
        (outcome, Box::new(move || drop(reply.send(answer))))
    }
}

/// What the task is told.
pub(crate) enum Message {
    Work(Box<dyn Work>),
    /// From the next call on, this one.
    Swap {
        instance: Box<Instance>,
        prepared: Arc<Prepared>,
        done: oneshot::Sender<()>,
    },
    /// The store has forgotten series: open them again.
    Reopen,
    /// The last message: answers stale markers for what was live.
    Stop {
        done: oneshot::Sender<Batch>,
    },
}

pub(crate) struct Actor {
    prepared: Arc<Prepared>,
    instance: Option<Instance>,
    carry: Carry,
    breaker: Breaker,
    board: Arc<Board>,
}

/// Starts the task of a plugin whose first instance is configured.
pub(crate) fn start(prepared: Arc<Prepared>, instance: Instance, board: Arc<Board>) -> mpsc::Sender<Message> {
    let (tx, rx) = mpsc::channel(PLUGIN_QUEUE_CALLS_MAX);
    board.set_state(PluginState::Running);
    let actor = Actor { prepared, instance: Some(instance), carry: Carry::new(), breaker: Breaker::default(), board };
    tokio::spawn(actor.run(rx));
    tx
}

impl Actor {
    async fn run(mut self, mut rx: mpsc::Receiver<Message>) {
        while let Some(message) = rx.recv().await {
            match message {
                Message::Work(work) => self.work(work).await,
                Message::Swap { instance, prepared, done } => {
                    self.retire();
                    let mut instance = *instance;
                    instance.state_mut().sink.adopt(std::mem::take(&mut self.carry));
                    (self.instance, self.prepared) = (Some(instance), prepared);
                    self.breaker.succeeded();
                    self.board.counts.lock().swaps += 1;
                    self.board.set_state(PluginState::Running);
                    let _ = done.send(());
                }
                Message::Reopen => self.reopen(),
                Message::Stop { done } => {
                    self.retire();
                    self.board.set_state(PluginState::Gone);
                    let _ = done.send(self.last_batch());
                    break;
                }
            }
        }
    }

    async fn work(&mut self, work: Box<dyn Work>) {
        let clock = self.prepared.runtime.shared.services.clock.clone();
        if self.instance.is_none()
            && let Err(error) = self.fresh().await
        {
            self.board.error(clock.now(), &error);
            return work.refuse(error);
        }
        let Some(instance) = self.instance.as_mut() else { return };
        let (outcome, reply) = work.run(instance, &self.prepared).await;
        self.board.ran(instance);
        match outcome {
            Outcome::Good { samples } => {
                self.breaker.succeeded();
                self.board.set_state(PluginState::Running);
                self.board.counts.lock().samples += samples as u64;
            }
            // A guest that says no is well.
            Outcome::Refused(error) => {
                self.breaker.succeeded();
                self.board.set_state(PluginState::Running);
                self.board.error(clock.now(), &error);
            }
            Outcome::Failed(error) => {
                tracing::warn!(plugin = &*self.prepared.name, "{error}");
                self.board.error(clock.now(), &error);
                self.failed();
            }
            // Half-way through a call: not to be used again, but no fault of the guest.
            Outcome::Dropped => self.retire(),
        }
        let now = clock.monotonic();
        if self.instance.as_ref().is_some_and(|i| i.is_due_for_renewal(now)) {
            self.retire();
        }
        reply();
    }

    /// Makes an instance, if it is time.
    async fn fresh(&mut self) -> Result<(), CallError> {
        let now = self.prepared.runtime.shared.services.clock.monotonic();
        if let Err(retry_after) = self.breaker.ready(now) {
            return Err(CallError::BackingOff {
                plugin: self.prepared.spec.name.clone(),
                failures: self.breaker.failures(),
                retry_after,
            });
        }
        match self.prepared.next_instance(std::mem::take(&mut self.carry)).await {
            Ok(instance) => {
                self.instance = Some(instance);
                self.board.counts.lock().restarts += 1;
                Ok(())
            }
            Err((error, carry)) => {
                self.carry = carry;
                self.failed();
                Err(error)
            }
        }
    }

    /// The instance failed: it goes, and the next one comes later.
    fn failed(&mut self) {
        self.retire();
        self.breaker.failed(self.prepared.runtime.shared.services.clock.monotonic());
        let state = if self.breaker.is_open() { PluginState::Failed } else { PluginState::BackingOff };
        self.board.set_state(state);
    }

    /// The instance goes; its live series stay with the task.
    fn retire(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.carry = instance.into_carry();
        }
    }

    fn reopen(&mut self) {
        let Some(instance) = self.instance.as_mut() else { return };
        let name = self.prepared.name.clone();
        let series = self.prepared.runtime.shared.services.series.clone();
        if let Err(message) = instance.state_mut().sink.reopen(|labels| series.open(&name, labels)) {
            tracing::warn!(plugin = &*name, "cannot open its series again: {message}");
            // Without references it cannot push: a fresh instance opens what it still can.
            self.retire();
        }
    }

    /// Ends every series that is live.
    fn last_batch(&mut self) -> Batch {
        let now = self.prepared.runtime.shared.services.clock.now();
        let mut batch = Batch::at(self.prepared.name.clone(), now);
        batch.refs = self.carry.drain(..).map(|(series, _)| series).collect::<Vec<SeriesRef>>();
        batch.values = vec![stale_nan(); batch.refs.len()];
        batch
    }
}

/// Also when the task is torn down in the middle.
impl Drop for Actor {
    fn drop(&mut self) {
        self.board.set_state(PluginState::Gone);
    }
}
