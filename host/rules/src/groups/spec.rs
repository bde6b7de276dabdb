//! What is evaluated: groups and rules of rule files, with the config's defaults filled in and templates read.
//!
//! Invariant: two specs that are the same ([`GroupSpec::same`]) make the same alerts and series from the same answers.
//! Not here: state, schedules.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::labels::LabelsBuilder;
use belfry_model::sample::is_stale;
use belfry_model::{Histogram, Labels, METRIC_NAME, Severity, TimestampMs};
use belfry_promql::{PointValue, VectorPoint};
use belfry_template::{Data, DataValue, QueryFunc, Template, go_float};

use crate::file::{Group, Pair, Rule, RuleFile, RuleKind};

/// What a group has that does not say it itself, and what templates see beside the alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// How often a group is evaluated.
    pub interval: Duration,
    /// How far before its time.
    pub query_offset: Duration,
    /// `$externalLabels`.
    pub external_labels: Labels,
    /// `$externalURL`.
    pub external_url: String,
}

/// A group as it is evaluated.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// File and name: unique among all groups.
    pub key: Arc<str>,
    /// Its file.
    pub file: Arc<str>,
    /// Its name.
    pub name: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// How far before its time it is evaluated.
    pub query_offset: Duration,
    /// Series or alerts one rule may give.
    pub limit: Option<usize>,
    /// In order.
    pub rules: Vec<Arc<RuleSpec>>,
    /// Which of them neither need nor feed another nor write its series, and so need no order.
    pub independent: Vec<bool>,
    /// Which of them may write a series that another writes.
    pub(super) rivals: Vec<bool>,
}

/// A rule as it is evaluated.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// What it makes.
    pub kind: RuleKind,
    /// Metric or alert.
    pub name: Arc<str>,
    /// The expression as written, for evaluation.
    pub expr: String,
    /// The expression as Prometheus prints it.
    pub query: String,
    /// `for`.
    pub hold: Duration,
    /// `keep_firing_for`.
    pub keep_firing_for: Duration,
    /// The group's and the rule's.
    pub labels: Vec<(Arc<str>, Words)>,
    /// For people.
    pub annotations: Vec<(Arc<str>, Words)>,
    /// What state is kept by: group, name, labels, and which of several alike. Prometheus' identity of a rule.
    pub key: String,
    around: Arc<(Labels, String)>,
}

/// One alert or recorded series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Complete: for a recorded series with its name, for an alert with `alertname`.
    pub labels: Labels,
    /// Expanded; empty for a recorded series.
    pub annotations: Labels,
    /// Its value.
    pub value: PointValue,
}

impl GroupSpec {
    /// All groups of a file.
    pub fn of_file(file: &RuleFile, defaults: &Defaults) -> Vec<Self> {
        let around = Arc::new((defaults.external_labels.clone(), defaults.external_url.clone()));
        file.groups.iter().map(|group| Self::of(group, &file.name, defaults, &around)).collect()
    }

    fn of(group: &Group, file: &str, defaults: &Defaults, around: &Arc<(Labels, String)>) -> Self {
        let key: Arc<str> = format!("{file};{}", group.name.as_str()).into();
        let mut seen: Vec<String> = Vec::with_capacity(group.rules.len());
        let rules = group.rules.iter().map(|rule| {
            let identity = identity(rule, group);
            let nth = seen.iter().filter(|s| **s == identity).count();
            let key = format!("{key};{identity}#{nth}");
            seen.push(identity);
            Arc::new(RuleSpec::of(rule, group, key, around.clone()))
        });
        let rules: Vec<Arc<RuleSpec>> = rules.collect();
        let mut independent = super::round::independent(&group.rules);
        if rules.iter().any(|r| r.asks()) {
            // Templates may ask for anything.
            independent.fill(false);
        }
        let rivals = super::rivals::rivals(group);
        // Which of them has the series must not hang on which answer comes first.
        independent.iter_mut().zip(&rivals).for_each(|(independent, rival)| *independent &= !rival);
        let interval = group.interval.map(|d| d.value).filter(|d| !d.is_zero());
        Self {
            file: file.into(),
            name: group.name.to_string(),
            interval: interval.unwrap_or(defaults.interval),
            query_offset: group.query_offset.map_or(defaults.query_offset, |d| d.value),
            limit: group.limit.and_then(|l| usize::try_from(l.value).ok()).filter(|l| *l > 0),
            rules,
            independent,
            rivals,
            key,
        }
    }

    /// Would the same answers at the same times lead to the same?
    pub fn same(&self, other: &Self) -> bool {
        let settings = |g: &Self| (g.key.clone(), g.interval, g.query_offset, g.limit, g.rules.len());
        settings(self) == settings(other) && self.rules.iter().zip(&other.rules).all(|(a, b)| a.same(b))
    }
}

fn identity(rule: &Rule, group: &Group) -> String {
    let labels: Vec<String> = rule.labels_in(group).iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{}{{{}}}", rule.name.as_str(), labels.join(","))
}

impl RuleSpec {
    fn of(rule: &Rule, group: &Group, key: String, around: Arc<(Labels, String)>) -> Self {
        let template = |text: &str| match rule.kind {
            // The reader has checked it; the group's labels are checked only as names.
            RuleKind::Alert => Words::alerting(rule.name.as_str(), text),
            RuleKind::Record => Words::Plain(text.to_owned()),
        };
        let pair = |p: &Pair| (Arc::from(p.name.as_str()), template(&p.value));
        Self {
            kind: rule.kind,
            name: rule.name.as_str().into(),
            expr: rule.expr.to_string(),
            query: rule.query.to_string(),
            hold: rule.hold.map_or(Duration::ZERO, |d| d.value),
            keep_firing_for: rule.keep_firing_for.map_or(Duration::ZERO, |d| d.value),
            labels: rule.labels_in(group).into_iter().map(|(n, v)| (n, template(&v))).collect(),
            annotations: rule.annotations.iter().map(pair).collect(),
            key,
            around,
        }
    }

