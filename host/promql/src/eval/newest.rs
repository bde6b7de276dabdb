//! Selectors of which only one sample a series is looked at, taken as they were read: no label set is cloned and no column
//! made for a series that only adds to a group.
//!
//! Invariant: the same values as [`super::pipe`] makes of them, in the same order.
//! Not here: reading; what is made of a value.

use std::sync::Arc;

use belfry_model::sample::is_stale;
use belfry_model::{Histogram, Labels, Newest};

use super::pipe::Read;
use super::vector::Frame;
use super::{Evaluator, Result};
use crate::plan::{Plan, PlanKind};
use crate::query::Selected;

/// Series between two looks at whether anybody waits still.
const SERIES_UNWATCHED: usize = 1 << 12;

/// The value of a series at the only step there is.
pub(super) struct One<'n> {
    pub labels: &'n Labels,
    /// Of a histogram its sum.
    pub float: f64,
    pub histogram: Option<&'n Arc<Histogram>>,
}

impl<'a> Evaluator<'a> {
    /// What a selector found, where that is one sample a series for one step.
    pub(super) fn newest(&self, plan: &Plan, frame: Frame) -> Option<&'a Newest> {
        let PlanKind::Select(select) = &plan.kind else { return None };
        match self.sources.sets.get(select.id)? {
            Selected::Newest(newest) if frame.n == 1 && self.steps.is_none() => Some(newest),
            _ => None,
        }
    }

    /// Calls `each` for every series that has a value.
    pub(super) fn each_newest(
        &mut self,
        newest: &'a Newest,
        each: &mut dyn FnMut(&mut Self, &One<'_>) -> Result<()>,
    ) -> Result<()> {
        let samples = newest.len() as u64;
        self.count_read(Read { samples, longest: samples.min(1), ..Read::default() })?;
        for (i, (of, float)) in newest.of.iter().zip(&newest.floats).enumerate() {
            if i.is_multiple_of(SERIES_UNWATCHED) {
                self.check_cancelled()?;
            }
            let Some(labels) = newest.labels.get(*of as usize).filter(|_| !is_stale(*float)) else { continue };
            each(self, &One { labels, float: *float, histogram: newest.histogram(i) })?;
        }
        Ok(())
    }
}
