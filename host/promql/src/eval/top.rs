//! `topk` and `bottomk` as series come by: what cannot be among the k best is forgotten at once.
//!
//! Invariant: holds at most k values per group and step, however many series there are.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use belfry_model::Labels;
use belfry_model::sample::is_stale;

use super::keys::Keys;
use super::vector::{Column, Frame, OutSeries};
use super::{Evaluator, Result};
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

impl<'a> Evaluator<'a> {
    pub(super) fn top(&mut self, a: &AggregatePlan, k: &[f64], span: Span, frame: Frame) -> Result<Vec<OutSeries>> {
        let top = a.op == Op::Topk;
        let mut keys = Keys::grouping(&a.grouping);
        let mut groups: Vec<Best> = Vec::new();
        let mut series: Vec<(Labels, bool)> = Vec::new();
        let mut held: u64 = 0;
        self.stream(&a.expr, frame, &mut |ev, s| {
            let at = keys.number(&s.labels);
            if at == groups.len() {
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
            let own = groups.len() * frame.n * STEP_BYTES + series.len() * size_of::<(Labels, bool)>();
            ev.check_bytes(held * size_of::<Entry>() as u64 + own as u64)
        })?;
        let mut place: HashMap<u32, usize> = HashMap::new();
        let mut out: Vec<OutSeries> = Vec::new();
        for i in 0..frame.n {
            for best in &mut groups {
                for e in std::mem::take(&mut best.heaps[i]).into_sorted_vec() {
                    let at = *place.entry(e.series).or_insert_with(|| {
                        let (labels, drop_name) = series[e.series as usize].clone();
                        out.push(OutSeries { labels, drop_name, column: Column::absent(frame.n) });
                        out.len() - 1
                    });
                    out[at].column.floats[i] = e.value;
                }
            }
        }
        // In the order in which they were found: an instant query's answer is in the order of the values.
        Ok(out)
    }
}
