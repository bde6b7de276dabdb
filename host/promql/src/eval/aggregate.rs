//! Aggregations that fold: each series is added to its group's accumulators, one per step, and forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::sample::ResetHint;
use belfry_model::{Histogram, Labels};

use super::notes::Notes;
use super::range_calls::kahan;
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result};
use crate::histogram;
use crate::plan::AggregatePlan;
use crate::syntax::ast::{AggregateOp as Op, Grouping};
use crate::syntax::span::Span;

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

struct Group {
    labels: Labels,
    drop_name: bool,
    steps: Vec<Acc>,
}

/// The labels of the group that a series belongs to.
pub(super) fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    match grouping {
        Grouping::None => Labels::empty(),
        Grouping::By(names) => labels.only(&names.iter().map(String::as_str).collect::<Vec<_>>()),
        Grouping::Without(names) => {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.push(belfry_model::METRIC_NAME);
            labels.without(&names)
        }
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
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        self.stream(&a.expr, frame, &mut |ev, s| {
            let labels = group_labels(&s.labels, &a.grouping);
            let at = *index.entry(labels).or_insert_with_key(|labels| {
                let steps = vec![Acc::default(); frame.n];
                groups.push(Group { labels: labels.clone(), drop_name: false, steps });
                groups.len() - 1
            });
            let group = &mut groups[at];
            group.drop_name |= s.drop_name;
            for (acc, f) in group.steps.iter_mut().zip(&s.column.floats) {
                if !belfry_model::sample::is_stale(*f) && !acc.incompatible {
                    acc.add_float(op, *f);
                }
            }
            for (acc, h) in group.steps.iter_mut().zip(&s.column.histograms) {
                if let Some(h) = h {
                    acc.add_histogram(op, h, s.labels.metric().unwrap_or(""), span, &mut ev.notes);
                }
            }
            Ok(())
        })?;
        let mut out = Vec::with_capacity(groups.len());
        for mut g in groups {
            let mut column = Column::absent(frame.n);
            for (i, acc) in g.steps.iter_mut().enumerate() {
                if let Some(cell) = acc.finish(op, span, &mut self.notes) {
                    column.set(i, cell);
                }
            }
            if !column.is_all_absent() {
                out.push(OutSeries { labels: g.labels, drop_name: g.drop_name, column });
            }
        }
        Ok(out)
    }
}
