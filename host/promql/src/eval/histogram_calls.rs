//! `histogram_*`: over native histograms, and over classic ones as series of buckets.

use std::collections::HashMap;

use belfry_model::{Histogram, Labels};

use super::range_calls::kahan;
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result};
use crate::QueryError;
use crate::histogram::{self, Classic, NanEffect};
use crate::plan::Plan;
use crate::syntax::functions::Function as F;
use crate::syntax::span::Span;

/// The series of one histogram: bounds with their columns, and a native one.
#[derive(Default)]
struct Family {
    labels: Labels,
    classic: Vec<(f64, Column)>,
    native: Vec<OutSeries>,
}

/// What a histogram is at one step.
enum Shape {
    Native(std::sync::Arc<Histogram>),
    Classic(Vec<Classic>),
}

fn variance(h: &Histogram) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut c) = (0.0, 0.0);
    for b in histogram::all_buckets(h).iter().filter(|b| b.count != 0.0) {
        let at = if histogram::is_custom(h) {
            (b.upper + b.lower) / 2.0
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            (b.upper * b.lower).sqrt().copysign(b.upper)
        };
        let delta = at - mean;
        (sum, c) = kahan(b.count * delta * delta, sum, c);
    }
    (sum + c) / h.count
}

/// Go's `ParseFloat`, as far as bucket bounds are written.
fn parse_bound(le: &str) -> Option<f64> {
    le.parse().ok()
}

impl<'a> Evaluator<'a> {
    pub(super) fn histogram_statistic(&mut self, f: F, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let mut v = self.vector(&args[0], frame)?;
        for s in &mut v {
            let mut column = Column::absent(frame.n);
            for (i, h) in s.column.histograms.iter().enumerate() {
                let Some(h) = h else { continue };
                column.floats[i] = match f {
                    F::HistogramCount => h.count,
                    F::HistogramSum => h.sum,
                    F::HistogramAvg => h.sum / h.count,
                    F::HistogramStdvar => variance(h),
                    _ => variance(h).sqrt(),
                };
            }
            s.column = column;
        }
        v.retain(|s| !s.column.is_all_absent());
        Ok(v)
    }

    fn family(
        &mut self,
        families: &mut Vec<Family>,
        labels: Labels,
        index: &mut HashMap<Labels, usize>,
    ) -> Result<usize> {
        if let Some(known) = index.get(&labels) {
            return Ok(*known);
        }
        self.hold_labels(&labels)?;
        families.push(Family { labels: labels.clone(), ..Family::default() });
        index.insert(labels, families.len() - 1);
        Ok(families.len() - 1)
    }

