//! One rule with its alerts or its recorded series, from one answer to the next.
//!
//! Invariant: an alert moves as in Prometheus: pending while it holds for less than `for`, firing after that, for
//! `keep_firing_for` longer when it holds no more; a series that a rule wrote and writes no more gets a stale marker.
//! Not here: when a rule is evaluated, how an answer comes about.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::stale_nan;
use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, Labels, METRIC_NAME, TimestampMs};
use belfry_promql::PointValue;
use serde::{Deserialize, Serialize};

use super::spec::{Row, RuleSpec, severity_of};
use crate::alert::OUTAGE_TOLERANCE;
use crate::file::RuleKind;
use crate::organ::RESEND_EVERY;
use crate::rule::{RESOLVED_KEPT, RETURN_GRACE};

/// Alerts of one rule of a file; an answer with more fails the rule. Prometheus knows no such bound, but 100,000 alerts
/// tell nobody anything, and all of them would be kept and sent.
pub const ALERTS_PER_FILE_RULE_MAX: usize = 100_000;

/// An alert as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAlert {
    /// Key of its rule ([`RuleSpec::key`]).
    pub rule: String,
    /// As it was.
    pub alert: Alert,
    /// Since when it goes on firing only because of `keep_firing_for`.
    #[serde(default)]
    pub keep_firing_since: Option<TimestampMs>,
}

/// An alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// Pending, firing, or lately resolved.
    pub alert: Alert,
    /// Since when it goes on firing only because of `keep_firing_for`.
    pub keep_firing_since: Option<TimestampMs>,
    /// It comes from before a restart and was not seen since: when it was seen last.
    unseen_since: Option<TimestampMs>,
}

/// What one answer changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub events: Vec<AlertEvent>,
    pub put: Vec<StoredAlert>,
    pub remove: Vec<(String, Fingerprint)>,
    pub samples: Vec<(Labels, PointValue)>,
    pub resend: Vec<Alert>,
}

/// How much [`Changes`] held.
struct Mark {
    events: usize,
    put: usize,
    remove: usize,
}

impl Changes {
    fn mark(&self) -> Mark {
        Mark { events: self.events.len(), put: self.put.len(), remove: self.remove.len() }
    }

    fn rewind(&mut self, to: Mark) {
        self.events.truncate(to.events);
        self.put.truncate(to.put);
        self.remove.truncate(to.remove);
    }
}

#[derive(Debug)]
pub(crate) struct RuleState {
    pub spec: Arc<RuleSpec>,
    pub alerts: BTreeMap<Fingerprint, Active>,
    /// Series that the last good answer wrote.
    written: HashSet<Labels>,
    /// The first answer since the start.
    returned_at: Option<TimestampMs>,
    resent_at: Option<TimestampMs>,
}

impl RuleState {
    /// With what was kept of it; `seen` is when its group was last evaluated before the restart.
    pub fn new(spec: Arc<RuleSpec>, kept: Vec<StoredAlert>, seen: Option<TimestampMs>) -> Self {
        let mut state =
            Self { spec, alerts: BTreeMap::new(), written: HashSet::new(), returned_at: None, resent_at: None };
        for StoredAlert { alert, keep_firing_since, .. } in kept {
            state.written.insert(alerts_series(&alert));
            state.written.insert(since_series(&alert));
            let changed = alert.fired_at.unwrap_or(alert.active_since);
            let unseen_since = Some(seen.map_or(changed, |t| t.max(changed)));
            state.alerts.insert(alert.fingerprint, Active { alert, keep_firing_since, unseen_since });
        }
        state
    }

    /// Takes the rows of an answer. `Err` says why it cannot be used.
    pub fn answer(
        &mut self,
        at: TimestampMs,
        rows: Vec<Row>,
        limit: Option<usize>,
        out: &mut Changes,
    ) -> Result<(), String> {
        let mut written = HashSet::with_capacity(self.written.len().max(rows.len()));
        match self.spec.kind {
            RuleKind::Record => {
                if let Some(limit) = limit.filter(|l| rows.len() > *l) {
                    return Err(format!("exceeded limit of {limit} with {} series", rows.len()));
                }
                for row in rows {
                    written.insert(row.labels.clone());
                    out.samples.push((row.labels, row.value));
                }
            }
            RuleKind::Alert => self.alerts(at, rows, limit, &mut written, out)?,
        }
        let gone = self.written.drain().filter(|labels| !written.contains(labels));
        out.samples.extend(gone.map(|labels| (labels, PointValue::Float(stale_nan()))));
        self.written = written;
        Ok(())
    }

