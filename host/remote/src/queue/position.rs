//! How far the engine has everything: a small file that is replaced each time.
//!
//! Invariant: a position that cannot be read is as if there were none: then all is sent again, never too little.

use std::io;
use std::path::Path;

use belfry_store::disk::Disk;

pub(super) const FILE: &str = "position";
const FILE_NEW: &str = "position.new";

/// A place in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}

pub(super) fn load(disk: &dyn Disk, folder: &Path) -> Option<Position> {
    let bytes = disk.read(&folder.join(FILE)).ok()?;
    let (numbers, crc) = bytes.split_at_checked(16)?;
    if crc != crc32fast::hash(numbers).to_le_bytes() {
        return None;
    }
    let number = |at: usize| numbers.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    Some(Position { segment: number(0)?, offset: number(8)? })
}

pub(super) fn save(disk: &dyn Disk, folder: &Path, position: Position) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(20);
    bytes.extend_from_slice(&position.segment.to_le_bytes());
    bytes.extend_from_slice(&position.offset.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let new = folder.join(FILE_NEW);
    disk.create(&new)?.append(&bytes)?;
    disk.rename(&new, &folder.join(FILE))
}
