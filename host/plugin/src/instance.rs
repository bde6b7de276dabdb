//! One instance: a store, its functions, and one call at a time under all limits.
//!
//! Invariant: a call ends, within its wall and CPU time, whatever the guest does; after a failure the instance is not
//! used again (its memory may be half-updated).
//! Not here: what follows a failure (`actor.rs`), what a call means (`calls.rs`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use belfry_model::TimestampMs;
use futures::future::BoxFuture;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::budget::{CpuBudget, PollClock};
use crate::capabilities::http::HttpState;
use crate::capabilities::log::LogState;
use crate::capabilities::random::RandomStream;
use crate::capabilities::sink::{Carry, Phase, SinkState};
use crate::component::Exports;
use crate::convert;
use crate::inspect::Kind;
use crate::limiter::MemoryLimiter;
use crate::prepared::Prepared;
use crate::state::{HANDLES_MAX, InstanceState};

/// Renewed when its memory has once been this near its limit (wasm memory never shrinks) …
const RENEW_MEMORY_EIGHTHS: usize = 7;
/// … but not before it has served this many calls, so that a plugin that needs its memory is not renewed at each.
const RENEW_CALLS_MIN: u64 = 1_000;
/// Renewed when this old: what leaks slowly never gets far.
const RENEW_AGE: Duration = Duration::from_secs(24 * 3600);

/// Why a call did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Wall or CPU time is used up.
    TimedOut(Duration),
    /// It trapped, or did what traps.
    Trapped(String),
}

/// What the last call used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Wall time.
    pub wall: Duration,
    /// Time spent running, in the guest or in the host for it.
    pub cpu: Duration,
}

/// A live instance.
pub(crate) struct Instance {
    store: Store<InstanceState>,
    exports: Exports,
    prepared: Arc<Prepared>,
    born: Duration,
    calls: u64,
    /// Of the last call.
    pub usage: Usage,
}

impl Instance {
    /// Instantiates, without `configure`.
    pub(crate) async fn new(prepared: &Arc<Prepared>, carry: Carry) -> Result<Self, (Failure, Carry)> {
        let runtime = &prepared.runtime;
        let spec = &prepared.spec;
        let mut seed = [0; 32];
        if runtime.random.secure_random.fill(&mut seed).is_err() {
            return Err((Failure::Trapped("the system gives no randomness".to_owned()), carry));
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let state = InstanceState {
            plugin: prepared.name.clone(),
            grants: prepared.grants(),
            limits: prepared.limits.clone(),
            secrets: prepared.secrets.clone(),
            host_labels: spec.host_labels.clone(),
            shared: runtime.shared.clone(),
            table,
            log: LogState::new(prepared.ring.clone()),
            random: RandomStream::from_seed(&seed),
            sink: SinkState::new(carry),
            http: HttpState::default(),
            memory: MemoryLimiter::new(spec.limits.memory_bytes),
            cpu: CpuBudget::new(spec.limits.cpu_time),
        };
        let mut store = Store::new(&runtime.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(spec.limits.hostcall_bytes);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|mut store| {
            // Out of budget: stop. Otherwise let others run first: guests that spin must not hold all workers. Tokio's
            // own yield also has timers and sockets looked at, which a busy worker else does once in 61 turns.
            Ok(if store.data_mut().cpu.tick() {
                UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
            } else {
                UpdateDeadline::Interrupt
            })
        });
        let mut usage = Usage::default();
        let started = guarded(
            prepared,
            &mut store,
            Phase::Describe,
            runtime.shared.services.clock.now(),
            &mut usage,
            &prepared.linked,
            |linked, store| Box::pin(linked.instantiate(store)),
        )
        .await;
        match started {
            Ok(exports) => Ok(Self {
                store,
                exports,
                prepared: prepared.clone(),
                born: runtime.shared.services.clock.monotonic(),
                calls: 0,
                usage,
            }),
            Err(failure) => Err((failure, store.into_data().sink.into_carry())),
        }
    }

    /// One call under all limits.
    pub(crate) async fn call<R: Send>(
        &mut self,
        phase: Phase,
        at: TimestampMs,
        f: impl for<'a> FnOnce(&'a Exports, &'a mut Store<InstanceState>) -> BoxFuture<'a, wasmtime::Result<R>> + Send,
    ) -> Result<R, Failure> {
        let Self { store, exports, prepared, usage, .. } = self;
        self.calls += 1;
        guarded(prepared, store, phase, at, usage, &*exports, f).await
    }

    /// Does its component export this kind?
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.prepared.linked.info.kinds.contains(&kind)
    }