    /// Another rule wrote this series: it is not this one's to end.
    pub fn disown(&mut self, series: &Labels) {
        self.written.remove(series);
    }

    fn alerts(
        &mut self,
        at: TimestampMs,
        rows: Vec<Row>,
        limit: Option<usize>,
        written: &mut HashSet<Labels>,
        out: &mut Changes,
    ) -> Result<(), String> {
        if rows.len() > ALERTS_PER_FILE_RULE_MAX {
            return Err(format!("exceeded limit of {ALERTS_PER_FILE_RULE_MAX} with {} alerts", rows.len()));
        }
        let returned_at = *self.returned_at.get_or_insert(at);
        // At most `limit` of them: an answer that left more has ended them all.
        let before = limit.map(|_| {
            let active = self.alerts.iter().filter(|(_, a)| is_active(&a.alert));
            active.map(|(f, a)| (*f, a.clone())).collect::<BTreeMap<_, _>>()
        });
        let mark = out.mark();
        let mut breached = HashSet::with_capacity(rows.len());
        for row in rows {
            let fingerprint = Fingerprint::of(&row.labels);
            breached.insert(fingerprint);
            self.breach(at, fingerprint, row, out);
        }
        let mut forgotten = Vec::new();
        for (fingerprint, active) in &mut self.alerts {
            let holds = breached.contains(fingerprint);
            // After a restart sources need a moment to come back: a resolve and a new page would both be lies. Not of
            // what had ceased to hold before it.
            let awaited = active.unseen_since.is_some()
                && active.keep_firing_since.is_none()
                && at.since(returned_at) < RETURN_GRACE;
            if holds || !awaited {
                active.unseen_since = None;
                if active.step(&self.spec, at, holds, out) {
                    forgotten.push(*fingerprint);
                }
            }
        }
        for fingerprint in forgotten {
            self.alerts.remove(&fingerprint);
        }
        let standing = || self.alerts.values().filter(|a| is_active(&a.alert));
        let count = standing().count();
        if let Some(limit) = limit.filter(|l| count > *l) {
            // What this answer would have begun never was: nobody hears of it, at this evaluation and at each after it.
            out.rewind(mark);
            self.alerts = before.unwrap_or_default();
            self.end(at, out);
            return Err(format!("exceeded limit of {limit} with {count} alerts"));
        }
        for active in standing() {
            for (labels, value) in [
                (alerts_series(&active.alert), 1.0),
                (since_series(&active.alert), active.alert.active_since.0.div_euclid(1_000) as f64),
            ] {
                written.insert(labels.clone());
                out.samples.push((labels, PointValue::Float(value)));
            }
        }
        self.resend(at, out);
        Ok(())
    }

    /// The expression gave this row: a new alert, or one that goes on.
    fn breach(&mut self, at: TimestampMs, fingerprint: Fingerprint, row: Row, out: &mut Changes) {
        let value = match row.value {
            PointValue::Float(v) => v,
            PointValue::Histogram(_) => 0.0,
        };
        match self.alerts.get_mut(&fingerprint).filter(|a| is_active(&a.alert)) {
            Some(active) => {
                active.alert.value = value;
                active.alert.annotations = row.annotations;
                // Nothing is active since the future: the clock went back.
                active.alert.active_since = active.alert.active_since.min(at);
                if let Some(seen) = active.unseen_since.take_if(|_| active.alert.state == AlertState::Pending) {
                    // Nobody knows what happened meanwhile: that time is not counted, and after a long one all begins
                    // anew.
                    let away = at.since(seen);
                    let since = active.alert.active_since.plus(away);
                    active.alert.active_since = if away > OUTAGE_TOLERANCE { at } else { since };
                    out.put.push(active.stored(&self.spec));
                }
            }
            None => {
                let severity = severity_of(row.labels.get("severity").unwrap_or_default());
                let alert = Alert {
                    fingerprint,
                    rule: self.spec.name.to_string(),
                    severity,
                    labels: row.labels,
                    annotations: row.annotations,
                    state: AlertState::Inactive,
                    value,
                    active_since: at,
                    fired_at: None,
                    resolved_at: None,
                };
                self.alerts.insert(fingerprint, Active { alert, keep_firing_since: None, unseen_since: None });
            }
        }
    }

    fn resend(&mut self, at: TimestampMs, out: &mut Changes) {
        let recently = self.resent_at.is_some_and(|last| last <= at && at.since(last) < RESEND_EVERY);
        if recently {
            return;
        }
        out.resend =
            self.alerts.values().filter(|a| a.alert.state == AlertState::Firing).map(|a| a.alert.clone()).collect();
        self.resent_at = (!out.resend.is_empty()).then_some(at);
    }

