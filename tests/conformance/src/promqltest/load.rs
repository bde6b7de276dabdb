//! `load STEP` and `load_with_nhcb STEP`.

use std::collections::BTreeMap;
use std::sync::Arc;

use belfry_model::sample::{ResetHint, Span, is_stale};
use belfry_model::{Histogram, Labels, METRIC_NAME, Sample, TimestampMs, Value};
use belfry_testkit::MemorySeries;

use super::starts::{self, Starts};
use crate::values::{self, Point, PointValue};

pub(super) fn load(store: &mut MemorySeries, head: &str, lines: &[&str]) -> Result<(), String> {
    let (command, step) = head.split_once(char::is_whitespace).ok_or("no step")?;
    let step = super::ms(step.trim())?;
    let mut classic: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    let mut starts = Starts::new();
    for line in lines {
        let (labels, rest) = values::labels(line).ok_or_else(|| format!("bad labels in `{line}`"))?;
        // They stand before the samples that they belong to.
        if let Some(rest) = rest.strip_prefix("@st") {
            let all = starts::parse(rest).ok_or_else(|| format!("bad start timestamps in `{line}`"))?;
            starts.insert(labels, all);
            continue;
        }
        let starts = starts.get(&labels).map_or(&[][..], |s| s);
        let points = values::points(rest).ok_or_else(|| format!("bad values in `{line}`"))?;
        if command == "load_with_nhcb" {
            collect_classic(&mut classic, &labels, &points, step);
        }
        push(store, &labels, starts, points.iter().enumerate().map(|(i, p)| (i as i64 * step, p.clone())));
    }
    for (labels, by_time) in classic {
        let points = by_time.into_iter().map(|(t, c)| (t, Some(PointValue::Histogram(Arc::new(c.convert()), false))));
        push(store, &labels, &[], points);
    }
    Ok(())
}

/// Adds a series as a store gives it back: histograms say of themselves whether they were reset.
fn push(store: &mut MemorySeries, labels: &Labels, starts: &[Option<i64>], points: impl Iterator<Item = (i64, Point)>) {
    let mut previous: Option<Arc<Histogram>> = None;
    for (i, (t, point)) in points.enumerate() {
        let value = match point {
            None => continue,
            Some(PointValue::Float(f)) => {
                previous = None;
                Value::Float(f)
            }
            Some(PointValue::Histogram(h, _)) => {
                let mut stored = (*h).clone();
                if h.reset_hint != ResetHint::Gauge {
                    stored.reset_hint = ResetHint::Unknown;
                    let earlier = previous.as_ref().filter(|p| p.reset_hint != ResetHint::Gauge);
                    let reset = earlier.is_none_or(|p| belfry_promql::histogram_was_reset(&stored, p));
                    // A reset that was only found is not remembered (prometheus/prometheus#15346).
                    stored.reset_hint = match h.reset_hint {
                        ResetHint::Reset => ResetHint::Reset,
                        _ if reset => ResetHint::Unknown,
                        _ => ResetHint::NotReset,
                    };
                }
                let stored = Arc::new(stored);
                previous = Some(stored.clone()).filter(|h| !is_stale(h.sum));
                Value::Histogram(stored)
            }
        };
        let start = starts.get(i).copied().flatten().map(|distance| TimestampMs(t + distance));
        store.push(labels, Sample { at: TimestampMs(t), value, start });
    }
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

fn collect_classic(into: &mut BTreeMap<Labels, BTreeMap<i64, Classic>>, labels: &Labels, points: &[Point], step: i64) {
    let metric = labels.metric().unwrap_or("");
    let Some((base, suffix)) = metric.rsplit_once('_').filter(|(_, s)| matches!(*s, "bucket" | "count" | "sum")) else {
        return;
    };
    let le = labels.get("le").and_then(values::number);
    if suffix == "bucket" && le.is_none_or(f64::is_nan) {
        return;
    }
    let name = labels.without(&["le"]).to_builder().set(METRIC_NAME, base).build();
    let by_time = into.entry(name).or_default();
    for (i, p) in points.iter().enumerate() {
        let Some(PointValue::Float(f)) = p else { continue };
        let c = by_time.entry(i as i64 * step).or_default();
        match suffix {
            "bucket" => c.buckets.push((le.unwrap_or(f64::INFINITY), *f)),
            "count" => c.count = Some(*f),
            _ => c.sum = *f,
        }
    }
}

impl Classic {
    /// As a native histogram with the same bounds.
    fn convert(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = self.count.or(self.buckets.last().map(|b| b.1)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut counts = Vec::new();
        for (_, cumulative) in &self.buckets {
            counts.push(cumulative - below);
            below = *cumulative;
        }
        Histogram {
            schema: Histogram::CUSTOM_BOUNDS,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_counts: counts,
            custom_bounds: self.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect(),
            ..Histogram::default()
        }
    }
}
