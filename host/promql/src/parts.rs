//! A query in two parts: for somebody who has all but the newest samples, and for who has those, too.
//!
//! Invariant: both parts' answers together are the answer to the whole; what cannot be divided so stays whole.
//! Not here: who answers which part.

use std::time::Duration;

use belfry_model::TimestampMs;

use crate::cache::join_rows;
use crate::syntax::parse_query;
use crate::{Answer, MatrixRow, Query, QueryError, QueryLimits, QueryTime, QueryValue};

/// How a query stands to the newest samples.
#[derive(Clone, Debug)]
pub enum Division {
    /// It reads none of them.
    Old,
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

impl Query {
    /// Divides a query by the times that it reads: `new_from` and later is new.
    pub fn divided(
        text: &str,
        time: QueryTime,
        limits: &QueryLimits,
        new_from: TimestampMs,
    ) -> Result<Division, QueryError> {
        let expr = parse_query(text)?;
        let part = |part| Self::plan_part(&expr, part, time, limits.clone(), text.to_owned());
        let is_old = |query: &Self| query.newest_read().is_some_and(|newest| newest < new_from);
        let whole = part(time)?;
        if is_old(&whole) {
            return Ok(Division::Old);
        }
        let QueryTime::Range { start, end, step } = time else { return Ok(Division::New(whole)) };
        // Who evaluates the first part would take its end for the end of the whole.
        if whole.newest_read().is_none() || whole.reads_end {
            return Ok(Division::New(whole));
        }
        let at = |step: usize| TimestampMs(whole.frame.time(step));
        // So many steps are old; so many are not. Later steps read nothing that is older.
        let (mut old, mut not_old) = (0, whole.frame.n);
        while not_old - old > 1 {
            let middle = old + (not_old - old) / 2;
            if is_old(&part(QueryTime::Range { start, end: at(middle - 1), step })?) {
                old = middle;
            } else {
                not_old = middle;
            }
        }
        if old == 0 {
            return Ok(Division::New(whole));
        }
        let new = part(QueryTime::Range { start: at(old), end, step })?;
        Ok(Division::Parts { old: QueryTime::Range { start, end: at(old - 1), step }, new })
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
