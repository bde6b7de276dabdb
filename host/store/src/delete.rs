//! Deletion by matcher and range.
//!
//! Invariant: what was in the store when [`Store::delete`] was called, and is deleted, is in no read that begins after it
//! returned, whatever happens to the process; what comes later stays, and is judged by what is left. The bytes go with the
//! next [`Store::compact`].
//! Not here: deletion by age or size (`expire`); exemplars and metadata, which are no samples.

use std::io;

use belfry_model::read::ReadError;
use belfry_model::{Matcher, TimeRange};

use crate::block::{Block, GONE, Gone, UNFINISHED, file_name};
use crate::index::resolve;
use crate::store::{Shared, Store};

/// What a deletion met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Blocks of which something was deleted.
    pub blocks: u64,
    /// Series of them; one that is in two blocks counts twice.
    pub series: u64,
}

/// Why something was not deleted. What could be deleted is.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The disk refuses: try again when [`Store::health`] is well.
    #[error("the deletion cannot be written down: {0}")]
    Io(#[from] io::Error),
    /// A block is damaged, or cannot be opened: nobody can say what it holds. It is left out of answers; should a later
    /// start be able to read it, what was to be deleted is in them again.
    #[error("a part could not be looked at: {0}")]
    Damaged(ReadError),
}

impl Store {
    /// Deletes the samples within `range` of the series that satisfy all `matchers`. The head is written to a block
    /// first: call it from a thread that may block.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<Deleted, DeleteError> {
        self.flush()?;
        let shared = &*self.shared;
        let _changes = shared.block_work.changes.lock();
        // What would come back with the next start is not deleted.
        shared.clear_unwanted()?;
        shared.clear_log()?;
        let outcome = shared.delete_from_blocks(matchers, range);
        // Also when only a part could be deleted.
        shared.state.write().head.forget_newest(matchers, range);
        outcome
    }
}

/// Notes what of a block is deleted; yields of how many series.
fn mark(block: &Block, matchers: &[Matcher], range: TimeRange, gone: &mut Gone) -> Result<u64, ReadError> {
    let (start, last) = (range.start().0, range.end().0 - 1);
    let mut series = 0;
    for i in resolve(block, matchers)? {
        // Only as far as its samples go: what comes later to the same series is another block's.
        let chunks = block.series(i)?.chunks;
        let hit = chunks.iter().filter(|c| c.min <= last && c.max >= start);
        let span = hit.fold(None, |s: Option<(i64, i64)>, c| {
            let (min, max) = (c.min.max(start), c.max.min(last));
            Some(s.map_or((min, max), |s| (s.0.min(min), s.1.max(max))))
        });
        if let Some((first, last)) = span {
            series += u64::from(gone.add(i, first, last));
        }
    }
    Ok(series)
}

impl Shared {
    fn delete_from_blocks(&self, matchers: &[Matcher], range: TimeRange) -> Result<Deleted, DeleteError> {
        let (blocks, lost) = {
            let state = self.state.read();
            let lost = state.lost.iter().find(|l| l.may_overlap(range)).map(|l| ReadError::Damaged(l.to_string()));
            (state.blocks.clone(), lost)
        };
        let (mut done, mut damaged) = (Deleted::default(), lost);
        for b in blocks.iter().filter(|b| b.overlaps(range)) {
            let before = b.gone();
            let mut gone = (*before).clone();
            match mark(b, matchers, range, &mut gone) {
                Ok(0) => {}
                Ok(series) => {
                    let outcome = self.write_gone(b.id(), &gone);
                    self.note("a deletion", &outcome);
                    outcome?;
                    b.set_gone(gone);
                    done.blocks += 1;
                    done.series += series;
                }
                Err(e) => damaged = Some(e),
            }
        }
        damaged.map_or(Ok(done), |e| Err(DeleteError::Damaged(e)))
    }

    /// Writes down what is deleted from a block.
    pub(crate) fn write_gone(&self, block: u64, gone: &Gone) -> io::Result<()> {
        let dir = &self.blocks_dir;
        let unfinished = dir.join(file_name(block, &format!("{GONE}.{UNFINISHED}")));
        let file = self.disk.create(&unfinished)?;
        file.append(&gone.to_bytes())?;
        file.sync()?;
        self.disk.rename(&unfinished, &dir.join(file_name(block, GONE)))?;
        self.disk.sync_dir(dir)
    }
}
