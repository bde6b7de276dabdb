//! What was set aside of the head, to be written to a block: it does not change any more.
//!
//! Invariant: it holds no lock and is shared by whoever reads it.
//! Not here: when it is made and released (`maintain`).

use std::sync::Arc;

use belfry_model::labels::Label;
use belfry_model::{Labels, SampleBuf, TimeRange};

use crate::codec::Corrupt;
use crate::own::Own;
use crate::rows::{Sealed, standing};
use crate::series::{Point, Standing, append, merge};
use crate::slab::Slab;
use crate::store::Shared;

/// Groups whose rows are sealed under one lock.
const GROUPS_PER_LOCK: u32 = 16;
/// Series looked up under one lock.
const SERIES_PER_LOCK: usize = 10_000;
/// Up to so many series are sorted by all their labels at once: 2 MB.
const SERIES_SORTED: usize = 1 << 14;
/// Samples that wait to be written in order of labels: 4 MB.
const SAMPLES_TOGETHER: usize = 1 << 18;

/// See the module.
pub struct Frozen {
    /// What came for series alone, in order of their numbers.
    own: Vec<(u32, Box<Own>)>,
    groups: Vec<Sealed>,
    /// By number of series: its group and the column there. Empty without groups.
    columns: Vec<(u32, u32)>,
}

/// In place of a group: none.
const NONE: (u32, u32) = (u32::MAX, 0);

impl Frozen {
    /// Of what came alone, in order of the series' numbers, and what came in rows.
    pub fn new(own: Vec<(u32, Box<Own>)>, groups: Vec<Sealed>) -> Self {
        let end = groups.iter().flat_map(|(ids, _)| ids).max().map_or(0, |id| *id as usize + 1);
        let mut columns = vec![NONE; end];
        for (group, (ids, _)) in groups.iter().enumerate() {
            for (column, id) in ids.iter().enumerate() {
                if let Some(place) = columns.get_mut(*id as usize) {
                    *place = (group as u32, column as u32);
                }
            }
        }
        Self { own, groups, columns }
    }

    /// Has it samples of this series?
    pub fn has(&self, id: u32) -> bool {
        self.column(id).is_some() || self.own(id).is_some()
    }

    /// What came for a series alone.
    pub fn own(&self, id: u32) -> Option<&Own> {
        let at = self.own.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.own.get(at).map(|(_, own)| &**own)
    }

    /// What came for a series in rows, and which column it is.
    pub fn column(&self, id: u32) -> Option<(&[Arc<Slab>], usize)> {
        let (group, column) = *self.columns.get(id as usize)?;
        Some((&self.groups.get(group as usize)?.1, column as usize))
    }

    /// Are there samples of a series within `range`?
    pub fn overlaps(&self, id: u32, range: TimeRange) -> bool {
        self.column(id).is_some_and(|(slabs, _)| slabs.iter().any(|s| s.overlaps(range)))
            || self.own(id).is_some_and(|own| own.overlaps(range))
    }

    /// What stands at the sample's time.
    pub fn standing(&self, id: u32, p: &Point<'_>) -> Result<Standing, Corrupt> {
        if let Some((slabs, column)) = self.column(id) {
            match standing(slabs, &[], column, p)? {
                Standing::Nothing => {}
                other => return Ok(other),
            }
        }
        self.own(id).map_or(Ok(Standing::Nothing), |own| own.standing(p))
    }

