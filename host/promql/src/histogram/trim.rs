//! `</` and `>/`: keeps the observations on one side of a bound.

use belfry_model::Histogram;

use super::{Bucket, bound, compact, is_custom, negative, positive, set_negative, set_positive, zero_bucket};

/// How many of a bucket's observations are at most `v`, by interpolation.
fn count_below(b: &Bucket, v: f64, linear: bool) -> f64 {
    if v <= b.lower {
        return 0.0;
    }
    if v >= b.upper {
        return b.count;
    }
    let fraction = if linear {
        (v - b.lower) / (b.upper - b.lower)
    } else {
        let (lower, upper, at) = (b.lower.abs().log2(), b.upper.abs().log2(), v.abs().log2());
        if b.upper > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    };
    b.count * fraction
}

/// A middle of a part of a bucket: where its observations are taken to be.
fn middle(lower: f64, upper: f64, linear: bool) -> f64 {
    if linear { (lower + upper) / 2.0 } else { (lower.abs() * upper.abs()).sqrt().copysign(upper + lower) }
}

/// How many observations stay, and where those that go are taken to be.
fn split(b: &Bucket, v: f64, below: bool, custom: bool) -> (f64, f64) {
    if b.lower == f64::NEG_INFINITY {
        if if below { v >= b.upper } else { v <= b.lower } {
            return (b.count, 0.0);
        }
        // A first bucket that ends above zero is taken to begin at zero.
        if v >= 0.0 && b.upper > v && b.upper.is_finite() {
            let share = v / b.upper;
            return if below { (b.count * share, (v + b.upper) / 2.0) } else { (b.count * (1.0 - share), v / 2.0) };
        }
        return (0.0, b.upper);
    }
    if b.upper == f64::INFINITY {
        return if !below && v <= b.lower { (b.count, 0.0) } else { (0.0, b.lower) };
    }
    let under = count_below(b, v, custom);
    if below {
        (under, if v <= b.lower { middle(b.lower, b.upper, custom) } else { middle(v, b.upper, custom) })
    } else {
        (b.count - under, if v >= b.upper { middle(b.lower, b.upper, custom) } else { middle(b.lower, v, custom) })
    }
}

/// `h` with only the observations below (or above) `v`.
pub(crate) fn trim(h: &Histogram, v: f64, below: bool) -> Histogram {
    let mut out = h.clone();
    let custom = is_custom(h);
    let (mut count, mut removed_sum) = (0.0, 0.0);
    let (mut any_positive, mut any_negative) = (false, false);
    let mut side = |buckets: super::Sparse, is_negative: bool| -> super::Sparse {
        buckets
            .into_iter()
            .filter(|(_, c)| *c != 0.0)
            .map(|(i, c)| {
                let (x, y) = (bound(h.schema, &h.custom_bounds, i - 1), bound(h.schema, &h.custom_bounds, i));
                let (lower, upper) = if is_negative { (-y, -x) } else { (x, y) };
                any_negative |= lower < 0.0;
                any_positive |= upper > 0.0;
                let b = Bucket { lower, upper, lower_inclusive: false, upper_inclusive: true, count: c };
                let (kept, at) = split(&b, v, below, custom);
                if kept != c {
                    removed_sum += (c - kept) * at;
                }
                count += kept;
                (i, kept)
            })
            .collect()
    };
    let p = side(positive(h), false);
    let n = side(negative(h), true);
    set_positive(&mut out, &p);
    set_negative(&mut out, &n);
    if h.zero_count > 0.0 {
        let under = count_below(&zero_bucket(h), v, true);
        out.zero_count = if below { under } else { h.zero_count - under };
        count += out.zero_count;
    }
    out.count = count;
    out.sum = if count == 0.0 { 0.0 } else { h.sum - removed_sum };
    // Interpolation must not turn the sum's sign.
    if (!any_negative && out.sum < 0.0) || (!any_positive && out.sum > 0.0) {
        out.sum = 0.0;
    }
    out.integer = false;
    compact(&mut out);
    out
}
