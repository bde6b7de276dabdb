//! What people see of a plugin.
//!
//! Invariant: reading it never waits for a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::{MetricMetadata, TimestampMs};
use parking_lot::Mutex;
use serde::Serialize;

use crate::capabilities::log::{LogLine, LogRing};
use crate::error::CallError;
use crate::inspect::Kind;
use crate::instance::Instance;
use crate::spec::Grants;

/// Where a plugin stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// It answers.
    #[default]
    Running,
    /// It failed and rests.
    BackingOff,
    /// It failed so often that it is tried only now and then.
    Failed,
    /// It finishes what it has.
    Draining,
    /// It was removed.
    Gone,
}

impl PluginState {
    /// As in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Failed => "failed",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// A plugin at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginStatus {
    /// Its name in the config.
    pub name: String,
    /// Where it stands.
    pub state: PluginState,
    /// Its own version.
    pub version: String,
    /// One sentence about it.
    pub summary: String,
    /// BLAKE3 of its component, in hex.
    pub digest: String,
    /// Bytes of its component.
    pub component_bytes: usize,
    /// The contract it was built against.
    pub contract: String,
    /// What it can do.
    pub kinds: Vec<Kind>,
    /// Capabilities it asks for.
    pub imports: Vec<String>,
    /// What it was given, with what its config implies.
    pub grants: Grants,
    /// Calls, good and bad.
    pub calls: u64,
    /// Bad calls by class: `refused`, `timed_out`, `trapped`, `backing_off`, `busy`.
    pub errors: BTreeMap<&'static str, u64>,
    /// The last bad call.
    pub last_error: Option<(TimestampMs, String)>,
    /// Wall time of all calls.
    pub call_time_total: Duration,
    /// Wall time of the last one.
    pub call_time_last: Duration,
    /// Wall time of the longest.
    pub call_time_max: Duration,
    /// Time spent running.
    pub cpu_time: Duration,
    /// Linear memories now.
    pub memory_bytes: usize,
    /// The most they were, in any instance.
    pub memory_peak_bytes: usize,
    /// Its bound.
    pub memory_limit_bytes: usize,
    /// Series open now.
    pub open_series: usize,
    /// Samples it has brought, stale markers included.
    pub samples: u64,
    /// Instances made after the first, because one failed or was renewed.
    pub restarts: u64,
    /// Hot swaps.
    pub swaps: u64,
    /// Calls that wait.
    pub queued: usize,
    /// Log lines dropped.
    pub log_lines_dropped: u64,
    /// Its last log lines, oldest first.
    pub log: Vec<LogLine>,
}

/// The class of an error, for counting.
pub(crate) fn class(error: &CallError) -> &'static str {
    match error {
        CallError::Refused { .. } => "refused",
        CallError::TimedOut { .. } => "timed_out",
        CallError::Trapped { .. } => "trapped",
        CallError::BackingOff { .. } => "backing_off",
        CallError::WrongKind { .. } => "wrong_kind",
        CallError::Busy { .. } => "busy",
        CallError::Gone { .. } => "gone",
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    pub state: PluginState,
    pub calls: u64,
    pub errors: BTreeMap<&'static str, u64>,
    pub last_error: Option<(TimestampMs, String)>,
    pub call_time_total: Duration,
    pub call_time_last: Duration,
    pub call_time_max: Duration,
    pub cpu_time: Duration,
    pub memory_bytes: usize,
    pub memory_peak_bytes: usize,
    pub open_series: usize,
    pub samples: u64,
    pub restarts: u64,
    pub swaps: u64,
    pub declared: Vec<MetricMetadata>,
}

/// Written by the plugin's task, read by anyone.
pub(crate) struct Board {
    pub counts: Mutex<Counts>,
    pub ring: Arc<Mutex<LogRing>>,
}

impl Board {
    pub(crate) fn new(ring: Arc<Mutex<LogRing>>) -> Self {
        Self { counts: Mutex::default(), ring }
    }

    pub(crate) fn error(&self, at: TimestampMs, error: &CallError) {
        let mut c = self.counts.lock();
        *c.errors.entry(class(error)).or_default() += 1;
        // That it rests or is busy must not hide why.
        if !matches!(error, CallError::BackingOff { .. } | CallError::Busy { .. } | CallError::Gone { .. }) {
            c.last_error = Some((at, error.to_string()));
        }
    }

    /// A call has run in `instance`.
    pub(crate) fn ran(&self, instance: &Instance) {
        let state = instance.state();
        let usage = instance.usage;
        let mut c = self.counts.lock();
        c.calls += 1;
        c.call_time_total += usage.wall;
        c.call_time_last = usage.wall;
        c.call_time_max = c.call_time_max.max(usage.wall);
        c.cpu_time += usage.cpu;
        c.memory_bytes = state.memory.bytes();
        c.memory_peak_bytes = c.memory_peak_bytes.max(state.memory.peak());
        c.open_series = state.sink.open_series();
        if c.declared.len() != state.sink.declared().count() {
            c.declared = state.sink.declared().cloned().collect();
        }
    }

    pub(crate) fn set_state(&self, state: PluginState) {
        let mut c = self.counts.lock();
        // A call that ends well while it drains does not make it stay.
        if c.state != PluginState::Draining || state == PluginState::Gone {
            c.state = state;
        }
    }
}
