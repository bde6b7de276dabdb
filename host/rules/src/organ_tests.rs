use belfry_model::{METRIC_NAME, Severity};

use super::*;
use crate::threshold::Condition;
use belfry_model::sample::is_stale;

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn rule(name: &str, hold_minutes: u32) -> ThresholdRule {
    ThresholdRule {
        name: name.into(),
        description: "too hot".into(),
        metric: "cpu".into(),
        condition: Condition::GreaterThan,
        threshold: 90.0,
        duration: MINUTE * hold_minutes,
        severity: Severity::Critical,
        labels: Labels::from_pairs([("team", "ops")]),
        annotations: Labels::empty(),
        external_labels: Labels::from_pairs([("region", "eu")]),
        external_url: "http://b".into(),
        interval: MINUTE,
    }
}

fn core(n: &str, value: f64) -> (Labels, f64) {
    (Labels::from_pairs([(METRIC_NAME, "cpu"), ("core", n)]), value)
}

/// A world around the organ: persists what it is told to, answers what it is asked.
struct World {
    organ: Rules,
    now: TimestampMs,
    rows: BTreeMap<(String, Fingerprint), Alert>,
    events: Vec<AlertEvent>,
    samples: BTreeMap<Labels, f64>,
    resent: usize,
    failed: Vec<String>,
}

impl World {
    fn new(rules: Vec<ThresholdRule>) -> Self {
        let mut world = Self {
            organ: Rules::new(Vec::new()),
            now: T0,
            rows: BTreeMap::new(),
            events: Vec::new(),
            samples: BTreeMap::new(),
            resent: 0,
            failed: Vec::new(),
        };
        world.step(RulesInput::Configure(rules));
        world
    }

    fn step(&mut self, input: RulesInput) {
        let effects = self.organ.step(self.now, vec![input]);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<RulesEffect>) -> Vec<(String, TimestampMs)> {
        let mut asked = Vec::new();
        for effect in effects {
            match effect {
                RulesEffect::Evaluate { rule, at, .. } => asked.push((rule, at)),
                RulesEffect::Emit(event) => self.events.push(event),
                RulesEffect::Resend(alerts) => self.resent += alerts.len(),
                RulesEffect::Persist { put, remove } => {
                    for alert in put {
                        self.rows.insert((alert.rule.clone(), alert.fingerprint), alert);
                    }
                    for key in remove {
                        self.rows.remove(&key);
                    }
                }
                RulesEffect::Record { samples, .. } => self.samples.extend(samples),
                RulesEffect::Failed { reason, .. } => self.failed.push(reason),
            }
        }
        asked
    }

    /// Moves to the next due time and answers every question with `outcome`.
    fn round(&mut self, outcome: Result<Vec<(Labels, f64)>, String>) {
        self.now = self.organ.next_due().expect("a rule");
        let effects = self.organ.step(self.now, Vec::new());
        for (rule, at) in self.perform(effects) {
            self.now = self.now + Duration::from_millis(7);
            self.step(RulesInput::Evaluated { rule, at, outcome: outcome.clone() });
        }
    }

    fn restart(&mut self, rules: Vec<ThresholdRule>) {
        self.organ = Rules::new(self.rows.values().cloned().collect());
        self.step(RulesInput::Configure(rules));
    }

    fn transitions(&mut self) -> Vec<(&'static str, &'static str)> {
        self.events.drain(..).map(|e| (e.from.as_str(), e.alert.state.as_str())).collect()
    }
}

#[test]
fn each_matching_series_has_an_alert_of_its_own() {
    let mut world = World::new(vec![rule("hot", 0)]);
    world.round(Ok(vec![core("0", 95.0), core("1", 50.0), core("2", 99.5)]));
    let snapshot = &world.organ.snapshot()[0];
    let labels: Vec<String> = snapshot.alerts.iter().map(|a| a.labels.to_string()).collect();
    assert_eq!(
        labels,
        [
            r#"{alertname="hot", core="0", severity="critical", team="ops"}"#,
            r#"{alertname="hot", core="2", severity="critical", team="ops"}"#,
        ]
    );
    let annotations = &snapshot.alerts[1].annotations;
    assert_eq!(annotations.get("summary"), Some("cpu is 99.500 (> 90)"));
    assert_eq!(annotations.get("description"), Some("too hot"));
    assert_eq!(snapshot.state, AlertState::Firing);
    assert_eq!(snapshot.last_duration, Some(Duration::from_millis(7)));
}

