//! Bytes that a query holds: what its nodes have made and still need, and what the one at work is making.
//!
//! Invariant: a query that would hold more than [`QueryLimits::bytes_max`] ends with an error before it does, save for
//! what allocation itself costs. What a node made counts until the node above it is done.
//! Not here: what the reader's caches hold; the text of the answer.
//!
//! [`QueryLimits::bytes_max`]: crate::QueryLimits::bytes_max

use belfry_model::{Histogram, Labels, TimestampMs};

use super::steps;
use super::vector::{Column, Evaluated, Frame, OutSeries};
use super::{Evaluator, Result};
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

fn bytes_of(value: &Evaluated) -> u64 {
    match value {
        Evaluated::Scalar(v) => 8 * v.capacity() as u64,
        Evaluated::String(s) => s.len() as u64,
        Evaluated::Vector(v) => v.iter().map(|s| SERIES_BYTES + column_bytes(&s.column)).sum(),
    }
}

/// A vector as it is made.
#[derive(Default)]
pub(super) struct Held {
    pub series: Vec<OutSeries>,
    bytes: u64,
}

impl Held {
    pub fn push(&mut self, ev: &mut Evaluator<'_>, s: OutSeries, frame: Frame) -> Result<()> {
        self.bytes += SERIES_BYTES + column_bytes(&s.column);
        self.series.push(s);
        ev.check_points(self.series.len() as u64 * frame.n as u64)?;
        ev.check_bytes(self.bytes)
    }
}

impl Evaluator<'_> {
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

    /// What one node of the plan may hold at a time, and no other points.
    pub(super) fn check_held(&self, series: usize, frame: Frame) -> Result<()> {
        self.check_points(series as u64 * frame.n as u64)?;
        self.check_bytes(series as u64 * (8 * frame.n as u64 + SERIES_BYTES))
    }

    /// New labels are held to the end: later nodes share them.
    pub(super) fn hold_labels(&mut self, labels: &Labels) -> Result<()> {
        self.made += label_bytes(labels);
        self.held += label_bytes(labels);
        self.check_bytes(0)
    }

    /// The node is done: of all it held only its value stays. `before` was held when it began.
    pub(super) fn settle(&mut self, before: (u64, u64), value: &Evaluated) -> Result<()> {
        let (held, made) = before;
        self.held = held + (self.made - made) + bytes_of(value);
        self.check_bytes(0)
    }

    /// What is held now: for [`Evaluator::settle`].
    pub(super) fn mark(&self) -> (u64, u64) {
        (self.held, self.made)
    }

    /// The answer's points are made while the columns are there.
    pub(super) fn check_answer(&self, series: &[OutSeries]) -> Result<()> {
        let points = |s: &OutSeries| (0..s.column.len()).filter(|i| s.column.is_present(*i)).count() as u64;
        self.check_bytes(series.iter().map(|s| SERIES_BYTES + POINT_BYTES * points(s)).sum())
    }
}
