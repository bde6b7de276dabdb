//! The buckets of a histogram with their bounds.

use belfry_model::Histogram;

use super::{Sparse, is_custom, negative, positive};

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound; may be -Inf.
    pub lower: f64,
    /// Upper bound; may be +Inf.
    pub upper: f64,
    /// Is the lower bound inside?
    pub lower_inclusive: bool,
    /// Is the upper bound inside?
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

/// The upper bound of the bucket `index`.
pub(crate) fn bound(schema: i32, custom: &[f64], index: i32) -> f64 {
    if schema == Histogram::CUSTOM_BOUNDS {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => custom.get(i).copied().unwrap_or(f64::INFINITY),
        };
    }
    let v = if schema < 0 {
        let exponent = i64::from(index) << (-schema).min(31);
        f64::powi(2.0, exponent.clamp(-2000, 2000) as i32)
    } else {
        // The whole part is exact; only the fraction is rounded.
        let schema = schema.min(31);
        let whole = index >> schema;
        let fraction = f64::from(index - (whole << schema)) / f64::from(1u32 << schema);
        f64::powi(2.0, whole.clamp(-2000, 2000)) * fraction.exp2()
    };
    // The last bucket that holds finite numbers ends with the largest of them.
    if v.is_infinite() && bound_is_last(schema, index) { f64::MAX } else { v }
}

fn bound_is_last(schema: i32, index: i32) -> bool {
    if schema < 0 {
        i64::from(index) << (-schema).min(31) == 1024
    } else {
        i64::from(index) == 1024i64 << schema.min(31)
    }
}

fn with_bounds(h: &Histogram, buckets: &Sparse, is_negative: bool) -> Vec<Bucket> {
    let custom = is_custom(h);
    buckets
        .iter()
        .map(|(i, count)| {
            let (a, b) = (bound(h.schema, &h.custom_bounds, i - 1), bound(h.schema, &h.custom_bounds, *i));
            let (lower, upper) = if is_negative { (-b, -a) } else { (a, b) };
            Bucket {
                lower,
                upper,
                lower_inclusive: if custom { *i == 0 } else { lower < 0.0 },
                upper_inclusive: custom || upper > 0.0,
                count: *count,
            }
        })
        .collect()
}

/// From zero upwards.
pub(crate) fn positive_buckets(h: &Histogram) -> Vec<Bucket> {
    with_bounds(h, &positive(h), false)
}

/// From zero downwards.
pub(crate) fn negative_buckets(h: &Histogram) -> Vec<Bucket> {
    with_bounds(h, &negative(h), true)
}

pub(crate) fn zero_bucket(h: &Histogram) -> Bucket {
    Bucket {
        lower: -h.zero_threshold,
        upper: h.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: h.zero_count,
    }
}

/// All, ascending. As in Prometheus a zero bucket that is less than empty is left out, and what it covers belongs to no
/// other.
pub(crate) fn all_buckets(h: &Histogram) -> Vec<Bucket> {
    let mut out = negative_buckets(h);
    out.reverse();
    if is_custom(h) {
        out.extend(positive_buckets(h));
        return out;
    }
    out.iter_mut().for_each(|b| b.upper = b.upper.min(-h.zero_threshold));
    if h.zero_count > 0.0 {
        out.push(zero_bucket(h));
    }
    let mut positive = positive_buckets(h);
    positive.iter_mut().for_each(|b| b.lower = b.lower.max(h.zero_threshold));
    out.extend(positive);
    out
}
