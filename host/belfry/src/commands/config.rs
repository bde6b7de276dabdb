//! `belfry config …`, and how every command finds its config.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use belfry_config::{Config, LoadInput, SetByFlag};

use crate::builtins;
use crate::cli::{ConfigArgs, ConfigCommand, Output};
use crate::say;

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
        inspect: Some(super::start::component),
    }
}

/// Shows the config, its schema, or the defaults.
pub fn config(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Defaults => crate::out::text(Config::embedded_defaults()),
        ConfigCommand::Schema => say!("{}", serde_json::to_string_pretty(&belfry_config::schema())?),
        ConfigCommand::Show(arguments) => match Config::load(&input(&arguments, &[])) {
            Ok(loaded) if arguments.output == Output::Json => {
                say!("{}", serde_json::to_string_pretty(&loaded.shown_json())?);
            }
            Ok(loaded) => crate::out::text(&loaded.shown),
            Err(problems) => {
                say!("{problems}");
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
