//! Rule groups as the backend tells of them: what Prometheus' `/api/v1/rules` and `/api/v1/alerts` need.
//!
//! Not here: JSON (`prometheus_rules`).

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_model::{AlertState, Labels, TimestampMs};

/// Labels and annotations as a rule has them: unlike those of a series they may be empty.
pub type Texts = BTreeMap<String, String>;

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// Series or alerts a rule may give; 0 for any number.
    pub limit: usize,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// Its time.
    pub last_evaluation: Option<TimestampMs>,
    /// In order.
    pub rules: Vec<GroupRule>,
}

/// A rule of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRule {
    /// Metric or alert.
    pub name: String,
    /// PromQL.
    pub query: String,
    /// The group's and its own, as written.
    pub labels: Texts,
    /// `None` before the first evaluation; else why it failed, or that it worked.
    pub health: Option<Result<(), String>>,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// Its time.
    pub last_evaluation: Option<TimestampMs>,
    /// What only alerting rules have.
    pub alerting: Option<Alerting>,
}

/// What only alerting rules have.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerting {
    /// The worst of its alerts: inactive, pending or firing.
    pub state: AlertState,
    /// `for`.
    pub hold: Duration,
    /// `keep_firing_for`.
    pub keep_firing_for: Duration,
    /// As written.
    pub annotations: Texts,
    /// Pending and firing ones.
    pub alerts: Vec<GroupAlert>,
}

/// An alert, pending or firing.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAlert {
    /// With `alertname`.
    pub labels: Labels,
    /// Expanded: all that the rule has.
    pub annotations: Texts,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when it holds.
    pub active_at: TimestampMs,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<TimestampMs>,
    /// The last value.
    pub value: f64,
}
