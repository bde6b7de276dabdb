//! A copy of the store while it runs.
//!
//! Invariant: the copy is a data folder as a `kill -9` at one moment after the call would have left it, with everything
//! acknowledged before the call; nothing that happens to the store later changes it. One that cannot be finished is removed.
//! Not here: the state beside the store (alerts, journal), whoever copies both together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, GONE, GONE_DAMAGED, file_name};
use crate::config::Backend;
use crate::disk::{Disk, DiskRead, read_around};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Blocks; a second name for each file, where the file system has that.
    pub blocks: u64,
    /// Bytes of the blocks.
    pub block_bytes: u64,
    /// Bytes of the write-ahead log that were copied.
    pub wal_bytes: u64,
}

impl Store {
    /// Makes a data folder at `into`, which must be absent or empty, with everything that was acknowledged before the
    /// call. Appends and reads go on; flushes wait until the log is copied. A block that could not be opened, because it
    /// is damaged, is left out. Without a folder of its own ([`Backend::Memory`]) a store has no snapshots.
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
        let here: Vec<Arc<Block>> = self.state.read().blocks.clone();
        let mut done = Snapshot::default();
        let mut unlinked = Vec::new();
        for b in &here {
            let name = b.path().file_name().ok_or(io::ErrorKind::InvalidInput)?;
            let second = to.blocks.join(name);
            if !disk.link_only(b.path(), &second)? {
                unlinked.push((b, second));
            }
            done.blocks += 1;
            done.block_bytes += b.bytes();
        }
        let segments = self.log_as_it_is(&root.join(WAL_DIR))?;
        let bytes = unlinked.iter().map(|(b, _)| b.bytes()).chain(segments.iter().map(|s| s.2)).sum::<u64>();
        look_for_room(disk, to.into, bytes.saturating_add(beside))?;
        for (b, second) in unlinked {
            disk.link(b.path(), &second)?;
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
                disk.link(&self.blocks_dir.join(&name), &to.blocks.join(&name))?;
            }
        }
        let lost = self.state.read().lost_log.clone();
        let wal_dir = root.join(WAL_DIR);
        if !lost.is_empty() {
            let file = disk.create(&to.wal.join(lost::FILE))?;
            file.append(&lost.to_bytes())?;
            file.sync()?;
        }
        if lost.has_unread() && disk.list(&wal_dir)?.iter().any(|name| name == lost::DAMAGED) {
            disk.link(&wal_dir.join(lost::DAMAGED), &to.wal.join(lost::DAMAGED))?;
        }
        for (name, from, len) in segments {
            self.copy(&*from, len, &to.wal.join(name))?;
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

    fn copy(&self, from: &dyn DiskRead, len: u64, to: &Path) -> io::Result<()> {
        let file = self.disk.create(to)?;
        let mut bytes = Vec::new();
        let mut at = 0;
        while at < len {
            bytes.resize(COPY_BYTES.min(len - at) as usize, 0);
            // What the disk does not give must not keep the rest from being copied.
            read_around(from, at, &mut bytes)?;
            file.append(&bytes)?;
            at += bytes.len() as u64;
        }
        file.sync()
    }
}
