//! How many samples each step looks at, as Prometheus counts them for `stats=all`: a sample that several windows hold
//! counts for each of them, a histogram for as much as it is larger than a float.
//!
//! Invariant: nothing is counted unless it was asked for. What a subquery reads counts once, where its values are used.

use belfry_model::Histogram;

use super::vector::{Column, Frame};
use super::{Evaluated, Evaluator, Result};
use crate::plan::Plan;

/// Samples by step.
pub(crate) type StepCounts = Vec<u64>;

/// A histogram without spans and buckets, in Prometheus.
const HISTOGRAM_BYTES: usize = 168;
/// A sample, in Prometheus.
const SAMPLE_BYTES: usize = 16;

/// A histogram as a number of samples.
pub(super) fn size(h: &Histogram) -> u64 {
    let spans = h.positive_spans.len() + h.negative_spans.len();
    let buckets = h.positive_counts.len() + h.negative_counts.len() + h.custom_bounds.len();
    ((HISTOGRAM_BYTES + 8 * (spans + buckets) + 8) / SAMPLE_BYTES) as u64
}

/// Counts the values of a selector, each of which is a sample.
pub(super) fn count_values(counts: &mut StepCounts, column: &Column) {
    for (i, count) in counts.iter_mut().enumerate() {
        if column.is_present(i) {
            *count += column.histograms.get(i).and_then(Option::as_ref).map_or(1, |h| size(h));
        }
    }
}

impl Evaluator<'_> {
    /// Counts from now on.
    pub fn count_steps(&mut self, frame: Frame) {
        self.steps = Some(vec![0; frame.n]);
    }

    /// Adds what was counted elsewhere.
    pub(super) fn add_steps(&mut self, counted: Option<StepCounts>) {
        if let (Some(all), Some(counted)) = (&mut self.steps, counted) {
            all.iter_mut().zip(counted).for_each(|(a, c)| *a += c);
        }
    }

    /// What is the same at every step is evaluated at the first, and counts for each.
    pub(super) fn eval_once(&mut self, plan: &Plan, frame: Frame) -> Result<Evaluated> {
        let all = self.steps.take();
        self.steps = all.as_ref().map(|_| vec![0; 1]);
        let value = self.eval(plan, frame.first());
        let once = self.steps.take().and_then(|s| s.first().copied()).unwrap_or(0);
        self.steps = all;
        self.steps.iter_mut().flatten().for_each(|s| *s += once);
        value
    }
}