#[test]
fn annotations_are_templates_as_those_of_rule_files() {
    let annotations = [
        ("summary", "{{ $labels.core }} of {{ $labels.team }}{{ $labels.__name__ }} at {{ printf \"%.1f\" $value }}"),
        ("where", "{{ $externalLabels.region }} {{ externalURL }}"),
        ("wrong", "{{ $value.x }}"),
        ("plain", "{ $value }"),
    ];
    let (annotations, description) = (Labels::from_pairs(annotations), "{{ $labels.core }} is too hot".to_owned());
    let mut world = World::new(vec![ThresholdRule { annotations, description, ..rule("hot", 0) }]);
    world.round(Ok(vec![core("7", 93.25)]));
    let told = world.events[0].alert.annotations.clone();
    assert_eq!(told.get("summary"), Some("7 of cpu at 93.2"));
    assert_eq!(told.get("where"), Some("eu http://b"));
    assert_eq!(told.get("description"), Some("7 is too hot"));
    assert_eq!(told.get("plain"), Some("{ $value }"));
    assert!(
        told.get("wrong")
            .is_some_and(|t| t.starts_with("<error expanding template: error executing template __alert_hot"))
    );
    world.round(Ok(vec![core("7", 96.0)]));
    assert_eq!(world.organ.snapshot()[0].alerts[0].annotations.get("summary"), Some("7 of cpu at 96.0"));
}

#[test]
fn a_series_that_vanishes_resolves() {
    let mut world = World::new(vec![rule("hot", 1)]);
    for _ in 0..3 {
        world.round(Ok(vec![core("0", 95.0)]));
    }
    assert_eq!(world.transitions(), [("inactive", "pending"), ("pending", "firing")]);
    world.round(Ok(vec![]));
    assert_eq!(world.transitions(), [("firing", "resolved")]);
    assert!(world.rows.is_empty());
}

#[test]
fn a_rule_that_fails_keeps_the_state_of_its_alerts_and_says_so_once() {
    let mut world = World::new(vec![rule("hot", 0)]);
    world.round(Ok(vec![core("0", 95.0)]));
    for _ in 0..3 {
        world.round(Err("no such store".into()));
    }
    assert_eq!(world.failed, ["no such store"]);
    assert_eq!(world.rows.len(), 1);
    let snapshot = world.organ.snapshot().remove(0);
    assert_eq!((snapshot.failures, snapshot.last_error.as_deref()), (3, Some("no such store")));
    world.round(Ok(vec![core("0", 95.0)]));
    assert_eq!(world.transitions(), [("inactive", "firing")]);
    assert_eq!(world.organ.snapshot()[0].last_error, None);
}

#[test]
fn the_hold_survives_a_restart() {
    let mut world = World::new(vec![rule("hot", 3)]);
    world.round(Ok(vec![core("0", 95.0)]));
    world.round(Ok(vec![core("0", 95.0)]));
    world.restart(vec![rule("hot", 3)]);
    for _ in 0..2 {
        world.round(Ok(vec![core("0", 95.0)]));
    }
    assert_eq!(world.transitions(), [("inactive", "pending"), ("pending", "firing")]);
}

#[test]
fn a_restart_while_firing_tells_nothing_new_even_when_the_series_comes_back_late() {
    let mut world = World::new(vec![rule("hot", 1)]);
    for _ in 0..2 {
        world.round(Ok(vec![core("0", 95.0)]));
    }
    world.transitions();
    world.restart(vec![rule("hot", 1)]);
    let fired_at = world.rows.values().next().unwrap().fired_at;
    world.round(Ok(vec![]));
    world.round(Ok(vec![core("0", 95.0)]));
    assert_eq!(world.transitions(), []);
    assert_eq!(world.organ.snapshot()[0].alerts[0].fired_at, fired_at);
    assert!(world.resent > 0, "notify is told again that it fires");
}

#[test]
fn a_series_that_never_comes_back_after_a_restart_resolves_in_the_end() {
    let mut world = World::new(vec![rule("hot", 1)]);
    for _ in 0..2 {
        world.round(Ok(vec![core("0", 95.0)]));
    }
    world.transitions();
    world.restart(vec![rule("hot", 1)]);
    for _ in 0..3 {
        world.round(Ok(vec![]));
    }
    assert_eq!(world.transitions(), [("firing", "resolved")]);
}

#[test]
fn alerts_of_rules_that_go_are_resolved_also_when_they_went_during_a_restart() {
    for restart in [false, true] {
        let mut world = World::new(vec![rule("hot", 0), rule("stays", 0)]);
        world.round(Ok(vec![core("0", 95.0)]));
        world.round(Ok(vec![core("0", 95.0)]));
        world.transitions();
        if restart {
            world.restart(vec![rule("stays", 0)]);
        } else {
            world.step(RulesInput::Configure(vec![rule("stays", 0)]));
        }
        assert_eq!(world.transitions(), [("firing", "resolved")], "restart: {restart}");
        assert_eq!(world.rows.len(), 1);
    }
}

#[test]
fn a_reload_keeps_the_state_unless_the_condition_changed() {
    let mut world = World::new(vec![rule("hot", 0)]);
    world.round(Ok(vec![core("0", 95.0)]));
    world.transitions();
    let mut reworded = rule("hot", 0);
    reworded.description = "still too hot".into();
    world.step(RulesInput::Configure(vec![reworded.clone()]));
    assert_eq!(world.transitions(), []);
    reworded.threshold = 94.0;
    world.step(RulesInput::Configure(vec![reworded]));
    assert_eq!(world.transitions(), [("firing", "resolved")]);
}

