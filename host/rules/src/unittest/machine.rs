//! Rules evaluated one after the other, as a group does it: for tests and backtests.
//!
//! Invariant: an alert moves by [`crate::alert::step`], as in the running organ; a recorded series that is gone gets a
//! stale marker.
//! Not here: where the answers come from, schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::stale_nan;
use belfry_model::{Alert, AlertState, Fingerprint, Labels, METRIC_NAME, Severity, TimestampMs, Value};
use belfry_template::{Data, DataValue, QueryFunc, Template};

use crate::alert::{Trust, step};
use crate::file::{Group, Rule, RuleKind};

/// What templates see beside the alert.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub external_labels: Labels,
    pub external_url: String,
}

/// A label or annotation with its template.
#[derive(Clone, Debug)]
struct Expanded {
    name: Arc<str>,
    value: Result<Template, String>,
}

impl Expanded {
    fn new(rule: &Rule, name: Arc<str>, value: &str) -> Self {
        // A recording rule's labels are plain text.
        let value = match rule.kind {
            RuleKind::Alert => {
                Template::named(&format!("__alert_{}", rule.name.as_str()), value).map_err(|e| e.to_string())
            }
            RuleKind::Record => Err(value.to_owned()),
        };
        Self { name, value }
    }

    fn text(&self, data: &Data, query: &dyn QueryFunc, at: TimestampMs) -> String {
        match &self.value {
            Ok(template) => template.expand_or_say(data, query, at),
            Err(text) => text.clone(),
        }
    }
}

#[derive(Debug)]
struct Active {
    alert: Alert,
    trust: Trust,
    /// Since when it fires only because of `keep_firing_for`.
    kept_since: Option<TimestampMs>,
}

/// One rule with what it knows from one evaluation to the next.
#[derive(Debug)]
pub(crate) struct RuleRun<'a> {
    pub rule: &'a Rule,
    labels: Vec<Expanded>,
    annotations: Vec<Expanded>,
    limit: usize,
    active: BTreeMap<Labels, Active>,
    /// What it wrote at the evaluation before.
    written: BTreeSet<Labels>,
    /// It has fired, or recorded something.
    pub came_true: bool,
}

/// A sample to be written.
pub(crate) type Written = (Labels, Value);

impl<'a> RuleRun<'a> {
    pub fn new(group: &Group, rule: &'a Rule) -> Self {
        let limit = group.limit.and_then(|l| usize::try_from(l.value).ok()).unwrap_or(0);
        Self {
            rule,
            labels: rule.labels_in(group).into_iter().map(|(n, v)| Expanded::new(rule, n, &v)).collect(),
            annotations: rule
                .annotations
                .iter()
                .map(|p| Expanded::new(rule, Arc::from(p.name.as_str()), &p.value))
                .collect(),
            limit,
            active: BTreeMap::new(),
            written: BTreeSet::new(),
            came_true: false,
        }
    }

    /// Takes the answer at `at`; what is to be written, stale markers included. On an error nothing is written but the
    /// markers.
    pub fn answer(
        &mut self,
        at: TimestampMs,
        vector: Vec<(Labels, Value)>,
        around: &Surroundings,
        query: &dyn QueryFunc,
    ) -> (Vec<Written>, Option<String>) {
        let outcome = match self.rule.kind {
            RuleKind::Record => self.record(vector),
            RuleKind::Alert => self.alert(at, vector, around, query),
        };
        match outcome {
            Ok(mut all) => {
                let now: BTreeSet<Labels> = all.iter().map(|(l, _)| l.clone()).collect();
                let gone = self.written.difference(&now);
                all.extend(gone.map(|l| (l.clone(), Value::Float(stale_nan()))));
                self.written = now;
                (all, None)
            }
            Err(e) => (Vec::new(), Some(e)),
        }
    }

