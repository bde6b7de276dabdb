//! `cargo xtask …`: set-up, build of plugins and web UI, run, test, bench. Each step says what it does and how long it
//! took; a step whose result is there already takes no time.
//!
//! Not here: anything the running program needs.
#![allow(clippy::print_stderr, reason = "this is a tool for people at a terminal")]

mod bench_store;
mod build;
mod prerequisites;
mod process;
mod test;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Belfry.")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is missing and run Belfry (arguments go to `belfry run`).
    Run {
        /// Use the development build.
        #[arg(long)]
        dev: bool,
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build what is missing and run the demo: something to watch, with alerts and reports.
    Demo {
        /// Use the development build.
        #[arg(long)]
        dev: bool,
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Everything CI runs: format, clippy, all tests, the plugins, the web UI in Chromium.
    Test,
    /// Only the set-up: wasm target, built-in plugins, web UI.
    Setup,
    /// Build the built-in plugins into target/plugins.
    Plugins,
    /// Build the guests that the tests load into target/guests.
    Guests,
    /// Build the web UI into host/dashboard/web/dist.
    Web,
    /// Build the release binary with all it carries.
    Dist,
    /// Give changed bytes to everything that reads bytes of strangers: a minute a target, or as `--seconds` says.
    Fuzz {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure: `plugin` (calls, swaps), `start` (first graph, memory, size) or `store` (remote write beside its peers,
    /// `kill -9`) or `query` (latency beside its peers, the same answers as Prometheus).
    Bench {
        /// What to measure.
        what: String,
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() {
    if let Err(error) = run(Cli::parse().command) {
        eprintln!("\nerror: {error:#}");
        std::process::exit(1);
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Run { dev, arguments } => start("run", dev, &arguments),
        Task::Demo { dev, arguments } => start("demo", dev, &arguments),
        Task::Test => test::everything(),
        Task::Setup => setup(),
        Task::Plugins => prerequisites::wasm_target().and_then(|()| build::plugins()),
        Task::Guests => prerequisites::wasm_target().and_then(|()| build::guests()),
        Task::Web => prerequisites::node().and_then(|()| build::web()),
        Task::Dist => setup().and_then(|()| build::host(false)).map(drop),
        Task::Fuzz { arguments } => fuzz(&arguments),
        Task::Bench { what, arguments } => bench(&what, &arguments),
    }
}

fn setup() -> Result<()> {
    prerequisites::all()?;
    build::plugins()?;
    build::web()
}

fn start(command: &str, dev: bool, arguments: &[String]) -> Result<()> {
    setup()?;
    let binary = build::host(dev)?;
    process::replace(std::process::Command::new(binary).arg(command).args(arguments))
}

fn fuzz(arguments: &[String]) -> Result<()> {
    let mut cargo = process::cargo();
    // A development build: overflows are to be found, which a release build lets pass.
    cargo.args(["run", "--quiet", "--package", "belfry-fuzz", "--"]).args(arguments);
    process::run("fuzz", &mut cargo)
}

fn bench(what: &str, arguments: &[String]) -> Result<()> {
    let package = match what {
        "plugin" => {
            setup()?;
            build::guests()?;
            "belfry-plugin"
        }
        "start" => return build::bench_start(),
        "store" => return bench_store::run(arguments),
        "rules" => "belfry-conformance",
        "query" => return bench_store::run(&[&["--query".to_owned()], arguments].concat()),
        other => anyhow::bail!("there is no benchmark `{other}`: plugin, start, store, query or rules"),
    };
    let mut cargo = process::cargo();
    cargo.args(["bench", "--package", package, "--bench", what, "--"]).args(arguments);
    process::run("bench", &mut cargo)
}

/// The top of the checkout that cargo runs this from: not the one it was compiled in, as clones may share a target folder.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&package).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
    });
    &ROOT
}

/// Where cargo puts what it builds, and a folder of it for the guests' own workspaces.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
