//! Service level objectives: from what is promised to the rules that watch it.
//!
//! Four pairs of windows as in the table of chapter 5 of Google's Site Reliability Workbook: an alert fires when both a
//! long and a short window burn the error budget too fast. The table is for 30 days; for another window its windows are
//! scaled with it, so that the same share of the budget is gone when an alert fires.
//!
//! Invariant: the same [`Slo`] gives the same rule file, and [`crate::file::parse`] reads it.
//! Not here: the config, evaluation, who hears of an alert.

mod windows;
mod write;

use std::time::Duration;

use belfry_model::Labels;

pub use windows::{BURNS, Burn, Windows};

use crate::Condition;
use crate::file::{self, Problem, RuleFile};

/// What stands for the window in `good` and `total`.
pub const WINDOW_PLACEHOLDER: &str = "$window";
/// The name that the file of an SLO's group goes by.
pub const FILE_NAME: &str = "[[slo]]";

/// Recorded while `good` has label sets that `total` has not.
pub const UNMATCHED: &str = "slo:unmatched_good:count";

/// What is promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Unique; the label `slo`.
    pub name: String,
    /// Percent that must be good, more than 0 and less than 100.
    pub objective: f64,
    /// Over how long.
    pub window: Duration,
    /// How often it is evaluated.
    pub interval: Duration,
    /// What is good.
    pub indicator: Indicator,
    /// Added to every recorded series and alert.
    pub labels: Labels,
}

/// What is good.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Good events among all: two expressions with [`WINDOW_PLACEHOLDER`].
    Ratio {
        /// Good events.
        good: String,
        /// All events.
        total: String,
    },
    /// The time at which a value is as it should be.
    Threshold {
        /// An instant vector.
        query: String,
        /// How it is compared …
        condition: Condition,
        /// … with this, when all is well.
        threshold: f64,
    },
}

impl Slo {
    /// The rules that watch it, as a Prometheus rule file in YAML with one group.
    pub fn rules_text(&self) -> String {
        write::text(self)
    }

    /// The rules that watch it. Problems are there only when an expression of the indicator is none.
    pub fn rules(&self) -> Result<RuleFile, Vec<Problem>> {
        file::parse(&self.rules_text(), FILE_NAME)
    }

    /// Good and all events within `window`, as the config asks for them; `None` for a threshold.
    pub fn good_and_total(&self, window: &str) -> Option<(String, String)> {
        match &self.indicator {
            Indicator::Ratio { good, total } => {
                Some((good.replace(WINDOW_PLACEHOLDER, window), total.replace(WINDOW_PLACEHOLDER, window)))
            }
            Indicator::Threshold { .. } => None,
        }
    }

    /// Good and all events within `window` as they are recorded for both kinds of indicator, for people to try out.
    pub fn events(&self, window: &str) -> (String, String) {
        self.good_and_total(window).unwrap_or_else(|| write::held(self, window))
    }

    /// The share of bad events that the objective allows.
    pub fn budget(&self) -> f64 {
        // 99.9 is no binary number: what is left of it is taken to 12 digits.
        ((100.0 - self.objective) * 1e10).round() / 1e12
    }
}

#[cfg(test)]
mod tests;
