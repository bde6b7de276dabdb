//! The journal: append only, read by time, kind and subject.

use belfry_model::{JournalEntry, TimeRange, TimestampMs};
use rusqlite::{Connection, params};

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
    let range = query.range.unwrap_or(TimeRange::ALL);
    let limit = match query.limit {
        0 => JOURNAL_ROWS_PER_QUERY_MAX,
        n => n.min(JOURNAL_ROWS_PER_QUERY_MAX),
    };
    let mut statement = c.prepare_cached(
        "SELECT id, at_ms, body FROM journal
         WHERE at_ms >= ?1 AND at_ms < ?2 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR subject = ?4)
           AND (?5 IS NULL OR id < ?5)
         ORDER BY id DESC LIMIT ?6",
    )?;
    let mut rows = statement.query(params![
        range.start().0,
        range.end().0,
        query.kind,
        query.subject,
        query.before_id,
        limit as i64
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, at, body): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        match serde_json::from_str(&body) {
            Ok(entry) => found.push(JournalRow { id, at: TimestampMs(at), entry }),
            // A kind that a later version wrote: it is kept for that version.
            Err(error) => tracing::debug!(id, %error, "an entry of the journal is not known to this version"),
        }
    }
    Ok(found)
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
