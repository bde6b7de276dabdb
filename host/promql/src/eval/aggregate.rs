//! Aggregations that fold: each series is added to its group's accumulators, one per step, and forgotten.

use std::ops::Range;
use std::sync::Arc;

use belfry_model::sample::{ResetHint, is_stale};
use belfry_model::{Histogram, Labels};

use super::keys::Keys;
use super::memory::series_bytes;
use super::newest::One;
use super::notes::Notes;
use super::range_calls::{kahan, kahan_finite};
use super::vector::{ABSENT, Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result, Sink};
use crate::histogram;
use crate::plan::AggregatePlan;
use crate::syntax::ast::AggregateOp as Op;
use crate::syntax::span::Span;

/// A sum of histograms, about.
const HISTOGRAM_TOTAL_BYTES: usize = 1024;

/// Sums below this are far from infinite.
const FAR: f64 = 1e300;

/// One group at one step.
#[derive(Clone, Default)]
struct Acc {
    /// Sum, extreme, or sum of squared distances.
    value: f64,
    mean: f64,
    compensation: f64,
    count: f64,
    floats: bool,
    histograms: bool,
    incremental: bool,
    incompatible: bool,
    reset: bool,
    not_reset: bool,
    histogram: Option<Box<histogram::Total>>,
}

impl Acc {
    fn seen(&self) -> bool {
        self.count > 0.0
    }

    fn add_float(&mut self, op: Op, f: f64) {
        let first = !self.seen();
        self.count += 1.0;
        self.floats = true;
        match op {
            Op::Sum if first => self.value = f,
            Op::Sum => (self.value, self.compensation) = kahan(f, self.value, self.compensation),
            Op::Avg if first => {
                self.value = f;
                self.mean = f;
            }
            Op::Avg => self.add_to_mean(f),
            Op::Max if first || self.value < f || self.value.is_nan() => self.value = f,
            Op::Min if first || self.value > f || self.value.is_nan() => self.value = f,
            Op::Stddev | Op::Stdvar if first => {
                self.mean = f;
                self.value = if f.is_finite() { 0.0 } else { f64::NAN };
            }
            Op::Stddev | Op::Stdvar => {
                let delta = f - self.mean;
                self.mean += delta / self.count;
                self.value += delta * (f - self.mean);
            }
            _ => {}
        }
    }

    /// The mean from the sum while that does not overflow, incrementally from then on.
    fn add_to_mean(&mut self, f: f64) {
        let n = self.count;
        if !self.incremental {
            let (sum, c) = kahan(f, self.value, self.compensation);
            if !sum.is_infinite() {
                (self.value, self.compensation) = (sum, c);
                return;
            }
            self.incremental = true;
            self.mean = self.value / (n - 1.0);
            self.compensation /= n - 1.0;
        }
        let q = (n - 1.0) / n;
        (self.mean, self.compensation) = kahan(f / n, q * self.mean, q * self.compensation);
    }

    fn add_histogram(&mut self, op: Op, h: &Histogram, metric: &str, span: Span, notes: &mut Notes) {
        match op {
            Op::Count | Op::Group => self.count += 1.0,
            Op::Sum | Op::Avg => {
                let first = !self.seen();
                self.count += 1.0;
                self.histograms = true;
                self.reset |= h.reset_hint == ResetHint::Reset;
                self.not_reset |= h.reset_hint == ResetHint::NotReset;
                if first {
                    self.histogram = Some(Box::new(histogram::Total::new(h)));
                    return;
                }
                // After floats the group is lost anyway.
                let Some(total) = &mut self.histogram else { return };
                if self.incompatible {
                    return;
                }
                let added = if op == Op::Sum { total.add(h) } else { total.add_to_mean(h) };
                match added {
                    Ok(true) => notes.bounds_reconciled(span, "aggregation"),
                    Ok(false) => {}
                    Err(_) => {
                        notes.mixed_schemas(span, metric);
                        self.incompatible = true;
                    }
                }
            }
            _ => notes.histogram_ignored(span, op.as_str()),
        }
    }

