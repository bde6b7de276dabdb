//! `topk` and `bottomk` as series come by: what cannot be among the k best is forgotten at once.
//!
//! Invariant: holds at most k values per group and step, however many series there are, and hands on one series at a time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use belfry_model::Labels;
use belfry_model::sample::is_stale;

use super::keys::Keys;
use super::vector::{Column, Frame, OutSeries};
use super::{Evaluator, Result, Sink};
use crate::plan::AggregatePlan;
use crate::syntax::ast::AggregateOp as Op;
use crate::syntax::span::Span;

/// A group's heap and bar at one step.
const STEP_BYTES: usize = size_of::<BinaryHeap<Entry>>() + size_of::<f64>();

/// With a larger k little is forgotten, and keeping all is cheaper.
pub(super) const K_MAX: f64 = 1024.0;

/// Which value comes first; NaN is last either way.
pub(super) fn order(top: bool, x: f64, y: f64) -> Ordering {
    match (x.is_nan(), y.is_nan()) {
        (false, false) if top => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
        (false, false) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
        (x, y) => x.cmp(&y),
    }
}

/// A value that is among the best so far; the greatest is the one to go first.
struct Entry {
    value: f64,
    series: u32,
    top: bool,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Equals stay in the order in which they come.
        order(self.top, self.value, other.value).then(self.series.cmp(&other.series))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The best of a group, by step.
struct Best {
    heaps: Vec<BinaryHeap<Entry>>,
    /// What a value must beat to come in; NaN while there is room.
    bar: Vec<f64>,
}

/// A value that is among the best: of the series that is handed on in this place.
struct Found {
    place: usize,
    step: usize,
    value: f64,
}

impl<'a> Evaluator<'a> {
    pub(super) fn top(
        &mut self,
        a: &AggregatePlan,
        k: &[f64],
        span: Span,
        frame: Frame,
        sink: Sink<'_, 'a>,
    ) -> Result<()> {
        let before = self.mark();
        let top = a.op == Op::Topk;
        let mut keys = Keys::grouping(&a.grouping);
        let mut groups: Vec<Best> = Vec::new();
        let mut series: Vec<(Labels, bool)> = Vec::new();
        let mut held: u64 = 0;
        self.stream(&a.expr, frame, &mut |ev, s| {
            let at = keys.number(&s.labels);
            if at == groups.len() {
                ev.hold_labels(keys.labels(at))?;
                ev.hold((frame.n * STEP_BYTES) as u64)?;
                let heaps = (0..frame.n).map(|_| BinaryHeap::new()).collect();
                groups.push(Best { heaps, bar: vec![f64::NAN; frame.n] });
            }
            let number = series.len() as u32;
            let best = &mut groups[at];
            for (i, (f, bar)) in s.column.floats.iter().zip(&mut best.bar).enumerate() {
                // What comes later must be better: equal is not enough.
                let beaten = if top { *f <= *bar } else { *f >= *bar };
                if beaten || is_stale(*f) || k[i] < 1.0 {
                    continue;
                }
                let (heap, room) = (&mut best.heaps[i], k[i] as usize);
                let entry = Entry { value: *f, series: number, top };
                if heap.len() < room {
                    heap.push(entry);
                    held += 1;
                } else if let Some(mut worst) = heap.peek_mut()
                    && entry < *worst
                {
                    *worst = entry;
                }
                if heap.len() == room {
                    *bar = heap.peek().map_or(f64::NAN, |worst| worst.value);
                }
            }
            if s.column.histograms.iter().zip(k).any(|(h, k)| h.is_some() && *k >= 1.0) {
                ev.notes.histogram_ignored(span, a.op.as_str());
            }
            series.push((s.labels, s.drop_name));
            ev.check_points(held)?;
            let names = series.len() * size_of::<(Labels, bool)>();
            ev.check_bytes(held * size_of::<Entry>() as u64 + names as u64)
        })?;
        let (values, names) = (size_of::<Found>() as u64 * held, size_of::<(Labels, usize)>() * series.len());
        let heaps = size_of::<Entry>() as u64 * held + (groups.len() * frame.n * STEP_BYTES) as u64;
        self.settle_with(before, heaps + names as u64)?;
        self.hold(values)?;
        // In the order in which they were found: an instant query's answer is in the order of the values.
        let mut place: Vec<usize> = vec![usize::MAX; series.len()];
        let mut order: Vec<u32> = Vec::new();
        let mut found: Vec<Found> = Vec::with_capacity(held as usize);
        for step in 0..frame.n {
            for best in &mut groups {
                for e in std::mem::take(&mut best.heaps[step]).into_sorted_vec() {
                    let at = &mut place[e.series as usize];
                    if *at == usize::MAX {
                        *at = order.len();
                        order.push(e.series);
                    }
                    found.push(Found { place: *at, step, value: e.value });
                }
            }
        }
        drop(groups);
        self.release(heaps);
        found.sort_unstable_by_key(|f| (f.place, f.step));
        for of_one in found.chunk_by(|a, b| a.place == b.place) {
            let (labels, drop_name) = series[order[of_one[0].place] as usize].clone();
            let mut column = Column::absent(frame.n);
            of_one.iter().for_each(|f| column.floats[f.step] = f.value);
            sink(self, OutSeries { labels, drop_name, column })?;
        }
        self.release(values + names as u64);
        Ok(())
    }
}
