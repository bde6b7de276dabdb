use belfry_model::{Labels, Severity};

use super::*;

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn root(channel: &str) -> Route {
    Route {
        matchers: Vec::new(),
        channel: channel.into(),
        group_by: vec!["alertname".into()],
        group_wait: SECOND * 30,
        group_interval: MINUTE * 5,
        repeat_interval: HOUR * 4,
        continue_: false,
        routes: Vec::new(),
    }
}

fn alert(name: &str, core: &str, state: AlertState, since: TimestampMs) -> Alert {
    let labels = Labels::from_pairs([("alertname", name), ("core", core), ("severity", "critical")]);
    Alert {
        fingerprint: Fingerprint::of(&labels),
        rule: name.into(),
        severity: Severity::Critical,
        labels,
        annotations: Labels::from_pairs([("description", "too hot")]),
        state,
        value: 95.0,
        active_since: since,
        fired_at: Some(since),
        resolved_at: None,
    }
}

fn firing(core: &str, since: TimestampMs) -> NotifyInput {
    told(alert("hot", core, AlertState::Firing, since))
}

fn resolved(core: &str, since: TimestampMs) -> NotifyInput {
    told(alert("hot", core, AlertState::Resolved, since))
}

fn told(alert: Alert) -> NotifyInput {
    NotifyInput::Alerts(vec![AlertEvent { at: alert.active_since, from: AlertState::Pending, alert }])
}

type Answer = Box<dyn FnMut(TimestampMs, &AlertGroup) -> DeliveryOutcome>;

/// A world around the organ: keeps what it persists and answers every delivery a second later.
struct World {
    organ: Notify,
    now: TimestampMs,
    rows: BTreeMap<String, String>,
    /// When, and what was attempted.
    attempts: Vec<(TimestampMs, AlertGroup)>,
    journal: Vec<JournalEntry>,
    answer: Answer,
    pending: Vec<(TimestampMs, u64, DeliveryOutcome)>,
    route: Route,
    external_labels: Labels,
    steps: usize,
}

impl World {
    fn new(route: Route) -> Self {
        let mut world = Self {
            organ: Notify::new([]),
            now: T0,
            rows: BTreeMap::new(),
            attempts: Vec::new(),
            journal: Vec::new(),
            answer: Box::new(|_, _| DeliveryOutcome::Accepted { reference: None }),
            pending: Vec::new(),
            route,
            external_labels: Labels::empty(),
            steps: 0,
        };
        world.configure(world.route.clone());
        world
    }

    fn configure(&mut self, route: Route) {
        self.route = route.clone();
        let (retry, external_labels) = (RetryPolicy::default(), self.external_labels.clone());
        self.step(NotifyInput::Configure { route, retry, external_labels });
    }

    fn step(&mut self, input: NotifyInput) {
        let effects = self.organ.step(self.now, vec![input]);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<NotifyEffect>) {
        self.steps += 1;
        for effect in effects {
            match effect {
                NotifyEffect::Persist { key, state: Some(state) } => drop(self.rows.insert(key, state)),
                NotifyEffect::Persist { key, state: None } => drop(self.rows.remove(&key)),
                NotifyEffect::Journal(entry) => self.journal.push(entry),
                NotifyEffect::Deliver { ticket, group } => {
                    assert!(self.rows.values().any(|r| r.contains("\"flight\":{")), "persisted before it is sent");
                    let outcome = (self.answer)(self.now, &group);
                    self.attempts.push((self.now, group));
                    self.pending.push((self.now + SECOND, ticket, outcome));
                }
            }
        }
    }

    fn run_until(&mut self, until: TimestampMs) {
        loop {
            let answer = self.pending.iter().map(|p| p.0).min();
            let Some(next) = self.organ.next_due().into_iter().chain(answer).min().filter(|t| *t <= until) else {
                break;
            };
            self.now = self.now.max(next);
            let mut inputs = Vec::new();
            let now = self.now;
            self.pending.retain(|(at, ticket, outcome)| {
                if *at <= now {
                    inputs.push(NotifyInput::Delivered { ticket: *ticket, outcome: outcome.clone() });
                }
                *at > now
            });
            let effects = self.organ.step(self.now, inputs);
            self.perform(effects);
            assert!(self.steps < 200_000, "it spins at {}", self.now);
        }
        self.now = until;
    }

