//! Samples → values at steps: instant selectors, and the windows of range selectors and subqueries.

use std::sync::Arc;

use belfry_model::read::Cancel;
use belfry_model::sample::{ResetHint, is_stale};
use belfry_model::{Histogram, Labels, SampleBuf, TimestampMs};

use super::extended;
use super::memory;
use super::notes::Notes;
use super::pipe::Read;
use super::rate::Subject;
use super::steps::{self, StepCounts};
use super::vector::{ABSENT, Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result, Sink, coarse};
use crate::plan::{Plan, PlanKind, Select, SubqueryPlan};
use crate::query::Selected;
use crate::syntax::ast::Extended;
use crate::{MatrixRow, PointValue, QueryError};

/// The samples of a series, floats and histograms apart, without stale markers.
#[derive(Debug, Default)]
pub(crate) struct Points {
    pub float_times: Vec<i64>,
    pub floats: Vec<f64>,
    /// Start timestamps of the floats; empty when none is known.
    pub float_starts: Vec<i64>,
    pub histogram_times: Vec<i64>,
    pub histograms: Vec<Arc<Histogram>>,
    /// No float is smaller than the one before it: a counter without resets.
    pub rising: bool,
    /// Of downsampled data: how many samples there were up to and with each float; else empty.
    pub float_ranks: Vec<u64>,
    /// And each histogram.
    pub histogram_ranks: Vec<u64>,
}

impl Points {
    fn clear(&mut self) {
        self.float_times.clear();
        self.floats.clear();
        self.float_starts.clear();
        self.histogram_times.clear();
        self.histograms.clear();
        self.rising = false;
        self.float_ranks.clear();
        self.histogram_ranks.clear();
    }

    /// Takes what `buf` holds; may leave its own old memory there.
    pub fn fill(&mut self, buf: &mut SampleBuf) {
        self.fill_unchecked(buf);
        // Without a way out in the middle: so it is done several at a time.
        self.rising = !self.floats.windows(2).fold(false, |falls, p| falls | (p[1] < p[0]));
    }

    fn fill_unchecked(&mut self, buf: &mut SampleBuf) {
        self.clear();
        let coarse = !buf.coarse.rows.is_empty();
        let (mut floats, mut histograms) = (0, 0);
        if !coarse && buf.histograms.is_empty() && !buf.floats.iter().fold(false, |any, v| any | is_stale(*v)) {
            std::mem::swap(&mut self.float_times, &mut buf.times);
            std::mem::swap(&mut self.floats, &mut buf.floats);
            std::mem::swap(&mut self.float_starts, &mut buf.starts);
            return;
        }
        for i in 0..buf.len() {
            if is_stale(buf.floats[i]) {
                continue;
            }
            let count = buf.coarse.rows.get(i).map_or(1, |r| u64::from(r.count));
            match buf.histograms.get(i) {
                Some(Some(h)) => {
                    if coarse {
                        histograms += count;
                        self.histogram_ranks.push(histograms);
                    }
                    self.histogram_times.push(buf.times[i]);
                    self.histograms.push(h.clone());
                }
                _ => {
                    if coarse {
                        floats += count;
                        self.float_ranks.push(floats);
                    }
                    self.float_times.push(buf.times[i]);
                    self.floats.push(buf.floats[i]);
                    if let Some(s) = buf.starts.get(i) {
                        self.float_starts.push(*s);
                    }
                }
            }
        }
    }

    /// From a subquery's values. What they say of resets was about other neighbours, so it is forgotten.
    pub fn fill_from_column(&mut self, column: &Column, frame: Frame) {
        self.clear();
        for i in 0..column.len() {
            match column.get(i) {
                Some(Cell::Float(f)) => {
                    self.float_times.push(frame.time(i));
                    self.floats.push(f);
                }
                Some(Cell::Histogram(mut h)) => {
                    if matches!(h.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                        Arc::make_mut(&mut h).reset_hint = ResetHint::Unknown;
                    }
                    self.histogram_times.push(frame.time(i));
                    self.histograms.push(h);
                }
                None => {}
            }
        }
    }
}

