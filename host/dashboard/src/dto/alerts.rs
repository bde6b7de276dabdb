//! Alerts, rules and channels.

use belfry_model::{AlertState, Fingerprint, Labels, Severity, TimestampMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::schema;

/// `GET /api/alerts`, and the payload of the event `alerts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Alerts {
    /// When it was made.
    #[schemars(with = "i64")]
    pub now_ms: TimestampMs,
    /// Pending, firing and lately resolved ones; firing first, worst first, then newest first.
    pub alerts: Vec<AlertView>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AlertView {
    /// Hash of its labels.
    #[schemars(with = "schema::Fingerprint")]
    pub fingerprint: Fingerprint,
    /// Name of the rule.
    pub rule: String,
    /// How bad.
    #[schemars(with = "schema::Severity")]
    pub severity: Severity,
    /// Where it stands.
    #[schemars(with = "schema::AlertState")]
    pub state: AlertState,
    /// The value that was last compared; `null` when it is not finite.
    pub value: Option<f64>,
    /// Its rule's threshold in words (`> 90`), or empty.
    pub condition: String,
    /// Since when the condition holds.
    #[schemars(with = "i64")]
    pub active_since_ms: TimestampMs,
    /// When it fired.
    #[schemars(with = "Option<i64>")]
    pub fired_ms: Option<TimestampMs>,
    /// When it was resolved.
    #[schemars(with = "Option<i64>")]
    pub resolved_ms: Option<TimestampMs>,
    /// `alertname`, `severity`, the series' labels and the rule's.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// For people: `summary`, `description`.
    #[schemars(with = "schema::Labels")]
    pub annotations: Labels,
    /// Who was told, newest first; at most [`DELIVERIES_PER_ALERT_MAX`].
    #[schemars(length(max = DELIVERIES_PER_ALERT_MAX))]
    pub deliveries: Vec<DeliveryView>,
}

/// Deliveries that an alert's row carries; the journal has all of them.
pub const DELIVERIES_PER_ALERT_MAX: usize = 10;

/// How a delivery went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Accepted by the handler.
    Delivered,
    /// Failed; it will be tried again.
    Retrying,
    /// Failed, and given up.
    Failed,
    /// Not tried yet.
    #[default]
    Waiting,
}

/// One delivery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// Channel.
    pub channel: String,
    /// When it was last tried.
    #[schemars(with = "i64")]
    pub at_ms: TimestampMs,
    /// How it went.
    pub status: DeliveryStatus,
    /// 1, 2, …
    pub attempt: u32,
    /// Why it failed.
    pub error: Option<String>,
    /// `firing`, `resolved` or `report`.
    pub what: String,
}

/// One line of `GET /api/alerts/history`: a rule's alert from its start to its end, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AlertEpisodeView {
    /// Name of the rule.
    pub rule: String,
    /// How bad it was.
    #[schemars(with = "schema::Severity")]
    pub severity: Severity,
    /// Of the alert.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// When its condition began to hold.
    #[schemars(with = "i64")]
    pub started_ms: TimestampMs,
    /// When it fired; `null` when it never did.
    #[schemars(with = "Option<i64>")]
    pub fired_ms: Option<TimestampMs>,
    /// When it was resolved; `null` when it is still active.
    #[schemars(with = "Option<i64>")]
    pub resolved_ms: Option<TimestampMs>,
}

/// One line of `GET /api/rules`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RuleView {
    /// Unique among thresholds; rules of files may share one.
    pub name: String,
    /// `threshold`, `alerting`, `recording`, or `file` for a rule file that is refused.
    pub kind: String,
    /// The group of a rule file that it is in.
    pub group: Option<String>,
    /// That file; `[[slo]]` for the rules of an objective.
    pub file: Option<String>,
    /// Is it evaluated?
    pub enabled: bool,
    /// For people.
    pub description: String,
    /// PromQL of the condition (`system_cpu_usage_percent > 90`).
    pub query: String,
    /// How long it must hold.
    pub duration_seconds: f64,
    /// How bad.
    #[schemars(with = "schema::Severity")]
    pub severity: Severity,
    /// Added to the alert.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// The worst state of its alerts.
    #[schemars(with = "schema::AlertState")]
    pub state: AlertState,
    /// Alerts it has now, pending and firing.
    pub active: u64,
    /// When it was last evaluated.
    #[schemars(with = "Option<i64>")]
    pub last_evaluation_ms: Option<TimestampMs>,
    /// How long that took.
    pub last_duration_seconds: Option<f64>,
    /// Why the last evaluation failed.
    pub last_error: Option<String>,
}

/// One line of `GET /api/channels`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChannelView {
    /// Unique.
    pub name: String,
    /// The handler's component (`builtin:handler-webhook`) or plugin.
    pub handler: String,
    /// Does the root route lead here?
    pub is_default: bool,
    /// Does it take alerts?
    pub takes_alerts: bool,
    /// Does it take reports?
    pub takes_reports: bool,
    /// Deliveries accepted since the start.
    pub delivered_total: u64,
    /// Deliveries given up since the start.
    pub failed_total: u64,
    /// Deliveries being tried again now.
    pub retrying: u64,
    /// The last ones, newest first; at most [`DELIVERIES_PER_ALERT_MAX`].
    #[schemars(length(max = DELIVERIES_PER_ALERT_MAX))]
    pub recent: Vec<DeliveryView>,
}