    fn finish(&mut self, op: Op, span: Span, notes: &mut Notes) -> Option<Cell> {
        if !self.seen() {
            return None;
        }
        Some(Cell::Float(match op {
            Op::Sum | Op::Avg => {
                if self.floats && self.histograms {
                    notes.mixed_floats_histograms_agg(span);
                    return None;
                }
                if self.incompatible {
                    return None;
                }
                if self.reset && self.not_reset {
                    notes.reset_collision(span, "aggregation");
                }
                if let Some(total) = self.histogram.take() {
                    let mut h = if op == Op::Sum { total.sum() } else { total.mean() };
                    histogram::compact(&mut h);
                    return Some(Cell::Histogram(Arc::new(h)));
                }
                match op {
                    Op::Sum => self.value + self.compensation,
                    _ if self.incremental => self.mean + self.compensation,
                    _ => self.value / self.count + self.compensation / self.count,
                }
            }
            Op::Count => self.count,
            Op::Group => 1.0,
            Op::Stdvar => self.value / self.count,
            Op::Stddev => (self.value / self.count).sqrt(),
            _ => self.value,
        }))
    }
}

/// A group over its steps while only floats have been seen: in columns, so that several steps are done at a time.
#[derive(Default)]
struct Floats {
    value: Vec<f64>,
    compensation: Vec<f64>,
    mean: Vec<f64>,
    count: Vec<f64>,
    /// Series that have a value at every step, beside those that are counted there.
    everywhere: f64,
}

/// Makes room for steps before and behind those that there are.
fn grow<T: Clone>(v: &mut Vec<T>, before: usize, behind: usize, of: &T) {
    v.reserve_exact(before + behind);
    if before > 0 {
        v.splice(0..0, std::iter::repeat_n(of.clone(), before));
    }
    v.resize(v.len() + behind, of.clone());
}

impl Floats {
    /// Bytes of a step.
    fn step_bytes(op: Op) -> u64 {
        if matches!(op, Op::Sum | Op::Avg | Op::Stddev | Op::Stdvar) { 24 } else { 16 }
    }

    fn grow(&mut self, op: Op, before: usize, behind: usize) {
        let value = match op {
            // What is smaller, or larger, than nothing at all.
            Op::Min | Op::Max => f64::NAN,
            // Unlike zero, this is added without a trace.
            Op::Sum | Op::Avg => -0.0,
            _ => 0.0,
        };
        // At the new steps those series have no value.
        let everywhere = std::mem::take(&mut self.everywhere);
        self.count.iter_mut().for_each(|n| *n += everywhere);
        grow(&mut self.value, before, behind, &value);
        grow(&mut self.count, before, behind, &0.0);
        if matches!(op, Op::Sum | Op::Avg) {
            grow(&mut self.compensation, before, behind, &0.0);
        }
        if matches!(op, Op::Stddev | Op::Stdvar) {
            grow(&mut self.mean, before, behind, &0.0);
        }
    }

