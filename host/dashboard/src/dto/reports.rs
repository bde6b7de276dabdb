//! Reports and their archive.

use belfry_model::TimestampMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of `GET /api/reports`, and of the payload of the event `reports` (the whole list).
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ReportView {
    /// Unique.
    pub name: String,
    /// For people.
    pub title: String,
    /// Five-field crontab.
    pub schedule: String,
    /// The schedule in words, where there are any (`every day at 09:00`).
    pub schedule_text: Option<String>,
    /// IANA name.
    pub time_zone: String,
    /// How much it covers.
    pub period_seconds: f64,
    /// `html`, `json`, `csv`.
    pub formats: Vec<String>,
    /// Channels it is sent to.
    pub deliver: Vec<String>,
    /// Headings of its sections.
    pub sections: Vec<String>,
    /// When it is due next.
    #[schemars(with = "Option<i64>")]
    pub next_due_ms: Option<TimestampMs>,
    /// When it was last made.
    #[schemars(with = "Option<i64>")]
    pub last_run_ms: Option<TimestampMs>,
    /// Identity of that one in the archive.
    pub last_archive_id: Option<i64>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// Is it being made now?
    pub running: bool,
}

/// One line of `GET /api/reports/archive`, newest first. Query: [`ArchiveQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ArchivedReport {
    /// Identity in the archive.
    pub id: i64,
    /// Of the report.
    pub name: String,
    /// For people.
    pub title: String,
    /// The period's first instant.
    #[schemars(with = "i64")]
    pub start_ms: TimestampMs,
    /// The first instant after it.
    #[schemars(with = "i64")]
    pub end_ms: TimestampMs,
    /// When it was made.
    #[schemars(with = "i64")]
    pub made_ms: TimestampMs,
    /// Set when it was missed and made up later: when it had been due.
    #[schemars(with = "Option<i64>")]
    pub made_up_for_ms: Option<TimestampMs>,
    /// Its files; read at `/api/reports/archive/{id}/{file_name}`.
    pub documents: Vec<ArchivedDocument>,
    /// Sections that could not be written.
    pub failed_sections: u64,
}

/// Narrows `GET /api/reports/archive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ArchiveQuery {
    /// Only of this report.
    pub name: Option<String>,
    /// At most this many; default 100.
    pub limit: Option<u32>,
    /// Only older ones than this id: the next page.
    pub before: Option<i64>,
}

/// One file in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ArchivedDocument {
    /// With extension.
    pub file_name: String,
    /// `text/html`, `application/json` or `text/csv`.
    pub media_type: String,
    /// Its size.
    pub size_bytes: u64,
}
