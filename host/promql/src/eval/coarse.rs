//! Downsampled data: what is left of a segment is made into samples that the functions over windows and the instant
//! selectors understand.
//!
//! A step that lies between the two samples of a segment sees samples that are made up: on the line between the two for
//! what counters grow by, the first value (the newest that is known) for all else; counts and sums are shared out by
//! time. Windows of whole segments meet none of these: over them `rate`, `increase`, `delta`, and count, sum, average,
//! minimum and maximum over time say what they said of all samples.
//!
//! Functions that need the samples in between say so in a warning.
//!
//! Invariant: series of which every sample is there are not touched.
//! Not here: how segments are made (the store).

use std::ops::Range;
use std::sync::Arc;

use belfry_model::{Histogram, Rollup, SampleBuf};

use super::Evaluator;
use super::pipe::Sources;
use super::vector::Frame;
use crate::histogram;
use crate::plan::Select;

/// What the samples of a segment are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Samples as they are; the first value where a step needs one.
    Held,
    /// On the line between the first and the last sample.
    Line,
    Min,
    Max,
    /// Each sample is the sum of what it stands for.
    Sum,
}

/// How many samples stand behind `of`, whose ranks these are.
pub(super) fn stand_for(ranks: &[u64], of: &Range<usize>) -> u64 {
    let Some(last) = of.end.checked_sub(1).and_then(|i| ranks.get(i)).filter(|_| !of.is_empty()) else {
        return of.len() as u64;
    };
    let before = of.start.checked_sub(1).and_then(|i| ranks.get(i)).copied().unwrap_or(0);
    last.saturating_sub(before).max(1)
}

fn form(function: Option<&str>, select: &Select, resolution: i64) -> Form {
    match function {
        _ if select.extended.is_some() => Form::Line,
        Some("rate" | "increase" | "delta" | "irate" | "idelta" | "deriv" | "predict_linear") => Form::Line,
        Some("sum_over_time" | "avg_over_time") => Form::Sum,
        // The extreme of an hour is not that of its five minutes.
        Some("min_over_time") if select.range >= resolution => Form::Min,
        Some("max_over_time") if select.range >= resolution => Form::Max,
        _ => Form::Held,
    }
}

/// Functions over ranges that say of whole segments what they said of all samples.
const EXACT: [&str; 15] = [
    "rate",
    "increase",
    "delta",
    "resets",
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "present_over_time",
    "absent_over_time",
];

/// Whether what is gone of segments is missing in the function's answer, whatever its windows are.
fn is_inexact(function: &str, select: &Select, resolution: i64) -> bool {
    let extreme = matches!(function, "min_over_time" | "max_over_time");
    select.range > 0
        && (!EXACT.contains(&function) || extreme && form(Some(function), select, resolution) == Form::Held)
}

/// What was met of downsampled data.
#[derive(Clone, Copy, Default)]
pub(super) struct Met {
    /// The coarsest resolution; 0 where all samples were there.
    pub resolution: i64,
    /// Sums of histograms of which some are gone were asked for.
    pub histograms_missing: bool,
    /// The function whose answer lacks what is gone.
    pub inexact: Option<&'static str>,
}

impl Evaluator<'_> {
    /// As [`Sources::refine`].
    pub(super) fn refine(&mut self, select: &Select, frame: Frame, buf: &mut SampleBuf) {
        let mut met = Met::default();
        self.sources.refine(select, frame, buf, &mut met);
        self.note_coarse(met);
    }

    /// Notes what was met.
    pub(super) fn note_coarse(&mut self, met: Met) {
        self.resolution_used = self.resolution_used.max(met.resolution);
        self.histograms_missing |= met.histograms_missing;
        self.inexact.extend(met.inexact);
    }
}

impl Sources<'_> {
    /// Makes samples out of segments. Afterwards each row's count is the number of samples that its sample stands for.
    pub(super) fn refine(&self, select: &Select, frame: Frame, buf: &mut SampleBuf, met: &mut Met) {
        if buf.coarse.rows.iter().all(|r| r.count == 1) {
            buf.coarse.rows.clear();
            return;
        }
        let resolution = buf.coarse.resolution_ms;
        met.resolution = met.resolution.max(resolution);
        let function = self.selections.get(select.id).and_then(|s| s.hints.function);
        if matches!(function, Some("sum_over_time" | "avg_over_time")) && buf.histograms.iter().any(Option::is_some) {
            met.histograms_missing = true;
        }
        met.inexact = function.filter(|f| is_inexact(f, select, resolution)).or(met.inexact);
        let mut out = SampleBuf::default();
        if function.is_none() && select.range > 0 {
            // The samples themselves are asked for.
            return;
        }
        let cuts = cuts(select, frame);
        let form = form(function, select, resolution);
        let mut cuts = cuts.as_slice();
        for i in 0..buf.len() {
            let (at, value) = (buf.times[i], buf.floats[i]);
            let row = buf.coarse.rows.get(i).copied().unwrap_or(Rollup::alone(at, value));
            if row.count <= 1 {
                copy(buf, i, value, 1, &mut out);
                continue;
            }
            let from = out.times.last().map_or(row.since, |last| row.since.max(*last));
            cuts = &cuts[cuts.partition_point(|c| *c <= from)..];
            let inside = &cuts[..cuts.partition_point(|c| *c < at)];
            Segment { buf, row, at: i, form }.put(inside, &mut out);
        }
        *buf = out;
        buf.coarse.resolution_ms = resolution;
    }
}

