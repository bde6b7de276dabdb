//! What must be on the machine. Each missing thing is named with the command that installs it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::output;

/// What the web UI's build tool asks for.
const NODE: (u32, u32) = (20, 19);
const TARGET: &str = "wasm32-unknown-unknown";

/// Rust, a C compiler, Node, and the wasm target (which is added when it is missing).
pub fn all() -> Result<()> {
    rust()?;
    if ["cc", "gcc", "clang"].iter().all(|c| output(c, &["--version"]).is_none()) {
        bail!(
            "no C compiler found (SQLite is built with it)\n  help: apt-get install gcc   (or: dnf install gcc; xcode-select --install)"
        );
    }
    node()?;
    wasm_target()
}

fn rust() -> Result<()> {
    let version = output("rustc", &["--version"]).unwrap_or_default();
    let minor = version.strip_prefix("rustc 1.").and_then(|v| v.split('.').next()).and_then(|m| m.parse::<u32>().ok());
    if minor.is_none_or(|m| m < 95) {
        bail!("Rust 1.95 or newer is needed, this is `{version}`\n  help: rustup update stable");
    }
    Ok(())
}

/// Node and npm.
pub fn node() -> Result<()> {
    let version = output("node", &["--version"]).unwrap_or_default();
    let mut numbers = version.trim_start_matches('v').split('.').map(|n| n.parse::<u32>().ok());
    let found = (numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0));
    if found < NODE || output("npm", &["--version"]).is_none() {
        bail!(
            "Node 20.19 or newer with npm is needed for the web UI, this is `{version}`\n  help: https://nodejs.org, or: apt-get install nodejs npm"
        );
    }
    Ok(())
}

/// The standard library of the wasm target; added by rustup when it is missing.
pub fn wasm_target() -> Result<()> {
    let sysroot = PathBuf::from(output("rustc", &["--print", "sysroot"]).unwrap_or_default());
    // A sysroot given in CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS counts as well.
    let flags = std::env::var("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS").unwrap_or_default();
    if sysroot.join("lib/rustlib").join(TARGET).exists() || flags.contains("--sysroot") {
        return Ok(());
    }
    let mut rustup = std::process::Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    crate::process::run("add the wasm target", &mut rustup).map_err(|error| {
        anyhow::anyhow!(
            "{error:#}\n  help: the plugins are built for {TARGET}; add it with `rustup target add {TARGET}`, or install \
             your distribution's package of its standard library (Debian: libstd-rust-dev-wasm32), or set \
             CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=--sysroot=DIR to a sysroot that has it"
        )
    })
}

/// A Chromium to test the web UI in; installed when this is root on Debian.
pub fn chromium() -> Result<PathBuf> {
    let found = || {
        std::env::var_os("CHROMIUM")
            .map(PathBuf::from)
            .into_iter()
            .chain(["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from))
            .find(|p| p.exists())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    if output("id", &["-u"]).as_deref() == Some("0") && output("apt-get", &["--version"]).is_some() {
        let mut update = std::process::Command::new("apt-get");
        crate::process::run("apt-get update", update.args(["-qq", "update"]))?;
        let mut install = std::process::Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        crate::process::run(
            "install chromium",
            install.args(["-qq", "install", "-y", "--no-install-recommends", "chromium"]),
        )?;
    }
    match found() {
        Some(path) => Ok(path),
        None => bail!("the web tests need Chromium\n  help: apt-get install chromium, or set CHROMIUM to its path"),
    }
}
