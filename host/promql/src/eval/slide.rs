//! Functions over windows of plain floats, for all steps of a series in one pass: what one window has in common with
//! the next is not looked at again.
//!
//! Invariant: bit for bit what [`super::range_calls`] gives window by window. Where an incremental sum would change the
//! bits, windows are summed anew, several side by side.
//! Not here: histograms, downsampled data, `anchored` and `smoothed`, start timestamps; those go window by window.

use std::collections::VecDeque;

use belfry_model::read::Cancel;

use super::range_calls::{by_size, kahan, kahan_finite, mean, quantile_of_sorted, variance};
use super::select::{Patience, Points, Windows};
use super::vector::{ABSENT, Frame};
use crate::syntax::functions::Function as F;

/// Windows whose sums are computed side by side: enough to hide the latency of dependent additions.
const LANES: usize = 8;

/// Fewer samples between two steps are not worth being looked at together.
const PIECE_MIN: usize = 4;

/// Values between two looks at whether one was not whole.
const PIECE_CHECKED: usize = 64;

/// Whole numbers below this are exact, and so is every sum of them that stays below.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

/// A window at the edges: how far `rate` and its kin extrapolate.
#[derive(Clone, Copy, Default)]
struct Edge {
    to_start: f64,
    to_end: f64,
    sampled: f64,
    factor: f64,
}

/// Where each step's window lies. Series that share their times (those of one target do) share this.
#[derive(Default)]
pub(super) struct Spans {
    times: Vec<i64>,
    of: Vec<(u32, u32)>,
    edges: Vec<Edge>,
    known: bool,
}

impl Spans {
    fn prepare(&mut self, times: &[i64], windows: &Windows, frame: Frame) {
        if self.known && self.times == times {
            return;
        }
        self.known = true;
        self.times.clear();
        self.times.extend_from_slice(times);
        self.edges.clear();
        self.of.clear();
        let (mut lo, mut hi) = (0, 0);
        for i in 0..frame.n {
            let end = windows.end_at(frame.time(i));
            let start = end.saturating_sub(windows.range);
            while hi < times.len() && times[hi] <= end {
                hi += 1;
            }
            while lo < hi && times[lo] <= start {
                lo += 1;
            }
            self.of.push((lo as u32, hi as u32));
        }
    }

    fn prepare_edges(&mut self, windows: &Windows, frame: Frame, per_second: bool) {
        if !self.edges.is_empty() {
            return;
        }
        let range_seconds = windows.range as f64 / 1000.0;
        for (i, (lo, hi)) in self.of.iter().enumerate() {
            let (lo, hi) = (*lo as usize, *hi as usize);
            if hi < lo + 2 {
                self.edges.push(Edge::default());
                continue;
            }
            let end = windows.end_at(frame.time(i));
            let start = end.saturating_sub(windows.range);
            let (first, last) = (self.times[lo], self.times[hi - 1]);
            let mut to_start = (first - start) as f64 / 1000.0;
            let mut to_end = (end - last) as f64 / 1000.0;
            let sampled = (last - first) as f64 / 1000.0;
            let between = sampled / (hi - lo - 1) as f64;
            let threshold = between * 1.1;
            if to_start >= threshold {
                to_start = between / 2.0;
            }
            if to_end >= threshold {
                to_end = between / 2.0;
            }
            let mut factor = (sampled + to_start + to_end) / sampled;
            if per_second {
                factor /= range_seconds;
            }
            self.edges.push(Edge { to_start, to_end, sampled, factor });
        }
    }
}

/// Memory that is used again for every series.
#[derive(Default)]
pub(super) struct Scratch {
    spans: Spans,
    resets: Vec<u32>,
    counts: Vec<u32>,
    sums: Vec<f64>,
    deque: VecDeque<u32>,
    sorted: Vec<f64>,
    cuts: Vec<u32>,
}