    fn record(&mut self, vector: Vec<(Labels, Value)>) -> Result<Vec<Written>, String> {
        let mut all: BTreeMap<Labels, Value> = BTreeMap::new();
        for (labels, value) in vector {
            let mut b = labels.to_builder();
            b.set(METRIC_NAME, self.rule.name.as_str());
            for l in &self.labels {
                if let Err(text) = &l.value {
                    b.set(l.name.clone(), text.as_str());
                }
            }
            if all.insert(b.build(), value).is_some() {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
        }
        if self.limit > 0 && all.len() > self.limit {
            return Err(format!("exceeded limit of {} with {} series", self.limit, all.len()));
        }
        self.came_true |= !all.is_empty();
        Ok(all.into_iter().collect())
    }

    fn alert(
        &mut self,
        at: TimestampMs,
        vector: Vec<(Labels, Value)>,
        around: &Surroundings,
        query: &dyn QueryFunc,
    ) -> Result<Vec<Written>, String> {
        let mut answers: BTreeMap<Labels, (f64, Labels)> = BTreeMap::new();
        for (series, value) in vector {
            let (number, value) = match value {
                Value::Float(v) => (v, DataValue::Number(v)),
                Value::Histogram(h) => (h.sum, DataValue::Histogram(histogram(&h))),
            };
            let data = Data {
                labels: series.clone(),
                external_labels: around.external_labels.clone(),
                external_url: around.external_url.clone(),
                value,
            };
            let mut b = series.without_name().to_builder();
            for l in &self.labels {
                b.set(l.name.clone(), l.text(&data, query, at));
            }
            b.set("alertname", self.rule.name.as_str());
            let annotations = self.annotations.iter().map(|a| (a.name.clone(), a.text(&data, query, at)));
            if answers.insert(b.build(), (number, Labels::from_pairs(annotations))).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        let hold = self.rule.hold.map_or(Duration::ZERO, |d| d.value);
        let keep = self.rule.keep_firing_for.map_or(Duration::ZERO, |d| d.value);
        for (labels, (value, annotations)) in &answers {
            let active = self.active.entry(labels.clone()).or_insert_with(|| Active {
                alert: fresh(self.rule, labels, at),
                trust: Trust::Watched,
                kept_since: None,
            });
            active.alert.value = *value;
            active.alert.annotations = annotations.clone();
        }
        for (labels, active) in &mut self.active {
            let mut breached = answers.contains_key(labels);
            if breached {
                active.kept_since = None;
            } else if active.alert.state == AlertState::Firing && !keep.is_zero() {
                let since = *active.kept_since.get_or_insert(at);
                breached = at.since(since) < keep;
            }
            step(&mut active.alert, &mut active.trust, breached, at, hold);
        }
        self.active.retain(|_, a| matches!(a.alert.state, AlertState::Pending | AlertState::Firing));
        if self.limit > 0 && self.active.len() > self.limit {
            let n = self.active.len();
            self.active.clear();
            return Err(format!("exceeded limit of {} with {n} alerts", self.limit));
        }
        let fires = self.firing().next().is_some();
        self.came_true |= fires;
        let mut all = Vec::with_capacity(self.active.len() * 2);
        for a in self.active.values() {
            let mut b = a.alert.labels.to_builder();
            b.set(METRIC_NAME, "ALERTS_FOR_STATE");
            all.push((b.build(), Value::Float(a.alert.active_since.0.div_euclid(1000) as f64)));
            b.set(METRIC_NAME, "ALERTS").set("alertstate", a.alert.state.as_str());
            all.push((b.build(), Value::Float(1.0)));
        }
        Ok(all)
    }

    /// Alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().map(|a| &a.alert).filter(|a| a.state == AlertState::Firing)
    }
}

fn fresh(rule: &Rule, labels: &Labels, at: TimestampMs) -> Alert {
    let severity = labels.get("severity").and_then(|s| Severity::ALL.into_iter().find(|k| k.as_str() == s));
    Alert {
        fingerprint: Fingerprint::of(labels),
        rule: rule.name.as_str().to_owned(),
        severity: severity.unwrap_or_default(),
        labels: labels.clone(),
        annotations: Labels::empty(),
        state: AlertState::Inactive,
        value: 0.0,
        active_since: at,
        fired_at: None,
        resolved_at: None,
    }
}

/// As Prometheus prints one: `{count:3, sum:2, (1,2]:3}`.
pub(crate) fn histogram(h: &belfry_model::Histogram) -> String {
    let mut parts = vec![format!("count:{}", h.count), format!("sum:{}", h.sum)];
    for b in belfry_promql::histogram_buckets(h) {
        let (open, close) = (if b.lower_inclusive { '[' } else { '(' }, if b.upper_inclusive { ']' } else { ')' });
        parts.push(format!("{open}{},{}{close}:{}", b.lower, b.upper, b.count));
    }
    format!("{{{}}}", parts.join(", "))
}
