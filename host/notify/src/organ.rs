//! The organ: routes alerts into groups, decides when each group speaks, and retries.
//!
//! Invariant: effects are to be performed in order, each before the next. What is delivered was persisted first, so a
//! crash between any two effects repeats a delivery (with the same dedup key) and never loses one.
//! Not here: a clock, the delivery itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, JournalEntry, Labels, Organ, TimestampMs};

use crate::group::{Admitted, AlertGroup, Ended, Group, with_external};
use crate::retry::RetryPolicy;
use crate::route::{Destination, Route, Timing};
use crate::snapshot::{GroupSnapshot, History, NotifySnapshot, RecentDelivery};

/// Groups at a time, over all channels. Past that alerts get no group; the journal says so, and they are tried again
/// as long as they fire.
pub const GROUPS_MAX: usize = 10_000;

/// Deliveries to one channel at a time: a slow one must not hold all of the host's workers.
pub const DELIVERIES_PER_CHANNEL_MAX: usize = 8;

/// An attempt that was not answered for so long never will be: it counts as failed.
pub const ANSWER_LOST_AFTER: Duration = Duration::from_secs(600);

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The handler took the whole group.
    Accepted {
        /// Handed back next time.
        reference: Option<String>,
    },
    /// Try again, not before `retry_after`.
    Unavailable {
        /// Why.
        reason: String,
        /// What the other end asked for.
        retry_after: Option<Duration>,
    },
    /// Trying again cannot help.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// What the organ is told.
#[derive(Clone, Debug)]
pub enum NotifyInput {
    /// The tree and the policy from now on. Nothing is delivered before the first one.
    Configure {
        /// Root; matches everything.
        route: Route,
        /// For all channels.
        retry: RetryPolicy,
        /// Labels that every alert has beyond this host, where it has none of the name: routes and groups see them,
        /// and receivers. As Prometheus adds them when it sends.
        external_labels: Labels,
    },
    /// Alerts that changed (fired or resolved; others are ignored).
    Alerts(Vec<AlertEvent>),
    /// Alerts that go on firing.
    StillFiring(Vec<Alert>),
    /// Once after a restart: every alert that rules remember, pending or firing. What a group holds as firing beside
    /// them has ended unseen; without this it would be repeated for ever.
    Remembered(Vec<Fingerprint>),
    /// The end of [`NotifyEffect::Deliver`].
    Delivered {
        /// From the effect.
        ticket: u64,
        /// How it ended.
        outcome: DeliveryOutcome,
    },
}

/// What the organ wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum NotifyEffect {
    /// Deliver and answer with [`NotifyInput::Delivered`].
    Deliver {
        /// To be handed back.
        ticket: u64,
        /// What.
        group: AlertGroup,
    },
    /// Remember the group (JSON of the organ's own), or forget it (`None`).
    Persist {
        /// Key of the group.
        key: String,
        /// Its state.
        state: Option<String>,
    },
    /// For the journal.
    Journal(JournalEntry),
}

/// Decides who hears of an alert, and when.
#[derive(Debug, Default)]
pub struct Notify {
    route: Option<Route>,
    timings: BTreeMap<String, Timing>,
    retry: RetryPolicy,
    /// Not among those of the groups' alerts: a change of them holds for all.
    external_labels: Labels,
    groups: BTreeMap<String, Group>,
    tickets: HashMap<u64, String>,
    next_ticket: u64,
    history: History,
    last_step: Option<TimestampMs>,
    groups_shed: u64,
    alerts_shed: u64,
    unreadable: Vec<String>,
    unreadable_count: u64,
    // Gathered during a step.
    dirty: BTreeSet<String>,
    journal: Vec<JournalEntry>,
}

impl Notify {
    /// With the groups that [`NotifyEffect::Persist`] left behind. What cannot be read is forgotten and counted: its
    /// alerts come back with [`NotifyInput::StillFiring`].
    pub fn new(persisted: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut organ = Self::default();
        for (key, json) in persisted {
            match serde_json::from_str::<Group>(&json) {
                Ok(group) => drop(organ.groups.insert(key, group)),
                Err(_) => organ.unreadable.push(key),
            }
        }
        organ.unreadable_count = organ.unreadable.len() as u64;
        organ
    }

