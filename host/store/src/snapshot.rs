//! A copy of the store while it runs.
//!
//! Invariant: the copy is a data folder as a `kill -9` at one moment after the call would have left it, with everything
//! acknowledged before the call; nothing that happens to the store later changes it.
//! Not here: the state beside the store (alerts, journal), whoever copies both together.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::block::{Block, GONE, GONE_DAMAGED, file_name};
use crate::config::Backend;
use crate::disk::{DiskRead, read_around};
use crate::store::{BLOCKS_DIR, Shared, Store, WAL_DIR};
use crate::wal::is_segment;

/// The log is copied in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

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
    pub fn snapshot(&self, into: &Path) -> io::Result<Snapshot> {
        let shared = &*self.shared;
        let Backend::Folder(root) = &shared.config.backend else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a store in memory has no snapshots"));
        };
        let disk = &*shared.disk;
        let (wal, blocks) = (into.join(WAL_DIR), into.join(BLOCKS_DIR));
        for dir in [into, &wal, &blocks] {
            disk.create_dir_all(dir)?;
        }
        for dir in [&wal, &blocks] {
            if !disk.list(dir)?.is_empty() {
                let why = format!("{} holds data already; name an empty folder", into.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
        }
        // No part of the log becomes a block and none is removed, no block comes or goes.
        let _upkeep = shared.maintenance.lock();
        let _changes = shared.block_work.changes.lock();
        let segments = shared.log_as_it_is(&root.join(WAL_DIR))?;
        let here: Vec<Arc<Block>> = shared.state.read().blocks.clone();
        let mut done = Snapshot::default();
        for b in &here {
            let gone = b.gone();
            if !gone.is_empty() {
                let file = disk.create(&blocks.join(file_name(b.id(), GONE)))?;
                file.append(&gone.to_bytes())?;
                file.sync()?;
            }
            if b.lost_deletions().is_some() {
                // Whoever starts from the copy must be told, too.
                let name = file_name(b.id(), GONE_DAMAGED);
                disk.link(&shared.blocks_dir.join(&name), &blocks.join(&name))?;
            }
            let name = b.path().file_name().ok_or(io::ErrorKind::InvalidInput)?;
            disk.link(b.path(), &blocks.join(name))?;
            done.blocks += 1;
            done.block_bytes += b.bytes();
        }
        for (name, from, len) in segments {
            shared.copy(&*from, len, &wal.join(name))?;
            done.wal_bytes += len;
        }
        let above = into.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for dir in [&wal, &blocks, into, above] {
            disk.sync_dir(dir)?;
        }
        Ok(done)
    }
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
