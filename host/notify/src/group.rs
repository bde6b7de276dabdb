//! One group of alerts on its way to one channel.
//!
//! Invariant: at most one notification is on its way; what it says does not change between its attempts. An alert
//! counts as told only after the channel accepted it, and only what was told as firing is told as resolved.
//! Not here: routing, tickets, when the organ looks.

use std::collections::{BTreeMap, BTreeSet};

use belfry_model::{Alert, AlertState, Fingerprint, Labels, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::retry::fnv;
use crate::route::{Destination, Timing};

/// Alerts of one group, and so of one message: more are counted in `truncated`. A message of that many is about
/// 200 kB, and nobody reads on.
pub const ALERTS_PER_GROUP_MAX: usize = 256;

/// Alerts that are counted beyond it; past this the count stands still.
pub const OVERFLOW_TRACKED_MAX: usize = 10_000;

/// A resolved message that was given up so often is not tried again: about a day with the default policy.
const RESOLVED_GIVE_UPS_MAX: u32 = 24;

/// What is to be delivered; becomes the contract's `alert-group`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertGroup {
    /// Same for every attempt at the same notification.
    pub dedup_key: String,
    /// Channel.
    pub channel: String,
    /// Labels of the group.
    pub group_labels: Labels,
    /// Shared by all its alerts.
    pub common_labels: Labels,
    /// Shared by all its alerts.
    pub common_annotations: Labels,
    /// Firing and just resolved ones. "firing" as a whole if any alert is.
    pub alerts: Vec<Alert>,
    /// How many more there were.
    pub truncated: u32,
    /// 1, 2, … of this notification.
    pub attempt: u32,
    /// 0 for the group's first notification.
    pub repetition: u32,
    /// What the handler answered last time.
    pub previous_receipt: Option<String>,
}

impl AlertGroup {
    /// Does any of its alerts fire?
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|a| a.state == AlertState::Firing)
    }
}

/// The labels with those of the host that they lack: what the alert itself says holds.
pub(crate) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut all = labels.to_builder();
    for label in external.iter().filter(|l| labels.get(&l.name).is_none()) {
        all.set(label.name.clone(), label.value.clone());
    }
    all.build()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub alert: Alert,
    /// `active_since` of the episode that the channel accepted as firing.
    told: Option<TimestampMs>,
    /// The tree does not lead here any more: only its end is still told, and only if its beginning was.
    #[serde(default)]
    pub orphan: bool,
    #[serde(default)]
    give_ups: u32,
}

impl Member {
    fn has_news(&self) -> bool {
        match self.alert.state {
            AlertState::Firing => !self.orphan && self.told != Some(self.alert.active_since),
            AlertState::Resolved => self.told.is_some(),
            AlertState::Inactive | AlertState::Pending => false,
        }
    }

    fn fires(&self) -> bool {
        self.alert.state == AlertState::Firing && !self.orphan
    }
}

/// A notification that was begun and not yet accepted or given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flight {
    pub number: u32,
    pub started: TimestampMs,
    /// Attempts that were begun.
    pub attempt: u32,
    pub next_attempt: TimestampMs,
    pub alerts: Vec<Alert>,
    truncated: u32,
    /// The attempt that is running in this process, and since when.
    #[serde(skip)]
    pub running: Option<(u64, TimestampMs)>,
}

/// What became of a firing alert that came to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It is known already.
    Known,
    /// It is new, or began anew.
    New,
    /// There is no room; counted.
    NoRoom,
}

/// What became of an alert that was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is known of it, or its end was known.
    Unchanged,
    /// It will be told.
    Noted,
    /// It ended before its beginning was told: nothing will be.
    Untold,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub route: String,
    pub channel: String,
    pub group_labels: Labels,
    /// Part of the dedup key; unlike `created` it never changes.
    id: i64,
    created: TimestampMs,
    pub members: BTreeMap<Fingerprint, Member>,
    overflow: BTreeSet<Fingerprint>,
    /// Number of the next notification.
    next_number: u32,
    pub flight: Option<Flight>,
    last_begun: Option<TimestampMs>,
    pub last_accepted: Option<TimestampMs>,
    pub accepted: u32,
    receipt: Option<String>,
    /// After a failure that a retry cannot help, nothing is begun before this unless something new happens.
    not_before: Option<TimestampMs>,
}

