//! What a query gave against what the script expects.

use belfry_model::{Histogram, Labels, TimestampMs};
use belfry_promql::{PointValue as Got, QueryTime, QueryValue};

use super::Expected;
use crate::values::{Point, PointValue};

/// Relative distance up to which two numbers are the same.
const EPSILON: f64 = 1e-6;

fn same(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < EPSILON * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < EPSILON
}

fn buckets(spans: &[belfry_model::sample::Span], counts: &[f64]) -> Vec<(i32, f64)> {
    let (mut out, mut index, mut counts) = (Vec::new(), 0, counts.iter());
    for s in spans {
        index += s.offset;
        for _ in 0..s.length {
            if let Some(c) = counts.next().filter(|c| **c != 0.0) {
                out.push((index, *c));
            }
            index += 1;
        }
    }
    out
}

fn same_histogram(e: &Histogram, g: &Histogram, hinted: bool) -> bool {
    let side = |es: &[_], ec: &[f64], gs: &[_], gc: &[f64]| {
        let (e, g) = (buckets(es, ec), buckets(gs, gc));
        e.len() == g.len() && e.iter().zip(&g).all(|(x, y)| x.0 == y.0 && same(x.1, y.1))
    };
    e.schema == g.schema
        && same(e.count, g.count)
        && same(e.sum, g.sum)
        && same(e.zero_threshold, g.zero_threshold)
        && same(e.zero_count, g.zero_count)
        && e.custom_bounds.len() == g.custom_bounds.len()
        && e.custom_bounds.iter().zip(&g.custom_bounds).all(|(a, b)| same(*a, *b))
        && side(&e.positive_spans, &e.positive_counts, &g.positive_spans, &g.positive_counts)
        && side(&e.negative_spans, &e.negative_counts, &g.negative_spans, &g.negative_counts)
        && (!hinted || e.reset_hint == g.reset_hint)
}

fn same_value(e: &PointValue, g: &Got) -> bool {
    match (e, g) {
        (PointValue::Float(e), Got::Float(g)) => same(*e, *g),
        (PointValue::Histogram(e, hinted), Got::Histogram(g)) => same_histogram(e, g, *hinted),
        _ => false,
    }
}

fn vector(expected: &Expected, got: &[(Labels, Got)]) -> Result<(), String> {
    if got.len() != expected.series.len() {
        let got: Vec<String> = got.iter().map(|(l, v)| format!("{l} {v:?}")).collect();
        return Err(format!("{} series expected, got {got:?}", expected.series.len()));
    }
    for (i, (labels, value)) in got.iter().enumerate() {
        let Some(at) = expected.series.iter().position(|(l, _)| l == labels) else {
            return Err(format!("unexpected {labels} {value:?}"));
        };
        if expected.ordered && at != i {
            return Err(format!("{labels} is at place {i}, not {at}"));
        }
        match expected.series[at].1.first() {
            Some(Some(e)) if same_value(e, value) => {}
            e => return Err(format!("{labels}: expected {e:?}, got {value:?}")),
        }
    }
    Ok(())
}

/// The answer to the query as it was asked.
pub(super) fn compare(expected: &Expected, time: QueryTime, got: &QueryValue) -> Result<(), String> {
    match got {
        QueryValue::String(_, s) => match &expected.string {
            Some(e) if e == s => Ok(()),
            e => Err(format!("expected {e:?}, got {s:?}")),
        },
        QueryValue::Scalar(_, v) => match expected.scalar {
            Some(e) if same(e, *v) => Ok(()),
            e => Err(format!("expected {e:?}, got scalar {v}")),
        },
        _ if expected.string.is_some() || expected.scalar.is_some() => Err(format!("expected a literal, got {got:?}")),
        QueryValue::Vector(v) => {
            let got: Vec<(Labels, Got)> = v.iter().map(|p| (p.labels.clone(), p.value.clone())).collect();
            vector(expected, &got)
        }
        QueryValue::Matrix(rows) => {
            let (start, step) = match (expected.range_vector, time) {
                (Some(r), _) => r,
                (None, QueryTime::Range { start, step, .. }) => (start.0, step.as_millis() as i64),
                (None, QueryTime::Instant(_)) => return Err("a range vector was not expected".to_owned()),
            };
            if expected.ordered {
                return Err("a matrix has no order".to_owned());
            }
            if !rows.is_sorted_by(|a, b| a.labels <= b.labels) {
                return Err("rows are not sorted".to_owned());
            }
            for r in rows {
                let Some((_, points)) = expected.series.iter().find(|(l, _)| *l == r.labels) else {
                    return Err(format!("unexpected {} {:?}", r.labels, r.points));
                };
                row(points, start, step, &r.points).map_err(|e| format!("{}: {e}", r.labels))?;
            }
            let missing = expected
                .series
                .iter()
                .find(|(l, points)| points.iter().any(Option::is_some) && !rows.iter().any(|r| r.labels == *l));
            missing.map_or(Ok(()), |(l, _)| Err(format!("{l} is missing")))
        }
    }
}

fn row(expected: &[Point], start: i64, step: i64, got: &[(TimestampMs, Got)]) -> Result<(), String> {
    let expected: Vec<(i64, &PointValue)> =
        expected.iter().enumerate().filter_map(|(i, p)| Some((start + step * i as i64, p.as_ref()?))).collect();
    if expected.len() != got.len() {
        return Err(format!("expected {} points, got {}: {got:?}", expected.len(), got.len()));
    }
    for ((t, e), (at, g)) in expected.iter().zip(got) {
        if *t != at.0 || !same_value(e, g) {
            return Err(format!("expected {e:?} at {t}, got {g:?} at {}", at.0));
        }
    }
    Ok(())
}

/// The middle step of an instant query that was asked as a range query.
pub(super) fn compare_middle(expected: &Expected, at: TimestampMs, got: &QueryValue) -> Result<(), String> {
    let QueryValue::Matrix(rows) = got else { return Err(format!("no matrix: {got:?}")) };
    let got: Vec<(Labels, Got)> = rows
        .iter()
        .filter_map(|r| r.points.iter().find(|(t, _)| *t == at).map(|(_, v)| (r.labels.clone(), v.clone())))
        .collect();
    match expected.scalar {
        None => vector(expected, &got),
        Some(e) => match got.as_slice() {
            [(l, Got::Float(v))] if l.is_empty() && same(e, *v) => Ok(()),
            got => Err(format!("expected {e}, got {got:?}")),
        },
    }
}