    /// Groups a vector into histograms and calls `f` for each at each step.
    fn each_histogram(
        &mut self,
        arg: &Plan,
        frame: Frame,
        f: &mut dyn FnMut(&mut Self, &Labels, usize, Shape) -> Result<()>,
    ) -> Result<()> {
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut families: Vec<Family> = Vec::new();
        for mut s in self.vector(arg, frame)? {
            if s.column.floats.iter().any(|v| !belfry_model::sample::is_stale(*v)) {
                let le = s.labels.get("le").unwrap_or("");
                match parse_bound(le) {
                    Some(upper) => {
                        let at = self.family(&mut families, s.labels.without(&["le"]), &mut index)?;
                        let floats = if s.column.has_histograms() {
                            self.hold(8 * frame.n as u64)?;
                            s.column.floats.clone()
                        } else {
                            std::mem::take(&mut s.column.floats)
                        };
                        families[at].classic.push((upper, Column { floats, histograms: Vec::new() }));
                    }
                    None => self.notes.bad_bucket_label(arg.span, s.labels.metric().unwrap_or(""), le),
                }
            }
            if s.column.has_histograms() {
                let at = self.family(&mut families, s.labels.clone(), &mut index)?;
                families[at].native.push(s);
            }
        }
        for fam in &families {
            self.check_cancelled()?;
            for i in 0..frame.n {
                let buckets: Vec<Classic> = fam
                    .classic
                    .iter()
                    .filter_map(|(upper, c)| Some(Classic { upper: *upper, count: c.get(i)?.float()? }))
                    .collect();
                let native = fam.native.iter().find_map(|s| match s.column.get(i) {
                    Some(Cell::Histogram(h)) => Some(h),
                    _ => None,
                });
                match native {
                    Some(_) if !buckets.is_empty() => {
                        self.notes.mixed_classic_native(arg.span, fam.labels.metric().unwrap_or(""));
                    }
                    Some(h) => f(self, &fam.labels, i, Shape::Native(h))?,
                    None if !buckets.is_empty() => f(self, &fam.labels, i, Shape::Classic(buckets))?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn quantile_of(&mut self, q: f64, shape: &Shape, metric: &str, span: Span) -> f64 {
        match shape {
            Shape::Native(h) => {
                let (v, effect) = histogram::quantile(q, h);
                match effect {
                    NanEffect::None => {}
                    NanEffect::ResultIsNan => self.notes.quantile_nan(span, metric),
                    NanEffect::Skewed => self.notes.quantile_skewed(span, metric),
                }
                v
            }
            Shape::Classic(buckets) => {
                let (v, forced) = histogram::classic_quantile(q, buckets.clone());
                if forced {
                    self.notes.forced_monotonicity(span, metric);
                }
                v
            }
        }
    }

    pub(super) fn histogram_quantile(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let q = self.scalar(&args[0], frame)?;
        self.check_quantiles(&q, args[0].span);
        let mut out = Results::new(frame.n);
        self.each_histogram(&args[1], frame, &mut |ev, labels, i, shape| {
            let v = ev.quantile_of(q[i], &shape, labels.metric().unwrap_or(""), args[1].span);
            out.put(ev, labels.clone(), i, v)
        })?;
        out.finish()
    }

    pub(super) fn histogram_quantiles(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let label = self.string(&args[1])?;
        let mut qs = Vec::new();
        for a in &args[2..] {
            let q = self.scalar(a, frame)?;
            self.check_quantiles(&q, a.span);
            qs.push(q);
        }
        let mut out = Results::new(frame.n);
        self.each_histogram(&args[0], frame, &mut |ev, labels, i, shape| {
            for q in &qs {
                let v = ev.quantile_of(q[i], &shape, labels.metric().unwrap_or(""), args[0].span);
                let labels = labels.to_builder().set(label.as_str(), open_metrics(q[i])).build();
                out.put(ev, labels, i, v)?;
            }
            Ok(())
        })?;
        out.finish()
    }

    fn check_quantiles(&mut self, q: &[f64], span: Span) {
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.invalid_quantile(span, *q);
        }
    }

    pub(super) fn histogram_fraction(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let (lower, upper) = (self.scalar(&args[0], frame)?, self.scalar(&args[1], frame)?);
        let mut out = Results::new(frame.n);
        self.each_histogram(&args[2], frame, &mut |ev, labels, i, shape| {
            let v = match shape {
                Shape::Native(h) => {
                    let (v, nans) = histogram::fraction(lower[i], upper[i], &h);
                    if nans {
                        ev.notes.fraction_nan(args[2].span, labels.metric().unwrap_or(""));
                    }
                    v
                }
                Shape::Classic(buckets) => histogram::classic_fraction(lower[i], upper[i], buckets),
            };
            out.put(ev, labels.clone(), i, v)
        })?;
        out.finish()
    }
}

/// A float as a label's value: `1.0`, not `1`.
fn open_metrics(v: f64) -> String {
    let text = super::format_g(v);
    if v.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

struct Results {
    series: Vec<OutSeries>,
    index: HashMap<Labels, usize>,
    n: usize,
    twice: bool,
}

impl Results {
    fn new(n: usize) -> Self {
        Self { series: Vec::new(), index: HashMap::new(), n, twice: false }
    }

    fn put(&mut self, ev: &mut Evaluator<'_>, labels: Labels, i: usize, v: f64) -> Result<()> {
        let at = match self.index.get(&labels) {
            Some(known) => *known,
            None => {
                ev.hold_series(self.series.len() + 1, self.n)?;
                self.index.insert(labels.clone(), self.series.len());
                self.series.push(OutSeries { labels, drop_name: false, column: Column::absent(self.n) });
                self.series.len() - 1
            }
        };
        let slot = &mut self.series[at].column.floats[i];
        self.twice |= !belfry_model::sample::is_stale(*slot);
        *slot = v;
        Ok(())
    }

    fn finish(self) -> Result<Vec<OutSeries>> {
        if self.twice {
            return Err(QueryError::Execution(super::SAME_LABELSET.to_owned()));
        }
        Ok(self.series)
    }
}