impl Group {
    pub fn new(destination: &Destination, now: TimestampMs) -> Self {
        Self {
            route: destination.route.clone(),
            channel: destination.channel.clone(),
            group_labels: destination.group_labels.clone(),
            id: now.0,
            created: now,
            members: BTreeMap::new(),
            overflow: BTreeSet::new(),
            next_number: 0,
            flight: None,
            last_begun: None,
            last_accepted: None,
            accepted: 0,
            receipt: None,
            not_before: None,
        }
    }

    pub fn fire(&mut self, alert: &Alert) -> Admitted {
        let full = self.members.len() >= ALERTS_PER_GROUP_MAX;
        match self.members.get_mut(&alert.fingerprint) {
            Some(member) => {
                let same = member.alert.state == alert.state && member.alert.active_since == alert.active_since;
                let adopted = std::mem::take(&mut member.orphan);
                member.alert = alert.clone();
                member.give_ups = 0;
                if same && !adopted {
                    return Admitted::Known;
                }
            }
            None if full => {
                if self.overflow.len() < OVERFLOW_TRACKED_MAX {
                    self.overflow.insert(alert.fingerprint);
                }
                return Admitted::NoRoom;
            }
            None => {
                self.overflow.remove(&alert.fingerprint);
                let member = Member { alert: alert.clone(), told: None, orphan: false, give_ups: 0 };
                self.members.insert(alert.fingerprint, member);
            }
        }
        self.not_before = None;
        Admitted::New
    }

    pub fn resolve(&mut self, alert: &Alert) -> Ended {
        let was_shed = self.overflow.remove(&alert.fingerprint);
        let on_its_way = self.on_its_way(alert.fingerprint);
        let Some(member) = self.members.get_mut(&alert.fingerprint) else {
            return if was_shed { Ended::Noted } else { Ended::Unchanged };
        };
        if member.alert.state == AlertState::Resolved {
            return Ended::Unchanged;
        }
        if member.told.is_none() && !on_its_way {
            let orphan = member.orphan;
            self.members.remove(&alert.fingerprint);
            return if orphan { Ended::Noted } else { Ended::Untold };
        }
        member.alert = alert.clone();
        self.not_before = None;
        Ended::Noted
    }

    fn on_its_way(&self, fingerprint: Fingerprint) -> bool {
        self.flight.as_ref().is_some_and(|f| f.alerts.iter().any(|a| a.fingerprint == fingerprint))
    }

    /// The tree does not lead `fingerprint` here any more.
    pub fn orphan(&mut self, fingerprint: Fingerprint) {
        let on_its_way = self.on_its_way(fingerprint);
        if let Some(member) = self.members.get_mut(&fingerprint) {
            member.orphan = true;
            if member.told.is_none() && !on_its_way {
                self.members.remove(&fingerprint);
            }
        }
    }

    /// When the next attempt or notification is due; `None` while an attempt runs or nothing is to be told.
    pub fn due(&self, timing: Timing) -> Option<TimestampMs> {
        if let Some(flight) = &self.flight {
            return flight.running.is_none().then_some(flight.next_attempt);
        }
        let due = if self.members.values().any(Member::has_news) {
            match self.last_begun {
                None => self.created.plus(timing.group_wait),
                Some(begun) => begun.plus(timing.group_interval),
            }
        } else if self.members.values().any(Member::fires) {
            self.last_accepted.unwrap_or(self.created).plus(timing.repeat_interval.max(timing.group_interval))
        } else {
            return None;
        };
        Some(due.max(self.not_before.unwrap_or(due)))
    }

    /// The notification to attempt now: the one on its way, or a new one that says how things stand.
    pub fn attempt(&mut self, key: &str, ticket: u64, now: TimestampMs, external_labels: &Labels) -> AlertGroup {
        if self.flight.is_none() {
            let told_or_firing = |m: &&Member| m.fires() || (m.alert.state == AlertState::Resolved && m.told.is_some());
            let mut alerts: Vec<Alert> =
                self.members.values().filter(told_or_firing).map(|m| m.alert.clone()).collect();
            alerts.sort_by(|a, b| {
                (a.state == AlertState::Resolved, &a.labels).cmp(&(b.state == AlertState::Resolved, &b.labels))
            });
            self.last_begun = Some(now);
            self.flight = Some(Flight {
                number: self.next_number,
                started: now,
                attempt: 0,
                next_attempt: now,
                alerts,
                truncated: self.overflow.len() as u32,
                running: None,
            });
            self.next_number += 1;
        }
        let number = self.flight.as_ref().map_or(0, |f| f.number);
        let dedup_key = self.dedup_key(key, number);
        let (mut alerts, truncated, attempt) = match &mut self.flight {
            Some(flight) => {
                flight.attempt += 1;
                flight.running = Some((ticket, now));
                (flight.alerts.clone(), flight.truncated, flight.attempt)
            }
            None => (Vec::new(), 0, 1),
        };
        alerts.iter_mut().for_each(|a| a.labels = with_external(&a.labels, external_labels));
        AlertGroup {
            dedup_key,
            channel: self.channel.clone(),
            group_labels: self.group_labels.clone(),
            common_labels: common(alerts.iter().map(|a| &a.labels)),
            common_annotations: common(alerts.iter().map(|a| &a.annotations)),
            alerts,
            truncated,
            attempt,
            repetition: number,
            previous_receipt: self.receipt.clone(),
        }
    }

