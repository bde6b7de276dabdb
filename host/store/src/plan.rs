//! Which blocks to merge next.
//!
//! Invariant: merging ends. Each plan leaves fewer blocks, coarser ones, or fewer deleted samples; a sample is written
//! again a few times for each tier of sizes that it climbs, never once for each block that comes; one sample at a far
//! time draws no block away from its neighbours.
//! Not here: merging (`compact`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use belfry_model::TimestampMs;

use crate::block::Block;
use crate::config::Downsample;
use crate::store::Shared;

/// So many blocks of a level make one of the next: half-hour blocks become 2 h, 12 h, 3 d.
pub(crate) const MERGE_BLOCKS: [usize; 3] = [4, 6, 6];
/// Blocks of this level are merged only where they overlap, are small, or are too many.
pub const LEVEL_MAX: u32 = MERGE_BLOCKS.len() as u32;
/// So many blocks beyond the levels make one of the next: those that were downsampled as far as the policy goes (three
/// days of hourly samples are too few for a chunk), and those with little in them.
const MERGE_SPARSE: usize = 8;
/// Blocks beyond the levels that are not more than this together have little in them: sparse samples of decades.
const SPARSE_BYTES_MAX: u64 = 64 << 20;
/// With more blocks the smallest neighbours are merged, however far apart: each block is an open file, and part of
/// every question that names no time.
pub(crate) const BLOCKS_MAX: usize = 512;
/// No merge yields a block that spans more than this part of the retention: retention deletes whole blocks.
const RETENTION_PART: i64 = 5;
/// Nor more than this part, where that is more than [`SPAN_MS_LONG`].
const RETENTION_PART_LONG: i64 = 10;
/// Blocks may span 31 days under each retention that is long enough.
const SPAN_MS_LONG: i64 = 31 * 86_400_000;
/// No merge yields a block of more than this part of the allowed bytes.
const BYTES_PART: u64 = 4;
/// No merge of blocks with more bytes in all, so that a merge needs little room and ends in minutes.
const MERGED_BYTES_MAX: u64 = 4 << 30;
/// So many blocks that lie over each other are merged at a time.
const OVERLAPPING_MAX: usize = 16;
/// Blocks are of a kind when none spans so many times what another does.
const ALIKE_SPANS: i64 = 4;
/// A block is merged with what lies over it once that is this part of it.
const OVERLAPPING_PART: u64 = 3;

/// Blocks to be merged, the one with the lowest rank first, and the level of the result.
pub(crate) struct Plan {
    pub parts: Vec<Arc<Block>>,
    pub level: u32,
    /// Of the result: see [`crate::block::BlockMeta::resolution`].
    pub resolution: i64,
}

impl Plan {
    /// Does the result have fewer samples than its parts?
    pub fn is_downsampling(&self) -> bool {
        self.parts.iter().any(|b| b.meta().resolution < self.resolution)
    }

    fn new(parts: &[Arc<Block>], level: u32) -> Self {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|b| (b.meta().rank, b.id()));
        let resolution = parts.iter().map(|b| b.meta().resolution).max().unwrap_or(0);
        Self { parts, level, resolution }
    }
}

/// What blocks that are merged span.
struct Spans {
    /// The result.
    all: i64,
    /// The shortest part.
    shortest: i64,
    /// All parts, one after the other.
    sum: i64,
}

impl Spans {
    fn of(parts: &[Arc<Block>]) -> Self {
        let min = parts.iter().map(|b| b.meta().min).min().unwrap_or(0);
        let max = parts.iter().map(|b| b.meta().max).max().unwrap_or(0);
        let each = || parts.iter().map(|b| span(b));
        Self {
            all: max.saturating_sub(min),
            shortest: each().min().unwrap_or(0),
            sum: each().fold(0, i64::saturating_add),
        }
    }

    /// Is half of the result's span a part's, or is it no more than `near` in all?
    fn are_near(&self, near: i64) -> bool {
        self.all <= near || self.all / 2 <= self.sum
    }
}

impl Shared {
    /// What to merge next. Damaged blocks are left alone.
    pub(crate) fn plan(&self) -> Option<Plan> {
        loop {
            let plan = self.plan_unseen()?;
            // Only now are indexes read; one that is damaged is left out of the next plan.
            if plan.parts.iter().all(|b| b.damage().is_none()) {
                return Some(plan);
            }
        }
    }

    fn plan_unseen(&self) -> Option<Plan> {
        let mut blocks: Vec<Arc<Block>> = self.state.read().blocks.clone();
        blocks.retain(|b| b.noticed().is_none());
        if let Some(b) = blocks.iter().find(|b| !b.gone().is_empty()) {
            return Some(Plan::new(std::slice::from_ref(b), b.meta().level));
        }
        blocks.sort_by_key(|b| (b.meta().min, b.id()));
        let resolutions: BTreeSet<i64> = blocks.iter().map(|b| b.meta().resolution).collect();
        let of_each: Vec<(i64, Vec<Arc<Block>>)> = resolutions
            .into_iter()
            .map(|r| (r, blocks.iter().filter(|b| b.meta().resolution == r).cloned().collect()))
            .collect();
        for (resolution, alike) in &of_each {
            let plan = self.plan_level(alike).or_else(|| self.plan_overlapping(alike));
            if let Some(plan) = plan.or_else(|| self.plan_sparse(*resolution, alike)) {
                return Some(plan);
            }
        }
        let downsampled = blocks.iter().find_map(|b| {
            let resolution = self.due(b)?;
            Some(Plan { resolution, ..Plan::new(std::slice::from_ref(b), b.meta().level) })
        });
        if downsampled.is_some() || blocks.len() <= BLOCKS_MAX {
            return downsampled;
        }
        self.plan_smallest(&of_each)
    }

