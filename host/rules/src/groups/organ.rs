//! The organ: which group is due, which rule of it is next, and what an answer leads to.
//!
//! Invariant: a group has at most one round in flight, and of the rules in it that depend on each other at most one
//! evaluation; independent ones are evaluated beside them. The effects of a step are to be performed in order, each
//! before the next, so that a rule sees what the rule before it recorded, and a crash between two of them loses
//! nothing (an event may be told twice).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, Labels, Organ, Phase, TimestampMs};
use belfry_promql::PointValue;

use super::round::Round;
use super::shared::Shared;
use super::spec::{GroupSpec, Row, RuleSpec};
use super::state::{Active, Changes, RuleState, StoredAlert, is_active, orphan};
use crate::organ::ANSWER_LOST_AFTER;

/// What the organ is told.
#[derive(Clone, Debug)]
pub enum GroupsInput {
    /// The groups from now on. State of rules that stay (by group, name and labels) is kept, as Prometheus does.
    Configure {
        /// Of all files that could be read, or their last good version.
        groups: Vec<GroupSpec>,
        /// Files that are there but cannot be read, without a version before: what was kept of their alerts waits.
        unread: Vec<String>,
    },
    /// The answer to [`GroupsEffect::Evaluate`].
    Evaluated {
        /// [`Job::group`].
        group: Arc<str>,
        /// [`Job::serial`].
        serial: u64,
        /// How long it took.
        took: Duration,
        /// [`RuleSpec::rows`], or why there are none.
        outcome: Result<Vec<Row>, String>,
    },
}

/// One rule to be evaluated.
#[derive(Clone, Debug)]
pub struct Job {
    /// Key of the group.
    pub group: Arc<str>,
    /// Comes back with the answer.
    pub serial: u64,
    /// The evaluation's time: that of alerts, and the `now` of templates.
    pub at: TimestampMs,
    /// The instant to evaluate at: `at` less the group's offset.
    pub query_at: TimestampMs,
    /// What to evaluate, and how to make rows of it.
    pub rule: Arc<RuleSpec>,
    /// What the rules of this evaluation have read already.
    pub shared: Arc<Shared>,
}

/// What the organ wants done.
#[derive(Clone, Debug)]
pub enum GroupsEffect {
    /// Evaluate and answer with [`GroupsInput::Evaluated`].
    Evaluate(Job),
    /// Alerts changed their states: for notify and the journal.
    Emit(Vec<AlertEvent>),
    /// These go on firing: notify is told again.
    Resend(Vec<Alert>),
    /// Remember these alerts; forget those.
    Persist {
        /// Insert or replace, by rule and fingerprint.
        put: Vec<StoredAlert>,
        /// Delete.
        remove: Vec<(String, Fingerprint)>,
    },
    /// The group was evaluated at this time while a `for` clock was running: remember it.
    Seen {
        /// Key of the group.
        group: Arc<str>,
        /// When.
        at: TimestampMs,
    },
    /// Samples to write, stale markers included.
    Record {
        /// The instant.
        at: TimestampMs,
        /// Labels (metric name included) and value.
        samples: Vec<(Labels, PointValue)>,
    },
    /// A rule could not be evaluated; its alerts keep their state. Told once for each new reason.
    Failed {
        /// Key of the group.
        group: Arc<str>,
        /// Name of the rule.
        rule: Arc<str>,
        /// Why.
        reason: String,
    },
}

/// How a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    /// The last evaluation worked.
    Ok,
    /// It failed, and why.
    Bad(String),
}

/// A rule as it stands.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// What it is.
    pub spec: Arc<RuleSpec>,
    /// The worst state of its alerts: firing, pending or inactive.
    pub state: AlertState,
    /// Pending, firing and lately resolved, in order of labels.
    pub alerts: Vec<Active>,
    /// How it does.
    pub health: Health,
    /// The time last evaluated.
    pub last_evaluation: Option<TimestampMs>,
    /// How long that took.
    pub evaluation_time: Duration,
    /// Evaluations, failed ones included.
    pub evaluations: u64,
    /// Failed ones.
    pub failures: u64,
}

