//! `belfry rules mutate`: small changes of rules, one at a time. A change that no test notices is a hole in the tests.
//!
//! Invariant: every change gives a rule file that could have been written; their number is bounded.
//! Not here: reading files, printing.

mod edit;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::duration::format_duration;

pub use edit::{Edit, edits};

use crate::file::{Located, Place, RuleFile, RuleKind};
use crate::unittest::{Options, RuleKey, TestFile, run};

/// Changes that are tried unless more are asked for.
pub const MUTATIONS_MAX: usize = 500;

/// One changed rule.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Which rule.
    pub rule: RuleKey,
    /// Where the change is.
    pub at: Place,
    /// The rule's name.
    pub name: String,
    /// `comparator`, `threshold`, `for` or `matcher`.
    pub kind: &'static str,
    /// As it was written.
    pub before: String,
    /// As it was tried.
    pub after: String,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Query(Edit),
    Hold(Duration),
    Keep(Duration),
}

/// All changes of the rules of `files`, in order of place.
pub fn mutations(files: &[RuleFile]) -> Vec<Mutation> {
    let mut all = Vec::new();
    for (f, file) in files.iter().enumerate() {
        for (g, group) in file.groups.iter().enumerate() {
            for (r, rule) in group.rules.iter().enumerate() {
                let key = RuleKey { file: f, group: g, rule: r };
                let new = |at, kind, before: String, after: String, change| Mutation {
                    rule: key.clone(),
                    at,
                    name: rule.name.as_str().to_owned(),
                    kind,
                    before,
                    after,
                    change,
                };
                for e in edits(&rule.query) {
                    let at = rule.expr.place(e.span.start as usize);
                    all.push(new(at, e.kind, e.before.clone(), e.after.clone(), Change::Query(e)));
                }
                if rule.kind != RuleKind::Alert {
                    continue;
                }
                let told = |word: &str, d: Duration| format!("{word}: {}", format_duration(d));
                match rule.hold.filter(|d| !d.value.is_zero()) {
                    Some(d) => {
                        for other in [Duration::ZERO, d.value.saturating_mul(2)] {
                            all.push(new(d.at, "for", told("for", d.value), told("for", other), Change::Hold(other)));
                        }
                    }
                    None => {
                        let other = Duration::from_secs(300);
                        all.push(new(rule.at, "for", "no for".to_owned(), told("for", other), Change::Hold(other)));
                    }
                }
                if let Some(d) = rule.keep_firing_for.filter(|d| !d.value.is_zero()) {
                    let word = "keep_firing_for";
                    let (before, after) = (told(word, d.value), told(word, Duration::ZERO));
                    all.push(new(d.at, "for", before, after, Change::Keep(Duration::ZERO)));
                }
            }
        }
    }
    all
}

impl Mutation {
    /// `files` with this change; `None` when they are not those it was made of.
    pub fn apply(&self, files: &[RuleFile]) -> Option<Vec<RuleFile>> {
        let mut changed = files.to_vec();
        let rule = changed.get_mut(self.rule.file)?.groups.get_mut(self.rule.group)?.rules.get_mut(self.rule.rule)?;
        let at = rule.at;
        match &self.change {
            Change::Query(edit) => rule.query = Arc::new(edit.apply(&rule.query)?),
            Change::Hold(d) => rule.hold = Some(Located { value: *d, at }),
            Change::Keep(d) => rule.keep_firing_for = Some(Located { value: *d, at }),
        }
        Some(changed)
    }
}

/// A test file, and which of all rule files it is about.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The tests.
    pub tests: TestFile,
    /// Indexes into the list of rule files.
    pub files: Vec<usize>,
}

impl Suite {
    fn rules(&self, all: &[RuleFile]) -> Vec<RuleFile> {
        self.files.iter().filter_map(|i| all.get(*i)).cloned().collect()
    }
}

/// What became of the changes.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Changes that made a test fail.
    pub noticed: usize,
    /// Changes that made none fail, in order of place.
    pub survived: Vec<Mutation>,
    /// Rules that no test makes true: their changes were not tried.
    pub untested: Vec<RuleKey>,
    /// Changes of tested rules that were left out because there were too many.
    pub left_out: usize,
}

/// Tries every change, at most `max` of them. `Err` names the test files that fail without any change.
pub fn mutate(files: &[RuleFile], suites: &[Suite], max: usize) -> Result<Report, Vec<String>> {
    let mut tested = Vec::new();
    let mut failing = Vec::new();
    for suite in suites {
        let outcome = run(&suite.tests, &suite.rules(files), &Options::default());
        if !outcome.passed() {
            failing.push(suite.tests.name.clone());
        }
        let global = |k: &RuleKey| suite.files.get(k.file).map(|f| RuleKey { file: *f, ..k.clone() });
        tested.extend(outcome.came_true.iter().filter_map(global));
    }
    if !failing.is_empty() {
        return Err(failing);
    }
    let mut report = Report::default();
    let all = mutations(files);
    let (tried, untried): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| tested.contains(&m.rule));
    report.untested = untried.into_iter().map(|m| m.rule).collect();
    report.untested.sort();
    report.untested.dedup();
    report.left_out = tried.len().saturating_sub(max);
    // Where not all are tried, those that are come from all over the files.
    let step = tried.len().div_ceil(max.max(1)).max(1);
    let chosen = tried.into_iter().enumerate().filter(|(i, _)| report.left_out == 0 || i % step == 0).map(|(_, m)| m);
    let mut count = 0;
    for m in chosen.take(max) {
        count += 1;
        let Some(changed) = m.apply(files) else { continue };
        let options = Options { first_failure: true, ..Options::default() };
        let touched = suites.iter().filter(|s| s.files.contains(&m.rule.file));
        let noticed = touched.into_iter().any(|s| !run(&s.tests, &s.rules(&changed), &options).passed());
        if noticed {
            report.noticed += 1;
        } else {
            report.survived.push(m);
        }
    }
    if report.left_out > 0 {
        report.left_out += max.saturating_sub(count);
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
