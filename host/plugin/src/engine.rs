//! The one wasmtime engine, and the thread that ticks its epoch.
//!
//! Invariant: every component is compiled with exactly these settings, in this process or in a child; floats and
//! relaxed SIMD give the same bits on every run, so that a guest can be replayed.
//! Not here: limits of one plugin (`instance.rs`, `limiter.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

/// How long a guest runs before it lets others run and its CPU time is looked at.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(2);
/// Ticks without any call after which the ticker sleeps until the next one.
const IDLE_TICKS: u32 = 100;
/// The guest's own stack. Deeper recursion traps.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Guest and host functions on one fiber.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Core instances and tables of an average component: a Rust one has three of the former (itself and two adapters).
const CORE_INSTANCES_PER_INSTANCE: u32 = 4;
/// Linear memories of an average component, in percent of the instances: most have one, some three.
const MEMORIES_PERCENT: u32 = 150;

/// What compiled code depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineSettings {
    /// The most that one linear memory can have.
    pub memory_slot_bytes: usize,
    /// Instances at a time.
    pub instances_max: u32,
}

/// The engine of `settings`.
pub(crate) fn engine(settings: EngineSettings) -> wasmtime::Result<Engine> {
    let instances = settings.instances_max.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE).max(64))
        .total_tables(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE).max(64))
        .total_memories((instances.saturating_mul(MEMORIES_PERCENT) / 100).max(16))
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(16)
        .max_tables_per_component(64)
        .max_tables_per_module(4)
        .max_memory_size(settings.memory_slot_bytes);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Advances the epoch while calls run. A guest only ever stops where its code looks at the epoch, so without this thread
/// an endless loop would be one.
pub(crate) struct Ticker {
    running: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Thread,
    join: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, calls, ended) = (engine.clone(), running.clone(), stop.clone());
        let join = std::thread::Builder::new().name("epoch".into()).spawn(move || {
            let mut idle = 0;
            while !ended.load(Ordering::Relaxed) {
                idle = if calls.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
                if idle > IDLE_TICKS {
                    std::thread::park();
                    idle = 0;
                }
                std::thread::sleep(EPOCH_TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { running, stop, thread: join.thread().clone(), join: Some(join) })
    }

    /// The epoch advances for as long as the answer lives.
    pub(crate) fn call(&self) -> Running {
        if self.running.fetch_add(1, Ordering::Relaxed) == 0 {
            self.thread.unpark();
        }
        Running(self.running.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

/// A call is running.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
