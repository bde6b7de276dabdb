//! Aggregations that fold: each series is added to its group's accumulators, one per step, and forgotten.

use std::sync::Arc;

use belfry_model::sample::{ResetHint, is_stale};
use belfry_model::{Histogram, Labels};

use super::keys::Keys;
use super::newest::One;
use super::notes::Notes;
use super::range_calls::{kahan, kahan_finite};
use super::vector::{ABSENT, Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result};
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

/// A group over the steps while only floats have been seen: in columns, so that several steps are done at a time.
struct Floats {
    value: Vec<f64>,
    compensation: Vec<f64>,
    mean: Vec<f64>,
    count: Vec<f64>,
    /// Series that have a value at every step, beside those that are counted there.
    everywhere: f64,
}

impl Floats {
    fn new(op: Op, n: usize) -> Self {
        let value = match op {
            // What is smaller, or larger, than nothing at all.
            Op::Min | Op::Max => f64::NAN,
            // Unlike zero, this is added without a trace.
            Op::Sum | Op::Avg => -0.0,
            _ => 0.0,
        };
        let used = |yes: bool| vec![0.0; if yes { n } else { 0 }];
        Self {
            value: vec![value; n],
            compensation: used(matches!(op, Op::Sum | Op::Avg)),
            mean: used(matches!(op, Op::Stddev | Op::Stdvar)),
            count: vec![0.0; n],
            everywhere: 0.0,
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

struct Group {
    drop_name: bool,
    steps: Steps,
}

impl Group {
    /// Memory of its accumulators.
    fn bytes(&self) -> u64 {
        match &self.steps {
            Steps::Floats(f) => 8 * (f.value.len() + f.mean.len() + f.compensation.len() + f.count.len()) as u64,
            Steps::Any(accs) => {
                let histograms = accs.iter().filter_map(|a| a.histogram.as_ref()).count();
                (size_of_val(&accs[..]) + HISTOGRAM_TOTAL_BYTES * histograms) as u64
            }
        }
    }

    fn add(&mut self, op: Op, s: &OutSeries, span: Span, notes: &mut Notes) {
        self.drop_name |= s.drop_name;
        if let Steps::Floats(floats) = &mut self.steps {
            if !s.column.has_histograms() && floats.add(op, &s.column.floats) {
                return;
            }
            self.steps = Steps::Any(floats.spread());
        }
        let Steps::Any(accs) = &mut self.steps else { return };
        for (acc, f) in accs.iter_mut().zip(&s.column.floats) {
            if !is_stale(*f) && !acc.incompatible {
                acc.add_float(op, *f);
            }
        }
        for (acc, h) in accs.iter_mut().zip(&s.column.histograms) {
            if let Some(h) = h {
                acc.add_histogram(op, h, s.labels.metric().unwrap_or(""), span, notes);
            }
        }
    }

    /// Adds a series that has one value, at the only step there is.
    fn add_one(&mut self, op: Op, one: &One<'_>, span: Span, notes: &mut Notes) {
        if let Steps::Floats(floats) = &mut self.steps {
            if one.histogram.is_none() && floats.add(op, &[one.float]) {
                return;
            }
            self.steps = Steps::Any(floats.spread());
        }
        let Steps::Any(accs) = &mut self.steps else { return };
        let Some(acc) = accs.first_mut() else { return };
        match one.histogram {
            Some(h) => acc.add_histogram(op, h, one.labels.metric().unwrap_or(""), span, notes),
            None if !acc.incompatible => acc.add_float(op, one.float),
            None => {}
        }
    }

    fn finish(self, op: Op, span: Span, notes: &mut Notes) -> Column {
        let mut accs = match self.steps {
            Steps::Floats(f) => return Column { floats: f.finish(op), histograms: Vec::new() },
            Steps::Any(accs) => accs,
        };
        let mut column = Column::absent(accs.len());
        for (i, acc) in accs.iter_mut().enumerate() {
            if let Some(cell) = acc.finish(op, span, notes) {
                column.set(i, cell);
            }
        }
        column
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn aggregate(&mut self, a: &AggregatePlan, span: Span, frame: Frame) -> Result<Vec<OutSeries>> {
        match a.op {
            Op::Topk | Op::Bottomk | Op::Limitk | Op::LimitRatio => self.aggregate_k(a, span, frame),
            Op::Quantile => self.aggregate_quantile(a, frame),
            Op::CountValues => self.count_values(a, frame),
            _ => self.fold(a, frame),
        }
    }

    fn fold(&mut self, a: &AggregatePlan, frame: Frame) -> Result<Vec<OutSeries>> {
        let (op, span) = (a.op, a.expr.span);
        let mut keys = Keys::grouping(&a.grouping);
        let mut groups: Vec<Group> = Vec::new();
        let mut bytes = 0;
        let mut add = |ev: &mut Self, labels: &Labels, one: &dyn Fn(&mut Group, &mut Notes)| {
            let at = keys.number(labels);
            if at == groups.len() {
                ev.check_points((at as u64 + 1) * frame.n as u64)?;
                ev.hold_labels(keys.labels(at))?;
                let group = Group { drop_name: false, steps: Steps::Floats(Floats::new(op, frame.n)) };
                bytes += group.bytes();
                groups.push(group);
            }
            let group = &mut groups[at];
            bytes -= group.bytes();
            one(group, &mut ev.notes);
            bytes += group.bytes();
            ev.check_bytes(bytes)
        };
        match self.newest(&a.expr, frame) {
            Some(newest) => self.each_newest(newest, &mut |ev, one| {
                add(ev, one.labels, &|group, notes| group.add_one(op, one, span, notes))
            })?,
            None => self.stream(&a.expr, frame, &mut |ev, s| {
                add(ev, &s.labels, &|group, notes| group.add(op, &s, span, notes))
            })?,
        }
        let mut out = Vec::with_capacity(groups.len());
        for (at, g) in groups.into_iter().enumerate() {
            let drop_name = g.drop_name;
            let column = g.finish(op, span, &mut self.notes);
            if !column.is_all_absent() {
                out.push(OutSeries { labels: keys.labels(at).clone(), drop_name, column });
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
