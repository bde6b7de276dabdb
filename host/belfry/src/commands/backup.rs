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
use belfry_store::{Damage, RealDisk, Store, StoreConfig};
use http::Method;

use crate::cli::{BackupArgs, Output, RestoreArgs};
use crate::client::{ask, escape};
use crate::clock::SystemClock;
use crate::say;

/// Damaged places that are named; of more it is said how many.
const DAMAGE_NAMED_MAX: usize = 20;

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

/// Copies a backup to where the config wants the data, and reads all of the copy.
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
    let read = read_whole(&partial)?;
    let damage: Vec<String> = read.damage.iter().map(|d| name(d, &partial, from)).collect();
    if !damage.is_empty() && !arguments.force {
        std::fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        bail!(
            "the backup is damaged, nothing was restored:\n{}\n  help: use another one, or --force for what is left of it",
            listed(&damage)
        );
    }
    if to.exists() {
        std::fs::remove_dir(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    std::fs::rename(&partial, to).with_context(|| format!("cannot move it to {}", to.display()))?;
    match arguments.run.config.output {
        Output::Json => say!(
            "{}",
            serde_json::json!({"folder": to, "samples": read.samples, "series": read.series, "damage": damage})
        ),
        Output::Text => {
            say!("restored to {}: {} samples in blocks, {} open series", to.display(), read.samples, read.series);
            if !damage.is_empty() {
                say!("what is left of a damaged backup, answers will lack:\n{}", listed(&damage));
            }
        }
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

/// What reading a data folder whole finds.
struct Read {
    samples: u64,
    series: u64,
    damage: Vec<Damage>,
}

/// Opens both parts as a start would, and reads every chunk.
fn read_whole(folder: &Path) -> Result<Read> {
    let (store, recovery) = Store::open(StoreConfig::folder(folder), Arc::new(RealDisk), SystemClock::new().now())?;
    let mut damage = recovery.damage;
    damage.extend(store.verify());
    let stats = store.stats();
    store.close();
    belfry_state::State::open(folder.join(crate::app::STATE_FILE))?;
    Ok(Read { samples: stats.block_samples, series: stats.series, damage })
}

/// A damaged place, by the file's name in the backup.
fn name(damage: &Damage, copy: &Path, backup: &Path) -> String {
    let file = damage.file.strip_prefix(copy).map_or_else(|_| damage.file.clone(), |file| backup.join(file));
    Damage { file, ..damage.clone() }.to_string()
}

fn listed(damage: &[String]) -> String {
    let mut lines: Vec<String> = damage.iter().take(DAMAGE_NAMED_MAX).map(|d| format!("  {d}")).collect();
    if let Some(more) = damage.len().checked_sub(DAMAGE_NAMED_MAX).filter(|more| *more > 0) {
        lines.push(format!("  and {more} places more"));
    }
    lines.join("\n")
}
