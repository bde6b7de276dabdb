//! `belfry config …`, and how every command finds its config.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use belfry_config::{Config, LoadInput, SetByFlag};

use crate::builtins;
use crate::cli::{ConfigArgs, ConfigCommand, Output};

/// Read when no `--config` is given and it is there.
const DEFAULT_FILE: &str = "belfry.toml";

/// What the config is read with.
pub fn input(arguments: &ConfigArgs, flags: &[(&str, &str, Option<String>)]) -> LoadInput {
    let path = arguments.config.clone().or_else(|| {
        let default = PathBuf::from(DEFAULT_FILE);
        default.exists().then_some(default)
    });
    let set = flags.iter().filter_map(|(flag, key, value)| {
        let value = value.clone()?;
        Some(SetByFlag { flag: (*flag).to_owned(), key: (*key).to_owned(), value })
    });
    LoadInput {
        path,
        env: std::env::vars().collect(),
        flags: set.collect(),
        builtins: builtins::NAMES.iter().map(|n| (*n).to_owned()).collect(),
    }
}

/// Shows the config, its schema, or the defaults.
pub fn config(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Defaults => print!("{}", Config::embedded_defaults()),
        ConfigCommand::Schema => println!("{}", serde_json::to_string_pretty(&belfry_config::schema())?),
        ConfigCommand::Show(arguments) => match Config::load(&input(&arguments, &[])) {
            Ok(loaded) if arguments.output == Output::Json => {
                let value: serde_json::Value = toml::from_str(&loaded.shown).context("the config shown is no TOML")?;
                println!("{}", serde_json::to_string_pretty(&value)?);
            }
            Ok(loaded) => print!("{}", loaded.shown),
            Err(problems) => {
                println!("{problems}");
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