/// A group as it stands.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// File and name.
    pub key: Arc<str>,
    /// Its file.
    pub file: Arc<str>,
    /// Its name.
    pub name: String,
    /// How often.
    pub interval: Duration,
    /// How far before its time.
    pub query_offset: Duration,
    /// Series or alerts a rule may give; 0 for any number.
    pub limit: usize,
    /// In order.
    pub rules: Vec<RuleView>,
    /// The time last evaluated, all rules.
    pub last_evaluation: Option<TimestampMs>,
    /// How long that took, from the first question to the last answer.
    pub evaluation_time: Duration,
    /// How late its first question was.
    pub lag: Duration,
    /// Evaluations begun, and due ones left out.
    pub iterations: u64,
    /// Due times left out because the evaluation before still ran or the host slept.
    pub missed: u64,
    /// Samples of the last evaluation.
    pub samples: u64,
}

#[derive(Debug)]
struct Scheduled {
    state: RuleState,
    health: Health,
    last_evaluation: Option<TimestampMs>,
    took: Duration,
    evaluations: u64,
    failures: u64,
}

#[derive(Debug)]
struct Running {
    spec: GroupSpec,
    phase: Phase,
    due: TimestampMs,
    rules: Vec<Scheduled>,
    round: Option<Round>,
    last: Option<(TimestampMs, Duration, u64)>,
    lag: Duration,
    iterations: u64,
    missed: u64,
}

/// Evaluates groups and keeps their alerts.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<Arc<str>, Running>,
    /// From before the restart, by rule, until a `Configure` says whose they are.
    kept: HashMap<String, Vec<StoredAlert>>,
    seen: HashMap<String, TimestampMs>,
    serial: u64,
}

impl Groups {
    /// With what [`GroupsEffect::Persist`] and [`GroupsEffect::Seen`] left behind.
    pub fn new(kept: Vec<StoredAlert>, seen: Vec<(String, TimestampMs)>) -> Self {
        let mut by_rule: HashMap<String, Vec<StoredAlert>> = HashMap::new();
        for alert in kept {
            by_rule.entry(alert.rule.clone()).or_default().push(alert);
        }
        Self { kept: by_rule, seen: seen.into_iter().collect(), ..Self::default() }
    }

    /// Every group, in order of file and name.
    pub fn snapshot(&self) -> Vec<GroupSnapshot> {
        self.groups.values().map(Running::snapshot).collect()
    }

    fn configure(
        &mut self,
        now: TimestampMs,
        specs: Vec<GroupSpec>,
        unread: &[String],
        effects: &mut Vec<GroupsEffect>,
    ) {
        let mut old = std::mem::take(&mut self.groups);
        let mut changes = Changes::default();
        for spec in specs {
            let running = match old.remove(&spec.key) {
                Some(same) if same.spec.same(&spec) => same,
                before => self.take_over(spec, before, now, &mut changes),
            };
            self.groups.insert(running.spec.key.clone(), running);
        }
        for gone in old.into_values().flat_map(|g| g.rules) {
            let mut state = gone.state;
            state.remove(now, &mut changes);
        }
        let waits =
            |key: &String| unread.iter().any(|file| key.strip_prefix(&**file).is_some_and(|k| k.starts_with(';')));
        let orphans: Vec<String> = self.kept.keys().filter(|key| !waits(key)).cloned().collect();
        for kept in orphans.iter().filter_map(|key| self.kept.remove(key)).flatten() {
            orphan(kept, now, &mut changes);
        }
        into_effects(changes, now, effects);
    }

