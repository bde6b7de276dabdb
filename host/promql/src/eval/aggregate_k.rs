//! Aggregations that need all values of a group together: the k largest, quantiles, counts of values.

use belfry_model::Labels;
use belfry_model::sample::is_stale;

use super::keys::Keys;
use super::memory::series_bytes;
use super::range_calls::quantile;
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result, Sink};
use crate::plan::AggregatePlan;
use crate::syntax::ast::{AggregateOp as Op, Grouping};
use crate::syntax::quote::{is_valid_utf8, quote};
use crate::syntax::span::Span;
use crate::{QueryError, histogram};

/// Steps whose values are gathered together for a quantile.
const STEPS_AT_A_TIME: usize = 16;

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(QueryError::Execution(text.into()))
}

/// Where a series stands between 0 and 1 for `limit_ratio`: the same on every machine, and the same as in Prometheus,
/// which takes xxHash64 of the labels as it keeps them: each name and value after its length.
fn ratio_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(128);
    for text in labels.iter().flat_map(|l| [&l.name, &l.value]) {
        match u8::try_from(text.len()) {
            Ok(short) if short < u8::MAX => bytes.push(short),
            _ => {
                bytes.push(u8::MAX);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

impl<'a> Evaluator<'a> {
    fn param(&mut self, a: &AggregatePlan, frame: Frame) -> Result<(Vec<f64>, Span)> {
        match &a.param {
            Some(p) => Ok((self.scalar(p, frame)?, p.span)),
            None => fail("the aggregation lacks its parameter"),
        }
    }

    /// Which group each series is in, and the groups, numbered as they come.
    fn groups(&mut self, series: &[OutSeries], grouping: &Grouping) -> Result<(Vec<usize>, Keys)> {
        let mut keys = Keys::grouping(grouping);
        let of = series.iter().map(|s| self.number(&mut keys, &s.labels)).collect::<Result<_>>()?;
        Ok((of, keys))
    }

    pub(super) fn aggregate_k(
        &mut self,
        a: &AggregatePlan,
        span: Span,
        frame: Frame,
        sink: Sink<'_, 'a>,
    ) -> Result<()> {
        let before = self.mark();
        let (k, param_span) = self.param(a, frame)?;
        let (low, high) = k.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let nan = k.iter().any(|v| v.is_nan());
        if a.op == Op::LimitRatio {
            if nan {
                return fail("Ratio value is NaN");
            }
            if high > 1.0 {
                self.notes.invalid_ratio(param_span, high, 1.0);
            }
            if low < -1.0 {
                self.notes.invalid_ratio(param_span, low, -1.0);
            }
        } else {
            if nan {
                return fail("Parameter value is NaN");
            }
            if low <= i64::MIN as f64 {
                return fail(format!("Scalar value {} underflows int64", super::format_g(low)));
            }
            if high >= i64::MAX as f64 {
                return fail(format!("Scalar value {} overflows int64", super::format_g(high)));
            }
        }
        if matches!(a.op, Op::Topk | Op::Bottomk) && high <= super::top::K_MAX {
            return self.top(a, &k, span, frame, sink);
        }
        let mut series = self.vector(&a.expr, frame)?;
        let (group_of, group_list) = self.groups(&series, &a.grouping)?;
        let mut keep: Vec<bool> = vec![false; series.len()];
        // An instant query's answer is in the order of the values.
        let (mut place, mut placed) = (vec![usize::MAX; series.len()], 0);
        let mut members: Vec<Vec<(usize, f64)>> = vec![Vec::new(); group_list.len()];
        for (i, k) in k.iter().enumerate() {
            self.check_cancelled()?;
            members.iter_mut().for_each(Vec::clear);
            let none = a.op != Op::LimitRatio && *k < 1.0;
            for (j, s) in series.iter().enumerate().filter(|_| !none) {
                match s.column.get(i) {
                    None => {}
                    Some(Cell::Histogram(_)) if matches!(a.op, Op::Topk | Op::Bottomk) => {
                        self.notes.histogram_ignored(span, a.op.as_str());
                    }
                    Some(cell) => members[group_of[j]].push((j, cell.float().unwrap_or(0.0))),
                }
            }
            keep.fill(false);
            for m in &mut members {
                let count = if *k < 1.0 { 0 } else { (*k as usize).min(m.len()) };
                match a.op {
                    Op::Topk | Op::Bottomk => {
                        let top = a.op == Op::Topk;
                        let order = |(i, x): &(usize, f64), (j, y): &(usize, f64)| {
                            super::top::order(top, *x, *y).then(i.cmp(j))
                        };
                        // Only what stays needs to be sorted.
                        if count < m.len() {
                            m.select_nth_unstable_by(count, order);
                            m.truncate(count);
                        }
                        m.sort_unstable_by(order);
                    }
                    Op::Limitk => m.truncate(count),
                    _ => m.retain(|(j, _)| {
                        let offset = ratio_offset(&series[*j].labels);
                        if *k >= 0.0 { offset < *k } else { offset >= 1.0 + *k }
                    }),
                }
                for (j, _) in m.iter() {
                    keep[*j] = true;
                    if place[*j] == usize::MAX {
                        place[*j] = placed;
                        placed += 1;
                    }
                }
            }
            for (s, keep) in series.iter_mut().zip(&keep) {
                if !keep {
                    s.column.clear(i);
                }
            }
        }
        let mut out: Vec<(usize, OutSeries)> = place.into_iter().zip(series).collect();
        out.retain(|(at, _)| *at != usize::MAX);
        out.sort_by_key(|(at, _)| *at);
        let out: Vec<OutSeries> = out.into_iter().map(|(_, s)| s).collect();
        self.settle_with(before, out.iter().map(series_bytes).sum())?;
        self.hand_on(out, sink)
    }

    pub(super) fn aggregate_quantile(&mut self, a: &AggregatePlan, frame: Frame) -> Result<Vec<OutSeries>> {
        let (q, param_span) = self.param(a, frame)?;
        if q.iter().any(|q| q.is_nan()) {
            self.notes.invalid_quantile(param_span, f64::NAN);
        }
        let (low, high) = q.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        if high > 1.0 {
            self.notes.invalid_quantile(param_span, high);
        }
        if low < 0.0 {
            self.notes.invalid_quantile(param_span, low);
        }
        let series = self.vector(&a.expr, frame)?;
        let (group_of, keys) = self.groups(&series, &a.grouping)?;
        for at in 0..keys.len() {
            self.hold_series(at + 1, frame.n)?;
        }
        // Values of some steps, and vectors that double as they grow.
        let at_a_time = STEPS_AT_A_TIME.min(frame.n.max(1));
        let gathered = size_of::<Vec<f64>>() * keys.len() + 2 * size_of::<f64>() * (series.len() + 2 * keys.len());
        self.hold((gathered * at_a_time) as u64)?;
        let new = |at| OutSeries { labels: keys.labels(at).clone(), drop_name: false, column: Column::absent(frame.n) };
        let mut out: Vec<OutSeries> = (0..keys.len()).map(new).collect();
        // Some steps at a time: a series' values lie side by side.
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); out.len() * at_a_time];
        for from in (0..frame.n).step_by(at_a_time) {
            self.check_cancelled()?;
            let to = frame.n.min(from + at_a_time);
            for (s, g) in series.iter().zip(&group_of) {
                let own = &mut values[g * at_a_time..];
                for (v, f) in own.iter_mut().zip(&s.column.floats[from..to]) {
                    if !is_stale(*f) {
                        v.push(*f);
                        out[*g].drop_name |= s.drop_name;
                    }
                }
                if s.column.histograms.iter().skip(from).take(to - from).any(Option::is_some) {
                    self.notes.histogram_ignored(a.expr.span, "quantile");
                }
            }
            for (own, s) in values.chunks_mut(at_a_time).zip(&mut out) {
                for ((v, q), slot) in own.iter_mut().zip(&q[from..to]).zip(&mut s.column.floats[from..to]) {
                    if !v.is_empty() {
                        *slot = quantile(*q, v);
                        v.clear();
                    }
                }
            }
        }
        out.retain(|s| !s.column.is_all_absent());
        Ok(out)
    }

    pub(super) fn count_values(&mut self, a: &AggregatePlan, frame: Frame) -> Result<Vec<OutSeries>> {
        let name = match &a.param {
            Some(p) => self.string(p)?,
            None => return fail("the aggregation lacks its parameter"),
        };
        if name.is_empty() || !is_valid_utf8(&name) {
            return fail(format!("invalid label name {}", quote(&name)));
        }
        let grouping = match &a.grouping {
            Grouping::None => Grouping::By(vec![name.clone()]),
            Grouping::By(names) => Grouping::By(names.iter().cloned().chain([name.clone()]).collect()),
            without => without.clone(),
        };
        let mut keys = Keys::grouping(&grouping);
        let mut out: Vec<OutSeries> = Vec::new();
        for s in self.vector(&a.expr, frame)? {
            self.check_cancelled()?;
            let mut previous: Option<(u64, usize)> = None;
            for i in 0..frame.n {
                let (text, bits) = match s.column.get(i) {
                    None => continue,
                    Some(Cell::Float(f)) => {
                        // Most values are those of the step before: then so is the group.
                        if let Some((_, at)) = previous.filter(|(bits, _)| *bits == f.to_bits()) {
                            count(&mut out[at], i);
                            continue;
                        }
                        (crate::syntax::number(f), Some(f.to_bits()))
                    }
                    Some(Cell::Histogram(h)) => (histogram::describe(&h), None),
                };
                let at = keys.number(&s.labels.to_builder().set(name.as_str(), text).build());
                if at == out.len() {
                    self.hold_labels(keys.labels(at))?;
                    self.hold_series(at + 1, frame.n)?;
                    let labels = keys.labels(at).clone();
                    out.push(OutSeries { labels, drop_name: false, column: Column::absent(frame.n) });
                }
                previous = bits.map(|bits| (bits, at)).or(previous);
                count(&mut out[at], i);
            }
        }
        Ok(out)
    }
}

/// One more at step `i` of a group.
fn count(group: &mut OutSeries, i: usize) {
    let slot = &mut group.column.floats[i];
    *slot = if is_stale(*slot) { 1.0 } else { *slot + 1.0 };
}
