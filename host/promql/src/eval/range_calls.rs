//! Functions over windows: one value per series and step.

use std::sync::Arc;

use belfry_model::sample::{ResetHint, is_stale};
use belfry_model::{Histogram, Labels};

use super::notes::Notes;
use super::pipe::{From, Hand, Pipe, WithScalar};
use super::rate::{self, Subject};
use super::select::{Window, Windows};
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, METRIC_TYPE, Result, Sink, binary, labels_for_absent, slide};
use crate::names::{self, OfFunction};
use crate::plan::{Plan, PlanKind};
use crate::syntax::ast::{Extended, ValueType};
use crate::syntax::functions::Function as F;
use crate::syntax::span::Span;
use crate::{QueryError, histogram};

/// Does it take a range vector?
pub(super) fn takes_window(f: F) -> bool {
    f.spec().args.contains(&ValueType::Matrix)
}

const ANCHORED: [F; 5] = [F::Changes, F::Delta, F::Increase, F::Rate, F::Resets];
const SMOOTHED: [F; 3] = [F::Delta, F::Increase, F::Rate];

/// Kahan-Neumaier summation: the sum and what rounding lost so far.
pub(crate) fn kahan(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    let c = if t.is_infinite() {
        0.0
    } else if sum.abs() >= inc.abs() {
        c + ((sum - t) + inc)
    } else {
        c + ((inc - t) + sum)
    };
    (t, c)
}

/// [`kahan`] without a jump, where the sum stays finite: what rounding lost, found as D. Knuth does ("TAOCP" 4.2.2,
/// theorem B), is the same number to the bit.
#[inline(always)]
pub(super) fn kahan_finite(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    let added = t - sum;
    (t, c + ((sum - (t - added)) + (inc - added)))
}

/// By value; NaN first.
pub(super) fn by_size(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    }
}

/// The ranks beside the φ-quantile of `n` values, and how near it is to the upper one.
fn ranks(q: f64, n: usize) -> (usize, usize, f64) {
    let n = n as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    (lower as usize, upper as usize, rank - rank.floor())
}

/// The φ-quantile of values in order of size; φ lies between 0 and 1.
pub(super) fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    let (lower, upper, weight) = ranks(q, sorted.len());
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// The φ-quantile by linear interpolation; NaN sorts first.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let (lower, upper, weight) = ranks(q, values.len());
    // Only two ranks matter: the rest need not be sorted.
    let (_, low, above) = values.select_nth_unstable_by(lower, by_size);
    let low = *low;
    let high = if upper == lower { low } else { above.iter().copied().min_by(by_size).unwrap_or(low) };
    low * (1.0 - weight) + high * weight
}

/// The arithmetic mean; falls back to an incremental one where the sum would overflow.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let Some((first, rest)) = values.split_first() else { return f64::NAN };
    let (mut sum, mut c, mut mean) = (*first, 0.0, None);
    let mut count = 1.0;
    for f in rest {
        count += 1.0;
        if mean.is_none() {
            let (s, k) = kahan(*f, sum, c);
            if !s.is_infinite() {
                (sum, c) = (s, k);
                continue;
            }
            mean = Some(sum / (count - 1.0));
            c /= count - 1.0;
        }
        let q = (count - 1.0) / count;
        let (m, k) = kahan(f / count, q * mean.unwrap_or(0.0), q * c);
        (mean, c) = (Some(m), k);
    }
    mean.map_or(sum / count + c / count, |m| m + c)
}

pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut n, mut m, mut cm, mut aux, mut ca) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for f in values {
        n += 1.0;
        let delta = f - (m + cm);
        (m, cm) = kahan(delta / n, m, cm);
        (aux, ca) = kahan(delta * (f - (m + cm)), aux, ca);
    }
    (aux + ca) / n
}

