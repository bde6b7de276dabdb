//! One rule with its alerts.
//!
//! Invariant: an answer moves every alert of the rule by exactly one step; an alert whose series is gone is stepped as
//! not breaching.
//! Not here: when the rule is evaluated.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_model::sample::{is_stale, stale_nan};
use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, Labels, METRIC_NAME, TimestampMs};

use crate::alert::{Trust, step};
use crate::organ::RulesEffect;
use crate::threshold::{Sentences, ThresholdRule};

/// Alerts of one rule. A rule that breaches on more series than this says nothing more by further ones; they are shed
/// and counted, in order of labels.
pub const ALERTS_PER_RULE_MAX: usize = 1_000;

/// A resolved alert is shown for so long, as in Prometheus.
pub const RESOLVED_KEPT: Duration = Duration::from_secs(15 * 60);

/// After a restart or a gap, a firing alert whose series is not there yet is given so long before it counts as gone:
/// sources need a moment to come back, and a resolve followed by a new page would be a lie.
pub const RETURN_GRACE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Tracked {
    alert: Alert,
    trust: Trust,
}

#[derive(Debug)]
pub(crate) struct RuleState {
    spec: ThresholdRule,
    sentences: Sentences,
    alerts: BTreeMap<Fingerprint, Tracked>,
    /// First answer since the start or the last gap.
    returned_at: Option<TimestampMs>,
    pub answered_at: Option<TimestampMs>,
    pub shed: u64,
    resent_at: Option<TimestampMs>,
}

impl RuleState {
    /// With what was persisted of it before a restart.
    pub fn new(spec: ThresholdRule, restored: Vec<Alert>) -> Self {
        let alerts = restored
            .into_iter()
            .map(|alert| (alert.fingerprint, Tracked { alert, trust: Trust::Unconfirmed }))
            .collect();
        let sentences = Sentences::of(&spec);
        Self { spec, sentences, alerts, returned_at: None, answered_at: None, shed: 0, resent_at: None }
    }

    pub fn spec(&self) -> &ThresholdRule {
        &self.spec
    }

    /// The rule from now on; its alerts go on.
    pub fn become_spec(&mut self, spec: ThresholdRule) {
        self.sentences = Sentences::of(&spec);
        self.spec = spec;
    }

    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().map(|t| &t.alert)
    }

    /// Answers at intervals are a watch; with a longer gap between them nobody was looking.
    fn gap_max(&self) -> Duration {
        self.spec.interval.saturating_mul(4).max(Duration::from_secs(60))
    }

    /// Takes the answer for `at`. `Err` says why it cannot be used; then nothing has changed.
    pub fn answer(&mut self, at: TimestampMs, series: Vec<(Labels, f64)>, out: &mut Changes) -> Result<(), String> {
        let mut answers = BTreeMap::new();
        for (series, value) in series {
            if is_stale(value) {
                continue;
            }
            let labels = self.spec.alert_labels(&series);
            if let Some((double, ..)) = answers.insert(Fingerprint::of(&labels), (labels, series, value)) {
                return Err(format!("two series become the same alert {double}; select fewer, or drop rule labels"));
            }
        }
        self.look_for_gap(at);
        let waiting_for_return =
            self.returned_at.is_some_and(|t| at.since(t) < RETURN_GRACE.max(self.spec.interval * 2));
        let hold = self.spec.duration;

        let mut gone = Vec::new();
        for (fingerprint, tracked) in &mut self.alerts {
            let answer = answers.remove(fingerprint);
            if answer.is_none() && tracked.trust == Trust::Unconfirmed && waiting_for_return {
                continue;
            }
            let breached = answer.as_ref().is_some_and(|(.., v)| self.spec.condition.holds(*v, self.spec.threshold));
            if let Some((_, series, value)) = answer {
                tracked.alert.value = value;
                if breached || tracked.alert.state == AlertState::Firing {
                    tracked.alert.annotations = self.sentences.over(&self.spec, &series, value, at);
                    tracked.alert.severity = self.spec.severity;
                }
            }
            if let Some(from) = step(&mut tracked.alert, &mut tracked.trust, breached, at, hold) {
                out.changed(at, from, &tracked.alert);
            }
            let forgotten = match tracked.alert.state {
                AlertState::Inactive => true,
                AlertState::Resolved => tracked.alert.resolved_at.is_some_and(|t| at.since(t) >= RESOLVED_KEPT),
                AlertState::Pending | AlertState::Firing => false,
            };
            if forgotten {
                gone.push(*fingerprint);
            }
        }
        for fingerprint in gone {
            self.alerts.remove(&fingerprint);
        }

        let mut breaching: Vec<_> =
            answers.into_iter().filter(|(_, (.., v))| self.spec.condition.holds(*v, self.spec.threshold)).collect();
        breaching.sort_by(|(_, (a, ..)), (_, (b, ..))| a.cmp(b));
        for (fingerprint, (labels, series, value)) in breaching {
            if self.alerts.len() >= ALERTS_PER_RULE_MAX {
                self.shed += 1;
                continue;
            }
            let mut alert = Alert {
                fingerprint,
                rule: self.spec.name.clone(),
                severity: self.spec.severity,
                annotations: self.sentences.over(&self.spec, &series, value, at),
                labels,
                state: AlertState::Inactive,
                value,
                active_since: at,
                fired_at: None,
                resolved_at: None,
            };
            let mut trust = Trust::Watched;
            if let Some(from) = step(&mut alert, &mut trust, true, at, hold) {
                out.changed(at, from, &alert);
            }
            self.alerts.insert(fingerprint, Tracked { alert, trust });
        }
        self.answered_at = Some(at);
        for tracked in self.alerts.values() {
            out.record_active(&tracked.alert);
        }
        Ok(())
    }

    /// A clock that went back, an organ that slept and a store that did not answer for long are all the same: what
    /// happened in between is not known.
    fn look_for_gap(&mut self, at: TimestampMs) {
        let gap = match self.answered_at {
            None => true,
            Some(last) => at < last || at.since(last) > self.gap_max(),
        };
        if gap {
            self.returned_at = Some(at);
            self.alerts.values_mut().for_each(|t| t.trust = Trust::Unconfirmed);
        }
    }

    /// The rule is gone or asks for something else: what fires is resolved, what is pending is forgotten.
    pub fn end(&mut self, at: TimestampMs, out: &mut Changes) {
        for (_, mut tracked) in std::mem::take(&mut self.alerts) {
            let mut trust = Trust::Watched;
            if let Some(from) = step(&mut tracked.alert, &mut trust, false, at, Duration::ZERO) {
                out.changed(at, from, &tracked.alert);
            }
        }
        self.answered_at = None;
        self.resent_at = None;
    }

    /// The firing alerts, when `every` has passed since they were last told.
    pub fn due_for_resend(&mut self, at: TimestampMs, every: Duration) -> Option<Vec<Alert>> {
        let firing: Vec<Alert> = self.alerts().filter(|a| a.state == AlertState::Firing).cloned().collect();
        if firing.is_empty() {
            self.resent_at = None;
            return None;
        }
        if self.resent_at.is_some_and(|last| last <= at && at.since(last) < every) {
            return None;
        }
        self.resent_at = Some(at);
        Some(firing)
    }
}

