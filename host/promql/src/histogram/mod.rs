//! Arithmetic on native histograms, as Prometheus' `FloatHistogram` does it.
//!
//! Invariant: what comes out is compact (no empty buckets) unless it is a plain copy. Not here: quantiles.

mod buckets;
mod quantile;
mod total;
mod trim;

use belfry_model::Histogram;
use belfry_model::sample::{ResetHint, Span};

pub use buckets::Bucket;
pub(crate) use buckets::{all_buckets, bound, negative_buckets, positive_buckets, zero_bucket};
pub(crate) use quantile::{Classic, NanEffect, classic_fraction, classic_quantile, fraction, quantile};
pub(crate) use total::Total;
pub(crate) use trim::trim;

/// Exponential and custom buckets do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What an addition found on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    pub reset_collision: bool,
    pub bounds_reconciled: bool,
}

/// Buckets by index, ascending.
pub(crate) type Sparse = Vec<(i32, f64)>;

pub(crate) fn is_custom(h: &Histogram) -> bool {
    h.schema == Histogram::CUSTOM_BOUNDS
}

/// Spans and counts → buckets by index. Counts that the spans do not cover are left out.
pub(crate) fn sparse(spans: &[Span], counts: &[f64]) -> Sparse {
    let mut out = Vec::with_capacity(counts.len());
    let mut index: i32 = 0;
    let mut counts = counts.iter();
    for s in spans {
        index = index.wrapping_add(s.offset);
        for _ in 0..s.length {
            let Some(c) = counts.next() else { return out };
            out.push((index, *c));
            index = index.wrapping_add(1);
        }
    }
    out
}

fn pack(buckets: &Sparse) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::with_capacity(buckets.len()));
    let mut next = 0;
    for (i, c) in buckets.iter().filter(|(_, c)| *c != 0.0) {
        match spans.last_mut() {
            Some(s) if *i == next => s.length += 1,
            _ => spans.push(Span { offset: i - next, length: 1 }),
        }
        next = i + 1;
        counts.push(*c);
    }
    (spans, counts)
}

fn set_positive(h: &mut Histogram, b: &Sparse) {
    (h.positive_spans, h.positive_counts) = pack(b);
}

fn set_negative(h: &mut Histogram, b: &Sparse) {
    (h.negative_spans, h.negative_counts) = pack(b);
}

pub(crate) fn positive(h: &Histogram) -> Sparse {
    sparse(&h.positive_spans, &h.positive_counts)
}

pub(crate) fn negative(h: &Histogram) -> Sparse {
    sparse(&h.negative_spans, &h.negative_counts)
}

/// Leaves out empty buckets.
pub(crate) fn compact(h: &mut Histogram) {
    let (p, n) = (positive(h), negative(h));
    set_positive(h, &p);
    set_negative(h, &n);
}

pub(crate) fn scale(h: &mut Histogram, factor: f64) {
    h.zero_count *= factor;
    h.count *= factor;
    h.sum *= factor;
    h.positive_counts.iter_mut().chain(&mut h.negative_counts).for_each(|c| *c *= factor);
    h.integer = false;
    // A negative counter makes no sense: from here on it is a gauge.
    if factor < 0.0 {
        h.reset_hint = ResetHint::Gauge;
    }
}

/// Division by zero leaves no buckets, as nothing can be said of them.
pub(crate) fn divide(h: &mut Histogram, by: f64) {
    h.zero_count /= by;
    h.count /= by;
    h.sum /= by;
    h.integer = false;
    if by == 0.0 {
        h.positive_spans.clear();
        h.positive_counts.clear();
        h.negative_spans.clear();
        h.negative_counts.clear();
        return;
    }
    h.positive_counts.iter_mut().chain(&mut h.negative_counts).for_each(|c| *c /= by);
    if by < 0.0 {
        h.reset_hint = ResetHint::Gauge;
    }
}

fn reduce(buckets: &Sparse, from: i32, to: i32) -> Sparse {
    let shift = (from - to).clamp(0, 31);
    let mut out: Sparse = Vec::with_capacity(buckets.len());
    for (i, c) in buckets {
        let target = ((i.wrapping_sub(1)) >> shift) + 1;
        match out.last_mut() {
            Some((last, sum)) if *last == target => *sum += c,
            _ => out.push((target, *c)),
        }
    }
    out
}

