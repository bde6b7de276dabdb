//! What the engine answers of a query, and what is evaluated here.
//!
//! Invariant: what was acknowledged before a query is in its answer, or the answer says that it may be missing. An engine
//! shows what it was sent only after a while, so it is asked for steps that read what is older, and the others are
//! evaluated here, over the engine's series and the local window together. Its series have the names that PromQL's rules
//! leave them: else those of both would not be the same ones.

use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::SeriesRead;
use belfry_promql::parts::{Division, join, without_names};
use belfry_promql::{
    Answer, Names, PointValue, Query, QueryError, QueryLimits, QueryTime, QueryValue, Usage, ValueType, VectorPoint,
};

use super::{Queries, QueryFault, QueryTimings, Waiting};
use crate::engine::Pass;

/// What engines look back unless told otherwise.
const LOOKBACK: Duration = Duration::from_secs(300);

/// What is evaluated where.
enum Plan {
    /// All of it here.
    Here,
    /// All of it by the engine.
    There { form: Form, lacks: Lacks },
    /// The first steps by the engine.
    Both { form: Form, old: QueryTime, new: Box<Query> },
}

/// What PromQL's rules say of the answer.
#[derive(Clone, Copy)]
struct Form {
    names: Names,
    /// At an instant; `None` where nobody here understands the expression.
    value_type: Option<ValueType>,
}

impl Form {
    /// The engine's answer in this form; `None`: it has another, and nobody knows what it means.
    fn of(self, answer: Answer, asked: QueryTime) -> Option<Answer> {
        let mut answer = if self.names == Names::None { without_names(answer)? } else { answer };
        let (Some(wanted), QueryTime::Instant(at)) = (self.value_type, asked) else { return Some(answer) };
        answer.value = match (wanted, answer.value) {
            // VictoriaMetrics has no scalars.
            (ValueType::Scalar, QueryValue::Vector(points)) => match &points[..] {
                [] => QueryValue::Scalar(at, f64::NAN),
                [VectorPoint { value: PointValue::Float(value), .. }] => QueryValue::Scalar(at, *value),
                _ => return None,
            },
            (ValueType::Scalar, value @ QueryValue::Scalar(..))
            | (ValueType::String, value @ QueryValue::String(..))
            | (ValueType::Vector, value @ QueryValue::Vector(_))
            | (ValueType::Matrix, value @ QueryValue::Matrix(_)) => value,
            _ => return None,
        };
        Some(answer)
    }
}

/// What the engine's answer may lack.
#[derive(Clone, Copy, Default)]
struct Lacks {
    /// What is new.
    new: bool,
    /// What it never got.
    lost: bool,
}

fn plan(expression: &str, time: QueryTime, limits: &QueryLimits, pass: &Pass) -> Result<Plan, QueryError> {
    let unshown = pass.unshown();
    let division = match Query::divided(expression, time, limits, &unshown) {
        Ok(division) => division,
        Err(limit @ QueryError::Limit(_)) => return Err(limit),
        // As it is: an engine may understand more than we do. What it reads nobody knows.
        Err(_) => {
            let lacks = Lacks { new: true, lost: !unshown.never.is_empty() };
            return Ok(Plan::There { form: Form { names: Names::Kept, value_type: None }, lacks });
        }
    };
    // What reads so much time is much to carry here each time it is asked for. The steps of one window, each of which looks
    // back by another, are not: an engine that has been behind for long is asked for what it has.
    let is_long = |query: &Query| query.widest_read() > pass.window().saturating_mul(2);
    let form = Form { names: division.query().names(), value_type: Some(division.query().value_type()) };
    // Samples as they are need no evaluation, and the steps of a subquery are not everybody's: VictoriaMetrics takes other
    // ones, and `@` of a range for nothing.
    let is_plain = form.value_type == Some(ValueType::Matrix) && !is_long(division.query());
    Ok(match division {
        _ if form.names == Names::Mixed || is_plain => Plan::Here,
        Division::Old(_) => Plan::There { form, lacks: Lacks::default() },
        Division::New(query) if !is_long(&query) => Plan::Here,
        Division::Parts { old, new } if !is_long(&new) => Plan::Both { form, old, new: Box::new(new) },
        Division::New(query) | Division::Parts { new: query, .. } => {
            Plan::There { form, lacks: Lacks { new: true, lost: query.reads(&unshown.never) } }
        }
    })
}

impl Queries {
    /// The answer, where the engine gives all or a part of it; `None`: it is evaluated here.
    pub(super) async fn passed_on(
        &self,
        expression: &str,
        time: QueryTime,
        limits: &QueryLimits,
        reader: &dyn SeriesRead,
        timings: &mut QueryTimings,
    ) -> Result<Option<(Answer, Usage)>, QueryFault> {
        let Some(pass) = self.pass.as_ref().filter(|p| !p.is_away()) else { return Ok(None) };
        let (asked, new, form, lacks) = match plan(expression, time, limits, pass)? {
            Plan::Here => return Ok(None),
            Plan::There { form, lacks } => (time, None, form, lacks),
            Plan::Both { form, old, new } => (old, Some(new), form, Lacks::default()),
        };
        let lookback = Some(limits.lookback).filter(|l| *l != LOOKBACK);
        let waiting = self.wait()?;
        let answer = pass.evaluate(expression, asked, lookback, limits, waiting).await?;
        let Some(mut answer) = answer.and_then(|answer| form.of(answer, asked)) else { return Ok(None) };
        if lacks.new {
            answer.warnings.extend(pass.warning());
        }
        if lacks.lost {
            answer.warnings.push(Pass::loss_warning());
        }
        match (new, asked) {
            (Some(new), QueryTime::Range { end, .. }) => {
                let (new, usage) = self.compute(*new, reader, timings).await?;
                Ok(Some((join(answer, end, new), usage)))
            }
            _ => Ok(Some((answer, Usage::default()))),
        }
    }

    /// A place among those who wait, if there is one.
    pub(super) fn wait(&self) -> Result<Waiting<'_>, QueryFault> {
        // Counts down also when nobody waits for the answer any more.
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(QueryFault::Busy(self.waiting_max));
        }
        Ok(waiting)
    }
}

#[cfg(test)]
#[path = "passed_tests.rs"]
mod tests;
