//! Reading the log into the head when the store is opened.
//!
//! Invariant: what was acknowledged and is in no block is in the head afterwards, and nothing twice.
//! Not here: files and checksums (`wal`), how a record looks (`record`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use belfry_model::TimestampMs;

use crate::block::{Block, folder};
use crate::config::{Damage, OpenError, Recovery};
use crate::disk::Disk;
use crate::head::Head;
use crate::head_restore::Restorer;
use crate::lost::{Gaps, Loss};
use crate::record::{self, Entry};
use crate::row_record::{ReadRow, RowReader};
use crate::series::Point;
use crate::wal::{self, Met, ReplayError};

/// Reads the log into the head, leaving out what blocks have. Answers what of it is lost, too.
pub(crate) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    blocks: &[Arc<Block>],
    now: TimestampMs,
    head: &mut Head,
    recovery: &mut Recovery,
) -> Result<(Vec<wal::Segment>, Vec<Loss>), OpenError> {
    let covered = covered(blocks);
    let (ids, groups) = (Numbers::default(), Formed::default());
    let gaps = Gaps::new(blocks.iter().map(|b| b.meta().max).max());
    let mut target = Target { head, restorer: Restorer::new(), ids, groups, gaps, lost: 0 };
    let mut generation_before = 0;
    let mut rows = RowReader::default();
    let replayed = wal::replay(disk, dir, covered, |met| {
        let (generation, bytes) = match met {
            Met::Record(generation, bytes) => (generation, bytes),
            Met::Damage(damage) => {
                target.gaps.damage(damage);
                return Ok(());
            }
        };
        if generation != generation_before {
            target.ids.clear();
            target.groups = Formed::default();
            rows.clear();
            generation_before = generation;
        }
        let outcome = record::read(bytes, &mut rows, |entry| match entry {
            Entry::Series(id, labels) => target.ids.insert(id, target.head.open(&labels).0 as u32),
            Entry::Metadata(m) => drop(target.head.declare(m)),
            Entry::Exemplar(id, e) => {
                if let Some(id) = target.ids.get(id) {
                    target.head.add_exemplar(id, &e);
                }
            }
            Entry::Group(number, of) => target.form_group(number, of),
            Entry::Row(row) => target.row(&row),
            Entry::Float(id, at, value, start) => target.add(id, &Point { at, value, start, histogram: None }),
            Entry::Histogram(id, at, h, start) => {
                target.add(id, &Point { at, value: h.sum, start, histogram: Some(&h) });
            }
        });
        target.gaps.end_record();
        outcome
    });
    let (lost, samples) = (target.lost, target.restorer.finish(target.head));
    let replayed = replayed.map_err(|e| match e {
        ReplayError::Version { file, found } => OpenError::Version { file, found, known: wal::VERSION },
        ReplayError::Io { file, source } => OpenError::Io { file, source },
    })?;
    recovery.samples += samples;
    recovery.segments = replayed.segments.len() as u64;
    recovery.torn_bytes = replayed.torn_bytes;
    recovery.damage.extend(replayed.damage);
    if lost > 0 {
        let what = format!("{lost} samples belong to series or rows whose beginning is in a damaged record");
        recovery.damage.push(Damage { file: dir.to_owned(), offset: 0, what });
    }
    Ok((replayed.segments, target.gaps.finish(now)))
}

/// The last of the log's generations that are in blocks.
pub(crate) fn covered(blocks: &[Arc<Block>]) -> u64 {
    blocks.iter().map(|b| b.meta().wal_generation).max().unwrap_or(0)
}

/// Takes away the blocks of what came late that the log has as well, as the block of the rest was never written. Else both
/// would be counted once the older one is downsampled. Where anything is damaged they stay: twice is better than never.
pub(crate) fn drop_replayed(
    disk: &dyn Disk,
    dir: &Path,
    blocks: &mut Vec<Arc<Block>>,
    (covered, log): (u64, &[wal::Segment]),
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    if !recovery.damage.is_empty() {
        return Ok(());
    }
    // What was cut may have been of that part of the log, where nothing follows.
    let is_whole = |of: u64| recovery.torn_bytes == 0 || log.last().is_some_and(|s| s.generation > of);
    let in_log = |of: u64| of > covered && log.iter().any(|s| s.generation <= of) && is_whole(of);
    let replayed: Vec<_> = blocks.extract_if(.., |b| in_log(b.meta().ahead_of)).collect();
    recovery.blocks -= replayed.len() as u64;
    for b in replayed {
        let removed = folder::remove(disk, dir, b.id(), !b.gone().is_empty());
        removed.map_err(|source| OpenError::Io { file: b.path().to_owned(), source })?;
    }
    Ok(())
}