/// The times at which windows begin and end, in order.
fn cuts(select: &Select, frame: Frame) -> Vec<i64> {
    let mut cuts = Vec::with_capacity(frame.n * 3);
    for i in 0..frame.n {
        let end = select.end_at(frame.time(i));
        cuts.push(end);
        if select.range > 0 {
            // Windows are open on the left: one sample is the last of what is before, one the first of what is within.
            let start = end.saturating_sub(select.range);
            cuts.extend([start, start.saturating_add(1)]);
        }
    }
    cuts.sort();
    cuts.dedup();
    cuts
}

/// One of several samples, the last of which is at place `at`.
struct Segment<'a> {
    buf: &'a SampleBuf,
    row: Rollup,
    at: usize,
    form: Form,
}

impl Segment<'_> {
    fn put(&self, cuts: &[i64], out: &mut SampleBuf) {
        let Self { buf, row, at, form } = *self;
        // A segment without its first sample stands at its last one.
        let first = buf.times.binary_search(&row.since).unwrap_or(at);
        let (since, end) = (buf.times[first], buf.times[at]);
        let cuts = if first < at { cuts } else { &[] };
        let count = u64::from(row.count);
        let each = row.sum / count as f64;
        let (mut counted, mut summed) = (1, 0.0);
        if form == Form::Sum
            && let Ok(opening) = out.times.binary_search(&since)
            && let Some(value) = out.floats.get_mut(opening)
        {
            // As one number, so that it is the very sum, unless it is shared out.
            *value = if cuts.is_empty() { 0.0 } else { each };
            summed = *value;
        }
        for cut in cuts {
            let part = (cut - since) as f64 / (end - since) as f64;
            let until = 1 + ((count - 1) as f64 * part) as u64;
            let here = until.saturating_sub(counted);
            let value = match form {
                Form::Held => buf.floats[first],
                Form::Line => buf.floats[first] + (buf.floats[at] - buf.floats[first]) * part,
                Form::Min => row.min,
                Form::Max => row.max,
                Form::Sum => each * here as f64,
            };
            out.times.push(*cut);
            out.floats.push(value);
            fill(out, buf, first, self.histogram(first, part));
            out.coarse.rows.push(Rollup { count: here as u32, ..Rollup::alone(*cut, value) });
            counted += here;
            summed += value;
        }
        let value = match form {
            Form::Held | Form::Line => buf.floats[at],
            Form::Min => row.min,
            Form::Max => row.max,
            Form::Sum if summed.is_finite() => row.sum - summed,
            Form::Sum => row.sum,
        };
        copy(buf, at, value, count.saturating_sub(counted), out);
    }

    /// The histogram at a part of the way.
    fn histogram(&self, first: usize, part: f64) -> Option<Arc<Histogram>> {
        let of = |i: usize| self.buf.histograms.get(i).and_then(Option::as_ref);
        let (a, b) = (of(first)?, of(self.at)?);
        if self.form != Form::Line {
            return Some(a.clone());
        }
        let (mut grown, mut h) = ((**b).clone(), (**a).clone());
        histogram::add(&mut grown, a, -1.0).ok()?;
        histogram::scale(&mut grown, part);
        histogram::add(&mut h, &grown, 1.0).ok()?;
        h.reset_hint = a.reset_hint;
        Some(Arc::new(h))
    }
}

/// Copies a sample with another value.
fn copy(buf: &SampleBuf, i: usize, value: f64, count: u64, out: &mut SampleBuf) {
    out.times.push(buf.times[i]);
    out.floats.push(value);
    fill(out, buf, i, buf.histograms.get(i).cloned().flatten());
    out.coarse.rows.push(Rollup { count: count as u32, ..Rollup::alone(buf.times[i], value) });
}

/// What stands beside the value.
fn fill(out: &mut SampleBuf, buf: &SampleBuf, i: usize, histogram: Option<Arc<Histogram>>) {
    if !buf.histograms.is_empty() {
        out.histograms.push(histogram);
    }
    if let Some(start) = buf.starts.get(i) {
        out.starts.push(*start);
    }
}

#[cfg(test)]
#[path = "coarse_tests.rs"]
mod tests;
