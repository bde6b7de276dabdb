//! The buckets of a histogram with their bounds.

use std::sync::LazyLock;

use belfry_model::Histogram;

use super::{Sparse, is_custom, negative, positive};

/// The finest schema there is.
const SCHEMA_MAX: u32 = 8;

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
        let schema = schema.min(31);
        let whole = index >> schema;
        let part = index - (whole << schema);
        let fraction = match FRACTIONS.get(schema as usize).and_then(|f| f.get(part as usize)) {
            Some(fraction) => *fraction,
            // No histogram has so many buckets.
            None => (f64::from(part) / f64::from(1u32 << schema)).exp2(),
        };
        f64::powi(2.0, whole.clamp(-2000, 2000)) * fraction
    };
    // The last bucket that holds finite numbers ends with the largest of them.
    if v.is_infinite() && bound_is_last(schema, index) { f64::MAX } else { v }
}

/// The bounds from 1 to 2 by schema. They are those that clients and Prometheus count by, to the last bit: the roots of two
/// as fdlibm's exponential rounds them, multiplied up, every other one taken from the schema before. (Correctly rounded
/// ones differ in the last digit, and with them labels that `count_values` makes.)
static FRACTIONS: LazyLock<Vec<Vec<f64>>> = LazyLock::new(|| {
    let mut all: Vec<Vec<f64>> = vec![vec![1.0]];
    for schema in 1..=SCHEMA_MAX {
        let (count, factor) = (1usize << schema, exp2_of_fraction(1.0 / f64::from(1 << schema)));
        let mut bounds = vec![1.0];
        for i in 1..count {
            let before = all.last().and_then(|b| b.get(i / 2)).filter(|_| i.is_multiple_of(2));
            bounds.push(before.copied().unwrap_or(bounds[i - 1] * factor));
        }
        all.push(bounds);
    }
    all
});

/// 2^x for x from 0 to 1/2, as fdlibm (`e_exp.c`, Sun Microsystems 1993) computes an exponential, its first coefficient
/// rounded to a sixth.
fn exp2_of_fraction(x: f64) -> f64 {
    // ln 2 in two parts, and the coefficients of the Remez approximation on ±ln(2)/2.
    const LN2: [f64; 2] = [0.6931471803691238, 1.9082149292705877e-10];
    const P: [f64; 5] = [
        0.16666666666666666,
        -0.0027777777777015593,
        6.613756321437934e-5,
        -1.6533902205465252e-6,
        4.1381367970572385e-8,
    ];
    let whole = if x < 0.5 { 0.0 } else { 1.0 };
    let part = x - whole;
    let (high, low) = (part * LN2[0], -part * LN2[1]);
    let r = high - low;
    let t = r * r;
    let c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))));
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    if whole == 0.0 { y } else { 2.0 * y }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Prometheus server prints them.
    #[test]
    fn bounds_are_those_of_clients_to_the_last_bit() {
        for (schema, index, upper) in [
            (1, 1, 2.0 * 0.7071067811865475),
            (1, -1, 0.7071067811865475),
            (1, 3, 2.82842712474619),
            (1, 5, 5.65685424949238),
            (2, -1, 0.8408964152537144),
            (2, 1, 1.189207115002721),
            (3, 0, 1.0),
            (3, 8, 2.0),
        ] {
            assert_eq!(bound(schema, &[], index).to_bits(), f64::to_bits(upper), "schema {schema}, bucket {index}");
        }
    }

    #[test]
    fn bounds_of_every_schema_ascend_and_meet_those_of_the_one_before() {
        for schema in 1..=8 {
            for i in 0..1 << schema {
                assert!(bound(schema, &[], i) < bound(schema, &[], i + 1));
                assert_eq!(bound(schema, &[], 2 * i), bound(schema - 1, &[], i));
                let near = f64::from(i).exp2().powf(1.0 / f64::from(1 << schema));
                assert!((bound(schema, &[], i) / near - 1.0).abs() < 1e-13);
            }
        }
    }
}
