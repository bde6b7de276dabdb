//! One file a command.

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

use anyhow::Result;
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
