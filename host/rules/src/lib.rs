//! Rules: when is a condition met for long enough? Emits alert events; decides nothing about who hears of them.
//!
//! Invariant: an alert's state follows from its rule and the answers it was given, in order. `for` survives a restart
//! through the rows in [`RulesEffect::Persist`].
//! Not here: a clock, I/O, notify, the store.

mod alert;
pub mod backtest;
pub mod check;
pub mod file;
pub mod groups;
pub mod mutate;
mod organ;
mod rule;
pub mod slo;
pub mod threshold;
pub mod unittest;

pub use alert::OUTAGE_TOLERANCE;
pub use organ::{ANSWER_LOST_AFTER, RESEND_EVERY, RuleSnapshot, Rules, RulesEffect, RulesInput};
pub use rule::{ALERTS_PER_RULE_MAX, RESOLVED_KEPT, RETURN_GRACE};
pub use threshold::{Condition, ThresholdRule};
