//! Aggregations that need all values of a group together: the k largest, quantiles, counts of values.

use std::collections::HashMap;

use belfry_model::Labels;

use super::aggregate::group_labels;
use super::range_calls::quantile;
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result};
use crate::plan::AggregatePlan;
use crate::syntax::ast::{AggregateOp as Op, Grouping};
use crate::syntax::quote::{is_valid_utf8, quote};
use crate::syntax::span::Span;
use crate::{QueryError, histogram};

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(QueryError::Execution(text.into()))
}

/// Which group each series is in, and how many groups there are, numbered as they come.
fn groups(series: &[OutSeries], grouping: &Grouping) -> (Vec<usize>, Vec<Labels>) {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut labels = Vec::new();
    let of = series
        .iter()
        .map(|s| {
            *index.entry(group_labels(&s.labels, grouping)).or_insert_with_key(|l| {
                labels.push(l.clone());
                labels.len() - 1
            })
        })
        .collect();
    (of, labels)
}

/// Where a series stands between 0 and 1 for `limit_ratio`: the same on every machine.
fn ratio_offset(labels: &Labels) -> f64 {
    // The high bits of FNV move little for short inputs; a finaliser spreads them.
    let mut h = labels.stable_hash();
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (h ^ (h >> 31)) as f64 / u64::MAX as f64
}

impl<'a> Evaluator<'a> {
    fn param(&mut self, a: &AggregatePlan, frame: Frame) -> Result<(Vec<f64>, Span)> {
        match &a.param {
            Some(p) => Ok((self.scalar(p, frame)?, p.span)),
            None => fail("the aggregation lacks its parameter"),
        }
    }

    pub(super) fn aggregate_k(&mut self, a: &AggregatePlan, span: Span, frame: Frame) -> Result<Vec<OutSeries>> {
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
        let mut series = self.vector(&a.expr, frame)?;
        let (group_of, group_list) = groups(&series, &a.grouping);
        let mut keep: Vec<bool> = vec![false; series.len()];
        let mut order: Vec<usize> = Vec::new();
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
                        // NaN is last either way; equals stay in their order.
                        let order = |(i, x): &(usize, f64), (j, y): &(usize, f64)| {
                            let by_value = match (x.is_nan(), y.is_nan()) {
                                (false, false) if top => y.total_cmp(x),
                                (false, false) => x.total_cmp(y),
                                (x, y) => x.cmp(&y),
                            };
                            by_value.then(i.cmp(j))
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
                    order.push(*j);
                }
            }
            for (s, keep) in series.iter_mut().zip(&keep) {
                if !keep {
                    s.column.clear(i);
                }
            }
        }
        // An instant query's answer is in the order of the values.
        let mut place = vec![usize::MAX; series.len()];
        for (at, j) in order.into_iter().enumerate() {
            place[j] = place[j].min(at);
        }
        let mut out: Vec<(usize, OutSeries)> = place.into_iter().zip(series).collect();
        out.retain(|(at, _)| *at != usize::MAX);
        out.sort_by_key(|(at, _)| *at);
        Ok(out.into_iter().map(|(_, s)| s).collect())
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
        let (group_of, labels) = groups(&series, &a.grouping);
        let mut out: Vec<OutSeries> = labels
            .into_iter()
            .map(|labels| OutSeries { labels, drop_name: false, column: Column::absent(frame.n) })
            .collect();
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); out.len()];
        for (i, q) in q.iter().enumerate() {
            self.check_cancelled()?;
            for (s, g) in series.iter().zip(&group_of) {
                match s.column.get(i) {
                    Some(Cell::Float(f)) => {
                        values[*g].push(f);
                        out[*g].drop_name |= s.drop_name;
                    }
                    Some(Cell::Histogram(_)) => self.notes.histogram_ignored(a.expr.span, "quantile"),
                    None => {}
                }
            }
            for (v, s) in values.iter_mut().zip(&mut out) {
                if !v.is_empty() {
                    s.column.floats[i] = quantile(*q, v);
                    v.clear();
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
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<OutSeries> = Vec::new();
        for s in self.vector(&a.expr, frame)? {
            for i in 0..frame.n {
                let value = match s.column.get(i) {
                    None => continue,
                    Some(Cell::Float(f)) => crate::syntax::number(f),
                    Some(Cell::Histogram(h)) => histogram::describe(&h),
                };
                let labels = s.labels.to_builder().set(name.as_str(), value).build();
                let at = *index.entry(group_labels(&labels, &grouping)).or_insert_with_key(|l| {
                    out.push(OutSeries { labels: l.clone(), drop_name: false, column: Column::absent(frame.n) });
                    out.len() - 1
                });
                let slot = &mut out[at].column.floats[i];
                *slot = if belfry_model::sample::is_stale(*slot) { 1.0 } else { *slot + 1.0 };
            }
        }
        Ok(out)
    }
}
