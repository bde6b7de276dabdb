//! What the host keeps for one instance: the data of its `Store`.
//!
//! Invariant: nothing here outlives the instance but what is behind an `Arc`; a call starts with fresh counters.
//! Not here: the store itself (`instance.rs`), how limits of memory are counted (`limiter.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use belfry_model::{Labels, TimestampMs};
use wasmtime::component::{HasSelf, Linker, ResourceTable};

use crate::bindings::belfry::plugin as wit;
use crate::budget::CpuBudget;
use crate::capabilities::SharedRef;
use crate::capabilities::http::HttpState;
use crate::capabilities::log::LogState;
use crate::capabilities::random::RandomStream;
use crate::capabilities::sink::{Phase, SinkState};
use crate::limiter::MemoryLimiter;
use crate::spec::{Grants, Limits, Secret};

/// Resource handles of one instance at a time, the host's (open HTTP bodies) and its own.
pub(crate) const HANDLES_MAX: usize = 1_024;

/// The data of an instance's store; every capability is an `impl` on it.
pub(crate) struct InstanceState {
    /// Name of the plugin.
    pub plugin: Arc<str>,
    /// What it may use.
    pub grants: Arc<Grants>,
    /// Its bounds.
    pub limits: Arc<Limits>,
    /// Its secrets, which it never sees.
    pub secrets: Arc<BTreeMap<String, Secret>>,
    /// Over every series it opens.
    pub host_labels: Labels,
    /// What all plugins share.
    pub shared: SharedRef,
    /// Resources the guest holds.
    pub table: ResourceTable,
    /// `log`.
    pub log: LogState,
    /// `random`.
    pub random: RandomStream,
    /// `sink`.
    pub sink: SinkState,
    /// `http`: what the current call has used.
    pub http: HttpState,
    /// Linear memories and tables.
    pub memory: MemoryLimiter,
    /// CPU time of the current call.
    pub cpu: CpuBudget,
}

impl InstanceState {
    /// A call begins: counters start again.
    pub(crate) fn begin_call(&mut self, phase: Phase, at: TimestampMs) {
        self.cpu.begin_call();
        self.memory.begin_call();
        self.log.begin_call();
        self.http.begin_call();
        self.sink.begin_call(phase, at);
    }
}

impl wit::types::Host for InstanceState {}

/// Every capability into `linker`, under the version that this host speaks; wasmtime finds it for guests of any 0.1.
pub(crate) fn add_capabilities(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type S = HasSelf<InstanceState>;
    wit::types::add_to_linker::<_, S>(linker, |s| s)?;
    wit::sink::add_to_linker::<_, S>(linker, |s| s)?;
    wit::log::add_to_linker::<_, S>(linker, |s| s)?;
    wit::clock::add_to_linker::<_, S>(linker, |s| s)?;
    wit::random::add_to_linker::<_, S>(linker, |s| s)?;
    wit::kv::add_to_linker::<_, S>(linker, |s| s)?;
    wit::http::add_to_linker::<_, S>(linker, |s| s)?;
    wit::system::add_to_linker::<_, S>(linker, |s| s)?;
    wit::query::add_to_linker::<_, S>(linker, |s| s)?;
    wit::net::add_to_linker::<_, S>(linker, |s| s)?;
    wit::mail::add_to_linker::<_, S>(linker, |s| s)?;
    Ok(())
}
