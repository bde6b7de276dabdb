//! `belfry check`: says what is wrong with the config, without starting.

use std::process::ExitCode;

use anyhow::Result;
use belfry_config::{Config, Level, Problem};

use crate::cli::{CheckArgs, Output};
use crate::say;

/// Reads and checks everything the config names, and what else would stop a start.
pub fn check(arguments: &CheckArgs) -> Result<ExitCode> {
    // Certificates of the engine are read as a start reads them.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let input = super::run::input(&arguments.run);
    let (errors, warnings, summary) = match Config::load(&input) {
        Ok(loaded) => {
            let found = if arguments.reload { Vec::new() } else { super::start::obstacles(&loaded) };
            let (obstacles, passable): (Vec<_>, Vec<_>) = found.into_iter().partition(|p| p.level == Level::Error);
            let mut warnings = loaded.warnings.clone();
            warnings.extend(passable);
            if !arguments.reload {
                warnings.extend(super::start::before_engine(&loaded));
                warnings.extend(super::start::left_in_queue(&loaded));
            }
            (obstacles, warnings, summary(&loaded.config))
        }
        Err(problems) => (problems.0, Vec::new(), String::new()),
    };
    match arguments.run.config.output {
        Output::Json => {
            let texts = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (errors, warnings) = (texts(&errors), texts(&warnings));
            say!("{}", serde_json::json!({"ok": errors.is_empty(), "warnings": warnings, "errors": errors}));
        }
        Output::Text => {
            for problem in warnings.iter().chain(&errors) {
                say!("{problem}");
            }
            if errors.is_empty() {
                say!("ok: {summary}");
            }
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(config: &Config) -> String {
    format!(
        "{} plugins, {} channels, {} rules, {} reports",
        config.plugins.len(),
        config.channels.len(),
        config.rules.len(),
        config.reports.len()
    )
}
