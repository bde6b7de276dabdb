//! `belfry config …`, and how every command finds its config.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
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
        rule_files_may_be_away: false,
    }
}

/// Shows the config, its schema, or the defaults.
pub fn config(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Defaults => crate::out::text(Config::embedded_defaults()),
        ConfigCommand::Schema => say!("{}", serde_json::to_string_pretty(&belfry_config::schema())?),
        ConfigCommand::Import { file } => return import(&file),
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

/// Prints `[[scrape]]` tables on standard output, and what is not in them on standard error.
fn import(file: &Path) -> Result<ExitCode> {
    use std::io::Write as _;
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    // As Prometheus has it, relative paths start beside the file.
    let whole = std::path::absolute(file).with_context(|| format!("cannot find {name}"))?;
    let folder = whole.parent().unwrap_or(Path::new("/"));
    let imported = belfry_config::import_prometheus(&text, folder)
        .map_err(|(line, message)| anyhow::anyhow!("{name}:{line}: {message}"))?;
    crate::out::text(&imported.toml);
    for (line, note) in imported.notes {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "{name}:{line}: not carried over: {note}");
    }
    Ok(ExitCode::SUCCESS)
}
