//! Keeping memory and disk bounded: the head becomes blocks, old blocks go.
//!
//! Invariant: at every moment a sample is in the log, in a block, or in both; a log generation is deleted only once a
//! durable block has all of it.
//! Not here: a clock or a loop (the driver calls [`Store::upkeep`] every few seconds), which blocks are too old
//! (`expire`), merging blocks (`compact`), the form of a block.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::{SampleBuf, TimestampMs};

use crate::append::introduce;
use crate::block::{BlockMeta, Sealed};
use crate::config::FsyncPolicy;
use crate::frozen::InOrder;
use crate::head::{HEAD_BYTES_MAX, UNUSED_ROUNDS_CROWDED, UNUSED_ROUNDS_MAX};
use crate::heap;
use crate::series::append;
use crate::store::{LOST_NOTE, Shared, Store, UNWANTED, is_full};
use crate::values::Effort;
use crate::wal::Wal;

/// What one call leaves to the next.
pub(crate) struct Pending {
    /// Work that could not be finished: the log's generations up to this one are frozen and not in a block yet.
    frozen: Option<u64>,
    /// When the head was last frozen, or the store opened. Not judged by the samples: one old sample would make every
    /// round write a block.
    last_flush: TimestampMs,
    /// Bytes of log behind the last block: metadata and exemplars that only the log has. Another block would not spare
    /// them, so they do not make one due.
    carried: u64,
    last_forget: TimestampMs,
    /// When places for series were last short.
    last_crowded: TimestampMs,
    /// Imports that had failed by the last round.
    imports_failed: u64,
}

impl Pending {
    /// Of a store that is opened at `now`.
    pub fn new(now: TimestampMs) -> Self {
        Self {
            frozen: None,
            last_flush: now,
            carried: 0,
            last_forget: now,
            last_crowded: TimestampMs::MIN,
            imports_failed: 0,
        }
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

/// Where places for series are short, one without a sample for so long gives up its own: no query at an instant sees it
/// any more.
const IDLE_CROWDED: Duration = Duration::from_secs(5 * 60);
/// And places are looked for at most this often: each time a block is written.
const CROWDED_EVERY: Duration = Duration::from_secs(60);
/// They are short when less than this part is free, and worth a block when series that ended take as much.
const CROWDED_PART: u64 = 10;

/// Where blocks cannot be written, so many times what one is written of may wait. More is refused.
const WAITING_MAX: u64 = 4;

/// Samples that are older than the newest by more than blocks of this level span get a block of their own: half a day.
const LATE_LEVEL: usize = 2;

impl Store {
    /// One round of upkeep at `now`: call it every few seconds from a thread that may block. It does little when
    /// nothing is due. After an error (a full disk) the store goes on, [`Store::health`] says so, and the next call
    /// tries again. Merging blocks is left to [`Store::compact`].
    pub fn upkeep(&self, now: TimestampMs) -> io::Result<Maintained> {
        self.upkeep_judging(now, now)
    }

    /// [`Store::upkeep`], where `now` may be wrong: what is too old, or old enough to be downsampled, is judged by
    /// `judged`, which what is deleted depends on.
    pub fn upkeep_judging(&self, now: TimestampMs, judged: TimestampMs) -> io::Result<Maintained> {
        let shared = &*self.shared;
        shared.block_work.now.store(judged.0, Ordering::Relaxed);
        let mut pending = shared.maintenance.lock();
        // A driver that syncs more often has left nothing to do. A failure is in the health, and a block makes up for it.
        if let Err(e) = self.sync() {
            tracing::warn!("sync failed, the head is written to a block: {e}");
        }
        // A file that cannot be deleted must not keep the head from becoming a block.
        shared.note(UNWANTED, &shared.clear_unwanted().and_then(|()| shared.clear_log()));
        // Expiry first: it makes room for what follows.
        let mut done = Maintained { expired: shared.expire(judged), ..Maintained::default() };
        shared.note(LOST_NOTE, &shared.save_lost_log());
        done.flushed = shared.flush_noting(&mut pending, Some(now))?;
        if shared.is_over(&mut pending.last_forget, now) {
            pending.last_forget = now;
            done.forgotten = shared.forget(judged, shared.config.block_span * 2, UNUSED_ROUNDS_MAX);
        }
        if shared.is_crowded(&mut pending.last_crowded, now) {
            done.flushed |= shared.flush_noting(&mut pending, None)?;
            done.forgotten += shared.forget(now, IDLE_CROWDED, UNUSED_ROUNDS_CROWDED);
        }
        shared.rest(now);
        pending.imports_failed = shared.settle_imports(pending.imports_failed);
        let freed = shared.state.read().head.freed_bytes;
        if freed > 0 {
            shared.state.write().head.freed_bytes = 0;
            heap::give_back_after(freed as u64);
        }
        Ok(done)
    }

    /// [`Store::upkeep`], then [`Store::compact`]: for those who have one thread for both.
    pub fn maintain(&self, now: TimestampMs) -> io::Result<Maintained> {
        let done = self.upkeep(now)?;
        Ok(Maintained { merges: self.compact()?, ..done })
    }

    /// Writes everything in the head to a block now, whatever its age.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.flush_noting(&mut self.shared.maintenance.lock(), None).map(|_| ())
    }
}

impl Shared {
    /// Has a block's span passed since `last`? A clock that was put back starts the span anew.
    fn is_over(&self, last: &mut TimestampMs, now: TimestampMs) -> bool {
        *last = (*last).min(now);
        now.since(*last) >= self.config.block_span
    }

