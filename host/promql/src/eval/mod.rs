//! Evaluation of a plan over fetched series, bottom-up, each node for all steps at once.
//!
//! Invariant: every series is decoded once per selector; aggregations take series one by one and keep none.
//! Not here: a clock, I/O, threads.

mod aggregate;
mod aggregate_k;
mod binary;
mod calls;
mod coarse;
mod extended;
mod histogram_calls;
mod info;
mod keys;
mod label_calls;
mod memory;
mod newest;
mod notes;
mod pipe;
mod range_calls;
mod rate;
mod select;
mod slide;
mod steps;
mod top;
mod vector;

pub(crate) use info::IDENTIFYING;
pub(crate) use notes::format_g;
pub(crate) use pipe::Damage;
pub(crate) use range_calls::kahan;
pub(crate) use vector::Frame;

use belfry_model::read::Cancel;
use belfry_model::sample::is_stale;
use belfry_model::{Labels, LabelsBuilder, TimestampMs};

use crate::plan::{Plan, PlanKind, Selection};
use crate::query::Selected;
use crate::syntax::functions::Function as F;
use crate::workers::Workers;
use crate::{MatrixRow, PointValue, QueryError, QueryLimits, QueryTime, QueryValue, ValueType, VectorPoint};
use memory::Held;
use notes::Notes;
use pipe::{From, Pipe, Sources, WithScalar};
use select::Of;
use vector::{ABSENT, Cell, Evaluated, OutSeries};

/// The label with which a series says what kind of metric it is.
const METRIC_TYPE: &str = "__type__";
/// Labels that say what a metric is; they go with its name.
pub(crate) const METADATA_LABELS: [&str; 3] = ["__name__", METRIC_TYPE, "__unit__"];

pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

pub(crate) struct Evaluator<'a> {
    sources: Sources<'a>,
    workers: &'a dyn Workers,
    pub notes: Notes,
    pub samples_read: u64,
    /// Most points that one step of the evaluation held.
    pub points_peak: std::cell::Cell<u64>,
    /// Bytes that are held by nodes that are done.
    held: u64,
    /// Of these, labels: they stay to the end.
    made: u64,
    pub bytes_peak: std::cell::Cell<u64>,
    /// Samples by step, where that is asked for.
    pub steps: Option<steps::StepCounts>,
    is_range_query: bool,
    /// The coarsest resolution of the samples that were read; 0 where all of them were there.
    pub resolution_used: i64,
    /// Sums of histograms of which some are gone were asked for.
    pub histograms_missing: bool,
    /// Functions whose answer lacks what downsampling took.
    pub inexact: std::collections::BTreeSet<&'static str>,
}

type Result<T> = std::result::Result<T, QueryError>;

/// Takes the series of a vector one after the other.
type Sink<'s, 'a> = &'s mut dyn FnMut(&mut Evaluator<'a>, OutSeries) -> Result<()>;

impl<'a> Evaluator<'a> {
    pub fn new(
        sets: &'a [Selected],
        selections: &'a [Selection],
        limits: &'a QueryLimits,
        cancel: &'a Cancel,
        damage: &'a Damage,
        workers: &'a dyn Workers,
    ) -> Self {
        let sources = Sources { sets, selections, limits, cancel, damage };
        let points_peak = std::cell::Cell::new(0);
        let notes = Notes::default();
        Self {
            sources,
            workers,
            notes,
            samples_read: 0,
            points_peak,
            held: 0,
            made: 0,
            bytes_peak: std::cell::Cell::new(0),
            steps: None,
            is_range_query: false,
            resolution_used: 0,
            histograms_missing: false,
            inexact: Default::default(),
        }
    }