    /// A group that is new or has changed: its rules take over the state of those that they were.
    fn take_over(
        &mut self,
        spec: GroupSpec,
        before: Option<Running>,
        now: TimestampMs,
        changes: &mut Changes,
    ) -> Running {
        let phase = Phase::of(&spec.key, spec.interval);
        let seen = self.seen.get(&*spec.key).copied();
        let mut running = Running {
            phase,
            due: phase.after(now),
            rules: Vec::new(),
            round: None,
            last: None,
            lag: Duration::ZERO,
            iterations: 0,
            missed: 0,
            spec,
        };
        let mut states: HashMap<String, Scheduled> = HashMap::new();
        if let Some(before) = before {
            if before.phase == phase {
                running.due = before.due;
            }
            running.last = before.last;
            (running.iterations, running.missed, running.lag) = (before.iterations, before.missed, before.lag);
            states.extend(before.rules.into_iter().map(|r| (r.state.spec.key.clone(), r)));
        }
        for rule in &running.spec.rules {
            let scheduled = match states.remove(&rule.key).filter(|s| s.state.spec.kind == rule.kind) {
                Some(mut same) => {
                    same.state.spec = rule.clone();
                    same
                }
                None => Scheduled {
                    state: RuleState::new(rule.clone(), self.kept.remove(&rule.key).unwrap_or_default(), seen),
                    health: Health::Unknown,
                    last_evaluation: None,
                    took: Duration::ZERO,
                    evaluations: 0,
                    failures: 0,
                },
            };
            running.rules.push(scheduled);
        }
        for mut gone in states.into_values() {
            gone.state.remove(now, changes);
        }
        running
    }
}

/// Events come first: should the process die after them, what is kept still says the state before, and the next answer
/// leads to the same events again.
fn into_effects(changes: Changes, at: TimestampMs, effects: &mut Vec<GroupsEffect>) {
    if !changes.events.is_empty() {
        effects.push(GroupsEffect::Emit(changes.events));
    }
    if !changes.put.is_empty() || !changes.remove.is_empty() {
        effects.push(GroupsEffect::Persist { put: changes.put, remove: changes.remove });
    }
    if !changes.resend.is_empty() {
        effects.push(GroupsEffect::Resend(changes.resend));
    }
    if !changes.samples.is_empty() {
        effects.push(GroupsEffect::Record { at, samples: changes.samples });
    }
}

impl Running {
    fn begin_when_due(&mut self, now: TimestampMs, serial: &mut u64, effects: &mut Vec<GroupsEffect>) {
        if self.due > now {
            // The clock went back by more than the plan reaches.
            if self.due.since(now) > self.phase.interval() {
                self.due = self.phase.after(now);
            }
            return;
        }
        let at = self.phase.at_or_before(now);
        let skipped = (at.since(self.due).as_millis() / self.phase.interval().as_millis().max(1)) as u64;
        self.due = self.phase.after(now);
        self.iterations += 1 + skipped;
        self.missed += skipped;
        if let Some(round) = &self.round {
            let lost = round.begun > now || now.since(round.begun) >= ANSWER_LOST_AFTER;
            if !lost {
                self.missed += 1;
                return;
            }
        }
        self.lag = now.since(at);
        if self.rules.is_empty() {
            self.last = Some((at, Duration::ZERO, 0));
            return;
        }
        self.round = Some(Round::new(at, now));
        self.ask(serial, effects);
    }

    /// Asks for the rules that may be evaluated now.
    fn ask(&mut self, serial: &mut u64, effects: &mut Vec<GroupsEffect>) {
        let Some(round) = &mut self.round else { return };
        while let Some(rule) = round.next(&self.spec.independent, *serial + 1) {
            *serial += 1;
            let Some(rule) = self.rules.get(rule) else { return };
            effects.push(GroupsEffect::Evaluate(Job {
                group: self.spec.key.clone(),
                serial: *serial,
                at: round.at,
                query_at: round.at.minus(self.spec.query_offset),
                rule: rule.state.spec.clone(),
                shared: round.shared.clone(),
            }));
        }
    }

