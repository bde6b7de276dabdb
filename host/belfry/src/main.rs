//! The program: command line, wiring, driver.
//!
//! Invariant: the only place with loops and a real clock. Exit code 0 is done, 1 is a failure, 2 is wrong usage.
//! Not here: decisions (the organs), parsing of config (`belfry-config`), routes (`belfry-dashboard`).

mod adapters;
mod app;
mod builtins;
mod changes;
mod cli;
mod client;
mod clock;
mod commands;
mod copies;
mod demo;
mod driver;
mod engine;
mod helpers;
mod manifest;
mod out;
mod plugins;
mod process;
mod queries;
mod reload;
mod retention;
mod rule_files;
mod slos;
mod sources;
mod spec;
mod telemetry;
mod token;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    if let cli::Command::CompileComponent { arguments } = command {
        return belfry_plugin::compile_main(arguments);
    }
    match commands::run(command) {
        Ok(code) => match out::failure() {
            None => code,
            Some(reason) => {
                commands::complain(&anyhow::anyhow!("the answer could not be written: {reason}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}
