//! `belfry backup` and `belfry restore`: the store and the state, together.
//!
//! Invariant: a backup is a data folder that a Belfry can be started on. A restore never writes over data, and removes
//! nothing but what a restore has left.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use belfry_config::Config;
use belfry_config::types::Backend;
use belfry_model::Clock as _;
use belfry_remote::queue;
use belfry_store::disk::{Disk as _, Lock};
use belfry_store::{Damage, RealDisk, Store, StoreConfig};
use http::Method;

use crate::app::STATE_FILE;
use crate::cli::{BackupArgs, Output, RestoreArgs};
use crate::client::{ask, escape};
use crate::clock::SystemClock;
use crate::engine::QUEUE_FOLDER;
use crate::{manifest, say};

/// Damaged places that are named; of more it is said how many.
const DAMAGE_NAMED_MAX: usize = 20;
/// The state is closed sooner, or its log is moved with it.
const CLOSING_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// In a data folder: a restore is at work, or was interrupted.
const RESTORING: &str = ".restoring";
/// In what is being restored, held by flock(2): a folder with it is a restore's.
const MARK: &str = ".restore";
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
    if !from.join(STATE_FILE).is_file() {
        bail!(
            "{} is no backup: it has no {}\n  help: name a folder that `belfry backup` has written",
            from.display(),
            STATE_FILE
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
    let mut target = Target::begin(from, to)?;
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
            serde_json::json!({
                "folder": to,
                "samples": read.samples,
                "series": read.series,
                "waiting_bytes": read.waiting,
                "damage": damage,
                "lost_before": read.lost_before,
            })
        ),
        Output::Text => {
            say!("restored to {}: {} samples in blocks, {} open series", to.display(), read.samples, read.series);
            if read.waiting > 0 {
                say!("{} bytes of samples wait for the storage engine", read.waiting);
            }
            if manifest::wrong(from).is_none() {
                say!("an older Belfry made the backup: whether files are missing cannot be told");
            }
            if !read.lost_before.is_empty() {
                say!("what was lost before the backup was made, answers will lack:\n{}", listed(&read.lost_before));
            }
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
    /// Of [`MARK`].
    held: Option<Box<dyn Send + Sync>>,
}

impl<'a> Target<'a> {
    fn begin(from: &Path, to: &'a Path) -> Result<Self> {
        let is_within = to.exists();
        let partial = if is_within { to.join(RESTORING) } else { beside(to)? };
        refuse_others(&partial, is_within)?;
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
        Ok(Self { to, partial, is_within, held: None })
    }

    /// Copies all and reads all of the copy.
    fn fill(&mut self, from: &Path, force: bool) -> Result<(Read, Vec<String>)> {
        let lacks = lacks(from);
        if !lacks.is_empty() && !force {
            bail!(
                "the backup is not whole, nothing was restored:\n{}\n  help: copy it again from where it was made, use another one, or --force for what is left of it",
                listed(&lacks)
            );
        }
        let made = || format!("cannot make {}", self.partial.display());
        std::fs::create_dir_all(&self.partial).with_context(made)?;
        match RealDisk.lock(&self.partial.join(MARK)).with_context(made)? {
            Lock::Held(held) => self.held = Some(held),
            Lock::InUse { .. } => bail!(at_work(&self.partial)),
        }
        look_for_room(from, &self.partial)?;
        let mut unread = Vec::new();
        copy(from, &self.partial, &mut unread)?;
        let mut read = read_whole(&self.partial)?;
        let (partial, to) = (self.partial.display().to_string(), self.to.display().to_string());
        read.lost_before.iter_mut().for_each(|what| *what = what.replace(&partial, &to));
        let damaged = read.damage.iter().map(|d| name(d, &self.partial, from));
        let state = read.state.iter().map(|why| format!("{} is damaged: {why}", from.join(STATE_FILE).display()));
        let damage: Vec<String> = lacks.into_iter().chain(unread).chain(damaged).chain(state).collect();
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
        if self.held.is_none() {
            // Nothing was made, or another restore is at work there.
            return;
        }
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
            remove(&to.join(MARK))?;
            return sync_folder(to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        }
        let mut names = names_in(partial)?;
        // Without the state it is no data folder that anybody would take for whole.
        names.sort_by_key(|n| n == STATE_FILE);
        for name in names.into_iter().filter(|n| n != MARK) {
            std::fs::rename(partial.join(&name), to.join(&name)).with_context(moved)?;
        }
        sync_folder(to)?;
        remove(&partial.join(MARK))?;
        std::fs::remove_dir(partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        sync_folder(to)
    }
}

/// What the backup should hold and does not.
fn lacks(from: &Path) -> Vec<String> {
    let parts = ["wal", "blocks"];
    manifest::wrong(from).unwrap_or_else(|| {
        // Each Belfry has always made both.
        let has_samples = parts.iter().any(|part| from.join(part).is_dir());
        let folder = from.display();
        if has_samples { Vec::new() } else { vec![format!("{folder} has neither {} nor {}", parts[0], parts[1])] }
    })
}

/// Where a restore to a folder that is absent is made: its whole name and an ending.
fn beside(to: &Path) -> Result<PathBuf> {
    let Some(name) = to.file_name() else { bail!("{} cannot be made\n  help: name another folder", to.display()) };
    let mut name = name.to_owned();
    name.push(RESTORING);
    Ok(to.with_file_name(name))
}

/// What stands where a restore is to be made is left alone when it is another restore, or none of them.
fn refuse_others(partial: &Path, is_within: bool) -> Result<()> {
    let Ok(found) = partial.symlink_metadata() else { return Ok(()) };
    let mark = partial.join(MARK);
    if mark.exists() {
        if let Lock::InUse { .. } = RealDisk.lock(&mark).with_context(|| format!("cannot open {}", mark.display()))? {
            bail!(at_work(partial));
        }
        return Ok(());
    }
    // Within a data folder that name is Belfry's own.
    if is_within || found.is_dir() && names_in(partial)?.is_empty() {
        return Ok(());
    }
    bail!("{} is in the way, and is not what a restore has left\n  help: move it away", partial.display())
}

fn at_work(partial: &Path) -> String {
    format!("another restore is at work in {}\n  help: wait for it", partial.display())
}

/// Refuses a data folder that a restore was interrupted in.
pub fn refuse_half_restored(data: &Path) -> Result<()> {
    if is_half_restored(data) {
        bail!(
            "a restore to {} did not come to its end\n  help: run `belfry restore` again, with the same backup",
            data.display()
        );
    }
    Ok(())
}

/// Was a restore interrupted in it, or is one at work?
pub fn is_half_restored(data: &Path) -> bool {
    data.join(RESTORING).exists()
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

/// What the disk does not give of a file must not keep the rest from being restored: it goes into `unread`, for people.
fn copy(from: &Path, to: &Path, unread: &mut Vec<String>) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_name() == manifest::FILE {
            // It is of the backup, and nothing is called so below.
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target, unread)?;
        } else if kind.is_file() {
            unread.extend(copy_file(&entry.path(), &target)?);
        }
    }
    std::fs::File::open(to).and_then(|f| f.sync_all())?;
    Ok(())
}

