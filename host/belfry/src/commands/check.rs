//! `belfry check`: says what is wrong with the config and the files it names, without starting.

use std::process::ExitCode;

use anyhow::Result;
use belfry_config::types::scrape::Discovery;
use belfry_config::{Config, Level, Loaded, Problem};
use http::HeaderMap;

use crate::adapters::client_options::client_options;
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
            let (mut obstacles, passable): (Vec<_>, Vec<_>) = found.into_iter().partition(|p| p.level == Level::Error);
            obstacles.extend(unscrapable(&loaded));
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

/// Jobs that cannot ask because a certificate, a key or a secret is missing or damaged. They hold back no start: their
/// targets are down until it is there.
fn unscrapable(loaded: &Loaded) -> Vec<Problem> {
    let mut found = Vec::new();
    for scrape in &loaded.config.scrapes {
        let place = loaded.places.scrapes.get(&scrape.job).unwrap_or(&loaded.places.listen);
        let lists = scrape.discoveries.iter().filter_map(|d| match d {
            Discovery::Http { http, .. } => Some((http, "cannot ask for its targets")),
            _ => None,
        });
        for (http, what) in [(&scrape.http, "cannot be scraped")].into_iter().chain(lists) {
            let options = client_options(http);
            let usable = options.connector().map(drop).and_then(|()| options.sign(&mut HeaderMap::new()));
            if let Err(error) = usable {
                let help = "mend the file: Belfry runs without it, but the job's targets are down until then";
                found.push(super::start::problem(place, format!("the job `{}` {what}: {error}", scrape.job), help));
            }
        }
    }
    found
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