    fn restart(&mut self) {
        self.pending.clear();
        self.organ = Notify::new(self.rows.clone());
        self.configure(self.route.clone());
    }

    /// `+12s hot/0:firing hot/1:resolved` for every attempt.
    fn said(&self) -> Vec<String> {
        self.attempts
            .iter()
            .map(|(at, group)| {
                let alerts: Vec<String> = group
                    .alerts
                    .iter()
                    .map(|a| format!("{}:{}", a.labels.get("core").unwrap_or("?"), a.state.as_str()))
                    .collect();
                format!("+{}s {}", at.since(T0).as_secs(), alerts.join(" "))
            })
            .collect()
    }
}

fn unavailable(reason: &str) -> DeliveryOutcome {
    DeliveryOutcome::Unavailable { reason: reason.into(), retry_after: None }
}

#[test]
fn a_group_waits_for_company_then_tells_changes_at_its_interval() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.run_until(T0 + SECOND * 10);
    world.step(firing("1", T0 + SECOND * 10));
    world.run_until(T0 + MINUTE);
    world.step(firing("2", T0 + MINUTE));
    world.run_until(T0 + MINUTE * 10);
    world.step(resolved("1", T0 + SECOND * 10));
    world.run_until(T0 + MINUTE * 30);
    assert_eq!(
        world.said(),
        ["+30s 0:firing 1:firing", "+330s 0:firing 1:firing 2:firing", "+630s 0:firing 2:firing 1:resolved",]
    );
    let (_, group) = &world.attempts[1];
    assert_eq!(group.common_labels.to_string(), r#"{alertname="hot", severity="critical"}"#);
    assert_eq!(group.group_labels.to_string(), r#"{alertname="hot"}"#);
    assert_eq!((group.repetition, group.attempt), (1, 1));
}

#[test]
fn external_labels_are_on_what_is_told_and_lead_and_group_it_but_an_alerts_own_hold() {
    let region = belfry_model::Matcher::new("region", belfry_model::MatchOp::Equal, "eu").expect("a matcher");
    let eu = Route { matchers: vec![region], group_by: vec!["region".into(), "core".into()], ..root("eu") };
    let mut world = World::new(Route { routes: vec![eu], ..root("elsewhere") });
    world.external_labels = Labels::from_pairs([("region", "eu"), ("core", "all")]);
    world.configure(world.route.clone());
    world.step(firing("0", T0));
    world.run_until(T0 + MINUTE);
    let (_, group) = &world.attempts[0];
    assert_eq!((&*group.channel, group.group_labels.to_string()), ("eu", r#"{core="0", region="eu"}"#.into()));
    let all = r#"{alertname="hot", core="0", region="eu", severity="critical"}"#;
    assert_eq!([group.alerts[0].labels.to_string(), group.common_labels.to_string()], [all, all]);
    assert_eq!(
        group.alerts[0].fingerprint,
        alert("hot", "0", AlertState::Firing, T0).fingerprint,
        "it is the same alert"
    );
    // A change of them leads elsewhere, over a restart, too.
    world.external_labels = Labels::from_pairs([("region", "us")]);
    world.restart();
    world.run_until(T0 + HOUR);
    world.step(resolved("0", T0));
    world.run_until(T0 + HOUR * 2);
    let told = |(_, g): &(TimestampMs, AlertGroup)| (g.channel.clone(), g.alerts[0].state.as_str());
    let mut told: Vec<_> = world.attempts[1..].iter().map(told).collect();
    told[1..].sort();
    let expected = [("elsewhere", "firing"), ("elsewhere", "resolved"), ("eu", "resolved")];
    assert_eq!(told, expected.map(|(channel, state)| (channel.to_owned(), state)));
    assert_eq!(world.attempts[1].1.alerts[0].labels.get("region"), Some("us"));
    assert!(world.rows.is_empty());
}

#[test]
fn what_goes_on_firing_is_repeated_and_what_is_over_is_forgotten() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR * 9);
    world.step(resolved("0", T0));
    world.run_until(T0 + HOUR * 24 * 21);
    let hours: Vec<u64> = world.attempts.iter().map(|(at, _)| at.since(T0).as_secs() / 3600).collect();
    assert_eq!(hours, [0, 4, 8, 9]);
    assert_eq!(world.rows.len(), 0);
    assert_eq!(world.organ.next_due(), None);
}

#[test]
fn an_alert_that_ends_before_it_is_told_is_told_to_the_journal_alone() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.run_until(T0 + SECOND * 20);
    world.step(resolved("0", T0));
    world.run_until(T0 + HOUR);
    assert_eq!(world.said(), [] as [&str; 0]);
    assert!(
        matches!(&world.journal[..], [JournalEntry::Delivery { error: Some(e), .. }] if e.contains("resolved before"))
    );
    assert!(world.rows.is_empty());
}

