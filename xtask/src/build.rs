//! Builds of what the host carries (plugins, web UI), of the tests' guests, and of the host itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{cargo, run};
use crate::{root, target_dir};

const WASM: &str = "wasm32-unknown-unknown";

/// `plugins/*` into `target/plugins/NAME.wasm`.
pub fn plugins() -> Result<()> {
    components("built-in plugins", "plugins", "plugins")
}

/// `tests/guests/*` into `target/guests/NAME.wasm`.
pub fn guests() -> Result<()> {
    components("test guests", "tests/guests", "guests")
}

/// One folder for all guests' workspaces: what they depend on is built once.
pub fn wasm_dir() -> PathBuf {
    target_dir().join("wasm")
}

/// Builds the wasm workspace in `folder` and collects its components, with dashes for underscores.
fn components(what: &str, folder: &str, into: &str) -> Result<()> {
    let workspace = root().join(folder);
    let build_dir = wasm_dir();
    let mut build = cargo();
    build.current_dir(&workspace).env("CARGO_TARGET_DIR", &build_dir);
    build.args(["build", "--quiet", "--release", "--locked", "--target", WASM]);
    run(what, &mut build)?;
    let out = root().join("target").join(into);
    fs::create_dir_all(&out)?;
    let mut seen = Vec::new();
    for entry in fs::read_dir(build_dir.join(WASM).join("release"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm") && belongs(&workspace, &path) {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().replace('_', "-");
            copy_if_changed(&path, &out.join(&name))?;
            seen.push(name);
        }
    }
    // A component whose crate is gone must not linger.
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(".wasm") && !seen.contains(&name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Is there still a crate for this output?
fn belongs(workspace: &Path, wasm: &Path) -> bool {
    let stem = wasm.file_stem().and_then(|n| n.to_str()).unwrap_or_default().replace('_', "-");
    let manifests = fs::read_dir(workspace).into_iter().flatten().flatten().map(|e| e.path().join("Cargo.toml"));
    manifests.filter_map(|m| fs::read_to_string(m).ok()).any(|text| {
        text.contains(&format!("name = \"{stem}\"")) || text.contains(&format!("name = \"{}\"", stem.replace('-', "_")))
    })
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).ok().as_deref() != Some(&new) {
        fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The folder of the web UI.
pub fn web_dir() -> PathBuf {
    root().join("host/dashboard/web")
}

/// npm, in the folder of the web UI.
pub fn npm() -> std::process::Command {
    let mut c = std::process::Command::new("npm");
    c.current_dir(web_dir());
    c
}

/// Installs the web UI's packages when the lock file is newer than they are.
pub fn web_packages() -> Result<()> {
    let lock = web_dir().join("package-lock.json");
    let stamp = web_dir().join("node_modules/.belfry-lock");
    if fs::read(&lock).ok().is_some_and(|l| fs::read(&stamp).ok().as_ref() == Some(&l)) {
        return Ok(());
    }
    run("web packages", npm().args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    fs::copy(&lock, &stamp)?;
    Ok(())
}

/// `host/dashboard/web` into its `dist`, unless no source is newer.
pub fn web() -> Result<()> {
    web_packages()?;
    let dist = web_dir().join("dist/index.html");
    let built = fs::metadata(&dist).and_then(|m| m.modified()).ok();
    let sources = ["src", "public", "index.html", "package-lock.json", "vite.config.ts"];
    if built.is_some_and(|b| sources.iter().all(|s| newest(&web_dir().join(s)).is_none_or(|t| t <= b))) {
        return Ok(());
    }
    run("web UI", npm().args(["run", "--silent", "build"]))
}

fn newest(path: &Path) -> Option<std::time::SystemTime> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|e| newest(&e.path())).max()
}

/// The program; its path. A development build when `dev`.
pub fn host(dev: bool) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "belfry"]);
    if !dev {
        build.arg("--release");
    }
    run(if dev { "belfry (development build)" } else { "belfry (release build)" }, &mut build)?;
    Ok(target_dir().join(if dev { "debug" } else { "release" }).join(format!("belfry{}", std::env::consts::EXE_SUFFIX)))
}

/// Starts the demo some times and prints how soon there is something to see, its memory and its size.
pub fn bench_start() -> Result<()> {
    crate::setup()?;
    let binary = host(false)?;
    let chromium = crate::prerequisites::chromium()?;
    run("bench", npm().args(["run", "--silent", "start-up", "--"]).arg(binary).env("CHROMIUM", chromium))
}