    /// Groups, last deliveries and channels.
    pub fn snapshot(&self) -> NotifySnapshot {
        let mut channels = self.history.channels.clone();
        for group in self.groups.values().filter(|g| running(g)) {
            if let Some(health) = channels.get_mut(&group.channel) {
                health.in_flight += 1;
            }
        }
        NotifySnapshot {
            groups: self
                .groups
                .iter()
                .map(|(key, g)| GroupSnapshot {
                    key: key.clone(),
                    channel: g.channel.clone(),
                    labels: g.group_labels.clone(),
                    alerts: g.members.values().map(|m| m.alert.clone()).collect(),
                    truncated: g.truncated(),
                    attempt: g.flight.as_ref().map(|f| f.attempt),
                    next_due: g.due(self.timing(g)),
                    last_accepted: g.last_accepted,
                    accepted: g.accepted,
                })
                .collect(),
            recent: self.history.recent(),
            channels: channels.into_values().collect(),
            groups_shed: self.groups_shed,
            alerts_shed: self.alerts_shed,
            unreadable: self.unreadable_count,
        }
    }

    /// Where an alert with these labels of its rule goes.
    pub fn destinations(&self, labels: &Labels) -> Vec<Destination> {
        let labels = with_external(labels, &self.external_labels);
        self.route.as_ref().map(|r| r.destinations(&labels)).unwrap_or_default()
    }

    fn timing(&self, group: &Group) -> Timing {
        let root = || self.route.as_ref().map(Route::timing);
        self.timings.get(&group.route).copied().or_else(root).unwrap_or(Timing {
            group_wait: Duration::ZERO,
            group_interval: Duration::from_secs(300),
            repeat_interval: Duration::from_secs(4 * 3600),
        })
    }

    fn configure(&mut self, now: TimestampMs, route: Route, retry: RetryPolicy, external_labels: Labels) {
        self.external_labels = external_labels;
        self.timings = route.timings();
        self.retry = retry;
        let known: BTreeSet<String> =
            route.channels().into_iter().chain(self.groups.values().map(|g| g.channel.clone())).collect();
        self.history.channels.retain(|name, _| known.contains(name));
        for name in &known {
            self.history.channel(name);
        }
        self.route = Some(route);

        // Alerts that the new tree leads elsewhere move there; the old channel hears of their end.
        let mut moved = Vec::new();
        for (key, group) in &self.groups {
            for member in group.members.values().filter(|m| m.alert.state == AlertState::Firing) {
                let destinations = self.destinations(&member.alert.labels);
                if !destinations.iter().any(|d| d.key == *key) {
                    moved.push((Some(key.clone()), member.alert.clone()));
                } else if member.orphan || destinations.len() > 1 {
                    moved.push((None, member.alert.clone()));
                }
            }
        }
        for (from, alert) in moved {
            if let Some(key) = from
                && let Some(group) = self.groups.get_mut(&key)
            {
                group.orphan(alert.fingerprint);
                self.dirty.insert(key);
            }
            self.fire(now, &alert, true);
        }
    }

    /// `quiet`: it is no news that there is no room.
    fn fire(&mut self, now: TimestampMs, alert: &Alert, quiet: bool) {
        for destination in self.destinations(&alert.labels) {
            let key = &destination.key;
            if !self.groups.contains_key(key) {
                if self.groups.len() >= GROUPS_MAX {
                    if !quiet {
                        self.groups_shed += 1;
                        let reason = format!("{GROUPS_MAX} groups are being notified; there is no room for another");
                        self.not_told(&destination.channel, String::new(), alert.fingerprint, reason);
                    }
                    continue;
                }
                self.groups.insert(key.clone(), Group::new(&destination, now));
            }
            let Some(group) = self.groups.get_mut(key) else { continue };
            let truncated = group.truncated();
            match group.fire(alert) {
                Admitted::Known => {}
                Admitted::New => drop(self.dirty.insert(key.clone())),
                Admitted::NoRoom => {
                    if group.truncated() > truncated {
                        self.alerts_shed += 1;
                        self.dirty.insert(key.clone());
                        let reason = "its group is full; it is counted in the group's messages".to_owned();
                        self.not_told(&destination.channel, String::new(), alert.fingerprint, reason);
                    }
                }
            }
        }
    }

