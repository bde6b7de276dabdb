//! Notify: who hears of an alert, and when. Groups, delivers at least once, retries by error class.
//!
//! Invariant: an alert that fired reaches every channel its route names, or the journal says why not; a resolved
//! message follows only a firing one that was accepted. State survives a crash through [`NotifyEffect::Persist`].
//! Not here: a clock, I/O, rules, plugins.

mod group;
mod organ;
mod retry;
mod route;
mod snapshot;

pub use group::{ALERTS_PER_GROUP_MAX, AlertGroup, OVERFLOW_TRACKED_MAX};
pub use organ::{
    ANSWER_LOST_AFTER, DELIVERIES_PER_CHANNEL_MAX, DeliveryOutcome, GROUPS_MAX, Notify, NotifyEffect, NotifyInput,
};
pub use retry::RetryPolicy;
pub use route::{Destination, Route};
pub use snapshot::{ChannelHealth, GroupSnapshot, NotifySnapshot, RECENT_DELIVERIES_MAX, RecentDelivery};
