//! Nothing grows without bound: what is old, or too many, goes.

use std::time::Duration;

use belfry_model::TimestampMs;
use rusqlite::{Connection, params};

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

const DAY: Duration = Duration::from_secs(86_400);

/// Rows of one table that go in one run: the writer must not be held for long. The rest goes in the next run.
const ROWS_PER_RUN_MAX: usize = 10_000;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries of the journal: a quarter, so that a post-mortem of last month can be written.
    pub journal: Duration,
    /// … and at most so many, about 500 MB.
    pub journal_rows: u64,
    /// Resolved episodes: a year and a month, so that a month can be compared with the same one a year ago.
    pub episodes: Duration,
    /// Reports: as long.
    pub reports: Duration,
    /// … and at most so many of one name.
    pub reports_per_name: u64,
    /// Ended runs of components: as long as samples may be asked where they came from.
    pub components: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            journal: DAY * 92,
            journal_rows: 1_000_000,
            episodes: DAY * 400,
            reports: DAY * 400,
            reports_per_name: 500,
            components: DAY * 400,
        }
    }
}

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries of the journal.
    pub journal: usize,
    /// Episodes.
    pub episodes: usize,
    /// Reports.
    pub reports: usize,
    /// Runs of components.
    pub components: usize,
    /// Is there more to prune? Then run again soon.
    pub more: bool,
}

impl State {
    /// Removes what is past `retention` at `now`, a bounded number of rows at a time.
    pub async fn prune(&self, now: TimestampMs, retention: Retention) -> Result<Pruned, StateError> {
        self.workers.write(Durability::Process, move |c| prune(c, now, &retention)).await
    }
}

fn prune(c: &Connection, now: TimestampMs, keep: &Retention) -> Result<Pruned, StateError> {
    let limit = ROWS_PER_RUN_MAX as i64;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let journal = c.execute(
        "DELETE FROM journal WHERE id IN (
           SELECT id FROM journal
           WHERE at_ms < ?1 OR id <= (SELECT max(id) FROM journal) - ?2 ORDER BY id LIMIT ?3)",
        params![now.minus(keep.journal).0, count(keep.journal_rows), limit],
    )?;
    let episodes = c.execute(
        "DELETE FROM alert_episode WHERE id IN (
           SELECT id FROM alert_episode WHERE resolved_ms < ?1 LIMIT ?2)",
        params![now.minus(keep.episodes).0, limit],
    )?;
    let reports = c.execute(
        "DELETE FROM report WHERE id IN (
           SELECT id FROM (SELECT id, made_ms, row_number() OVER (PARTITION BY name ORDER BY made_ms DESC, id DESC) AS nth
                           FROM report)
           WHERE made_ms < ?1 OR nth > ?2 LIMIT ?3)",
        params![now.minus(keep.reports).0, count(keep.reports_per_name), limit],
    )?;
    let components = c.execute(
        "DELETE FROM component_history WHERE (plugin, from_ms) IN (
           SELECT plugin, from_ms FROM component_history WHERE to_ms < ?1 LIMIT ?2)",
        params![now.minus(keep.components).0, limit],
    )?;
    let more = [journal, episodes, reports, components].contains(&ROWS_PER_RUN_MAX);
    Ok(Pruned { journal, episodes, reports, components, more })
}
