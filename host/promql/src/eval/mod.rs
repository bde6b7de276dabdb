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
use belfry_model::{Labels, LabelsBuilder, TimestampMs};

use crate::plan::{Plan, PlanKind, Selection};
use crate::query::Selected;
use crate::workers::Workers;
use crate::{MatrixRow, PointValue, QueryError, QueryLimits, QueryTime, QueryValue, ValueType, VectorPoint};
use memory::Held;
use notes::Notes;
use pipe::{From, Pipe, Sources, WithScalar};
use vector::{ABSENT, Cell, Evaluated, OutSeries};

/// The label with which a series says what kind of metric it is.
const METRIC_TYPE: &str = "__type__";
/// Labels that say what a metric is; they go with its name.
const METADATA_LABELS: [&str; 3] = ["__name__", METRIC_TYPE, "__unit__"];

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
        }
    }

    pub fn answer(&mut self, plan: &Plan, frame: Frame, time: QueryTime) -> Result<QueryValue> {
        let at = TimestampMs(frame.start);
        let instant = matches!(time, QueryTime::Instant(_));
        self.is_range_query = !instant;
        if plan.value_type == ValueType::Matrix {
            return Ok(QueryValue::Matrix(self.matrix(plan, frame)?));
        }
        match self.eval(plan, frame)? {
            Evaluated::String(s) => Ok(QueryValue::String(at, s)),
            Evaluated::Scalar(v) if instant => Ok(QueryValue::Scalar(at, v.first().copied().unwrap_or(f64::NAN))),
            Evaluated::Scalar(v) => {
                let points = v.iter().enumerate().map(|(i, f)| (TimestampMs(frame.time(i)), PointValue::Float(*f)));
                Ok(QueryValue::Matrix(vec![MatrixRow { labels: Labels::empty(), points: points.collect() }]))
            }
            Evaluated::Vector(series) => {
                let series = self.finish_names(series)?;
                if instant {
                    let point = |s: OutSeries| {
                        let value = s.column.get(0).map(point_value)?;
                        Some(VectorPoint { labels: s.labels, at, value })
                    };
                    return Ok(QueryValue::Vector(series.into_iter().filter_map(point).collect()));
                }
                self.check_answer(&series)?;
                let mut rows: Vec<MatrixRow> = series.into_iter().map(|s| row(s, frame)).collect();
                rows.retain(|r| !r.points.is_empty());
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                self.check_points(rows.iter().map(|r| r.points.len() as u64).sum())?;
                Ok(QueryValue::Matrix(rows))
            }
        }
    }

    fn check_points(&self, points: u64) -> Result<()> {
        self.points_peak.set(points.max(self.points_peak.get()));
        if points > self.sources.limits.points_max {
            return Err(QueryError::Limit(format!(
                "the query needs more than {} points at a time; narrow it, or raise `points` in [queries]",
                self.sources.limits.points_max
            )));
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<()> {
        self.sources.check_cancelled()
    }

    /// Drops the names that are due, and joins series that are the same from then on.
    fn finish_names(&self, mut series: Vec<OutSeries>) -> Result<Vec<OutSeries>> {
        for s in series.iter_mut().filter(|s| s.drop_name) {
            s.labels = s.labels.without(&METADATA_LABELS);
            s.drop_name = false;
        }
        merge_same(series)
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
                    self.check_held(series.len(), frame)?;
                    for s in &mut series {
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
            PlanKind::Aggregate(a) => Ok(Evaluated::Vector(self.aggregate(a, plan.span, frame)?)),
            PlanKind::Select(_) | PlanKind::Binary(_) => {
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
            _ => match self.eval(plan, frame)? {
                Evaluated::Vector(series) => series.into_iter().try_for_each(|s| sink(self, s)),
                _ => Ok(()),
            },
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

fn row(s: OutSeries, frame: Frame) -> MatrixRow {
    let mut points = Vec::with_capacity((0..s.column.len()).filter(|i| s.column.is_present(*i)).count());
    points
        .extend((0..s.column.len()).filter_map(|i| Some((TimestampMs(frame.time(i)), point_value(s.column.get(i)?)))));
    MatrixRow { labels: s.labels, points }
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
