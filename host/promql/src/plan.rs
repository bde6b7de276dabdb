//! Syntax tree → plan: durations are numbers, `@ start()` is a time, every selector knows what to read.
//!
//! Invariant: nothing in a plan depends on samples; a node that is `invariant` has the same value at every step.

use std::cell::Cell;

use belfry_model::{METRIC_NAME, MatchOp, Matcher, SelectHints, TimeRange, TimestampMs};

use crate::eval::Frame;
use crate::query::first_instant;
use crate::syntax::ast::{
    AggregateOp, At, BinaryOp, DurationExpr, DurationKind, Expr, ExprKind, Extended, Grouping, Matching, Modifiers,
    UnaryOp, ValueType, VectorSelector,
};
use crate::syntax::functions::Function;
use crate::syntax::span::Span;
use crate::{QueryError, QueryLimits, QueryTime};

/// What one selector reads.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub matchers: Vec<Matcher>,
    pub range: TimeRange,
    pub hints: SelectHints,
    /// The selection whose series tell which of these are wanted: for `info`.
    pub like: Option<usize>,
    /// Of each series only its newest sample is looked at.
    pub newest: bool,
}

/// A selector with its times settled.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// Index into the selections.
    pub id: usize,
    /// Milliseconds back.
    pub offset: i64,
    /// A fixed time instead of the step's.
    pub at: Option<i64>,
    /// Milliseconds; 0 for an instant selector.
    pub range: i64,
    pub extended: Option<Extended>,
    /// Only counts and sums of histograms are asked for: then Prometheus also tells of resets that it finds itself.
    pub statistics: bool,
}

