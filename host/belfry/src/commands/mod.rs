//! One file a command.

mod answer;
mod ask;
pub mod backup;
mod check;
mod config;
mod inspect;
pub mod rules;
mod run;
mod start;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use belfry_model::TimestampMs;
use belfry_model::duration::parse_duration;
use clap::CommandFactory as _;

use crate::cli::{Cli, Command};

/// Does what was asked; the exit code tells how it went.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Demo(arguments) => run::demo(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Query(arguments) => ask::query(&arguments),
        Command::Rules(command) => rules::run(&command),
        Command::Plugin(command) => ask_or_inspect(command),
        Command::Report(command) => ask::report(command),
        Command::Config(command) => config::config(command),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "belfry", &mut script);
            crate::out::text(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            crate::out::text(&String::from_utf8_lossy(&page));
            Ok(ExitCode::SUCCESS)
        }
        // `main` has done it before anything else was set up.
        Command::CompileComponent { arguments } => Ok(belfry_plugin::compile_main(arguments)),
    }
}

fn ask_or_inspect(command: crate::cli::PluginCommand) -> Result<ExitCode> {
    match command {
        crate::cli::PluginCommand::Inspect { component, output } => inspect::inspect(&component, output),
        other => ask::plugin(other),
    }
}

/// `now`, `-7d`, seconds since the epoch or RFC 3339.
fn time(text: &str, now: TimestampMs) -> Result<TimestampMs> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-').and_then(|t| parse_duration(t).ok()) {
        return Ok(now - ago);
    }
    let seconds = text.parse::<f64>().ok().filter(|v| v.abs() < 1e12).map(TimestampMs::from_secs_f64);
    seconds
        .or_else(|| TimestampMs::from_rfc3339(text))
        .with_context(|| format!("`{text}` is no time\n  help: write it like 2026-01-31T00:00:00Z, -7d or now"))
}

/// Says on standard error what went wrong.
pub fn complain(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors write out their cause themselves.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    // This is the end of the program: when standard error is closed too there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

#[cfg(test)]
mod tests {
    use belfry_model::TimestampMs;

    use super::time;

    #[test]
    fn a_time_is_now_or_how_long_ago_or_seconds_or_a_date() {
        let now = TimestampMs(1_700_000_000_000);
        for (text, expected) in [
            ("now", 1_700_000_000_000),
            ("-7d", 1_699_395_200_000),
            ("-1h30m", 1_699_994_600_000),
            ("1600000000.5", 1_600_000_000_500),
            ("2026-01-31T00:00:00Z", 1_769_817_600_000),
        ] {
            assert_eq!(time(text, now).unwrap(), TimestampMs(expected), "{text}");
        }
        for text in ["", "yesterday", "7d", "-", "NaN"] {
            assert!(time(text, now).unwrap_err().to_string().contains("is no time"), "{text}");
        }
    }
}
