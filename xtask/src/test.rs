//! Everything CI runs, in the order in which a mistake shows soonest.

use anyhow::Result;

use crate::build::{self, npm};
use crate::process::{cargo, run};
use crate::{prerequisites, root, target_dir};

/// The guests' workspaces: formatted, linted and (where they have native tests) tested on their own.
const GUEST_WORKSPACES: [&str; 3] = ["plugins", "tests/guests", "examples/collector-rust"];

/// Set-up, format, clippy, tests of the host, of the plugins and of the web UI.
pub fn everything() -> Result<()> {
    let start = std::time::Instant::now();
    prerequisites::all()?;
    run("format", cargo().args(["fmt", "--all", "--check"]))?;
    for folder in GUEST_WORKSPACES {
        run(&format!("format {folder}"), cargo().current_dir(root().join(folder)).args(["fmt", "--all", "--check"]))?;
    }
    build::plugins()?;
    build::guests()?;
    build::web()?;
    web_unit_tests()?;
    run(
        "clippy",
        cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    for folder in ["plugins"] {
        let mut clippy = guest_cargo(folder);
        clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
        run(&format!("clippy {folder}"), &mut clippy)?;
        let mut tests = guest_cargo(folder);
        run(&format!("tests {folder}"), tests.args(["test", "--quiet", "--workspace", "--locked"]))?;
    }
    let mut starter = guest_cargo("examples/collector-rust");
    run(
        "starter plugin",
        starter.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-unknown-unknown"]),
    )?;
    run("build", cargo().args(["build", "--quiet", "--workspace", "--locked"]))?;
    run("tests", cargo().args(["test", "--workspace", "--locked"]).env("CHROMIUM", prerequisites::chromium()?))?;
    eprintln!("everything passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn guest_cargo(folder: &str) -> std::process::Command {
    let mut c = cargo();
    c.current_dir(root().join(folder)).env("CARGO_TARGET_DIR", target_dir().join("wasm").join("native"));
    c
}

fn web_unit_tests() -> Result<()> {
    run("web types", npm().args(["run", "--silent", "check"]))?;
    run("web tests", npm().args(["test", "--silent"]))
}
