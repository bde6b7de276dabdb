use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use belfry_model::read::Cancel;
use belfry_model::sample::is_stale;
use belfry_model::{METRIC_NAME, Sample, Value};
use belfry_promql::{Query, QueryLimits, QueryTime, QueryValue};
use belfry_template::NoQueries;
use belfry_testkit::MemorySeries;

use super::*;
use crate::file;
use crate::groups::Defaults;

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// What a world does, a minute a step: `v(minute)` is the value of `load{core="0"}`; `None` for no sample.
struct World {
    organ: Groups,
    now: TimestampMs,
    series: MemorySeries,
    rows: BTreeMap<(String, Fingerprint), StoredAlert>,
    seen: BTreeMap<String, TimestampMs>,
    /// Minute since `T0`, from, to.
    events: Vec<(u64, &'static str, &'static str)>,
    resent: usize,
    failed: Vec<String>,
    asked: Vec<(String, TimestampMs, TimestampMs)>,
    specs: Vec<GroupSpec>,
}

fn specs(yaml: &str) -> Vec<GroupSpec> {
    let file = file::parse(yaml, "r.yml").unwrap_or_else(|p| panic!("{p:?}"));
    let defaults = Defaults {
        interval: MINUTE,
        query_offset: Duration::ZERO,
        external_labels: Labels::from_pairs([("region", "eu")]),
        external_url: "http://b".into(),
    };
    GroupSpec::of_file(&file, &defaults)
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("series in memory are there at once"),
    }
}

impl World {
    fn new(yaml: &str) -> Self {
        let mut world = Self {
            organ: Groups::new(Vec::new(), Vec::new()),
            now: T0,
            series: MemorySeries::new(),
            rows: BTreeMap::new(),
            seen: BTreeMap::new(),
            events: Vec::new(),
            resent: 0,
            failed: Vec::new(),
            asked: Vec::new(),
            specs: Vec::new(),
        };
        world.configure(yaml);
        world
    }

    fn configure(&mut self, yaml: &str) {
        self.specs = specs(yaml);
        let groups = self.specs.clone();
        self.step(vec![GroupsInput::Configure { groups, unread: Vec::new() }]);
    }