    pub fn answer(&mut self, plan: &Plan, frame: Frame, time: QueryTime) -> Result<QueryValue> {
        let at = TimestampMs(frame.start);
        let instant = matches!(time, QueryTime::Instant(_));
        self.is_range_query = !instant;
        if plan.value_type == ValueType::Matrix {
            return Ok(QueryValue::Matrix(self.matrix(plan, frame)?));
        }
        if plan.value_type == ValueType::Vector && !instant {
            return Ok(QueryValue::Matrix(self.rows(plan, frame)?));
        }
        match self.eval(plan, frame)? {
            Evaluated::String(s) => Ok(QueryValue::String(at, s)),
            Evaluated::Scalar(v) if instant => Ok(QueryValue::Scalar(at, v.first().copied().unwrap_or(f64::NAN))),
            Evaluated::Scalar(v) => {
                self.check_points(v.len() as u64)?;
                self.hold(memory::POINT_BYTES * v.len() as u64)?;
                let points = v.iter().enumerate().map(|(i, f)| (TimestampMs(frame.time(i)), PointValue::Float(*f)));
                Ok(QueryValue::Matrix(vec![MatrixRow { labels: Labels::empty(), points: points.collect() }]))
            }
            Evaluated::Vector(series) => {
                let point = |s: OutSeries| {
                    let value = s.column.get(0).map(point_value)?;
                    Some(VectorPoint { labels: s.labels, at, value })
                };
                let series = self.finish_names(series)?;
                Ok(QueryValue::Vector(series.into_iter().filter_map(point).collect()))
            }
        }
    }

    /// A vector over the steps, as it is answered. Of each series only what is there is kept, so that series which come and
    /// go take no memory for the rest of the time.
    fn rows(&mut self, plan: &Plan, frame: Frame) -> Result<Vec<MatrixRow>> {
        let mut rows: Vec<MatrixRow> = Vec::new();
        let mut points = 0;
        self.check_bytes(8 * frame.n as u64)?;
        self.stream(plan, frame, &mut |ev, s| {
            let row = ev.row(s, frame, &mut points)?;
            if !row.points.is_empty() {
                rows.push(row);
            }
            Ok(())
        })?;
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        join_same(rows)
    }

    /// What is there of a series; adds to `points`.
    fn row(&mut self, s: OutSeries, frame: Frame, points: &mut u64) -> Result<MatrixRow> {
        let OutSeries { labels, drop_name, column } = s;
        let count = if column.has_histograms() {
            (0..column.len()).filter(|i| column.is_present(*i)).count()
        } else {
            column.floats.iter().filter(|f| !is_stale(**f)).count()
        };
        *points += count as u64;
        self.check_points(*points)?;
        let histograms = column.histograms.iter().flatten().map(|h| memory::histogram_bytes(h)).sum::<u64>();
        self.hold(memory::SERIES_BYTES + memory::POINT_BYTES * count as u64 + histograms)?;
        let labels = if drop_name { self.without_name(&labels)? } else { labels };
        let mut points = Vec::with_capacity(count);
        let time = |i: usize| TimestampMs(frame.time(i));
        if column.has_histograms() {
            points.extend((0..column.len()).filter_map(|i| Some((time(i), point_value(column.get(i)?)))));
        } else {
            let floats = column.floats.iter().enumerate().filter(|(_, f)| !is_stale(**f));
            points.extend(floats.map(|(i, f)| (time(i), PointValue::Float(*f))));
        }
        Ok(MatrixRow { labels, points })
    }

