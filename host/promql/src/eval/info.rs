//! `info`: adds the labels of info metrics (`target_info`) to the series they identify.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use belfry_model::sample::is_stale;
use belfry_model::{Labels, METRIC_NAME};

use super::select::Of;
use super::vector::{Cell, Column, Frame, OutSeries};
use super::{Evaluator, Result};
use crate::QueryError;
use crate::plan::{Plan, PlanKind};

/// What tells which info series belongs to a series.
pub(crate) const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl<'a> Evaluator<'a> {
    pub(super) fn info(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let base = self.vector(&args[0], frame)?;
        let Some(PlanKind::Select(select)) = args.get(1).map(|a| &a.kind) else { return Ok(base) };
        let matchers = self.sources.selections[select.id].matchers.clone();
        let (name_matchers, data): (Vec<_>, Vec<_>) = matchers.into_iter().partition(|m| m.name() == METRIC_NAME);
        // The newest sample wins, so times are read instead of values.
        let mut infos: Vec<OutSeries> = Vec::new();
        self.timestamps(select, frame, Of::Time, true, &mut |ev, s| {
            ev.hold_series(infos.len() + 1, frame.n)?;
            infos.push(s);
            Ok(())
        })?;
        let mut by_identity: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (i, s) in infos.iter().enumerate() {
            by_identity.entry(s.labels.only(&IDENTIFYING)).or_default().push(i);
        }
        let may_be_without = data.iter().all(|m| m.matches(""));
        let mut out: Vec<OutSeries> = Vec::new();
        let mut index: HashMap<(Labels, bool), usize> = HashMap::new();
        for s in base {
            // Info series themselves stay as they are.
            let is_info = s.labels.metric().is_some_and(|n| name_matchers.iter().all(|m| m.matches(n)));
            let identity = s.labels.only(&IDENTIFYING);
            let candidates: &[usize] =
                if is_info || identity.is_empty() { &[] } else { by_identity.get(&identity).map_or(&[], |v| v) };
            for i in 0..frame.n {
                let Some(cell) = s.column.get(i) else { continue };
                let chosen = newest(&infos, candidates, i)?;
                if chosen.is_empty() && !is_info && !may_be_without {
                    continue;
                }
                let mut extra: BTreeMap<&str, &str> = BTreeMap::new();
                for c in chosen {
                    for l in infos[c].labels.iter().filter(|l| &*l.name != METRIC_NAME) {
                        if !data.is_empty() && !data.iter().any(|m| m.name() == &*l.name) {
                            continue;
                        }
                        if extra.get(&*l.name).is_some_and(|v| *v != &*l.value) {
                            return Err(QueryError::Execution(format!("conflicting label: {}", l.name)));
                        }
                        if s.labels.get(&l.name).is_none() {
                            extra.insert(&l.name, &l.value);
                        }
                    }
                }
                let mut b = s.labels.to_builder();
                for (name, value) in extra {
                    b.set(name, value);
                }
                let at = match index.entry((b.build(), s.drop_name)) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        self.hold_series(out.len() + 1, frame.n)?;
                        let (labels, drop_name) = new.key().clone();
                        self.hold_labels(&labels)?;
                        out.push(OutSeries { labels, drop_name, column: Column::absent(frame.n) });
                        *new.insert(out.len() - 1)
                    }
                };
                if matches!(cell, Cell::Histogram(_)) && !out[at].column.has_histograms() {
                    self.hold(8 * frame.n as u64)?;
                }
                if out[at].column.is_present(i) {
                    return Err(QueryError::Execution(super::SAME_LABELSET.to_owned()));
                }
                out[at].column.set(i, cell);
            }
        }
        Ok(out)
    }
}

/// Of each info metric the series with the newest sample at step `i`.
fn newest(infos: &[OutSeries], candidates: &[usize], i: usize) -> Result<Vec<usize>> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for c in candidates.iter().copied() {
        let at = infos[c].column.floats[i];
        if is_stale(at) {
            continue;
        }
        let name = infos[c].labels.metric().unwrap_or("");
        match by_name.get(name).map(|o| (infos[*o].column.floats[i], *o)) {
            Some((other, o)) if other == at => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    infos[o].labels,
                    (other * 1000.0) as i64,
                    infos[c].labels,
                    (at * 1000.0) as i64
                )));
            }
            Some((other, _)) if other > at => {}
            _ => drop(by_name.insert(name, c)),
        }
    }
    Ok(by_name.into_values().collect())
}
