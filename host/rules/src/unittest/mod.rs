//! `belfry rules test`: promtool's unit tests of rules, with its semantics, and what they leave untested.
//!
//! Invariant: the same file and rules give the same outcome; nothing is read from clock, disk or network.
//! Not here: finding and reading files, printing.

pub mod coverage;
mod file;
mod histogram;
pub mod junit;
pub(crate) mod machine;
mod memory;
mod run;
pub(crate) mod series;

pub use file::{AlertCase, AlertExpected, ExprCase, ExprExpected, InputSeries, TestFile, TestGroup, parse, parse_with};
pub use run::{Failure, GroupOutcome, Options, RuleKey, TestOutcome, run};

#[cfg(test)]
mod tests;
