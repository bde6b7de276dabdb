//! The journal: append only, read by time, kind and subject.

use belfry_model::{JournalEntry, TimeRange, TimestampMs};
use rusqlite::{Connection, ToSql, params};

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

/// Rows of one answer.
pub const JOURNAL_ROWS_PER_QUERY_MAX: usize = 10_000;

/// One line, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalRow {
    /// Ascends with the order of writing.
    pub id: i64,
    /// When.
    pub at: TimestampMs,
    /// What.
    pub entry: JournalEntry,
}

/// Which lines; everything that is left out matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalQuery {
    /// Within.
    pub range: Option<TimeRange>,
    /// The entry's tag (`transition`, `delivery`, …).
    pub kind: Option<String>,
    /// Rule, channel, plugin or report.
    pub subject: Option<String>,
    /// Written before this one: for the next page.
    pub before_id: Option<i64>,
    /// At most so many; 0 for [`JOURNAL_ROWS_PER_QUERY_MAX`].
    pub limit: usize,
}

impl State {
    /// Appends entries of one instant; answers the number of the last one (0 for none).
    pub async fn journal_append(&self, at: TimestampMs, entries: Vec<JournalEntry>) -> Result<i64, StateError> {
        self.workers
            .write(Durability::Process, move |c| entries.iter().try_fold(0, |_, entry| append(c, at, entry)))
            .await
    }

    /// Newest first.
    pub async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalRow>, StateError> {
        self.workers.read(move |c| select(c, &query)).await
    }
}

pub(crate) fn append(c: &Connection, at: TimestampMs, entry: &JournalEntry) -> Result<i64, StateError> {
    let body = serde_json::to_value(entry)?;
    let kind = body.get("kind").and_then(|k| k.as_str()).unwrap_or_default();
    c.prepare_cached("INSERT INTO journal (at_ms, kind, subject, body) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        at.0,
        kind,
        subject(entry),
        body.to_string()
    ])?;
    Ok(c.last_insert_rowid())
}

fn select(c: &Connection, query: &JournalQuery) -> Result<Vec<JournalRow>, StateError> {
    let limit = match query.limit {
        0 => JOURNAL_ROWS_PER_QUERY_MAX,
        n => n.min(JOURNAL_ROWS_PER_QUERY_MAX),
    };
    let mut statement = c.prepare_cached(&sql(query))?;
    let range = query.range.unwrap_or(TimeRange::ALL);
    let mut bind = |name: &str, value: &dyn ToSql| -> rusqlite::Result<()> {
        // A condition that is left out has no parameter.
        match statement.parameter_index(name)? {
            Some(index) => statement.raw_bind_parameter(index, value),
            None => Ok(()),
        }
    };
    bind(":start", &range.start().0)?;
    bind(":end", &range.end().0)?;
    bind(":kind", &query.kind)?;
    bind(":subject", &query.subject)?;
    bind(":before", &query.before_id)?;
    bind(":limit", &(limit as i64))?;
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, at, body): (i64, i64, &[u8]) =
            (row.get(0)?, row.get(1)?, row.get_ref(2)?.as_bytes().unwrap_or_default());
        match serde_json::from_slice(body) {
            Ok(entry) => found.push(JournalRow { id, at: TimestampMs(at), entry }),
            // A kind that a later version wrote, which is kept for that version; or what is no text any more, which must
            // not take the others away.
            Err(error) => tracing::debug!(id, %error, "an entry of the journal is not known to this version"),
        }
    }
    Ok(found)
}

/// Only the conditions that are asked for: SQLite picks no index for a condition that may be off.
fn sql(query: &JournalQuery) -> String {
    let conditions: Vec<&str> = [
        (query.range.is_some(), "at_ms >= :start AND at_ms < :end"),
        (query.subject.is_some(), "subject = :subject"),
        // A kind alone is in every page of the journal: walking back by number finds it sooner than an index.
        (query.kind.is_some(), "kind = :kind"),
        (query.before_id.is_some(), "id < :before"),
    ]
    .into_iter()
    .filter_map(|(on, condition)| on.then_some(condition))
    .collect();
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    format!("SELECT id, at_ms, body FROM journal {filter} ORDER BY id DESC LIMIT :limit")
}

/// What one would look for.
fn subject(entry: &JournalEntry) -> &str {
    match entry {
        JournalEntry::Started { .. } | JournalEntry::Stopped {} | JournalEntry::ConfigLoaded { .. } => "",
        JournalEntry::Transition(event) => &event.alert.rule,
        JournalEntry::RuleFailed { rule, .. } => rule,
        JournalEntry::Delivery { channel, .. } => channel,
        JournalEntry::PluginSwapped { plugin, .. } | JournalEntry::PluginRefused { plugin, .. } => plugin,
        JournalEntry::ReportMade { report, .. } => report,
        JournalEntry::UserAction { subject, .. } => subject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_by_subject_is_found_by_an_index() {
        let mut c = Connection::open_in_memory().unwrap();
        assert!(crate::migrate::migrate(&mut c).is_ok());
        let subject = Some("hot".to_owned());
        for query in [
            JournalQuery { subject: subject.clone(), ..Default::default() },
            JournalQuery { subject, kind: Some("transition".into()), ..Default::default() },
        ] {
            let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {}", sql(&query))).unwrap();
            let mut rows = statement.raw_query();
            let plan: String = rows.next().unwrap().unwrap().get(3).unwrap();
            assert!(plan.contains("USING INDEX journal_by_subject"), "{plan}");
        }
    }
}