    fn check_points(&self, points: u64) -> Result<()> {
        self.points_peak.set(points.max(self.points_peak.get()));
        if points > self.sources.limits.points_max {
            return Err(QueryError::too_many_points(self.sources.limits.points_max));
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<()> {
        self.sources.check_cancelled()
    }

    /// Drops the names that are due, and joins series that are the same from then on.
    fn finish_names(&mut self, mut series: Vec<OutSeries>) -> Result<Vec<OutSeries>> {
        for s in series.iter_mut().filter(|s| s.drop_name) {
            s.labels = self.without_name(&s.labels)?;
            s.drop_name = false;
        }
        merge_same(series)
    }

    fn without_name(&mut self, labels: &Labels) -> Result<Labels> {
        let left = labels.without(&METADATA_LABELS);
        self.hold_labels(&left)?;
        Ok(left)
    }

    pub(crate) fn eval(&mut self, plan: &Plan, frame: Frame) -> Result<Evaluated> {
        let before = self.mark();
        // Whatever it is, it has a value for each step.
        self.check_bytes(8 * frame.n as u64)?;
        let value = self.eval_node(plan, frame)?;
        self.settle(before, &value)?;
        Ok(value)
    }

    fn eval_node(&mut self, plan: &Plan, frame: Frame) -> Result<Evaluated> {
        match &plan.kind {
            PlanKind::Number(v) => return Ok(Evaluated::Scalar(vec![*v; frame.n])),
            PlanKind::String(s) => return Ok(Evaluated::String(s.clone())),
            _ => {}
        }
        self.check_cancelled()?;
        if plan.invariant && frame.n > 1 {
            return Ok(match self.eval_once(plan, frame)? {
                Evaluated::Scalar(v) => Evaluated::Scalar(vec![v.first().copied().unwrap_or(f64::NAN); frame.n]),
                Evaluated::Vector(mut series) => {
                    for (i, s) in series.iter_mut().enumerate() {
                        self.hold_series(i + 1, frame.n)?;
                        self.hold(memory::column_bytes(&s.column).saturating_sub(8) * frame.n as u64)?;
                        s.column = s.column.repeat(frame.n);
                    }
                    Evaluated::Vector(series)
                }
                s @ Evaluated::String(_) => s,
            });
        }
        match &plan.kind {
            PlanKind::Binary(b) if !b.is_with_scalar() || binary::is_long(plan) => self.chain(plan, frame),
            PlanKind::Negate(inner) => Ok(match self.eval(inner, frame)? {
                Evaluated::Scalar(v) => Evaluated::Scalar(v.into_iter().map(|v| -v).collect()),
                Evaluated::Vector(mut series) => {
                    series.iter_mut().for_each(binary::negate);
                    Evaluated::Vector(series)
                }
                s => s,
            }),
            PlanKind::Call(f, args) => self.call(*f, args, plan, frame),
            PlanKind::Select(_) | PlanKind::Binary(_) | PlanKind::Aggregate(_) => {
                let mut out = Held::default();
                self.stream(plan, frame, &mut |ev, s| out.push(ev, s, frame))?;
                Ok(Evaluated::Vector(out.series))
            }
            PlanKind::Subquery(_) => Err(QueryError::Execution("a range vector cannot stand here".to_owned())),
            PlanKind::Number(_) | PlanKind::String(_) => Ok(Evaluated::Vector(Vec::new())),
        }
    }

    /// Hands the series of a vector to `sink`. What can be made series by series is never held together.
    pub(crate) fn stream(&mut self, plan: &Plan, frame: Frame, sink: Sink<'_, 'a>) -> Result<()> {
        let mut then: Vec<WithScalar<'_>> = Vec::new();
        let mut at = plan;
        let by_series = |plan: &Plan| !plan.invariant || frame.n <= 1;
        if binary::is_long(plan) {
            // What each of so many operators needs would be held together.
            return self.eval_and_hand_on(plan, frame, sink);
        }
        while let PlanKind::Binary(b) = &at.kind
            && by_series(at)
            && b.is_with_scalar()
        {
            let swap = b.lhs.value_type == ValueType::Scalar;
            let (scalar, vector) = if swap { (&b.lhs, &b.rhs) } else { (&b.rhs, &b.lhs) };
            then.push(WithScalar { plan: b, scalar: self.scalar(scalar, frame)?, swap, span: at.span });
            at = vector;
        }
        then.reverse();
        let lookback = self.lookback_ms();
        let counts_steps = self.steps.is_some();
        match &at.kind {
            PlanKind::Select(select) if by_series(at) => {
                self.run(&Pipe { from: From::Select(select, at.span), then, frame, lookback, counts_steps }, sink)
            }
            PlanKind::Call(f, args) if by_series(at) && range_calls::takes_window(*f) => {
                self.stream_range_call(*f, args, then, frame, sink)
            }
            _ if !then.is_empty() => self.stream_with_scalars(at, &then, frame, sink),
            PlanKind::Aggregate(a) if by_series(at) => {
                self.check_cancelled()?;
                self.aggregate(a, at.span, frame, sink)
            }
            PlanKind::Call(F::Timestamp, args) if by_series(at) => match &args[0].kind {
                PlanKind::Select(s) if s.range == 0 => self.timestamps(s, frame, Of::Time, false, sink),
                _ => self.eval_and_hand_on(plan, frame, sink),
            },
            _ => self.eval_and_hand_on(plan, frame, sink),
        }
    }

    fn eval_and_hand_on(&mut self, plan: &Plan, frame: Frame, sink: Sink<'_, 'a>) -> Result<()> {
        match self.eval(plan, frame)? {
            Evaluated::Vector(series) => self.hand_on(series, sink),
            _ => Ok(()),
        }
    }

    pub(crate) fn vector(&mut self, plan: &Plan, frame: Frame) -> Result<Vec<OutSeries>> {
        match self.eval(plan, frame)? {
            Evaluated::Vector(v) => Ok(v),
            _ => Err(QueryError::Execution("expected an instant vector".to_owned())),
        }
    }

    pub(crate) fn scalar(&mut self, plan: &Plan, frame: Frame) -> Result<Vec<f64>> {
        match self.eval(plan, frame)? {
            Evaluated::Scalar(v) => Ok(v),
            _ => Err(QueryError::Execution("expected a scalar".to_owned())),
        }
    }

    pub(crate) fn string(&mut self, plan: &Plan) -> Result<String> {
        match &plan.kind {
            PlanKind::String(s) => Ok(s.clone()),
            _ => Err(QueryError::Execution("expected a string".to_owned())),
        }
    }
}

/// Joins series of one label set; they may not both have a value at a step.
pub(crate) fn merge_same(series: Vec<OutSeries>) -> Result<Vec<OutSeries>> {
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;
    let mut seen: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<OutSeries> = Vec::with_capacity(series.len());
    for s in series {
        match seen.entry(s.labels.clone()) {
            Entry::Vacant(v) => {
                v.insert(out.len());
                out.push(s);
            }
            Entry::Occupied(o) => {
                let into = &mut out[*o.get()].column;
                for i in 0..s.column.len() {
                    if let Some(cell) = s.column.get(i) {
                        if into.is_present(i) {
                            return Err(QueryError::Execution(SAME_LABELSET.to_owned()));
                        }
                        into.set(i, cell);
                    }
                }
            }
        }
    }
    Ok(out)
}

fn point_value(cell: Cell) -> PointValue {
    match cell {
        Cell::Float(f) => PointValue::Float(f),
        Cell::Histogram(h) => PointValue::Histogram(h),
    }
}

/// Joins neighbours of one label set; they may not both have a point at a time.
fn join_same(rows: Vec<MatrixRow>) -> Result<Vec<MatrixRow>> {
    if rows.windows(2).all(|r| r[0].labels != r[1].labels) {
        return Ok(rows);
    }
    let mut out: Vec<MatrixRow> = Vec::with_capacity(rows.len());
    for row in rows {
        match out.last_mut().filter(|last| last.labels == row.labels) {
            Some(last) => last.points.extend(row.points),
            None => out.push(row),
        }
    }
    for row in &mut out {
        row.points.sort_by_key(|(at, _)| *at);
        if row.points.windows(2).any(|p| p[0].0 == p[1].0) {
            return Err(QueryError::Execution(SAME_LABELSET.to_owned()));
        }
    }
    Ok(out)
}

/// The labels that `absent` can know: those of equality matchers, each named once.
pub(crate) fn labels_for_absent(plan: &Plan, selections: &[Selection]) -> Labels {
    let PlanKind::Select(select) = &plan.kind else { return Labels::empty() };
    let mut b = LabelsBuilder::default();
    let mut seen = Vec::new();
    for m in selections.get(select.id).map_or(&[][..], |s| &s.matchers) {
        if m.name() == belfry_model::METRIC_NAME {
            continue;
        }
        if m.op() == belfry_model::MatchOp::Equal && !seen.contains(&m.name()) {
            b.set(m.name(), m.value());
            seen.push(m.name());
        } else {
            b.remove(m.name());
        }
    }
    b.build()
}