/// Can `f` be computed here, over these samples and with these arguments?
pub(super) fn handles(f: F, points: &Points, windows: &Windows, args: &[Vec<f64>]) -> bool {
    let plain = points.histograms.is_empty() && windows.extended.is_none() && points.float_ranks.is_empty();
    plain
        && match f {
            F::Rate | F::Increase | F::Resets => points.float_starts.is_empty(),
            F::QuantileOverTime => args.first().is_some_and(|q| q.iter().all(|q| (0.0..=1.0).contains(q))),
            F::Delta
            | F::CountOverTime
            | F::PresentOverTime
            | F::AbsentOverTime
            | F::FirstOverTime
            | F::LastOverTime
            | F::TsOfFirstOverTime
            | F::TsOfLastOverTime
            | F::Changes
            | F::SumOverTime
            | F::AvgOverTime
            | F::MaxOverTime
            | F::MinOverTime
            | F::TsOfMaxOverTime
            | F::TsOfMinOverTime
            | F::StdvarOverTime
            | F::StddevOverTime => true,
            _ => false,
        }
}

/// The value at every step, or [`ABSENT`]; `out` is as long as the frame and absent throughout. Where nobody waits for them
/// any more values are missing.
pub(super) fn evaluate(
    f: F,
    points: &Points,
    windows: &Windows,
    frame: Frame,
    args: &[Vec<f64>],
    scratch: &mut Scratch,
    out: &mut [f64],
) {
    let (times, floats) = (&points.float_times[..], &points.floats[..]);
    scratch.spans.prepare(times, windows, frame);
    match f {
        F::Rate | F::Increase | F::Delta => {
            let counter = f != F::Delta;
            scratch.spans.prepare_edges(windows, frame, f == F::Rate);
            scratch.resets.clear();
            if counter && !points.rising {
                scratch.resets.extend((1..floats.len()).filter(|i| floats[*i] < floats[i - 1]).map(|i| i as u32));
            }
            extrapolate(floats, &scratch.spans, &scratch.resets, counter, (f == F::Rate).then_some(windows.range), out);
        }
        F::CountOverTime => each(&scratch.spans, out, |lo, hi| (hi - lo) as f64),
        F::PresentOverTime | F::AbsentOverTime => each(&scratch.spans, out, |_, _| 1.0),
        F::FirstOverTime => each(&scratch.spans, out, |lo, _| floats[lo]),
        F::LastOverTime => each(&scratch.spans, out, |_, hi| floats[hi - 1]),
        F::TsOfFirstOverTime => each(&scratch.spans, out, |lo, _| times[lo] as f64 / 1000.0),
        F::TsOfLastOverTime => each(&scratch.spans, out, |_, hi| times[hi - 1] as f64 / 1000.0),
        F::Changes => pairs(floats, scratch, out, |a, b| a != b && !(a.is_nan() && b.is_nan())),
        F::Resets => pairs(floats, scratch, out, |a, b| b < a),
        F::SumOverTime | F::AvgOverTime => sums(floats, scratch, f == F::AvgOverTime, &windows.cancel, out),
        F::MaxOverTime if sparse(floats, out) => pieces(floats, scratch, f64::NEG_INFINITY, |a, b| a < b, out),
        F::MinOverTime if sparse(floats, out) => pieces(floats, scratch, f64::INFINITY, |a, b| a > b, out),
        F::MaxOverTime => extremes(floats, scratch, |old, new| old < new, out, |i| floats[i]),
        F::MinOverTime => extremes(floats, scratch, |old, new| old > new, out, |i| floats[i]),
        F::TsOfMaxOverTime => extremes(floats, scratch, |old, new| old <= new, out, |i| times[i] as f64 / 1000.0),
        F::TsOfMinOverTime => extremes(floats, scratch, |old, new| old >= new, out, |i| times[i] as f64 / 1000.0),
        F::StdvarOverTime | F::StddevOverTime => {
            variances(floats, &scratch.spans, &windows.cancel, out);
            if f == F::StddevOverTime {
                each_present(&scratch.spans, out, f64::sqrt);
            }
        }
        F::QuantileOverTime => quantiles(floats, args.first().map_or(&[], |q| q), scratch, &windows.cancel, out),
        _ => {}
    }
}

fn each(spans: &Spans, out: &mut [f64], value: impl Fn(usize, usize) -> f64) {
    for (out, (lo, hi)) in out.iter_mut().zip(&spans.of) {
        if lo < hi {
            *out = value(*lo as usize, *hi as usize);
        }
    }
}

