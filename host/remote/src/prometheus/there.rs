//! What of a shipment the engine has already: asked when one that may be there is refused.
//!
//! Invariant: a sample is dropped only when the engine gives it back, at its time and with its value; what is held of its
//! answers is bounded.
//! Not here: what becomes of the rest.

use std::collections::BTreeSet;
use std::ops::Range;

use belfry_model::matcher::{MatchOp, Matcher};
use belfry_model::read::ReadError;
use belfry_model::sample::is_stale;
use belfry_model::{Histogram, SampleBuf, SelectLimits, SeriesSet, TimeRange, TimestampMs, Value};

use super::read::Reader;
use crate::engine::{SendError, SeriesSamples, Shipment};

/// Series that one question is about. With those that have the same names and are not meant, they shall be within [`LIMITS`].
const SERIES_MAX: usize = 2_000;
/// Bytes of a question's matchers: some hundred names.
const MATCHER_BYTES_MAX: usize = 12 << 10;
/// About one shipment. What is beyond counts as not there; the largest shipment has some 15,000 series.
const QUESTIONS_MAX: usize = 128;
/// Of one answer.
const LIMITS: SelectLimits = SelectLimits { series_max: 10_000, samples_max: 1_000_000 };

/// The shipment without the samples that the engine has, or all of it when the engine cannot be read. `Away` when it may be
/// later.
pub(super) async fn missing(reader: &Reader, shipment: &Shipment) -> Result<Shipment, SendError> {
    let mut rest = shipment.clone();
    rest.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut asked = 0;
    let all = 0..rest.series.len();
    let mut waiting = vec![all];
    while let Some(part) = waiting.pop() {
        if let Some((matchers, range)) = question(&rest.series[part.clone()]) {
            if asked == QUESTIONS_MAX {
                break;
            }
            asked += 1;
            match reader.raw(&matchers, range, LIMITS).await {
                Ok(set) => {
                    drop_those_in(&set, range, &mut rest.series[part]);
                    continue;
                }
                Err(e) if e.is_away => {
                    let reason = format!("what it has already cannot be read: {}", e.error);
                    return Err(SendError::Away { reason, retry_after_ms: None });
                }
                Err(e) if matches!(e.error, ReadError::TooManySeries { .. } | ReadError::TooManySamples { .. }) => {}
                Err(_) => break,
            }
        }
        waiting.extend(halves(part));
    }
    // Exemplars are not asked for: an engine leaves out those that it has.
    rest.series.retain(|s| !s.samples.is_empty() || !s.exemplars.is_empty());
    Ok(rest)
}

fn halves(part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let middle = part.start + part.len() / 2;
    let is_one = part.len() <= 1;
    [middle..part.end, part.start..middle].into_iter().filter(move |_| !is_one)
}

/// How all of these are asked for, and perhaps others; `None` when they are too many for one question, or nothing is to be
/// asked.
fn question(series: &[SeriesSamples]) -> Option<(Vec<Matcher>, TimeRange)> {
    let oldest = series.iter().filter_map(|s| s.samples.first()).map(|s| s.at).min()?;
    let newest = series.iter().filter_map(|s| s.samples.last()).map(|s| s.at).max()?;
    let range = TimeRange::new(oldest, TimestampMs(newest.0.saturating_add(1)))?;
    if series.len() > SERIES_MAX {
        return None;
    }
    let mut room = MATCHER_BYTES_MAX;
    let mut matchers = vec![one_of("__name__", series, &mut room)?];
    // Whatever else tells them from those of the same names: an engine may have many.
    let others = series.first()?.labels.iter().filter(|l| &*l.name != "__name__");
    matchers.extend(others.filter_map(|l| one_of(&l.name, series, &mut room)));
    Some((matchers, range))
}

/// Matches the values that a label has in these series; `None` when one lacks it, or there is no room for them.
fn one_of(name: &str, series: &[SeriesSamples], room: &mut usize) -> Option<Matcher> {
    let mut values = BTreeSet::new();
    let mut left = *room;
    for s in series {
        let value = s.labels.get(name)?;
        if values.insert(value) {
            left = left.checked_sub(regex_syntax::escape(value).len() + 1)?;
        }
    }
    *room = left;
    if values.len() == 1 {
        return values.first().map(|only| Matcher::equal(name, *only));
    }
    let all: Vec<String> = values.into_iter().map(regex_syntax::escape).collect();
    Matcher::new(name, MatchOp::Regex, all.join("|")).ok()
}

/// `series` are in order of their labels.
fn drop_those_in(set: &SeriesSet, range: TimeRange, series: &mut [SeriesSamples]) {
    let mut there = SampleBuf::default();
    for found in &set.series {
        let from = series.partition_point(|s| s.labels < found.labels);
        for s in series[from..].iter_mut().take_while(|s| s.labels == found.labels) {
            there.clear();
            if found.samples.decode(range, &mut there).is_ok() {
                s.samples.retain(|sample| {
                    let at = there.times.binary_search(&sample.at.0).ok();
                    !at.and_then(|i| there.get(i)).is_some_and(|there| is_same(&there.value, &sample.value))
                });
            }
        }
    }
}

/// Prometheus makes a stale marker behind a native histogram one of that kind, and adds empty buckets to a histogram for
/// those around it; what it says of resets is its own.
fn is_same(one: &Value, other: &Value) -> bool {
    let ends = |v: &Value| match v {
        Value::Float(v) => is_stale(*v),
        Value::Histogram(h) => h.is_stale(),
    };
    match (one, other) {
        _ if ends(one) && ends(other) => true,
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (Value::Histogram(one), Value::Histogram(other)) => {
            let numbers = |h: &Histogram| [h.count, h.sum, h.zero_threshold, h.zero_count].map(f64::to_bits);
            one.schema == other.schema
                && numbers(one) == numbers(other)
                && one.custom_bounds == other.custom_bounds
                && buckets(one, false) == buckets(other, false)
                && buckets(one, true) == buckets(other, true)
        }
        _ => false,
    }
}

/// Those with something in them, by their place.
fn buckets(h: &Histogram, negative: bool) -> Vec<(i64, u64)> {
    let (spans, counts) = match negative {
        true => (&h.negative_spans, &h.negative_counts),
        false => (&h.positive_spans, &h.positive_counts),
    };
    let mut next = 0_i64;
    let places = spans.iter().flat_map(|span| {
        let from = next.saturating_add(i64::from(span.offset));
        next = from.saturating_add(i64::from(span.length));
        from..next
    });
    let all = places.zip(counts).filter(|(_, count)| **count != 0.0);
    all.map(|(place, count)| (place, count.to_bits())).collect()
}

#[cfg(test)]
#[path = "there_tests.rs"]
mod tests;
