//! `belfry rules check`: what a rule file says that nobody can have meant.
//!
//! Invariant: a finding is true of every set of samples that keeps the conventions of Prometheus (`up` is 0 or 1); where
//! that cannot be shown, nothing is said.
//! Not here: what makes a file invalid (`file` says that), reading files, asking a server for its metrics.

mod bounds;
mod duplicates;
mod expression;
mod flow;
mod templates;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use belfry_promql::syntax::span::Span;

use crate::file::{Group, Place, Rule, RuleFile, RuleKind, Text};

/// Every lint by its name, and what it looks for.
pub const LINTS: &[(&str, &str)] = &[
    ("never-true", "a comparison or selector that no sample can satisfy"),
    ("always-fires", "an alert on a comparison with `bool`, which gives 0 where it does not hold"),
    ("missing-for", "an alert on single samples that fires at the first one"),
    ("short-window", "a range too short for the samples in it"),
    ("label-never-there", "a label that the expression cannot have at that place"),
    ("duplicate-rule", "two rules of one name and labels"),
    ("unknown-metric", "a metric that is neither stored nor recorded by a rule"),
    ("bad-template-query", "a query in a template that is no PromQL"),
    ("file", "what the reader of rule files warns of"),
];

/// What is known of the place where the rules will run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How often samples come.
    pub scrape_interval: Option<Duration>,
    /// How often groups that say nothing are evaluated.
    pub evaluation_interval: Option<Duration>,
    /// Names of the metrics that are stored; `None` when nobody could be asked.
    pub metrics: Option<BTreeSet<String>>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// One of [`LINTS`].
    pub lint: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl Finding {
    pub(crate) fn new(at: Place, lint: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { at, lint, message: message.into(), help: help.into() }
    }

    /// As it is printed: `file:line:column: warning: message [lint]`, the help on a line of its own.
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{}: warning: {} [{}]\n  help: {}", self.at, self.message, self.lint, self.help)
    }
}

/// One rule, as the lints look at it.
pub(crate) struct Subject<'a> {
    pub group: &'a Group,
    pub rule: &'a Rule,
    pub facts: &'a Facts,
    /// What rules of all files record.
    pub recorded: &'a BTreeSet<&'a str>,
}

impl Subject<'_> {
    pub fn place(&self, span: Span) -> Place {
        self.rule.expr.place(span.start as usize)
    }

    /// What is written there, on one line.
    pub fn source(&self, span: Span) -> String {
        let text = self.rule.expr.get(span.start as usize..span.end as usize).unwrap_or("");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn interval(&self) -> Option<Duration> {
        self.group.interval.map(|i| i.value).filter(|d| !d.is_zero()).or(self.facts.evaluation_interval)
    }

    pub fn is_alert(&self) -> bool {
        self.rule.kind == RuleKind::Alert
    }
}

/// The findings of `files[i]` with its text `texts[i]`; all files are seen as loaded together. In order of place.
pub fn check(files: &[RuleFile], texts: &[&str], facts: &Facts) -> Vec<Vec<Finding>> {
    let recorded: BTreeSet<&str> = files
        .iter()
        .flat_map(|f| &f.groups)
        .flat_map(|g| &g.rules)
        .filter(|r| r.kind == RuleKind::Record)
        .map(|r| r.name.as_str())
        .collect();
    let mut all: Vec<Vec<Finding>> = files.iter().map(|f| check_file(f, facts, &recorded)).collect();
    for (file, finding) in duplicates::find(files) {
        all[file].push(finding);
    }
    for (i, findings) in all.iter_mut().enumerate() {
        let excused = Excused::of(texts.get(i).copied().unwrap_or(""), &files[i]);
        findings.retain(|f| !excused.covers(f));
        findings.sort();
        findings.dedup();
    }
    all
}

fn check_file(file: &RuleFile, facts: &Facts, recorded: &BTreeSet<&str>) -> Vec<Finding> {
    let mut out: Vec<Finding> = file
        .warnings
        .iter()
        .map(|w| {
            let at = Place { line: w.line, column: w.column };
            Finding::new(at, "file", w.message.clone(), w.help.clone().unwrap_or_default())
        })
        .collect();
    for group in &file.groups {
        for rule in &group.rules {
            let subject = Subject { group, rule, facts, recorded };
            expression::check(&subject, &mut out);
            flow::check(&subject, &mut out);
            window::check(&subject, &mut out);
            templates::check(&subject, &mut out);
        }
    }
    out
}

/// Comments of the form `# belfry: allow LINT …`: on the line of the finding, the line above it, or the line above the
/// rule.
struct Excused {
    /// Line, names of lints.
    comments: Vec<(u32, Vec<String>)>,
    /// First lines of rules, ascending.
    rules: Vec<u32>,
}

impl Excused {
    fn of(text: &str, file: &RuleFile) -> Self {
        let comments = text
            .lines()
            .zip(1u32..)
            .filter_map(|(line, n)| {
                let (_, rest) = line.split_once("# belfry: allow ")?;
                Some((n, rest.split([' ', ',']).filter(|w| !w.is_empty()).map(str::to_owned).collect()))
            })
            .collect();
        let mut rules: Vec<u32> = file.groups.iter().flat_map(|g| &g.rules).map(|r| r.at.line).collect();
        rules.sort_unstable();
        Self { comments, rules }
    }

    fn covers(&self, finding: &Finding) -> bool {
        let line = finding.at.line;
        let rule = self.rules.partition_point(|l| *l <= line).checked_sub(1).map(|i| self.rules[i]);
        self.comments.iter().any(|(at, names)| {
            let near = *at == line || at + 1 == line || rule.is_some_and(|r| at + 1 == r || *at == r);
            near && names.iter().any(|n| n == finding.lint)
        })
    }
}

/// The text of a label list for messages: `a`, `b` and `c`.
pub(crate) fn listed<'t>(names: impl IntoIterator<Item = &'t str>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

/// A place inside a label's or annotation's value.
pub(crate) fn place_in(text: &Text, offset: usize) -> Place {
    text.place(offset)
}

#[cfg(test)]
mod tests;