    /// First and last times of its parts.
    pub fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let alone = self.own.iter().filter_map(|(_, own)| own.min().zip(own.max()));
        self.groups.iter().flat_map(|(_, slabs)| slabs).filter_map(|s| s.span()).chain(alone)
    }

    /// Compressed chunks.
    pub fn chunks(&self) -> usize {
        let in_rows: usize = self.groups.iter().map(|(ids, slabs)| ids.len() * slabs.len()).sum();
        in_rows + self.own.iter().map(|(_, own)| own.chunks()).sum::<usize>()
    }

    /// The numbers of all series, in order.
    fn ids(&self) -> Vec<u32> {
        let in_rows = self.columns.iter().zip(0..).filter(|(place, _)| **place != NONE).map(|(_, id)| id);
        // As many as that at most: a vector that grows would take twice its length in the end.
        let mut all = Vec::with_capacity(self.own.len() + self.groups.iter().map(|(ids, _)| ids.len()).sum::<usize>());
        all.extend(in_rows.chain(self.own.iter().map(|(id, _)| *id)));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Rows of the group that has most.
    fn rows_most(&self) -> usize {
        self.groups.iter().map(|(_, slabs)| slabs.iter().map(|s| s.rows()).sum()).max().unwrap_or(0)
    }

    /// Appends what came for a series in rows to `into`.
    fn decode_rows(&self, id: u32, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let Some((slabs, column)) = self.column(id) else { return Ok(()) };
        slabs.iter().try_for_each(|s| s.decode(column, TimeRange::ALL, into))
    }

    /// Fills `into`, which is empty, with all samples of a series; those that came in rows are `from..to` of `rows`.
    fn decode(&self, id: u32, rows: &SampleBuf, from: usize, to: usize, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let Some(own) = self.own(id) else {
            append(into, rows, from, to);
            return Ok(());
        };
        if from == to {
            return own.decode(TimeRange::ALL, into);
        }
        let mut parts = [SampleBuf::default(), SampleBuf::default()];
        append(&mut parts[0], rows, from, to);
        own.decode(TimeRange::ALL, &mut parts[1])?;
        merge(&parts, into);
        Ok(())
    }
}

/// What was set aside, in order of labels.
pub struct InOrder<'a> {
    shared: &'a Shared,
    frozen: Arc<Frozen>,
    labels: Vec<Option<Label>>,
    /// The series' numbers.
    order: Vec<u32>,
}

impl Shared {
    /// Seals rows, some groups at a time, so that setting the head aside has little left to do while everybody waits.
    pub fn seal_rows(&self) {
        let mut from = 0;
        loop {
            let mut state = self.state.write();
            let end = state.head.groups_end();
            if from >= end {
                return;
            }
            let to = end.min(from + GROUPS_PER_LOCK);
            (from..to).for_each(|g| state.head.seal(g));
            from = to;
        }
    }

    /// What was set aside of the head. No series may be forgotten meanwhile: the caller does the upkeep.
    pub fn frozen_in_order(&self) -> Option<InOrder<'_>> {
        let (frozen, labels) = {
            let state = self.state.read();
            (state.head.frozen()?.clone(), state.head.index.all_labels())
        };
        let mut sorted: Vec<u32> = (0..labels.len() as u32).collect();
        sorted.sort_unstable_by_key(|n| &labels[*n as usize]);
        let mut rank = vec![0u32; labels.len()];
        sorted.iter().enumerate().for_each(|(i, n)| rank[*n as usize] = i as u32);
        drop(sorted);
        let mut order = frozen.ids();
        let by_labels = ByLabels { shared: self, rank };
        by_labels.sort(&mut order, 0);
        Some(InOrder { shared: self, frozen, labels, order })
    }
}

/// Puts series in order of their labels, with little memory beside: where there are many, by one label after the other.
struct ByLabels<'a> {
    shared: &'a Shared,
    /// Of each label, where it is in order of labels.
    rank: Vec<u32>,
}

