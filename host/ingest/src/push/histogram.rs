//! Native histograms of remote write: both versions carry the same message.
//!
//! Invariant: what passes is a histogram that PromQL can work with (Prometheus' `Histogram.Validate`); its buckets are
//! bounded.

use belfry_model::Histogram;
use belfry_model::sample::{ResetHint, Span};

use super::decoded::REQUEST_BUCKETS_MAX;
use super::wire::{Field, Malformed, Reader, zigzag};

/// A histogram with its times.
pub(crate) struct Timed {
    pub at: i64,
    pub start: i64,
    /// Or why it cannot be stored.
    pub histogram: Result<Histogram, String>,
}

/// How the counts of one side are told.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Reads one; `buckets` counts those of the request so far.
pub(crate) fn read(bytes: &[u8], buckets: &mut usize) -> Result<Timed, Malformed> {
    let mut h = Histogram { integer: true, ..Histogram::default() };
    let (mut at, mut start) = (0, 0);
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        match n {
            1 => h.count = field.uint(n)? as f64,
            2 => {
                h.count = field.double(n)?;
                h.integer = false;
            }
            3 => h.sum = field.double(n)?,
            4 => h.schema = i32::try_from(field.sint(n)?).unwrap_or(i32::MAX),
            5 => h.zero_threshold = field.double(n)?,
            6 => h.zero_count = field.uint(n)? as f64,
            7 => h.zero_count = field.double(n)?,
            8 => negative.spans.push(span(field.bytes(n)?, buckets)?),
            9 => varints(field, n, buckets, |x| negative.deltas.push(zigzag(x)))?,
            10 => doubles(field, n, buckets, &mut negative.counts)?,
            11 => positive.spans.push(span(field.bytes(n)?, buckets)?),
            12 => varints(field, n, buckets, |x| positive.deltas.push(zigzag(x)))?,
            13 => doubles(field, n, buckets, &mut positive.counts)?,
            14 => {
                h.reset_hint = match field.uint(n)? {
                    1 => ResetHint::Reset,
                    2 => ResetHint::NotReset,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                }
            }
            15 => at = field.int(n)?,
            16 => doubles(field, n, buckets, &mut h.custom_bounds)?,
            17 => start = field.int(n)?,
            _ => {}
        }
    }
    let integer = h.integer;
    h.positive_counts = absolute(&mut positive, integer);
    h.negative_counts = absolute(&mut negative, integer);
    h.positive_spans = positive.spans;
    h.negative_spans = negative.spans;
    let checked = check(&h).map(|()| h);
    Ok(Timed { at, start, histogram: checked })
}

fn span(bytes: &[u8], buckets: &mut usize) -> Result<Span, Malformed> {
    count(buckets)?;
    let mut span = Span { offset: 0, length: 0 };
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        match n {
            1 => span.offset = i32::try_from(field.sint(n)?).unwrap_or(i32::MIN),
            2 => span.length = u32::try_from(field.uint(n)?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(span)
}

fn count(buckets: &mut usize) -> Result<(), Malformed> {
    *buckets += 1;
    match *buckets > REQUEST_BUCKETS_MAX {
        true => Err(Malformed::TooMany { what: "histogram buckets", limit: REQUEST_BUCKETS_MAX }),
        false => Ok(()),
    }
}

/// Packed, or one at a time: a reader must take both.
fn varints(field: Field<'_>, n: u32, buckets: &mut usize, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
    match field {
        Field::Varint(x) => {
            count(buckets)?;
            each(x);
            Ok(())
        }
        Field::Bytes(packed) => {
            let mut r = Reader::new(packed);
            while !r.is_at_end() {
                count(buckets)?;
                each(r.varint()?);
            }
            Ok(())
        }
        _ => Err(Malformed::Type(n)),
    }
}

fn doubles(field: Field<'_>, n: u32, buckets: &mut usize, into: &mut Vec<f64>) -> Result<(), Malformed> {
    match field {
        Field::Fixed64(bits) => {
            count(buckets)?;
            into.push(f64::from_bits(bits));
            Ok(())
        }
        Field::Bytes(packed) => {
            let mut r = Reader::new(packed);
            while !r.is_at_end() {
                count(buckets)?;
                into.push(f64::from_bits(r.fixed64()?));
            }
            Ok(())
        }
        _ => Err(Malformed::Type(n)),
    }
}

fn absolute(side: &mut Side, integer: bool) -> Vec<f64> {
    if !integer {
        return std::mem::take(&mut side.counts);
    }
    let sums = side.deltas.iter().scan(0i64, |sum, d| {
        *sum = sum.saturating_add(*d);
        Some(*sum as f64)
    });
    sums.collect()
}

/// Why PromQL cannot work with a histogram (Prometheus' `Histogram.Validate`); whoever brings one, it is asked.
pub(crate) fn check(h: &Histogram) -> Result<(), String> {
    let custom = h.schema == Histogram::CUSTOM_BOUNDS;
    if !custom && !(-4..=8).contains(&h.schema) {
        return Err(format!("native histograms have a schema of -4 to 8, or -53; not {}", h.schema));
    }
    check_side("positive", &h.positive_spans, &h.positive_counts)?;
    check_side("negative", &h.negative_spans, &h.negative_counts)?;
    if h.count < 0.0 || h.zero_count < 0.0 || h.zero_threshold < 0.0 {
        return Err("a count or the zero threshold is negative".to_owned());
    }
    if custom {
        check_custom(h)?;
    } else if !h.custom_bounds.is_empty() {
        return Err("custom bounds belong to schema -53 only".to_owned());
    }
    // Floats may differ by rounding; whole numbers may not. Observations of NaN are in no bucket.
    let filled: f64 = h.positive_counts.iter().chain(&h.negative_counts).sum::<f64>() + h.zero_count;
    if h.integer && (filled > h.count || !h.sum.is_nan() && filled != h.count) {
        return Err(format!("the buckets hold {filled} observations, the histogram {}", h.count));
    }
    Ok(())
}

fn check_side(side: &str, spans: &[Span], counts: &[f64]) -> Result<(), String> {
    if spans.iter().skip(1).any(|s| s.offset < 0) {
        return Err(format!("a {side} span goes back"));
    }
    let named: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if named != counts.len() as u64 {
        return Err(format!("the {side} spans name {named} buckets, and there are {}", counts.len()));
    }
    match counts.iter().any(|c| *c < 0.0) {
        true => Err(format!("a {side} bucket has a negative count")),
        false => Ok(()),
    }
}

fn check_custom(h: &Histogram) -> Result<(), String> {
    if h.zero_count != 0.0 || h.zero_threshold != 0.0 || !h.negative_spans.is_empty() {
        return Err("with custom bounds there is neither a zero bucket nor a negative one".to_owned());
    }
    let ascending = h.custom_bounds.windows(2).all(|w| matches!(w, [a, b] if a < b));
    if !ascending || h.custom_bounds.iter().any(|b| !b.is_finite()) {
        return Err("custom bounds must be finite and ascend".to_owned());
    }
    let end: i64 = h.positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum();
    let first = h.positive_spans.first().map_or(0, |s| s.offset);
    match first < 0 || end > h.custom_bounds.len() as i64 + 1 {
        true => Err("a span reaches beyond the custom bounds".to_owned()),
        false => Ok(()),
    }
}
