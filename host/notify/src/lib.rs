//! Notify: who hears of an alert, and when. Groups, delivers at least once, retries by error class.
//!
//! Invariant: an alert that fired reaches every channel its route names, or the journal says why not; a resolved
//! message follows only a firing one that was accepted. State survives a crash through [`NotifyEffect::Persist`].
//! Not here: a clock, I/O, rules, plugins.

use std::time::Duration;

use belfry_model::{Alert, AlertEvent, Labels, Matcher, TimestampMs};

/// A node of the routing tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// All must match; empty matches everything.
    pub matchers: Vec<Matcher>,
    /// Where matching alerts go; inherited from the parent when the config leaves it out.
    pub channel: String,
    /// Labels that make a group; `...` alone groups by all labels.
    pub group_by: Vec<String>,
    /// How long a new group waits for company.
    pub group_wait: Duration,
    /// At least this long between two notifications of one group that changed.
    pub group_interval: Duration,
    /// A group that goes on firing is told again after this.
    pub repeat_interval: Duration,
    /// Go on to the next sibling after a match.
    pub continue_: bool,
    /// Children, tried in order; the first that matches wins (see `continue_`).
    pub routes: Vec<Route>,
}

/// Retry of failed deliveries: exponential with full jitter derived from the dedup key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// First pause.
    pub initial: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// Given up (and journalled) after this long.
    pub give_up_after: Duration,
}

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
    /// The tree and the policy from now on.
    Configure {
        /// Root; matches everything.
        route: Route,
        /// For all channels.
        retry: RetryPolicy,
    },
    /// Alerts that changed (fired or resolved; others are ignored).
    Alerts(Vec<AlertEvent>),
    /// Alerts that go on firing.
    StillFiring(Vec<Alert>),
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
    Journal(belfry_model::JournalEntry),
}
