//! Bytes that a query holds: what its nodes have made and still need, and what the one at work is making.
//!
//! Invariant: a query that would hold more than [`QueryLimits::bytes_max`] ends with an error before it does, save for
//! what allocation itself costs. What a node made counts until the node above it is done.
//! Not here: what the reader's caches hold; the text of the answer.
//!
//! [`QueryLimits::bytes_max`]: crate::QueryLimits::bytes_max

use belfry_model::{Histogram, Labels, TimestampMs};

use super::keys::Keys;
use super::steps;
use super::vector::{Column, Evaluated, Frame, OutSeries};
use super::{Evaluator, Result, Sink};
use crate::query::Selected;
use crate::{PointValue, QueryError};

/// A series beside its columns: its place, its share of tables that find it.
pub(super) const SERIES_BYTES: u64 = 256;
/// A selected series: its labels, and where its samples are.
const SELECTED_BYTES: u64 = 320;
/// A label beside its text.
const LABEL_BYTES: u64 = 32;
/// A point of the answer.
pub(super) const POINT_BYTES: u64 = size_of::<(TimestampMs, PointValue)>() as u64;

pub(super) fn histogram_bytes(h: &Histogram) -> u64 {
    64 + 16 * steps::size(h)
}

/// Memory of a column.
pub(super) fn column_bytes(c: &Column) -> u64 {
    let histograms = c.histograms.iter().flatten().map(|h| histogram_bytes(h)).sum::<u64>();
    8 * (c.floats.capacity() + c.histograms.capacity()) as u64 + histograms
}

/// Memory of labels that are not shared with the reader's.
fn label_bytes(labels: &Labels) -> u64 {
    SERIES_BYTES + labels.iter().map(|l| LABEL_BYTES + l.value.len() as u64).sum::<u64>()
}

/// Memory of a series of a vector.
pub(super) fn series_bytes(s: &OutSeries) -> u64 {
    SERIES_BYTES + column_bytes(&s.column)
}

fn bytes_of(value: &Evaluated) -> u64 {
    match value {
        Evaluated::Scalar(v) => 8 * v.capacity() as u64,
        Evaluated::String(s) => s.len() as u64,
        Evaluated::Vector(v) => v.iter().map(series_bytes).sum(),
    }
}

/// A vector as it is made.
#[derive(Default)]
pub(super) struct Held {
    pub series: Vec<OutSeries>,
    bytes: u64,
}

impl Held {
    /// Appends a series that was just made.
    pub fn push(&mut self, ev: &mut Evaluator<'_>, s: OutSeries, frame: Frame) -> Result<()> {
        self.bytes += series_bytes(&s);
        self.series.push(s);
        ev.check_points(self.series.len() as u64 * frame.n as u64)?;
        ev.check_bytes(self.bytes)
    }
}

impl<'a> Evaluator<'a> {
    /// The series that were selected are held to the end.
    pub(crate) fn hold_selected(&mut self) -> Result<()> {
        let selected: usize = self.sources.sets.iter().map(Selected::len).sum();
        self.held = SELECTED_BYTES * selected as u64;
        self.check_bytes(0)
    }

    /// May this much be held beside what is held already?
    pub(super) fn check_bytes(&self, more: u64) -> Result<()> {
        let all = self.held.saturating_add(more);
        self.bytes_peak.set(self.bytes_peak.get().max(all));
        let max = self.sources.limits.bytes_max;
        if all > max {
            let text = format!(
                "the query needs more than {max} bytes of memory; narrow its range or matchers, or raise `memory` in [queries]"
            );
            return Err(QueryError::Limit(text));
        }
        Ok(())
    }

    /// This much more is held until the node is done: to be said before it is taken.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<()> {
        self.held = self.held.saturating_add(bytes);
        self.check_bytes(0)
    }

    /// This much of what was held is not any more.
    pub(super) fn release(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// One more series, the `count`th, with a place for each step: to be said before it is made.
    pub(super) fn hold_series(&mut self, count: usize, n: usize) -> Result<()> {
        self.check_points(count as u64 * n as u64)?;
        self.hold(8 * n as u64 + SERIES_BYTES)
    }

    /// As [`Keys::number`]; what a new number takes is held until the node is done.
    pub(super) fn number(&mut self, keys: &mut Keys, labels: &Labels) -> Result<usize> {
        let known = keys.len();
        let at = keys.number(labels);
        if keys.len() > known {
            self.hold(label_bytes(keys.labels(at)))?;
        }
        Ok(at)
    }

    /// New labels are held to the end: later nodes share them.
    pub(super) fn hold_labels(&mut self, labels: &Labels) -> Result<()> {
        self.made += label_bytes(labels);
        self.held += label_bytes(labels);
        self.check_bytes(0)
    }

    /// The node is done: of all it held only its value stays. `before` was held when it began.
    pub(super) fn settle(&mut self, before: (u64, u64), value: &Evaluated) -> Result<()> {
        self.settle_with(before, bytes_of(value))
    }

    /// As [`Evaluator::settle`], by the bytes of what stays.
    pub(super) fn settle_with(&mut self, before: (u64, u64), bytes: u64) -> Result<()> {
        let (held, made) = before;
        self.held = held + (self.made - made) + bytes;
        self.check_bytes(0)
    }

    /// Hands on series that are held, one by one: whoever takes one counts it from then on.
    pub(super) fn hand_on(&mut self, series: Vec<OutSeries>, sink: Sink<'_, 'a>) -> Result<()> {
        for s in series {
            self.release(series_bytes(&s));
            sink(self, s)?;
        }
        Ok(())
    }

    /// What is held now: for [`Evaluator::settle`].
    pub(super) fn mark(&self) -> (u64, u64) {
        (self.held, self.made)
    }
}