/// A copy at a coarser resolution.
pub(crate) fn to_schema(h: &Histogram, schema: i32) -> Histogram {
    let mut out = h.clone();
    if is_custom(h) || schema >= h.schema {
        return out;
    }
    set_positive(&mut out, &reduce(&positive(h), h.schema, schema));
    set_negative(&mut out, &reduce(&negative(h), h.schema, schema));
    out.schema = schema;
    out
}

/// What the zero bucket holds when it reaches at least to `threshold`, and how far it then reaches: no bucket with
/// observations is cut.
fn zero_count_up_to(h: &Histogram, mut threshold: f64) -> (f64, f64) {
    if threshold <= h.zero_threshold {
        return (h.zero_count, h.zero_threshold);
    }
    'grow: loop {
        let mut count = h.zero_count;
        for b in positive_buckets(h) {
            if b.lower >= threshold {
                break;
            }
            count += b.count;
            if b.upper > threshold {
                if b.count != 0.0 {
                    threshold = b.upper;
                }
                break;
            }
        }
        for b in negative_buckets(h) {
            if b.upper <= -threshold {
                break;
            }
            count += b.count;
            if b.lower < -threshold {
                if b.count != 0.0 {
                    threshold = -b.lower;
                    continue 'grow;
                }
                break;
            }
        }
        return (count, threshold);
    }
}

/// Moves what lies within the zero bucket's new width into it.
fn widen_zero_bucket(h: &mut Histogram, threshold: f64) {
    let (count, threshold) = zero_count_up_to(h, threshold);
    h.zero_count = count;
    h.zero_threshold = threshold;
    let schema = h.schema;
    let outside = |b: &(i32, f64)| bound(schema, &[], b.0 - 1) >= threshold;
    let p: Sparse = positive(h).into_iter().filter(|b| outside(b)).collect();
    let n: Sparse = negative(h).into_iter().filter(|b| outside(b)).collect();
    set_positive(h, &p);
    set_negative(h, &n);
}

fn merge(a: &Sparse, b: &Sparse, sign: f64) -> Sparse {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                out.push((x.0, x.1 + sign * y.1));
                i += 1;
                j += 1;
            }
            (Some(x), y) if y.is_none_or(|y| x.0 < y.0) => {
                out.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                out.push((y.0, sign * y.1));
                j += 1;
            }
            (_, None) => break,
        }
    }
    out
}

/// Bounds that both have.
fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|x| b.contains(x)).collect()
}

/// Buckets over `from` → buckets over `to`, which is a part of `from`.
fn rebucket(buckets: &Sparse, from: &[f64], to: &[f64]) -> Sparse {
    let mut out: Sparse = Vec::new();
    for (i, c) in buckets {
        let upper = usize::try_from(*i).ok().and_then(|i| from.get(i)).copied().unwrap_or(f64::INFINITY);
        let target = to.partition_point(|b| *b < upper) as i32;
        match out.last_mut() {
            Some((last, sum)) if *last == target => *sum += c,
            _ => out.push((target, *c)),
        }
    }
    out
}

/// Gives both the same schema, zero bucket and bounds; true when custom bounds differed.
fn align(a: &mut Histogram, b: &mut Histogram) -> Result<bool, Incompatible> {
    if is_custom(a) != is_custom(b) {
        return Err(Incompatible);
    }
    if is_custom(a) {
        if a.custom_bounds == b.custom_bounds {
            return Ok(false);
        }
        let common = common_bounds(&a.custom_bounds, &b.custom_bounds);
        for h in [a, b] {
            let buckets = rebucket(&positive(h), &h.custom_bounds, &common);
            set_positive(h, &buckets);
            h.custom_bounds.clone_from(&common);
        }
        return Ok(true);
    }
    while a.zero_threshold != b.zero_threshold {
        let wide = a.zero_threshold.max(b.zero_threshold);
        widen_zero_bucket(a, wide);
        widen_zero_bucket(b, a.zero_threshold);
        // NaN thresholds never meet.
        if !(a.zero_threshold.is_finite() && b.zero_threshold.is_finite()) {
            break;
        }
    }
    let schema = a.schema.min(b.schema);
    *a = to_schema(a, schema);
    *b = to_schema(b, schema);
    Ok(false)
}