fn each_present(spans: &Spans, out: &mut [f64], value: impl Fn(f64) -> f64) {
    for (out, (lo, hi)) in out.iter_mut().zip(&spans.of) {
        if lo < hi {
            *out = value(*out);
        }
    }
}

fn extrapolate(
    floats: &[f64],
    spans: &Spans,
    resets: &[u32],
    counter: bool,
    per_second_of: Option<i64>,
    out: &mut [f64],
) {
    let mut next_reset = 0;
    for ((out, (lo, hi)), edge) in out.iter_mut().zip(&spans.of).zip(&spans.edges) {
        let (lo, hi) = (*lo as usize, *hi as usize);
        if hi < lo + 2 {
            continue;
        }
        let first = floats[lo];
        let mut value = floats[hi - 1] - first;
        if counter {
            while next_reset < resets.len() && resets[next_reset] as usize <= lo {
                next_reset += 1;
            }
            for r in resets[next_reset..].iter().take_while(|r| (**r as usize) < hi) {
                value += floats[*r as usize - 1];
            }
            // A counter was never below zero. Most are so far above it that no division is needed to see it; what is
            // near, or no number, takes the long way.
            let far = first * edge.sampled > edge.to_start * value * (1.0 + 1e-9);
            if !far && value > 0.0 && first >= 0.0 {
                let to_start = edge.to_start.min(edge.sampled * (first / value));
                let mut factor = (edge.sampled + to_start + edge.to_end) / edge.sampled;
                if let Some(range) = per_second_of {
                    factor /= range as f64 / 1000.0;
                }
                *out = value * factor;
                continue;
            }
        }
        *out = value * edge.factor;
    }
}

/// Neighbours that `hit` counts.
fn pairs(floats: &[f64], scratch: &mut Scratch, out: &mut [f64], hit: impl Fn(f64, f64) -> bool) {
    let counts = &mut scratch.counts;
    counts.clear();
    counts.push(0);
    let mut n = 0;
    for p in floats.windows(2) {
        n += u32::from(hit(p[0], p[1]));
        counts.push(n);
    }
    each(&scratch.spans, out, |lo, hi| f64::from(counts[hi - 1] - counts[lo]));
}

/// Are all whole numbers, and so few and small that no sum of them is rounded? Then order does not matter, and there is
/// nothing to compensate. (A negative zero would vanish in a sum.)
fn sums_are_exact(floats: &[f64]) -> bool {
    let mut total = 0.0;
    // Most series that are not whole have such a value soon.
    for piece in floats.chunks(PIECE_CHECKED) {
        let mut whole = true;
        for f in piece {
            total += f.abs();
            whole &= f.abs() < EXACT_MAX && (f.abs() as i64) as f64 == f.abs() && f.to_bits() != (-0.0f64).to_bits();
        }
        if !whole {
            return false;
        }
    }
    total < EXACT_MAX
}

fn sums(floats: &[f64], scratch: &mut Scratch, average: bool, cancel: &Cancel, out: &mut [f64]) {
    if sums_are_exact(floats) {
        let sums = &mut scratch.sums;
        sums.clear();
        sums.push(0.0);
        let mut sum = 0.0;
        for f in floats {
            sum += f;
            sums.push(sum);
        }
        each(&scratch.spans, out, |lo, hi| {
            let sum = sums[hi] - sums[lo];
            if average { sum / (hi - lo) as f64 } else { sum }
        });
        return;
    }
    lanes(
        floats,
        &scratch.spans,
        cancel,
        out,
        |windows, len, out| {
            let (mut sum, mut c) = ([0.0; LANES], [0.0; LANES]);
            let mut first = average;
            rows(windows, len, |row| {
                // The mean begins with its first value, not with zero.
                if std::mem::take(&mut first) {
                    sum = row;
                    return;
                }
                for k in 0..LANES {
                    (sum[k], c[k]) = kahan_finite(row[k], sum[k], c[k]);
                }
            });
            for k in 0..LANES {
                out[k] = match (average, sum[k].is_finite()) {
                    (true, true) => sum[k] / len as f64 + c[k] / len as f64,
                    (true, false) => mean(windows[k]),
                    (false, true) => sum[k] + c[k],
                    (false, false) => sum_of(windows[k]),
                };
            }
        },
        |lo, hi| if average { mean(&floats[lo..hi]) } else { sum_of(&floats[lo..hi]) },
    );
}

