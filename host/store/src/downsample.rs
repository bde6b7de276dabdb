//! Fewer samples in the place of many: what becomes of the samples of one series when its block gets old.
//!
//! Time is cut into buckets `(k·r, (k+1)·r]` of the resolution r: those of PromQL's windows. Within a bucket samples in a
//! row form a *segment*, of which the first and the last sample are kept, at their own times, with the number of all,
//! their sum, and the smallest and the largest. A segment ends where a counter begins anew, where samples are as far apart
//! as [`BREAK_MS`], at a stale marker, where a start timestamp changes, and between floats and histograms. So whatever a
//! window of whole buckets says of increase, count, sum, minimum and maximum it says of what is kept, too.
//!
//! Invariant: the same again changes nothing, and in two steps or in one the outcome is the same, but for the rounding of
//! sums and for falls of what is no counter.
//! Not here: which blocks are old (`plan`), how segments are written (`block`).

use belfry_model::sample::{ResetHint, is_stale};
use belfry_model::{Coarse, Histogram, Labels, METRIC_NAME, Rollup, SampleBuf};

use crate::codec::{histogram_counts, same_layout};
use crate::series::append;

/// Samples this far apart are not of one segment: an instant selector looks back no further, so that a gap in the samples
/// stays one.
pub const BREAK_MS: i64 = 300_000;

/// A metric with such a name is a counter: the names that PromQL's `rate` expects.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// What aggregates a read needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Plain samples of a range: the reader knows nothing of segments.
    Plain,
    /// Whole segments, and how many samples they stand for.
    Counts,
    /// Minimum, maximum and sum, too.
    All,
}

/// A run of samples: first and last, by place in the input.
#[derive(Clone, Copy)]
struct Segment {
    first: usize,
    last: usize,
    count: u32,
    min: f64,
    max: f64,
    sum: f64,
    /// What rounding took from the sum (Kahan and Neumaier).
    lost: f64,
}

/// Appends what is left of `input` at a resolution to `out`, which is empty. What was downsampled before comes with its
/// rollups.
pub fn downsample(labels: &Labels, input: &SampleBuf, resolution: i64, out: &mut SampleBuf) {
    let mut segments = segments(input);
    let keep_falls = is_counter(labels) || falls_are_rare(input, &segments, resolution);
    segments.dedup_by(|b, a| {
        let joins = joins(input, a, b, resolution, keep_falls);
        if joins {
            a.add(input, b);
        }
        joins
    });
    out.coarse.resolution_ms = resolution;
    for s in &segments {
        if s.first == s.last {
            push(out, input, s.last, Rollup::alone(input.times[s.last], input.floats[s.last]));
            continue;
        }
        let since = input.times[s.first];
        let value = input.floats[s.first];
        push(out, input, s.first, Rollup { count: 0, ..Rollup::alone(since, value) });
        let sum = if s.sum.is_finite() { s.sum + s.lost } else { s.sum };
        push(out, input, s.last, Rollup { count: s.count.max(2), since, min: s.min, max: s.max, sum });
    }
}

fn push(out: &mut SampleBuf, input: &SampleBuf, at: usize, rollup: Rollup) {
    append(out, input, at, at + 1);
    out.coarse.rows.push(rollup);
}

/// The segments that the input has already, in order of their first samples.
fn segments(input: &SampleBuf) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::with_capacity(input.len());
    for (i, (at, value)) in input.times.iter().zip(&input.floats).enumerate() {
        let r = input.coarse.rows.get(i).copied().unwrap_or(Rollup::alone(*at, *value));
        if r.count > 0 {
            let first = input.times.binary_search(&r.since).unwrap_or(i);
            out.push(Segment { first, last: i, count: r.count, min: r.min, max: r.max, sum: r.sum, lost: 0.0 });
        }
    }
    if !out.is_sorted_by_key(|s| s.first) {
        out.sort_by_key(|s| s.first);
    }
    out
}

impl Segment {
    fn add(&mut self, input: &SampleBuf, later: &Segment) {
        if is_stale(input.floats[later.last]) {
            return;
        }
        if input.times[later.last] > input.times[self.last] {
            self.last = later.last;
        }
        self.count = self.count.saturating_add(later.count);
        // NaN is only the smallest among its like, as in PromQL.
        if later.min < self.min || self.min.is_nan() {
            self.min = later.min;
        }
        if later.max > self.max || self.max.is_nan() {
            self.max = later.max;
        }
        let sum = self.sum + later.sum;
        self.lost +=
            if self.sum.abs() >= later.sum.abs() { (self.sum - sum) + later.sum } else { (later.sum - sum) + self.sum };
        self.sum = sum;
    }
}

