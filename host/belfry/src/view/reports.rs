//! Reports and their archive.

use belfry_dashboard::backend::{BackendError, DocumentBytes};
use belfry_dashboard::dto::{ArchiveQuery, ArchivedDocument, ArchivedReport, ReportView};

use crate::app::App;

/// Lines of the archive in one answer when the caller does not say, and at most.
const ARCHIVE_DEFAULT: u32 = 100;
const ARCHIVE_MAX: u32 = 1_000;

/// All reports in the order of the config.
pub fn reports(app: &App) -> Vec<ReportView> {
    let loaded = app.loaded.load();
    let organ = app.organs.reports.lock();
    let due: Vec<_> = organ.planned().collect();
    let making = app.making.lock();
    loaded
        .config
        .reports
        .iter()
        .map(|r| {
            let m = making.get(&r.name).cloned().unwrap_or_default();
            let d = due.iter().find(|(spec, _)| spec.name == r.name);
            ReportView {
                name: r.name.clone(),
                title: r.title.clone(),
                schedule: r.schedule.text().to_owned(),
                schedule_text: None,
                time_zone: r.time_zone.clone(),
                period_seconds: r.period.as_secs_f64(),
                formats: r.formats.iter().map(|f| format!("{f:?}").to_lowercase()).collect(),
                deliver: r.deliver.clone(),
                sections: r.sections.iter().map(|s| s.title.clone()).collect(),
                next_due_ms: d.and_then(|(_, next)| *next),
                last_run_ms: m.last_run,
                last_archive_id: m.last_archive_id,
                last_error: m.last_error,
                running: m.running,
            }
        })
        .collect()
}

/// The archive, newest first.
pub async fn archive(app: &App, query: ArchiveQuery) -> Result<Vec<ArchivedReport>, BackendError> {
    let limit = query.limit.unwrap_or(ARCHIVE_DEFAULT).min(ARCHIVE_MAX);
    let rows = app.state.reports(query.name.as_deref(), query.before, limit as usize).await.map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| ArchivedReport {
            id: r.id,
            name: r.name,
            title: r.title,
            start_ms: r.start,
            end_ms: r.end,
            made_ms: r.made_at,
            made_up_for_ms: r.made_up_for,
            documents: r
                .documents
                .into_iter()
                .map(|d| ArchivedDocument { file_name: d.file_name, media_type: d.media_type, size_bytes: d.bytes })
                .collect(),
            failed_sections: r.failed_sections,
        })
        .collect())
}

/// One file of the archive.
pub async fn document(app: &App, id: i64, file_name: &str) -> Result<DocumentBytes, BackendError> {
    let found = app.state.report_document(id, file_name).await.map_err(failed)?;
    let document =
        found.ok_or_else(|| BackendError::NotFound { what: "archived report", name: format!("{id}/{file_name}") })?;
    Ok(DocumentBytes { media_type: document.media_type, data: document.data.into() })
}

/// The state could not be read.
pub fn failed(error: belfry_state::StateError) -> BackendError {
    BackendError::Failed { message: error.to_string(), help: Some("look at /ready and the log".to_owned()) }
}
