//! A rule file as it was written: every field with its place.
//!
//! Invariant: what is here was checked as Prometheus checks it (names, durations, expressions, templates).
//! Not here: defaults of the config, evaluation.

use std::sync::Arc;
use std::time::Duration;

use belfry_promql::Expr;

use super::place::{Located, Place, Problem, Text};

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// As it was named to the reader.
    pub name: String,
    /// In the order of the file.
    pub groups: Vec<Group>,
    /// What Prometheus would take, but nobody can have meant.
    pub warnings: Vec<Problem>,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Where it begins.
    pub at: Place,
    /// Unique within the file.
    pub name: Text,
    /// How often it is evaluated; the config's interval when missing or zero.
    pub interval: Option<Located<Duration>>,
    /// How far before its time it is evaluated; the config's offset when missing.
    pub query_offset: Option<Located<Duration>>,
    /// Series or alerts one rule may give; none when missing, zero or negative.
    pub limit: Option<Located<i64>>,
    /// Added to every rule of the group; a rule's own win.
    pub labels: Vec<Pair>,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}

/// A label or annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its name.
    pub name: Text,
    /// Its value: a template in an alerting rule.
    pub value: Text,
}

/// What a rule makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// Series of the name.
    Record,
    /// Alerts of the name.
    Alert,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it begins.
    pub at: Place,
    /// `record` or `alert`.
    pub kind: RuleKind,
    /// What stands there.
    pub name: Text,
    /// The expression as written: [`Text::place`] finds a byte of it in the file.
    pub expr: Text,
    /// The expression as read.
    pub query: Arc<Expr>,
    /// `for`: how long it must hold before it fires.
    pub hold: Option<Located<Duration>>,
    /// How long it goes on firing after it held last.
    pub keep_firing_for: Option<Located<Duration>>,
    /// The rule's own.
    pub labels: Vec<Pair>,
    /// For people.
    pub annotations: Vec<Pair>,
}

impl Rule {
    /// Labels of the rule in its group: the group's, replaced by the rule's own, in order of name. An empty value
    /// takes a label of the series away.
    pub fn labels_in(&self, group: &Group) -> Vec<(Arc<str>, Arc<str>)> {
        let mut all = std::collections::BTreeMap::new();
        for pair in group.labels.iter().chain(&self.labels) {
            all.insert(Arc::from(pair.name.as_str()), Arc::from(pair.value.as_str()));
        }
        all.into_iter().collect()
    }
}
