//! One file a command.

mod ask;
mod check;
mod config;
mod inspect;
mod run;

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
        Command::Query(arguments) => ask::query(&arguments),
        Command::Plugin(command) => ask_or_inspect(command),
        Command::Report(command) => ask::report(command),
        Command::Config(command) => config::config(command),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "belfry", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
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
#[allow(clippy::print_stderr, reason = "this is the end of the program, and logs may not be set up")]
pub fn complain(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors write out their cause themselves.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    eprintln!("error: {text}");
}
