//! What changes something: reload, run, log level. The guard has seen the token already; each is journalled.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::App;
use crate::dto::{Accepted, LogLevel};
use crate::extract;
use crate::reply::Failure;

/// Who acts: there is one token, so far.
const USER: &str = "token";

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/plugins/{name}/reload", post(reload_plugin))
        .route("/api/reports/{name}/run", post(run_report))
        .route("/api/admin/log-level", get(log_level).put(set_log_level))
        .route("/api/admin/backup", post(backup))
        .route("/-/reload", post(reload_config).put(reload_config))
}

async fn reload_plugin(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Accepted>, Failure> {
    let done = app.backend.reload_plugin(&name).await?;
    app.backend.journal_action(USER, "reload_plugin", &name).await;
    Ok(Json(done))
}

async fn run_report(State(app): State<App>, Path(name): Path<String>) -> Result<(StatusCode, Json<Accepted>), Failure> {
    let begun = app.backend.run_report(&name).await?;
    app.backend.journal_action(USER, "run_report", &name).await;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

async fn log_level(State(app): State<App>) -> Json<LogLevel> {
    Json(LogLevel { level: app.backend.log_level() })
}

async fn set_log_level(
    State(app): State<App>,
    extract::Json(wanted): extract::Json<LogLevel>,
) -> Result<Json<LogLevel>, Failure> {
    app.backend.set_log_level(&wanted.level)?;
    app.backend.journal_action(USER, "set_log_level", &wanted.level).await;
    Ok(Json(LogLevel { level: app.backend.log_level() }))
}

/// Of `backup`.
#[derive(serde::Deserialize)]
struct BackupInto {
    folder: std::path::PathBuf,
}

async fn backup(
    State(app): State<App>,
    extract::Query(into): extract::Query<BackupInto>,
) -> Result<Json<Accepted>, Failure> {
    let subject = into.folder.display().to_string();
    let done = app.backend.backup(into.folder).await?;
    app.backend.journal_action(USER, "backup", &subject).await;
    Ok(Json(done))
}

async fn reload_config(State(app): State<App>) -> Result<Json<Accepted>, Failure> {
    let done = app.backend.reload_config().await?;
    app.backend.journal_action(USER, "reload_config", "").await;
    Ok(Json(done))
}
