//! `belfry backup` and `belfry restore`: the store and the state, together.
//!
//! Invariant: a backup is a data folder that a Belfry can be started on. A restore never writes over data.

use std::ffi::OsString;
use std::io::Write as _;
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
/// The state is closed sooner, or its log is moved with it.
const CLOSING_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// In a data folder: a restore is at work, or was interrupted.
const RESTORING: &str = ".restoring";
/// Are made by whoever opens a data folder.
const MADE_BY_OPENING: [&str; 3] = ["LOCK", "state.sqlite-wal", "state.sqlite-shm"];

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
    let target = Target::begin(from, to)?;
    let restored = target.fill(from, arguments.force);
    let (read, damage) = match restored {
        Ok(restored) => restored,
        Err(error) => {
            // Half of a data folder is of no use to anybody, and takes the room.
            target.discard();
            return Err(error);
        }
    };
    target.finish()?;
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

/// Where a restore goes: beside a folder that is absent, within one that is there. A mount point can be neither removed
/// nor replaced.
struct Target<'a> {
    to: &'a Path,
    partial: PathBuf,
    is_within: bool,
}

impl<'a> Target<'a> {
    fn begin(from: &Path, to: &'a Path) -> Result<Self> {
        let is_within = to.exists();
        let partial = if is_within { to.join(RESTORING) } else { to.with_extension("restoring") };
        if is_within {
            if partial.exists() {
                // A restore was interrupted while its parts moved up: nobody has started on them.
                for name in names_in(from)?.into_iter().chain(MADE_BY_OPENING.map(OsString::from)) {
                    remove(&to.join(name))?;
                }
            }
            let left = names_in(to)?.into_iter().find(|n| n != "lost+found" && n != RESTORING);
            if let Some(name) = left {
                bail!(
                    "{} holds data already ({})\n  help: move it away first, or name another folder with --data; a restore writes over nothing",
                    to.display(),
                    name.to_string_lossy()
                );
            }
        }
        let place = partial.ancestors().find_map(|p| p.canonicalize().ok());
        if place.zip(from.canonicalize().ok()).is_some_and(|(place, from)| place.starts_with(from)) {
            bail!("{} is in the backup itself\n  help: name another folder with --data", to.display());
        }
        remove(&partial)?;
        Ok(Self { to, partial, is_within })
    }

    /// Copies all and reads all of the copy.
    fn fill(&self, from: &Path, force: bool) -> Result<(Read, Vec<String>)> {
        std::fs::create_dir_all(&self.partial).with_context(|| format!("cannot make {}", self.partial.display()))?;
        look_for_room(from, &self.partial)?;
        copy(from, &self.partial)?;
        let read = read_whole(&self.partial)?;
        let damage: Vec<String> = read.damage.iter().map(|d| name(d, &self.partial, from)).collect();
        if !damage.is_empty() && !force {
            bail!(
                "the backup is damaged, nothing was restored:\n{}\n  help: use another one, or --force for what is left of it",
                listed(&damage)
            );
        }
        Ok((read, damage))
    }

    /// Best effort: the next restore begins with it too.
    fn discard(&self) {
        if let Err(e) = remove(&self.partial) {
            let _ = writeln!(std::io::stderr(), "warning: a part of the restore stays: {e:#}");
        }
    }

