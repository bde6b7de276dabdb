//! The archive of reports: each as data and as the files it was rendered to.

use belfry_model::TimestampMs;
use belfry_model::report::{Document, Report};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

/// Reports of one answer.
pub const REPORTS_PER_LIST_MAX: usize = 1_000;

/// What [`archived`] reads. A section that failed is written as `{"Err": …}` in the report's JSON.
const COLUMNS: &str = "id, name, title, start_ms, end_ms, made_ms, due_ms, json_extract(body, '$.made_up_for'), \
    (SELECT count(*) FROM json_each(body, '$.sections') WHERE json_type(value, '$.outcome.Err') IS NOT NULL)";

/// A report in the archive, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedReport {
    /// Its number in the archive.
    pub id: i64,
    /// Name of the `[[report]]`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The period's first instant.
    pub start: TimestampMs,
    /// The first instant after it.
    pub end: TimestampMs,
    /// When it was made.
    pub made_at: TimestampMs,
    /// When it had been due; `None` when it was asked for by hand.
    pub due: Option<TimestampMs>,
    /// Set when it was missed and made up later: when it had been due.
    pub made_up_for: Option<TimestampMs>,
    /// Sections that could not be written.
    pub failed_sections: u64,
    /// Its files, in order of name.
    pub documents: Vec<ArchivedDocument>,
}

/// A file of a report, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedDocument {
    /// With extension.
    pub file_name: String,
    /// `text/html`, `application/json` or `text/csv`.
    pub media_type: String,
    /// Of the file.
    pub bytes: u64,
}

impl State {
    /// Keeps a report and its files, all or nothing; answers its number.
    pub async fn report_insert(
        &self,
        report: Report,
        due: Option<TimestampMs>,
        documents: Vec<Document>,
    ) -> Result<i64, StateError> {
        self.workers
            .write(Durability::Process, move |c| {
                c.prepare_cached(
                    "INSERT INTO report (name, title, start_ms, end_ms, made_ms, due_ms, body)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    report.name,
                    report.title,
                    report.start.0,
                    report.end.0,
                    report.made_at.0,
                    due.map(|t| t.0),
                    serde_json::to_string(&report)?,
                ])?;
                let id = c.last_insert_rowid();
                let mut insert = c.prepare_cached(
                    "INSERT INTO report_document (report_id, file_name, media_type, data) VALUES (?1, ?2, ?3, ?4)",
                )?;
                for document in &documents {
                    insert.execute(params![id, document.file_name, document.media_type, document.data])?;
                }
                Ok(id)
            })
            .await
    }

    /// Reports of a name (or, with `None`, all), the latest first, older than the one numbered `before`; at
    /// most `limit` (0 for the most there can be).
    pub async fn reports(
        &self,
        name: Option<&str>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ArchivedReport>, StateError> {
        let name = name.map(str::to_owned);
        let limit = if limit == 0 { REPORTS_PER_LIST_MAX } else { limit.min(REPORTS_PER_LIST_MAX) };
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM report 
                     WHERE (?1 IS NULL OR name = ?1) AND (?3 IS NULL OR id < ?3)
                     ORDER BY made_ms DESC, id DESC LIMIT ?2"
                ))?;
                let rows = statement.query_map(params![name, limit as i64, before], archived)?;
                rows.map(|row| with_documents(c, row?)).collect()
            })
            .await
    }

    /// One report of the archive with its content.
    pub async fn report(&self, id: i64) -> Result<Option<(ArchivedReport, Report)>, StateError> {
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached(&format!("SELECT {COLUMNS}, body FROM report WHERE id = ?1"))?;
                let found =
                    statement.query_row([id], |row| Ok((archived(row)?, row.get::<_, String>(9)?))).optional()?;
                let Some((report, body)) = found else { return Ok(None) };
                Ok(Some((with_documents(c, report)?, serde_json::from_str(&body)?)))
            })
            .await
    }

    /// One file of a report.
    pub async fn report_document(&self, id: i64, file_name: &str) -> Result<Option<Document>, StateError> {
        let file_name = file_name.to_owned();
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached(
                    "SELECT media_type, file_name, data FROM report_document WHERE report_id = ?1 AND file_name = ?2",
                )?;
                let found = statement.query_row(params![id, file_name], |row| {
                    Ok(Document { media_type: row.get(0)?, file_name: row.get(1)?, data: row.get(2)? })
                });
                Ok(found.optional()?)
            })
            .await
    }

    /// The last time a report of this name was due and made: what a schedule goes on from. Those asked for by hand do
    /// not count.
    pub async fn report_last_due(&self, name: &str) -> Result<Option<TimestampMs>, StateError> {
        let name = name.to_owned();
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached("SELECT max(due_ms) FROM report WHERE name = ?1")?;
                let due: Option<i64> = statement.query_row([name], |row| row.get(0))?;
                Ok(due.map(TimestampMs))
            })
            .await
    }

    /// Removes a report and its files; answers whether it was there.
    pub async fn report_remove(&self, id: i64) -> Result<bool, StateError> {
        self.workers
            .write(Durability::Process, move |c| {
                Ok(c.prepare_cached("DELETE FROM report WHERE id = ?1")?.execute([id])? > 0)
            })
            .await
    }
}

fn archived(row: &Row<'_>) -> rusqlite::Result<ArchivedReport> {
    Ok(ArchivedReport {
        id: row.get(0)?,
        name: row.get(1)?,
        title: row.get(2)?,
        start: TimestampMs(row.get(3)?),
        end: TimestampMs(row.get(4)?),
        made_at: TimestampMs(row.get(5)?),
        due: row.get::<_, Option<i64>>(6)?.map(TimestampMs),
        made_up_for: row.get::<_, Option<i64>>(7)?.map(TimestampMs),
        failed_sections: row.get::<_, i64>(8)?.max(0) as u64,
        documents: Vec::new(),
    })
}

fn with_documents(c: &Connection, mut report: ArchivedReport) -> Result<ArchivedReport, StateError> {
    let mut statement = c.prepare_cached(
        "SELECT file_name, media_type, length(data) FROM report_document WHERE report_id = ?1 ORDER BY file_name",
    )?;
    let rows = statement.query_map([report.id], |row| {
        let bytes: i64 = row.get(2)?;
        Ok(ArchivedDocument {
            file_name: row.get(0)?,
            media_type: row.get(1)?,
            bytes: u64::try_from(bytes).unwrap_or(0),
        })
    })?;
    report.documents = rows.collect::<Result<_, _>>()?;
    Ok(report)
}