    /// Its capabilities' state.
    pub(crate) fn state(&self) -> &InstanceState {
        self.store.data()
    }

    /// Its capabilities' state.
    pub(crate) fn state_mut(&mut self) -> &mut InstanceState {
        self.store.data_mut()
    }

    /// Should a fresh one take its place?
    pub(crate) fn is_due_for_renewal(&self, now: Duration) -> bool {
        let limit = self.prepared.spec.limits.memory_bytes;
        is_worn(now.saturating_sub(self.born), self.calls, self.state().memory.peak(), limit)
    }

    /// The instance goes; its live series stay to be taken over.
    pub(crate) fn into_carry(self) -> Carry {
        self.store.into_data().sink.into_carry()
    }
}

/// Old, or near its memory's limit after long service.
fn is_worn(age: Duration, calls: u64, peak: usize, limit: usize) -> bool {
    age >= RENEW_AGE || (calls >= RENEW_CALLS_MIN && peak >= limit / 8 * RENEW_MEMORY_EIGHTHS)
}

/// Runs guest code: counters start again, the epoch ticks, wall time is bounded.
async fn guarded<R, C: Sync>(
    prepared: &Prepared,
    store: &mut Store<InstanceState>,
    phase: Phase,
    at: TimestampMs,
    usage: &mut Usage,
    callee: &C,
    f: impl for<'a> FnOnce(&'a C, &'a mut Store<InstanceState>) -> BoxFuture<'a, wasmtime::Result<R>>,
) -> Result<R, Failure> {
    let limits = &prepared.spec.limits;
    store.data_mut().begin_call(phase, at);
    store.set_epoch_deadline(1);
    let running = prepared.runtime.ticker.call();
    let begin = Instant::now();
    let mut cpu = Duration::ZERO;
    let clock = store.data().cpu.clock.clone();
    let metered = Metered { future: f(callee, store), clock, cpu: &mut cpu };
    let ended = tokio::time::timeout(limits.call_time, metered).await;
    *usage = Usage { wall: begin.elapsed(), cpu };
    drop(running);
    let failure = match ended {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) => {
            Failure::TimedOut(limits.cpu_time)
        }
        Ok(Err(error)) => Failure::Trapped(explain(&error, store.data(), limits.memory_bytes)),
        Err(_) => Failure::TimedOut(limits.call_time),
    };
    store.data_mut().sink.abort();
    Err(failure)
}

/// Adds up the time that a future is polled for.
struct Metered<'c, F> {
    future: F,
    clock: PollClock,
    cpu: &'c mut Duration,
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begin = self.clock.begin();
        let answer = Pin::new(&mut self.future).poll(context);
        *self.cpu += begin.elapsed();
        answer
    }
}

/// What happened, for people: the trap in words, where, and a refused growth before it.
fn explain(error: &wasmtime::Error, state: &InstanceState, memory_max: usize) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it panicked or aborted".to_owned(),
        Some(Trap::StackOverflow) => "its stack overflowed".to_owned(),
        Some(trap) => trap.to_string(),
        None if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() => {
            format!("the engine has no room for another instance ({error:#}): raise `[plugins] instances`")
        }
        None => error.root_cause().to_string(),
    };
    if let Some(bytes) = state.memory.refused() {
        text.push_str(&format!(
            ", after it asked for {} of memory (`limits.memory` is {})",
            convert::bytes(bytes),
            convert::bytes(memory_max)
        ));
    }
    if let Some(name) =
        error.downcast_ref::<WasmBacktrace>().and_then(|b| b.frames().iter().find_map(|f| f.func_name()))
    {
        let short: String = name.chars().take(120).collect();
        text.push_str(&format!(", in `{short}`"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_renewed_when_old_or_full() {
        let (young, small, limit) = (Duration::from_secs(60), 10, 80);
        assert!(!is_worn(young, 1_000_000, small, limit));
        assert!(is_worn(young, RENEW_CALLS_MIN, 70, limit));
        assert!(
            !is_worn(young, RENEW_CALLS_MIN - 1, 80, limit),
            "one that needs its memory is not renewed at each call"
        );
        assert!(is_worn(RENEW_AGE, 0, small, limit));
    }
}