    fn step(&mut self, inputs: Vec<GroupsInput>) {
        let mut inputs = inputs;
        loop {
            let effects = self.organ.step(self.now, std::mem::take(&mut inputs));
            for effect in effects {
                self.perform(effect, &mut inputs);
            }
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn perform(&mut self, effect: GroupsEffect, inputs: &mut Vec<GroupsInput>) {
        match effect {
            GroupsEffect::Evaluate(job) => {
                self.asked.push((job.rule.name.to_string(), job.at, job.query_at));
                let outcome = self.evaluate(&job);
                inputs.push(GroupsInput::Evaluated {
                    group: job.group,
                    serial: job.serial,
                    took: Duration::from_millis(7),
                    outcome,
                });
            }
            GroupsEffect::Emit(events) => {
                let minute = self.now.since(T0).as_secs() / 60;
                self.events.extend(events.iter().map(|e| (minute, e.from.as_str(), e.alert.state.as_str())));
            }
            GroupsEffect::Resend(alerts) => self.resent += alerts.len(),
            GroupsEffect::Persist { put, remove } => {
                for row in put {
                    self.rows.insert((row.rule.clone(), row.alert.fingerprint), row);
                }
                for key in remove {
                    assert!(self.rows.remove(&key).is_some(), "only what is there is removed: {key:?}");
                }
            }
            GroupsEffect::Seen { group, at } => drop(self.seen.insert(group.to_string(), at)),
            GroupsEffect::Record { at, samples } => {
                for (labels, value) in samples {
                    let PointValue::Float(value) = value else { panic!("floats only") };
                    self.series.push(&labels, Sample { at, value: Value::Float(value), start: None });
                }
            }
            GroupsEffect::Failed { reason, .. } => self.failed.push(reason),
        }
    }

    fn evaluate(&self, job: &Job) -> Result<Vec<Row>, String> {
        let points = self.vector(&job.rule.expr, job.query_at).map_err(|e| e.to_string())?;
        job.rule.rows(points, &NoQueries, job.at)
    }

    fn vector(
        &self,
        expr: &str,
        at: TimestampMs,
    ) -> Result<Vec<belfry_promql::VectorPoint>, belfry_promql::QueryError> {
        let query = Query::parse(expr, QueryTime::Instant(at), QueryLimits::default())?;
        let answer = at_once(query.fetch(&self.series))?.evaluate(&Cancel::default())?;
        Ok(match answer.value {
            QueryValue::Vector(points) => points,
            _ => Vec::new(),
        })
    }

    /// One minute: `load{core=…}` gets these values, and what is due is evaluated.
    fn minute(&mut self, values: &[(&str, f64)]) {
        self.now = self.now + MINUTE;
        for (core, value) in values {
            let labels = Labels::from_pairs([(METRIC_NAME, "load"), ("core", *core)]);
            self.series.push(&labels, Sample { at: self.now - MINUTE, value: Value::Float(*value), start: None });
        }
        self.step(Vec::new());
    }

    /// `#` is a minute with 1, `.` one with 0, `|` one in which the process is gone.
    fn play(&mut self, minutes: &str) {
        let mut gone = false;
        for c in minutes.chars() {
            if c == '|' {
                self.now = self.now + MINUTE;
                gone = true;
                continue;
            }
            if std::mem::take(&mut gone) {
                self.restart();
            }
            self.minute(&[("0", f64::from(u8::from(c == '#')))]);
        }
    }

    fn restart(&mut self) {
        let rows: Vec<StoredAlert> = self.rows.values().cloned().collect();
        let seen = self.seen.iter().map(|(k, v)| (k.clone(), *v)).collect();
        let json = serde_json::to_string(&rows).expect("rows are JSON");
        self.organ = Groups::new(serde_json::from_str(&json).expect("and read back"), seen);
        self.organ.step(self.now, vec![GroupsInput::Configure { groups: self.specs.clone(), unread: Vec::new() }]);
    }

    /// What was told, a column a minute, as in `play`.
    fn told(&mut self, minutes: usize) -> String {
        let mut line = vec!['.'; minutes];
        for (minute, _, to) in self.events.drain(..) {
            line[minute as usize - 1] = match to {
                "firing" => 'F',
                "resolved" => 'R',
                "pending" => 'p',
                _ => 'i',
            };
        }
        line.into_iter().collect()
    }

    fn now_is(&self, expr: &str) -> Vec<String> {
        let mut all: Vec<String> =
            self.vector(expr, self.now).expect("valid").iter().map(|p| p.labels.to_string()).collect();
        all.sort();
        all
    }
}

fn alert(fields: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n  - alert: Hot\n    expr: load > 0\n{fields}")
}

#[track_caller]
fn check(fields: &str, minutes: &str, expected: &str) {
    let mut world = World::new(&alert(fields));
    world.play(minutes);
    assert_eq!(world.told(minutes.len()), expected, "{minutes}");
}

#[test]
fn for_and_keep_firing_for_run_as_in_prometheus() {
    check("", ".##.#.", ".F.RFR");
    check(
        "    for: 2m\n",
        "..####..##.", //
        "..p.F.R.p.i",
    );
    check(
        "    for: 1m\n    keep_firing_for: 2m\n",
        "##..#...##", //
        "pF.....RpF",
    );
}

#[test]
fn what_waits_goes_on_waiting_after_a_restart_and_the_time_away_is_not_counted() {
    check(
        "    for: 3m\n",
        "##|||####", //
        "p......F.",
    );
    check(
        "    for: 3m\n",
        "#####|##.", //
        "p..F....R",
    );
    check(
        "    keep_firing_for: 3m\n",
        "#.|...", // Known not to hold since the second minute: nobody waits for it to come back.
        "F...R.",
    );
    let away = "|".repeat(70);
    check("    for: 2m\n", &format!("##{away}###"), &format!("p.{}..F", ".".repeat(70)));
}

#[test]
fn what_fires_is_not_resolved_because_its_source_is_late_after_a_restart() {
    let mut world = World::new(&alert(""));
    world.play("#|||||||");
    world.restart();
    world.minute(&[]);
    world.minute(&[]);
    assert_eq!(world.told(10), "F.........");
    world.minute(&[]);
    assert_eq!(world.told(11), "..........R", "in the end it is gone");
}

#[test]
fn alerts_are_written_and_end_with_stale_markers_also_over_a_restart() {
    let mut world = World::new(&alert("    for: 1m\n    labels: {severity: page}\n"));
    world.play("#");
    assert_eq!(world.now_is("ALERTS"), [r#"ALERTS{alertname="Hot", alertstate="pending", core="0", severity="page"}"#]);
    world.play("#");
    assert_eq!(world.now_is("ALERTS"), [r#"ALERTS{alertname="Hot", alertstate="firing", core="0", severity="page"}"#]);
    let since = world.vector("ALERTS_FOR_STATE", world.now).expect("valid");
    let active_since = world.rows.values().next().expect("kept").alert.active_since;
    assert_eq!(since[0].value, PointValue::Float((active_since.0 / 1000) as f64));
    world.restart();
    world.play("...");
    assert!(world.now_is("{__name__=~\"ALERTS.*\"}").is_empty());
    assert!(world.rows.is_empty());
}

#[test]
fn later_rules_see_what_earlier_ones_recorded_and_what_is_gone_ends() {
    let yaml = "groups:\n- name: g\n  labels: {team: ops, core: x}\n  rules:\n  - record: load:double\n    expr: 2 * load\n    \
                labels: {core: \"\", team: core}\n  - alert: Hot\n    expr: load:double > 3\n    annotations:\n      \
                s: '{{ $labels.team }} {{ $value }} {{ $externalLabels.region }} {{ $labels.nope }}'\n";
    let mut world = World::new(yaml);
    world.minute(&[("0", 2.0)]);
    assert_eq!(world.now_is("load:double"), [r#"load:double{team="core"}"#]);
    let snapshot = &world.organ.snapshot()[0];
    let hot = &snapshot.rules[1].alerts[0].alert;
    assert_eq!(hot.labels.to_string(), r#"{alertname="Hot", core="x", team="ops"}"#);
    assert_eq!(hot.annotations.get("s"), Some("core 4 eu "));
    assert_eq!((snapshot.samples, snapshot.evaluation_time), (3, Duration::from_millis(14)));
    let lately = world.now;
    world.series.push(
        &Labels::from_pairs([(METRIC_NAME, "load"), ("core", "0")]),
        Sample { at: lately, value: Value::Float(belfry_model::sample::stale_nan()), start: None },
    );
    world.minute(&[]);
    assert!(world.now_is("load:double").is_empty(), "without the marker it would be seen for five minutes more");
}

#[test]
fn rules_that_depend_on_each_other_keep_their_order_and_others_do_not_wait_for_them() {
    let yaml = "groups:\n- name: g\n  rules:\n  - {record: a, expr: load}\n  - {record: x, expr: 3 * load}\n  - {record: b, expr: 2 * a}\n  \
                - {alert: C, expr: b > 3}\n  - {alert: D, expr: load > 1}\n";
    let mut world = World::new(yaml);
    world.now = world.organ.next_due().expect("a group");
    let labels = Labels::from_pairs([(METRIC_NAME, "load"), ("core", "0")]);
    world.series.push(&labels, Sample { at: world.now, value: Value::Float(2.0), start: None });
    let names = |effects: &[GroupsEffect]| -> Vec<String> {
        let of = |e: &GroupsEffect| match e {
            GroupsEffect::Evaluate(job) => Some(job.rule.name.to_string()),
            _ => None,
        };
        effects.iter().filter_map(of).collect()
    };
    let first = world.organ.step(world.now, Vec::new());
    assert_eq!(names(&first), ["a", "x", "D"], "b waits for a, C for b");
    // The answers come in the other order: the independent ones first.
    let mut waiting: Vec<GroupsEffect> = first;
    let mut order = Vec::new();
    while let Some(effect) = waiting.pop() {
        order.extend(names(std::slice::from_ref(&effect)));
        let mut inputs = Vec::new();
        world.perform(effect, &mut inputs);
        let next = world.organ.step(world.now, inputs);
        // What is recorded is performed before what is asked for after it.
        waiting.extend(next.into_iter().rev());
    }
    assert_eq!(order, ["D", "x", "a", "b", "C"]);
    assert_eq!(
        world.now_is("ALERTS"),
        [
            r#"ALERTS{alertname="C", alertstate="firing", core="0"}"#,
            r#"ALERTS{alertname="D", alertstate="firing", core="0"}"#,
        ]
    );
    let snapshot = &world.organ.snapshot()[0];
    assert_eq!(snapshot.last_evaluation, Some(world.now));
    assert_eq!(snapshot.evaluation_time, Duration::from_millis(21), "of those in order");
    assert_eq!((snapshot.iterations, snapshot.missed), (1, 0));
}

#[test]
fn an_evaluation_is_on_its_grid_and_looks_back_by_the_offset() {
    let mut world =
        World::new("groups:\n- name: g\n  interval: 5m\n  query_offset: 2m\n  rules:\n  - {record: a, expr: load}\n");
    for _ in 0..12 {
        world.minute(&[("0", 1.0)]);
    }
    let grid = Phase::of("r.yml;g", MINUTE * 5);
    assert!((2..=3).contains(&world.asked.len()), "{:?}", world.asked);
    for (_, at, query_at) in &world.asked {
        assert_eq!(grid.at_or_before(*at), *at, "aligned");
        assert_eq!(at.since(*query_at), MINUTE * 2);
    }
    let written: Vec<TimestampMs> = world
        .series
        .iter()
        .filter(|(l, _)| l.metric() == Some("a"))
        .flat_map(|(_, s)| s.map(|s| s.at).collect::<Vec<_>>())
        .collect();
    assert_eq!(written, world.asked.iter().map(|a| a.2).collect::<Vec<_>>(), "written where it was evaluated");
}

#[test]
fn a_limit_fails_the_rule_and_ends_its_alerts() {
    let yaml = "groups:\n- name: g\n  limit: 2\n  rules:\n  - {alert: Hot, expr: load > 0}\n  - {record: a, expr: load}\n  - {record: b, expr: sum(load)}\n";
    let mut world = World::new(yaml);
    world.minute(&[("0", 1.0), ("1", 1.0)]);
    assert!(world.failed.is_empty());
    world.minute(&[("0", 1.0), ("1", 1.0), ("2", 1.0)]);
    world.minute(&[("0", 1.0), ("1", 1.0), ("2", 1.0)]);
    assert_eq!(world.failed, ["exceeded limit of 2 with 3 alerts", "exceeded limit of 2 with 3 series"], "told once");
    let rules = &world.organ.snapshot()[0].rules;
    assert_eq!((rules[0].failures, rules[2].failures, &rules[2].health), (2, 0, &Health::Ok), "the others go on");
    assert!(world.rows.is_empty() && rules[0].alerts.is_empty(), "as Prometheus does");
}

/// Prometheus (`AlertingRule.Eval`) forgets a rule's alerts over its limit and sends none of them; what was firing before
/// ends at its Alertmanager for want of news, here it is resolved, once.
#[test]
fn alerts_over_a_limit_are_never_told_of_and_those_from_before_end_once() {
    let yaml = "groups:\n- name: g\n  limit: 2\n  rules:\n  - {alert: Hot, expr: load > 0}\n  \
                - {alert: Waits, expr: load > 0, for: 2m}\n";
    let three = [("0", 1.0), ("1", 1.0), ("2", 1.0)];
    let mut world = World::new(yaml);
    for _ in 0..4 {
        world.minute(&three);
    }
    assert_eq!((world.events.as_slice(), world.resent, world.rows.len()), (&[][..], 0, 0), "none of them ever was");

    let mut world = World::new(yaml);
    world.minute(&three[..2]);
    world.events.clear();
    for _ in 0..4 {
        world.minute(&three);
    }
    let mut told = std::mem::take(&mut world.events);
    told.sort_unstable();
    let ended = [(2, "firing", "resolved"), (2, "firing", "resolved")];
    assert_eq!(told, [ended, [(2, "pending", "inactive"); 2]].concat());
    world.minute(&[("0", 1.0), ("1", 0.0), ("2", 0.0)]);
    assert_eq!(world.told(6), ".....p", "under the limit again, both rules begin anew");
}

#[test]
fn one_label_set_twice_is_an_error_and_changes_nothing() {
    let mut world = World::new(&alert("    labels: {core: all}\n"));
    world.minute(&[("0", 1.0)]);
    world.minute(&[("0", 1.0), ("1", 1.0)]);
    assert_eq!(world.failed, ["vector contains metrics with the same labelset after applying alert labels"]);
    assert_eq!(world.organ.snapshot()[0].rules[0].state, AlertState::Firing);
}

#[test]
fn of_two_rules_that_write_one_series_the_first_has_it_and_the_second_fails() {
    let rules = |rules: &str| format!("groups:\n- name: g\n  rules:\n{rules}");
    let (one, two) = ("  - {record: d, expr: 'load{core=\"0\"}'}\n", "  - {record: d, expr: '2 * load'}\n");
    let mut world = World::new(&rules(&format!("{one}{two}")));
    let health = |world: &World| world.organ.snapshot()[0].rules.iter().map(|r| r.health.clone()).collect::<Vec<_>>();
    world.minute(&[("0", 3.0), ("1", 3.0)]);
    let reason = format!(
        "duplicate sample for timestamp {}; overrides not allowed: existing 3, new value 6",
        world.organ.snapshot()[0].last_evaluation.expect("evaluated").0
    );
    assert_eq!(health(&world), [Health::Ok, Health::Bad(reason.clone())]);
    assert_eq!(world.failed, [reason]);
    let values = |world: &World| world.vector("sort_by_label(d, \"core\")", world.now).expect("valid");
    let points: Vec<_> = values(&world).into_iter().map(|p| (p.labels.to_string(), p.value)).collect();
    let [first, rest] =
        [("d{core=\"0\"}", 3.0), ("d{core=\"1\"}", 6.0)].map(|(l, v)| (l.to_owned(), PointValue::Float(v)));
    assert_eq!(points, [first, rest], "what nobody else wrote is there");
    // With the same value nothing is wrong.
    world.minute(&[("0", 0.0), ("1", 0.0)]);
    assert_eq!(health(&world), [Health::Ok, Health::Ok]);
    // It never had the first one's series, and so does not end it.
    world.minute(&[("0", 3.0), ("1", 3.0)]);
    world.configure(&rules(one));
    assert_eq!(world.now_is("d"), ["d{core=\"0\"}"]);
}

#[test]
fn a_reload_keeps_the_state_of_rules_that_stay_by_name_and_labels() {
    let group = |rules: &str| format!("groups:\n- name: g\n  rules:\n{rules}");
    let hot = |expr: &str, label: &str| format!("  - {{alert: Hot, expr: {expr}, for: 2m, labels: {{s: {label}}}}}\n");
    let mut world = World::new(&group(&hot("load > 0", "a")));
    world.play("##");
    // Another expression, another place: the clock goes on.
    world.configure(&group(&format!("  - {{record: x, expr: load}}\n{}", hot("load > 0.5", "a"))));
    world.play("#");
    assert_eq!(world.told(3), "p.F");
    // Another label: another rule.
    world.configure(&group(&hot("load > 0", "b")));
    assert_eq!(world.told(3), "..R");
    assert!(world.now_is("{__name__=~\"ALERTS.*|x\"}").is_empty(), "what it wrote has ended");
    world.play("#");
    world.configure("groups: []");
    assert!(world.rows.is_empty() && world.organ.next_due().is_none());
}

#[test]
fn alerts_of_a_file_that_cannot_be_read_at_the_start_wait_for_it() {
    let mut world = World::new(&alert(""));
    world.play("#");
    world.told(1);
    let rows: Vec<StoredAlert> = world.rows.values().cloned().collect();
    world.organ = Groups::new(rows, Vec::new());
    world.step(vec![GroupsInput::Configure { groups: Vec::new(), unread: vec!["r.yml".into()] }]);
    assert_eq!((world.events.len(), world.rows.len()), (0, 1));
    world.configure(&alert(""));
    world.play("#");
    assert_eq!(world.events.len(), 0, "it never stopped firing");
    world.organ = Groups::new(world.rows.values().cloned().collect(), Vec::new());
    world.step(vec![GroupsInput::Configure { groups: Vec::new(), unread: Vec::new() }]);
    assert_eq!(world.events.len(), 1, "its file is gone: resolved");
}

#[test]
fn what_comes_too_late_is_counted_as_missed() {
    let mut world = World::new(&alert(""));
    world.minute(&[]);
    world.now = world.now + MINUTE * 9;
    world.minute(&[]);
    let snapshot = &world.organ.snapshot()[0];
    assert_eq!((snapshot.iterations, snapshot.missed), (11, 9));
}

#[test]
fn two_groups_of_one_interval_do_not_wake_together() {
    let yaml: String = (0..20).map(|n| format!("- {{name: g{n}, rules: [{{record: r, expr: load}}]}}\n")).collect();
    let mut world = World::new(&format!("groups:\n{yaml}"));
    world.minute(&[]);
    let instants: std::collections::BTreeSet<_> = world.asked.iter().map(|a| a.1).collect();
    assert_eq!((world.asked.len(), instants.len()), (20, 20));
}

/// Two weeks at a minute a step: ten hours up, ten minutes down, a restart every day.
#[test]
fn weeks_pass_and_every_alert_is_told_of_once() {
    let mut world = World::new(&alert("    for: 5m\n    keep_firing_for: 3m\n"));
    let (mut down_times, mut expected) = (0, Vec::new());
    for minute in 0..14 * 24 * 60u64 {
        if minute % 1440 == 700 {
            world.restart();
        }
        let down = minute % 610 >= 600;
        if minute % 610 == 605 {
            down_times += 1;
            expected.push("firing");
        }
        if down_times > 0 && minute % 610 == 2 {
            expected.push("resolved");
        }
        world.minute(&[("0", f64::from(u8::from(down)))]);
    }
    let told: Vec<&str> = world.events.iter().map(|e| e.2).filter(|s| matches!(*s, "firing" | "resolved")).collect();
    assert_eq!(told, expected);
    assert!(down_times > 30 && world.resent > 100);
    let stale = world.series.iter().filter(|(l, _)| l.metric() == Some("ALERTS"));
    let markers = stale.flat_map(|(_, s)| s.map(|s| s.value.clone()).collect::<Vec<_>>());
    assert!(markers.filter(|v| matches!(v, Value::Float(v) if is_stale(*v))).count() >= 2 * down_times);
}