/// Slope and value at `at` of the least-squares line.
fn linear_regression(w: &Window<'_>, at: i64) -> (f64, f64) {
    let (mut sx, mut cx, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0);
    let (mut sxy, mut cxy, mut sx2, mut cx2) = (0.0, 0.0, 0.0, 0.0);
    for (t, y) in w.times.iter().zip(w.floats) {
        let x = (t - at) as f64 / 1000.0;
        (sx, cx) = kahan(x, sx, cx);
        (sy, cy) = kahan(*y, sy, cy);
        (sxy, cxy) = kahan(x * y, sxy, cxy);
        (sx2, cx2) = kahan(x * x, sx2, cx2);
    }
    let first = w.floats[0];
    if w.floats.iter().all(|f| *f == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = w.floats.len() as f64;
    let (sx, sy, sxy, sx2) = (sx + cx, sy + cy, sxy + cxy, sx2 + cx2);
    let slope = (sxy - sx * sy / n) / (sx2 - sx * sx / n);
    (slope, sy / n - slope * sx / n)
}

fn smoothing(values: &[f64], sf: f64, tf: f64) -> f64 {
    let (mut s0, mut s1, mut b) = (0.0, values[0], values[1] - values[0]);
    for (i, v) in values.iter().enumerate().skip(1) {
        if i > 1 {
            b = tf * (s1 - s0) + (1.0 - tf) * b;
        }
        (s0, s1) = (s1, sf * v + (1.0 - sf) * (s1 + b));
    }
    s1
}

/// Sum, or mean, of the window's histograms.
fn combine(w: &Window<'_>, average: bool, subject: Subject<'_>, notes: &mut Notes) -> Option<Cell> {
    let Subject { metric, span } = subject;
    let (mut reset, mut not_reset) = (false, false);
    for h in w.histograms {
        reset |= h.reset_hint == ResetHint::Reset;
        not_reset |= h.reset_hint == ResetHint::NotReset;
    }
    let (first, rest) = w.histograms.split_first()?;
    let mut total = histogram::Total::new(first);
    for h in rest {
        let added = if average { total.add_to_mean(h) } else { total.add(h) };
        if added.is_err() {
            notes.mixed_schemas(span, metric);
            return None;
        }
    }
    if reset && not_reset {
        notes.reset_collision(span, "aggregation");
    }
    if total.bounds_reconciled {
        notes.bounds_reconciled(span, "aggregation");
    }
    Some(Cell::Histogram(Arc::new(if average { total.mean() } else { total.sum() })))
}

/// A sample beside the one before it, in `changes` and `resets`.
struct Step<'w> {
    at: i64,
    start: i64,
    value: Sampled<'w>,
}

enum Sampled<'w> {
    Float(f64),
    Histogram(&'w Histogram),
}

fn changed(a: &Step<'_>, b: &Step<'_>) -> bool {
    match (&a.value, &b.value) {
        (Sampled::Float(a), Sampled::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Sampled::Histogram(a), Sampled::Histogram(b)) => !histogram::equal(a, b),
        _ => true,
    }
}

fn was_reset(a: &Step<'_>, b: &Step<'_>) -> bool {
    match (&a.value, &b.value) {
        (Sampled::Float(x), Sampled::Float(y)) => y < x || rate::started_anew(a.start, a.at, b.start, b.at),
        (Sampled::Histogram(a), Sampled::Histogram(b)) => histogram::detect_reset(b, a),
        _ => true,
    }
}

/// Pairs of neighbours, floats and histograms merged by time, counted by `f`.
fn count_pairs(w: &Window<'_>, f: fn(&Step<'_>, &Step<'_>) -> bool) -> Option<Cell> {
    let floats = w.times.iter().zip(w.floats).enumerate().map(|(i, (t, f))| Step {
        at: *t,
        start: w.starts.get(i).copied().unwrap_or(0),
        value: Sampled::Float(*f),
    });
    let histograms = w.histogram_times.iter().zip(w.histograms);
    let histograms = histograms.map(|(t, h)| Step { at: *t, start: 0, value: Sampled::Histogram(h) });
    let mut all: Vec<Step<'_>> = floats.chain(histograms).collect();
    if !w.histograms.is_empty() {
        all.sort_by_key(|s| s.at);
    }
    if w.extended == Some(Extended::Anchored) {
        if all.last().is_none_or(|s| s.at <= w.start) {
            return None;
        }
        let from = all.partition_point(|s| s.at <= w.start).saturating_sub(1);
        all.drain(..from);
    }
    Some(Cell::Float(all.windows(2).filter(|p| f(&p[0], &p[1])).count() as f64))
}

/// Is the first (or last) sample a float?
fn edge(w: &Window<'_>, last: bool) -> Option<(i64, Cell)> {
    let pick = |n: usize| if last { n.checked_sub(1) } else { (n > 0).then_some(0) };
    let f = pick(w.floats.len()).map(|i| (w.times[i], Cell::Float(w.floats[i])));
    let h = pick(w.histograms.len()).map(|i| (w.histogram_times[i], Cell::Histogram(w.histograms[i].clone())));
    match (f, h) {
        (Some(f), Some(h)) => Some(if (f.0 < h.0) != last { f } else { h }),
        (f, h) => f.or(h),
    }
}

fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let (mut at, mut best) = (w.times[0], w.floats[0]);
    for (t, f) in w.times.iter().zip(w.floats) {
        if better(*f, best) || best.is_nan() {
            (at, best) = (*t, *f);
        }
    }
    (at, best)
}

