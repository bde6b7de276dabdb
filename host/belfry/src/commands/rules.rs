//! `belfry rules …`: rule files are checked, tested, replayed and mutated, without a running Belfry.

mod backtest;
mod check;
mod files;
mod mutate;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::Output;

/// `belfry rules …`
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say what is wrong with rule files, and what nobody can have meant.
    Check(CheckArgs),
    /// Run unit tests of rules (promtool's format), and name the rules that no test makes true.
    Test(TestArgs),
    /// Replay alerting rules over recorded data: when would they have fired?
    Backtest(BacktestArgs),
    /// Change rules a little, and name the changes that no test notices.
    Mutate(MutateArgs),
}

/// Arguments of `rules check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Rule files, or patterns of them; `-` is standard input; without any, those that the config names.
    #[arg(required_unless_present = "config", value_name = "FILE")]
    pub files: Vec<String>,
    /// A config: how often is collected and evaluated, and where the Belfry is that may know the metrics.
    #[arg(long, short, env = "BELFRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A running Belfry or Prometheus that says which metrics there are.
    #[arg(long, visible_alias = "url", value_name = "URL")]
    pub server: Option<String>,
    /// Its token, if it wants one.
    #[arg(long, env = "BELFRY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Fail on warnings, too.
    #[arg(long)]
    pub strict: bool,
    /// Only these lints; `all` or `none`.
    #[arg(long, value_delimiter = ',', value_name = "LINT")]
    pub lint: Vec<String>,
    /// Exit with 3 when a lint finds something.
    #[arg(long)]
    pub lint_fatal: bool,
    /// Pass over fields that nobody knows.
    #[arg(long)]
    pub ignore_unknown_fields: bool,
    #[command(flatten)]
    pub promtool: PromtoolFlags,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of promtool that are taken so that scripts need no change. They change nothing here.
#[derive(Debug, Args)]
pub struct PromtoolFlags {
    /// Everything is enabled.
    #[arg(long, hide = true, value_name = "NAMES")]
    pub enable_feature: Vec<String>,
    /// Nothing is kept back.
    #[arg(long, hide = true)]
    pub experimental: bool,
    /// Failures tell all there is.
    #[arg(long, hide = true)]
    pub debug: bool,
    /// Failures are shown as differences.
    #[arg(long, hide = true)]
    pub diff: bool,
}

/// Arguments of `rules test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Test files, or patterns of them.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Only tests whose name this finds; may be repeated.
    #[arg(long, value_name = "REGEX")]
    pub run: Vec<String>,
    /// Pass over fields that nobody knows, in test and rule files.
    #[arg(long)]
    pub ignore_unknown_fields: bool,
    #[command(flatten)]
    pub promtool: PromtoolFlags,
    /// Write the outcome here, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Fail when the tests make less than this many percent of the rules true.
    #[arg(long, value_name = "PERCENT")]
    pub coverage_min: Option<f64>,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `rules backtest`.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// Rule files; without any, the rules that are live.
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// Only the rules of this name.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// A config whose external labels and address templates of labels see.
    #[arg(long, short, env = "BELFRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The first evaluation: RFC 3339, seconds since the epoch, or how long ago (`-7d`).
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub from: String,
    /// No evaluation after this.
    #[arg(long, allow_hyphen_values = true, default_value = "now", value_name = "TIME")]
    pub to: String,
    /// Distance of the evaluations, where the group says nothing.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub interval: String,
    /// Read this data folder; no Belfry may run on it.
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub data: Option<PathBuf>,
    /// Ask this Belfry or Prometheus.
    #[arg(
        long,
        visible_alias = "url",
        env = "BELFRY_URL",
        default_value = "http://127.0.0.1:8089",
        value_name = "URL"
    )]
    pub server: String,
    /// Its token, if it wants one.
    #[arg(long, env = "BELFRY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Arguments of `rules mutate`.
#[derive(Debug, Args)]
pub struct MutateArgs {
    /// Test files, or patterns of them.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Changes that are tried at most.
    #[arg(long, default_value_t = belfry_rules::mutate::MUTATIONS_MAX)]
    pub max: usize,
    /// Exit with 1 when a change is not noticed.
    #[arg(long)]
    pub fail: bool,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Does what was asked.
pub fn run(command: &RulesCommand) -> Result<ExitCode> {
    match command {
        RulesCommand::Check(arguments) => check::check(arguments),
        RulesCommand::Test(arguments) => test::test(arguments),
        RulesCommand::Backtest(arguments) => backtest::run(arguments),
        RulesCommand::Mutate(arguments) => mutate::mutate(arguments),
    }
}