/// Answers what cannot be read of the file; what comes before that is copied.
fn copy_file(from: &Path, to: &Path) -> Result<Option<String>> {
    let Err(e) = std::fs::copy(from, to) else {
        std::fs::File::open(to).and_then(|f| f.sync_all())?;
        return Ok(None);
    };
    // Which of both files it was it does not say.
    match std::fs::File::open(from).and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink())) {
        Ok(_) => Err(e).with_context(|| format!("cannot write {}", to.display())),
        Err(e) => Ok(Some(format!("{} cannot be read: {e}", from.display()))),
    }
}

/// What reading a data folder whole finds.
struct Read {
    samples: u64,
    series: u64,
    /// Bytes.
    waiting: u64,
    damage: Vec<Damage>,
    /// What is damaged in the state, and what could be read of it.
    state: Option<String>,
    /// What was lost of the log before the backup was made: no fault of the backup.
    lost_before: Vec<String>,
}

/// Opens both parts as a start would, and reads every chunk.
fn read_whole(folder: &Path) -> Result<Read> {
    let (store, recovery) = Store::open(StoreConfig::folder(folder), Arc::new(RealDisk), SystemClock::new().now())?;
    let mut damage = recovery.damage;
    damage.extend(store.verify());
    let stats = store.stats();
    store.close();
    let state = open_and_close(&folder.join(STATE_FILE))?;
    let waiting =
        queue::look(&folder.join(QUEUE_FOLDER), &RealDisk).context("what waits for the storage engine")?.bytes;
    let (samples, series, lost_before) = (stats.block_samples, stats.series, recovery.lost_before);
    Ok(Read { samples, series, waiting, damage, state, lost_before })
}

