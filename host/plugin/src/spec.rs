//! What a plugin is told to be: its component, config, grants and limits.
//!
//! Invariant: nothing is granted and everything is limited unless the config says otherwise.
//! Not here: how the config file spells these (`config`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use belfry_model::Labels;

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
