//! Quantiles and fractions of histograms, native and classic, by interpolation within buckets.

use belfry_model::Histogram;

use super::{Bucket, all_buckets, is_custom};

/// What observations of NaN do to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    None,
    /// The rank falls among them.
    ResultIsNan,
    /// They count as larger than everything.
    Skewed,
}

/// A cumulative bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Classic {
    pub upper: f64,
    pub count: f64,
}

/// Where the zero bucket is known to lie on one side, its other half is left out.
fn narrow_zero(h: &Histogram, b: &mut Bucket) {
    if !is_custom(h) && b.lower < 0.0 && b.upper > 0.0 {
        if h.negative_counts.is_empty() && !h.positive_counts.is_empty() {
            b.lower = 0.0;
        } else if h.positive_counts.is_empty() && !h.negative_counts.is_empty() {
            b.upper = 0.0;
        }
    }
}

fn is_linear(h: &Histogram, b: &Bucket) -> bool {
    is_custom(h) || (b.lower <= 0.0 && b.upper >= 0.0)
}

/// The φ-quantile of a native histogram.
pub(crate) fn quantile(q: f64, h: &Histogram) -> (f64, NanEffect) {
    let plain = |v| (v, NanEffect::None);
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if h.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    let nans = h.sum.is_nan();
    // From the nearer end; NaN observations are in no bucket, so only the lower end is sure with them.
    let forward = nans || q < 0.5;
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    let mut buckets = all_buckets(h);
    buckets.retain(|b| b.count != 0.0);
    if !forward {
        buckets.reverse();
    }
    let (mut count, mut bucket) = (0.0, None);
    for b in buckets {
        bucket = Some(b);
        count += b.count;
        if count >= rank {
            break;
        }
    }
    let Some(mut b) = bucket else {
        return (f64::NAN, if nans { NanEffect::ResultIsNan } else { NanEffect::None });
    };
    narrow_zero(h, &mut b);
    let effect = match nans {
        true if count < rank => return (f64::NAN, NanEffect::ResultIsNan),
        true => NanEffect::Skewed,
        false => NanEffect::None,
    };
    if is_custom(h) {
        if b.lower == f64::NEG_INFINITY {
            if b.upper <= 0.0 {
                return (b.upper, effect);
            }
            b.lower = 0.0;
        } else if b.upper == f64::INFINITY {
            return (b.lower, effect);
        }
    }
    count = count.min(h.count);
    if count < rank {
        return (if forward { b.upper } else { b.lower }, effect);
    }
    rank = if forward { rank - (count - b.count) } else { count - rank };
    let fraction = rank / b.count;
    if is_linear(h, &b) {
        return (b.lower + (b.upper - b.lower) * fraction, effect);
    }
    let (lower, upper) = (b.lower.abs().log2(), b.upper.abs().log2());
    let v = if b.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    };
    (v, effect)
}

/// Ranks of two values among ascending buckets.
struct Ranks {
    lower: f64,
    upper: f64,
    lower_rank: Option<f64>,
    upper_rank: Option<f64>,
}

impl Ranks {
    /// The ranks within the bucket from `from` to `to`, which starts at `rank` and ends at `end`.
    fn visit(&mut self, from: f64, to: f64, rank: f64, end: f64, at: impl Fn(f64) -> f64) {
        // In a bucket without a lower end nothing is known: it counts for neither side.
        let endless = from == f64::NEG_INFINITY;
        let (below, above) = (end, rank);
        for (v, slot, unknown) in [(self.lower, &mut self.lower_rank, below), (self.upper, &mut self.upper_rank, above)]
        {
            if slot.is_none() {
                if from >= v {
                    *slot = Some(rank);
                } else if to > v {
                    *slot = Some(if endless { unknown } else { at(v) });
                }
            }
        }
    }

    fn fraction(&self, seen: f64, total: f64) -> f64 {
        let rank = |r: Option<f64>| r.unwrap_or(seen).min(seen);
        (rank(self.upper_rank) - rank(self.lower_rank)).max(0.0) / total
    }
}

/// The part of the observations between two values; true when NaN observations were left out.
pub(crate) fn fraction(lower: f64, upper: f64, h: &Histogram) -> (f64, bool) {
    let nans = h.sum.is_nan();
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let mut ranks = Ranks { lower, upper, lower_rank: None, upper_rank: None };
    let mut rank = 0.0;
    for mut b in all_buckets(h) {
        narrow_zero(h, &mut b);
        if is_custom(h) && b.lower == f64::NEG_INFINITY && b.upper > 0.0 {
            b.lower = 0.0;
        }
        let linear = is_linear(h, &b);
        ranks.visit(b.lower, b.upper, rank, rank + b.count, |v| {
            let part = if linear {
                (v - b.lower) / (b.upper - b.lower)
            } else {
                let (lower, upper, at) = (b.lower.abs().log2(), b.upper.abs().log2(), v.abs().log2());
                if v > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
            };
            rank + b.count * part
        });
        rank += b.count;
    }
    (ranks.fraction(if nans { rank } else { h.count }, h.count), nans)
}