    fn same(&self, other: &Self) -> bool {
        let texts = |r: &Self| (r.kind, r.key.clone(), r.expr.clone(), r.hold, r.keep_firing_for);
        let pairs = |p: &[(Arc<str>, Words)]| -> Vec<(Arc<str>, String)> {
            p.iter().map(|(n, t)| (n.clone(), t.text().to_owned())).collect()
        };
        texts(self) == texts(other)
            && pairs(&self.labels) == pairs(&other.labels)
            && pairs(&self.annotations) == pairs(&other.annotations)
            && self.around == other.around
    }

    /// Does making rows of an answer ask further queries?
    pub fn asks(&self) -> bool {
        self.labels.iter().chain(&self.annotations).any(|(_, w)| w.asks())
    }

    /// The `severity` label as it is written, where it is plain.
    pub fn severity(&self) -> Severity {
        let plain = self.labels.iter().find(|(n, t)| &**n == "severity" && matches!(t, Words::Plain(_)));
        plain.map_or(Severity::Warning, |(_, t)| severity_of(t.text()))
    }

    /// Makes the rows of what the expression gave at `at`. Pure, but for what templates ask `query`.
    pub fn rows(&self, points: Vec<VectorPoint>, query: &dyn QueryFunc, at: TimestampMs) -> Result<Vec<Row>, String> {
        let mut rows = Vec::with_capacity(points.len());
        let mut seen = HashSet::with_capacity(points.len());
        for point in points {
            if matches!(point.value, PointValue::Float(v) if is_stale(v)) {
                continue;
            }
            let row = match self.kind {
                RuleKind::Record => self.recorded(point),
                RuleKind::Alert => self.alert(point, query, at),
            };
            if !seen.insert(row.labels.clone()) {
                let what = match self.kind {
                    RuleKind::Record => "rule",
                    RuleKind::Alert => "alert",
                };
                return Err(format!("vector contains metrics with the same labelset after applying {what} labels"));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn recorded(&self, point: VectorPoint) -> Row {
        let mut b = point.labels.to_builder();
        b.set(METRIC_NAME, self.name.clone());
        for (name, value) in &self.labels {
            b.set(name.clone(), value.text());
        }
        Row { labels: b.build(), annotations: Labels::empty(), value: point.value }
    }

    fn alert(&self, point: VectorPoint, query: &dyn QueryFunc, at: TimestampMs) -> Row {
        let data = Data {
            labels: point.labels,
            external_labels: self.around.0.clone(),
            external_url: self.around.1.clone(),
            value: template_value(&point.value),
        };
        let mut b = data.labels.to_builder();
        b.remove(METRIC_NAME);
        for (name, template) in &self.labels {
            b.set(name.clone(), template.of(&data, query, at));
        }
        b.set("alertname", self.name.clone());
        let mut annotations = LabelsBuilder::default();
        for (name, template) in &self.annotations {
            annotations.set(name.clone(), template.of(&data, query, at));
        }
        Row { labels: b.build(), annotations: annotations.build(), value: point.value }
    }
}

/// A point's value as templates see it, in `$value` and in the answer of `query`.
pub fn template_value(value: &PointValue) -> DataValue {
    match value {
        PointValue::Float(v) => DataValue::Number(*v),
        PointValue::Histogram(h) => DataValue::Histogram(histogram_text(h)),
    }
}

/// As Prometheus prints a native histogram: `{count:5, sum:10, (0.5,1]:1}`.
fn histogram_text(h: &Histogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", go_float(h.count), go_float(h.sum));
    for b in belfry_promql::histogram_buckets(h) {
        let open = if b.lower_inclusive { '[' } else { '(' };
        let close = if b.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [b.lower, b.upper, b.count].map(go_float);
        let _ = write!(text, ", {open}{lower},{upper}{close}:{count}");
    }
    text + "}"
}

/// The value of a label or annotation.
#[derive(Clone, Debug)]
pub enum Words {
    /// Its braces mean nothing.
    Plain(String),
    /// To be expanded for each alert.
    Template(Template),
}

impl Words {
    /// Of the alerts of this name; what is no template is plain text.
    pub(crate) fn alerting(name: &str, text: &str) -> Self {
        match Template::named(&format!("__alert_{name}"), text) {
            Ok(template) if !template.is_literal() => Self::Template(template),
            _ => Self::Plain(text.to_owned()),
        }
    }

    /// As written.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Template(template) => template.text(),
        }
    }

    pub(crate) fn of(&self, data: &Data, query: &dyn QueryFunc, at: TimestampMs) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Template(template) => template.expand_or_say(data, query, at),
        }
    }

    fn asks(&self) -> bool {
        matches!(self, Self::Template(t) if t.queries())
    }
}

/// The words that rule files use. Any other is a warning: nobody is woken by what is not understood.
pub fn severity_of(label: &str) -> Severity {
    match label.to_lowercase().as_str() {
        "critical" | "page" | "fatal" | "emergency" | "disaster" => Severity::Critical,
        "error" | "high" | "major" => Severity::Error,
        "info" | "information" | "notice" | "low" | "none" => Severity::Info,
        _ => Severity::Warning,
    }
}