#[test]
fn a_failed_delivery_is_retried_with_one_key_and_an_end_waits_for_its_beginning() {
    let mut world = World::new(root("ops"));
    let mut failures = 3;
    world.answer = Box::new(move |_, _| {
        failures -= 1;
        if failures >= 0 { unavailable("down") } else { DeliveryOutcome::Accepted { reference: Some("msg-1".into()) } }
    });
    world.step(firing("0", T0));
    world.run_until(T0 + SECOND * 31);
    // It ends while its beginning is still being retried.
    world.step(resolved("0", T0));
    world.run_until(T0 + HOUR);
    let states: Vec<&str> = world.attempts.iter().map(|(_, g)| g.alerts[0].state.as_str()).collect();
    assert_eq!(states, ["firing", "firing", "firing", "firing", "resolved"]);
    let keys: BTreeSet<&str> = world.attempts[..4].iter().map(|(_, g)| g.dedup_key.as_str()).collect();
    assert_eq!(keys.len(), 1);
    assert_ne!(world.attempts[4].1.dedup_key, world.attempts[0].1.dedup_key);
    assert_eq!(world.attempts[4].1.previous_receipt.as_deref(), Some("msg-1"));
    assert_eq!(world.attempts.iter().map(|(_, g)| g.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 1]);
    let health = &world.organ.snapshot().channels[0];
    assert_eq!((health.accepted, health.failed, health.failures_in_a_row), (2, 3, 0));
}

#[test]
fn what_the_other_end_asks_for_is_respected() {
    let mut world = World::new(root("ops"));
    let mut first = true;
    world.answer = Box::new(move |_, _| {
        let retry_after = std::mem::take(&mut first).then_some(MINUTE * 7);
        match retry_after {
            Some(_) => DeliveryOutcome::Unavailable { reason: "slow down".into(), retry_after },
            None => DeliveryOutcome::Accepted { reference: None },
        }
    });
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR);
    assert_eq!(world.said(), ["+30s 0:firing", "+451s 0:firing"]);
}

#[test]
fn a_channel_that_is_down_for_a_day_hears_of_what_still_fires_when_it_is_back() {
    let mut world = World::new(root("ops"));
    world.answer = Box::new(|now, _| {
        if now < T0 + HOUR * 24 { unavailable("down") } else { DeliveryOutcome::Accepted { reference: None } }
    });
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR * 30);
    let accepted = world.attempts.iter().filter(|(at, _)| *at >= T0 + HOUR * 24).count();
    assert!((1..=2).contains(&accepted), "{accepted}");
    let given_up =
        world.journal.iter().filter(|e| matches!(e, JournalEntry::Delivery { will_retry: false, error: Some(_), .. }));
    assert!((15..=25).contains(&given_up.count()));
    assert!(world.attempts.len() < 1_000, "{}", world.attempts.len());
}

