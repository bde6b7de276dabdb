//! What the API shows of notify.

use std::collections::{BTreeMap, VecDeque};

use belfry_model::{Alert, Fingerprint, Labels, TimestampMs};

/// Deliveries that are shown; older ones are in the journal.
pub const RECENT_DELIVERIES_MAX: usize = 100;

/// A group as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSnapshot {
    /// Its identity.
    pub key: String,
    /// Who hears of it.
    pub channel: String,
    /// What its alerts share.
    pub labels: Labels,
    /// Firing, and resolved ones that were not told yet.
    pub alerts: Vec<Alert>,
    /// Firing ones that the group has no room for.
    pub truncated: u32,
    /// Attempts of the notification that is on its way; `None` when none is.
    pub attempt: Option<u32>,
    /// When something is told next, as things are.
    pub next_due: Option<TimestampMs>,
    /// When a notification was last accepted.
    pub last_accepted: Option<TimestampMs>,
    /// Notifications accepted.
    pub accepted: u32,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentDelivery {
    /// When it ended.
    pub at: TimestampMs,
    /// Where it went.
    pub channel: String,
    /// Which notification.
    pub dedup_key: String,
    /// Alerts in it.
    pub alerts: Vec<Fingerprint>,
    /// Was any of them firing?
    pub firing: bool,
    /// 1, 2, …
    pub attempt: u32,
    /// Why it failed; `None` when it was accepted.
    pub error: Option<String>,
    /// Will it be tried again?
    pub will_retry: bool,
}

/// How a channel is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelHealth {
    /// Its name.
    pub channel: String,
    /// Deliveries on their way.
    pub in_flight: usize,
    /// Deliveries accepted.
    pub accepted: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Notifications given up.
    pub given_up: u64,
    /// Failures since the last accepted one.
    pub failures_in_a_row: u32,
    /// When one was last accepted.
    pub last_accepted: Option<TimestampMs>,
    /// When one last failed.
    pub last_failure: Option<TimestampMs>,
    /// Why.
    pub last_error: Option<String>,
}

/// Everything at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotifySnapshot {
    /// In order of key.
    pub groups: Vec<GroupSnapshot>,
    /// Newest first.
    pub recent: Vec<RecentDelivery>,
    /// In order of name.
    pub channels: Vec<ChannelHealth>,
    /// Alerts that got no group because there were too many groups.
    pub groups_shed: u64,
    /// Alerts that got no room in their group (they are counted in its messages).
    pub alerts_shed: u64,
    /// Persisted groups that could not be read.
    pub unreadable: u64,
}

/// Channels and the last deliveries.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub channels: BTreeMap<String, ChannelHealth>,
    recent: VecDeque<RecentDelivery>,
}

impl History {
    pub fn channel(&mut self, name: &str) -> &mut ChannelHealth {
        if !self.channels.contains_key(name) {
            self.channels.insert(name.to_owned(), ChannelHealth { channel: name.to_owned(), ..Default::default() });
        }
        self.channels.entry(name.to_owned()).or_default()
    }

    pub fn ended(&mut self, delivery: RecentDelivery) {
        let health = self.channel(&delivery.channel);
        match &delivery.error {
            None => {
                health.accepted += 1;
                health.failures_in_a_row = 0;
                health.last_accepted = Some(delivery.at);
            }
            Some(error) => {
                health.failed += 1;
                health.given_up += u64::from(!delivery.will_retry);
                health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
                health.last_failure = Some(delivery.at);
                health.last_error = Some(error.clone());
            }
        }
        self.recent.truncate(RECENT_DELIVERIES_MAX - 1);
        self.recent.push_front(delivery);
    }

    pub fn recent(&self) -> Vec<RecentDelivery> {
        self.recent.iter().cloned().collect()
    }
}
