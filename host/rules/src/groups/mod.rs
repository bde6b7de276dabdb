//! Groups of rule files, evaluated as Prometheus evaluates them.
//!
//! Invariant: groups run side by side, each on a grid of its own that follows from its file and name; the rules of a
//! group run one after the other, each seeing what those before it wrote.
//! Not here: a clock, reading and evaluating (the driver does both), who hears of an alert.

mod organ;
mod rivals;
mod round;
pub mod shared;
mod spec;
mod state;

/// What templates ask and see.
pub use belfry_template::{DataValue, NoQueries, QueryFunc, QuerySample};
pub use organ::{GroupSnapshot, Groups, GroupsEffect, GroupsInput, Health, Job, RuleView};
pub use spec::{Defaults, GroupSpec, Row, RuleSpec, Words, severity_of, template_value};
pub use state::{ALERTS_PER_FILE_RULE_MAX, Active, StoredAlert};
// Tests and backtests of rules move their alerts with these.
pub(crate) use state::{Changes, RuleState};
