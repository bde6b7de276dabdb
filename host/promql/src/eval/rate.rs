//! `rate`, `increase`, `delta`, `irate`, `idelta` over windows, with Prometheus' extrapolation.

use std::sync::Arc;

use belfry_model::Histogram;
use belfry_model::sample::ResetHint;

use super::extended;
use super::notes::Notes;
use super::select::Window;
use super::vector::Cell;
use crate::histogram;
use crate::syntax::span::Span;

/// Where notes belong.
#[derive(Clone, Copy)]
pub(super) struct Subject<'m> {
    pub metric: &'m str,
    pub span: Span,
}

/// Did the counter begin anew between two samples, by what their start timestamps say?
pub(super) fn started_anew(prev_start: i64, prev_at: i64, start: i64, at: i64) -> bool {
    // Zero: not known. A start at the sample's own time is how OpenTelemetry says so, one behind it is wrong.
    if start == 0 || start >= at || start < prev_at {
        return false;
    }
    // A start at the very time of the sample before is a delta series, if that sample had a start itself.
    start > prev_at || (prev_start != 0 && prev_start < prev_at)
}

pub(super) fn extrapolated(
    w: &Window<'_>,
    counter: bool,
    per_second: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Option<Cell> {
    if w.extended.is_some() {
        return extended::rate(w, counter, per_second, subject, notes);
    }
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        notes.mixed_floats_histograms(subject.span, subject.metric);
        return None;
    }
    let mut value = 0.0;
    let mut histogram = None;
    let times = if w.histograms.is_empty() { w.times } else { w.histogram_times };
    let gaps = times.len().checked_sub(1)?;
    let counted_from = if counter { zero_inside(w) } else { None };
    if gaps == 0 && counted_from.is_none() {
        return None;
    }
    let first_count;
    if w.histograms.is_empty() {
        value = w.floats[gaps] - w.floats[0];
        if counter {
            value = with_resets(w, value);
        }
        first_count = w.floats[0];
    } else {
        histogram = Some(histogram_rate(w.histograms, counter, subject, notes)?);
        first_count = w.histograms[0].count;
    }
    let (first, last) = (times[0], times[gaps]);
    let mut to_start = (first - w.start) as f64 / 1000.0;
    let mut to_end = (w.end - last) as f64 / 1000.0;
    let mut sampled = (last - first) as f64 / 1000.0;
    let samples = if w.histograms.is_empty() { w.stand_for.0 } else { w.stand_for.1 };
    let between = sampled / (samples.saturating_sub(1).max(1)) as f64;
    // Nearer to an edge than usual between samples: the series goes on beyond it. Else it begins or ends half a
    // distance away.
    let threshold = between * 1.1;
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if let Some(start) = counted_from {
        // Nothing to guess: there it was zero.
        value += first_count;
        sampled = (last - start) as f64 / 1000.0;
        to_start = 0.0;
    } else if counter {
        // A counter was never below zero.
        let increase = histogram.as_ref().map_or(value, |h: &Histogram| h.count);
        if increase > 0.0 && first_count >= 0.0 {
            to_start = to_start.min(sampled * (first_count / increase));
        }
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= w.range_seconds();
    }
    Some(match histogram {
        Some(mut h) => {
            histogram::scale(&mut h, factor);
            Cell::Histogram(Arc::new(h))
        }
        None => Cell::Float(value * factor),
    })
}

/// Where within the window, before its first sample, the counter was zero; as its start timestamp says. Those of
/// histograms are not kept.
fn zero_inside(w: &Window<'_>) -> Option<i64> {
    let start = *w.starts.first().filter(|_| w.histograms.is_empty())?;
    (start != 0 && w.start < start && start < w.times[0]).then_some(start)
}

/// Gives back what the resets within the window took away.
fn with_resets(w: &Window<'_>, mut value: f64) -> f64 {
    // Most counters: one look at the whole series spares one at every window.
    if w.starts.is_empty() && w.rising {
        return value;
    }
    for i in 1..w.floats.len() {
        let anew = !w.starts.is_empty() && started_anew(w.starts[i - 1], w.times[i - 1], w.starts[i], w.times[i]);
        if w.floats[i] < w.floats[i - 1] || anew {
            value += w.floats[i - 1];
        }
    }
    value
}

