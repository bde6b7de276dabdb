//! Service level objectives.

use belfry_model::{AlertState, Labels, TimestampMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::schema;

/// Label sets of one objective that an answer carries, worst first; [`SloView::series_total`] counts all.
pub const SERIES_PER_SLO_MAX: usize = 100;

/// `GET /api/slos`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Slos {
    /// When it was made.
    #[schemars(with = "i64")]
    pub now_ms: TimestampMs,
    /// In the order of the config, without `detail`.
    pub slos: Vec<SloView>,
}

/// How an objective stands; the worse, the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SloState {
    /// Nothing can be said: `reason` says why.
    #[default]
    NoData,
    /// The budget lasts.
    Ok,
    /// It burns so fast that a ticket is due.
    BurningSlow,
    /// It burns so fast that somebody is called.
    BurningFast,
    /// It is used up.
    Exhausted,
}

/// One objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SloView {
    /// Unique; the label `slo` of its series and alerts.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// What must be good, 0 to 100.
    pub objective_percent: f64,
    /// Over how long.
    pub window_seconds: f64,
    /// The same as the label `window` says it: `30d`.
    pub window: String,
    /// How often it is evaluated.
    pub interval_seconds: f64,
    /// Added to its series and alerts.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// The worst of its series.
    pub state: SloState,
    /// Why there is no data, or what hinders the evaluation; empty when all is well.
    pub reason: String,
    /// When it was last evaluated.
    #[schemars(with = "Option<i64>")]
    pub last_evaluation_ms: Option<TimestampMs>,
    /// Label sets that it is kept for, one for most: the least budget first; at most [`SERIES_PER_SLO_MAX`].
    #[schemars(length(max = SERIES_PER_SLO_MAX))]
    pub series: Vec<SloSeries>,
    /// Label sets in all.
    pub series_total: u64,
    /// Only in the answer for one objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<SloDetail>,
}

/// An objective for one set of labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SloSeries {
    /// Of its recorded series, without `slo`, `window` and those that the config adds.
    #[schemars(with = "schema::Labels")]
    pub labels: Labels,
    /// How it stands.
    pub state: SloState,
    /// Good events among all in the window, 0 to 1.
    pub good_ratio: Option<f64>,
    /// Of the error budget, 1 for all of it; less than 0 when more is used than there was.
    pub budget_remaining_ratio: Option<f64>,
    /// Since when events are known, within the window: a young objective knows less than its window.
    #[schemars(with = "Option<i64>")]
    pub known_since_ms: Option<TimestampMs>,
    /// When the budget ends, were errors to go on as in the first of `burns`; `null` when it outlasts the window.
    pub exhausted_in_seconds: Option<f64>,
    /// Burn rates of the alerts, fastest first.
    pub burns: Vec<SloBurn>,
    /// Good events, as the config counts them over the shortest window.
    pub good: Option<f64>,
    /// All events, as `good`.
    pub total: Option<f64>,
}

/// One row of the burn rate alerts: an alert is due when both windows are above `threshold`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SloBurn {
    /// How many times faster than the objective allows.
    pub threshold: f64,
    /// `page` or `ticket`.
    pub severity: String,
    /// The long window, as the label `window` says it.
    pub long: String,
    /// The short one.
    pub short: String,
    /// Burn rate of the long window; 1 uses the budget up in exactly the objective's window.
    pub long_rate: Option<f64>,
    /// Of the short one.
    pub short_rate: Option<f64>,
    /// `false` where the budget is so large that nothing can burn it so fast: there is no such alert.
    pub possible: bool,
}

/// What is shown of one objective beside how it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SloDetail {
    /// `ratio` or `threshold`.
    pub kind: String,
    /// Good events over the shortest window, PromQL.
    pub good_query: String,
    /// All events, PromQL.
    pub total_query: String,
    /// As written in the config: `good`, or `query` with its condition.
    pub good: String,
    /// As written in the config; empty for a threshold.
    pub total: String,
    /// The shortest window: `5m`.
    pub shortest_window: String,
    /// The alerts made of it.
    pub alerts: Vec<SloAlert>,
    /// What is recorded, in order.
    pub recorded: Vec<SloRecorded>,
}

/// A generated alert.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SloAlert {
    /// `page` or `ticket`.
    pub severity: String,
    /// The long window.
    pub window: String,
    /// PromQL.
    pub query: String,
    /// The worst of its alerts.
    #[schemars(with = "schema::AlertState")]
    pub state: AlertState,
    /// Hashes of those that are pending or firing, for the page of alerts.
    #[schemars(with = "Vec<schema::Fingerprint>")]
    pub active: Vec<belfry_model::Fingerprint>,
    /// Why the last evaluation failed.
    pub error: Option<String>,
}

/// A generated recording rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SloRecorded {
    /// The series.
    pub name: String,
    /// Its label `window`, where it has one.
    pub window: Option<String>,
    /// PromQL.
    pub query: String,
    /// Why the last evaluation failed.
    pub error: Option<String>,
}
