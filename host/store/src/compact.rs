//! Small blocks become larger ones, old ones become coarser, and what was deleted leaves the disk.
//!
//! Invariant: at every moment a sample that is not deleted is in exactly one of the blocks that reads see; a merged block
//! is durable before its parts go. Nothing here holds a lock that appends or reads wait for, but to put one list of
//! blocks in the place of another.
//! Not here: which blocks are merged (`plan`), the head (`maintain`), a clock, a loop.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use belfry_model::read::ReadError;
use belfry_model::{SampleBuf, TimeRange, TimestampMs};
use parking_lot::Mutex;

use crate::block::{Block, BlockMeta, BlockSeries, BlockWriter, Carried, Gone, Lost, Sealed, Walk, folder};
use crate::config::{Damage, Recovery};
use crate::downsample::{Want, downsample, merge_coarse};
use crate::heap;
use crate::lost::Losses;
use crate::plan::Plan;
use crate::read::and_more;
use crate::series::merge;
use crate::store::{MERGE, Shared, State, Store};
use crate::values::Effort;
use crate::wal::Wal;

/// An index that nobody asked for in this time is given back.
const INDEX_REST_MS: i64 = 60_000;

/// What the work on blocks shares.
#[derive(Default)]
pub(crate) struct BlockWork {
    /// Held while blocks are merged: one merge at a time.
    compaction: Mutex<()>,
    /// Held while a block of an import is written: one at a time, so that the next one finds what this one wrote.
    pub imports: Mutex<()>,
    /// Held while the list of blocks, or what was deleted from one, changes on the disk.
    pub changes: Mutex<()>,
    /// When indexes were last given back.
    rested: Mutex<Option<TimestampMs>>,
    /// What opening found damaged, and is still there.
    damage: Mutex<Vec<Damage>>,
    /// Blocks whose files may still be there, or be there again after a power loss, though no list has them: their
    /// numbers, and whether notes of deletions go with them. A start would take them up as they are.
    unwanted: Mutex<Vec<(u64, bool)>>,
    /// A merge that runs ends where it is.
    stopping: AtomicBool,
    /// What the last upkeep said the time was; by that blocks are judged old. 0 before the first one: none is.
    pub now: AtomicI64,
}

impl BlockWork {
    /// Of a store whose opening found this.
    pub fn new(found: &Recovery, lost_log: &Losses) -> Self {
        let is_told = |d: &&Damage| !lost_log.tells_of(&d.file);
        Self { damage: Mutex::new(found.damage.iter().filter(is_told).cloned().collect()), ..Self::default() }
    }

    /// With a block goes the damage that opening found in it, and in what was deleted from it.
    fn forget(&self, block: &Path) {
        let stem = |file: &Path| file.with_extension("").with_extension("");
        self.damage.lock().retain(|d| stem(&d.file) != stem(block));
    }
}

