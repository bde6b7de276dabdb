//! A rule from one evaluation to the next, as the running organ has it: for tests and backtests.
//!
//! Invariant: labels, annotations, states and stale markers are those of [`crate::groups`]; nothing of it is made anew.
//! Not here: where the answers come from, schedules.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Alert, AlertState, Labels, TimestampMs};
use belfry_promql::{PointValue, VectorPoint};
use belfry_template::QueryFunc;

use crate::file::RuleFile;
use crate::groups::{Changes, Defaults, GroupSpec, RuleSpec, RuleState};

/// One rule with what it knows from one evaluation to the next.
#[derive(Debug)]
pub(crate) struct RuleRun {
    spec: Arc<RuleSpec>,
    state: RuleState,
    limit: Option<usize>,
    /// It has fired, or recorded something.
    pub came_true: bool,
}

/// All rules of a file, by group.
pub(crate) fn rules_of(file: &RuleFile, external_labels: &Labels, external_url: &str) -> Vec<Vec<RuleRun>> {
    let defaults = Defaults {
        interval: super::file::EVALUATION_INTERVAL,
        query_offset: Duration::ZERO,
        external_labels: external_labels.clone(),
        external_url: external_url.to_owned(),
    };
    let of_group = |g: GroupSpec| g.rules.iter().map(|r| RuleRun::new(r.clone(), g.limit)).collect();
    GroupSpec::of_file(file, &defaults).into_iter().map(of_group).collect()
}

impl RuleRun {
    fn new(spec: Arc<RuleSpec>, limit: Option<usize>) -> Self {
        Self { state: RuleState::new(spec.clone(), Vec::new(), None), spec, limit, came_true: false }
    }

    /// Takes the answer at `at`; what is to be written, stale markers included.
    pub fn answer(
        &mut self,
        at: TimestampMs,
        vector: Vec<VectorPoint>,
        query: &dyn QueryFunc,
    ) -> Result<Vec<(Labels, PointValue)>, String> {
        let rows = self.spec.rows(vector, query, at)?;
        let recorded = self.spec.kind == crate::file::RuleKind::Record && !rows.is_empty();
        let mut changes = Changes::default();
        self.state.answer(at, rows, self.limit, &mut changes)?;
        let fires = self.firing().next().is_some();
        self.came_true |= recorded || fires;
        Ok(changes.samples)
    }

    /// Another rule, or the test's input, has this series at the last answer's time.
    pub fn disown(&mut self, series: &Labels) {
        self.state.disown(series);
    }

    /// Alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.state.alerts.values().map(|a| &a.alert).filter(|a| a.state == AlertState::Firing)
    }
}
