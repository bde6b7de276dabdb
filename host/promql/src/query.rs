//! A query on its way: planned → fetched → evaluated. Only fetching is asynchronous; evaluation is pure and runs on the
//! caller's CPU pool.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use belfry_model::duration::format_duration;
use belfry_model::read::Cancel;
use belfry_model::read::ReadError;
use belfry_model::{
    Labels, MatchOp, Matcher, Newest, SampleBuf, SelectLimits, SeriesRead, SeriesSet, TimeRange, TimestampMs,
};

use crate::eval::{self, Frame};
use crate::plan::{Plan, Planner, Selection};
use crate::syntax::ast::Expr;
use crate::syntax::parse_query;
use crate::workers::{Alone, Workers};
use crate::{Answer, ParseErrors, QueryLimits, QueryTime, Usage};

/// Why there is no answer. The variants differ in what the caller must do.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum QueryError {
    /// The text is no PromQL: show where.
    #[error(transparent)]
    Parse(#[from] ParseErrors),
    /// The request makes no sense (step zero, a wrong type for a range query): say so.
    #[error("{0}")]
    BadData(String),
    /// The query needs more than it may use: narrow it, or raise the limit.
    #[error("{0}")]
    Limit(String),
    /// Nobody waits any more.
    #[error("query was canceled")]
    Cancelled,
    /// The reader failed; trying again may help.
    #[error("expanding series: {0}")]
    Read(ReadError),
    /// The expression cannot be evaluated over these samples, in Prometheus' words.
    #[error("{0}")]
    Execution(String),
}

impl QueryError {
    /// Of a query that holds more at a time.
    pub fn too_many_points(limit: u64) -> Self {
        Self::Limit(format!(
            "the query needs more than {limit} points at a time; narrow it, or raise `points` in [queries]"
        ))
    }
}

impl From<ReadError> for QueryError {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Cancelled => Self::Cancelled,
            ReadError::TooManySeries { limit } => Self::Limit(too_many_series(limit)),
            ReadError::TooManySamples { limit } => Self::Limit(format!(
                "the query reads more than {limit} samples; narrow its range or matchers, or raise `samples` in [queries]"
            )),
            e => Self::Read(e),
        }
    }
}

/// Messages about limits name the config's keys: there they are raised.
fn too_many_series(limit: usize) -> String {
    format!("the query selects more than {limit} series; narrow its matchers, or raise `series` in [queries]")
}

/// A planned query: durations are computed, times are fixed, what to read is known.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) plan: Arc<Plan>,
    pub(crate) selections: Arc<[Selection]>,
    pub(crate) frame: Frame,
    pub(crate) time: QueryTime,
    pub(crate) limits: QueryLimits,
    text: String,
    counts_steps: bool,
    /// What it says depends on the end of the query's steps, which is not the end of what is evaluated where it is a part.
    pub(crate) reads_end: bool,
    /// In the one form that spaces do not change; empty where nothing is kept under it.
    pub(crate) expression: String,
}

impl Query {
    /// Plans a parsed query. Messages name no places: see [`Query::parse`].
    pub fn new(expr: &Expr, time: QueryTime, limits: QueryLimits) -> Result<Self, QueryError> {
        Self::plan_part(expr, time, time, limits, String::new())
    }

    /// Parses and plans. Warnings of the answer name their place in `text`.
    pub fn parse(text: &str, time: QueryTime, limits: QueryLimits) -> Result<Self, QueryError> {
        Self::plan_part(&parse_query(text)?, time, time, limits, text.to_owned())
    }

    /// Plans the steps of `time` out of those of `whole`.
    pub(crate) fn plan_part(
        expr: &Expr,
        time: QueryTime,
        whole: QueryTime,
        limits: QueryLimits,
        text: String,
    ) -> Result<Self, QueryError> {
        use crate::ValueType;
        let frame = Frame::of(time, &limits)?;
        if let (QueryTime::Range { .. }, ValueType::Matrix | ValueType::String) = (time, expr.value_type()) {
            return Err(QueryError::BadData(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                expr.value_type().documented()
            )));
        }
        let ranged = matches!(time, QueryTime::Range { .. });
        let expression = if ranged && !text.is_empty() { expr.to_string() } else { String::new() };
        let mut planner = Planner::new(frame, whole, &limits);
        let plan = planner.plan(expr)?;
        Ok(Self {
            plan: Arc::new(plan),
            selections: planner.selections.into(),
            frame,
            time,
            limits,
            text,
            counts_steps: false,
            reads_end: planner.reads_end.get(),
            expression,
        })
    }

    /// What it takes is to say how many samples each step looked at.
    pub fn counting_steps(self) -> Self {
        Self { counts_steps: true, ..self }
    }

    /// Reads every series the query needs: the only part that waits.
    pub async fn fetch(&self, reader: &dyn SeriesRead) -> Result<Fetched, QueryError> {
        let mut sets: Vec<Selected> = Vec::with_capacity(self.selections.len());
        let mut left = self.limits.series_max;
        for s in &*self.selections {
            let limits = SelectLimits { series_max: left, samples_max: self.limits.samples_max };
            let like = s.like.and_then(|id| sets.get(id));
            let matchers = like.map_or_else(|| s.matchers.clone(), |like| narrowed(&s.matchers, like));
            let too_many = || QueryError::Limit(too_many_series(self.limits.series_max));
            let set = Selected::of(reader, s, &matchers, limits).await;
            let set = set.map_err(|e| match e {
                // The reader knows only what the selectors before it have left.
                ReadError::TooManySeries { .. } => too_many(),
                e => e.into(),
            })?;
            left = left.checked_sub(set.len()).ok_or_else(too_many)?;
            sets.push(set);
        }
        Ok(Fetched { query: self.clone(), sets })
    }
}

