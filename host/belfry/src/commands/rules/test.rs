//! `belfry rules test`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use belfry_rules::file::RuleKind;
use belfry_rules::unittest::coverage::{Coverage, coverage};
use belfry_rules::unittest::{Failure, Options, RuleKey, TestOutcome, junit, run};
use serde_json::{Value, json};

use super::TestArgs;
use super::files::Suites;
use crate::cli::Output;
use crate::say;

pub(super) fn test(arguments: &TestArgs) -> Result<ExitCode> {
    // Any of them, as for promtool.
    let only = match &arguments.run[..] {
        [] => None,
        all => {
            for one in all {
                regex::Regex::new(one).with_context(|| format!("--run {one} is no regular expression"))?;
            }
            Some(regex::Regex::new(&all.iter().map(|r| format!("(?:{r})")).collect::<Vec<_>>().join("|"))?)
        }
    };
    let options = Options { only, ..Options::default() };
    let all = Suites::read(&arguments.files, super::files::unknown(arguments.ignore_unknown_fields))?;
    let mut outcomes: Vec<(String, Result<TestOutcome, String>)> = Vec::new();
    for suite in &all.suites {
        let outcome = suite.tests.as_ref().map_err(Clone::clone).map(|tests| {
            let mut outcome = run(tests, &all.rules_of(suite), &options);
            // From the suite's files to all.
            let global = |k: &RuleKey| suite.files.get(k.file).map(|f| RuleKey { file: *f, ..k.clone() });
            outcome.came_true = outcome.came_true.iter().filter_map(global).collect();
            outcome
        });
        outcomes.push((suite.name.clone(), outcome));
    }
    let coverage = coverage(&all.files, outcomes.iter().filter_map(|(_, o)| o.as_ref().ok()));
    let covered = arguments.coverage_min.is_none_or(|min| coverage.percent() >= min);
    let passed = outcomes.iter().all(|(_, o)| o.as_ref().is_ok_and(TestOutcome::passed));
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit::junit(&outcomes)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match arguments.output {
        Output::Json => {
            let files: Vec<Value> = outcomes.iter().map(|(name, o)| in_json(name, o)).collect();
            say!("{}", json!({"ok": passed && covered, "files": files, "coverage": coverage_in_json(&coverage)}));
        }
        Output::Text => {
            for (suite, (name, outcome)) in all.suites.iter().zip(&outcomes) {
                suite.warnings.iter().for_each(|w| say!("{w}"));
                print(name, outcome);
            }
            print_coverage(&coverage);
            if let Some(min) = arguments.coverage_min.filter(|_| !covered) {
                say!("failed: less than {min} % of the rules come true in a test");
            }
        }
    }
    Ok(if passed && covered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(name: &str, outcome: &Result<TestOutcome, String>) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => {
            say!("{reason}");
            say!("{name}: FAILED: it cannot be run");
            return;
        }
    };
    for group in &outcome.groups {
        for failure in &group.failures {
            say!("{name}:{}: test {}: {}", failure.at, group.name, failure.what);
            failure.diff.iter().for_each(|(mark, line)| say!("    {mark} {line}"));
        }
    }
    let failed = outcome.groups.iter().filter(|g| !g.failures.is_empty()).count();
    let cases: usize = outcome.groups.iter().map(|g| g.cases).sum();
    match failed {
        0 => say!("{name}: ok ({} tests, {cases} cases)", outcome.groups.len()),
        n => say!("{name}: FAILED ({n} of {} tests; `-` is what was expected, `+` what came)", outcome.groups.len()),
    }
}

fn print_coverage(coverage: &Coverage) {
    if coverage.rules == 0 {
        return;
    }
    let reached = coverage.rules - coverage.untested.len();
    say!(
        "coverage: {reached} of {} rules fire or record a value in a test ({:.0} %)",
        coverage.rules,
        coverage.percent()
    );
    for u in &coverage.untested {
        let kind = word(u.kind);
        say!("  untested: {}: {kind} {}", u.place, u.name);
    }
}

fn word(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::Alert => "alert",
        RuleKind::Record => "record",
    }
}

fn in_json(name: &str, outcome: &Result<TestOutcome, String>) -> Value {
    let failure = |f: &Failure| {
        let diff: Vec<String> = f.diff.iter().map(|(c, l)| format!("{c} {l}")).collect();
        json!({"line": f.at.line, "column": f.at.column, "what": f.what, "diff": diff})
    };
    match outcome {
        Err(reason) => json!({"file": name, "ok": false, "error": reason}),
        Ok(o) => {
            let tests: Vec<Value> = o
                .groups
                .iter()
                .map(|g| json!({"name": g.name, "cases": g.cases, "failures": g.failures.iter().map(failure).collect::<Vec<_>>()}))
                .collect();
            json!({"file": name, "ok": o.passed(), "tests": tests})
        }
    }
}

fn coverage_in_json(coverage: &Coverage) -> Value {
    let untested: Vec<Value> =
        coverage.untested.iter().map(|u| json!({"place": u.place, "kind": word(u.kind), "name": u.name})).collect();
    json!({"rules": coverage.rules, "percent": coverage.percent(), "untested": untested})
}
