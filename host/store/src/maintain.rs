//! Keeping memory and disk bounded: the head becomes blocks, small blocks become larger ones, old ones go.
//!
//! Invariant: at every moment a sample is in the log, in a block, or in both; a log generation is deleted only once a
//! durable block has all of it.
//! Not here: a clock or a loop (the driver calls [`Store::maintain`] every few seconds), the form of a block.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use belfry_model::{SampleBuf, TimeRange, TimestampMs};

use crate::append::introduce;
use crate::block::{Block, BlockMeta, BlockSeries, BlockWriter};
use crate::frozen::Frozen;
use crate::head::HEAD_BYTES_MAX;
use crate::series::merge;
use crate::store::{Shared, State, Store};

/// So many blocks of one level are merged into one of the next.
pub const MERGE_BLOCKS: usize = 4;
/// Blocks of this level are not merged further: with the default span they hold 32 hours, so that retention takes
/// away little that is younger than it must be.
pub const LEVEL_MAX: u32 = 3;

/// What one call leaves to the next.
pub(crate) struct Pending {
    /// Work that could not be finished: the log's generations up to this one are frozen and not in a block yet.
    frozen: Option<u64>,
    /// When the head was last frozen, or the store opened. Not judged by the samples: one old sample would make every
    /// round write a block.
    last_flush: TimestampMs,
    last_forget: TimestampMs,
}

impl Pending {
    /// Of a store that is opened at `now`.
    pub fn new(now: TimestampMs) -> Self {
        Self { frozen: None, last_flush: now, last_forget: now }
    }
}

/// What a call of [`Store::maintain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The head was written to a block.
    pub flushed: bool,
    /// Blocks were merged so many times.
    pub merges: u64,
    /// Blocks that retention deleted.
    pub expired: u64,
    /// Series that were forgotten because nothing came for them.
    pub forgotten: u64,
}

impl Store {
    /// One round of upkeep at `now`: call it every few seconds from a thread that may block. It does little when
    /// nothing is due. After an error (a full disk) the store goes on, [`Store::health`] says so, and the next call
    /// tries again.
    pub fn maintain(&self, now: TimestampMs) -> io::Result<Maintained> {
        let shared = &*self.shared;
        let mut pending = shared.maintenance.lock();
        // A driver that syncs more often has left nothing to do. A failure is in the health, and a block makes up for it.
        if let Err(e) = self.sync() {
            tracing::warn!("sync failed, the head is written to a block: {e}");
        }
        // Expiry first: it makes room for what follows.
        let mut done = Maintained { expired: shared.expire(now)?, ..Maintained::default() };
        let outcome = shared.flush_if_due(&mut pending, Some(now)).and_then(|flushed| {
            done.flushed = flushed;
            while shared.merge_once()? {
                done.merges += 1;
            }
            Ok(())
        });
        shared.note("a block", &outcome);
        outcome?;
        if shared.is_over(&mut pending.last_forget, now) {
            pending.last_forget = now;
            done.forgotten = shared.forget(now);
        }
        Ok(done)
    }

    /// Writes everything in the head to a block now, whatever its age.
    pub fn flush(&self) -> io::Result<()> {
        let mut pending = self.shared.maintenance.lock();
        let outcome = self.shared.flush_if_due(&mut pending, None).map(|_| ());
        self.shared.note("a block", &outcome);
        outcome
    }
}

impl Shared {
    /// Has a block's span passed since `last`? A clock that was put back starts the span anew.
    fn is_over(&self, last: &mut TimestampMs, now: TimestampMs) -> bool {
        *last = (*last).min(now);
        now.since(*last) >= self.config.block_span
    }

