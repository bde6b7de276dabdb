//! The organ: evaluates every rule at its interval and turns answers into effects.
//!
//! Invariant: a rule has at most one evaluation in flight. The effects of a step are to be performed in order, each
//! before the next: a crash between any two of them loses nothing (an event may be emitted twice).
//! Not here: evaluation itself, who hears of an event.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, Labels, Organ, Phase, TimestampMs};

use crate::rule::{Changes, RuleState};
use crate::threshold::ThresholdRule;

/// Notify hears of a firing alert again after this long, so that it can mend what it lost (Prometheus' resend delay).
pub const RESEND_EVERY: Duration = Duration::from_secs(60);

/// An evaluation that was not answered for so long never will be: the schedule goes on without it.
pub const ANSWER_LOST_AFTER: Duration = Duration::from_secs(300);

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
    /// Samples to write: `ALERTS{alertname,alertstate,severity,…}` at 1 and `ALERTS_FOR_STATE` at the time it became
    /// active, stale when it ends.
    Record {
        /// The instant.
        at: TimestampMs,
        /// Labels (metric name included) and value; the stale marker ends a series.
        samples: Vec<(Labels, f64)>,
    },
    /// A rule could not be evaluated; its alerts keep their state. Told once for each new reason, counted every time.
    Failed {
        /// Name of the rule.
        rule: String,
        /// Why.
        reason: String,
    },
}

/// A rule as it stands, for the API.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSnapshot {
    /// As configured.
    pub rule: ThresholdRule,
    /// The worst state of its alerts: firing, pending or inactive.
    pub state: AlertState,
    /// Pending, firing and lately resolved ones, in order of labels.
    pub alerts: Vec<Alert>,
    /// The instant that was last evaluated, whether it worked or not.
    pub last_evaluation: Option<TimestampMs>,
    /// How long that took until the answer came.
    pub last_duration: Option<Duration>,
    /// Why it failed; `None` when it worked.
    pub last_error: Option<String>,
    /// When it is evaluated next.
    pub next_due: TimestampMs,
    /// Answers, failed ones included.
    pub evaluations: u64,
    /// Failed ones.
    pub failures: u64,
    /// Due times left out because the answer before was still missing.
    pub missed: u64,
    /// Alerts shed because the rule had too many.
    pub shed: u64,
}

#[derive(Debug)]
struct Scheduled {
    state: RuleState,
    phase: Phase,
    due: TimestampMs,
    /// The instant asked for, and when it was asked.
    asked: Option<(TimestampMs, TimestampMs)>,
    last_evaluation: Option<TimestampMs>,
    last_duration: Option<Duration>,
    last_error: Option<String>,
    evaluations: u64,
    failures: u64,
    missed: u64,
}

impl Scheduled {
    fn new(spec: ThresholdRule, restored: Vec<Alert>, now: TimestampMs) -> Self {
        let phase = Phase::of(&spec.name, spec.interval);
        Self {
            state: RuleState::new(spec, restored),
            phase,
            due: phase.after(now),
            asked: None,
            last_evaluation: None,
            last_duration: None,
            last_error: None,
            evaluations: 0,
            failures: 0,
            missed: 0,
        }
    }

    fn reconfigure(&mut self, spec: ThresholdRule, now: TimestampMs, effects: &mut Vec<RulesEffect>) {
        if !self.state.spec().same_condition(&spec) {
            let mut changes = Changes::default();
            self.state.end(now, &mut changes);
            changes.into_effects(now, effects);
            // An answer to the old question is none to the new one.
            self.asked = None;
        }
        let phase = Phase::of(&spec.name, spec.interval);
        if phase != self.phase {
            self.phase = phase;
            self.due = phase.after(now);
        }
        self.state.become_spec(spec);
    }

    fn evaluated(
        &mut self,
        now: TimestampMs,
        at: TimestampMs,
        outcome: Result<Vec<(Labels, f64)>, String>,
        effects: &mut Vec<RulesEffect>,
    ) {
        let Some((_, asked_at)) = self.asked.take_if(|(asked, _)| *asked == at) else { return };
        self.evaluations += 1;
        self.last_evaluation = Some(at);
        self.last_duration = Some(now.since(asked_at));
        let mut changes = Changes::default();
        match outcome.and_then(|series| self.state.answer(at, series, &mut changes)) {
            Ok(()) => {
                self.last_error = None;
                changes.into_effects(at, effects);
                effects.extend(self.state.due_for_resend(at, RESEND_EVERY).map(RulesEffect::Resend));
            }
            Err(reason) => {
                self.failures += 1;
                if self.last_error.as_ref() != Some(&reason) {
                    effects.push(RulesEffect::Failed { rule: self.state.spec().name.clone(), reason: reason.clone() });
                }
                self.last_error = Some(reason);
            }
        }
    }