fn bucket(at: i64, resolution: i64) -> i64 {
    at.saturating_sub(1).div_euclid(resolution)
}

/// May `b`, which comes next, be one segment with `a`, falls aside?
fn touch(input: &SampleBuf, a: &Segment, b: &Segment, resolution: i64) -> bool {
    let (last, next) = (a.last, b.first);
    let histogram = |i: usize| input.histograms.get(i).is_some_and(Option::is_some);
    let start = |i: usize| input.starts.get(i).copied().unwrap_or(0);
    bucket(input.times[a.first], resolution) == bucket(input.times[b.last], resolution)
        && input.times[next].saturating_sub(input.times[last]) < BREAK_MS
        && !is_stale(input.floats[last])
        && !is_stale(input.floats[next])
        && histogram(last) == histogram(next)
        && start(last) == start(next)
}

fn joins(input: &SampleBuf, a: &Segment, b: &Segment, resolution: i64, keep_falls: bool) -> bool {
    if b.first <= a.last {
        // They lie over each other, in blocks that do: what fell between them nobody can say any more.
        return true;
    }
    if !touch(input, a, b, resolution) {
        return false;
    }
    match (input.histograms.get(a.last), input.histograms.get(b.first)) {
        (Some(Some(before)), Some(Some(after))) => !was_reset(before, after),
        _ => !keep_falls || !falls(input, a, b),
    }
}

fn falls(input: &SampleBuf, a: &Segment, b: &Segment) -> bool {
    input.floats[b.first] < input.floats[a.last]
}

/// Anything but plain growth counts as a reset: one segment more is better than one reset missed.
fn was_reset(before: &Histogram, after: &Histogram) -> bool {
    if before.reset_hint == ResetHint::Gauge && after.reset_hint == ResetHint::Gauge {
        return !same_layout(before, after);
    }
    let gauge = before.reset_hint == ResetHint::Gauge || after.reset_hint == ResetHint::Gauge;
    let grew = || histogram_counts(before).zip(histogram_counts(after)).all(|(b, a)| a >= b);
    gauge || after.reset_hint == ResetHint::Reset || !same_layout(before, after) || !grew()
}

fn is_counter(labels: &Labels) -> bool {
    let name = labels.get(METRIC_NAME).unwrap_or("");
    COUNTER_SUFFIXES.iter().any(|s| name.ends_with(s))
}

/// What falls no more than once a bucket may be a counter under another name: to keep the samples around its falls costs
/// little. What falls more often is a gauge, and would be kept whole.
fn falls_are_rare(input: &SampleBuf, segments: &[Segment], resolution: i64) -> bool {
    let (mut fallen, mut buckets) = (0usize, 1usize);
    for p in segments.windows(2) {
        buckets +=
            usize::from(bucket(input.times[p[0].last], resolution) != bucket(input.times[p[1].last], resolution));
        fallen += usize::from(falls(input, &p[0], &p[1]) && touch(input, &p[0], &p[1], resolution));
    }
    fallen <= buckets
}

/// Appends samples `from..to` of `other` with their rollups. Samples of `into` that have none stand for themselves.
pub fn append_coarse(into: &mut SampleBuf, other: &SampleBuf, from: usize, to: usize) {
    let SampleBuf { times, floats, coarse, .. } = into;
    fill(times, floats, coarse);
    coarse.resolution_ms = coarse.resolution_ms.max(other.coarse.resolution_ms);
    let row = |i: usize| Rollup::alone(other.times[i], other.floats[i]);
    coarse.rows.extend((from..to).map(|i| other.coarse.rows.get(i).copied().unwrap_or(row(i))));
    append(into, other, from, to);
}

fn fill(times: &[i64], floats: &[f64], coarse: &mut Coarse) {
    let from = coarse.rows.len();
    coarse.rows.extend(times.iter().zip(floats).skip(from).map(|(t, v)| Rollup::alone(*t, *v)));
}

/// Merges runs that each ascend, with their rollups. Where two have a sample at one time the earlier part's stands.
pub fn merge_coarse(parts: &[SampleBuf], into: &mut SampleBuf) {
    let mut order: Vec<(i64, usize, usize)> = Vec::new();
    for (k, p) in parts.iter().enumerate() {
        order.extend(p.times.iter().enumerate().map(|(i, t)| (*t, k, i)));
    }
    order.sort_unstable();
    order.dedup_by_key(|(t, ..)| *t);
    for (_, k, i) in order {
        append_coarse(into, &parts[k], i, i + 1);
    }
}

#[cfg(test)]
#[path = "downsample_tests.rs"]
mod tests;