    /// [`Shared::flush_if_due`], and how it went is known to the health and to whoever appends.
    fn flush_noting(&self, pending: &mut Pending, now: Option<TimestampMs>) -> io::Result<bool> {
        let mut flushed = false;
        let outcome = self.flush_if_due(pending, now).map(|f| flushed = f);
        let is_full = outcome.is_err() && {
            let wal_bytes = self.commit.lock().wal.as_ref().map_or(0, Wal::waiting_bytes);
            wal_bytes >= self.config.wal_bytes_bound().saturating_mul(WAITING_MAX)
                || self.state.read().head.live_bytes() as u64 >= HEAD_BYTES_MAX as u64 * WAITING_MAX
        };
        self.is_full.store(is_full, Ordering::Release);
        self.note("a block", &outcome);
        outcome.map(|()| flushed)
    }

    /// Without a `now` the head is written whatever its age.
    fn flush_if_due(&self, pending: &mut Pending, now: Option<TimestampMs>) -> io::Result<bool> {
        let mut flushed = false;
        if pending.frozen.is_some() {
            self.write_frozen(pending)?;
            flushed = true;
        }
        let old = now.is_none_or(|now| self.is_over(&mut pending.last_flush, now));
        let (large, is_unsure) = {
            let commit = self.commit.lock();
            let wal_bytes = commit.wal.as_ref().map_or(0, Wal::waiting_bytes);
            let large = commit.flush_soon || wal_bytes.saturating_sub(pending.carried) >= self.config.wal_bytes_bound();
            (large, commit.unsure.is_some())
        };
        let large = large || self.state.read().head.live_bytes() >= HEAD_BYTES_MAX;
        // A log that is not sure goes also where there is nothing to make a block of: until then nothing may be taken, and
        // so nothing would ever come.
        if is_unsure || (old || large) && self.state.read().head.has_live_samples() {
            self.freeze(pending)?;
            pending.last_flush = now.unwrap_or(pending.last_flush);
            self.write_frozen(pending)?;
            flushed = true;
        }
        Ok(flushed)
    }

    /// Sets the head aside and begins a new generation of the log with what only the log knows.
    fn freeze(&self, pending: &mut Pending) -> io::Result<()> {
        self.seal_rows();
        let mut commit = self.commit.lock();
        let old = commit.generation;
        let begun = commit.wal.as_mut().map_or(Ok(old + 1), Wal::begin_generation);
        if begun.as_ref().is_err_and(|e| !is_full(e)) {
            // It may have been the last sync of the segment: one that succeeds later says nothing of what this one lost.
            commit.sync_failed();
        }
        commit.generation = begun?;
        commit.epoch += 1;
        commit.flush_soon = false;
        let mut state = self.state.write();
        state.head.freeze();
        pending.frozen = Some(old);
        state.head.take_new_metadata();
        for m in state.head.metadata().values() {
            commit.builder.metadata(m);
            commit.split_record();
        }
        for id in state.head.with_exemplars() {
            introduce(&mut state, &mut commit, id);
            for e in state.head.exemplars(id) {
                commit.builder.exemplar(id, e);
                commit.split_record();
            }
        }
        drop(state);
        commit.end_record();
        commit.write()
    }