#[test]
fn a_rejected_notification_is_not_tried_again_until_something_new_happens() {
    let mut world = World::new(root("ops"));
    world.answer = Box::new(|_, _| DeliveryOutcome::Rejected { reason: "bad token".into() });
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR);
    assert_eq!(world.said(), ["+30s 0:firing"]);
    world.step(firing("1", T0 + HOUR));
    world.run_until(T0 + HOUR * 2);
    assert_eq!(world.attempts.len(), 2);
    world.step(resolved("0", T0));
    world.step(resolved("1", T0 + HOUR));
    world.run_until(T0 + HOUR * 48);
    assert_eq!(world.attempts.len(), 2, "no end without an accepted beginning");
    assert!(world.rows.is_empty());
}

#[test]
fn an_answer_that_never_comes_counts_as_a_failure() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.run_until(T0 + SECOND * 30);
    world.pending.clear();
    world.run_until(T0 + HOUR);
    assert_eq!(world.attempts.len(), 2);
    assert_eq!(world.attempts[1].1.attempt, 2);
}

#[test]
fn a_flood_in_one_group_is_bounded_counted_and_said() {
    let max = crate::group::ALERTS_PER_GROUP_MAX;
    let mut world = World::new(root("ops"));
    let flood: Vec<Alert> = (0..max + 7).map(|n| alert("hot", &format!("{n:04}"), AlertState::Firing, T0)).collect();
    for a in &flood {
        world.step(told(a.clone()));
    }
    for _ in 0..3 {
        world.step(NotifyInput::StillFiring(flood.clone()));
    }
    world.run_until(T0 + MINUTE);
    let (_, group) = &world.attempts[0];
    assert_eq!((group.alerts.len(), group.truncated), (max, 7));
    assert_eq!(world.organ.snapshot().alerts_shed, 7);
    assert_eq!(world.journal.iter().filter(|e| !accepted(e)).count(), 7, "told once, not at every resend");
    // Ends make room, and those that still fire get in.
    for a in &flood[..7] {
        world.step(told(Alert { state: AlertState::Resolved, ..a.clone() }));
    }
    world.run_until(T0 + MINUTE * 10);
    world.step(NotifyInput::StillFiring(flood[7..].to_vec()));
    world.run_until(T0 + MINUTE * 20);
    let (_, group) = world.attempts.last().unwrap();
    assert_eq!((group.alerts.len(), group.truncated), (max, 0));
}

#[test]
fn a_storm_of_groups_is_bounded_counted_and_said() {
    let mut route = root("ops");
    route.group_by = vec!["core".into()];
    let mut world = World::new(route);
    let event = |n: usize| {
        let alert = alert("hot", &n.to_string(), AlertState::Firing, T0);
        AlertEvent { at: T0, from: AlertState::Pending, alert }
    };
    let storm: Vec<AlertEvent> = (0..GROUPS_MAX + 5).map(event).collect();
    world.step(NotifyInput::Alerts(storm.clone()));
    world.step(NotifyInput::StillFiring(storm.into_iter().map(|e| e.alert).collect()));
    let snapshot = world.organ.snapshot();
    assert_eq!((snapshot.groups.len(), snapshot.groups_shed), (GROUPS_MAX, 5));
    assert_eq!(world.journal.len(), 5, "told once, not at every resend");
    // An end makes room for one that still fires.
    world.step(resolved("0", T0));
    world.step(NotifyInput::StillFiring(vec![event(GROUPS_MAX).alert]));
    let snapshot = world.organ.snapshot();
    assert!(snapshot.groups.iter().any(|g| g.labels.get("core") == Some(&GROUPS_MAX.to_string())));
    assert_eq!(snapshot.groups.len(), GROUPS_MAX);
}

fn accepted(entry: &JournalEntry) -> bool {
    matches!(entry, JournalEntry::Delivery { error: None, .. })
}