    /// Adds a series. `false`: a mean's sum would overflow, and nothing was added.
    fn add(&mut self, op: Op, column: &[f64]) -> bool {
        // Most series have a number at every step, and most sums are far from infinite.
        if matches!(op, Op::Sum | Op::Avg) && self.stays_plain(column) {
            self.everywhere += 1.0;
            for ((sum, c), f) in self.value.iter_mut().zip(&mut self.compensation).zip(column) {
                (*sum, *c) = kahan_finite(*f, *sum, *c);
            }
            return true;
        }
        if op == Op::Avg {
            let overflows =
                self.value.iter().zip(column).fold(false, |any, (v, f)| any | (!is_stale(*f) & (v + f).is_infinite()));
            if overflows {
                return false;
            }
        }
        for (count, f) in self.count.iter_mut().zip(column) {
            *count += f64::from(u8::from(!is_stale(*f)));
        }
        let present = |f: &f64| !is_stale(*f);
        match op {
            Op::Sum | Op::Avg if self.stays_finite(column) => {
                for ((sum, c), f) in self.value.iter_mut().zip(&mut self.compensation).zip(column) {
                    let (s, k) = kahan_finite(*f, *sum, *c);
                    (*sum, *c) = if present(f) { (s, k) } else { (*sum, *c) };
                }
            }
            Op::Sum | Op::Avg => {
                for ((sum, c), f) in self.value.iter_mut().zip(&mut self.compensation).zip(column) {
                    let (s, k) = kahan(*f, *sum, *c);
                    (*sum, *c) = if present(f) { (s, k) } else { (*sum, *c) };
                }
            }
            Op::Max => {
                for (v, f) in self.value.iter_mut().zip(column) {
                    *v = if present(f) & ((*v < *f) | v.is_nan()) { *f } else { *v };
                }
            }
            Op::Min => {
                for (v, f) in self.value.iter_mut().zip(column) {
                    *v = if present(f) & ((*v > *f) | v.is_nan()) { *f } else { *v };
                }
            }
            Op::Stddev | Op::Stdvar => {
                let accs = self.value.iter_mut().zip(&mut self.mean).zip(&self.count);
                for (((value, mean), n), f) in accs.zip(column) {
                    let delta = f - *mean;
                    let next = *mean + delta / n;
                    let squares = *value + delta * (f - next);
                    (*mean, *value) = if present(f) { (next, squares) } else { (*mean, *value) };
                }
            }
            _ => {}
        }
        true
    }

    /// As [`Floats::stays_finite`], and is there a value at every step?
    fn stays_plain(&self, column: &[f64]) -> bool {
        // What stands for no value is no number, so it is not near zero.
        let odd = |(v, f): (&f64, &f64)| !((f.abs() < FAR) & ((v + f).abs() < FAR));
        !self.value.iter().zip(column).fold(false, |any, both| any | odd(both))
    }

    /// Are all sums far from infinite, and numbers, when these are added?
    fn stays_finite(&self, column: &[f64]) -> bool {
        // Without a way out in the middle: so it is done several at a time.
        let odd = |(v, f): (&f64, &f64)| !is_stale(*f) & !((f.abs() < FAR) & ((v + f).abs() < FAR));
        !self.value.iter().zip(column).fold(false, |any, both| any | odd(both))
    }

    /// What [`Acc::finish`] gives, step by step.
    fn finish(mut self, op: Op) -> Vec<f64> {
        let counts = self.count.iter().map(|n| n + self.everywhere);
        let each = self.value.iter_mut().zip(counts);
        match op {
            Op::Sum => each.zip(&self.compensation).for_each(|((v, _), c)| *v += c),
            Op::Avg => each.zip(&self.compensation).for_each(|((v, n), c)| *v = *v / n + c / n),
            Op::Count => each.for_each(|(v, n)| *v = n),
            Op::Group => each.for_each(|(v, _)| *v = 1.0),
            Op::Stdvar => each.for_each(|(v, n)| *v /= n),
            Op::Stddev => each.for_each(|(v, n)| *v = (*v / n).sqrt()),
            _ => {}
        }
        if self.everywhere == 0.0 {
            for (v, n) in self.value.iter_mut().zip(&self.count) {
                *v = if *n == 0.0 { ABSENT } else { *v };
            }
        }
        self.value
    }

    /// The same, one accumulator per step.
    fn spread(&self) -> Vec<Acc> {
        let at = |v: &[f64], i: usize| v.get(i).copied().unwrap_or(0.0);
        let acc = |(i, count): (usize, &f64)| Acc {
            value: self.value[i],
            mean: at(&self.mean, i),
            compensation: at(&self.compensation, i),
            count: count + self.everywhere,
            floats: count + self.everywhere > 0.0,
            ..Acc::default()
        };
        self.count.iter().enumerate().map(acc).collect()
    }
}