/// What a range function sees at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'p> {
    pub times: &'p [i64],
    pub floats: &'p [f64],
    pub starts: &'p [i64],
    pub histogram_times: &'p [i64],
    pub histograms: &'p [Arc<Histogram>],
    /// Start of the range, itself outside.
    pub start: i64,
    /// End of the range, inside.
    pub end: i64,
    /// The step's time.
    pub at: i64,
    pub extended: Option<Extended>,
    /// See [`Points::rising`].
    pub rising: bool,
    /// How many samples the floats and the histograms stand for: more than there are in downsampled data.
    pub stand_for: (u64, u64),
}

impl Window<'_> {
    pub fn range_seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// Where a window moves: `lo..hi` of ascending times.
#[derive(Default)]
struct Slider {
    lo: usize,
    hi: usize,
}

impl Slider {
    /// The part of `times` within `(start, end]`. Windows only move forward.
    fn advance(&mut self, times: &[i64], start: i64, end: i64) -> std::ops::Range<usize> {
        while self.hi < times.len() && times[self.hi] <= end {
            self.hi += 1;
        }
        while self.lo < self.hi && times[self.lo] <= start {
            self.lo += 1;
        }
        self.lo..self.hi
    }
}

/// The argument of a range function.
pub(crate) struct Windows {
    pub range: i64,
    pub offset: i64,
    pub at: Option<i64>,
    pub extended: Option<Extended>,
    /// Whoever slides over many windows looks at it.
    pub cancel: Cancel,
}

/// Samples that are looked at between two looks at whether anybody still waits for the answer: about a millisecond.
const LOOK_EVERY: usize = 1 << 18;
/// A histogram is as much work as so many floats.
const HISTOGRAM_WORK: usize = 64;

/// Tells long loops when nobody waits for the answer any more.
pub(super) struct Patience<'c> {
    cancel: &'c Cancel,
    work: usize,
}

impl<'c> Patience<'c> {
    pub fn new(cancel: &'c Cancel) -> Self {
        Self { cancel, work: 0 }
    }

    /// So many samples were looked at: is that enough?
    pub fn is_over(&mut self, samples: usize) -> bool {
        self.work += samples + 1;
        if self.work < LOOK_EVERY {
            return false;
        }
        self.work = 0;
        self.cancel.is_cancelled()
    }
}