pub(super) fn sum_of(floats: &[f64]) -> f64 {
    let (sum, c) = floats.iter().fold((0.0, 0.0), |(s, c), f| kahan(*f, s, c));
    if sum.is_infinite() { sum } else { sum + c }
}

fn variances(floats: &[f64], spans: &Spans, cancel: &Cancel, out: &mut [f64]) {
    lanes(
        floats,
        spans,
        cancel,
        out,
        |windows, len, out| {
            let (mut m, mut cm) = ([0.0; LANES], [0.0; LANES]);
            let (mut aux, mut ca) = ([0.0; LANES], [0.0; LANES]);
            let mut n = 0.0;
            rows(windows, len, |row| {
                n += 1.0;
                for k in 0..LANES {
                    let f = row[k];
                    let delta = f - (m[k] + cm[k]);
                    (m[k], cm[k]) = kahan_finite(delta / n, m[k], cm[k]);
                    (aux[k], ca[k]) = kahan_finite(delta * (f - (m[k] + cm[k])), aux[k], ca[k]);
                }
            });
            for k in 0..LANES {
                let v = (aux[k] + ca[k]) / n;
                out[k] = if v.is_finite() { v } else { variance(windows[k]) };
            }
        },
        |lo, hi| variance(&floats[lo..hi]),
    );
}

/// Hands the first values of all windows to `each`, then the second ones, and so on; all are of this length.
#[inline(always)]
fn rows(windows: &[&[f64]; LANES], len: usize, mut each: impl FnMut([f64; LANES])) {
    // So the compiler sees that every place is within.
    let windows: [&[f64]; LANES] = std::array::from_fn(|k| &windows[k][..len]);
    (0..len).for_each(|j| each(std::array::from_fn(|k| windows[k][j])));
}

/// Gives runs of windows of one length to `together`, [`LANES`] at a time, and the others to `alone`.
fn lanes(
    floats: &[f64],
    spans: &Spans,
    cancel: &Cancel,
    out: &mut [f64],
    together: impl Fn(&[&[f64]; LANES], usize, &mut [f64; LANES]),
    alone: impl Fn(usize, usize) -> f64,
) {
    let mut i = 0;
    let mut patience = Patience::new(cancel);
    while i < spans.of.len() {
        let (lo, hi) = spans.of[i];
        if patience.is_over((hi - lo) as usize * LANES) {
            return;
        }
        let run = &spans.of[i..spans.of.len().min(i + LANES)];
        if run.len() == LANES && hi > lo && run.iter().all(|(l, h)| h - l == hi - lo) {
            let windows = std::array::from_fn(|k| &floats[run[k].0 as usize..run[k].1 as usize]);
            let mut values = [ABSENT; LANES];
            together(&windows, (hi - lo) as usize, &mut values);
            out[i..i + LANES].copy_from_slice(&values);
            i += LANES;
            continue;
        }
        if lo < hi {
            out[i] = alone(lo as usize, hi as usize);
        }
        i += 1;
    }
}

/// The best of each window by a queue of what may still become it (D. Lemire, "Streaming maximum-minimum filter", 2006).
/// `beaten(old, new)`: an older value that a newer one replaces. NaN is only the best among its like.
fn extremes(
    floats: &[f64],
    scratch: &mut Scratch,
    beaten: impl Fn(f64, f64) -> bool,
    out: &mut [f64],
    value: impl Fn(usize) -> f64,
) {
    let deque = &mut scratch.deque;
    deque.clear();
    let mut seen = 0;
    for (out, (lo, hi)) in out.iter_mut().zip(&scratch.spans.of) {
        let (lo, hi) = (*lo as usize, *hi as usize);
        // What lies between two windows is in neither.
        seen = seen.max(lo);
        while deque.front().is_some_and(|i| (*i as usize) < lo) {
            deque.pop_front();
        }
        for i in seen..hi {
            let new = floats[i];
            if new.is_nan() {
                continue;
            }
            while deque.back().is_some_and(|b| beaten(floats[*b as usize], new)) {
                deque.pop_back();
            }
            deque.push_back(i as u32);
        }
        seen = seen.max(hi);
        if lo < hi {
            // All NaN: a comparison window by window ends at the last of them.
            *out = value(deque.front().map_or(hi - 1, |i| *i as usize));
        }
    }
}

