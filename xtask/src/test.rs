//! Everything CI runs, in the order in which a mistake shows soonest.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

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
    let mut clippy = guest_cargo("plugins");
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    run("clippy plugins", &mut clippy)?;
    run("tests plugins", guest_cargo("plugins").args(["test", "--quiet", "--workspace", "--locked"]))?;
    let mut starter = guest_cargo("examples/collector-rust");
    run(
        "starter plugin",
        starter.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-unknown-unknown"]),
    )?;
    // The program together with the tests: asked for alone, it would be built with other features, and all it depends on
    // twice.
    run("build", cargo().args(["build", "--quiet", "--workspace", "--bins", "--tests", "--locked"]))?;
    let chromium = prerequisites::chromium()?;
    run("tests", cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]).env("CHROMIUM", &chromium))?;
    run("web UI in Chromium", npm().args(["run", "--silent", "e2e"]).env("CHROMIUM", &chromium))?;
    web_of_the_demo(&chromium)?;
    eprintln!("everything passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn guest_cargo(folder: &str) -> std::process::Command {
    let mut c = cargo();
    c.current_dir(root().join(folder)).env("CARGO_TARGET_DIR", build::wasm_dir());
    c
}

/// The same tests against a real Belfry: its demo, on a free port.
fn web_of_the_demo(chromium: &Path) -> Result<()> {
    let binary = target_dir().join("debug").join(format!("belfry{}", std::env::consts::EXE_SUFFIX));
    let mut demo = Command::new(binary);
    demo.args(["demo", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = EndOnDrop(demo.spawn().context("cannot start the demo")?);
    let out = demo.0.stdout.take().context("the demo's output")?;
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let url = lines.find_map(|l| l.trim().strip_prefix("dashboard").map(|u| u.trim().to_owned()));
    let url = url.context("the demo ended before it said where it listens")?;
    // Nobody may fill the pipe: the rest of what it prints is read and dropped.
    std::thread::spawn(move || lines.for_each(drop));
    let mut tests = npm();
    tests.args(["run", "--silent", "e2e"]).env("CHROMIUM", chromium).env("BASE_URL", url);
    run("web UI of the demo in Chromium", &mut tests)
}

struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // Asked to, it removes its temporary folder. It may have ended by itself.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|s| s.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn web_unit_tests() -> Result<()> {
    run("web types", npm().args(["run", "--silent", "check"]))?;
    run("web tests", npm().args(["test", "--silent"]))
}