    /// Names one notification: a later group of the same key has another `id`.
    pub fn dedup_key(&self, key: &str, number: u32) -> String {
        format!("{:016x}-{:x}-{number}", fnv(key.bytes()), self.id)
    }

    /// The channel took the notification.
    pub fn accepted(&mut self, now: TimestampMs, receipt: Option<String>) {
        let Some(flight) = self.flight.take() else { return };
        for told in &flight.alerts {
            let Some(member) = self.members.get_mut(&told.fingerprint) else { continue };
            match (told.state, member.alert.state) {
                (AlertState::Resolved, AlertState::Resolved) if member.alert.active_since == told.active_since => {
                    self.members.remove(&told.fingerprint);
                }
                // It began anew since: the channel believes that it is over.
                (AlertState::Resolved, _) => member.told = None,
                _ => member.told = Some(told.active_since),
            }
        }
        self.last_accepted = Some(now);
        self.accepted += 1;
        if receipt.is_some() {
            self.receipt = receipt;
        }
        self.not_before = None;
        self.drop_untold_ends();
    }

    /// The attempt failed and there will be another.
    pub fn retry_at(&mut self, at: TimestampMs) {
        if let Some(flight) = &mut self.flight {
            flight.running = None;
            flight.next_attempt = at;
        }
    }

    /// The notification will never be accepted. What still fires is told by another one, not before `not_before`;
    /// `hopeless` says that the ends in it need not be tried again.
    pub fn given_up(&mut self, not_before: TimestampMs, hopeless: bool) {
        let Some(flight) = self.flight.take() else { return };
        for alert in flight.alerts.iter().filter(|a| a.state == AlertState::Resolved) {
            let Some(member) = self.members.get_mut(&alert.fingerprint) else { continue };
            member.give_ups += 1;
            if member.alert.state == AlertState::Resolved && (hopeless || member.give_ups >= RESOLVED_GIVE_UPS_MAX) {
                self.members.remove(&alert.fingerprint);
            }
        }
        self.not_before = Some(not_before);
        self.drop_untold_ends();
    }

    /// Ended, and never told to have begun: nothing is left to say.
    fn drop_untold_ends(&mut self) {
        self.members.retain(|_, m| m.told.is_some() || m.fires());
    }

    /// Nothing is left to tell, now or later.
    pub fn is_over(&self) -> bool {
        self.flight.is_none() && self.members.is_empty()
    }

    pub fn truncated(&self) -> u32 {
        self.overflow.len() as u32
    }

    /// Nothing can have happened after `now`: the clock went back, or the state comes from a machine whose clock was
    /// wrong. Otherwise the group would be silent for the length of the jump.
    pub fn clamp(&mut self, now: TimestampMs, pause_max: TimestampMs, not_before_max: TimestampMs) {
        for at in [Some(&mut self.created), self.last_begun.as_mut(), self.last_accepted.as_mut()].into_iter().flatten()
        {
            *at = (*at).min(now);
        }
        if let Some(at) = &mut self.not_before {
            *at = (*at).min(not_before_max);
        }
        if let Some(flight) = &mut self.flight {
            flight.started = flight.started.min(now);
            flight.next_attempt = flight.next_attempt.min(pause_max);
            if let Some((_, since)) = &mut flight.running {
                *since = (*since).min(now);
            }
        }
    }
}

fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::empty() };
    let mut shared: Vec<_> = first.iter().cloned().collect();
    for labels in all {
        shared.retain(|l| labels.get(&l.name) == Some(&l.value));
    }
    Labels::from_pairs(shared.into_iter().map(|l| (l.name, l.value)))
}