impl ByLabels<'_> {
    /// Sorts series that are alike in their labels before `depth`. It calls itself once a label at most.
    fn sort(&self, ids: &mut [u32], mut depth: usize) {
        while ids.len() > SERIES_SORTED {
            let mut keys = Vec::with_capacity(ids.len());
            for part in ids.chunks(SERIES_PER_LOCK) {
                let state = self.shared.state.read();
                // Without a label at this depth it comes first.
                let key = |id: &u32| state.head.index.label_numbers(*id).get(depth).map_or(0, |n| self.rank(*n) + 1);
                keys.extend(part.iter().map(|id| u64::from(key(id)) << 32 | u64::from(*id)));
            }
            keys.sort_unstable();
            ids.iter_mut().zip(&keys).for_each(|(id, key)| *id = *key as u32);
            let alike = keys.chunk_by(|a, b| a >> 32 == b >> 32).map(<[u64]>::len);
            let mut ends: Vec<usize> = Vec::new();
            alike.for_each(|n| ends.push(ends.last().unwrap_or(&0) + n));
            let is_over = keys.last().is_none_or(|key| key >> 32 == 0);
            drop(keys);
            depth += 1;
            if is_over {
                return;
            }
            if ends.len() == 1 {
                continue;
            }
            let mut rest = ids;
            let mut begin = 0;
            for end in ends {
                let (alike, others) = std::mem::take(&mut rest).split_at_mut(end - begin);
                self.sort(alike, depth);
                (rest, begin) = (others, end);
            }
            return;
        }
        self.sort_few(ids, depth);
    }

    fn sort_few(&self, ids: &mut [u32], depth: usize) {
        if ids.len() < 2 {
            return;
        }
        let (mut ranks, mut series) = (Vec::new(), Vec::with_capacity(ids.len()));
        for part in ids.chunks(SERIES_PER_LOCK) {
            let state = self.shared.state.read();
            for id in part {
                let begin = ranks.len();
                let numbers = state.head.index.label_numbers(*id).get(depth..).unwrap_or_default();
                ranks.extend(numbers.iter().map(|n| self.rank(*n)));
                series.push((begin, ranks.len(), *id));
            }
        }
        series.sort_unstable_by(|a, b| ranks[a.0..a.1].cmp(&ranks[b.0..b.1]));
        ids.iter_mut().zip(&series).for_each(|(id, (_, _, sorted))| *id = *sorted);
    }

    fn rank(&self, label: u32) -> u32 {
        self.rank.get(label as usize).copied().unwrap_or(0)
    }
}

impl InOrder<'_> {
    /// Nothing was set aside?
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Times of its first and its last sample.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.frozen.spans().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Hands each series with its samples to `f`, until that fails.
    pub fn try_for_each<E: From<Corrupt>>(
        &self,
        mut f: impl FnMut(&Labels, &SampleBuf) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut buf, mut numbers, mut ends) = (SampleBuf::default(), Vec::new(), Vec::new());
        // Neighbours by labels are of many groups, far from each other in memory. So columns are read for many series at
        // a time, in the groups' order, and wait here.
        let (mut rows, mut places, mut in_memory) = (SampleBuf::default(), Vec::new(), Vec::new());
        let together = (SAMPLES_TOGETHER / self.frozen.rows_most().max(1)).clamp(1, SERIES_PER_LOCK);
        for series in self.order.chunks(together) {
            numbers.clear();
            ends.clear();
            {
                let state = self.shared.state.read();
                for id in series {
                    numbers.extend_from_slice(state.head.index.label_numbers(*id));
                    ends.push(numbers.len());
                }
            }
            in_memory.clear();
            in_memory.extend(0..series.len());
            in_memory.sort_unstable_by_key(|i| series.get(*i).and_then(|id| self.frozen.columns.get(*id as usize)));
            rows.clear();
            places.clear();
            places.resize(series.len(), (0, 0));
            for i in &in_memory {
                let from = rows.len();
                self.frozen.decode_rows(series[*i], &mut rows)?;
                places[*i] = (from, rows.len());
            }
            let mut begin = 0;
            for ((id, end), (from, to)) in series.iter().zip(&ends).zip(&places) {
                let label = |n: &u32| self.labels.get(*n as usize).cloned().flatten();
                let labels = Labels::from_sorted(numbers[begin..*end].iter().filter_map(label));
                begin = *end;
                buf.clear();
                self.frozen.decode(*id, &rows, *from, *to, &mut buf)?;
                f(&labels, &buf)?;
            }
        }
        Ok(())
    }
}