/// What one step of one rule changed, gathered so that effects come out in an order that survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    events: Vec<AlertEvent>,
    put: Vec<Alert>,
    remove: Vec<(String, Fingerprint)>,
    samples: BTreeMap<Labels, f64>,
}

impl Changes {
    fn changed(&mut self, at: TimestampMs, from: AlertState, alert: &Alert) {
        self.events.push(AlertEvent { at, from, alert: alert.clone() });
        match alert.state {
            AlertState::Pending | AlertState::Firing => self.put.push(alert.clone()),
            AlertState::Inactive | AlertState::Resolved => self.remove.push((alert.rule.clone(), alert.fingerprint)),
        }
        if matches!(from, AlertState::Pending | AlertState::Firing) {
            self.samples.insert(alerts_series(alert, from), stale_nan());
            if !matches!(alert.state, AlertState::Pending | AlertState::Firing) {
                self.samples.insert(since_series(alert), stale_nan());
            }
        }
    }

    fn record_active(&mut self, alert: &Alert) {
        if matches!(alert.state, AlertState::Pending | AlertState::Firing) {
            self.samples.insert(alerts_series(alert, alert.state), 1.0);
            self.samples.insert(since_series(alert), alert.active_since.as_secs_f64());
        }
    }

    /// Events come first: should the process die after them, the rows still hold the state before, the next answer
    /// leads to the same events again, and notify knows an event it has seen.
    pub fn into_effects(self, at: TimestampMs, effects: &mut Vec<RulesEffect>) {
        effects.extend(self.events.into_iter().map(RulesEffect::Emit));
        if !self.put.is_empty() || !self.remove.is_empty() {
            effects.push(RulesEffect::Persist { put: self.put, remove: self.remove });
        }
        if !self.samples.is_empty() {
            effects.push(RulesEffect::Record { at, samples: self.samples.into_iter().collect() });
        }
    }
}

fn alerts_series(alert: &Alert, state: AlertState) -> Labels {
    let mut b = alert.labels.to_builder();
    b.set(METRIC_NAME, "ALERTS").set("alertstate", state.as_str());
    b.build()
}

fn since_series(alert: &Alert) -> Labels {
    let mut b = alert.labels.to_builder();
    b.set(METRIC_NAME, "ALERTS_FOR_STATE");
    b.build()
}
