//! Plugins: WebAssembly components, sandboxed, limited, swapped while running.
//!
//! Invariant: a guest gets exactly what its grants say; whatever it does, its neighbours keep their schedule.
//! Not here: when a plugin is called (`ingest`, `notify`, `reports` decide), what becomes of its samples.
//! `wasmtime` appears in no other crate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::{Labels, SeriesRef, TimestampMs};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// One that this binary (or its plugin folder) carries.
    Builtin(String),
    /// A `.wasm` file.
    File(PathBuf),
}

/// A secret's value and where it may go. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The value.
    pub value: String,
    /// Origins (`https://host[:port]`) it may be sent to; or empty: to every granted origin of the plugin.
    pub origins: Vec<String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// What a plugin may use. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Origins (`https://api.github.com`, `http://127.0.0.1:9000`; `*.` prefixes a host's subdomains). An origin that
    /// names a loopback or private address grants that address.
    pub http: Vec<String>,
    /// `cpu`, `memory`, `disk`, `network`, `process`, `sensors`, `host`.
    pub system: Vec<String>,
    /// May read every series (`query`).
    pub query: bool,
    /// Addresses (or `*@domain`) that mail may be sent to; `*` for any.
    pub mail: Vec<String>,
    /// May keep state of its own (`kv`).
    pub kv: bool,
}

/// Bounds of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of a call.
    pub call_time: Duration,
    /// CPU time of a call.
    pub cpu_time: Duration,
    /// All linear memories together.
    pub memory_bytes: usize,
    /// Bytes copied over the boundary in a call.
    pub hostcall_bytes: usize,
    /// Log lines of a call; more are dropped and counted.
    pub log_lines: u32,
    /// Bytes of a log line.
    pub log_line_bytes: usize,
    /// Series open at a time.
    pub series: u32,
    /// Samples of a call.
    pub samples_per_call: u32,
    /// HTTP requests of a call.
    pub http_requests: u32,
    /// HTTP requests at a time.
    pub http_concurrent: u32,
    /// Bytes of an HTTP answer.
    pub http_response_bytes: usize,
    /// Bytes of keys and values kept.
    pub kv_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_time: Duration::from_secs(5),
            cpu_time: Duration::from_secs(2),
            memory_bytes: 32 << 20,
            hostcall_bytes: 8 << 20,
            log_lines: 100,
            log_line_bytes: 4 << 10,
            series: 10_000,
            samples_per_call: 100_000,
            http_requests: 64,
            http_concurrent: 8,
            http_response_bytes: 4 << 20,
            kv_bytes: 1 << 20,
        }
    }
}

/// A plugin: a name, a component, a config, grants and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// Unique.
    pub name: String,
    /// Its component.
    pub source: ComponentSource,
    /// JSON object.
    pub config: String,
    /// What it may use.
    pub grants: Grants,
    /// Its bounds.
    pub limits: Limits,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// Set by the host on every series; the plugin cannot override them.
    pub host_labels: Labels,
}

/// Opens series for a plugin (`ingest` behind an adapter): applies names, host labels and the total limit of series.
pub trait SeriesOpener: Send + Sync {
    /// The reference of a series, or why there is none. `producer` is the plugin's name.
    fn open(&self, producer: &str, labels: &Labels) -> Result<SeriesRef, String>;
}

/// Keeps plugins' own small state.
#[async_trait]
pub trait KvStore: Send + Sync {
    /// The value of `key`.
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// Sets or (with `None`) deletes it; refuses when the plugin would keep more than `bytes_max`.
    async fn put(&self, plugin: &str, key: &str, value: Option<Vec<u8>>, bytes_max: usize) -> Result<(), String>;
    /// Keys with `prefix`, in order.
    async fn keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, String>;
}

/// Points of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPoints {
    /// Its labels.
    pub labels: Labels,
    /// Times and values.
    pub points: Vec<(TimestampMs, f64)>,
}

/// One alert's life from its start to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEpisode {
    /// Name of the rule.
    pub rule: String,
    /// How bad.
    pub severity: String,
    /// Its labels.
    pub labels: Labels,
    /// When its condition began to hold.
    pub started: TimestampMs,
    /// When it fired.
    pub fired: Option<TimestampMs>,
    /// When it was resolved.
    pub resolved: Option<TimestampMs>,
}

/// Answers plugins' reads of what Belfry knows.
#[async_trait]
pub trait QueryService: Send + Sync {
    /// PromQL at an instant.
    async fn instant(&self, expression: &str, at: TimestampMs) -> Result<Vec<QueryPoints>, String>;
    /// PromQL over a range.
    async fn range(
        &self,
        expression: &str,
        start: TimestampMs,
        end: TimestampMs,
        step: Duration,
    ) -> Result<Vec<QueryPoints>, String>;
    /// Alerts that were active in the range.
    async fn alerts(&self, start: TimestampMs, end: TimestampMs) -> Result<Vec<AlertEpisode>, String>;
}

/// What the host gives to all plugins.
#[derive(Clone)]
pub struct HostServices {
    /// Time.
    pub clock: Arc<dyn belfry_model::Clock>,
    /// Series.
    pub series: Arc<dyn SeriesOpener>,
    /// State.
    pub kv: Arc<dyn KvStore>,
    /// Reads.
    pub query: Arc<dyn QueryService>,
}

/// A plugin call failed. The variants differ in what the caller must do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// The guest answered "no"; its instance is still healthy.
    #[error("plugin `{plugin}`: {message}")]
    Refused {
        /// Its name.
        plugin: String,
        /// What it said.
        message: String,
        /// Machine-readable.
        code: String,
        /// The same call may succeed later.
        retryable: bool,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// The call used up its time; the instance is thrown away.
    #[error("plugin `{plugin}` used up its {limit:?} time limit")]
    TimedOut {
        /// Its name.
        plugin: String,
        /// The limit.
        limit: Duration,
    },
    /// The instance may be half-updated and is thrown away.
    #[error("plugin `{plugin}` trapped: {reason}")]
    Trapped {
        /// Its name.
        plugin: String,
        /// What happened.
        reason: String,
    },
    /// It crashed too often; a new instance is made after `retry_after`.
    #[error("plugin `{plugin}` is restarting after {failures} failures; next try in {retry_after:?}")]
    BackingOff {
        /// Its name.
        plugin: String,
        /// In a row.
        failures: u32,
        /// Until the next instance.
        retry_after: Duration,
    },
    /// It does not export that kind.
    #[error("plugin `{plugin}` is no {kind}")]
    WrongKind {
        /// Its name.
        plugin: String,
        /// What was wanted.
        kind: &'static str,
    },
    /// Its queue is full.
    #[error("plugin `{plugin}` is busy: {queued} calls wait already")]
    Busy {
        /// Its name.
        plugin: String,
        /// How many wait.
        queued: usize,
    },
    /// It was removed.
    #[error("plugin `{plugin}` is gone")]
    Gone {
        /// Its name.
        plugin: String,
    },
}

/// A component was not loaded; the one before it, if any, goes on.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("plugin `{plugin}`: {reason}\n  help: {help}")]
pub struct LoadError {
    /// Name of the plugin.
    pub plugin: String,
    /// What is wrong.
    pub reason: String,
    /// How to mend it.
    pub help: String,
}
