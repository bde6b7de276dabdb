//! `cargo xtask bench store`: builds Belfry and what measures it, and lets it run. `--help` tells what it can do.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process::{self, cargo};
use crate::{build, target_dir};

/// Where the peers are unpacked when `BELFRY_PEERS` does not say.
const PEERS: &str = ".cache/belfry-peers/root/usr/bin";

pub fn run(arguments: &[String]) -> Result<()> {
    let belfry = build::host(false)?;
    process::run("benchmark (release build)", cargo().args(["build", "--release", "--package", "belfry-bench"]))?;
    let mut bench = std::process::Command::new(target_dir().join("release/belfry-bench"));
    bench.arg("--belfry").arg(belfry).args(arguments).env("BELFRY_PEERS", peers()?);
    process::run("bench", &mut bench)
}

/// The folder with prometheus, victoria-metrics and others, from Debian's packages.
pub fn peers() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("BELFRY_PEERS") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("neither BELFRY_PEERS nor HOME is set")?;
    Ok(PathBuf::from(home).join(PEERS))
}