    /// Blocks of a level that make one of the next.
    fn plan_level(&self, alike: &[Arc<Block>]) -> Option<Plan> {
        let near = self.level_span(MERGE_BLOCKS.len());
        MERGE_BLOCKS.iter().zip(0..).find_map(|(count, level)| {
            let of_level: Vec<_> = alike.iter().filter(|b| b.meta().level == level).cloned().collect();
            let parts = of_level.windows(*count).find(|w| self.fits(w) && Spans::of(w).are_near(near))?;
            Some(Plan::new(parts, level + 1))
        })
    }

    /// Blocks beyond the levels that lie over each other, and are of a kind: they span about as much, and none of them
    /// has so much more in it that it would be written again for little.
    fn plan_overlapping(&self, alike: &[Arc<Block>]) -> Option<Plan> {
        let top: Vec<_> = alike.iter().filter(|b| b.meta().level >= LEVEL_MAX).collect();
        top.iter().enumerate().find_map(|(i, pivot)| {
            let over = top[i..].iter().filter(|o| lies_over(pivot, o));
            let mut over: Vec<Arc<Block>> = over.take(OVERLAPPING_MAX).map(|b| Arc::clone(b)).collect();
            over.sort_by_key(|b| b.bytes());
            while let [rest @ .., largest] = &over[..]
                && largest.bytes() / OVERLAPPING_PART > rest.iter().map(|b| b.bytes()).sum()
            {
                over.pop();
            }
            // Those that lie over the pivot need not lie over each other.
            let fits = over.len() > 1 && over.iter().any(|b| b.id() == pivot.id()) && self.fits(&over);
            let level = over.iter().map(|b| b.meta().level).max().unwrap_or(LEVEL_MAX);
            fits.then(|| Plan::new(&over, level))
        })
    }

    /// Neighbours beyond the levels with little in them.
    fn plan_sparse(&self, resolution: i64, alike: &[Arc<Block>]) -> Option<Plan> {
        let coarsest = self.config.downsample.iter().map(Downsample::resolution_ms).max();
        // A block is downsampled when all of it is old enough: a long one would wait for long.
        let next = self.config.downsample.iter().filter(|d| d.resolution_ms() > resolution).map(|d| d.after).min();
        let span_max = next.map_or(i64::MAX, |after| after.as_millis() as i64 / RETENTION_PART);
        let levels: BTreeSet<u32> = alike.iter().map(|b| b.meta().level).filter(|l| *l >= LEVEL_MAX).collect();
        levels.into_iter().find_map(|level| {
            let of_level: Vec<_> = alike.iter().filter(|b| b.meta().level == level).cloned().collect();
            let coarse = level == LEVEL_MAX && coarsest == Some(resolution);
            let parts = of_level.windows(MERGE_SPARSE).find(|w| {
                let spans = Spans::of(w);
                let little = coarse || w.iter().map(|b| b.bytes()).sum::<u64>() <= SPARSE_BYTES_MAX;
                little && spans.all <= span_max && spans.are_near(SPAN_MS_LONG) && self.fits(w)
            })?;
            Some(Plan::new(parts, level + 1))
        })
    }

    /// Of all neighbours those with the fewest bytes.
    fn plan_smallest(&self, of_each: &[(i64, Vec<Arc<Block>>)]) -> Option<Plan> {
        let windows = of_each.iter().flat_map(|(_, alike)| alike.windows(MERGE_SPARSE)).filter(|w| self.fits(w));
        let parts = windows.min_by_key(|w| w.iter().map(|b| b.bytes()).sum::<u64>())?;
        let level = parts.iter().map(|b| b.meta().level).max().unwrap_or(LEVEL_MAX);
        Some(Plan::new(parts, level.max(self.level_of(Spans::of(parts).all))))
    }

    /// May they be one block? Those that span more than the retention allows already, and lie over each other, lose
    /// nothing by it.
    fn fits(&self, parts: &[Arc<Block>]) -> bool {
        let spans = Spans::of(parts);
        let bytes: u64 = parts.iter().map(|b| b.bytes()).sum();
        bytes <= self.merged_bytes_max() && (spans.all <= self.span_max() || spans.all / 2 <= spans.shortest)
    }

