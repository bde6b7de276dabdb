//! The folder of blocks as a new start finds it.
//!
//! Invariant: afterwards there is no half-written block, no block that another one replaced, and no note of deletions
//! without its block.
//! Not here: the write-ahead log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Block, BlockError, EXTENSION, GONE, UNFINISHED, VERSION, file_name, parse_name};
use crate::config::{Damage, OpenError, Recovery};
use crate::disk::Disk;

/// Opens the blocks, in the order of their ranks, and clears away what a crash left; yields the next free number too.
pub fn open_all(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) -> Result<(Vec<Arc<Block>>, u64), OpenError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { file, source }
    };
    let names = disk.list(dir).map_err(failed(dir))?;
    let mut next = 1;
    let mut blocks = Vec::new();
    for name in &names {
        let path = dir.join(name);
        let Some(id) = parse_name(name) else {
            let block_is_gone = name.strip_suffix(GONE).is_some_and(|n| !names.contains(&format!("{n}{EXTENSION}")));
            if name.ends_with(UNFINISHED) || block_is_gone {
                disk.remove(&path).map_err(failed(&path))?;
            }
            continue;
        };
        next = next.max(id + 1);
        match Block::open(disk, &path, id) {
            Ok(b) => blocks.push(Arc::new(b)),
            Err(BlockError::Version(found)) => {
                return Err(OpenError::Version { file: path, found, known: VERSION });
            }
            // One bad sector must not keep the rest from being read.
            Err(e @ (BlockError::Damaged(_) | BlockError::Io(_))) => {
                recovery.damage.push(Damage { file: path, offset: 0, what: e.to_string() });
            }
        }
    }
    // A crash between the birth of a merged block and the end of its parts leaves both.
    let replaced: Vec<u64> = blocks.iter().flat_map(|b| b.meta().replaces.clone()).collect();
    let (over, mut blocks): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|b| replaced.contains(&b.id()));
    for b in over {
        remove(disk, dir, &b).map_err(failed(b.path()))?;
    }
    blocks.sort_by_key(|b| (b.meta().rank, b.id()));
    recovery.blocks = blocks.len() as u64;
    Ok((blocks, next))
}

/// Removes a block, then the note of what was deleted from it: the other way round a crash in between would bring that
/// back.
pub fn remove(disk: &dyn Disk, dir: &Path, block: &Block) -> io::Result<()> {
    let file = |extension| dir.join(file_name(block.id(), extension));
    absent(disk.remove(&file(EXTENSION)))?;
    if !block.gone().is_empty() {
        disk.sync_dir(dir)?;
        absent(disk.remove(&file(GONE)))?;
    }
    Ok(())
}

/// That it is not there is what was wanted.
fn absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