impl Store {
    /// Merges blocks as long as there are some to merge; yields how many merges that were. May take minutes: call it
    /// from a thread of its own. Appends, reads and [`Store::upkeep`] go on meanwhile; a second call returns at once.
    pub fn compact(&self) -> io::Result<u64> {
        let shared = &*self.shared;
        let Some(_alone) = shared.block_work.compaction.try_lock() else { return Ok(0) };
        let mut merges = 0;
        let outcome: io::Result<()> = (|| {
            while !shared.block_work.stopping.load(Ordering::Relaxed)
                && let Some(plan) = shared.plan()
            {
                // A deletion came in between: what it means for the parts is planned anew.
                let coarser = plan.is_downsampling();
                let outcome = shared.merge(&plan);
                if coarser {
                    let c = &shared.counters;
                    match &outcome {
                        Ok(done) => c.downsampled.fetch_add(u64::from(*done), Ordering::Relaxed),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
                        Err(_) => c.downsample_failed.fetch_add(1, Ordering::Relaxed),
                    };
                }
                merges += u64::from(outcome?);
                let bytes = plan.parts.iter().map(|b| b.bytes()).sum();
                // With the last of it go the parts and their indexes.
                drop(plan);
                heap::give_back_after(bytes);
            }
            Ok(())
        })();
        if outcome.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::Interrupted) {
            return Ok(merges);
        }
        shared.note(MERGE, &outcome);
        outcome.map(|()| merges)
    }

    /// Ends a [`Store::compact`] that runs, and every later one, soon: the process is to end. Nothing is lost, the next
    /// start merges what was not merged.
    pub fn stop_compaction(&self) {
        self.shared.block_work.stopping.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// How many blocks there are at each resolution, in milliseconds; 0 for those that have every sample.
    pub(crate) fn resolutions(&self) -> BTreeMap<i64, u64> {
        let mut counts = BTreeMap::new();
        for b in &self.state.read().blocks {
            *counts.entry(b.meta().resolution).or_default() += 1;
        }
        counts
    }

    /// `false` when something was deleted or found damaged meanwhile, and the work was for nothing.
    fn merge(&self, plan: &Plan) -> io::Result<bool> {
        let parts = &plan.parts;
        let gone: Vec<Arc<Gone>> = parts.iter().map(|b| b.gone()).collect();
        let mut writer = self.begin_coarse_block(Effort::Small, plan.resolution)?;
        let outcome = merge_blocks(plan, &mut writer, &self.block_work.stopping);
        if outcome.is_err() && parts.iter().any(|b| b.noticed().is_some()) {
            writer.abort()?;
            return Ok(false);
        }
        let all = |of: fn(&Block) -> u64| parts.iter().map(move |b| of(b));
        let meta = BlockMeta {
            level: plan.level,
            wal_generation: all(|b| b.meta().wal_generation).max().unwrap_or(0),
            rank: all(|b| b.meta().rank).min().unwrap_or(0),
            replaces: all(Block::id).collect(),
            ..BlockMeta::default()
        };
        let sealed = self.seal(writer, outcome, meta)?;
        let _changes = self.block_work.changes.lock();
        let here = |b: &Arc<Block>| self.state.read().blocks.iter().any(|o| o.id() == b.id());
        let unchanged = parts.iter().zip(&gone).all(|(b, g)| *b.gone() == **g && here(b));
        if !unchanged {
            if let Some(sealed) = sealed {
                sealed.discard()?;
            }
            return Ok(false);
        }
        let merged = sealed.map(|sealed| self.publish(sealed, false)).transpose()?;
        {
            let mut state = self.state.write();
            state.blocks.retain(|b| !parts.iter().any(|p| p.id() == b.id()));
            state.add_block(merged);
        }
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.remove(parts)?;
        Ok(true)
    }

    pub(crate) fn begin_block(&self, effort: Effort) -> io::Result<BlockWriter> {
        self.begin_coarse_block(effort, 0)
    }

    fn begin_coarse_block(&self, effort: Effort, resolution: i64) -> io::Result<BlockWriter> {
        let id = self.next_block.fetch_add(1, Ordering::Relaxed);
        BlockWriter::create(self.disk.clone(), &self.blocks_dir, id, effort, resolution)
    }

    /// Makes a block durable, under its first name; nothing where it would be empty or the work failed. It replaces blocks
    /// whose files should be gone, too: one that comes back with a start would be counted beside it.
    pub(crate) fn seal(
        &self,
        writer: BlockWriter,
        outcome: io::Result<()>,
        mut meta: BlockMeta,
    ) -> io::Result<Option<Sealed>> {
        meta.replaces.extend(self.block_work.unwanted.lock().iter().map(|(id, _)| id));
        match outcome {
            Ok(()) if writer.is_empty() => writer.abort().map(|()| None),
            Ok(()) => writer.seal(meta).map(Some),
            Err(e) => {
                // The cause matters more than a file that the next start removes anyway.
                let _ = writer.abort();
                Err(e)
            }
        }
    }

    /// Gives a block its name. Where that fails it is as if it had never been written, and notes of what is to be left out
    /// of it, if it `has_notes`, neither.
    pub(crate) fn publish(&self, sealed: Sealed, has_notes: bool) -> io::Result<Arc<Block>> {
        let id = sealed.id();
        let outcome = sealed.publish();
        if outcome.is_err() {
            self.block_work.unwanted.lock().push((id, has_notes));
            // Else the next upkeep does it; until then no deletion is acknowledged.
            let _ = self.clear_unwanted();
        }
        outcome.map(Arc::new)
    }

    /// Deletes the files of blocks that no new read sees any more.
    pub(crate) fn remove(&self, blocks: &[Arc<Block>]) -> io::Result<()> {
        let has_notes = |b: &Block| !b.gone().is_empty() || b.lost_deletions().is_some();
        self.block_work.unwanted.lock().extend(blocks.iter().map(|b| (b.id(), has_notes(b))));
        blocks.iter().for_each(|b| self.block_work.forget(b.path()));
        self.clear_unwanted()
    }

    /// Deletes what is in no list, if something is, and makes that durable.
    pub(crate) fn clear_unwanted(&self) -> io::Result<()> {
        let mut unwanted = self.block_work.unwanted.lock();
        if unwanted.is_empty() {
            return Ok(());
        }
        for (id, has_notes) in unwanted.iter() {
            folder::remove(&*self.disk, &self.blocks_dir, *id, *has_notes)?;
        }
        self.disk.sync_dir(&self.blocks_dir)?;
        unwanted.clear();
        Ok(())
    }

    /// Deletes what of the log is in blocks and is still there, if something is, and makes that durable.
    pub(crate) fn clear_log(&self) -> io::Result<()> {
        let mut commit = self.commit.lock();
        let outcome = commit.wal.as_mut().map_or(Ok(()), Wal::remove_covered);
        self.note_wal(&commit);
        outcome
    }

    /// Writes down what was lost of the log, unless the note says all of it. With `maintenance` held, or before anybody
    /// else has the store.
    pub(crate) fn save_lost_log(&self) -> io::Result<()> {
        let lost = self.state.read().lost_log.clone();
        if lost.is_saved() {
            return Ok(());
        }
        lost.save(&*self.disk)?;
        self.state.write().lost_log.note_saved();
        Ok(())
    }

    /// [`Shared::remove`] for blocks that could not be opened.
    pub(crate) fn remove_lost(&self, lost: &[Lost]) -> io::Result<()> {
        self.block_work.unwanted.lock().extend(lost.iter().map(|l| (l.id, true)));
        lost.iter().for_each(|l| self.block_work.forget(&l.path));
        self.clear_unwanted()
    }

    /// The first damage that was found, on opening or since, and how much more there is.
    pub(crate) fn damage(&self) -> Option<String> {
        let (mut first, mut places) = {
            let found = self.block_work.damage.lock();
            (found.first().map(ToString::to_string), found.len())
        };
        let state = self.state.read();
        places += state.lost_log.places();
        first = first.or_else(|| state.lost_log.first());
        for b in &state.blocks {
            places += b.damaged_parts();
            first = first.or_else(|| b.noticed().map(str::to_owned));
        }
        Some(and_more(first?, places.saturating_sub(1)))
    }

    /// Gives back the memory of indexes that nobody needs.
    pub(crate) fn rest(&self, now: TimestampMs) {
        let mut rested = self.block_work.rested.lock();
        let last = rested.get_or_insert(now);
        // A clock that was put back starts anew.
        *last = (*last).min(now);
        let blocks = self.state.read().blocks.clone();
        if now.0.saturating_sub(last.0) < INDEX_REST_MS {
            return;
        }
        *last = now;
        blocks.iter().for_each(|b| b.rest());
    }
}

