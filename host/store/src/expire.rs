//! Retention: which blocks are too old, or too much.
//!
//! Invariant: age is judged by the newest sample at or before the time the caller vouches for, never by that time alone
//! and never by a sample that is later: neither a clock without samples nor samples without a clock delete anything.
//! Not here: when (`maintain`), which time may be believed (the driver).

use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::TimestampMs;

use crate::store::{Shared, Store, UNWANTED};

/// Of the allowed bytes the log is counted with this part at most.
const LOG_PART: u64 = 2;

/// Blocks to which the config's retention does not apply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apart {
    /// Those with anything of blocks below this number.
    below: u64,
    /// What applies instead; `None` keeps them.
    retention: Option<Duration>,
}

/// A block, or what is known of one that could not be opened.
struct Candidate {
    id: u64,
    rank: u64,
    span: Option<(i64, i64)>,
    bytes: u64,
}

impl Store {
    /// The number that the next block will have; no later one has a lower number.
    pub fn next_block(&self) -> u64 {
        self.shared.next_block.load(Ordering::Relaxed)
    }

    /// From now on blocks with a number below this one, and what is made of them, are judged by this retention (`None`
    /// keeps them), and not by the config's: by age or by size.
    pub fn keep_apart(&self, below: u64, retention: Option<Duration>) {
        // Numbers begin anew where a folder has no block.
        self.shared.next_block.fetch_max(below, Ordering::Relaxed);
        *self.shared.kept_apart.lock() = Some(Apart { below, retention });
    }
}

impl Shared {
    /// Deletes blocks that are older than the retention, then the oldest while everything is too large. A block that could
    /// not be opened takes room like any other, but is deleted only where its times are known.
    /// A file that cannot be deleted is told of, and deleted later.
    pub(crate) fn expire(&self, judged: TimestampMs) -> u64 {
        let (mut all, mut bytes) = self.candidates();
        let apart = *self.kept_apart.lock();
        let of_age = |c: &Candidate| match apart {
            Some(apart) if c.rank < apart.below => apart.retention,
            _ => self.config.retention,
        };
        all.sort_by_key(|c| c.span.map(|(_, max)| max));
        let is_old = |c: &Candidate, by: TimestampMs| {
            c.span.zip(of_age(c)).is_some_and(|((_, max), retention)| max < by.minus(retention).0)
        };
        // To find the newest sample costs more than the rest of it.
        let has_old = all.iter().any(|c| is_old(c, judged));
        let newest = if has_old || self.has_old_loss(judged) { self.newest_by(judged) } else { judged };
        let (mut gone, mut lost) = (Vec::new(), Vec::new());
        let mut of_size_until = None;
        {
            let state = self.state.read();
            for c in &all {
                let Some((min, max)) = c.span else { continue };
                let kept_apart = apart.is_some_and(|a| c.rank < a.below);
                let of_size = !kept_apart && self.config.retention_bytes.is_some_and(|max| bytes > max);
                let of_age = is_old(c, newest);
                if !of_age && !of_size {
                    continue;
                }
                bytes = bytes.saturating_sub(c.bytes);
                of_size_until = of_size_until.max((!of_age).then_some(max));
                let why = if of_age { "age" } else { "size" };
                let (from, to) = (TimestampMs(min), TimestampMs(max));
                tracing::info!(block = c.id, %from, %to, bytes = c.bytes, why, judged = %newest, "retention deletes a block");
                gone.extend(state.blocks.iter().find(|b| b.id() == c.id).cloned());
                lost.extend(state.lost.iter().find(|l| l.id == c.id).cloned());
            }
        }
        self.forget_losses(newest, of_size_until);
        if gone.is_empty() && lost.is_empty() {
            return 0;
        }
        let _changes = self.block_work.changes.lock();
        {
            let mut state = self.state.write();
            state.blocks.retain(|b| !gone.iter().any(|g| g.id() == b.id()));
            state.lost.retain(|l| !lost.iter().any(|g| g.id == l.id));
            state.add_block(None);
        }
        let expired = (gone.len() + lost.len()) as u64;
        self.counters.blocks_expired.fetch_add(expired, Ordering::Relaxed);
        let removed = self.remove(&gone);
        self.note(UNWANTED, &self.remove_lost(&lost).and(removed));
        expired
    }

    /// Before when what was lost of the log would have gone by age; where two retentions apply, by the longer one.
    fn losses_kept_from(&self, newest: TimestampMs) -> Option<i64> {
        let apart = self.kept_apart.lock().map_or(Some(Duration::ZERO), |apart| apart.retention);
        self.config.retention.zip(apart).map(|(of_config, apart)| newest.minus(of_config.max(apart)).0)
    }

    fn has_old_loss(&self, judged: TimestampMs) -> bool {
        self.losses_kept_from(judged).is_some_and(|from| self.state.read().lost_log.has_before(from))
    }

    /// What was lost of the log is no loss any more where what was around it is deleted too.
    fn forget_losses(&self, newest: TimestampMs, of_size_until: Option<i64>) {
        let of_size = of_size_until.map(|until| until.saturating_add(1));
        if let Some(from) = self.losses_kept_from(newest).max(of_size)
            && self.state.read().lost_log.has_before(from)
        {
            self.state.write().lost_log.forget_before(from);
        }
    }

    /// All blocks, and what everything takes on the disk.
    fn candidates(&self) -> (Vec<Candidate>, u64) {
        let wal_bytes = self.commit.lock().wal.as_ref().map_or(0, |w| w.bytes());
        // What the log has beyond its part is none of the blocks': to delete them would not spare it.
        let wal_bytes = self.config.retention_bytes.map_or(wal_bytes, |all| wal_bytes.min(all / LOG_PART));
        let state = self.state.read();
        let blocks = state.blocks.iter().map(|b| {
            let m = b.meta();
            Candidate { id: b.id(), rank: m.rank, span: Some((m.min, m.max)), bytes: b.bytes() }
        });
        // The rank of one that cannot be opened is not known; it is not above its number.
        let lost = state.lost.iter().map(|l| Candidate { id: l.id, rank: l.id, span: l.span, bytes: l.bytes });
        let all: Vec<Candidate> = blocks.chain(lost).collect();
        let bytes = wal_bytes + all.iter().map(|c| c.bytes).sum::<u64>();
        (all, bytes)
    }

    /// The time of the newest sample at or before `judged`, about: of a part that goes on beyond it, `judged` itself.
    /// `judged` where there is no sample.
    fn newest_by(&self, judged: TimestampMs) -> TimestampMs {
        let mut newest = None;
        let mut take = |first: i64, last: i64| {
            if first <= judged.0 {
                newest = newest.max(Some(last.min(judged.0)));
            }
        };
        self.each_span(&mut take);
        for (first, last) in self.state.read().lost.iter().filter_map(|l| l.span) {
            take(first, last);
        }
        newest.map_or(judged, TimestampMs)
    }
}