/// Opens the state as a start would, and answers what is damaged in it. It is closed by threads of its own: nothing may be
/// moved before they are done, which is when the file of its log is gone.
fn open_and_close(file: &Path) -> Result<Option<String>> {
    let state = belfry_state::State::open(file)?;
    let salvaged = state.salvaged().cloned();
    drop(state);
    let log = file.with_extension("sqlite-wal");
    let begun = std::time::Instant::now();
    while log.exists() && begun.elapsed() < CLOSING_MAX {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let Some(salvaged) = salvaged else { return Ok(None) };
    // It stands in the backup still.
    for part in ["", "-wal", "-shm"] {
        let mut name = salvaged.aside.clone().into_os_string();
        name.push(part);
        remove(Path::new(&name))?;
    }
    Ok(Some(format!("{}; {}", salvaged.reason.as_deref().unwrap_or_default(), salvaged.taken())))
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
    use belfry_model::write::Times;
    use belfry_model::{Batch, Labels, TimestampMs, Writer as _};
    use std::fs;

    /// A backup of an empty store, and a folder for the rest.
    fn prepared() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().expect("a folder");
        let backup = home.path().join("backup");
        let (store, _) =
            Store::open(StoreConfig::folder(&backup), Arc::new(RealDisk), SystemClock::new().now()).expect("a store");
        store.close();
        open_and_close(&backup.join(STATE_FILE)).expect("a state");
        (home, backup)
    }

    fn restore_to(from: &Path, to: &Path) -> Result<()> {
        let mut target = Target::begin(from, to)?;
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
        assert!(to.join(STATE_FILE).is_file() && to.join("wal").is_dir() && !to.join(RESTORING).exists());
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
        let mut target = Target::begin(&backup, &to).expect("empty");
        target.fill(&backup, false).expect("copied");
        fs::rename(to.join(RESTORING).join("wal"), to.join("wal")).expect("moved");
        let meanwhile = restore_to(&backup, &to).expect_err("it may be at work").to_string();
        assert!(meanwhile.contains("another restore is at work"), "{meanwhile}");
        // The process has ended.
        drop(target);
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
            let mut target = Target::begin(&backup, &to).expect("empty");
            assert!(target.fill(&backup, false).is_err());
            target.discard();
            assert_eq!(names_in(&to).map(|n| n.len()).unwrap_or(0), 0);
            assert!(!home.path().join(format!("{name}.restoring")).exists());
        }
        let within = backup.join("below");
        assert!(Target::begin(&backup, &within).is_err(), "not into itself");
    }

    #[test]
    fn restores_side_by_side_have_places_of_their_own_and_take_nothing_of_others_away() {
        let (home, backup) = prepared();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("data.restoring")).expect("made");
        fs::write(at("data.restoring/photos"), "somebody's").expect("written");
        for name in ["data.1", "data.2"] {
            let partial = Target::begin(&backup, &at(name)).map(|t| t.partial).expect("absent");
            assert_eq!(partial, at(&format!("{name}.restoring")));
        }
        let refused = restore_to(&backup, &at("data")).expect_err("it is in the way").to_string();
        assert!(refused.contains("is not what a restore has left"), "{refused}");
        assert!(at("data.restoring/photos").exists());

        let data = at("data.1");
        let mut target = Target::begin(&backup, &data).expect("absent");
        target.fill(&backup, false).expect("copied");
        let meanwhile = restore_to(&backup, &data).expect_err("the other one is at work").to_string();
        assert!(meanwhile.contains("another restore is at work"), "{meanwhile}");
        drop(target);
        restore_to(&backup, &data).expect("what an interrupted one left goes");
        assert!(!data.join(MARK).exists() && data.join("wal").is_dir());
    }

    #[test]
    fn a_backup_that_lacks_files_is_refused_and_what_is_left_of_it_restored_on_demand() {
        let (home, backup) = prepared();
        fs::write(backup.join("blocks/0000000007.gone"), "").expect("written");
        manifest::write(&backup).expect("listed");
        restore_to(&backup, &home.path().join("whole")).expect("restored");
        assert!(!home.path().join("whole").join(manifest::FILE).exists(), "it is of the backup");
        fs::remove_file(backup.join("blocks/0000000007.gone")).expect("removed");
        let to = home.path().join("data");
        let refused = restore_to(&backup, &to).expect_err("a file is missing").to_string();
        assert!(refused.contains("0000000007.gone is missing") && refused.contains("--force"), "{refused}");
        let (_, damage) = Target::begin(&backup, &to).expect("absent").fill(&backup, true).expect("forced");
        assert_eq!(damage.len(), 1);
    }

    #[test]
    fn a_state_that_is_damaged_is_named_and_what_is_left_of_it_restored_on_demand() {
        let (home, backup) = prepared();
        let mut bytes = fs::read(backup.join(STATE_FILE)).expect("a state");
        bytes[..4_096].fill(0xa5);
        fs::write(backup.join(STATE_FILE), bytes).expect("damaged");
        let to = home.path().join("data");
        let refused = restore_to(&backup, &to).expect_err("it is damaged").to_string();
        assert!(refused.contains("backup/state.sqlite is damaged: ") && refused.contains("--force"), "{refused}");
        let mut target = Target::begin(&backup, &to).expect("nothing was left");
        let (_, damage) = target.fill(&backup, true).expect("forced");
        assert_eq!(damage.len(), 1, "{damage:?}");
        target.finish().expect("moved");
        let names = names_in(&to).expect("a folder");
        assert!(to.join(STATE_FILE).is_file(), "{names:?}");
        assert!(!names.iter().any(|n| n.to_string_lossy().contains("damaged")), "it stands in the backup: {names:?}");
    }

    /// A block of 100 samples.
    fn with_a_block(backup: &Path) -> PathBuf {
        let now = SystemClock::new().now();
        let (store, _) = Store::open(StoreConfig::folder(backup), Arc::new(RealDisk), now).expect("a store");
        let series = store.open(&Labels::from_pairs([("__name__", "a")])).expect("a place");
        let mut batch = Batch::at("test", TimestampMs(0));
        batch.times = Times::Each((0..100).map(|i| TimestampMs(now.0 - 100_000 + i * 1000)).collect());
        (batch.refs, batch.values) = (vec![series; 100], vec![1.0; 100]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(store.append(batch)).expect("appended");
        store.flush().expect("a block");
        store.close();
        let blocks = names_in(&backup.join("blocks")).expect("a folder");
        backup.join("blocks").join(blocks.first().expect("a block"))
    }

    #[test]
    fn a_damaged_block_is_named_wherever_the_damage_is_and_restored_on_demand_as_it_is() {
        // The header, without which it cannot be opened, and behind it.
        for (k, bytes) in [0..64, 20..30].into_iter().enumerate() {
            let (home, backup) = prepared();
            let file = with_a_block(&backup);
            let mut damaged = fs::read(&file).expect("a block");
            damaged[bytes].fill(0xa5);
            fs::write(&file, &damaged).expect("damaged");
            manifest::write(&backup).expect("listed");
            let to = home.path().join("data");
            let refused = restore_to(&backup, &to).expect_err("it is damaged").to_string();
            assert!(
                refused.contains(&format!("  {}", file.display())) && refused.contains("--force"),
                "{k}: {refused}"
            );
            let mut target = Target::begin(&backup, &to).expect("nothing was left");
            let (_, damage) = target.fill(&backup, true).expect("forced");
            assert!(damage.iter().all(|d| d.starts_with(&file.display().to_string())), "{k}: {damage:?}");
            target.finish().expect("moved");
            let restored = to.join("blocks").join(file.file_name().expect("a name"));
            assert_eq!(fs::read(restored).expect("it is there"), damaged, "{k}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_file_that_cannot_be_written() {
        let home = tempfile::tempdir().expect("a folder");
        // It opens and gives no byte, as where the medium is bad.
        let unreadable = home.path().join("unreadable");
        fs::create_dir(&unreadable).expect("made");
        let told = copy_file(&unreadable, &home.path().join("copy")).expect("the rest goes on");
        assert!(told.is_some_and(|told| told.contains("unreadable cannot be read")));
        let whole = home.path().join("whole");
        fs::write(&whole, "bytes").expect("written");
        let failed =
            copy_file(&whole, &home.path().join("absent/copy")).expect_err("there is no such folder").to_string();
        assert!(failed.contains("cannot write"), "{failed}");
        assert_eq!(copy_file(&whole, &home.path().join("copy")).expect("copied"), None);
    }

    #[test]
    fn an_older_backup_without_a_list_is_taken_unless_it_has_no_samples_at_all() {
        let (home, backup) = prepared();
        restore_to(&backup, &home.path().join("taken")).expect("restored");
        for part in ["wal", "blocks"] {
            fs::remove_dir_all(backup.join(part)).expect("removed");
        }
        let refused = restore_to(&backup, &home.path().join("data")).expect_err("only the state").to_string();
        assert!(refused.contains("neither wal nor blocks"), "{refused}");
    }
}