impl State {
    /// Puts a block where its rank has it.
    pub(crate) fn add_block(&mut self, block: Option<Arc<Block>>) {
        block.iter().for_each(|b| b.share(&self.room));
        self.blocks.extend(block);
        self.blocks.sort_by_key(|b| (b.meta().rank, b.id()));
        self.head.set_blocks(&self.blocks);
    }
}

/// Walks the series of all parts side by side, in order of labels.
fn merge_blocks(plan: &Plan, writer: &mut BlockWriter, stopping: &AtomicBool) -> io::Result<()> {
    let parts = &plan.parts;
    let mut walks = parts.iter().map(|b| b.walk()).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let heads = walks.iter_mut().map(Walk::next).collect::<Result<Vec<_>, _>>();
    let mut heads = heads.map_err(io::Error::other)?;
    let (mut merged, mut coarse) = (SampleBuf::default(), SampleBuf::default());
    while let Some(labels) = heads.iter().flatten().map(|s| &s.labels).min().cloned() {
        if stopping.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut found: Vec<(usize, BlockSeries)> = Vec::new();
        for (k, (head, walk)) in heads.iter_mut().zip(&mut walks).enumerate() {
            if let Some(series) = head.take_if(|s| s.labels == labels) {
                found.push((k, series));
                *head = walk.next().map_err(io::Error::other)?;
            }
        }
        if !plan.is_downsampling()
            && let Some(chunks) = to_carry(parts, &found).map_err(io::Error::other)?
        {
            writer.carry(&labels, &chunks)?;
            continue;
        }
        merged.clear();
        add_up(parts, &found, &mut merged)?;
        if plan.resolution > 0 {
            coarse.clear();
            downsample(&labels, &merged, plan.resolution, &mut coarse);
            writer.add(&labels, &coarse)?;
        } else {
            writer.add(&labels, &merged)?;
        }
    }
    Ok(())
}