    /// Without a `now` the head is written whatever its age.
    fn flush_if_due(&self, pending: &mut Pending, now: Option<TimestampMs>) -> io::Result<bool> {
        let mut flushed = false;
        if pending.frozen.is_some() {
            self.write_frozen(pending)?;
            flushed = true;
        }
        let old = now.is_none_or(|now| self.is_over(&mut pending.last_flush, now));
        let large = {
            let commit = self.commit.lock();
            let wal_bytes = commit.wal.as_ref().map_or(0, |w| w.bytes());
            commit.flush_soon || wal_bytes >= self.config.wal_bytes_max
        };
        let large = large || self.state.read().head.live_bytes() >= HEAD_BYTES_MAX;
        if (old || large) && self.state.read().head.has_live_samples() {
            self.freeze(pending)?;
            pending.last_flush = now.unwrap_or(pending.last_flush);
            self.write_frozen(pending)?;
            flushed = true;
        }
        Ok(flushed)
    }

    /// Sets the head aside and begins a new generation of the log with what only the log knows.
    fn freeze(&self, pending: &mut Pending) -> io::Result<()> {
        let mut commit = self.commit.lock();
        let old = commit.generation;
        commit.generation = match &mut commit.wal {
            Some(wal) => wal.begin_generation()?,
            None => old + 1,
        };
        commit.flush_soon = false;
        let mut state = self.state.write();
        state.head.freeze();
        pending.frozen = Some(old);
        state.head.take_new_metadata();
        for m in state.head.metadata().values() {
            commit.builder.metadata(m);
        }
        for id in state.head.with_exemplars() {
            introduce(&mut state, &mut commit, id);
            state.head.exemplars(id).iter().for_each(|e| commit.builder.exemplar(id, e));
        }
        drop(state);
        commit.end_record();
        commit.write()
    }

    /// Writes what was set aside to a block, then deletes its part of the log.
    fn write_frozen(&self, pending: &mut Pending) -> io::Result<()> {
        let Some(generation) = pending.frozen else { return Ok(()) };
        // The new generation's first record (metadata, exemplars) must be on the disk before the old ones go.
        self.commit.lock().write()?;
        let frozen = self.frozen_in_order();
        let mut block = None;
        if let Some(frozen) = frozen.filter(|f| !f.is_empty()) {
            let mut writer = self.begin_block()?;
            let outcome = frozen.try_for_each(|labels, samples| writer.add(labels, samples));
            block = Some(finish(writer, outcome, BlockMeta { wal_generation: generation, ..BlockMeta::default() })?);
        }
        let released = {
            let mut state = self.state.write();
            state.blocks.extend(block.map(Arc::new));
            state.release()
        };
        // Much to free, and nobody has to wait for it.
        drop(released);
        pending.frozen = None;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        let mut commit = self.commit.lock();
        let removed = commit.wal.as_mut().map_or(Ok(()), |wal| wal.remove_before(generation + 1));
        self.note_wal(&commit);
        removed
    }

    /// Merges the first run of [`MERGE_BLOCKS`] neighbours of one level.
    fn merge_once(&self) -> io::Result<bool> {
        let blocks = self.state.read().blocks.clone();
        let same_level = |w: &&[Arc<Block>]| {
            w[0].meta().level < LEVEL_MAX && w.iter().all(|b| b.meta().level == w[0].meta().level && b.is_readable())
        };
        let Some(parts) = blocks.windows(MERGE_BLOCKS).find(same_level) else { return Ok(false) };
        let mut writer = self.begin_block()?;
        let outcome = merge_blocks(parts, &mut writer);
        let meta = BlockMeta {
            level: parts[0].meta().level + 1,
            wal_generation: parts.iter().map(|b| b.meta().wal_generation).max().unwrap_or(0),
            replaces: parts.iter().map(|b| b.id()).collect(),
            ..BlockMeta::default()
        };
        let merged = Arc::new(finish(writer, outcome, meta)?);
        {
            let mut state = self.state.write();
            let first = state.blocks.iter().position(|b| b.id() == parts[0].id()).unwrap_or(0);
            state.blocks.retain(|b| !merged.meta().replaces.contains(&b.id()));
            state.blocks.insert(first, merged);
            state.blocks_changed();
        }
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.remove(parts)?;
        Ok(true)
    }