/// The value of `f` over one window; `args` are its scalars at this step.
pub(super) fn apply(
    f: F,
    w: &Window<'_>,
    args: &[f64],
    subject: Subject<'_>,
    arg0: Span,
    notes: &mut Notes,
) -> Result<Option<Cell>> {
    let float = |v: f64| Ok(Some(Cell::Float(v)));
    let only_floats = |notes: &mut Notes| {
        if !w.histograms.is_empty() {
            notes.histogram_ignored_in_range(subject.span, subject.metric);
        }
    };
    match f {
        F::Rate => return Ok(rate::extrapolated(w, true, true, subject, notes)),
        F::Increase => return Ok(rate::extrapolated(w, true, false, subject, notes)),
        F::Delta => return Ok(rate::extrapolated(w, false, false, subject, notes)),
        F::Irate => return Ok(rate::instant(w, true, subject, notes)),
        F::Idelta => return Ok(rate::instant(w, false, subject, notes)),
        F::CountOverTime => return float((w.stand_for.0 + w.stand_for.1) as f64),
        F::PresentOverTime | F::AbsentOverTime => return float(1.0),
        F::FirstOverTime => return Ok(edge(w, false).map(|e| e.1)),
        F::LastOverTime => return Ok(edge(w, true).map(|e| e.1)),
        F::TsOfFirstOverTime | F::TsOfLastOverTime => {
            return Ok(edge(w, f == F::TsOfLastOverTime).map(|e| Cell::Float(e.0 as f64 / 1000.0)));
        }
        F::Changes => return Ok(count_pairs(w, changed)),
        F::Resets => return Ok(count_pairs(w, was_reset)),
        F::SumOverTime | F::AvgOverTime if !w.histograms.is_empty() => {
            if !w.floats.is_empty() {
                notes.mixed_floats_histograms(subject.span, subject.metric);
                return Ok(None);
            }
            return Ok(combine(w, f == F::AvgOverTime, subject, notes));
        }
        _ => {}
    }
    if matches!(f, F::Deriv | F::PredictLinear | F::DoubleExponentialSmoothing) {
        if f == F::DoubleExponentialSmoothing {
            for (name, v) in
                [("smoothing factor. Expected: 0 < sf", args[0]), ("trend factor. Expected: 0 < tf", args[1])]
            {
                // As in Prometheus NaN is no fault: it gives NaN.
                if v <= 0.0 || v >= 1.0 {
                    return Err(QueryError::Execution(format!("invalid {name} < 1, got: {v:.6}")));
                }
            }
        }
        if w.floats.len() < 2 {
            if w.floats.len() == 1 {
                only_floats(notes);
            }
            return Ok(None);
        }
        only_floats(notes);
        return float(match f {
            F::Deriv => linear_regression(w, w.times[0]).0,
            F::PredictLinear => {
                let (slope, intercept) = linear_regression(w, w.at);
                slope * args[0] + intercept
            }
            _ => smoothing(w.floats, args[0], args[1]),
        });
    }
    if w.floats.is_empty() {
        return Ok(None);
    }
    if f == F::QuantileOverTime && !(0.0..=1.0).contains(&args[0]) {
        notes.invalid_quantile(arg0, args[0]);
    }
    only_floats(notes);
    float(match f {
        F::SumOverTime => slide::sum_of(w.floats),
        F::AvgOverTime if w.stand_for.0 != w.floats.len() as u64 => slide::sum_of(w.floats) / w.stand_for.0 as f64,
        F::AvgOverTime => mean(w.floats),
        F::MaxOverTime => extreme(w, |a, b| a > b).1,
        F::MinOverTime => extreme(w, |a, b| a < b).1,
        F::TsOfMaxOverTime => extreme(w, |a, b| a >= b).0 as f64 / 1000.0,
        F::TsOfMinOverTime => extreme(w, |a, b| a <= b).0 as f64 / 1000.0,
        F::StdvarOverTime => variance(w.floats),
        F::StddevOverTime => variance(w.floats).sqrt(),
        F::QuantileOverTime => quantile(args[0], &mut w.floats.to_vec()),
        F::MadOverTime if w.floats.iter().any(|f| f.is_nan()) => f64::NAN,
        F::MadOverTime => {
            let mut values = w.floats.to_vec();
            let median = quantile(0.5, &mut values);
            values.iter_mut().for_each(|v| *v = (*v - median).abs());
            quantile(0.5, &mut values)
        }
        _ => return Err(QueryError::Execution(format!("{} does not take a range vector", f.spec().name))),
    })
}

/// A function over windows with its other arguments.
pub(super) struct Over {
    pub f: F,
    pub scalars: Vec<Vec<f64>>,
    pub windows: Windows,
    /// Prometheus blames the first argument, the range vector or not.
    pub arg0: Span,
}

