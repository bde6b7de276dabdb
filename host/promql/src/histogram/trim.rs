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

/// How many observations stay, and where these are taken to be. Of a bucket without an end nothing is known, so it stays
/// or goes as a whole, except that a first bucket that ends above zero is taken to begin there.
fn split(b: &Bucket, v: f64, below: bool, linear: bool) -> (f64, f64) {
    let mut b = *b;
    if b.lower == f64::NEG_INFINITY {
        if b.upper.is_infinite() || (!below && (b.upper <= 0.0 || v < 0.0)) || v == f64::NEG_INFINITY {
            return (0.0, 0.0);
        }
        if b.upper <= 0.0 {
            return (b.count, v.min(b.upper));
        }
        b.lower = 0.0;
    } else if b.upper == f64::INFINITY {
        return if below || v == f64::INFINITY { (0.0, 0.0) } else { (b.count, v.max(b.lower)) };
    }
    let (lower, upper) = if below { (b.lower, v.min(b.upper)) } else { (v.max(b.lower), b.upper) };
    if lower >= upper {
        return (0.0, 0.0);
    }
    let under = count_below(&b, v, linear);
    (if below { under } else { b.count - under }, middle(lower, upper, linear))
}

/// `h` with only the observations below (or above) `v`; its sum is estimated from what stays.
pub(crate) fn trim(h: &Histogram, v: f64, below: bool) -> Histogram {
    let nothing_goes = if below { v == f64::INFINITY } else { v == f64::NEG_INFINITY };
    if nothing_goes || v.is_nan() {
        return h.clone();
    }
    let mut out = h.clone();
    let custom = is_custom(h);
    let (mut count, mut sum, mut all_kept) = (0.0, 0.0, true);
    let mut keep = |b: &Bucket, linear: bool| {
        let (kept, at) = split(b, v, below, linear);
        all_kept &= kept == b.count;
        count += kept;
        sum += kept * at;
        kept
    };
    let mut side = |buckets: super::Sparse, is_negative: bool| -> super::Sparse {
        let present = buckets.into_iter().filter(|(_, c)| *c != 0.0);
        present
            .map(|(i, c)| {
                let (x, y) = (bound(h.schema, &h.custom_bounds, i - 1), bound(h.schema, &h.custom_bounds, i));
                let (lower, upper) = if is_negative { (-y, -x) } else { (x, y) };
                let b = Bucket { lower, upper, lower_inclusive: false, upper_inclusive: true, count: c };
                (i, keep(&b, custom))
            })
            .collect()
    };
    let p = side(positive(h), false);
    let n = side(negative(h), true);
    if h.zero_count > 0.0 {
        let mut zero = zero_bucket(h);
        match (p.is_empty(), n.is_empty()) {
            (false, true) => zero.lower = 0.0,
            (true, false) => zero.upper = 0.0,
            _ => {}
        }
        out.zero_count = keep(&zero, true);
    }
    if all_kept && !is_cut_estimated(h, v, below) {
        return h.clone();
    }
    set_positive(&mut out, &p);
    set_negative(&mut out, &n);
    out.count = count;
    out.sum = sum;
    out.integer = false;
    compact(&mut out);
    out
}

/// Does the bound lie within a bucket that has no end and stays as a whole? Then the sum is an estimate all the same.
fn is_cut_estimated(h: &Histogram, v: f64, below: bool) -> bool {
    let cut = |b: &Bucket| {
        if below { b.lower == f64::NEG_INFINITY && b.upper > v } else { b.upper == f64::INFINITY && b.lower < v }
    };
    super::positive_buckets(h).iter().any(|b| b.count != 0.0 && cut(b))
}