/// Sorted, one bucket per bound; `None` without a bucket for +Inf.
fn prepare(buckets: &mut Vec<Classic>) -> Option<()> {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.last().filter(|b| b.upper == f64::INFINITY)?;
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    Some(())
}

/// Differences smaller than this, relatively, are rounding.
const SMALL_DELTA: f64 = 1e-12;

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < SMALL_DELTA
}

/// Counts must not fall from bucket to bucket; true when that had to be mended beyond rounding.
fn make_monotonic(buckets: &mut [Classic]) -> bool {
    let mut forced = false;
    let Some(mut prev) = buckets.first().map(|b| b.count) else { return false };
    for b in &mut buckets[1..] {
        if almost_equal(prev, b.count) {
            b.count = prev;
        } else if b.count < prev {
            b.count = prev;
            forced = true;
        } else {
            prev = b.count;
        }
    }
    forced
}

/// The φ-quantile of a classic histogram; true when its counts had to be mended.
pub(crate) fn classic_quantile(q: f64, mut buckets: Vec<Classic>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if prepare(&mut buckets).is_none() {
        return (f64::NAN, false);
    }
    let forced = make_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    let b = buckets[..last].partition_point(|b| b.count < rank);
    if b == last {
        return (buckets[last - 1].upper, forced);
    }
    if b == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let (mut start, mut count) = (0.0, buckets[b].count);
    if b > 0 {
        start = buckets[b - 1].upper;
        count -= buckets[b - 1].count;
        rank -= buckets[b - 1].count;
    }
    (start + (buckets[b].upper - start) * (rank / count), forced)
}

/// The part of a classic histogram's observations between two values. As in Prometheus counts that fall from bucket to
/// bucket are taken as they are.
pub(crate) fn classic_fraction(lower: f64, upper: f64, mut buckets: Vec<Classic>) -> f64 {
    if prepare(&mut buckets).is_none() {
        return f64::NAN;
    }
    let total = buckets.last().map_or(0.0, |b| b.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut from = if buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let mut rank = 0.0;
    let (mut lower_rank, mut upper_rank) = (None, None);
    for b in &buckets {
        for (v, slot) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if slot.is_some() {
                continue;
            }
            if from >= v {
                *slot = Some(rank);
            } else if b.upper > v {
                // Where a bucket has no lower end nothing is known but its count.
                let endless = from == f64::NEG_INFINITY;
                let within = || rank + (b.count - rank) * (v - from) / (b.upper - from);
                *slot = Some(if endless { b.count } else { within() });
            }
        }
        rank = b.count;
        from = b.upper;
    }
    let at_most = |rank: Option<f64>| match rank {
        Some(rank) if rank > total => total,
        rank => rank.unwrap_or(total),
    };
    (at_most(upper_rank) - at_most(lower_rank)) / total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Prometheus 3.14 does: unlike quantiles, fractions take counts as they are.
    #[test]
    fn fractions_of_counts_that_fall_are_not_mended() {
        let of =
            |all: &[(f64, f64)]| all.iter().map(|(upper, count)| Classic { upper: *upper, count: *count }).collect();
        let inf = f64::INFINITY;
        let falls = [(0.5, 10.0), (1.0, 4.0), (2.0, 6.0), (inf, 20.0)];
        assert_eq!(classic_fraction(0.5, 2.0, of(&falls)), -0.2);
        // The last bucket is empty: so nothing was observed.
        assert!(classic_fraction(-inf, 1.0, of(&[(1.0, 4.0), (inf, 0.0)])).is_nan());
        // Buckets of one bound are one.
        assert_eq!(classic_fraction(0.0, 1.0, of(&[(1.0, 2.0), (1.0, 4.0), (inf, 12.0)])), 0.5);
        // Without a lower end nothing is known but the count.
        assert_eq!(classic_fraction(-inf, -2.0, of(&[(-1.0, 4.0), (inf, 8.0)])), 0.5);
        assert_eq!(classic_fraction(-3.0, -1.0, of(&[(-1.0, 4.0), (inf, 8.0)])), 0.0);
    }
}
