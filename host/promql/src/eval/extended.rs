//! `anchored` and `smoothed`: values at the edges of a range come from samples around it, nothing is extrapolated.
//! As Prometheus' proposal 0052 has it, and its pull request 18564 for native histograms.
//!
//! Invariant: of the samples around a range only those next to its edges are looked at, and never come out as they are.
//! Not here: which samples are around a range (`select::Windows`), ranges that are not extended (`rate`).

use std::sync::Arc;

use belfry_model::sample::ResetHint;
use belfry_model::{Histogram, TimestampMs};

use super::notes::Notes;
use super::rate::Subject;
use super::select::{Points, Window};
use super::vector::Cell;
use crate::PointValue;
use crate::histogram::{self, Incompatible};
use crate::syntax::ast::Extended;
use crate::syntax::span::Span;

/// Which of the samples at `times` give the values at the edges; `None` without a sample that says anything of the range.
fn edges(times: &[i64], w: &Window<'_>) -> Option<(usize, usize)> {
    let newest = times.len().checked_sub(1)?;
    let first = times[..newest].partition_point(|t| *t <= w.start).saturating_sub(1);
    let last = if is_smoothed(w) { times[..newest].partition_point(|t| *t < w.end) } else { newest };
    (times[last] > w.start && times[first] <= w.end).then_some((first, last))
}

fn is_smoothed(w: &Window<'_>) -> bool {
    w.extended == Some(Extended::Smoothed)
}

/// On the line through two samples. A counter that was reset between them counts from zero.
fn between(times: (i64, i64), values: (f64, f64), at: i64, counter: bool) -> f64 {
    let from = if counter && values.1 < values.0 { 0.0 } else { values.0 };
    from + (values.1 - from) * (at - times.0) as f64 / (times.1 - times.0) as f64
}

/// The values at the start and at the end of the range.
fn float_edges(w: &Window<'_>, first: usize, last: usize, counter: bool) -> (f64, f64) {
    let (t, f) = (w.times, w.floats);
    let line = |a: usize, at: i64| between((t[a], t[a + 1]), (f[a], f[a + 1]), at, counter);
    let smoothed = is_smoothed(w);
    let left = if smoothed && t[first] < w.start && first + 1 < t.len() { line(first, w.start) } else { f[first] };
    let right = if smoothed && last > 0 && t[last] > w.end { line(last - 1, w.end) } else { f[last] };
    (left, right)
}

/// The range as it is answered by itself: the values at its edges, and the samples between them.
pub(super) fn points(w: &Window<'_>) -> Vec<(TimestampMs, PointValue)> {
    let mut out = Vec::new();
    if let Some((first, last)) = edges(w.times, w) {
        let (left, right) = float_edges(w, first, last, false);
        let inside = w.times.iter().zip(w.floats).filter(|(t, _)| w.start < **t && **t < w.end);
        out.push((TimestampMs(w.start), PointValue::Float(left)));
        out.extend(inside.map(|(t, f)| (TimestampMs(*t), PointValue::Float(*f))));
        out.push((TimestampMs(w.end), PointValue::Float(right)));
    }
    let subject = Subject { metric: "", span: Span::default() };
    let at = edges(w.histogram_times, w);
    // Between histograms that do not go together there is no line.
    if let Some(Ok((left, right))) = at.map(|at| histogram_edges(w, at, false, subject, &mut Notes::default())) {
        let inside = w.histogram_times.iter().zip(w.histograms).filter(|(t, _)| w.start < **t && **t < w.end);
        out.push((TimestampMs(w.start), PointValue::Histogram(Arc::new(left))));
        out.extend(inside.map(|(t, h)| (TimestampMs(*t), PointValue::Histogram(h.clone()))));
        out.push((TimestampMs(w.end), PointValue::Histogram(Arc::new(right))));
    }
    out
}

