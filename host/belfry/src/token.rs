//! The token for managing: the config's, or one made at the first start and kept in the data folder.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use belfry_config::Config;
use belfry_config::types::Backend;

/// Bytes of randomness.
const TOKEN_BYTES: usize = 24;

/// Where a token of our own is kept.
pub fn path(config: &Config) -> PathBuf {
    config.storage.path.join("admin-token")
}

/// The token of now.
pub fn admin(config: &Config) -> Result<String> {
    if let Some(token) = &config.server.token {
        return Ok(token.0.clone());
    }
    if config.storage.backend == Backend::Memory {
        return random();
    }
    let file = path(config);
    if let Some(token) = read(&file) {
        return Ok(token);
    }
    let token = random()?;
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    writeln!(out, "{token}").with_context(|| format!("cannot write {}", file.display()))?;
    Ok(token)
}

/// Says whether [`admin`] would fail, and makes nothing. That the data folder can be written to is looked at elsewhere.
pub fn check(config: &Config) -> Result<()> {
    let file = path(config);
    if config.server.token.is_some() || read(&file).is_some() || !file.exists() {
        return Ok(());
    }
    let opened = std::fs::OpenOptions::new().write(true).open(&file);
    opened.map(drop).with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
}

fn random() -> Result<String> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).context("no randomness")?;
    Ok(hex::encode(bytes))
}
