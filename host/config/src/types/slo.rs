//! What `[[slo]]` says.

use std::time::Duration;

use belfry_model::Labels;

use super::Condition;

/// `[[slo]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Unique.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// Percent that must be good: more than 0, less than 100.
    pub objective: f64,
    /// Over how long.
    pub window: Duration,
    /// How often it is evaluated; `None`: as the window wants it.
    pub interval: Option<Duration>,
    /// What is good.
    pub indicator: Indicator,
    /// Added to its series and alerts.
    pub labels: Labels,
}

/// What is good.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Good events among all; both expressions have `$window`.
    Ratio {
        /// Good events.
        good: String,
        /// All events.
        total: String,
    },
    /// A value that is as it should be.
    Threshold {
        /// An instant vector.
        query: String,
        /// How it is compared …
        condition: Condition,
        /// … with this.
        threshold: f64,
    },
}
