//! Values in columns: one per step, all of a series together.

use std::sync::Arc;

use belfry_model::sample::{STALE_NAN_BITS, is_stale};
use belfry_model::{Histogram, Labels, TimestampMs};

use crate::{QueryError, QueryLimits, QueryTime};

/// The times of an evaluation: `start`, `start + step`, …; `n` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub start: i64,
    pub step: i64,
    pub n: usize,
}

impl Frame {
    pub fn of(time: QueryTime, limits: &QueryLimits) -> Result<Self, QueryError> {
        match time {
            QueryTime::Instant(TimestampMs(t)) => Ok(Self { start: t, step: 1, n: 1 }),
            QueryTime::Range { start, end, step } => {
                let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
                if step <= 0 {
                    let m = "zero or negative query resolution step widths are not accepted. Try a positive integer";
                    return Err(QueryError::BadData(m.to_owned()));
                }
                if end < start {
                    return Err(QueryError::BadData("end timestamp must not be before start time".to_owned()));
                }
                let frame = Self::spanning(start.0, end.0, step);
                if frame.n as u64 > limits.points_max {
                    return Err(QueryError::Limit(format!(
                        "the query has {} steps, more than {} points (`points` in [queries])",
                        frame.n, limits.points_max
                    )));
                }
                Ok(frame)
            }
        }
    }

    /// From `start` to at most `last`; empty when that is before `start`.
    pub fn spanning(start: i64, last: i64, step: i64) -> Self {
        let n = if last < start { 0 } else { (last.saturating_sub(start) / step) as usize + 1 };
        Self { start, step, n }
    }

    pub fn time(self, i: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i as i64))
    }

    pub fn last(self) -> i64 {
        self.time(self.n.saturating_sub(1))
    }

    /// Its first step alone.
    pub fn first(self) -> Self {
        Self { n: self.n.min(1), ..self }
    }
}

/// Stands where a series has no value; never a value.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// A value of a column.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Cell {
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            Self::Histogram(_) => None,
        }
    }
}

/// One place per step: a float, a histogram, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// [`ABSENT`] where there is nothing or a histogram.
    pub floats: Vec<f64>,
    /// Empty while there are none.
    pub histograms: Vec<Option<Arc<Histogram>>>,
}

impl Column {
    pub fn absent(n: usize) -> Self {
        Self { floats: vec![ABSENT; n], histograms: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.floats.len()
    }

    pub fn get(&self, i: usize) -> Option<Cell> {
        let f = *self.floats.get(i)?;
        if !is_stale(f) {
            return Some(Cell::Float(f));
        }
        self.histograms.get(i)?.clone().map(Cell::Histogram)
    }

    pub fn is_present(&self, i: usize) -> bool {
        self.floats.get(i).is_some_and(|f| !is_stale(*f)) || self.histograms.get(i).is_some_and(Option::is_some)
    }

    pub fn set(&mut self, i: usize, cell: Cell) {
        match cell {
            Cell::Float(f) => {
                self.floats[i] = f;
                if let Some(h) = self.histograms.get_mut(i) {
                    *h = None;
                }
            }
            Cell::Histogram(h) => {
                self.floats[i] = ABSENT;
                self.histograms.resize(self.floats.len(), None);
                self.histograms[i] = Some(h);
            }
        }
    }

    pub fn clear(&mut self, i: usize) {
        self.floats[i] = ABSENT;
        if let Some(h) = self.histograms.get_mut(i) {
            *h = None;
        }
    }

    pub fn is_all_absent(&self) -> bool {
        self.floats.iter().all(|f| is_stale(*f)) && self.histograms.iter().all(Option::is_none)
    }

    /// From the first step with a value to behind the last.
    pub fn span(&self) -> std::ops::Range<usize> {
        let n = self.floats.len();
        let from = (0..n).find(|i| self.is_present(*i)).unwrap_or(n);
        from..(from..n).rfind(|i| self.is_present(*i)).map_or(from, |last| last + 1)
    }

    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Replaces every float by `f` of it and drops the histograms.
    pub fn map_floats(&mut self, mut f: impl FnMut(usize, f64) -> f64) {
        for (i, v) in self.floats.iter_mut().enumerate() {
            if !is_stale(*v) {
                *v = f(i, *v);
            }
        }
        self.histograms = Vec::new();
    }

    /// The first value at every step.
    pub fn repeat(&self, n: usize) -> Self {
        let mut out = Self::absent(n);
        if let Some(cell) = self.get(0) {
            for i in 0..n {
                out.set(i, cell.clone());
            }
        }
        out
    }
}

/// A series of an instant vector over the steps.
#[derive(Clone, Debug)]
pub(crate) struct OutSeries {
    pub labels: Labels,
    /// The metric name is to go when the query is done: until then it tells series apart.
    pub drop_name: bool,
    pub column: Column,
}

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Evaluated {
    Scalar(Vec<f64>),
    String(String),
    Vector(Vec<OutSeries>),
}
