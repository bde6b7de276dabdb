//! A copy of the store while it runs.
//!
//! Invariant: the copy is a data folder as a `kill -9` at one moment after the call would have left it, with everything
//! acknowledged before the call; nothing that happens to the store later changes it. One that cannot be finished is removed.
//! Not here: the state beside the store (alerts, journal), whoever copies both together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, GONE, GONE_DAMAGED, Lost, file_name};
use crate::config::Backend;
use crate::disk::{Disk, DiskRead, Holes, is_of_medium, read_around};
use crate::lost;
use crate::store::{BLOCKS_DIR, Shared, Store, WAL_DIR};
use crate::wal::is_segment;

/// The log is copied in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;
/// Stays free beside a copy: what is collected while it is made, and until somebody has made room, must have a place.
pub const SNAPSHOT_MARGIN_BYTES: u64 = 64 << 20;
/// The root of a file system has this folder from the beginning.
const LOST_AND_FOUND: &str = "lost+found";

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Blocks, also those that cannot be opened; a second name for each file, where the file system has that.
    pub blocks: u64,
    /// Bytes of the blocks.
    pub block_bytes: u64,
    /// Bytes of the write-ahead log that were copied.
    pub wal_bytes: u64,
    /// Files of which the disk did not give all, and why, for people.
    pub left_out: Vec<String>,
}

impl Store {
    /// Makes a data folder at `into`, which must be absent or empty, with everything that was acknowledged before the
    /// call. Appends and reads go on; flushes wait until the log is copied. A block that could not be opened
    /// is there as it is, so that whoever starts from the copy misses it too; what the disk does not give of a file is in
    /// [`Snapshot::left_out`]. Without a folder of its own ([`Backend::Memory`]) a store has no snapshots.
    ///
    /// Where there is no room for it, for `beside` bytes that the caller is to write there and for what comes meanwhile,
    /// nothing is made. After an error nothing of it is left.
    pub fn snapshot(&self, into: &Path, beside: u64) -> io::Result<Snapshot> {
        let shared = &*self.shared;
        let Backend::Folder(root) = &shared.config.backend else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a store in memory has no snapshots"));
        };
        // No part of the log becomes a block and none is removed. Two copies go one after the other, so that the second
        // finds the folder of the first taken.
        let _upkeep = shared.maintenance.lock();
        let mut target = Target::look(&*shared.disk, into)?;
        let outcome = target.claim().and_then(|()| shared.snapshot(root, &target, beside));
        if outcome.is_err() {
            target.discard();
        }
        outcome
    }

    /// Takes back a snapshot that has just been made: whoever was to add something could not.
    pub fn discard_snapshot(&self, into: &Path) {
        let _upkeep = self.shared.maintenance.lock();
        let ours = Claimed { into: true, wal: true, blocks: true };
        Target { ours, ..Target::of(&*self.shared.disk, into) }.discard();
    }
}