    /// Deletes blocks that are older than the retention, then the oldest while everything is too large.
    fn expire(&self, now: TimestampMs) -> io::Result<u64> {
        let wal_bytes = self.commit.lock().wal.as_ref().map_or(0, |w| w.bytes());
        let mut gone = Vec::new();
        {
            let state = self.state.read();
            let mut by_age: Vec<&Arc<Block>> = state.blocks.iter().collect();
            by_age.sort_by_key(|b| b.meta().max);
            let mut bytes = wal_bytes + by_age.iter().map(|b| b.bytes()).sum::<u64>();
            let oldest = self.config.retention.map_or(i64::MIN, |r| now.minus(r).0);
            for b in by_age {
                if b.meta().max < oldest || self.config.retention_bytes.is_some_and(|max| bytes > max) {
                    bytes -= b.bytes();
                    gone.push(b.clone());
                }
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        {
            let mut state = self.state.write();
            state.blocks.retain(|b| !gone.iter().any(|g| g.id() == b.id()));
            state.blocks_changed();
        }
        self.counters.blocks_expired.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.remove(&gone)?;
        Ok(gone.len() as u64)
    }

    fn forget(&self, now: TimestampMs) -> u64 {
        let idle_ms = self.config.block_span.as_millis() as i64 * 2;
        let _commit = self.commit.lock();
        let mut state = self.state.write();
        state.head.drop_exemplars(now.0.saturating_sub(idle_ms));
        let forgotten = state.head.forget_idle(now.0, idle_ms) as u64;
        self.counters.series_forgotten.fetch_add(forgotten, Ordering::Relaxed);
        forgotten
    }

    fn begin_block(&self) -> io::Result<BlockWriter> {
        let id = self.next_block.fetch_add(1, Ordering::Relaxed);
        BlockWriter::create(self.disk.clone(), &self.blocks_dir, id)
    }

    fn remove(&self, blocks: &[Arc<Block>]) -> io::Result<()> {
        for b in blocks {
            self.disk.remove(b.path())?;
        }
        self.disk.sync_dir(&self.blocks_dir)
    }
}

impl State {
    fn release(&mut self) -> Option<Arc<Frozen>> {
        let frozen = self.head.release_frozen();
        self.blocks_changed();
        frozen
    }

    fn blocks_changed(&mut self) {
        self.head.set_blocks(&self.blocks);
    }
}

fn finish(writer: BlockWriter, outcome: io::Result<()>, meta: BlockMeta) -> io::Result<Block> {
    match outcome {
        Ok(()) => writer.finish(meta),
        Err(e) => {
            // The cause matters more than a file that the next start removes anyway.
            let _ = writer.abort();
            Err(e)
        }
    }
}

/// Walks the series of all parts side by side, in order of labels.
fn merge_blocks(parts: &[Arc<Block>], writer: &mut BlockWriter) -> io::Result<()> {
    let mut next = vec![0u32; parts.len()];
    let read = |k: usize, i: u32| -> io::Result<Option<BlockSeries>> {
        if i < parts[k].len() { parts[k].series(i).map(Some).map_err(io::Error::other) } else { Ok(None) }
    };
    let mut heads = (0..parts.len()).map(|k| read(k, 0)).collect::<io::Result<Vec<_>>>()?;
    while let Some(labels) = heads.iter().flatten().map(|s| &s.labels).min().cloned() {
        let mut decoded = Vec::new();
        for (k, head) in heads.iter_mut().enumerate() {
            if head.as_ref().is_none_or(|s| s.labels != labels) {
                continue;
            }
            let mut buf = SampleBuf::default();
            for c in head.iter().flat_map(|s| &s.chunks) {
                parts[k].decode(c, TimeRange::ALL, &mut buf).map_err(io::Error::other)?;
            }
            decoded.push(buf);
            next[k] += 1;
            *head = read(k, next[k])?;
        }
        let mut merged = SampleBuf::default();
        merge(&decoded, &mut merged);
        writer.add(&labels, &merged)?;
    }
    Ok(())
}