impl Select {
    /// The end of the window at evaluation time `t`.
    pub fn end_at(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SubqueryPlan {
    pub expr: Plan,
    pub range: i64,
    pub step: i64,
    pub offset: i64,
    pub at: Option<i64>,
}

impl SubqueryPlan {
    pub fn end_at(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }

    /// The evaluation times within the windows of `frame`: multiples of the step, the first after the first window's
    /// start.
    pub fn frame(&self, frame: Frame) -> Frame {
        let (first, last) = (self.end_at(frame.start), self.end_at(frame.last()));
        let from = first.saturating_sub(self.range);
        let mut start = self.step * (from / self.step);
        if start <= from {
            start = start.saturating_add(self.step);
        }
        Frame::spanning(start, last, self.step)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct BinaryPlan {
    pub op: BinaryOp,
    pub lhs: Plan,
    pub rhs: Plan,
    pub matching: Matching,
    pub return_bool: bool,
}

impl Drop for BinaryPlan {
    /// Operators in a row lean to the left and may be many: they go in a loop, not one within the other.
    fn drop(&mut self) {
        let nothing = || PlanKind::Number(0.0);
        let mut left = std::mem::replace(&mut self.lhs.kind, nothing());
        while let PlanKind::Binary(b) = &mut left {
            left = std::mem::replace(&mut b.lhs.kind, nothing());
        }
    }
}

impl BinaryPlan {
    /// A vector with a scalar: each series by itself.
    pub fn is_with_scalar(&self) -> bool {
        (self.lhs.value_type == ValueType::Scalar) != (self.rhs.value_type == ValueType::Scalar)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AggregatePlan {
    pub op: AggregateOp,
    pub param: Option<Plan>,
    pub expr: Plan,
    pub grouping: Grouping,
}

#[derive(Clone, Debug)]
pub(crate) enum PlanKind {
    Number(f64),
    String(String),
    Select(Select),
    Subquery(Box<SubqueryPlan>),
    Call(Function, Vec<Plan>),
    Aggregate(Box<AggregatePlan>),
    Binary(Box<BinaryPlan>),
    Negate(Box<Plan>),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub kind: PlanKind,
    pub span: Span,
    pub value_type: ValueType,
    pub invariant: bool,
}

impl Plan {
    /// The one selection whose series, with all their labels, are those of this vector.
    fn series_of(&self) -> Option<usize> {
        match &self.kind {
            PlanKind::Select(s) => Some(s.id),
            PlanKind::Call(f, args) if f.spec().args.contains(&ValueType::Matrix) => {
                args.iter().find(|a| a.value_type == ValueType::Matrix)?.series_of()
            }
            _ => None,
        }
    }
}

pub(crate) struct Planner {
    pub selections: Vec<Selection>,
    /// Where the parts being planned are evaluated.
    frame: Frame,
    start: i64,
    end: i64,
    /// Was [`Planner::end`] looked at?
    pub reads_end: Cell<bool>,
    step: i64,
    subquery_step: i64,
    lookback: i64,
    /// Within `histogram_count`, `histogram_sum` or `histogram_avg`.
    statistics: bool,
    /// Within what needs buckets, or a subquery.
    whole_histograms: bool,
}

impl Planner {
    pub fn new(frame: Frame, time: QueryTime, limits: &QueryLimits) -> Self {
        let step = if matches!(time, QueryTime::Range { .. }) { frame.step } else { 0 };
        let end = match time {
            QueryTime::Instant(t) => t.0,
            QueryTime::Range { end, .. } => end.0,
        };
        Self {
            selections: Vec::new(),
            frame,
            start: first_instant(time).0,
            end,
            reads_end: Cell::new(false),
            step,
            subquery_step: limits.subquery_step.as_millis().clamp(1, i64::MAX as u128) as i64,
            lookback: limits.lookback.as_millis().min(i64::MAX as u128) as i64,
            statistics: false,
            whole_histograms: false,
        }
    }

    pub fn plan(&mut self, e: &Expr) -> Result<Plan, QueryError> {
        self.plan_in(e, None)
    }

    fn plan_in(&mut self, e: &Expr, function: Option<Function>) -> Result<Plan, QueryError> {
        let span = e.span;
        let value_type = e.value_type();
        let (kind, invariant) = match &e.kind {
            // Notes point at what is within the brackets.
            ExprKind::Paren(inner) => return self.plan_in(inner, function),
            ExprKind::Number(n) => (PlanKind::Number(n.value), true),
            ExprKind::String(s) => (PlanKind::String(s.clone()), true),
            ExprKind::Vector(v) => {
                if v.extended == Some(Extended::Anchored) {
                    return Err(QueryError::Execution("anchored modifier is only allowed on range selectors".into()));
                }
                self.select(v, 0, function)?
            }
            ExprKind::Matrix(m) => {
                let range = self.duration_ms(&m.range, false)?;
                self.select(&m.selector, range, function)?
            }
            ExprKind::Subquery(s) => self.subquery(s)?,
            ExprKind::Call(c) if self.constant(c.function).is_some() => {
                (PlanKind::Number(self.constant(c.function).unwrap_or(0.0)), true)
            }
            ExprKind::Call(c) => {
                // Of `info` only the first argument is evaluated as it stands.
                let plain = if c.function == Function::Info { 1 } else { c.args.len() };
                let outer = (self.statistics, self.whole_histograms);
                match c.function {
                    Function::HistogramCount | Function::HistogramSum | Function::HistogramAvg => {
                        self.statistics = true;
                    }
                    Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                        self.whole_histograms = true;
                    }
                    _ => {}
                }
                let args: Result<Vec<Plan>, _> =
                    c.args.iter().take(plain).map(|a| self.plan_in(a, Some(c.function))).collect();
                (self.statistics, self.whole_histograms) = outer;
                let mut args = args?;
                if c.function == Function::Info {
                    self.plan_info(c, &mut args)?;
                }
                let invariant = !depends_on_time(c.function, &args) && args.iter().all(|a| a.invariant);
                (PlanKind::Call(c.function, args), invariant)
            }
            ExprKind::Aggregate(a) => {
                let param = a.param.as_ref().map(|p| self.plan(p)).transpose()?;
                let expr = self.plan(a.expr.unwrap_parens())?;
                let invariant = expr.invariant && param.as_ref().is_none_or(|p| p.invariant);
                let plan = AggregatePlan { op: a.op, param, expr, grouping: a.grouping.clone() };
                (PlanKind::Aggregate(Box::new(plan)), invariant)
            }
            ExprKind::Binary(_) => return self.chain(e),
            ExprKind::Unary(op, inner) => {
                let plan = self.plan(inner)?;
                if *op == UnaryOp::Plus {
                    return Ok(plan);
                }
                let invariant = plan.invariant;
                (PlanKind::Negate(Box::new(plan)), invariant)
            }
            ExprKind::Missing => return Err(QueryError::BadData("the expression is incomplete".into())),
        };
        Ok(Plan { kind, span, value_type, invariant })
    }

    /// Operators in a row lean to the left and may be many: they are planned in a loop, not one within the other.
    fn chain(&mut self, e: &Expr) -> Result<Plan, QueryError> {
        let mut operators = Vec::new();
        let mut at = e;
        while let ExprKind::Binary(b) = &at.kind {
            operators.push((at.span, b));
            at = &b.lhs;
        }
        let mut plan = self.plan(at)?;
        for (span, b) in operators.into_iter().rev() {
            let (lhs, rhs) = (plan, self.plan(&b.rhs)?);
            let scalar = lhs.value_type == ValueType::Scalar && rhs.value_type == ValueType::Scalar;
            let value_type = if scalar { ValueType::Scalar } else { ValueType::Vector };
            let invariant = lhs.invariant && rhs.invariant;
            let matching = b.matching.clone().unwrap_or_default();
            let binary = BinaryPlan { op: b.op, lhs, rhs, matching, return_bool: b.return_bool };
            plan = Plan { kind: PlanKind::Binary(Box::new(binary)), span, value_type, invariant };
        }
        Ok(plan)
    }

    /// The info metrics are read at the times of the first selector of the series they are joined to.
    fn plan_info(&mut self, c: &crate::syntax::ast::Call, args: &mut Vec<Plan>) -> Result<(), QueryError> {
        let mut selector = match c.args.get(1).map(|a| &a.kind) {
            Some(ExprKind::Vector(v)) => v.clone(),
            _ => VectorSelector::default(),
        };
        let mut names = selector.matchers.iter().filter(|m| m.name() == METRIC_NAME).peekable();
        if names.peek().is_none() {
            selector.matchers.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if names.all(|m| matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex)) {
            // What it is not does not say what it is.
            let any_info = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            let any_info = any_info.map_err(|e| QueryError::BadData(e.to_string()))?;
            selector.matchers.push(any_info);
        }
        if let Some(first) = c.args.first().and_then(|a| a.selectors().first().copied()) {
            selector.modifiers = first.modifiers.clone();
        }
        if args.is_empty() {
            return Err(QueryError::BadData("info lacks its argument".into()));
        }
        let like = args[0].series_of();
        let (kind, invariant) = self.select(&selector, 0, Some(Function::Info))?;
        if let Some(selection) = self.selections.last_mut() {
            selection.like = like;
        }
        args.push(Plan { kind, span: args[0].span, value_type: ValueType::Vector, invariant });
        Ok(())
    }

    /// The end of the whole query. Who evaluates a part of its steps by its text would take another time for it.
    fn end(&self) -> i64 {
        self.reads_end.set(true);
        self.end
    }

    /// Functions that only tell how the query was asked.
    fn constant(&self, f: Function) -> Option<f64> {
        let ms = match f {
            Function::Start => self.start,
            Function::End => self.end(),
            Function::Step => self.step,
            Function::Range => self.end().saturating_sub(self.start),
            _ => return None,
        };
        Some(ms as f64 / 1000.0)
    }

    fn at(&self, m: &Modifiers) -> Option<i64> {
        m.at.map(|at| match at {
            At::Time(t) => t,
            At::Start => self.start,
            At::End => self.end(),
        })
    }

    fn offset(&self, m: &Modifiers) -> Result<i64, QueryError> {
        m.offset.as_ref().map_or(Ok(0), |d| self.duration_ms(d, true))
    }

    fn select(
        &mut self,
        v: &VectorSelector,
        range: i64,
        function: Option<Function>,
    ) -> Result<(PlanKind, bool), QueryError> {
        let select = Select {
            id: self.selections.len(),
            offset: self.offset(&v.modifiers)?,
            at: self.at(&v.modifiers),
            range,
            extended: v.extended,
            statistics: self.statistics && !self.whole_histograms,
        };
        let (first, last) = (select.end_at(self.frame.start), select.end_at(self.frame.last()));
        let (mut before, mut after) = (if range > 0 { range } else { self.lookback }, 0);
        match v.extended {
            Some(Extended::Anchored) => before = before.saturating_add(self.lookback),
            Some(Extended::Smoothed) => {
                before = if range > 0 { before.saturating_add(self.lookback) } else { before };
                after = self.lookback;
            }
            None => {}
        }
        // Windows are open on the left.
        let from = TimestampMs(first.saturating_sub(before).saturating_add(1));
        let to = TimestampMs(last.saturating_add(after));
        let range_read = TimeRange::inclusive(from.min(to), to).unwrap_or(TimeRange::ALL);
        let hints = SelectHints {
            step_ms: if self.frame.n > 1 { self.frame.step } else { 0 },
            range_ms: range,
            function: function.map(|f| f.spec().name),
            limit: 0,
            coarse: true,
        };
        // Resets of histograms are found from sample to sample, `info` looks at all samples, and start timestamps are not
        // read with the newest values alone.
        let of_all = matches!(function, Some(Function::Info | Function::StartTimestamp));
        let plain = !select.statistics && !of_all;
        let newest = range == 0 && first == last && v.extended.is_none() && plain;
        self.selections.push(Selection { matchers: v.all_matchers(), range: range_read, hints, like: None, newest });
        let invariant = select.at.is_some();
        Ok((PlanKind::Select(select), invariant))
    }

    fn subquery(&mut self, s: &crate::syntax::ast::Subquery) -> Result<(PlanKind, bool), QueryError> {
        let range = self.duration_ms(&s.range, false)?;
        let step = s.step.as_ref().map_or(Ok(self.subquery_step), |d| self.duration_ms(d, false))?;
        let placeholder =
            Plan { kind: PlanKind::Number(0.0), span: s.expr.span, value_type: ValueType::Vector, invariant: true };
        let mut plan = SubqueryPlan {
            expr: placeholder,
            range,
            step,
            offset: self.offset(&s.modifiers)?,
            at: self.at(&s.modifiers),
        };
        let outer = self.frame;
        self.frame = plan.frame(outer);
        let whole = std::mem::replace(&mut self.whole_histograms, true);
        let inner = self.plan(&s.expr);
        self.whole_histograms = whole;
        self.frame = outer;
        plan.expr = inner?;
        let invariant = plan.at.is_some();
        Ok((PlanKind::Subquery(Box::new(plan)), invariant))
    }

    fn duration_ms(&self, d: &DurationExpr, may_be_negative: bool) -> Result<i64, QueryError> {
        let bad = |m: &str| QueryError::BadData(m.to_owned());
        let seconds = self.duration(d)?;
        if seconds <= 0.0 && !may_be_negative {
            return Err(bad("duration must be greater than 0"));
        }
        if seconds.is_nan() || seconds.abs() >= 9.223_372_036e9 {
            return Err(bad("duration is out of range"));
        }
        let ms = (seconds * 1000.0).round() as i64;
        Ok(if may_be_negative { ms } else { ms.max(1) })
    }

    fn duration(&self, d: &DurationExpr) -> Result<f64, QueryError> {
        let bad = |m: &str| Err(QueryError::BadData(m.to_owned()));
        Ok(match &d.kind {
            DurationKind::Literal(n) => n.value,
            DurationKind::Step => self.step as f64 / 1000.0,
            DurationKind::Range => self.end().saturating_sub(self.start) as f64 / 1000.0,
            DurationKind::MinOf(a, b) => self.duration(a)?.min(self.duration(b)?),
            DurationKind::MaxOf(a, b) => self.duration(a)?.max(self.duration(b)?),
            DurationKind::Unary(UnaryOp::Minus, a) => -self.duration(a)?,
            DurationKind::Unary(UnaryOp::Plus, a) | DurationKind::Paren(a) => self.duration(a)?,
            DurationKind::Binary(op, a, b) => {
                let (a, b) = (self.duration(a)?, self.duration(b)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return bad("division by zero"),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return bad("modulo by zero"),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => a.powf(b),
                    _ => return bad("unexpected operator in a duration"),
                }
            }
        })
    }
}

/// Functions whose value changes from step to step although their arguments do not.
fn depends_on_time(f: Function, args: &[Plan]) -> bool {
    use Function as F;
    match f {
        F::Time | F::Timestamp | F::PredictLinear => true,
        F::DaysInMonth | F::DayOfMonth | F::DayOfWeek | F::DayOfYear | F::Hour | F::Minute | F::Month | F::Year => {
            args.is_empty()
        }
        _ => false,
    }
}