/// `selector smoothed` at one time: on the line between the samples around it; the newest where none follows.
pub(super) fn at_time(
    points: &Points,
    at: i64,
    lookback: i64,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Option<Cell> {
    let (from, to) = (at.saturating_sub(lookback), at.saturating_add(lookback));
    let seen = |times: &[i64]| times.partition_point(|t| *t <= from)..times.partition_point(|t| *t <= to);
    let (floats, histograms) = (seen(&points.float_times), seen(&points.histogram_times));
    if !floats.is_empty() && !histograms.is_empty() {
        notes.mixed_floats_histograms(subject.span, subject.metric);
        return None;
    }
    // Of the samples seen, the last that is not behind `at`, and the first that is not before it.
    let around = |t: &[i64]| {
        let next = t.partition_point(|t| *t < at);
        let exact = t.get(next).is_some_and(|t| *t == at);
        (if exact { Some(next) } else { next.checked_sub(1) }, (next < t.len()).then_some(next))
    };
    if histograms.is_empty() {
        let (t, f) = (points.float_times.get(floats.clone())?, points.floats.get(floats)?);
        return Some(Cell::Float(match around(t) {
            (Some(b), Some(a)) if a > b => between((t[b], t[a]), (f[b], f[a]), at, false),
            (Some(b), _) => f[b],
            (None, _) => return None,
        }));
    }
    let (t, h) = (points.histogram_times.get(histograms.clone())?, points.histograms.get(histograms)?);
    let (before, after) = around(t);
    let before = before?;
    let Some(after) = after.filter(|a| *a > before) else { return Some(Cell::Histogram(h[before].clone())) };
    let counter = [before, after].iter().all(|i| h[*i].reset_hint != ResetHint::Gauge);
    let line = if histogram::is_custom(&h[before]) == histogram::is_custom(&h[after]) {
        histogram_between((t[before], t[after]), (&h[before], &h[after]), at, counter, subject, notes)
    } else {
        Err(Incompatible)
    };
    match line {
        Ok(line) => Some(Cell::Histogram(Arc::new(line))),
        Err(Incompatible) => {
            notes.mixed_schemas(subject.span, subject.metric);
            None
        }
    }
}

/// `rate`, `increase` and `delta`.
pub(super) fn rate(
    w: &Window<'_>,
    counter: bool,
    per_second: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Option<Cell> {
    if w.histograms.is_empty() {
        return float_rate(w, counter, per_second).map(Cell::Float);
    }
    if !w.floats.is_empty() {
        notes.mixed_floats_histograms(subject.span, subject.metric);
        return None;
    }
    let (first, last) = edges(w.histogram_times, w)?;
    let mut h = match histogram_rate(w, (first, last), counter, subject, notes)? {
        Ok(h) => h,
        Err(Incompatible) => {
            notes.mixed_schemas(subject.span, subject.metric);
            return None;
        }
    };
    if per_second {
        histogram::divide(&mut h, w.range_seconds());
    }
    h.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut h);
    Some(Cell::Histogram(Arc::new(h)))
}

fn float_rate(w: &Window<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let (first, last) = edges(w.times, w)?;
    let (left, right) = float_edges(w, first, last, counter);
    let mut value = right - left;
    if counter {
        // What happened beside the edges is in their values already.
        let inside = w.times[..=last].partition_point(|t| *t <= w.start).max(first)..if w.times[last] >= w.end {
            last
        } else {
            last + 1
        };
        let mut prev = left;
        for v in w.floats.get(inside).unwrap_or(&[]) {
            if *v < prev {
                value += prev;
            }
            prev = *v;
        }
        if right < prev {
            value += prev;
        }
    }
    Some(if per_second { value / w.range_seconds() } else { value })
}

/// Adds or subtracts, and notes what it took.
fn join(
    h: &mut Histogram,
    other: &Histogram,
    sign: f64,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Result<(), Incompatible> {
    let during = if sign < 0.0 { "subtraction" } else { "addition" };
    if histogram::add(h, other, sign)?.bounds_reconciled {
        notes.bounds_reconciled(subject.span, during);
    }
    Ok(())
}

/// As [`between`].
fn histogram_between(
    times: (i64, i64),
    values: (&Histogram, &Histogram),
    at: i64,
    counter: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Result<Histogram, Incompatible> {
    let (from, to) = values;
    if at == times.0 {
        return Ok(from.clone());
    }
    let mut h = to.clone();
    if at == times.1 {
        return Ok(h);
    }
    let part = (at - times.0) as f64 / (times.1 - times.0) as f64;
    if counter && histogram::detect_reset(to, from) {
        histogram::scale(&mut h, part);
        return Ok(h);
    }
    join(&mut h, from, -1.0, subject, notes)?;
    histogram::scale(&mut h, part);
    join(&mut h, from, 1.0, subject, notes)?;
    Ok(h)
}

/// The histograms at the start and at the end of the range.
fn histogram_edges(
    w: &Window<'_>,
    (first, last): (usize, usize),
    counter: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Result<(Histogram, Histogram), Incompatible> {
    let (t, h) = (w.histogram_times, w.histograms);
    let mut line =
        |a: usize, at: i64| histogram_between((t[a], t[a + 1]), (&h[a], &h[a + 1]), at, counter, subject, &mut *notes);
    let smoothed = is_smoothed(w);
    let left =
        if smoothed && t[first] < w.start && first + 1 < t.len() { line(first, w.start)? } else { (*h[first]).clone() };
    let right = if smoothed && last > 0 && t[last] > w.end { line(last - 1, w.end)? } else { (*h[last]).clone() };
    Ok((left, right))
}

fn histogram_rate(
    w: &Window<'_>,
    (first, last): (usize, usize),
    counter: bool,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Option<Result<Histogram, Incompatible>> {
    let gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    let looked_at = w.histograms.get(first..=last)?;
    let custom = histogram::is_custom(looked_at.first()?);
    for h in looked_at {
        if histogram::is_custom(h) != custom {
            return Some(Err(Incompatible));
        }
        if counter && gauge(h) {
            notes.not_a_counter(subject.span, subject.metric);
        }
    }
    Some((|| {
        let (left, right) = histogram_edges(w, (first, last), counter, subject, notes)?;
        let gauges = gauge(&left) && gauge(&right);
        if !counter && !gauges {
            notes.not_a_gauge(subject.span, subject.metric);
        }
        let mut h = right.clone();
        join(&mut h, &left, -1.0, subject, notes)?;
        if counter && let Some(lost) = lost_to_resets(w, (first, last), left, &right, subject, notes)? {
            join(&mut h, &lost, 1.0, subject, notes)?;
        }
        Ok(h)
    })())
}

/// What the resets between the edges took away.
fn lost_to_resets(
    w: &Window<'_>,
    (first, last): (usize, usize),
    left: Histogram,
    right: &Histogram,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Result<Option<Histogram>, Incompatible> {
    let mut inside = first + 1;
    let mut prev = Arc::new(left);
    if let [before, behind, ..] = &w.histograms[first..]
        && is_smoothed(w)
        && w.histogram_times[first] < w.start
        && histogram::detect_reset(behind, before)
    {
        // The value at the start counts this reset already.
        prev = behind.clone();
        inside += 1;
    }
    // The last is the value at the end, or that value knows of its reset.
    if inside > last {
        return Ok(None);
    }
    let mut lost: Option<Histogram> = None;
    let mut lose = |h: &Histogram, notes: &mut Notes| match &mut lost {
        Some(lost) => join(lost, h, 1.0, subject, notes),
        None => {
            lost = Some(h.clone());
            Ok(())
        }
    };
    for h in &w.histograms[inside..last] {
        if histogram::detect_reset(h, &prev) {
            lose(&prev, notes)?;
        }
        prev = h.clone();
    }
    if histogram::detect_reset(right, &prev) {
        lose(&prev, notes)?;
    }
    Ok(lost)
}