    /// Writes what was set aside to a block, then deletes its part of the log.
    fn write_frozen(&self, pending: &mut Pending) -> io::Result<()> {
        let Some(generation) = pending.frozen else { return Ok(()) };
        // With the log goes what shows that a part of it is lost.
        self.save_lost_log()?;
        // The new generation's first records (metadata, exemplars) must be on the disk before the old ones go, and they go
        // at the latest at the start after a power loss that finds the block.
        {
            let mut commit = self.commit.lock();
            commit.write()?;
            pending.carried = commit.wal.as_ref().map_or(0, |wal| wal.bytes_behind(generation));
        }
        if self.config.fsync != FsyncPolicy::Never {
            self.dirty.store(true, Ordering::Release);
            self.sync()?;
        }
        // Rows were sealed to set the head aside: what they took raw is free, and as much as writing the block will take.
        heap::give_back_after(self.counters.wal_bytes.load(Ordering::Relaxed));
        let frozen = self.frozen_in_order();
        let (mut late, mut block) = (None, None);
        if let Some(frozen) = frozen.filter(|f| !f.is_empty()) {
            (late, block) = self.seal_frozen(&frozen, generation)?;
        }
        let bytes;
        let released = {
            let _changes = self.block_work.changes.lock();
            // Only the last one says that it has the log's generation: until then all is in the log. A crash in between
            // leaves what came late in the log and in a block, which the next start removes.
            let late = match late.map(|late| self.publish(late, false)).transpose() {
                Ok(late) => late,
                Err(e) => {
                    // Each try would leave one.
                    let _ = block.map(Sealed::discard);
                    return Err(e);
                }
            };
            let block = match block.map(|block| self.publish(block, false)).transpose() {
                Ok(block) => block,
                Err(e) => {
                    // It is written again with the rest, and what is written then replaces it should it stay.
                    let _ = late.map(|b| self.remove(&[b]));
                    return Err(e);
                }
            };
            bytes = [&late, &block].into_iter().flatten().map(|b| b.bytes()).sum();
            let mut state = self.state.write();
            let released = state.head.release_frozen();
            state.add_block(late);
            state.add_block(block);
            released
        };
        // Much to free, and nobody has to wait for it.
        drop(released);
        heap::give_back_after(bytes);
        pending.frozen = None;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        let mut commit = self.commit.lock();
        commit.covered(generation);
        let removed = commit.wal.as_mut().map_or(Ok(()), |wal| wal.remove_before(generation + 1));
        self.note_wal(&commit);
        removed
    }

    /// Writes what was set aside: first what is so much older than the rest that its block would span days and lie over
    /// all others (from a producer whose clock is wrong, as a rule), then the rest.
    fn seal_frozen(&self, frozen: &InOrder<'_>, generation: u64) -> io::Result<(Option<Sealed>, Option<Sealed>)> {
        let meta = BlockMeta { wal_generation: generation, ..BlockMeta::default() };
        let (first, last) = frozen.span().unwrap_or((0, 0));
        let from = last.saturating_sub(self.level_span(LATE_LEVEL));
        let mut writer = self.begin_block(Effort::Quick)?;
        if first >= from {
            let outcome = frozen.try_for_each(|labels, samples| writer.add(labels, samples));
            return Ok((None, self.seal(writer, outcome, meta)?));
        }
        let mut late = match self.begin_block(Effort::Quick) {
            Ok(late) => late,
            Err(e) => {
                let _ = writer.abort();
                return Err(e);
            }
        };
        let (mut part, mut end) = (SampleBuf::default(), i64::MIN);
        let outcome = frozen.try_for_each(|labels, samples| {
            let at = samples.times.partition_point(|t| *t < from);
            if at == 0 {
                return writer.add(labels, samples);
            }
            part.clear();
            append(&mut part, samples, 0, at);
            end = end.max(part.times.last().copied().unwrap_or(end));
            late.add(labels, &part)?;
            part.clear();
            append(&mut part, samples, at, samples.len());
            writer.add(labels, &part)
        });
        if let Err(e) = outcome {
            // The cause matters more than files that the next start removes anyway.
            let _ = (late.abort(), writer.abort());
            return Err(e);
        }
        let level = self.level_of(end.saturating_sub(first));
        let late = match self.seal(late, Ok(()), BlockMeta { level, ahead_of: generation, ..BlockMeta::default() }) {
            Ok(late) => late,
            Err(e) => {
                let _ = writer.abort();
                return Err(e);
            }
        };
        match self.seal(writer, Ok(()), meta) {
            Ok(block) => Ok((late, block)),
            Err(e) => {
                let _ = late.map(Sealed::discard);
                Err(e)
            }
        }
    }

    /// Are so many places for series taken, and so many of them by series that ended, that they should be given back
    /// before their time? Else what churns at one target keeps everybody's new series out for hours.
    fn is_crowded(&self, last: &mut TimestampMs, now: TimestampMs) -> bool {
        *last = (*last).min(now);
        let limit = self.config.series_max;
        if now.since(*last) < CROWDED_EVERY {
            return false;
        }
        let state = self.state.read();
        if (state.head.len() as u64) < limit - limit / CROWDED_PART {
            return false;
        }
        *last = now;
        state.head.idle(now.minus(IDLE_CROWDED).0) as u64 > limit / CROWDED_PART
    }

    /// With the series go their exemplars: by a time that may be relied upon, but where places are short.
    fn forget(&self, now: TimestampMs, idle: Duration, unused_rounds_max: u8) -> u64 {
        let idle_ms = idle.as_millis() as i64;
        let _commit = self.commit.lock();
        let mut state = self.state.write();
        let forgotten = state.head.forget_idle(now.0, idle_ms, unused_rounds_max) as u64;
        state.head.drop_exemplars(self.earliest(Some(now)));
        self.counters.series_forgotten.fetch_add(forgotten, Ordering::Relaxed);
        forgotten
    }
}