#[test]
fn series_that_become_one_alert_are_an_error_not_a_coin_toss() {
    let mut world = World::new(vec![rule("hot", 0)]);
    let double = Labels::from_pairs([(METRIC_NAME, "cpu_other"), ("core", "0")]);
    world.round(Ok(vec![core("0", 95.0), (double, 1.0)]));
    assert!(world.failed[0].starts_with("two series become the same alert"), "{:?}", world.failed);
}

#[test]
fn a_flood_of_alerts_is_bounded_and_counted() {
    let mut world = World::new(vec![rule("hot", 0)]);
    let flood = (0..ALERTS_MAX + 5).map(|n| core(&format!("{n:05}"), 99.0)).collect();
    world.round(Ok(flood));
    let snapshot = world.organ.snapshot().remove(0);
    assert_eq!((snapshot.alerts.len(), snapshot.shed), (ALERTS_MAX, 5));
}
const ALERTS_MAX: usize = crate::rule::ALERTS_PER_RULE_MAX;

#[test]
fn alerts_are_recorded_and_end_with_a_stale_marker() {
    let mut world = World::new(vec![rule("hot", 1)]);
    let series = |name: &str, state: &str| {
        Labels::from_pairs([
            (METRIC_NAME, name),
            ("alertname", "hot"),
            ("alertstate", state),
            ("core", "0"),
            ("severity", "critical"),
            ("team", "ops"),
        ])
    };
    world.round(Ok(vec![core("0", 95.0)]));
    let since = world.events[0].alert.active_since;
    assert_eq!(world.samples[&series("ALERTS", "pending")], 1.0);
    assert_eq!(world.samples[&series("ALERTS_FOR_STATE", "")], since.as_secs_f64());
    world.round(Ok(vec![core("0", 95.0)]));
    assert!(is_stale(world.samples[&series("ALERTS", "pending")]));
    assert_eq!(world.samples[&series("ALERTS", "firing")], 1.0);
    world.round(Ok(vec![core("0", 5.0)]));
    assert!(is_stale(world.samples[&series("ALERTS", "firing")]));
    assert!(is_stale(world.samples[&series("ALERTS_FOR_STATE", "")]));
}

#[test]
fn rules_of_one_interval_are_staggered_and_none_is_asked_twice_at_a_time() {
    let mut organ = Rules::new(Vec::new());
    let effects = organ.step(T0, vec![RulesInput::Configure((0..20).map(|n| rule(&format!("r{n}"), 0)).collect())]);
    assert_eq!(effects, [], "the first answer is not asked for before sources had a moment");
    let mut times = std::collections::BTreeSet::new();
    let mut now = T0;
    while now < T0 + MINUTE * 4 {
        now = organ.next_due().unwrap();
        for effect in organ.step(now, Vec::new()) {
            let RulesEffect::Evaluate { at, .. } = effect else { panic!("{effect:?}") };
            assert_eq!(at, now);
            times.insert(at);
        }
    }
    assert!(times.len() >= 15 && times.last() < Some(&(T0 + MINUTE + MINUTE)), "{times:?}");
    assert!(organ.snapshot().iter().all(|r| r.missed >= 2));
}

#[test]
fn an_answer_that_never_comes_does_not_stop_the_rule() {
    let mut world = World::new(vec![rule("hot", 0)]);
    let mut asked = 0;
    while world.now < T0 + MINUTE * 12 {
        world.now = world.organ.next_due().unwrap();
        let effects = world.organ.step(world.now, Vec::new());
        asked += world.perform(effects).len();
    }
    assert_eq!(asked, 3);
}

#[test]
fn firing_alerts_are_told_again_every_minute() {
    let mut fast = rule("hot", 0);
    fast.interval = Duration::from_secs(5);
    let mut world = World::new(vec![fast]);
    while world.now < T0 + MINUTE * 10 {
        world.round(Ok(vec![core("0", 95.0)]));
    }
    assert!((9..=11).contains(&world.resent), "{}", world.resent);
}

/// A crash between any two effects, then the same answers again: the events that were not followed by their rows are
/// emitted again, and the rows end up the same as without a crash.
#[test]
fn a_crash_between_any_two_effects_loses_no_event() {
    let hot = |v| Ok(vec![core("0", v)]);
    for crash_at in 0.. {
        let mut world = World::new(vec![rule("hot", 0)]);
        world.now = world.organ.next_due().unwrap();
        let asked = world.organ.step(world.now, Vec::new());
        let (rule_name, at) = world.perform(asked).remove(0);
        let effects =
            world.organ.step(world.now, vec![RulesInput::Evaluated { rule: rule_name, at, outcome: hot(95.0) }]);
        let finished = crash_at >= effects.len();
        world.perform(effects.into_iter().take(crash_at).collect());
        world.restart(vec![rule("hot", 0)]);
        world.round(hot(95.0));
        let fired = world.events.iter().filter(|e| e.alert.state == AlertState::Firing).count();
        assert!(fired >= 1, "crash before effect {crash_at}");
        assert_eq!(world.rows.len(), 1);
        if finished {
            assert_eq!(fired, 1, "after an orderly step nothing is told twice");
            break;
        }
    }
}