    fn evaluate_when_due(&mut self, now: TimestampMs, effects: &mut Vec<RulesEffect>) {
        if self.due > now {
            // The clock went back by more than the plan reaches.
            if self.due.since(now) > self.phase.interval() {
                self.due = self.phase.after(now);
            }
            return;
        }
        let at = if now.since(self.due) < self.phase.interval() { self.due } else { self.phase.at_or_before(now) };
        self.due = self.phase.after(now);
        let lost = self.asked.is_some_and(|(_, asked_at)| asked_at > now || now.since(asked_at) >= ANSWER_LOST_AFTER);
        if self.asked.is_some() {
            self.missed += 1;
            if !lost {
                return;
            }
        }
        self.asked = Some((at, now));
        let rule = self.state.spec();
        effects.push(RulesEffect::Evaluate { rule: rule.name.clone(), expression: rule.expression(), at });
    }

    fn snapshot(&self) -> RuleSnapshot {
        let mut alerts: Vec<Alert> = self.state.alerts().cloned().collect();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        let any = |state| alerts.iter().any(|a| a.state == state);
        let state = [AlertState::Firing, AlertState::Pending].into_iter().find(|s| any(*s));
        RuleSnapshot {
            rule: self.state.spec().clone(),
            state: state.unwrap_or(AlertState::Inactive),
            alerts,
            last_evaluation: self.last_evaluation,
            last_duration: self.last_duration,
            last_error: self.last_error.clone(),
            next_due: self.due,
            evaluations: self.evaluations,
            failures: self.failures,
            missed: self.missed,
            shed: self.state.shed,
        }
    }
}

/// Evaluates rules and keeps their alerts.
#[derive(Debug, Default)]
pub struct Rules {
    rules: BTreeMap<String, Scheduled>,
    /// From before the restart, until the first `Configure` says whose they are.
    restored: BTreeMap<String, Vec<Alert>>,
}

impl Rules {
    /// With the alerts that [`RulesEffect::Persist`] left behind. Alerts whose rule is not in the first
    /// [`RulesInput::Configure`] are resolved then.
    pub fn new(persisted: Vec<Alert>) -> Self {
        let mut restored: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
        for alert in persisted {
            restored.entry(alert.rule.clone()).or_default().push(alert);
        }
        Self { rules: BTreeMap::new(), restored }
    }

    /// Every rule, in order of name.
    pub fn snapshot(&self) -> Vec<RuleSnapshot> {
        self.rules.values().map(Scheduled::snapshot).collect()
    }

    fn configure(&mut self, now: TimestampMs, specs: Vec<ThresholdRule>, effects: &mut Vec<RulesEffect>) {
        let mut old = std::mem::take(&mut self.rules);
        let mut restored = std::mem::take(&mut self.restored);
        for spec in specs {
            let name = spec.name.clone();
            let scheduled = match old.remove(&name) {
                Some(mut kept) => {
                    kept.reconfigure(spec, now, effects);
                    kept
                }
                None => Scheduled::new(spec, restored.remove(&name).unwrap_or_default(), now),
            };
            self.rules.insert(name, scheduled);
        }
        let orphans = restored.into_values().flatten().map(|alert| RuleState::new(orphaned(&alert), vec![alert]));
        for mut gone in old.into_values().map(|s| s.state).chain(orphans) {
            let mut changes = Changes::default();
            gone.end(now, &mut changes);
            changes.into_effects(now, effects);
        }
    }
}

/// Enough of a rule to end an alert whose rule is not there any more.
fn orphaned(alert: &Alert) -> ThresholdRule {
    ThresholdRule {
        name: alert.rule.clone(),
        description: String::new(),
        metric: String::new(),
        condition: crate::threshold::Condition::GreaterThan,
        threshold: f64::NAN,
        duration: Duration::ZERO,
        severity: alert.severity,
        labels: Labels::empty(),
        annotations: Labels::empty(),
        external_labels: Labels::empty(),
        external_url: String::new(),
        interval: RESEND_EVERY,
    }
}

impl Organ for Rules {
    type Input = RulesInput;
    type Effect = RulesEffect;

    fn next_due(&self) -> Option<TimestampMs> {
        self.rules.values().map(|r| r.due).min()
    }

    fn step(&mut self, now: TimestampMs, inputs: Vec<RulesInput>) -> Vec<RulesEffect> {
        let mut effects = Vec::new();
        for input in inputs {
            match input {
                RulesInput::Configure(specs) => self.configure(now, specs, &mut effects),
                RulesInput::Evaluated { rule, at, outcome } => {
                    if let Some(scheduled) = self.rules.get_mut(&rule) {
                        scheduled.evaluated(now, at, outcome, &mut effects);
                    }
                }
            }
        }
        for scheduled in self.rules.values_mut() {
            scheduled.evaluate_when_due(now, &mut effects);
        }
        effects
    }
}

#[cfg(test)]
#[path = "organ_tests.rs"]
mod tests;