    /// The resolution that a block is old enough for and does not have.
    fn due(&self, b: &Block) -> Option<i64> {
        let now = TimestampMs(self.block_work.now.load(Ordering::Relaxed));
        let old = self.config.downsample.iter().filter(|d| b.meta().max < now.minus(d.after).0);
        old.map(Downsample::resolution_ms).max().filter(|r| *r > b.meta().resolution)
    }

    /// What merged blocks may span. Without retention sparse samples may be together for as long as there are few.
    fn span_max(&self) -> i64 {
        self.config.retention.map_or(i64::MAX, |r| {
            let retention = i64::try_from(r.as_millis()).unwrap_or(i64::MAX);
            (retention / RETENTION_PART).min(SPAN_MS_LONG.max(retention / RETENTION_PART_LONG))
        })
    }

    fn merged_bytes_max(&self) -> u64 {
        self.config.retention_bytes.map_or(MERGED_BYTES_MAX, |b| (b / BYTES_PART).min(MERGED_BYTES_MAX))
    }

    /// What blocks of a level span, about.
    pub(crate) fn level_span(&self, level: usize) -> i64 {
        let factor: usize = MERGE_BLOCKS[..level].iter().product();
        (self.config.block_span.as_millis() as i64).max(1).saturating_mul(factor as i64).min(1 << 40)
    }

    /// The level whose blocks span about so much.
    pub(crate) fn level_of(&self, span: i64) -> u32 {
        let level = (0..MERGE_BLOCKS.len()).rev().find(|l| span > self.level_span(l + 1) / 2);
        level.map_or(0, |l| l as u32 + 1)
    }
}

fn span(b: &Block) -> i64 {
    b.meta().max.saturating_sub(b.meta().min)
}

/// Do they span about as much, and share half of the shorter one's span? Blocks written one after the other share the
/// out-of-order window at most.
fn lies_over(a: &Block, b: &Block) -> bool {
    let shared = a.meta().max.min(b.meta().max).saturating_sub(a.meta().min.max(b.meta().min)).saturating_add(1);
    let (shorter, longer) = (span(a).min(span(b)).saturating_add(1), span(a).max(span(b)).saturating_add(1));
    shared > 0 && shared.saturating_mul(2) >= shorter && longer / ALIKE_SPANS <= shorter
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use belfry_model::{Batch, Labels, Writer};

    use crate::config::StoreConfig;
    use crate::store::Store;

    const T0: i64 = 1_700_000_000_000;
    const SPAN_MS: i64 = 1_800_000;

    fn put(store: &Store, name: &str, at: i64) {
        let series = store.open(&Labels::from_pairs([("__name__", name)])).unwrap();
        let mut batch = Batch::at("test", TimestampMs(at));
        batch.refs.push(series);
        batch.values.push(1.0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(store.append(batch)).unwrap().accepted, 1);
    }

    /// Of all blocks. `outlier` is the time of a sample of a new series in each round.
    fn spans_after(rounds: i64, outlier: impl Fn(i64) -> Option<i64>) -> Vec<(i64, i64)> {
        let config = StoreConfig { retention: None, ..StoreConfig::memory() };
        assert_eq!(config.block_span, Duration::from_millis(SPAN_MS as u64));
        let (store, _) = Store::open(config, Arc::new(crate::disk::SimDisk::default()), TimestampMs(T0)).unwrap();
        for round in 0..rounds {
            for i in 0..10 {
                put(&store, "right", T0 + round * SPAN_MS + i * SPAN_MS / 10);
            }
            if let Some(at) = outlier(round) {
                put(&store, &format!("wrong{round}"), at);
            }
            store.flush().unwrap();
            store.compact().unwrap();
        }
        let state = store.shared.state.read();
        assert_eq!(
            state.blocks.iter().map(|b| b.meta().samples).sum::<u64>() as i64 / 10,
            rounds + i64::from(outlier(0).is_some()) * rounds / 10
        );
        state.blocks.iter().map(|b| (b.meta().min, b.meta().max)).collect()
    }

    #[test]
    fn a_producer_whose_clock_is_wrong_makes_no_block_of_others_longer() {
        let right = |spans: Vec<(i64, i64)>| {
            let mut right: Vec<_> = spans.into_iter().filter(|(_, max)| *max >= T0).collect();
            right.sort_unstable();
            right
        };
        let alone = right(spans_after(100, |_| None));
        assert!(alone.len() < 12, "{alone:?}");
        // Of a clock that starts in 1970, of one that is anywhere, of two at once.
        let anywhere = |round: i64| (round * 7_919 % 1_000) * (T0 / 1_000);
        let two = |round: i64| if round % 2 == 0 { 100_000 + round } else { T0 - 86_400_000 + round };
        for outlier in [&(|round: i64| 100_000 + round * 1_000) as &dyn Fn(i64) -> i64, &anywhere, &two] {
            let spans = spans_after(100, |round| Some(outlier(round)));
            let others = spans.len();
            // Yesterday's may be with today's, as in blocks of three days all is.
            let longest = right(spans).into_iter().map(|(min, max)| max - min).max();
            assert!(longest < Some(3 * 86_400_000), "{longest:?} ms");
            assert!(others < 120, "{others} blocks");
        }
    }
}
