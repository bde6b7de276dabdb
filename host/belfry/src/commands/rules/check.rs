//! `belfry rules check`

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use belfry_config::Config;
use belfry_rules::check::{self, Facts};
use serde_json::json;

use super::{CheckArgs, files};
use crate::cli::{ConfigArgs, Output, ServerArgs};
use crate::say;

/// promtool's exit code for `--lint-fatal`.
const LINT_FATAL: u8 = 3;

/// Stands for standard input among the files.
const INPUT: &str = "-";

pub(super) fn check(arguments: &CheckArgs) -> Result<ExitCode> {
    for lint in &arguments.lint {
        let known = check::LINTS.iter().map(|(name, _)| *name).chain(["all", "none", "duplicate-rules"]);
        if !known.clone().any(|name| name == lint) {
            bail!("--lint {lint}: there is no such lint\n  help: one of {}", known.collect::<Vec<_>>().join(", "));
        }
    }
    let config = arguments.config.as_deref().map(load).transpose()?;
    let unknown = files::unknown(arguments.ignore_unknown_fields);
    let (inputs, named): (Vec<&String>, Vec<&String>) = arguments.files.iter().partition(|f| *f == INPUT);
    let paths = match &config {
        Some(config) if arguments.files.is_empty() => config.rule_files.clone(),
        _ => files::named(&named)?,
    };
    let mut read = paths.iter().map(|p| files::rules(p, unknown)).collect::<Result<Vec<_>>>()?;
    if !inputs.is_empty() {
        read.push(files::rules_of_input(unknown)?);
    }
    let (facts, notes) = facts(arguments, config.as_ref())?;
    let errors: Vec<(String, &belfry_rules::file::Problem)> =
        read.iter().flat_map(|r| r.parsed.as_ref().err().into_iter().flatten().map(|p| (r.name.clone(), p))).collect();
    let (good, texts): (Vec<_>, Vec<_>) =
        read.iter().filter_map(|r| r.parsed.as_ref().ok().map(|f| (f.clone(), r.text.as_str()))).unzip();
    let findings = check::check(&good, &texts, &facts);
    let warnings: Vec<(&str, &check::Finding)> = good
        .iter()
        .zip(&findings)
        .flat_map(|(f, all)| all.iter().map(|w| (f.name.as_str(), w)))
        .filter(|(_, w)| is_wanted(&arguments.lint, w.lint))
        .collect();
    let rules: usize = good.iter().flat_map(|f| &f.groups).map(|g| g.rules.len()).sum();
    let ok = errors.is_empty() && (!arguments.strict || warnings.is_empty());
    match arguments.output {
        Output::Json => {
            let errors: Vec<_> = errors
                .iter()
                .map(|(file, p)| json!({"file": file, "line": p.line, "column": p.column, "message": p.message, "help": p.help}))
                .collect();
            let warnings: Vec<_> = warnings
                .iter()
                .map(|(file, w)| {
                    json!({"file": file, "line": w.at.line, "column": w.at.column, "lint": w.lint, "message": w.message, "help": w.help})
                })
                .collect();
            say!(
                "{}",
                json!({"ok": ok, "files": read.len(), "rules": rules, "errors": errors, "warnings": warnings, "notes": notes})
            );
        }
        Output::Text => {
            errors.iter().for_each(|(file, p)| say!("{}", p.in_file(file)));
            warnings.iter().for_each(|(file, w)| say!("{}", w.in_file(file)));
            notes.iter().for_each(|n| say!("note: {n}"));
            let counts =
                format!("{} files, {rules} rules, {} errors, {} warnings", read.len(), errors.len(), warnings.len());
            say!("{}: {counts}", if ok { "ok" } else { "failed" });
        }
    }
    Ok(match ok {
        _ if errors.is_empty() && arguments.lint_fatal && !warnings.is_empty() => ExitCode::from(LINT_FATAL),
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// No `--lint` means all. promtool's name of a lint is taken as well as ours.
fn is_wanted(lints: &[String], lint: &str) -> bool {
    lints.is_empty()
        || lints.iter().any(|l| l == "all" || l == lint || (l == "duplicate-rules" && lint == "duplicate-rule"))
}

pub(super) fn load(path: &Path) -> Result<Config> {
    let config = ConfigArgs { config: Some(path.to_owned()), ..ConfigArgs::default() };
    let input = crate::commands::config::input(&config, &[]);
    Ok(Config::load(&input).map_err(|problems| anyhow::anyhow!("{problems}"))?.config)
}

/// What can be known, and what was left out for want of it.
fn facts(arguments: &CheckArgs, config: Option<&Config>) -> Result<(Facts, Vec<String>)> {
    let mut facts = Facts::default();
    let mut notes = Vec::new();
    match config {
        Some(config) => {
            // The shortest: a window that is too short for every source is told of, no other.
            let scraped = config.scrapes.iter().map(|s| s.interval);
            let pulled = config.plugins.iter().map(|_| config.collection.interval);
            facts.scrape_interval = scraped.chain(pulled).min().or(Some(config.collection.interval));
            facts.evaluation_interval = Some(config.rule_settings.interval);
        }
        None => notes.push("windows are measured against the group's interval only: give --config".to_owned()),
    }
    match (&arguments.server, config) {
        (Some(server), _) => facts.metrics = Some(metrics(server, arguments.token.clone())?),
        (None, Some(config)) => {
            let token = arguments.token.clone().or_else(|| config.server.token.as_ref().map(|t| t.0.clone()));
            match metrics(&format!("http://{}", config.server.listen), token) {
                Ok(all) => facts.metrics = Some(all),
                Err(_) => notes
                    .push(format!("unknown metrics are not looked for: no Belfry answers at {}", config.server.listen)),
            }
        }
        (None, None) => notes.push("unknown metrics are not looked for: give --server or --config".to_owned()),
    }
    Ok((facts, notes))
}

fn metrics(server: &str, token: Option<String>) -> Result<BTreeSet<String>> {
    let server = ServerArgs { server: server.to_owned(), token, output: Output::Json };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = "/api/v1/label/__name__/values";
    let answer = runtime.block_on(crate::client::ask(&server, http::Method::GET, path))?;
    let names = answer["data"].as_array().with_context(|| format!("{} answered no list of metrics", server.server))?;
    Ok(names.iter().filter_map(|n| n.as_str()).map(str::to_owned).collect())
}
