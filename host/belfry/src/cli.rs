//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Watches, keeps what it saw, decides what matters, and rings.
#[derive(Debug, Parser)]
#[command(name = "belfry", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run Belfry.
    Run(RunArgs),
    /// Run Belfry with something to watch: an MCP server with outages, alerts, reports.
    Demo(DemoArgs),
    /// Say everything that would stop a start, without starting.
    Check(CheckArgs),
    /// Write a copy of all data of a running Belfry to a new folder.
    Backup(BackupArgs),
    /// Put a backup where the data folder is to be; the Belfry of that folder must not run.
    Restore(RestoreArgs),
    /// Ask a running Belfry in PromQL.
    Query(QueryArgs),
    /// Rule files: check, test, backtest and mutate them.
    #[command(subcommand)]
    Rules(crate::commands::rules::RulesCommand),
    /// Plugins: inspect a component, list or reload those of a running Belfry.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Reports of a running Belfry.
    #[command(subcommand)]
    Report(ReportCommand),
    /// The config: show it, its schema, its defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
    /// Compile a component: Belfry starts itself with this, so that compiling leaves no memory behind.
    #[command(name = "compile-component", hide = true)]
    CompileComponent {
        /// For the plugin runtime.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// Where the config is.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// The config file [default: belfry.toml if it is there, else embedded defaults].
    #[arg(long, short, env = "BELFRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// As `run` would be started.
    #[command(flatten)]
    pub run: RunArgs,
    /// For a reload: the address and the data folder are with the Belfry that runs, and not looked at.
    #[arg(long)]
    pub reload: bool,
}

/// Arguments of `run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Listen here instead of at `[server] listen`.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Keep data here instead of at `[storage] path`.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Listen here.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8089")]
    pub listen: String,
    /// Keep data here [default: a temporary folder that goes when the demo ends].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Where a running Belfry is.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// The running Belfry.
    #[arg(
        long,
        visible_alias = "url",
        env = "BELFRY_URL",
        default_value = "http://127.0.0.1:8089",
        value_name = "URL"
    )]
    pub server: String,
    /// Its token, for what needs one [default: the one in data/admin-token, if that is there].
    #[arg(long, env = "BELFRY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The folder to write to, on the machine of that Belfry; it must be absent or empty.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Where to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Restore what is left of a backup that is damaged; what is damaged is named.
    #[arg(long)]
    pub force: bool,
    /// As `run` will be started.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `query`.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// PromQL.
    pub expression: String,
    /// First step of a range: RFC 3339, seconds since the epoch, or how long ago (`-7d`).
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub from: Option<String>,
    /// Last step of a range.
    #[arg(long, requires = "from", allow_hyphen_values = true, default_value = "now", value_name = "TIME")]
    pub to: String,
    /// Distance of the steps.
    #[arg(long, default_value = "15s")]
    pub step: String,
    /// Where to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `belfry plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// What a component exports and asks for; for a built-in one also what it is granted.
    Inspect {
        /// A `.wasm` file, or `builtin:NAME`.
        component: String,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Plugins of a running Belfry.
    List {
        /// Where to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Read a plugin's component again and swap it in.
    Reload {
        /// Its name.
        name: String,
        /// Where to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `belfry report …`
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Reports with their schedules.
    List {
        /// Where to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make one now.
    Run {
        /// Its name.
        name: String,
        /// Where to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `belfry config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// The config as Belfry reads it, defaults included, secrets redacted.
    Show(ConfigArgs),
    /// Its JSON Schema.
    Schema,
    /// What runs without a config file: a file to start from.
    Defaults,
    /// The scrape jobs of a prometheus.yml as [[scrape]] tables; what cannot be carried over is said on standard error.
    Import {
        /// The prometheus.yml.
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