/// `h += sign * other`.
pub(crate) fn add(h: &mut Histogram, other: &Histogram, sign: f64) -> Result<Added, Incompatible> {
    let mut other = other.clone();
    let bounds_reconciled = align(h, &mut other)?;
    let reset_collision = join_hints(h, other.reset_hint);
    h.integer = false;
    h.count += sign * other.count;
    h.sum += sign * other.sum;
    h.zero_count += sign * other.zero_count;
    let (p, n) = (merge(&positive(h), &positive(&other), sign), merge(&negative(h), &negative(&other), sign));
    set_positive(h, &p);
    set_negative(h, &n);
    Ok(Added { reset_collision, bounds_reconciled })
}

/// What the sum says of resets; true when the two contradict each other.
fn join_hints(h: &mut Histogram, other: ResetHint) -> bool {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    let (hint, collision) = match (h.reset_hint, other) {
        (a, b) if a == b => (a, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        (Reset, NotReset) | (NotReset, Reset) => (Unknown, true),
        (a, _) => (a, false),
    };
    h.reset_hint = hint;
    collision
}

/// Was the counter reset between `previous` and `h`?
pub(crate) fn detect_reset(h: &Histogram, previous: &Histogram) -> bool {
    match h.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if is_custom(h) != is_custom(previous) || h.count < previous.count {
        return true;
    }
    if is_custom(h) {
        let (mut now, mut before) = (positive(h), positive(previous));
        if h.custom_bounds != previous.custom_bounds {
            let common = common_bounds(&h.custom_bounds, &previous.custom_bounds);
            now = rebucket(&now, &h.custom_bounds, &common);
            before = rebucket(&before, &previous.custom_bounds, &common);
        }
        return any_less(&now, &before);
    }
    if h.schema > previous.schema || h.zero_threshold < previous.zero_threshold {
        return true;
    }
    let mut before = previous.clone();
    widen_zero_bucket(&mut before, h.zero_threshold);
    if before.zero_threshold != h.zero_threshold || h.zero_count < before.zero_count {
        return true;
    }
    let (bp, bn) = (positive(&before), negative(&before));
    any_less(&positive(h), &reduce(&bp, before.schema, h.schema))
        || any_less(&negative(h), &reduce(&bn, before.schema, h.schema))
}

fn any_less(now: &Sparse, before: &Sparse) -> bool {
    let mut j = 0;
    before.iter().filter(|(_, c)| *c != 0.0).any(|(i, was)| {
        while j < now.len() && now[j].0 < *i {
            j += 1;
        }
        now.get(j).filter(|(k, _)| k == i).map_or(0.0, |(_, c)| *c) < *was
    })
}

/// The same observations in the same buckets, bit by bit; empty buckets do not matter, nor what is said of resets.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |x: f64, y: f64| x.to_bits() == y.to_bits();
    let present =
        |s: Sparse| s.into_iter().filter(|(_, c)| *c != 0.0).map(|(i, c)| (i, c.to_bits())).collect::<Vec<_>>();
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (!is_custom(a) || a.custom_bounds == b.custom_bounds)
        && same(a.zero_threshold, b.zero_threshold)
        && same(a.zero_count, b.zero_count)
        && present(positive(a)) == present(positive(b))
        && present(negative(a)) == present(negative(b))
}

pub(crate) fn has_overflow(h: &Histogram) -> bool {
    h.zero_count.is_infinite()
        || h.count.is_infinite()
        || h.sum.is_infinite()
        || h.positive_counts.iter().chain(&h.negative_counts).any(|c| c.is_infinite())
}

/// As Prometheus writes it where a histogram becomes a label's value.
pub(crate) fn describe(h: &Histogram) -> String {
    use crate::eval::format_g as g;
    let mut out = format!("{{count:{}, sum:{}", g(h.count), g(h.sum));
    let zero = (!is_custom(h)).then(|| zero_bucket(h));
    let all = negative_buckets(h).into_iter().rev().chain(zero).chain(positive_buckets(h));
    for b in all.filter(|b| b.count != 0.0) {
        let open = if b.lower_inclusive { '[' } else { '(' };
        let close = if b.upper_inclusive { ']' } else { ')' };
        out += &format!(", {open}{},{}{close}:{}", g(b.lower), g(b.upper), g(b.count));
    }
    out + "}"
}
