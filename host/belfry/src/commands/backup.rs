//! `belfry backup` and `belfry restore`: the store and the state, together.
//!
//! Invariant: a backup is a data folder that a Belfry can be started on. A restore never writes over data.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use belfry_config::Config;
use belfry_config::types::Backend;
use belfry_model::Clock as _;
use belfry_store::{RealDisk, Store, StoreConfig};
use http::Method;

use crate::cli::{BackupArgs, Output, RestoreArgs};
use crate::client::{ask, escape};
use crate::clock::SystemClock;
use crate::say;

/// Asks a running Belfry to write a backup.
pub fn backup(arguments: &BackupArgs) -> Result<ExitCode> {
    let folder = std::path::absolute(&arguments.folder).context("the folder")?;
    let path = format!("/api/admin/backup?folder={}", escape(&folder.to_string_lossy()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(&arguments.server, Method::POST, &path))?;
    match arguments.server.output {
        Output::Json => say!("{answer}"),
        Output::Text => say!("{}", answer["message"].as_str().unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies a backup to where the config wants the data, and looks whether it can be opened.
pub fn restore(arguments: &RestoreArgs) -> Result<ExitCode> {
    let from = &arguments.folder;
    if !from.join(crate::app::STATE_FILE).is_file() {
        bail!(
            "{} is no backup: it has no {}\n  help: name a folder that `belfry backup` has written",
            from.display(),
            crate::app::STATE_FILE
        );
    }
    let input = super::run::input(&arguments.run);
    let loaded = match Config::load(&input) {
        Ok(loaded) => loaded,
        Err(problems) => bail!("the config is refused\n{problems}"),
    };
    let storage = &loaded.config.storage;
    if storage.backend == Backend::Memory {
        bail!("[storage] backend is \"memory\": there is no data folder to restore to\n  help: set it to \"disk\"");
    }
    let to = &storage.path;
    if !is_empty(to)? {
        bail!(
            "{} holds data already\n  help: move it away first, or name another folder with --data; a restore writes over nothing",
            to.display()
        );
    }
    // Beside its place until it is whole: a restore that is interrupted leaves no half of a data folder.
    let partial = to.with_extension("restoring");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    copy(from, &partial)?;
    let (samples, series) = opened(&partial)?;
    if to.exists() {
        std::fs::remove_dir(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    std::fs::rename(&partial, to).with_context(|| format!("cannot move it to {}", to.display()))?;
    match arguments.run.config.output {
        Output::Json => say!("{}", serde_json::json!({"folder": to, "samples": samples, "series": series})),
        Output::Text => say!("restored to {}: {samples} samples in blocks, {series} open series", to.display()),
    }
    Ok(ExitCode::SUCCESS)
}

fn is_empty(folder: &Path) -> Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e).with_context(|| format!("cannot look into {}", folder.display())),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
            std::fs::File::open(&target).and_then(|f| f.sync_all())?;
        }
    }
    std::fs::File::open(to).and_then(|f| f.sync_all())?;
    Ok(())
}

/// Opens both parts as a start would; refuses what is damaged.
fn opened(folder: &Path) -> Result<(u64, u64)> {
    let (store, recovery) = Store::open(StoreConfig::folder(folder), Arc::new(RealDisk), SystemClock::new().now())?;
    if let Some(damage) = recovery.damage.first() {
        bail!("the backup is damaged: {damage}\n  help: use another one");
    }
    let stats = store.stats();
    store.close();
    belfry_state::State::open(folder.join(crate::app::STATE_FILE))?;
    Ok((stats.block_samples, stats.series))
}
