//! Plugins and what they may, did and said.

use std::collections::BTreeMap;

use belfry_model::TimestampMs;
use schemars::JsonSchema;
use serde::Serialize;

/// Where a plugin stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Being compiled or configured.
    #[default]
    Starting,
    /// Ready for calls.
    Running,
    /// It crashed; a fresh instance is made after a pause.
    Restarting,
    /// It could not be loaded; there is no older one.
    Failed,
    /// It is being removed.
    Draining,
}

/// One line of `GET /api/plugins` and of the payload of the event `plugins` (the whole list, without `detail`);
/// `GET /api/plugins/{name}` answers one with `detail`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PluginView {
    /// Unique.
    pub name: String,
    /// Where the component comes from (`builtin:collector-system`, a path).
    pub source: String,
    /// Where it stands.
    pub state: PluginState,
    /// Why it does not run, or why a newer component was refused; empty when all is well.
    pub reason: String,
    /// The title that the component tells of itself.
    pub title: String,
    /// The version that it tells of itself.
    pub version: String,
    /// BLAKE3 of the component, hex.
    pub digest: String,
    /// Bytes of the component.
    pub component_bytes: u64,
    /// `collector`, `metric_source`, `alert_handler`, `report_handler`, `report_section`.
    pub kinds: Vec<String>,
    /// Capabilities that it imports: what it asks for.
    pub imports: Vec<String>,
    /// Capabilities that it asks for and was given nothing of.
    pub denied: Vec<String>,
    /// When this component was loaded.
    #[schemars(with = "Option<i64>")]
    pub loaded_ms: Option<TimestampMs>,
    /// Calls since the start.
    pub calls_total: u64,
    /// Calls that failed, by how (`refused`, `timed_out`, `trapped`); zeros are left out.
    pub errors: BTreeMap<String, u64>,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it happened.
    #[schemars(with = "Option<i64>")]
    pub last_error_ms: Option<TimestampMs>,
    /// Wall time of the last call.
    pub last_call_seconds: Option<f64>,
    /// Mean wall time of calls.
    pub average_call_seconds: Option<f64>,
    /// The longest call.
    pub max_call_seconds: Option<f64>,
    /// CPU time of all calls.
    pub cpu_seconds_total: f64,
    /// All linear memories now.
    pub memory_bytes: u64,
    /// The most they ever were.
    pub memory_peak_bytes: u64,
    /// Fresh instances after a crash.
    pub restarts_total: u64,
    /// Times another component took over.
    pub swaps_total: u64,
    /// Series it has open.
    pub series: u64,
    /// What only the page of one plugin shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<PluginDetail>,
}

/// What only the page of one plugin shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PluginDetail {
    /// What the component says of itself.
    pub description: String,
    /// By capability, the values granted (`http` → origins, `system` → topics, `query`/`kv` → `["granted"]`).
    pub grants: BTreeMap<String, Vec<String>>,
    /// Times it used a capability that it was not granted, by capability.
    pub denied_calls: BTreeMap<String, u64>,
    /// Its bounds by name, with their unit in the name (`memory_bytes`, `call_time_seconds`).
    pub limits: BTreeMap<String, f64>,
    /// Its config. Secrets are redacted before they come here.
    pub config: serde_json::Value,
    /// Names of its secrets with the origins they may go to; never a value.
    pub secrets: BTreeMap<String, Vec<String>>,
    /// The last log lines, oldest first; at most [`LOG_LINES_MAX`].
    #[schemars(length(max = LOG_LINES_MAX))]
    pub log: Vec<LogLine>,
    /// Log lines dropped since the start.
    pub log_dropped_total: u64,
    /// Components it ran, newest first.
    pub history: Vec<ComponentRun>,
}

/// Log lines that a plugin's page shows.
pub const LOG_LINES_MAX: usize = 200;

/// One log line of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LogLine {
    /// When.
    #[schemars(with = "i64")]
    pub at_ms: TimestampMs,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it said.
    pub message: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

/// A time in which a plugin ran one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ComponentRun {
    /// BLAKE3, hex.
    pub digest: String,
    /// The version it tells of itself.
    pub version: String,
    /// From when.
    #[schemars(with = "i64")]
    pub from_ms: TimestampMs,
    /// Until when; `null` for now.
    #[schemars(with = "Option<i64>")]
    pub to_ms: Option<TimestampMs>,
}