    fn resolve(&mut self, alert: &Alert) {
        let mut untold = Vec::new();
        for (key, group) in &mut self.groups {
            match group.resolve(alert) {
                Ended::Unchanged => {}
                Ended::Noted => drop(self.dirty.insert(key.clone())),
                Ended::Untold => {
                    self.dirty.insert(key.clone());
                    untold.push(group.channel.clone());
                }
            }
        }
        for channel in untold {
            let reason = "it was resolved before the group was due to be told".to_owned();
            self.not_told(&channel, String::new(), alert.fingerprint, reason);
        }
    }

    fn end_all_but(&mut self, now: TimestampMs, known: &[Fingerprint]) {
        let known: BTreeSet<Fingerprint> = known.iter().copied().collect();
        let ended: BTreeMap<Fingerprint, Alert> = self
            .groups
            .values()
            .flat_map(|g| g.members.values())
            .filter(|m| m.alert.state == AlertState::Firing && !known.contains(&m.alert.fingerprint))
            .map(|m| (m.alert.fingerprint, m.alert.clone()))
            .collect();
        for alert in ended.into_values() {
            self.resolve(&Alert { state: AlertState::Resolved, resolved_at: Some(now), ..alert });
        }
    }

    fn not_told(&mut self, channel: &str, dedup_key: String, alert: Fingerprint, reason: String) {
        self.journal.push(JournalEntry::Delivery {
            channel: channel.to_owned(),
            dedup_key,
            alerts: vec![alert],
            attempt: 0,
            error: Some(reason),
            will_retry: false,
        });
    }

    fn delivered(&mut self, now: TimestampMs, ticket: u64, outcome: DeliveryOutcome) {
        let Some(key) = self.tickets.remove(&ticket) else { return };
        let Some(group) = self.groups.get(&key) else { return };
        let timing = self.timing(group);
        let Some(flight) = group.flight.as_ref().filter(|f| f.running.is_some_and(|(t, _)| t == ticket)) else {
            return;
        };
        let dedup_key = group.dedup_key(&key, flight.number);
        let (attempt, started) = (flight.attempt, flight.started);
        let alerts: Vec<Fingerprint> = flight.alerts.iter().map(|a| a.fingerprint).collect();
        let firing = flight.alerts.iter().any(|a| a.state == AlertState::Firing);
        let channel = group.channel.clone();

        let Some(group) = self.groups.get_mut(&key) else { return };
        let (error, will_retry) = match outcome {
            DeliveryOutcome::Accepted { reference } => {
                group.accepted(now, reference);
                (None, false)
            }
            DeliveryOutcome::Unavailable { reason, retry_after } => {
                let at = now.plus(self.retry.pause(&dedup_key, attempt, retry_after));
                let in_time = at.since(started) < self.retry.give_up_after;
                if in_time {
                    group.retry_at(at);
                } else {
                    group.given_up(now.plus(timing.group_interval.max(self.retry.initial)), false);
                }
                (Some(reason), in_time)
            }
            DeliveryOutcome::Rejected { reason } => {
                group.given_up(now.plus(timing.repeat_interval.max(self.retry.initial)), true);
                (Some(reason), false)
            }
        };
        self.dirty.insert(key);
        self.history.ended(RecentDelivery {
            at: now,
            channel: channel.clone(),
            dedup_key: dedup_key.clone(),
            alerts: alerts.clone(),
            firing,
            attempt,
            error: error.clone(),
            will_retry,
        });
        self.journal.push(JournalEntry::Delivery { channel, dedup_key, alerts, attempt, error, will_retry });
    }

    fn give_up_on_lost_answers(&mut self, now: TimestampMs) {
        let lost: Vec<u64> = self
            .groups
            .values()
            .filter_map(|g| g.flight.as_ref()?.running)
            .filter(|(_, since)| now.since(*since) >= ANSWER_LOST_AFTER)
            .map(|(ticket, _)| ticket)
            .collect();
        for ticket in lost {
            let reason = format!("no answer within {ANSWER_LOST_AFTER:?}");
            self.delivered(now, ticket, DeliveryOutcome::Unavailable { reason, retry_after: None });
        }
    }

    fn busy_channels(&self) -> HashMap<&str, usize> {
        let mut busy = HashMap::new();
        for group in self.groups.values().filter(|g| running(g)) {
            *busy.entry(group.channel.as_str()).or_insert(0) += 1;
        }
        busy
    }