#[test]
fn a_channel_gets_a_bounded_number_of_deliveries_at_a_time_and_others_go_on() {
    let mut route = root("slow");
    route.group_by = vec!["core".into()];
    let mut fast = root("fast");
    fast.matchers = vec!["core=999".parse().unwrap()];
    route.routes = vec![fast];
    let mut world = World::new(route);
    for n in 0..50 {
        world.step(firing(&n.to_string(), T0));
    }
    world.step(firing("999", T0));
    // The world answers only when asked to: look before it does.
    world.now = T0 + MINUTE;
    let effects = world.organ.step(world.now, Vec::new());
    world.perform(effects);
    let to = |channel: &str| world.attempts.iter().filter(|(_, g)| g.channel == channel).count();
    assert_eq!((to("slow"), to("fast")), (DELIVERIES_PER_CHANNEL_MAX, 1));
    world.run_until(T0 + MINUTE * 2);
    assert_eq!(world.attempts.len(), 51);
}

#[test]
fn a_new_tree_moves_what_fires_and_the_old_channel_still_hears_of_the_end() {
    let mut world = World::new(root("old"));
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR);
    world.configure(root("new"));
    world.run_until(T0 + HOUR * 10);
    world.step(resolved("0", T0));
    world.run_until(T0 + HOUR * 20);
    let said: Vec<_> = world.attempts.iter().map(|(_, g)| (g.channel.as_str(), g.alerts[0].state.as_str())).collect();
    assert_eq!(
        said,
        [
            ("old", "firing"),
            ("new", "firing"),
            ("new", "firing"),
            ("new", "firing"),
            ("old", "resolved"),
            ("new", "resolved")
        ]
    );
    assert!(world.rows.is_empty());
}

#[test]
fn a_restart_tells_nothing_twice_and_keeps_the_clock_of_repeats() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.run_until(T0 + HOUR);
    world.restart();
    world.step(NotifyInput::StillFiring(vec![alert("hot", "0", AlertState::Firing, T0)]));
    world.run_until(T0 + HOUR * 5);
    let hours: Vec<u64> = world.attempts.iter().map(|(at, _)| at.since(T0).as_secs() / 3600).collect();
    assert_eq!(hours, [0, 4]);
}

#[test]
fn what_rules_forgot_over_a_restart_is_ended_and_not_repeated_for_ever() {
    let mut world = World::new(root("ops"));
    world.step(firing("0", T0));
    world.step(firing("1", T0));
    world.run_until(T0 + HOUR);
    world.restart();
    let kept = alert("hot", "0", AlertState::Firing, T0);
    world.step(NotifyInput::Remembered(vec![kept.fingerprint]));
    world.run_until(T0 + HOUR * 2);
    assert_eq!(world.said(), ["+30s 0:firing 1:firing", "+3600s 0:firing 1:resolved"]);
}

#[test]
fn state_that_cannot_be_read_is_forgotten_and_counted() {
    let mut organ = Notify::new([("k".to_owned(), "{\"from\":\"the future\"}".to_owned())]);
    let effects = organ.step(T0, Vec::new());
    assert_eq!(effects, [NotifyEffect::Persist { key: "k".into(), state: None }]);
    assert_eq!(organ.snapshot().unreadable, 1);
}

#[test]
fn a_clock_that_went_back_does_not_silence_a_group() {
    let mut world = World::new(root("ops"));
    world.now = T0 + HOUR * 1000;
    world.step(firing("0", world.now));
    world.run_until(world.now + MINUTE);
    world.attempts.clear();
    world.now = T0;
    world.step(firing("1", T0));
    world.run_until(T0 + MINUTE * 10);
    assert_eq!(world.said(), ["+300s 0:firing 1:firing"]);
}

/// What upstream does over time, minute by minute: `F` fires, `R` resolves.
fn script() -> Vec<(u32, &'static str, AlertState)> {
    vec![
        (0, "0", AlertState::Firing),
        (2, "1", AlertState::Firing),
        (11, "0", AlertState::Resolved),
        (20, "0", AlertState::Firing),
        (31, "1", AlertState::Resolved),
        (40, "0", AlertState::Resolved),
    ]
}

