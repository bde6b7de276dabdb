//! A threshold on every series of a metric: the short form of an alerting rule.
//!
//! Invariant: a comparison here answers as PromQL's would.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::labels::{LabelsBuilder, is_legacy_metric_name};
use belfry_model::{Labels, Severity, TimestampMs};
use belfry_template::{Data, DataValue, NoQueries};

use crate::groups::Words;

/// How a threshold rule compares. NaN is as in PromQL and IEEE 754: it is not greater, less or equal to anything, so
/// it breaches only `NotEquals`. Stale markers never get here as values: a series that ended is a series that is gone.
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

impl Condition {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::GreaterThan, Self::LessThan, Self::Equals, Self::NotEquals, Self::GreaterOrEqual, Self::LessOrEqual];

    /// As in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GreaterThan => "greater_than",
            Self::LessThan => "less_than",
            Self::Equals => "equals",
            Self::NotEquals => "not_equals",
            Self::GreaterOrEqual => "greater_or_equal",
            Self::LessOrEqual => "less_or_equal",
        }
    }

    /// As in PromQL.
    pub fn operator(self) -> &'static str {
        match self {
            Self::GreaterThan => ">",
            Self::LessThan => "<",
            Self::Equals => "==",
            Self::NotEquals => "!=",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
        }
    }

    /// Does `value` breach `threshold`? Exact, without a tolerance.
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThan => value > threshold,
            Self::LessThan => value < threshold,
            Self::Equals => value == threshold,
            Self::NotEquals => value != threshold,
            Self::GreaterOrEqual => value >= threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }
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
    /// Added to the alert, for people: Go templates, as in rule files.
    pub annotations: Labels,
    /// `$externalLabels` in them.
    pub external_labels: Labels,
    /// `externalURL` in them.
    pub external_url: String,
    /// How often it is evaluated.
    pub interval: Duration,
}

impl ThresholdRule {
    /// What is evaluated: the series alone. The comparison is made here, so that the values of series that do not
    /// breach are seen too (an alert resolves with the value that resolved it).
    pub fn expression(&self) -> String {
        // A name that PromQL reads only in quotes (`http.server.duration`) stands alone in braces.
        let name_alone = !self.metric.contains(|c: char| c.is_whitespace() || "{}()[]\"'`".contains(c));
        if name_alone && !is_legacy_metric_name(&self.metric) {
            return format!("{{{:?}}}", self.metric);
        }
        self.metric.clone()
    }

    /// The whole condition as PromQL, for people and for the API.
    pub fn query(&self) -> String {
        format!("{} {} {}", self.expression(), self.condition.operator(), self.threshold)
    }

    /// Would the same answers lead to the same alerts?
    pub(crate) fn same_condition(&self, other: &Self) -> bool {
        self.metric == other.metric
            && self.condition == other.condition
            && self.threshold.to_bits() == other.threshold.to_bits()
    }

    /// Labels of the alert of one series: the series' own, then the rule's, then `severity` and `alertname`.
    pub fn alert_labels(&self, series: &Labels) -> Labels {
        let mut b = series.without_name().to_builder();
        for label in &self.labels {
            b.set(label.name.clone(), label.value.clone());
        }
        b.set("severity", self.severity.as_str()).set("alertname", self.name.as_str());
        b.build()
    }

    /// What a `summary` says that the rule does not give.
    fn summary(&self, value: f64) -> String {
        format!("{} is {} ({} {})", self.metric, short(value), self.condition.operator(), self.threshold)
    }
}

/// The annotations of a rule, read as templates. They ask no queries: answers are taken where nothing can be waited for.
#[derive(Debug)]
pub(crate) struct Sentences(Vec<(Arc<str>, Words)>);

impl Sentences {
    /// What is no template stands as it is: the config's check has refused it.
    pub fn of(rule: &ThresholdRule) -> Self {
        let read = |text: &str| Words::alerting(&rule.name, text);
        let mut all: Vec<_> = rule.annotations.iter().map(|l| (l.name.clone(), read(&l.value))).collect();
        if !rule.description.is_empty() {
            all.push(("description".into(), read(&rule.description)));
        }
        Self(all)
    }

    /// Annotations of the alert of a series with this value; `summary` says the condition unless the rule has one.
    pub fn over(&self, rule: &ThresholdRule, series: &Labels, value: f64, at: TimestampMs) -> Labels {
        let data = Data {
            labels: series.clone(),
            external_labels: rule.external_labels.clone(),
            external_url: rule.external_url.clone(),
            value: DataValue::Number(value),
        };
        let mut b = LabelsBuilder::default();
        if rule.annotations.get("summary").is_none() {
            b.set("summary", rule.summary(value));
        }
        for (name, words) in &self.0 {
            b.set(name.clone(), words.of(&data, &NoQueries, at));
        }
        b.build()
    }
}

/// Three digits after the point are enough for a sentence.
fn short(value: f64) -> String {
    if value.fract() == 0.0 || !value.is_finite() || value.abs() < 0.001 {
        format!("{value}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_conditions_compare_as_promql_does() {
        // Value below, at and above 5; then NaN.
        let table = [
            (Condition::GreaterThan, [false, false, true, false]),
            (Condition::LessThan, [true, false, false, false]),
            (Condition::Equals, [false, true, false, false]),
            (Condition::NotEquals, [true, false, true, true]),
            (Condition::GreaterOrEqual, [false, true, true, false]),
            (Condition::LessOrEqual, [true, true, false, false]),
        ];
        for (condition, expected) in table {
            let got = [4.0, 5.0, 6.0, f64::NAN].map(|v| condition.holds(v, 5.0));
            assert_eq!(got, expected, "{}", condition.as_str());
        }
    }
}
