//! The folder of blocks as a new start finds it.
//!
//! Invariant: afterwards there is no half-written block, no block that another one replaced, and no note of deletions
//! without its block.
//! Not here: the write-ahead log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use belfry_model::TimeRange;

use super::{
    Block, BlockError, EXTENSION, GONE, GONE_DAMAGED, GONE_VERSION, Gone, UNFINISHED, VERSION, file_name, parse_name,
};
use crate::config::{Damage, OpenError, Recovery};
use crate::disk::Disk;

/// What is in the folder.
#[derive(Default)]
pub struct Opened {
    /// In the order of their ranks.
    pub blocks: Vec<Arc<Block>>,
    /// Those that cannot be opened.
    pub lost: Vec<Lost>,
    /// The next free number.
    pub next: u64,
}

/// A block that cannot be opened. It takes room, and answers lack what is in it.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its number.
    pub id: u64,
    /// Its file.
    pub path: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// First and last time, where that can be told.
    pub span: Option<(i64, i64)>,
    /// Why it cannot be opened.
    pub why: String,
}

impl Lost {
    fn new(disk: &dyn Disk, path: &Path, id: u64, why: &BlockError) -> Self {
        let bytes = disk.open_read(path).map_or(0, |f| f.size());
        Self { id, path: path.to_owned(), bytes, span: Block::span_of_damaged(disk, path, id), why: why.to_string() }
    }

    /// May it have samples of this range? One whose times nobody knows may have samples of any.
    pub fn may_overlap(&self, range: TimeRange) -> bool {
        self.span.is_none_or(|(min, max)| min < range.end().0 && max >= range.start().0)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}: {}: {}", self.id, self.path.display(), self.why)
    }
}

/// Opens the blocks, and clears away what a crash left.
pub fn open_all(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) -> Result<Opened, OpenError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { file, source }
    };
    let names = disk.list(dir).map_err(failed(dir))?;
    let mut found = Opened { next: 1, ..Opened::default() };
    for name in &names {
        let path = dir.join(name);
        let Some(id) = parse_name(name) else {
            let of_block = name.strip_suffix(GONE).or(name.strip_suffix(GONE_DAMAGED));
            let block_is_gone = of_block.is_some_and(|n| !names.contains(&format!("{n}{EXTENSION}")));
            if name.ends_with(UNFINISHED) || block_is_gone {
                disk.remove(&path).map_err(failed(&path))?;
            }
            continue;
        };
        found.next = found.next.max(id + 1);
        match Block::open(disk, &path, id) {
            Ok(b) => found.blocks.push(Arc::new(b)),
            Err(BlockError::Version(found)) => {
                return Err(OpenError::Version { file: path, found, known: VERSION });
            }
            Err(BlockError::VersionOfGone(found)) => {
                return Err(OpenError::Version { file: dir.join(file_name(id, GONE)), found, known: GONE_VERSION });
            }
            // It says nothing of the block, and would soon be said of all others.
            Err(BlockError::Io(source)) if are_too_many(&source) => {
                return Err(OpenError::TooManyFiles { file: path, source });
            }
            // One bad sector must not keep the rest from being read.
            Err(e @ (BlockError::Damaged(_) | BlockError::Io(_))) => found.lost.push(Lost::new(disk, &path, id, &e)),
        }
    }
    // A crash between the birth of a merged block and the end of its parts leaves both.
    let replaced: Vec<u64> = found.blocks.iter().flat_map(|b| b.meta().replaces.clone()).collect();
    let over: Vec<_> = found.blocks.extract_if(.., |b| replaced.contains(&b.id())).collect();
    for b in over {
        let has_notes = !b.gone().is_empty() || b.lost_deletions().is_some();
        remove(disk, dir, b.id(), has_notes).map_err(failed(b.path()))?;
    }
    for l in found.lost.extract_if(.., |l| replaced.contains(&l.id)) {
        remove_lost(disk, dir, &l).map_err(failed(&l.path))?;
    }
    for l in &found.lost {
        recovery.damage.push(Damage { file: l.path.clone(), offset: 0, what: l.why.clone() });
    }
    for b in found.blocks.iter().filter(|b| b.lost_deletions().is_some()) {
        let file = set_aside(disk, dir, b, &names).map_err(failed(b.path()))?;
        let what = format!("what was deleted from block {} may be back in answers", b.id());
        recovery.damage.push(Damage { file, offset: 0, what });
    }
    found.blocks.sort_by_key(|b| (b.meta().rank, b.id()));
    recovery.blocks = found.blocks.len() as u64;
    Ok(found)
}

/// `EMFILE`, `ENFILE`: the same numbers on every system that Belfry runs on.
fn are_too_many(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(24 | 23))
}

/// Gives the file of deletions that cannot be read a name under which the next deletion does not write over it: as long
/// as it is there, nobody forgets that something is not deleted any more.
fn set_aside(disk: &dyn Disk, dir: &Path, block: &Block, names: &[String]) -> io::Result<PathBuf> {
    let (name, aside) = (file_name(block.id(), GONE), file_name(block.id(), GONE_DAMAGED));
    let aside_path = dir.join(&aside);
    // With both there it is not known which of them is damaged; a readable one stays where it is.
    let file = dir.join(&name);
    let is_damaged = names.contains(&name) && disk.read(&file).map_or(true, |b| Gone::from_bytes(&b).is_err());
    if is_damaged {
        disk.rename(&file, &aside_path)?;
        disk.sync_dir(dir)?;
    }
    Ok(aside_path)
}

/// Removes a block, then the notes of what was deleted from it: the other way round a crash in between would bring that
/// back.
pub fn remove(disk: &dyn Disk, dir: &Path, id: u64, has_notes: bool) -> io::Result<()> {
    for extension in [EXTENSION, UNFINISHED] {
        absent(disk.remove(&dir.join(file_name(id, extension))))?;
    }
    if has_notes { remove_notes(disk, dir, id) } else { Ok(()) }
}

/// [`remove`] for a block that cannot be opened.
pub fn remove_lost(disk: &dyn Disk, dir: &Path, lost: &Lost) -> io::Result<()> {
    absent(disk.remove(&lost.path))?;
    remove_notes(disk, dir, lost.id)
}

fn remove_notes(disk: &dyn Disk, dir: &Path, id: u64) -> io::Result<()> {
    disk.sync_dir(dir)?;
    absent(disk.remove(&dir.join(file_name(id, GONE))))?;
    absent(disk.remove(&dir.join(file_name(id, GONE_DAMAGED))))
}

/// That it is not there is what was wanted.
fn absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_open_files_is_no_damage() {
        assert!(are_too_many(&rustix::io::Errno::MFILE.into()) && are_too_many(&rustix::io::Errno::NFILE.into()));
        assert!(!are_too_many(&rustix::io::Errno::IO.into()));
    }
}