/// Where the entries go.
struct Target<'a> {
    head: &'a mut Head,
    restorer: Restorer,
    ids: Numbers,
    groups: Formed,
    gaps: Gaps,
    /// Samples whose series or row is not known.
    lost: u64,
}

impl Target<'_> {
    fn add(&mut self, id: u32, p: &Point<'_>) {
        self.gaps.sample(p.at);
        match self.ids.get(id) {
            Some(id) => self.restorer.add(self.head, id, p),
            None => self.lose(1, p.at),
        }
    }

    fn lose(&mut self, samples: u64, at: i64) {
        if samples > 0 {
            self.lost += samples;
            self.gaps.lost_sample(at);
        }
    }

    /// Makes the group again, unless one before had the same series.
    fn form_group(&mut self, number: u32, of: &[u32]) {
        let refs = of.iter().map(|id| Some(self.head.reference(self.ids.get(*id)?))).collect::<Option<Vec<_>>>();
        let formed = refs.and_then(|refs| {
            self.restorer.settle_for(self.head, &refs);
            self.head.restore_group(&refs)
        });
        self.groups.set(number, formed);
    }

    fn row(&mut self, row: &ReadRow<'_>) {
        self.gaps.sample(row.at);
        let Some(values) = row.values else {
            return self.lose(row.ids.len() as u64, row.at);
        };
        if let Some(group) = self.groups.get(row.group)
            && self.restorer.take_row(self.head, group, row.at, values)
        {
            return;
        }
        let samples = row.ids.iter().map(|id| self.ids.get(*id)).zip(values.iter().copied());
        let unknown = self.restorer.add_row(self.head, row.at, samples);
        self.lose(unknown, row.at);
    }
}

/// The head's numbers of the log's groups. A group of the head that is taken apart leaves its number to another one:
/// then it stands for that one only.
#[derive(Default)]
struct Formed {
    of_log: HashMap<u32, u32>,
    /// By the head's number: the log's that it was made for last.
    last: HashMap<u32, u32>,
}

impl Formed {
    fn set(&mut self, of_log: u32, of_head: Option<u32>) {
        match of_head {
            Some(of_head) => {
                self.of_log.insert(of_log, of_head);
                self.last.insert(of_head, of_log);
            }
            None => drop(self.of_log.remove(&of_log)),
        }
    }

    fn get(&self, of_log: u32) -> Option<u32> {
        let of_head = *self.of_log.get(&of_log)?;
        (self.last.get(&of_head) == Some(&of_log)).then_some(of_head)
    }
}

/// The head's numbers of the log's series. The log's are given out one after the other, so nearly all are in a table.
#[derive(Default)]
struct Numbers {
    table: Vec<u32>,
    /// Those far beyond the table: a few numbers, or damage.
    far: HashMap<u32, u32>,
}

impl Numbers {
    /// The table grows to twice its length and this, never further at once.
    const ROOM: usize = 1 << 16;
    const NONE: u32 = u32::MAX;

    fn clear(&mut self) {
        self.table.clear();
        self.far.clear();
    }

    fn insert(&mut self, of_log: u32, of_head: u32) {
        let at = of_log as usize;
        if at >= self.table.len() {
            if at >= self.table.len() * 2 + Self::ROOM {
                self.far.insert(of_log, of_head);
                return;
            }
            self.table.resize(at + 1, Self::NONE);
        }
        if let Some(slot) = self.table.get_mut(at) {
            *slot = of_head;
        }
    }

    fn get(&self, of_log: u32) -> Option<u32> {
        match self.table.get(of_log as usize) {
            Some(n) if *n != Self::NONE => Some(*n),
            _ if self.far.is_empty() => None,
            _ => self.far.get(&of_log).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_near_and_far_and_the_last_one_holds() {
        let mut numbers = Numbers::default();
        for (of_log, of_head) in [(0, 5), (3, 6), (4_000_000_000, 7), (90_000, 8), (60_000, 9), (90_000, 10), (3, 11)] {
            numbers.insert(of_log, of_head);
        }
        let found: Vec<_> = [0, 1, 3, 60_000, 90_000, 4_000_000_000].map(|n| numbers.get(n)).into();
        assert_eq!(found, [Some(5), None, Some(11), Some(9), Some(10), Some(7)]);
        numbers.clear();
        assert_eq!(numbers.get(0), None);
    }
}
