//! What was set aside of the head, to be written to a block: it does not change any more.
//!
//! Invariant: it holds no lock and is shared by whoever reads it.
//! Not here: when it is made and released (`maintain`).

use std::sync::Arc;

use belfry_model::labels::Label;
use belfry_model::{Labels, SampleBuf, TimeRange};

use crate::codec::Corrupt;
use crate::own::Own;
use crate::store::Shared;

/// Groups whose rows move on under one lock.
const GROUPS_PER_LOCK: u32 = 16;
/// Series looked up under one lock.
const SERIES_PER_LOCK: usize = 10_000;

/// See the module.
pub struct Frozen {
    /// In order of the series' numbers.
    pub own: Vec<(u32, Box<Own>)>,
}

impl Frozen {
    /// Where a series is in it.
    pub fn find(&self, id: u32) -> Option<usize> {
        self.own.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// The samples of a series.
    pub fn own(&self, at: usize) -> Option<&Own> {
        self.own.get(at).map(|(_, own)| &**own)
    }

    /// Appends the samples of the series at this place within `range` to `into`.
    pub fn decode(&self, at: usize, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        self.own(at).map_or(Ok(()), |own| own.decode(range, into))
    }
}

/// What was set aside, in order of labels.
pub struct InOrder {
    frozen: Arc<Frozen>,
    labels: Vec<Option<Label>>,
    /// All series' label numbers, one after the other.
    numbers: Vec<u32>,
    /// Where a series' label numbers are, and where it is in `frozen`.
    order: Vec<(u32, u32, u32)>,
}

impl Shared {
    /// Hands rows to their series, some groups at a time, so that setting the head aside has little left to do while
    /// everybody waits.
    pub fn move_rows_on(&self) {
        let mut from = 0;
        loop {
            let mut state = self.state.write();
            let end = state.head.groups_end();
            if from >= end {
                return;
            }
            let to = end.min(from + GROUPS_PER_LOCK);
            (from..to).for_each(|g| state.head.move_on(g));
            from = to;
        }
    }

    /// What was set aside of the head. No series may be forgotten meanwhile: the caller does the upkeep.
    pub fn frozen_in_order(&self) -> Option<InOrder> {
        let (frozen, labels) = {
            let state = self.state.read();
            (state.head.frozen()?.clone(), state.head.index.all_labels())
        };
        let mut sorted: Vec<u32> = (0..labels.len() as u32).collect();
        sorted.sort_unstable_by_key(|n| &labels[*n as usize]);
        let mut rank = vec![0u32; labels.len()];
        sorted.iter().enumerate().for_each(|(i, n)| rank[*n as usize] = i as u32);
        drop(sorted);
        let mut numbers = Vec::new();
        let mut order = Vec::with_capacity(frozen.own.len());
        for (slice, series) in frozen.own.chunks(SERIES_PER_LOCK).enumerate() {
            let state = self.state.read();
            for (i, (id, _)) in series.iter().enumerate() {
                let from = numbers.len() as u32;
                numbers.extend_from_slice(state.head.index.label_numbers(*id));
                order.push((from, numbers.len() as u32, (slice * SERIES_PER_LOCK + i) as u32));
            }
        }
        let ranks = |(from, to, _): &(u32, u32, u32)| {
            numbers[*from as usize..*to as usize].iter().map(|n| rank.get(*n as usize).copied().unwrap_or(0))
        };
        order.sort_unstable_by(|a, b| ranks(a).cmp(ranks(b)));
        Some(InOrder { frozen, labels, numbers, order })
    }
}

impl InOrder {
    /// Nothing was set aside?
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Hands each series with its samples to `f`, until that fails.
    pub fn try_for_each<E: From<Corrupt>>(
        &self,
        mut f: impl FnMut(&Labels, &SampleBuf) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buf = SampleBuf::default();
        for (from, to, at) in &self.order {
            let numbers = &self.numbers[*from as usize..*to as usize];
            let label = |n: &u32| self.labels.get(*n as usize).cloned().flatten();
            let labels = Labels::from_sorted(numbers.iter().filter_map(label));
            buf.clear();
            self.frozen.decode(*at as usize, TimeRange::ALL, &mut buf)?;
            f(&labels, &buf)?;
        }
        Ok(())
    }
}
