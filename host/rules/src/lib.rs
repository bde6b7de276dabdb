//! Rules: when is a condition met for long enough? Emits alert events; decides nothing about who hears of them.
//!
//! Invariant: an alert's state follows from its rule and the answers it was given, in order. `for` survives a restart
//! through the rows in [`RulesEffect::Persist`].
//! Not here: a clock, I/O, notify, the store.

use std::time::Duration;

use belfry_model::alert::AlertEvent;
use belfry_model::{Alert, Fingerprint, Labels, Severity, TimestampMs};

/// How a threshold rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `>`
    GreaterThan,
    /// `<`
    LessThan,
    /// `==`
    Equals,
    /// `!=`
    NotEquals,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
}

/// A threshold on every series of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdRule {
    /// Unique; becomes `alertname`.
    pub name: String,
    /// For people; becomes the annotation `description`.
    pub description: String,
    /// Name of the metric, or a selector (`name{label="value"}`).
    pub metric: String,
    /// How its series are compared …
    pub condition: Condition,
    /// … with this.
    pub threshold: f64,
    /// How long the condition must hold.
    pub duration: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// Added to the alert.
    pub labels: Labels,
    /// Added to the alert, for people.
    pub annotations: Labels,
    /// How often it is evaluated.
    pub interval: Duration,
}

/// What the organ is told.
#[derive(Clone, Debug)]
pub enum RulesInput {
    /// The rules from now on. State of rules that stay (by name and unchanged condition) is kept; alerts of rules that
    /// go are resolved.
    Configure(Vec<ThresholdRule>),
    /// The answer to [`RulesEffect::Evaluate`]: the matching series with their values, or why there is no answer.
    Evaluated {
        /// Name of the rule.
        rule: String,
        /// The time it was evaluated at.
        at: TimestampMs,
        /// All series of the metric, not only those that breach.
        outcome: Result<Vec<(Labels, f64)>, String>,
    },
}

/// What the organ wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum RulesEffect {
    /// Evaluate `expression` at `at` and answer with [`RulesInput::Evaluated`].
    Evaluate {
        /// Name of the rule.
        rule: String,
        /// PromQL.
        expression: String,
        /// The instant.
        at: TimestampMs,
    },
    /// An alert changed its state: for notify and the journal.
    Emit(AlertEvent),
    /// A firing alert goes on firing: notify is told again so that it knows (Alertmanager's resend).
    Resend(Vec<Alert>),
    /// Remember these alerts; forget those.
    Persist {
        /// Insert or replace, by fingerprint and rule.
        put: Vec<Alert>,
        /// Delete.
        remove: Vec<(String, Fingerprint)>,
    },
    /// Samples to write: `ALERTS{alertname,alertstate,severity,…}` at 1, stale when it ends.
    Record {
        /// The instant.
        at: TimestampMs,
        /// Labels (metric name included) and value; the stale marker ends a series.
        samples: Vec<(Labels, f64)>,
    },
    /// A rule could not be evaluated; its alerts keep their state.
    Failed {
        /// Name of the rule.
        rule: String,
        /// Why.
        reason: String,
    },
}
