//! A query in two parts: for somebody who has all but the newest samples, and for who has those, too.
//!
//! Invariant: both parts' answers together are the answer to the whole; what cannot be divided so stays whole.
//! Not here: who answers which part.

use std::collections::HashSet;
use std::time::Duration;

use belfry_model::{Labels, TimeRange, TimestampMs};

use crate::cache::join_rows;
use crate::eval::METADATA_LABELS;
use crate::syntax::parse_query;
use crate::{Answer, MatrixRow, Names, Query, QueryError, QueryLimits, QueryTime, QueryValue, ValueType};

/// What somebody may not show.
#[derive(Clone, Debug)]
pub struct Unshown {
    /// Samples of this time and later: not yet.
    pub from: TimestampMs,
    /// Samples of these times: never.
    pub never: Vec<TimeRange>,
}

/// How a query stands to the samples that somebody may not show, which are new here.
#[derive(Clone, Debug)]
pub enum Division {
    /// It reads none of them.
    Old(Query),
    /// All of its steps read them, or it cannot be divided, or it reads nothing at all.
    New(Query),
    /// Its last steps read them.
    Parts {
        /// The steps before.
        old: QueryTime,
        /// The others. `start()` and its like say what they say in the whole.
        new: Query,
    },
}

impl Division {
    /// What is evaluated, of the whole or of a part: names are the same.
    pub fn query(&self) -> &Query {
        match self {
            Self::Old(query) | Self::New(query) | Self::Parts { new: query, .. } => query,
        }
    }
}

impl Query {
    /// Divides a query by the times that it reads.
    pub fn divided(
        text: &str,
        time: QueryTime,
        limits: &QueryLimits,
        unshown: &Unshown,
    ) -> Result<Division, QueryError> {
        let expr = parse_query(text)?;
        let part = |part| Self::plan_part(&expr, part, time, limits.clone(), text.to_owned());
        let whole = part(time)?;
        let all = whole.frame.n;
        let at = |step: usize| TimestampMs(whole.frame.time(step));
        // The first `n` steps, and those behind them.
        let first = |n: usize| match time {
            QueryTime::Range { start, step, .. } if n < all => QueryTime::Range { start, end: at(n - 1), step },
            _ => time,
        };
        let rest = |n: usize| match time {
            QueryTime::Range { end, step, .. } => QueryTime::Range { start: at(n), end, step },
            QueryTime::Instant(_) => time,
        };
        // Who evaluates the first part would take its end for the end of the whole.
        let is_divisible = matches!(time, QueryTime::Range { .. }) && whole.newest_read().is_some() && !whole.reads_end;
        // So many steps read nothing from then on. Later steps read nothing that is older.
        let steps_before = |from: TimestampMs| -> Result<usize, QueryError> {
            let is_old = |query: &Self| query.newest_read().is_some_and(|newest| newest < from);
            if is_old(&whole) {
                return Ok(all);
            }
            let (mut old, mut not_old) = (0, if is_divisible { all } else { 1 });
            while not_old - old > 1 {
                let middle = old + (not_old - old) / 2;
                if is_old(&part(first(middle))?) {
                    old = middle;
                } else {
                    not_old = middle;
                }
            }
            Ok(old)
        };
        let mut old = steps_before(unshown.from)?;
        if old > 0
            && !unshown.never.is_empty()
            && let Some(missing) = part(first(old))?.first_read_of(&unshown.never)
        {
            old = steps_before(missing)?;
        }
        Ok(match old {
            0 => Division::New(whole),
            old if old == all => Division::Old(whole),
            old => Division::Parts { old: first(old), new: part(rest(old))? },
        })
    }

    /// The beginning of the first of `times` of which it reads something.
    fn first_read_of(&self, times: &[TimeRange]) -> Option<TimestampMs> {
        let is_read = |t: &&TimeRange| self.selections.iter().any(|s| s.range.overlaps(**t));
        times.iter().filter(is_read).map(|t| t.start()).min()
    }

    /// Does it read something of `times`?
    pub fn reads(&self, times: &[TimeRange]) -> bool {
        self.first_read_of(times).is_some()
    }

    /// Which series of its value have a name.
    pub fn names(&self) -> Names {
        crate::names::of(&self.plan)
    }

    /// Of which type the value is at an instant; over a range it is a matrix.
    pub fn value_type(&self) -> ValueType {
        self.plan.value_type
    }

    /// The newest time that a selector reads; `None`: there is no selector.
    fn newest_read(&self) -> Option<TimestampMs> {
        self.selections.iter().map(|s| TimestampMs(s.range.end().0.saturating_sub(1))).max()
    }

    /// The longest time that a selector reads.
    pub fn widest_read(&self) -> Duration {
        self.selections.iter().map(|s| s.range.end().since(s.range.start())).max().unwrap_or_default()
    }
}

/// A range query is answered with nothing else.
fn matrix(value: QueryValue) -> Vec<MatrixRow> {
    match value {
        QueryValue::Matrix(rows) => rows,
        _ => Vec::new(),
    }
}

/// The answer as it is by PromQL's rules where no series of it has a name; `None`: without them some are the same.
pub fn without_names(mut answer: Answer) -> Option<Answer> {
    let mut all: Vec<&mut Labels> = match &mut answer.value {
        QueryValue::Scalar(..) | QueryValue::String(..) => Vec::new(),
        QueryValue::Vector(points) => points.iter_mut().map(|p| &mut p.labels).collect(),
        QueryValue::Matrix(rows) => rows.iter_mut().map(|r| &mut r.labels).collect(),
    };
    let mut any = false;
    for labels in &mut all {
        let nameless = labels.without(&METADATA_LABELS);
        any |= nameless != **labels;
        **labels = nameless;
    }
    let mut seen = HashSet::new();
    if any && !all.iter().all(|labels| seen.insert(&**labels)) {
        return None;
    }
    // Not everybody's are in order of labels, and without their names they are in another.
    if let QueryValue::Matrix(rows) = &mut answer.value {
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Some(answer)
}

/// The answer to a range query of which `old` has the steps up to `until`, and `new` the others.
pub fn join(old: Answer, until: TimestampMs, new: Answer) -> Answer {
    let (mut rows, more) = (matrix(old.value), matrix(new.value));
    for row in &mut rows {
        row.points.retain(|(at, _)| *at <= until);
    }
    rows.retain(|row| !row.points.is_empty());
    // Not everybody's are in order of labels.
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    let both = |old: Vec<String>, new: Vec<String>| {
        let mut all = old;
        for text in new {
            if !all.contains(&text) {
                all.push(text);
            }
        }
        all
    };
    Answer {
        value: QueryValue::Matrix(join_rows(rows, more)),
        warnings: both(old.warnings, new.warnings),
        infos: both(old.infos, new.infos),
        samples_read: old.samples_read.saturating_add(new.samples_read),
        points_peak: old.points_peak.max(new.points_peak),
    }
}