fn histogram_rate(
    points: &[Arc<Histogram>],
    counter: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Option<Histogram> {
    let Subject { metric, span } = subject;
    let last = points.last()?;
    let mut prev: &Histogram = points.first()?;
    let gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    if counter && (gauge(prev) || gauge(last)) {
        notes.not_a_counter(span, metric);
    }
    // A reset right behind the first sample: its buckets need not fit, nothing of it counts.
    let empty;
    if counter && histogram::detect_reset(&points[1], prev) {
        empty = Histogram {
            schema: points[1].schema,
            custom_bounds: points[1].custom_bounds.clone(),
            ..Histogram::default()
        };
        prev = &empty;
    }
    let custom = histogram::is_custom(prev);
    if histogram::is_custom(last) != custom {
        notes.mixed_schemas(span, metric);
        return None;
    }
    let mut schema = last.schema.min(prev.schema);
    if counter {
        for p in &points[1..points.len() - 1] {
            if gauge(p) {
                notes.not_a_counter(span, metric);
            }
            schema = schema.min(p.schema);
            if histogram::is_custom(p) != custom {
                notes.mixed_schemas(span, metric);
                return None;
            }
        }
    }
    let mut h = histogram::to_schema(last, schema);
    let mut apply = |h: &mut Histogram, other: &Histogram, sign: f64, during: &str| match histogram::add(h, other, sign)
    {
        Ok(done) => {
            if done.bounds_reconciled {
                notes.bounds_reconciled(span, during);
            }
            true
        }
        Err(_) => {
            notes.mixed_schemas(span, metric);
            false
        }
    };
    if !apply(&mut h, prev, -1.0, "subtraction") {
        return None;
    }
    if counter {
        for p in &points[1..] {
            if histogram::detect_reset(p, prev) && !apply(&mut h, prev, 1.0, "addition") {
                return None;
            }
            prev = p;
        }
    } else if !gauge(&points[0]) || !gauge(last) {
        notes.not_a_gauge(span, metric);
    }
    h.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut h);
    Some(h)
}

/// Between the last two samples.
pub(super) fn instant(w: &Window<'_>, rate: bool, subject: Subject<'_>, notes: &mut Notes) -> Option<Cell> {
    let Subject { metric, span } = subject;
    let mut last: Vec<(i64, Cell, i64)> = Vec::with_capacity(4);
    for i in w.floats.len().saturating_sub(2)..w.floats.len() {
        last.push((w.times[i], Cell::Float(w.floats[i]), w.starts.get(i).copied().unwrap_or(0)));
    }
    for i in w.histograms.len().saturating_sub(2)..w.histograms.len() {
        last.push((w.histogram_times[i], Cell::Histogram(w.histograms[i].clone()), 0));
    }
    last.sort_by_key(|(t, ..)| *t);
    let (t1, b, s1) = last.pop()?;
    let (t0, a, s0) = last.pop()?;
    if t1 == t0 {
        return None;
    }
    let seconds = (t1 - t0) as f64 / 1000.0;
    Some(match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => {
            let v = if rate && (b < a || started_anew(s0, t0, s1, t1)) { b } else { b - a };
            Cell::Float(if rate { v / seconds } else { v })
        }
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            let gauges = (a.reset_hint == ResetHint::Gauge, b.reset_hint == ResetHint::Gauge);
            if rate && (gauges.0 || gauges.1) {
                notes.not_a_counter(span, metric);
            }
            let both = gauges.0 && gauges.1;
            if !rate && !both {
                notes.not_a_gauge(span, metric);
            }
            let mut h = (*b).clone();
            if !rate || !histogram::detect_reset(&b, &a) {
                match histogram::add(&mut h, &a, -1.0) {
                    Ok(done) if done.bounds_reconciled => notes.bounds_reconciled(span, "subtraction"),
                    Ok(_) => {}
                    Err(_) => {
                        notes.mixed_schemas(span, metric);
                        return None;
                    }
                }
            }
            h.reset_hint = ResetHint::Gauge;
            histogram::compact(&mut h);
            if rate {
                histogram::scale(&mut h, 1.0 / seconds);
            }
            Cell::Histogram(Arc::new(h))
        }
        _ => {
            notes.mixed_floats_histograms(span, metric);
            return None;
        }
    })
}