impl Shared {
    /// With `maintenance` held.
    fn snapshot(&self, root: &Path, to: &Target<'_>, beside: u64) -> io::Result<Snapshot> {
        let disk = to.disk;
        // No block comes or goes.
        let _changes = self.block_work.changes.lock();
        let (here, unopened): (Vec<Arc<Block>>, Vec<Lost>) = {
            let state = self.state.read();
            (state.blocks.clone(), state.lost.clone())
        };
        let mut done = Snapshot::default();
        let mut unlinked = Vec::new();
        let readable = here.iter().map(|b| (b.path(), b.bytes(), false));
        for (path, bytes, is_lost) in readable.chain(unopened.iter().map(|l| (&*l.path, l.bytes, true))) {
            let second = to.blocks.join(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
            let is_linked = match disk.link_only(path, &second) {
                Err(e) if is_lost && e.kind() == io::ErrorKind::NotFound => false,
                outcome => outcome?,
            };
            if !is_linked {
                unlinked.push((path, second, bytes, is_lost));
            }
            done.blocks += 1;
            done.block_bytes += bytes;
        }
        let segments = self.log_as_it_is(&root.join(WAL_DIR))?;
        let bytes = unlinked.iter().map(|u| u.2).chain(segments.iter().map(|s| s.2)).sum::<u64>();
        look_for_room(disk, to.into, bytes.saturating_add(beside))?;
        for (path, second, _, is_lost) in unlinked {
            self.take(path, &second, is_lost, &mut done)?;
        }
        for b in &here {
            let gone = b.gone();
            if !gone.is_empty() {
                let file = disk.create(&to.blocks.join(file_name(b.id(), GONE)))?;
                file.append(&gone.to_bytes())?;
                file.sync()?;
            }
            if b.lost_deletions().is_some() {
                // Whoever starts from the copy must be told, too.
                let name = file_name(b.id(), GONE_DAMAGED);
                self.take(&self.blocks_dir.join(&name), &to.blocks.join(&name), true, &mut done)?;
            }
        }
        let names = if unopened.is_empty() { Vec::new() } else { disk.list(&self.blocks_dir)? };
        // Should somebody repair the block, what was deleted from it stays deleted.
        let notes = unopened.iter().flat_map(|l| [GONE, GONE_DAMAGED].map(|extension| file_name(l.id, extension)));
        for name in notes.filter(|name| names.contains(name)) {
            self.take(&self.blocks_dir.join(&name), &to.blocks.join(&name), true, &mut done)?;
        }
        let lost_log = self.state.read().lost_log.clone();
        let wal_dir = root.join(WAL_DIR);
        if !lost_log.is_empty() {
            let file = disk.create(&to.wal.join(lost::FILE))?;
            file.append(&lost_log.to_bytes())?;
            file.sync()?;
        }
        if lost_log.has_unread() && disk.list(&wal_dir)?.iter().any(|name| name == lost::DAMAGED) {
            self.take(&wal_dir.join(lost::DAMAGED), &to.wal.join(lost::DAMAGED), true, &mut done)?;
        }
        for (name, from, len) in segments {
            let missing = self.copy(&*from, len, &to.wal.join(&name))?;
            done.leaves_out(&wal_dir.join(name), missing);
            done.wal_bytes += len;
        }
        let above = to.into.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for dir in [&to.wal, &to.blocks, to.into, above] {
            disk.sync_dir(dir)?;
        }
        Ok(done)
    }
}

fn look_for_room(disk: &dyn Disk, into: &Path, bytes: u64) -> io::Result<()> {
    let wanted = bytes.saturating_add(SNAPSHOT_MARGIN_BYTES);
    match disk.room(into)? {
        Some(room) if room < wanted => {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let why = format!(
                "no room for a copy in {}: it takes {} MiB, {} MiB must stay free beside it, and {} MiB are free",
                into.display(),
                mib(bytes),
                mib(SNAPSHOT_MARGIN_BYTES),
                room >> 20
            );
            Err(io::Error::new(io::ErrorKind::StorageFull, why))
        }
        _ => Ok(()),
    }
}

/// Where a snapshot is made, and what of it was not there before.
struct Target<'a> {
    disk: &'a dyn Disk,
    into: &'a Path,
    wal: PathBuf,
    blocks: PathBuf,
    ours: Claimed,
}

/// The folders that this snapshot has made: they go when it does, and nothing else.
#[derive(Default)]
struct Claimed {
    into: bool,
    wal: bool,
    blocks: bool,
}

impl<'a> Target<'a> {
    fn of(disk: &'a dyn Disk, into: &'a Path) -> Self {
        let (wal, blocks) = (into.join(WAL_DIR), into.join(BLOCKS_DIR));
        Self { disk, into, wal, blocks, ours: Claimed::default() }
    }

    /// Refuses a folder that holds anything. What a file system puts into its root is nothing.
    fn look(disk: &'a dyn Disk, into: &'a Path) -> io::Result<Self> {
        let target = Self::of(disk, into);
        for dir in [into, &target.wal, &target.blocks] {
            let names = match disk.list(dir) {
                Ok(names) => names,
                Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(e) => return Err(e),
            };
            if let Some(name) = names.iter().find(|n| *n != LOST_AND_FOUND) {
                return Err(taken(dir, name));
            }
        }
        Ok(target)
    }