/// Runs the script; after `crash_after` effects in all the process dies and starts again from the rows. As rules do,
/// upstream repeats an event whose step was not finished, and repeats every minute what fires.
fn run_with_crash(crash_after: usize, flaky: bool) -> (Vec<AlertGroup>, Vec<AlertGroup>, bool) {
    let route = root("ops");
    let retry = RetryPolicy::default();
    let configure = || NotifyInput::Configure { route: route.clone(), retry, external_labels: Labels::empty() };
    let mut organ = Notify::new([]);
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    let mut answers: Vec<(TimestampMs, u64, DeliveryOutcome)> = Vec::new();
    let (mut attempted, mut accepted) = (Vec::new(), Vec::new());
    let mut active: BTreeMap<&str, Alert> = BTreeMap::new();
    let (mut performed, mut crashed) = (0, false);
    let mut queue: std::collections::VecDeque<(TimestampMs, NotifyInput)> = [(T0, configure())].into();
    let mut resends = 0;
    for (minute, core, state) in script() {
        let at = T0 + MINUTE * minute;
        let since = active.get(core).map_or(at, |a| a.active_since);
        let a = alert("hot", core, state, since);
        queue.push_back((at, told(a.clone())));
        if state == AlertState::Firing {
            active.insert(core, a)
        } else {
            active.remove(core)
        };
        let next = script().into_iter().map(|s| s.0).find(|m| *m > minute).unwrap_or(minute + 30);
        for m in minute + 1..next {
            resends += 1;
            let still = NotifyInput::StillFiring(active.values().cloned().collect());
            queue.push_back((T0 + MINUTE * m + SECOND, still));
        }
    }
    assert!(resends > 40);
    let end = T0 + HOUR * 3;
    let mut now = T0;
    loop {
        let due = organ.next_due().map(|t| t.max(now));
        let answer = answers.iter().map(|a| a.0).min();
        let event = queue.front().map(|q| q.0.max(now));
        let Some(next) = [due, answer, event].into_iter().flatten().min().filter(|t| *t <= end) else { break };
        now = next;
        let mut inputs = Vec::new();
        let mut retold = None;
        if event == Some(now) {
            let (at, input) = queue.pop_front().unwrap();
            retold = Some((at, input.clone()));
            inputs.push(input);
        }
        answers.retain(|(at, ticket, outcome)| {
            if *at <= now {
                inputs.push(NotifyInput::Delivered { ticket: *ticket, outcome: outcome.clone() });
            }
            *at > now
        });
        for effect in organ.step(now, inputs) {
            if performed == crash_after && !crashed {
                crashed = true;
                answers.clear();
                organ = Notify::new(rows.clone());
                now = now + SECOND * 10;
                if let Some((at, input)) = retold.take() {
                    queue.push_front((at, input));
                }
                queue.push_front((now, configure()));
                break;
            }
            performed += 1;
            match effect {
                NotifyEffect::Persist { key, state: Some(state) } => drop(rows.insert(key, state)),
                NotifyEffect::Persist { key, state: None } => drop(rows.remove(&key)),
                NotifyEffect::Journal(_) => {}
                NotifyEffect::Deliver { ticket, group } => {
                    let fails = flaky && group.attempt % 3 != 0;
                    let outcome = if fails {
                        unavailable("flaky")
                    } else {
                        // The other end has it from now on, whether we live to hear of it or not.
                        accepted.push(group.clone());
                        DeliveryOutcome::Accepted { reference: None }
                    };
                    attempted.push(group);
                    answers.push((now + SECOND, ticket, outcome));
                }
            }
        }
    }
    assert!(rows.is_empty(), "crash after {crash_after}: {rows:?}");
    (attempted, accepted, crashed)
}