    /// What is whole takes its place. As long as [`RESTORING`] is there, no Belfry starts on the folder.
    fn finish(&self) -> Result<()> {
        let (to, partial) = (self.to, &self.partial);
        let moved = || format!("cannot move it to {}", to.display());
        if !self.is_within {
            std::fs::rename(partial, to).with_context(moved)?;
            return sync_folder(to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        }
        let mut names = names_in(partial)?;
        // Without the state it is no data folder that anybody would take for whole.
        names.sort_by_key(|n| n == crate::app::STATE_FILE);
        for name in names {
            std::fs::rename(partial.join(&name), to.join(&name)).with_context(moved)?;
        }
        sync_folder(to)?;
        std::fs::remove_dir(partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        sync_folder(to)
    }
}

/// Refuses a data folder that a restore was interrupted in.
pub fn refuse_half_restored(data: &Path) -> Result<()> {
    if data.join(RESTORING).exists() {
        bail!(
            "a restore to {} did not come to its end\n  help: run `belfry restore` again, with the same backup",
            data.display()
        );
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<()> {
    std::fs::File::open(folder).and_then(|f| f.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}

fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot look into {}", folder.display()))?;
    entries.map(|e| Ok(e?.file_name())).collect()
}

/// A file or folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let outcome = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    outcome.with_context(|| format!("cannot remove {}", path.display()))
}

fn look_for_room(from: &Path, to: &Path) -> Result<()> {
    let wanted = bytes_in(from)?;
    let free = rustix::fs::statvfs(to).map_or(u64::MAX, |f| f.f_bavail.saturating_mul(f.f_frsize));
    if free < wanted {
        bail!(
            "no room: the backup takes {} MiB, {} MiB are free\n  help: make room, or name another folder with --data",
            wanted.div_ceil(1 << 20),
            free >> 20
        );
    }
    Ok(())
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for name in names_in(folder)? {
        let path = folder.join(name);
        let found = path.symlink_metadata()?;
        bytes += if found.is_dir() { bytes_in(&path)? } else { found.len() };
    }
    Ok(bytes)
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
    open_and_close(&folder.join(crate::app::STATE_FILE))?;
    Ok(Read { samples: stats.block_samples, series: stats.series, damage })
}

/// Opens the state as a start would. It is closed by threads of its own: nothing may be moved before they are done, which
/// is when the file of its log is gone.
fn open_and_close(file: &Path) -> Result<()> {
    drop(belfry_state::State::open(file)?);
    let log = file.with_extension("sqlite-wal");
    let begun = std::time::Instant::now();
    while log.exists() && begun.elapsed() < CLOSING_MAX {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A backup of an empty store, and a folder for the rest.
    fn prepared() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().expect("a folder");
        let backup = home.path().join("backup");
        let (store, _) =
            Store::open(StoreConfig::folder(&backup), Arc::new(RealDisk), SystemClock::new().now()).expect("a store");
        store.close();
        open_and_close(&backup.join(crate::app::STATE_FILE)).expect("a state");
        (home, backup)
    }

    fn restore_to(from: &Path, to: &Path) -> Result<()> {
        let target = Target::begin(from, to)?;
        target.fill(from, false)?;
        target.finish()
    }

    #[test]
    fn a_restore_goes_into_a_folder_that_is_there_without_replacing_it() {
        use std::os::unix::fs::MetadataExt;
        let (home, backup) = prepared();
        let to = home.path().join("mount");
        fs::create_dir_all(to.join("lost+found")).expect("made");
        let before = fs::metadata(&to).expect("there").ino();
        restore_to(&backup, &to).expect("restored");
        assert_eq!(fs::metadata(&to).expect("there").ino(), before);
        assert!(to.join(crate::app::STATE_FILE).is_file() && to.join("wal").is_dir() && !to.join(RESTORING).exists());
        refuse_half_restored(&to).expect("it is whole");
        let again = restore_to(&backup, &to).expect_err("it holds data").to_string();
        assert!(again.contains("holds data already"), "{again}");
        restore_to(&backup, &home.path().join("absent")).expect("restored");
    }

    #[test]
    fn a_restore_that_was_interrupted_starts_no_belfry_and_is_made_again() {
        let (home, backup) = prepared();
        let to = home.path().join("mount");
        fs::create_dir_all(&to).expect("made");
        let target = Target::begin(&backup, &to).expect("empty");
        target.fill(&backup, false).expect("copied");
        fs::rename(to.join(RESTORING).join("wal"), to.join("wal")).expect("moved");
        assert!(refuse_half_restored(&to).is_err());
        restore_to(&backup, &to).expect("restored");
        refuse_half_restored(&to).expect("it is whole");
    }

    #[test]
    fn a_restore_that_fails_leaves_nothing() {
        let (home, backup) = prepared();
        fs::write(backup.join("blocks/0000000001.block"), "no block").expect("written");
        for name in ["absent", "mount"] {
            let to = home.path().join(name);
            if name == "mount" {
                fs::create_dir_all(&to).expect("made");
            }
            let target = Target::begin(&backup, &to).expect("empty");
            assert!(target.fill(&backup, false).is_err());
            target.discard();
            assert_eq!(names_in(&to).map(|n| n.len()).unwrap_or(0), 0);
            assert!(!to.with_extension("restoring").exists());
        }
        let within = backup.join("below");
        assert!(Target::begin(&backup, &within).is_err(), "not into itself");
    }
}
