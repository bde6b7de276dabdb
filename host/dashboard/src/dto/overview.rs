//! Overview: the host at a glance, its notices and the charts of its page.

use std::collections::BTreeMap;

use belfry_model::{Labels, TimestampMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::schema;

/// `GET /api/overview`, and the payload of the event `overview`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Overview {
    /// Belfry's version.
    pub version: String,
    /// Name of the host it runs on.
    pub host_name: String,
    /// When the process began.
    #[schemars(with = "i64")]
    pub started_ms: TimestampMs,
    /// The host's clock when this was made: the UI counts relative times from it, not from the browser's clock.
    #[schemars(with = "i64")]
    pub now_ms: TimestampMs,
    /// Since `started_ms`, by the monotonic clock.
    pub uptime_seconds: f64,
    /// Belfry itself.
    pub process: ProcessUse,
    /// What comes in.
    pub ingest: IngestSummary,
    /// What is kept.
    pub storage: StorageSummary,
    /// Sources by health.
    pub sources: HealthCounts,
    /// Alerts by state.
    pub alerts: AlertCounts,
    /// Plugins by state.
    pub plugins: PluginCounts,
    /// Rules that are evaluated.
    pub rules: u64,
    /// Reports with a schedule.
    pub reports: u64,
    /// What a person should know and perhaps do: disk full, config refused on reload, series limit reached.
    pub notices: Vec<Notice>,
    /// The charts of the overview page, in order. Left empty in events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<ChartSpec>,
    /// The newest points of those charts.
    pub points: Vec<ChartPoints>,
}

/// What the process uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ProcessUse {
    /// Resident set.
    pub memory_resident_bytes: u64,
    /// 100 is one core.
    pub cpu_percent: Option<f64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// OS threads.
    pub threads: Option<u64>,
}

/// What comes in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct IngestSummary {
    /// Samples accepted per second, over about the last ten seconds.
    pub samples_per_second: f64,
    /// Samples accepted since the start.
    pub samples_total: u64,
    /// Samples refused or shed since the start.
    pub rejected_total: u64,
    /// Series that had a sample lately.
    pub series: u64,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct StorageSummary {
    /// Of the data folder.
    pub used_bytes: Option<u64>,
    /// On the data folder's file system.
    pub free_bytes: Option<u64>,
    /// How long samples are kept; `null` for ever.
    pub retention_seconds: Option<f64>,
    /// Blocks of old samples that became coarser.
    pub downsampled_blocks: u64,
    /// The oldest sample there is.
    #[schemars(with = "Option<i64>")]
    pub oldest_ms: Option<TimestampMs>,
}

/// Sources by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HealthCounts {
    /// See [`Health::Up`].
    pub up: u64,
    /// See [`Health::Degraded`].
    pub degraded: u64,
    /// See [`Health::Down`].
    pub down: u64,
    /// See [`Health::Unknown`].
    pub unknown: u64,
}

/// Alerts by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AlertCounts {
    /// Condition holds, not yet long enough.
    pub pending: u64,
    /// Firing.
    pub firing: u64,
    /// Resolved within the last hour.
    pub resolved_recent: u64,
    /// Firing ones by severity (`info`, `warning`, `error`, `critical`); those with none are left out.
    pub firing_by_severity: BTreeMap<String, u64>,
}

/// Plugins by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PluginCounts {
    /// See [`PluginState::Running`].
    pub running: u64,
    /// See [`PluginState::Restarting`].
    pub restarting: u64,
    /// See [`PluginState::Failed`].
    pub failed: u64,
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeLevel {
    /// Good to know.
    #[default]
    Info,
    /// Something is left out or will go wrong.
    Warning,
    /// Something does not work.
    Error,
}

/// Something a person should know of Belfry itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Notice {
    /// Stable: `disk_full`, `config_refused`, `series_limit`, `plugin_refused`, …
    pub code: String,
    /// How urgent.
    pub level: NoticeLevel,
    /// One line.
    pub title: String,
    /// The details; line breaks are kept.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Since when.
    #[schemars(with = "i64")]
    pub since_ms: TimestampMs,
}

/// How a chart is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// Lines.
    #[default]
    Line,
    /// Areas on top of each other.
    Stacked,
    /// Lines above the axis for positive values, below it for series whose query is negated.
    Mirrored,
}

/// A chart of the overview page. Its past comes from `/api/v1/query_range` with `query`; its present from events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChartSpec {
    /// Stable.
    pub id: String,
    /// Heading.
    pub title: String,
    /// PromQL; each series of its answer is a line.
    pub query: String,
    /// `percent` (0 to 100), `bytes`, `bytes_per_second`, `per_second`, `seconds`, `count` or empty.
    pub unit: String,
    /// How it is drawn.
    pub kind: ChartKind,
    /// Name of a line: `{{label}}` is replaced by the label's value.
    pub legend: String,
    /// Lower end of the axis, where it is known.
    pub min: Option<f64>,
    /// Upper end of the axis, where it is known.
    pub max: Option<f64>,
}

/// Newest points of one chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChartPoints {
    /// Of the chart.
    pub id: String,
    /// When the query was evaluated. A chart whose time did not move gets no new point.
    #[schemars(with = "i64")]
    pub at_ms: TimestampMs,
    /// One a line.
    pub values: Vec<LabelledValue>,
}

/// A value of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LabelledValue {
    /// Of the series; its name under `__name__` where it has one.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// `null` when it is not finite.
    pub value: Option<f64>,
}
