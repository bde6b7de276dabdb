//! Which rules no test makes fire, or record a value.

use std::collections::BTreeSet;

use super::run::{RuleKey, TestOutcome};
use crate::file::{RuleFile, RuleKind};

/// A rule that nothing comes true of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untested {
    /// Which.
    pub key: RuleKey,
    /// `alert` or `record`.
    pub kind: RuleKind,
    /// Its name.
    pub name: String,
    /// `file:line:column` of it.
    pub place: String,
}

/// How much of the rules the tests reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// All rules.
    pub rules: usize,
    /// In order of file and place.
    pub untested: Vec<Untested>,
}

impl Coverage {
    /// Of all rules, in percent; 100 where there are none.
    pub fn percent(&self) -> f64 {
        match self.rules {
            0 => 100.0,
            n => (n - self.untested.len()) as f64 * 100.0 / n as f64,
        }
    }
}

/// Over all test files that use these rules. `came_true` names rules by the index of their file in `files`.
pub fn coverage<'o>(files: &[RuleFile], outcomes: impl IntoIterator<Item = &'o TestOutcome>) -> Coverage {
    let reached: BTreeSet<&RuleKey> = outcomes.into_iter().flat_map(|o| &o.came_true).collect();
    let mut all = Coverage { rules: 0, untested: Vec::new() };
    for (f, file) in files.iter().enumerate() {
        for (g, group) in file.groups.iter().enumerate() {
            for (r, rule) in group.rules.iter().enumerate() {
                let key = RuleKey { file: f, group: g, rule: r };
                all.rules += 1;
                if !reached.contains(&key) {
                    let place = format!("{}:{}", file.name, rule.at);
                    all.untested.push(Untested { key, kind: rule.kind, name: rule.name.as_str().to_owned(), place });
                }
            }
        }
    }
    all
}
