//! `belfry rules mutate`

use std::process::ExitCode;

use anyhow::{Result, bail};
use belfry_rules::mutate::{self, Report, Suite};
use serde_json::{Value, json};

use super::MutateArgs;
use super::files::Suites;
use crate::cli::Output;
use crate::say;

pub(super) fn mutate(arguments: &MutateArgs) -> Result<ExitCode> {
    let all = Suites::read(&arguments.files, Default::default())?;
    let mut suites = Vec::new();
    for suite in &all.suites {
        match &suite.tests {
            Ok(tests) => suites.push(Suite { tests: tests.clone(), files: suite.files.clone() }),
            Err(reason) => bail!("{reason}"),
        }
    }
    let report = match mutate::mutate(&all.files, &suites, arguments.max) {
        Ok(report) => report,
        Err(failing) => bail!(
            "the tests fail without any change: {}\n  help: see `belfry rules test`, and mend them first",
            failing.join(", ")
        ),
    };
    let tried = report.noticed + report.survived.len();
    let name = |file: usize| all.files.get(file).map_or("", |f| f.name.as_str());
    match arguments.output {
        Output::Json => say!("{}", in_json(&report, &all)),
        Output::Text => {
            for m in &report.survived {
                say!("{}:{}: not noticed: {} {}: {} → {}", name(m.rule.file), m.at, m.kind, m.name, m.before, m.after);
            }
            for key in &report.untested {
                if let Some(rule) =
                    all.files.get(key.file).and_then(|f| f.groups.get(key.group)).and_then(|g| g.rules.get(key.rule))
                {
                    say!("{}:{}: untested: no test makes {} true", name(key.file), rule.at, rule.name.as_str());
                }
            }
            if report.left_out > 0 {
                say!("note: {} further changes were not tried: give --max", report.left_out);
            }
            say!("{} of {tried} changes were noticed, {} were not", report.noticed, report.survived.len());
        }
    }
    let failed = arguments.fail && !(report.survived.is_empty() && report.untested.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn in_json(report: &Report, all: &Suites) -> Value {
    let name = |file: usize| all.files.get(file).map_or("", |f| f.name.as_str());
    let survived: Vec<Value> = report
        .survived
        .iter()
        .map(|m| {
            json!({"file": name(m.rule.file), "line": m.at.line, "column": m.at.column, "rule": m.name, "kind": m.kind,
                   "before": m.before, "after": m.after})
        })
        .collect();
    let untested: Vec<Value> = report
        .untested
        .iter()
        .filter_map(|k| {
            let rule = all.files.get(k.file)?.groups.get(k.group)?.rules.get(k.rule)?;
            Some(json!({"file": name(k.file), "line": rule.at.line, "column": rule.at.column, "rule": rule.name.as_str()}))
        })
        .collect();
    json!({"noticed": report.noticed, "survived": survived, "untested": untested, "left_out": report.left_out})
}