    /// What fires is resolved, what is pending is forgotten. The series it wrote are kept: the next answer ends them.
    pub fn end(&mut self, at: TimestampMs, out: &mut Changes) {
        for (_, mut active) in std::mem::take(&mut self.alerts) {
            active.keep_firing_since = None;
            active.finish(&self.spec.key, at, out);
        }
        self.resent_at = None;
    }

    /// The rule is gone: its alerts and its series end.
    pub fn remove(&mut self, at: TimestampMs, out: &mut Changes) {
        self.end(at, out);
        out.samples.extend(self.written.drain().map(|labels| (labels, PointValue::Float(stale_nan()))));
    }

    /// Is an alert's `for` clock running?
    pub fn is_waiting(&self) -> bool {
        self.alerts.values().any(|a| a.alert.state == AlertState::Pending)
    }
}

impl Active {
    fn stored(&self, spec: &RuleSpec) -> StoredAlert {
        let (alert, keep_firing_since) = (self.alert.clone(), self.keep_firing_since);
        StoredAlert { rule: spec.key.clone(), alert, keep_firing_since }
    }

    /// One evaluation. True when nothing is left to remember.
    fn step(&mut self, spec: &RuleSpec, at: TimestampMs, holds: bool, out: &mut Changes) -> bool {
        let from = self.alert.state;
        let kept_before = self.keep_firing_since;
        match (from, holds) {
            (AlertState::Firing, false) if spec.keep_firing_for > Duration::ZERO => {
                let since = *self.keep_firing_since.get_or_insert(at);
                if at.since(since) >= spec.keep_firing_for {
                    self.finish(&spec.key, at, out);
                    return false;
                }
            }
            (AlertState::Pending | AlertState::Firing, false) => {
                self.finish(&spec.key, at, out);
                return self.alert.state == AlertState::Inactive;
            }
            (AlertState::Inactive | AlertState::Resolved, false) => {
                return self.alert.resolved_at.is_none_or(|t| at.since(t) > RESOLVED_KEPT);
            }
            (_, true) => {
                self.keep_firing_since = None;
                if from == AlertState::Inactive {
                    self.alert.state = AlertState::Pending;
                }
                if self.alert.state == AlertState::Pending && at.since(self.alert.active_since) >= spec.hold {
                    self.alert.state = AlertState::Firing;
                    self.alert.fired_at = Some(at);
                }
            }
        }
        if self.alert.state != from {
            out.events.push(AlertEvent { at, from, alert: self.alert.clone() });
        }
        if self.alert.state != from || self.keep_firing_since != kept_before {
            out.put.push(self.stored(spec));
        }
        false
    }

    fn finish(&mut self, key: &str, at: TimestampMs, out: &mut Changes) {
        let from = self.alert.state;
        match from {
            AlertState::Firing => {
                self.alert.state = AlertState::Resolved;
                self.alert.resolved_at = Some(at);
            }
            AlertState::Pending => self.alert.state = AlertState::Inactive,
            AlertState::Inactive | AlertState::Resolved => return,
        }
        self.keep_firing_since = None;
        out.events.push(AlertEvent { at, from, alert: self.alert.clone() });
        out.remove.push((key.to_owned(), self.alert.fingerprint));
    }
}

/// Pending or firing?
pub(crate) fn is_active(alert: &Alert) -> bool {
    matches!(alert.state, AlertState::Pending | AlertState::Firing)
}

fn alerts_series(alert: &Alert) -> Labels {
    let mut b = alert.labels.to_builder();
    b.set(METRIC_NAME, "ALERTS").set("alertstate", alert.state.as_str());
    b.build()
}

fn since_series(alert: &Alert) -> Labels {
    let mut b = alert.labels.to_builder();
    b.set(METRIC_NAME, "ALERTS_FOR_STATE");
    b.build()
}

/// The alert's rule is in no file any more.
pub(crate) fn orphan(kept: StoredAlert, at: TimestampMs, out: &mut Changes) {
    let key = kept.rule.clone();
    let (alerts, since) = (alerts_series(&kept.alert), since_series(&kept.alert));
    let mut active = Active { alert: kept.alert, keep_firing_since: None, unseen_since: None };
    active.finish(&key, at, out);
    out.samples.extend([alerts, since].map(|labels| (labels, PointValue::Float(stale_nan()))));
}
