//! `belfry check`: says what is wrong with the config, without starting.

use std::process::ExitCode;

use anyhow::Result;
use belfry_config::Config;

use crate::cli::{ConfigArgs, Output};

/// Reads and checks everything the config names.
pub fn check(arguments: &ConfigArgs) -> Result<ExitCode> {
    let input = super::config::input(arguments, &[]);
    match Config::load(&input) {
        Ok(loaded) => {
            let bad = components(&loaded.config);
            match arguments.output {
                Output::Json => {
                    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
                    println!("{}", serde_json::json!({"ok": bad.is_empty(), "warnings": warnings, "errors": bad}));
                }
                Output::Text => {
                    for warning in &loaded.warnings {
                        println!("{warning}");
                    }
                    for error in &bad {
                        println!("{error}");
                    }
                    if bad.is_empty() {
                        println!("ok: {}", summary(&loaded.config));
                    }
                }
            }
            Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(problems) => {
            match arguments.output {
                Output::Json => {
                    let errors: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
                    println!("{}", serde_json::json!({"ok": false, "errors": errors}));
                }
                Output::Text => println!("{problems}"),
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Components that could not be loaded: no component, another contract, unknown imports.
fn components(config: &Config) -> Vec<String> {
    let mut bad = Vec::new();
    for wanted in crate::reload::wanted(config) {
        let belfry_plugin::ComponentSource::File(path) = &wanted.spec.source else { continue };
        let outcome = std::fs::read(path).map_err(|e| e.to_string()).and_then(|bytes| {
            belfry_plugin::inspect(&bytes).map(drop).map_err(|e| format!("{}\n  help: {}", e.reason, e.help))
        });
        if let Err(reason) = outcome {
            bad.push(format!("{}: error: plugin `{}`: {reason}", path.display(), wanted.spec.name));
        }
    }
    bad
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