#[test]
fn a_crash_between_any_two_effects_loses_no_alert_and_ends_only_what_was_told() {
    for flaky in [false, true] {
        for crash_after in 0.. {
            let (attempted, accepted, crashed) = run_with_crash(crash_after, flaky);
            let place = format!("crash after effect {crash_after}, flaky {flaky}");
            // Every episode of the script was accepted as firing and then as resolved.
            let mut begun: BTreeSet<(String, TimestampMs)> = BTreeSet::new();
            let mut ended = BTreeSet::new();
            for group in &accepted {
                for a in &group.alerts {
                    let episode = (a.labels.get("core").unwrap_or_default().to_owned(), a.active_since);
                    if a.state == AlertState::Firing {
                        begun.insert(episode);
                    } else {
                        assert!(begun.contains(&episode), "{place}: {episode:?} ended before it began");
                        ended.insert(episode);
                    }
                }
            }
            let episodes = [("0", 0), ("1", 2), ("0", 20)].map(|(c, m)| (c.to_owned(), T0 + MINUTE * m));
            assert_eq!(begun, episodes.clone().into(), "{place}");
            assert_eq!(ended, episodes.into(), "{place}");
            // One key says one thing.
            let mut by_key: BTreeMap<&str, Vec<Fingerprint>> = BTreeMap::new();
            for group in &attempted {
                let alerts: Vec<_> = group.alerts.iter().map(|a| a.fingerprint).collect();
                assert_eq!(by_key.entry(&group.dedup_key).or_insert_with(|| alerts.clone()), &alerts, "{place}");
            }
            // A crash repeats at most one message: nobody is flooded.
            assert!(accepted.len() <= 7, "{place}: {} messages", accepted.len());
            if !crashed {
                assert!(crash_after > 20, "{crash_after}");
                break;
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]
    /// Weeks of alerts that come and go, a channel that fails at random, restarts at random: what fires long enough is
    /// accepted, ends follow beginnings, and when all is over nothing is left.
    #[test]
    fn weeks_of_trouble_end_in_order(
        events in proptest::collection::vec((0u8..6, 0u32..600, proptest::bool::ANY), 1..60),
        seed in proptest::num::u32::ANY,
    ) {
        let mut world = World::new(root("ops"));
        let accepted = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let heard = accepted.clone();
        let mut n = seed;
        world.answer = Box::new(move |_, group| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match n >> 30 {
                0 => unavailable("random"),
                _ => {
                    heard.borrow_mut().push(group.clone());
                    DeliveryOutcome::Accepted { reference: None }
                }
            }
        });
        let mut active: BTreeMap<u8, Alert> = BTreeMap::new();
        let mut must_be_heard = Vec::new();
        for (core, minutes, restart) in events {
            match active.remove(&core) {
                Some(a) => {
                    // Longer than the interval and some retries: it must have been told.
                    if world.now.since(a.active_since) > MINUTE * 60 {
                        must_be_heard.push((a.fingerprint, a.active_since));
                    }
                    world.step(told(Alert { state: AlertState::Resolved, ..a }));
                }
                None => {
                    let a = alert("hot", &core.to_string(), AlertState::Firing, world.now);
                    active.insert(core, a.clone());
                    world.step(told(a));
                }
            }
            if restart {
                world.restart();
            }
            world.run_until(world.now + MINUTE * minutes);
        }
        for a in active.values() {
            world.step(told(Alert { state: AlertState::Resolved, ..a.clone() }));
        }
        world.run_until(world.now + HOUR * 48);
        proptest::prop_assert!(world.rows.is_empty(), "{:?}", world.rows);
        let mut begun = BTreeSet::new();
        for group in accepted.borrow().iter() {
            for a in &group.alerts {
                let episode = (a.fingerprint, a.active_since);
                if a.state == AlertState::Firing {
                    begun.insert(episode);
                } else {
                    proptest::prop_assert!(begun.contains(&episode));
                }
            }
        }
        for episode in must_be_heard {
            proptest::prop_assert!(begun.contains(&episode));
        }
    }
}