    fn evaluated(
        &mut self,
        now: TimestampMs,
        serial: u64,
        took: Duration,
        outcome: Result<Vec<Row>, String>,
        next_serial: &mut u64,
        effects: &mut Vec<GroupsEffect>,
    ) {
        let Some(round) = &mut self.round else { return };
        let at = round.at;
        let Some(index) = round.answered(serial, took, &self.spec.independent) else { return };
        let Some(rule) = self.rules.get_mut(index) else { return };
        rule.evaluations += 1;
        rule.last_evaluation = Some(at);
        rule.took = took;
        let mut changes = Changes::default();
        let written_at = at.minus(self.spec.query_offset);
        let mut answered = outcome.and_then(|rows| rule.state.answer(at, rows, self.spec.limit, &mut changes));
        if self.spec.rivals.get(index).copied().unwrap_or(false) {
            let refused = round.written.admit(written_at, &mut changes.samples);
            refused.series.iter().for_each(|series| rule.state.disown(series));
            answered = answered.and(refused.reason.map_or(Ok(()), Err));
        }
        let health = match answered {
            Ok(()) => Health::Ok,
            Err(reason) => {
                rule.failures += 1;
                Health::Bad(reason)
            }
        };
        if let Health::Bad(reason) = &health
            && rule.health != health
        {
            let (group, rule) = (self.spec.key.clone(), rule.state.spec.name.clone());
            effects.push(GroupsEffect::Failed { group, rule, reason: reason.clone() });
        }
        rule.health = health;
        round.samples += changes.samples.len() as u64;
        round.shared.recorded(changes.samples.iter().map(|(labels, _)| labels));
        into_effects(changes, written_at, effects);
        self.ask(next_serial, effects);
        if let Some(round) = self.round.take_if(|round| round.is_over()) {
            self.last = Some((at, round.took(now), round.samples));
            if self.rules.iter().any(|r| r.state.is_waiting()) {
                effects.push(GroupsEffect::Seen { group: self.spec.key.clone(), at });
            }
        }
    }

    fn snapshot(&self) -> GroupSnapshot {
        let (last_evaluation, evaluation_time, samples) = match self.last {
            Some((at, took, samples)) => (Some(at), took, samples),
            None => (None, Duration::ZERO, 0),
        };
        GroupSnapshot {
            key: self.spec.key.clone(),
            file: self.spec.file.clone(),
            name: self.spec.name.clone(),
            interval: self.spec.interval,
            query_offset: self.spec.query_offset,
            limit: self.spec.limit.unwrap_or(0),
            rules: self.rules.iter().map(Scheduled::view).collect(),
            last_evaluation,
            evaluation_time,
            lag: self.lag,
            iterations: self.iterations,
            missed: self.missed,
            samples,
        }
    }
}

impl Scheduled {
    fn view(&self) -> RuleView {
        let mut alerts: Vec<Active> = self.state.alerts.values().cloned().collect();
        alerts.sort_by(|a, b| a.alert.labels.cmp(&b.alert.labels));
        let any = |state| alerts.iter().any(|a| is_active(&a.alert) && a.alert.state == state);
        let state = [AlertState::Firing, AlertState::Pending].into_iter().find(|s| any(*s));
        RuleView {
            spec: self.state.spec.clone(),
            state: state.unwrap_or(AlertState::Inactive),
            alerts,
            health: self.health.clone(),
            last_evaluation: self.last_evaluation,
            evaluation_time: self.took,
            evaluations: self.evaluations,
            failures: self.failures,
        }
    }
}

impl Organ for Groups {
    type Input = GroupsInput;
    type Effect = GroupsEffect;

    fn next_due(&self) -> Option<TimestampMs> {
        self.groups.values().map(|g| g.due).min()
    }

    fn step(&mut self, now: TimestampMs, inputs: Vec<GroupsInput>) -> Vec<GroupsEffect> {
        let mut effects = Vec::new();
        for input in inputs {
            match input {
                GroupsInput::Configure { groups, unread } => self.configure(now, groups, &unread, &mut effects),
                GroupsInput::Evaluated { group, serial, took, outcome } => {
                    if let Some(running) = self.groups.get_mut(&group) {
                        running.evaluated(now, serial, took, outcome, &mut self.serial, &mut effects);
                    }
                }
            }
        }
        for running in self.groups.values_mut() {
            running.begin_when_due(now, &mut self.serial, &mut effects);
        }
        effects
    }
}

#[cfg(test)]
#[path = "organ_tests.rs"]
mod tests;