    /// Makes the folders, which nobody else may have made meanwhile: another process copies there, too.
    fn claim(&mut self) -> io::Result<()> {
        let above = self.into.parent().filter(|p| !p.as_os_str().is_empty());
        above.map_or(Ok(()), |above| self.disk.create_dir_all(above))?;
        match self.disk.create_dir(self.into) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => self.ours.into = outcome.map(|()| true)?,
        }
        let into = self.into;
        let make = |dir: &Path, name| match self.disk.create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(taken(into, name)),
            outcome => outcome.map(|()| true),
        };
        self.ours.wal = make(&self.wal, WAL_DIR)?;
        self.ours.blocks = make(&self.blocks, BLOCKS_DIR)?;
        Ok(())
    }

    /// Best effort: what cannot be removed is told.
    fn discard(&self) {
        let mut outcome = Ok(());
        let made = [(&self.wal, self.ours.wal), (&self.blocks, self.ours.blocks)];
        for (dir, _) in made.into_iter().filter(|(_, ours)| *ours) {
            for name in self.disk.list(dir).unwrap_or_default() {
                outcome = outcome.and(self.disk.remove(&dir.join(name)));
            }
            outcome = outcome.and(self.disk.remove_dir(dir));
        }
        if self.ours.into {
            outcome = outcome.and(self.disk.remove_dir(self.into));
        }
        if let Err(e) = outcome
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("a part of an unfinished copy stays in {}: {e}", self.into.display());
        }
    }
}

fn taken(dir: &Path, name: &str) -> io::Error {
    let why = format!("{} holds `{name}` already; name an empty folder", dir.display());
    io::Error::new(io::ErrorKind::AlreadyExists, why)
}

/// A segment's name, its bytes, and how many of them there were.
type Segment = (String, Arc<dyn DiskRead>, u64);

impl Shared {
    /// The log's files and their lengths at one moment, between two records.
    fn log_as_it_is(&self, dir: &Path) -> io::Result<Vec<Segment>> {
        let mut commit = self.commit.lock();
        commit.write()?;
        let open = |name: String| -> io::Result<Segment> {
            let file = self.disk.open_read(&dir.join(&name))?;
            let len = file.size();
            Ok((name, file, len))
        };
        self.disk.list(dir)?.into_iter().filter(|name| is_segment(name)).map(open).collect()
    }

    /// Gives a file a second name or copies it; of one that is damaged, as `is_damaged` has it or as the disk says, what
    /// there is.
    fn take(&self, from: &Path, to: &Path, is_damaged: bool, done: &mut Snapshot) -> io::Result<()> {
        match self.disk.link(from, to) {
            Err(e) if is_damaged || is_of_medium(&e) => {
                done.leaves_out(from, self.salvage(from, to)?);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Copies what the disk gives of a file, and answers what it does not give. Where that is all of it the copy is
    /// empty: whoever starts from it is told as well.
    fn salvage(&self, from: &Path, to: &Path) -> io::Result<Option<String>> {
        let stays_so = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        match self.disk.open_read(from) {
            Ok(open) => self.copy(&*open, open.size(), to),
            Err(e) if stays_so(&e) || is_of_medium(&e) => {
                self.disk.create(to)?.sync()?;
                Ok(Some(e.to_string()))
            }
            Err(e) => Err(e),
        }
    }

    /// Answers what the disk did not give; zeros are in its place.
    fn copy(&self, from: &dyn DiskRead, len: u64, to: &Path) -> io::Result<Option<String>> {
        let file = self.disk.create(to)?;
        let mut bytes = Vec::new();
        let mut at = 0;
        let mut holes: Option<Holes> = None;
        while at < len {
            bytes.resize(COPY_BYTES.min(len - at) as usize, 0);
            // What the disk does not give must not keep the rest from being copied.
            if let Some(more) = read_around(from, at, &mut bytes)? {
                let before = holes.take().map_or(0, |h| h.bytes);
                holes = Some(Holes { bytes: before + more.bytes, ..more });
            }
            file.append(&bytes)?;
            at += bytes.len() as u64;
        }
        file.sync()?;
        Ok(holes.map(|h| format!("{} of its {len} bytes cannot be read: {}", h.bytes, h.why)))
    }
}

impl Snapshot {
    fn leaves_out(&mut self, file: &Path, what: Option<String>) {
        self.left_out.extend(what.map(|what| format!("{}: {what}", file.display())));
    }
}