enum Steps {
    Floats(Floats),
    Any(Vec<Acc>),
}

/// A group's accumulators, for the steps from the first to the last at which any of its series has a value.
struct Group {
    drop_name: bool,
    from: usize,
    steps: Steps,
}

impl Group {
    fn new() -> Self {
        Self { drop_name: false, from: 0, steps: Steps::Floats(Floats::default()) }
    }

    fn len(&self) -> usize {
        match &self.steps {
            Steps::Floats(f) => f.value.len(),
            Steps::Any(accs) => accs.len(),
        }
    }

    /// Memory of its accumulators.
    fn bytes(&self, op: Op) -> u64 {
        match &self.steps {
            Steps::Floats(f) => Floats::step_bytes(op) * f.value.len() as u64,
            Steps::Any(accs) => {
                let histograms = accs.iter().filter_map(|a| a.histogram.as_ref()).count();
                (size_of_val(&accs[..]) + HISTOGRAM_TOTAL_BYTES * histograms) as u64
            }
        }
    }

    /// Steps that it lacks before and behind its own, for a series that has values at `span`.
    fn lacks(&self, span: &Range<usize>) -> (usize, usize) {
        match self.len() {
            _ if span.is_empty() => (0, 0),
            0 => (0, span.len()),
            len => (self.from.saturating_sub(span.start), span.end.saturating_sub(self.from + len)),
        }
    }

    /// Bytes that so many more steps take.
    fn bytes_of(&self, op: Op, steps: usize) -> u64 {
        let each = match &self.steps {
            Steps::Floats(_) => Floats::step_bytes(op),
            Steps::Any(_) => size_of::<Acc>() as u64,
        };
        each * steps as u64
    }

    fn grow(&mut self, op: Op, span: &Range<usize>, (before, behind): (usize, usize)) {
        self.from = if self.len() == 0 { span.start } else { self.from - before };
        match &mut self.steps {
            Steps::Floats(f) => f.grow(op, before, behind),
            Steps::Any(accs) => grow(accs, before, behind, &Acc::default()),
        }
    }

    /// From now on with one accumulator per step.
    fn spread(&mut self) {
        if let Steps::Floats(floats) = &self.steps {
            self.steps = Steps::Any(floats.spread());
        }
    }

    /// Adds a series, whose values all lie within the group's steps. `false`: the group must be spread first.
    fn add(&mut self, op: Op, s: &OutSeries, span: Span, notes: &mut Notes) -> bool {
        self.drop_name |= s.drop_name;
        let own = self.from..self.from + self.len();
        let accs = match &mut self.steps {
            Steps::Floats(floats) => return !s.column.has_histograms() && floats.add(op, &s.column.floats[own]),
            Steps::Any(accs) => accs,
        };
        for (acc, f) in accs.iter_mut().zip(&s.column.floats[own.clone()]) {
            if !is_stale(*f) && !acc.incompatible {
                acc.add_float(op, *f);
            }
        }
        for (acc, h) in accs.iter_mut().zip(s.column.histograms.iter().skip(own.start)) {
            if let Some(h) = h {
                acc.add_histogram(op, h, s.labels.metric().unwrap_or(""), span, notes);
            }
        }
        true
    }

    /// As [`Group::add`], of a series that has one value, at the only step there is.
    fn add_one(&mut self, op: Op, one: &One<'_>, span: Span, notes: &mut Notes) -> bool {
        let accs = match &mut self.steps {
            Steps::Floats(floats) => return one.histogram.is_none() && floats.add(op, &[one.float]),
            Steps::Any(accs) => accs,
        };
        let Some(acc) = accs.first_mut() else { return true };
        match one.histogram {
            Some(h) => acc.add_histogram(op, h, one.labels.metric().unwrap_or(""), span, notes),
            None if !acc.incompatible => acc.add_float(op, one.float),
            None => {}
        }
        true
    }