/// The parts of a series in order of time.
fn in_time(found: &[(usize, BlockSeries)]) -> Vec<&(usize, BlockSeries)> {
    let mut all: Vec<_> = found.iter().collect();
    all.sort_by_key(|(_, s)| s.chunks.first().map(|c| c.min));
    all
}

/// Does each part end before the next one begins?
fn are_apart(in_time: &[&(usize, BlockSeries)]) -> bool {
    let end = |s: &BlockSeries| s.chunks.last().map(|c| c.max);
    in_time.windows(2).all(|w| end(&w[0].1) < w[1].1.chunks.first().map(|c| c.min))
}

/// The chunks of a series, where all of them are good enough to be taken over as they are: decoding and encoding them
/// once for each level would cost ten times as much.
fn to_carry(parts: &[Arc<Block>], found: &[(usize, BlockSeries)]) -> Result<Option<Vec<Carried>>, ReadError> {
    let in_time = in_time(found);
    if !are_apart(&in_time) {
        return Ok(None);
    }
    let mut chunks = Vec::new();
    for (k, series) in in_time {
        for c in &series.chunks {
            match parts[*k].to_carry(c)? {
                Some(chunk) => chunks.push(chunk),
                None => return Ok(None),
            }
        }
    }
    Ok((!chunks.is_empty()).then_some(chunks))
}

/// The samples of one series of all parts that have it.
fn add_up(parts: &[Arc<Block>], found: &[(usize, BlockSeries)], into: &mut SampleBuf) -> io::Result<()> {
    let decode = |k: usize, series: &BlockSeries, into: &mut SampleBuf| {
        let mut chunks = series.chunks.iter();
        chunks.try_for_each(|c| parts[k].decode_for(Want::All, c, TimeRange::ALL, into)).map_err(io::Error::other)
    };
    let in_time = in_time(found);
    if are_apart(&in_time) {
        return in_time.into_iter().try_for_each(|(k, s)| decode(*k, s, into));
    }
    let mut decoded = Vec::with_capacity(found.len());
    for (k, series) in found {
        let mut buf = SampleBuf::default();
        decode(*k, series, &mut buf)?;
        decoded.push(buf);
    }
    match decoded.iter().all(|b| b.coarse.rows.is_empty()) {
        true => merge(&decoded, into),
        false => merge_coarse(&decoded, into),
    }
    Ok(())
}