/// Do many samples lie between one step and the next?
fn sparse(floats: &[f64], steps: &[f64]) -> bool {
    floats.len() / PIECE_MIN > steps.len()
}

/// As [`extremes`], for few steps: between two places where windows begin or end all samples are in the same windows, so
/// only the best of them is looked at. That is found several at a time.
fn pieces(floats: &[f64], scratch: &mut Scratch, worst: f64, beaten: impl Fn(f64, f64) -> bool, out: &mut [f64]) {
    let Scratch { spans, cuts, deque, .. } = scratch;
    cuts.clear();
    // Both ascend: sorting finds two runs and merges them.
    let filled = || spans.of.iter().filter(|(lo, hi)| lo < hi);
    cuts.extend(filled().map(|(lo, _)| *lo));
    cuts.extend(filled().map(|(_, hi)| *hi));
    cuts.sort();
    cuts.dedup();
    deque.clear();
    // The piece that begins at the cut of this number is the next to be looked at.
    let mut next = 0;
    for (out, (lo, hi)) in out.iter_mut().zip(&spans.of) {
        if lo >= hi {
            continue;
        }
        while deque.front().is_some_and(|i| i < lo) {
            deque.pop_front();
        }
        while let Some(&[from, to]) = cuts.get(next..next + 2)
            && to <= *hi
        {
            next += 1;
            if from < *lo {
                continue;
            }
            let piece = &floats[from as usize..to as usize];
            let best = best(piece, worst, &beaten);
            // Of equals the first; none where all are NaN.
            let Some(at) = piece.iter().position(|f| *f == best) else { continue };
            while deque.back().is_some_and(|b| beaten(floats[*b as usize], best)) {
                deque.pop_back();
            }
            deque.push_back(from + at as u32);
        }
        *out = floats[deque.front().map_or(*hi as usize - 1, |i| *i as usize)];
    }
}

/// The best of these, or `worst`; NaN is never better.
fn best(floats: &[f64], worst: f64, beaten: impl Fn(f64, f64) -> bool) -> f64 {
    let better = |old: f64, new: f64| if beaten(old, new) { new } else { old };
    let (rows, rest) = floats.as_chunks::<LANES>();
    let mut lanes = [worst; LANES];
    for row in rows {
        (0..LANES).for_each(|k| lanes[k] = better(lanes[k], row[k]));
    }
    lanes.iter().chain(rest).fold(worst, |best, f| better(best, *f))
}

/// Keeps the window's values in order while it slides; sorts anew when little of it stays.
fn quantiles(floats: &[f64], q: &[f64], scratch: &mut Scratch, cancel: &Cancel, out: &mut [f64]) {
    let sorted = &mut scratch.sorted;
    sorted.clear();
    let (mut from, mut to) = (0, 0);
    let mut patience = Patience::new(cancel);
    for ((out, (lo, hi)), q) in out.iter_mut().zip(&scratch.spans.of).zip(q) {
        let (lo, hi) = (*lo as usize, *hi as usize);
        if patience.is_over(hi - lo) {
            return;
        }
        let changed = lo - from + hi - to;
        if lo >= to || changed > 4 + (hi - lo) / 16 {
            sorted.clear();
            sorted.extend_from_slice(&floats[lo..hi]);
            sorted.sort_unstable_by(by_size);
        } else {
            for f in &floats[from..lo] {
                if let Ok(i) = sorted.binary_search_by(|s| by_size(s, f)) {
                    sorted.remove(i);
                }
            }
            for f in &floats[to..hi] {
                let i = sorted.binary_search_by(|s| by_size(s, f)).unwrap_or_else(|i| i);
                sorted.insert(i, *f);
            }
        }
        (from, to) = (lo, hi);
        if lo < hi {
            *out = quantile_of_sorted(*q, sorted);
        }
    }
}

#[cfg(test)]
#[path = "slide_tests.rs"]
mod tests;