    /// Who has waited longest speaks first.
    fn speak(&mut self, now: TimestampMs) -> Vec<NotifyEffect> {
        let mut busy: HashMap<String, usize> =
            self.busy_channels().into_iter().map(|(channel, n)| (channel.to_owned(), n)).collect();
        let mut due: Vec<(TimestampMs, String)> = self
            .groups
            .iter()
            .filter_map(|(key, g)| Some((g.due(self.timing(g)).filter(|at| *at <= now)?, key.clone())))
            .collect();
        due.sort();
        let mut effects = Vec::new();
        for (_, key) in due {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let running = busy.entry(group.channel.clone()).or_insert(0);
            if *running >= DELIVERIES_PER_CHANNEL_MAX {
                continue;
            }
            *running += 1;
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            effects
                .push(NotifyEffect::Deliver { ticket, group: group.attempt(&key, ticket, now, &self.external_labels) });
            self.tickets.insert(ticket, key.clone());
            self.dirty.insert(key);
        }
        effects
    }

    fn persist(&mut self, effects: &mut Vec<NotifyEffect>) {
        for key in std::mem::take(&mut self.dirty) {
            let over = self.groups.get(&key).is_none_or(Group::is_over);
            if over {
                self.groups.remove(&key);
            }
            let state = self.groups.get(&key).and_then(|g| serde_json::to_string(g).ok());
            effects.push(NotifyEffect::Persist { key, state });
        }
    }
}

fn running(group: &Group) -> bool {
    group.flight.as_ref().is_some_and(|f| f.running.is_some())
}

impl Organ for Notify {
    type Input = NotifyInput;
    type Effect = NotifyEffect;

    fn next_due(&self) -> Option<TimestampMs> {
        self.route.as_ref()?;
        let busy = self.busy_channels();
        let full = |g: &Group| busy.get(g.channel.as_str()).is_some_and(|n| *n >= DELIVERIES_PER_CHANNEL_MAX);
        self.groups
            .values()
            .filter_map(|g| match g.flight.as_ref().and_then(|f| f.running) {
                Some((_, since)) => Some(since.plus(ANSWER_LOST_AFTER)),
                None if full(g) => None,
                None => g.due(self.timing(g)),
            })
            .min()
    }

    fn step(&mut self, now: TimestampMs, inputs: Vec<NotifyInput>) -> Vec<NotifyEffect> {
        if self.last_step.is_none_or(|last| now < last) {
            let timings: Vec<Timing> = self.groups.values().map(|g| self.timing(g)).collect();
            for (group, timing) in self.groups.values_mut().zip(timings) {
                group.clamp(now, now.plus(self.retry.max), now.plus(timing.repeat_interval));
            }
        }
        self.last_step = Some(now);
        self.dirty.extend(std::mem::take(&mut self.unreadable));
        for input in inputs {
            match input {
                NotifyInput::Configure { route, retry, external_labels } => {
                    self.configure(now, route, retry, external_labels);
                }
                NotifyInput::Alerts(events) => {
                    for AlertEvent { alert, .. } in events {
                        match alert.state {
                            AlertState::Firing => self.fire(now, &alert, false),
                            AlertState::Resolved => self.resolve(&alert),
                            AlertState::Inactive | AlertState::Pending => {}
                        }
                    }
                }
                NotifyInput::StillFiring(alerts) => {
                    for alert in alerts.iter().filter(|a| a.state == AlertState::Firing) {
                        self.fire(now, alert, true);
                    }
                }
                NotifyInput::Remembered(known) => self.end_all_but(now, &known),
                NotifyInput::Delivered { ticket, outcome } => self.delivered(now, ticket, outcome),
            }
        }
        self.give_up_on_lost_answers(now);
        let deliveries = if self.route.is_some() { self.speak(now) } else { Vec::new() };
        // The journal first: what is persisted afterwards would not be told to it again.
        let mut effects: Vec<NotifyEffect> = self.journal.drain(..).map(NotifyEffect::Journal).collect();
        self.persist(&mut effects);
        effects.extend(deliveries);
        effects
    }
}

#[cfg(test)]
#[path = "organ_tests.rs"]
mod tests;