/// Takes the samples of each series of a range vector, and whether its name is to go.
type PointsSink<'s> = &'s mut dyn FnMut(&Evaluator<'_>, Labels, bool, &Points, &Windows) -> Result<()>;

impl<'a> Evaluator<'a> {
    /// Decodes one series into `buf`; yields its labels.
    fn decode(&mut self, id: usize, index: usize, buf: &mut SampleBuf) -> Result<Labels> {
        self.sources.decode(id, index, buf)?;
        self.count_read(Read { samples: buf.len() as u64, longest: buf.len() as u64, ..Read::default() })?;
        Ok(self.sources.labels(id, index))
    }

    fn series_count(&self, id: usize) -> usize {
        self.sources.sets.get(id).map_or(0, Selected::len)
    }

    /// `timestamp(selector)` and `start_timestamp(selector)`: what the samples themselves say of `of`.
    pub(super) fn timestamps(
        &mut self,
        select: &Select,
        frame: Frame,
        of: Of,
        only_floats: bool,
        sink: Sink<'_, 'a>,
    ) -> Result<()> {
        let mut buf = SampleBuf::default();
        for i in 0..self.series_count(select.id) {
            let labels = self.decode(select.id, i, &mut buf)?;
            if only_floats && buf.histograms.iter().any(Option::is_some) {
                return Err(QueryError::Execution("info sample should be float".to_owned()));
            }
            self.refine(select, frame, &mut buf);
            let column = instant_column(&buf, select, frame, self.lookback_ms(), of);
            if let Some(counts) = &mut self.steps {
                steps::count_values(counts, &column);
            }
            if !column.is_all_absent() {
                sink(self, OutSeries { labels, drop_name: true, column })?;
            }
        }
        Ok(())
    }

    pub(super) fn lookback_ms(&self) -> i64 {
        self.sources.limits.lookback.as_millis().min(i64::MAX as u128) as i64
    }

    /// Calls `each` for every series of a range vector, with its samples.
    pub(super) fn each_points(&mut self, plan: &Plan, frame: Frame, each: PointsSink<'_>) -> Result<()> {
        let mut points = Points::default();
        match &plan.kind {
            PlanKind::Select(s) => {
                let windows = Windows::of(s, self.sources.cancel);
                let mut buf = SampleBuf::default();
                for i in 0..self.series_count(s.id) {
                    let labels = self.decode(s.id, i, &mut buf)?;
                    if s.statistics {
                        tell_resets(&mut buf);
                    }
                    self.refine(s, frame, &mut buf);
                    points.fill(&mut buf);
                    each(self, labels, false, &points, &windows)?;
                }
            }
            PlanKind::Subquery(s) => {
                let windows = Windows::of_subquery(s, self.sources.cancel);
                // As the whole answer, what it reads counts at its end.
                let outer = self.steps.take();
                let inner = s.frame(frame);
                self.steps = outer.as_ref().map(|_| vec![0; inner.n]);
                let all = self.subquery_values(s, inner);
                let read = self.steps.take().unwrap_or_default().iter().sum();
                self.steps = outer;
                self.add_steps(Some(vec![read]));
                let all = all?;
                for series in all {
                    points.fill_from_column(&series.column, inner);
                    each(self, series.labels, series.drop_name, &points, &windows)?;
                }
            }
            _ => return Err(QueryError::Execution("expected a range vector".to_owned())),
        }
        Ok(())
    }

    /// The values of a subquery, and their steps; `None` when there are no steps.
    pub(super) fn subquery(&mut self, s: &SubqueryPlan, frame: Frame) -> Result<Option<(Frame, Vec<OutSeries>)>> {
        // They count where they are used.
        let steps = self.steps.take();
        let inner = s.frame(frame);
        let all = self.subquery_values(s, inner);
        self.steps = steps;
        all.map(|all| (inner.n > 0).then_some((inner, all)))
    }

    fn subquery_values(&mut self, s: &SubqueryPlan, inner: Frame) -> Result<Vec<OutSeries>> {
        if inner.n as u64 > self.sources.limits.points_max {
            let max = self.sources.limits.points_max;
            return Err(QueryError::Limit(format!(
                "a subquery has {} steps, more than {max} points (`points` in [queries])",
                inner.n
            )));
        }
        if inner.n == 0 { Ok(Vec::new()) } else { self.vector(&s.expr, inner) }
    }

    /// A range vector as the whole answer: the samples as they are.
    pub(super) fn matrix(&mut self, plan: &Plan, frame: Frame) -> Result<Vec<MatrixRow>> {
        let mut rows: Vec<(OutSeries, Vec<(TimestampMs, PointValue)>)> = Vec::new();
        let lookback = self.lookback_ms();
        let direct = matches!(plan.kind, PlanKind::Select(_));
        let mut held = 0;
        let mut counts = self.steps.as_ref().filter(|_| direct).map(|_| vec![0; frame.n]);
        self.each_points(plan, frame, &mut |ev, labels, drop_name, points, windows| {
            if let Some(counts) = &mut counts {
                windows.count(points, frame, lookback, counts)?;
            }
            let most = (points.floats.len() + points.histograms.len()) as u64;
            ev.check_bytes(held + memory::POINT_BYTES * most)?;
            let mut out: Vec<(TimestampMs, PointValue)> = Vec::new();
            windows.each(points, frame, lookback, &mut |_, w| {
                if w.extended.is_some() {
                    out.extend(extended::points(&w));
                    return Ok(());
                }
                let floats = w.times.iter().zip(w.floats).map(|(t, f)| (TimestampMs(*t), PointValue::Float(*f)));
                let histograms = w.histogram_times.iter().zip(w.histograms);
                let histograms = histograms.map(|(t, h)| (TimestampMs(*t), PointValue::Histogram(h.clone())));
                out.extend(floats.chain(histograms));
                Ok(())
            })?;
            out.sort_by_key(|(t, _)| *t);
            let histograms = points.histograms.iter().map(|h| memory::histogram_bytes(h)).sum::<u64>();
            held += memory::SERIES_BYTES + memory::POINT_BYTES * out.capacity() as u64 + histograms;
            ev.check_bytes(held)?;
            if !out.is_empty() {
                rows.push((OutSeries { labels, drop_name, column: Column::default() }, out));
            }
            Ok(())
        })?;
        self.add_steps(counts);
        let mut rows: Vec<MatrixRow> = rows
            .into_iter()
            .map(|(s, points)| {
                let labels = if s.drop_name { s.labels.without(&super::METADATA_LABELS) } else { s.labels };
                MatrixRow { labels, points }
            })
            .collect();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        if rows.windows(2).any(|w| w[0].labels == w[1].labels) {
            return Err(QueryError::Execution(super::SAME_LABELSET.to_owned()));
        }
        self.check_points(rows.iter().map(|r| r.points.len() as u64).sum())?;
        Ok(rows)
    }
}

impl Windows {
    pub fn of(s: &Select, cancel: &Cancel) -> Self {
        Self { range: s.range, offset: s.offset, at: s.at, extended: s.extended, cancel: cancel.clone() }
    }

    pub fn of_subquery(s: &SubqueryPlan, cancel: &Cancel) -> Self {
        Self { range: s.range, offset: s.offset, at: s.at, extended: None, cancel: cancel.clone() }
    }

    /// The end of the window at evaluation time `t`.
    pub fn end_at(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }

    /// Adds the samples of each step's window.
    pub fn count(&self, points: &Points, frame: Frame, lookback: i64, counts: &mut StepCounts) -> Result<()> {
        self.each(points, frame, lookback, &mut |i, w| {
            counts[i] += w.times.len() as u64 + w.histograms.iter().map(|h| steps::size(h)).sum::<u64>();
            Ok(())
        })
    }

    /// Slides over the steps; steps whose window is empty are left out.
    pub fn each(
        &self,
        points: &Points,
        frame: Frame,
        lookback: i64,
        f: &mut dyn FnMut(usize, Window<'_>) -> Result<()>,
    ) -> Result<()> {
        let (mut fs, mut hs) = (Slider::default(), Slider::default());
        let mut patience = Patience::new(&self.cancel);
        let (before, after) = match self.extended {
            Some(Extended::Anchored) => (lookback, 0),
            Some(Extended::Smoothed) => (lookback, lookback),
            None => (0, 0),
        };
        for i in 0..frame.n {
            let at = frame.time(i);
            let end = self.end_at(at);
            let start = end.saturating_sub(self.range);
            let (from, to) = (start.saturating_sub(before), end.saturating_add(after));
            let fr = fs.advance(&points.float_times, from, to);
            let hr = hs.advance(&points.histogram_times, from, to);
            if patience.is_over(fr.len() + HISTOGRAM_WORK * hr.len()) {
                return Err(QueryError::Cancelled);
            }
            if fr.is_empty() && hr.is_empty() {
                continue;
            }
            let stand_for =
                (coarse::stand_for(&points.float_ranks, &fr), coarse::stand_for(&points.histogram_ranks, &hr));
            let window = Window {
                times: &points.float_times[fr.clone()],
                floats: &points.floats[fr.clone()],
                starts: points.float_starts.get(fr).unwrap_or(&[]),
                histogram_times: &points.histogram_times[hr.clone()],
                histograms: &points.histograms[hr],
                start,
                end,
                at,
                extended: self.extended,
                rising: points.rising,
                stand_for,
            };
            f(i, window)?;
        }
        Ok(())
    }
}

/// Fills in what histograms do not say of resets themselves.
pub(super) fn tell_resets(buf: &mut SampleBuf) {
    let mut previous: Option<Arc<Histogram>> = None;
    for slot in &mut buf.histograms {
        // A stale marker is no histogram: the next one follows the last before it.
        let Some(h) = slot.as_mut().filter(|h| !is_stale(h.sum)) else { continue };
        if h.reset_hint == ResetHint::Unknown
            && let Some(p) = &previous
        {
            let reset = crate::histogram::detect_reset(h, p);
            Arc::make_mut(h).reset_hint = if reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
        previous = Some(h.clone());
    }
}

/// What of a sample is asked for; times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Value,
    Time,
    Start,
}

/// At every step the newest sample that is not older than `lookback`; nothing behind a stale marker.
pub(super) fn instant_column(buf: &SampleBuf, select: &Select, frame: Frame, lookback: i64, of: Of) -> Column {
    let mut column = Column::absent(frame.n);
    let mut hi = 0;
    for i in 0..frame.n {
        let end = select.end_at(frame.time(i));
        while hi < buf.times.len() && buf.times[hi] <= end {
            hi += 1;
        }
        let Some(newest) = hi.checked_sub(1) else { continue };
        if buf.times[newest] <= end.saturating_sub(lookback) || is_stale(buf.floats[newest]) {
            continue;
        }
        match (of, buf.histograms.get(newest)) {
            (Of::Time, _) => column.floats[i] = buf.times[newest] as f64 / 1000.0,
            // Zero: not known.
            (Of::Start, _) => column.floats[i] = buf.starts.get(newest).copied().unwrap_or(0) as f64 / 1000.0,
            (Of::Value, Some(Some(h))) => column.set(i, Cell::Histogram(h.clone())),
            (Of::Value, _) => column.floats[i] = buf.floats[newest],
        }
    }
    column
}

/// At every step which sample is the newest. Series that share their times (those of one target do) share this.
#[derive(Debug, Default)]
pub(super) struct Newest {
    times: Vec<i64>,
    of: Vec<u32>,
    known: bool,
}

/// In place of a sample's number: there is none.
const NO_SAMPLE: u32 = u32::MAX;

impl Newest {
    fn prepare(&mut self, times: &[i64], select: &Select, frame: Frame, lookback: i64) {
        if self.known && self.times == times {
            return;
        }
        self.known = true;
        self.times.clear();
        self.times.extend_from_slice(times);
        let mut hi = 0;
        self.of.clear();
        self.of.extend((0..frame.n).map(|i| {
            let end = select.end_at(frame.time(i));
            while hi < times.len() && times[hi] <= end {
                hi += 1;
            }
            match hi.checked_sub(1) {
                Some(newest) if times[newest] > end.saturating_sub(lookback) => newest as u32,
                _ => NO_SAMPLE,
            }
        }));
    }

    /// As [`instant_column`], for one selector, frame and lookback alone.
    pub fn column(&mut self, buf: &SampleBuf, select: &Select, frame: Frame, lookback: i64) -> Column {
        if !buf.histograms.is_empty() {
            return instant_column(buf, select, frame, lookback, Of::Value);
        }
        self.prepare(&buf.times, select, frame, lookback);
        // A stale marker says itself that there is nothing.
        let value = |at: &u32| buf.floats.get(*at as usize).copied().unwrap_or(ABSENT);
        Column { floats: self.of.iter().map(value).collect(), histograms: Vec::new() }
    }
}

/// At every step the value on the line between the samples around it.
pub(super) fn smoothed_column(
    points: &Points,
    select: &Select,
    frame: Frame,
    lookback: i64,
    subject: Subject<'_>,
    notes: &mut Notes,
) -> Column {
    let mut column = Column::absent(frame.n);
    for i in 0..frame.n {
        if let Some(cell) = extended::at_time(points, select.end_at(frame.time(i)), lookback, subject, notes) {
            column.set(i, cell);
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use belfry_model::Sample;
    use belfry_model::sample::{Value, stale_nan};

    use super::*;

    #[test]
    fn a_stale_marker_is_no_reset_and_hides_none() {
        let histogram = |count: f64, sum: f64| Histogram { count, sum, ..Histogram::default() };
        let all = [histogram(5.0, 1.0), histogram(0.0, stale_nan()), histogram(6.0, 2.0), histogram(1.0, 0.5)];
        let mut buf = SampleBuf::default();
        for (at, h) in (0..).zip(all) {
            buf.push(&Sample { at: TimestampMs(at), value: Value::Histogram(Arc::new(h)), start: None });
        }
        tell_resets(&mut buf);
        let hints: Vec<_> = buf.histograms.iter().flatten().map(|h| h.reset_hint).collect();
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::Unknown, ResetHint::NotReset, ResetHint::Reset]);
    }
}