impl Over {
    pub fn keeps_name(&self) -> bool {
        names::of_function(self.f) != OfFunction::Go
    }

    /// The values of one series, whose points are in `hand`.
    pub fn column(
        &self,
        hand: &mut Hand,
        labels: &Labels,
        frame: Frame,
        lookback: i64,
        notes: &mut Notes,
        column: &mut Column,
    ) -> Result<()> {
        let Self { f, scalars, windows, arg0 } = self;
        let Hand { points, scratch, step_args, .. } = hand;
        let metric = labels.metric().unwrap_or("");
        let subject = Subject { metric, span: *arg0 };
        if slide::handles(*f, points, windows, scalars) {
            slide::evaluate(*f, points, windows, frame, scalars, scratch, &mut column.floats);
            if windows.cancel.is_cancelled() {
                return Err(QueryError::Cancelled);
            }
        } else {
            step_args.resize(scalars.len(), 0.0);
            windows.each(points, frame, lookback, &mut |i, w| {
                for (slot, s) in step_args.iter_mut().zip(scalars) {
                    *slot = s[i];
                }
                if let Some(cell) = apply(*f, &w, step_args, subject, *arg0, notes)? {
                    column.set(i, cell);
                }
                Ok(())
            })?;
        }
        if matches!(f, F::Rate | F::Increase) && !metric.is_empty() && column.floats.iter().any(|v| !is_stale(*v)) {
            notes.unless_a_counter(*arg0, metric, labels.get(METRIC_TYPE).unwrap_or(""));
        }
        Ok(())
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn stream_range_call(
        &mut self,
        f: F,
        args: &[Plan],
        then: Vec<WithScalar<'_>>,
        frame: Frame,
        sink: Sink<'_, 'a>,
    ) -> Result<()> {
        let mut scalars: Vec<Vec<f64>> = Vec::new();
        let mut matrix: Option<&Plan> = None;
        for a in args {
            if a.value_type == ValueType::Matrix {
                matrix = Some(a);
            } else {
                scalars.push(self.scalar(a, frame)?);
            }
        }
        let Some(matrix) = matrix else { return Ok(()) };
        if let PlanKind::Select(s) = &matrix.kind {
            check_extended(f, s.extended)?;
        }
        let arg0 = args.first().map_or(matrix.span, |a| a.span);
        let lookback = self.lookback_ms();
        let counts_steps = self.steps.is_some();
        let over = |windows| Over { f, scalars, windows, arg0 };
        let from = match &matrix.kind {
            PlanKind::Select(s) => Some(From::Windows(s, over(Windows::of(s, self.sources.cancel)))),
            PlanKind::Subquery(s) => self.subquery(s, frame)?.map(|(inner, series)| From::Columns {
                series,
                inner,
                over: over(Windows::of_subquery(s, self.sources.cancel)),
            }),
            _ => return Err(QueryError::Execution("expected a range vector".to_owned())),
        };
        if f != F::AbsentOverTime {
            return from.map_or(Ok(()), |from| self.run(&Pipe { from, then, frame, lookback, counts_steps }, sink));
        }
        let mut present = vec![false; frame.n];
        if let Some(from) = from {
            self.run(&Pipe { from, then: Vec::new(), frame, lookback, counts_steps }, &mut |_, s| {
                present.iter_mut().enumerate().for_each(|(i, p)| *p |= s.column.is_present(i));
                Ok(())
            })?;
        }
        if present.iter().all(|p| *p) {
            return Ok(());
        }
        let labels = labels_for_absent(matrix, self.sources.selections);
        let mut column = Column::absent(frame.n);
        for (i, _) in present.iter().enumerate().filter(|(_, p)| !**p) {
            column.floats[i] = 1.0;
        }
        let mut s = OutSeries { labels, drop_name: true, column };
        for t in &then {
            binary::with_scalar(t.plan, &mut s, &t.scalar, t.swap, t.span, &mut self.notes);
        }
        if s.column.is_all_absent() { Ok(()) } else { sink(self, s) }
    }
}

fn check_extended(f: F, extended: Option<Extended>) -> Result<()> {
    let (word, allowed): (_, &[F]) = match extended {
        None => return Ok(()),
        Some(Extended::Anchored) => ("anchored", &ANCHORED),
        Some(Extended::Smoothed) => ("smoothed", &SMOOTHED),
    };
    if !allowed.contains(&f) {
        let names: Vec<&str> = allowed.iter().map(|f| f.spec().name).collect();
        let name = f.spec().name;
        return Err(QueryError::Execution(format!(
            "{word} modifier can only be used with: {} - not with {name}",
            names.join(", ")
        )));
    }
    Ok(())
}