/// More different values than this are not asked for by name.
const NARROWED_VALUES_MAX: usize = 1_000;

/// Of info series only those that identify one of these series.
fn narrowed(matchers: &[Matcher], like: &Selected) -> Vec<Matcher> {
    let mut all = matchers.to_vec();
    for name in crate::eval::IDENTIFYING {
        let values: BTreeSet<&str> =
            (0..like.len()).map(|i| like.labels(i).and_then(|l| l.get(name)).unwrap_or("")).collect();
        if values.len() > NARROWED_VALUES_MAX {
            continue;
        }
        let pattern: Vec<String> = values.into_iter().map(regex::escape).collect();
        // Too large a pattern only means that more is read.
        all.extend(Matcher::new(name, MatchOp::Regex, pattern.join("|")));
    }
    all
}

/// A query with its series; evaluation needs nothing else.
#[derive(Clone)]
pub struct Fetched {
    pub(crate) query: Query,
    pub(crate) sets: Vec<Selected>,
}

/// What a selector found.
#[derive(Clone)]
pub(crate) enum Selected {
    /// Series with their samples.
    Series(SeriesSet),
    /// One sample of each series: no more was wanted.
    Newest(Newest),
}

impl Selected {
    async fn of(
        reader: &dyn SeriesRead,
        selection: &Selection,
        matchers: &[Matcher],
        limits: SelectLimits,
    ) -> Result<Self, ReadError> {
        if selection.newest
            && let Some(newest) = reader.newest(matchers, selection.range, limits).await?
        {
            return Ok(Self::Newest(newest));
        }
        reader.select(matchers, selection.range, &selection.hints, limits).await.map(Self::Series)
    }

    /// How many series.
    pub fn len(&self) -> usize {
        match self {
            Self::Series(set) => set.series.len(),
            Self::Newest(newest) => newest.len(),
        }
    }

    pub fn labels(&self, i: usize) -> Option<&Labels> {
        match self {
            Self::Series(set) => set.series.get(i).map(|s| &s.labels),
            Self::Newest(newest) => newest.labels_of(i),
        }
    }

    /// About how many samples a series has.
    pub fn estimate(&self, i: usize) -> u64 {
        match self {
            Self::Series(set) => set.series.get(i).map_or(0, |s| s.samples.estimate()),
            Self::Newest(_) => 1,
        }
    }

    /// Appends a series' samples to `into`.
    pub fn decode(&self, i: usize, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        match self {
            Self::Series(set) => set.series.get(i).map_or(Ok(()), |s| s.samples.decode(range, into)),
            Self::Newest(newest) => {
                if let (Some(at), Some(value)) = (newest.times.get(i), newest.floats.get(i)) {
                    into.times.push(*at);
                    into.floats.push(*value);
                    into.histograms.extend(newest.histogram(i).cloned().map(Some));
                }
                Ok(())
            }
        }
    }

    fn warnings(&self) -> &[String] {
        match self {
            Self::Series(set) => &set.warnings,
            Self::Newest(newest) => &newest.warnings,
        }
    }
}

impl Fetched {
    /// Evaluates. Pure: the same samples give the same answer. May take long; stops soon after `cancel` is set.
    pub fn evaluate(&self, cancel: &Cancel) -> Result<Answer, QueryError> {
        self.evaluate_with(cancel, &Alone)
    }

    /// As [`Fetched::evaluate`], with threads that help: the answer is the same to the bit.
    pub fn evaluate_with(&self, cancel: &Cancel, workers: &dyn Workers) -> Result<Answer, QueryError> {
        self.evaluate_measured(cancel, workers).map(|(answer, _)| answer)
    }

    /// As [`Fetched::evaluate_with`], and what it took.
    pub fn evaluate_measured(&self, cancel: &Cancel, workers: &dyn Workers) -> Result<(Answer, Usage), QueryError> {
        let q = &self.query;
        let damage = eval::Damage::default();
        let mut evaluator = eval::Evaluator::new(&self.sets, &q.selections, &q.limits, cancel, &damage, workers);
        if q.counts_steps {
            evaluator.count_steps(q.frame);
        }
        evaluator.hold_selected()?;
        let value = evaluator.answer(&q.plan, q.frame, q.time)?;
        let (mut warnings, mut infos) = evaluator.notes.texts(&q.text);
        if let Ok(ms @ 1..) = u64::try_from(evaluator.resolution_used) {
            let width = format_duration(Duration::from_millis(ms));
            infos.push(format!("PromQL info: some of the data is downsampled to {width}"));
        }
        for function in &evaluator.inexact {
            warnings.push(format!("PromQL warning: {function} sees only some samples of downsampled data"));
        }
        if evaluator.histograms_missing {
            let text = "sum_over_time and avg_over_time see only some histograms of downsampled data";
            warnings.push(format!("PromQL warning: {text}"));
        }
        warnings.extend(self.sets.iter().flat_map(|s| s.warnings().iter().cloned()));
        let (samples_read, points_peak) = (evaluator.samples_read, evaluator.points_peak.get());
        let bytes_peak = evaluator.bytes_peak.get();
        let counts = evaluator.steps.take().unwrap_or_default();
        let samples_per_step = counts.into_iter().enumerate().map(|(i, n)| (TimestampMs(q.frame.time(i)), n)).collect();
        drop(evaluator);
        warnings.extend(damage.warnings());
        let answer = Answer { value, warnings, infos, samples_read, points_peak };
        Ok((answer, Usage { samples_per_step, bytes_peak }))
    }
}

/// The instant of an instant query, or the start of a range query.
pub(crate) fn first_instant(time: QueryTime) -> TimestampMs {
    match time {
        QueryTime::Instant(t) => t,
        QueryTime::Range { start, .. } => start,
    }
}