    /// The group's value at each of `n` steps.
    fn finish(self, op: Op, n: usize, span: Span, notes: &mut Notes) -> Column {
        let from = self.from;
        let mut accs = match self.steps {
            Steps::Floats(f) => {
                let own = f.finish(op);
                if own.len() == n {
                    return Column { floats: own, histograms: Vec::new() };
                }
                let mut column = Column::absent(n);
                column.floats[from..from + own.len()].copy_from_slice(&own);
                return column;
            }
            Steps::Any(accs) => accs,
        };
        let mut column = Column::absent(n);
        for (i, acc) in accs.iter_mut().enumerate() {
            if let Some(cell) = acc.finish(op, span, notes) {
                column.set(from + i, cell);
            }
        }
        column
    }
}

impl<'a> Evaluator<'a> {
    /// Hands the groups to `sink`.
    pub(super) fn aggregate(&mut self, a: &AggregatePlan, span: Span, frame: Frame, sink: Sink<'_, 'a>) -> Result<()> {
        let before = self.mark();
        let all = match a.op {
            Op::Topk | Op::Bottomk | Op::Limitk | Op::LimitRatio => return self.aggregate_k(a, span, frame, sink),
            Op::Quantile => self.aggregate_quantile(a, frame)?,
            Op::CountValues => self.count_values(a, frame)?,
            _ => return self.fold(a, frame, sink),
        };
        self.settle_with(before, all.iter().map(series_bytes).sum())?;
        self.hand_on(all, sink)
    }

    fn fold(&mut self, a: &AggregatePlan, frame: Frame, sink: Sink<'_, 'a>) -> Result<()> {
        let (op, span) = (a.op, a.expr.span);
        let before = self.mark();
        let mut keys = Keys::grouping(&a.grouping);
        let mut groups: Vec<Group> = Vec::new();
        let (mut bytes, mut points) = (0, 0);
        type Add<'g> = &'g dyn Fn(&mut Group, &mut Notes) -> bool;
        let mut add = |ev: &mut Self, labels: &Labels, values: Range<usize>, one: Add<'_>| {
            let at = keys.number(labels);
            if at == groups.len() {
                ev.hold_labels(keys.labels(at))?;
                groups.push(Group::new());
            }
            let group = &mut groups[at];
            let lacks = group.lacks(&values);
            if lacks != (0, 0) {
                let steps = lacks.0 + lacks.1;
                points += steps as u64;
                ev.check_points(points)?;
                ev.check_bytes(bytes + group.bytes_of(op, steps))?;
                bytes += group.bytes_of(op, steps);
                group.grow(op, &values, lacks);
            }
            bytes -= group.bytes(op);
            if !one(group, &mut ev.notes) {
                ev.check_bytes(bytes + (size_of::<Acc>() * group.len()) as u64)?;
                group.spread();
                one(group, &mut ev.notes);
            }
            bytes += group.bytes(op);
            ev.check_bytes(bytes)
        };
        match self.newest(&a.expr, frame) {
            Some(newest) => self.each_newest(newest, &mut |ev, one| {
                add(ev, one.labels, 0..1, &|group, notes| group.add_one(op, one, span, notes))
            })?,
            None => self.stream(&a.expr, frame, &mut |ev, s| {
                add(ev, &s.labels, s.column.span(), &|group, notes| group.add(op, &s, span, notes))
            })?,
        }
        self.settle_with(before, bytes)?;
        for (at, g) in groups.into_iter().enumerate() {
            let drop_name = g.drop_name;
            self.release(g.bytes(op));
            self.check_bytes(8 * frame.n as u64)?;
            let column = g.finish(op, frame.n, span, &mut self.notes);
            if !column.is_all_absent() {
                sink(self, OutSeries { labels: keys.labels(at).clone(), drop_name, column })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
