//! The plain JSON API: what is now, and bucketed series.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::App;
use crate::backend::BackendError;
use crate::dto::{
    AlertEpisodeView, Alerts, ArchiveQuery, ArchivedReport, ChannelView, CurrentMetrics, MetricsQuery, Overview,
    PluginView, ReportView, RuleView, Source, TimeSeries, TimeSeriesQuery,
};
use crate::extract::Query;
use crate::params;
use crate::reply::Failure;

/// Alerts of the past in one answer when the caller does not say.
const HISTORY_DEFAULT: u32 = 200;
/// And at most.
const HISTORY_MAX: u32 = 1_000;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/metrics", get(metrics))
        .route("/api/sources", get(sources))
        .route("/api/timeseries", get(time_series))
        .route("/api/alerts", get(alerts))
        .route("/api/alerts/history", get(alert_history))
        .route("/api/rules", get(rules))
        .route("/api/channels", get(channels))
        .route("/api/plugins", get(plugins))
        .route("/api/plugins/{name}", get(plugin))
        .route("/api/reports", get(reports))
        .route("/api/reports/archive", get(archive))
        .route("/api/reports/archive/{id}/{file}", get(document))
}

async fn overview(State(app): State<App>) -> Json<Overview> {
    Json(app.backend.overview().await)
}

async fn metrics(State(app): State<App>, Query(query): Query<MetricsQuery>) -> Result<Json<CurrentMetrics>, Failure> {
    Ok(Json(app.backend.metrics(query).await?))
}

async fn sources(State(app): State<App>) -> Json<Vec<Source>> {
    Json(app.backend.sources().await)
}

async fn time_series(
    State(app): State<App>,
    Query(query): Query<TimeSeriesQuery>,
) -> Result<Json<TimeSeries>, Failure> {
    let now = app.backend.now();
    Ok(Json(app.backend.time_series(params::time_series(&query, now)?).await?))
}

async fn alerts(State(app): State<App>) -> Json<Alerts> {
    Json(app.backend.alerts().await)
}

#[derive(Deserialize)]
struct HistoryQuery {
    limit: Option<u32>,
}

async fn alert_history(
    State(app): State<App>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<AlertEpisodeView>>, Failure> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT).min(HISTORY_MAX);
    Ok(Json(app.backend.alert_history(limit).await?))
}

async fn rules(State(app): State<App>) -> Json<Vec<RuleView>> {
    Json(app.backend.rules().await)
}

async fn channels(State(app): State<App>) -> Json<Vec<ChannelView>> {
    Json(app.backend.channels().await)
}

async fn plugins(State(app): State<App>) -> Json<Vec<PluginView>> {
    Json(app.backend.plugins().await)
}

async fn plugin(State(app): State<App>, Path(name): Path<String>) -> Result<Json<PluginView>, Failure> {
    Ok(Json(app.backend.plugin(&name).await?))
}

async fn reports(State(app): State<App>) -> Json<Vec<ReportView>> {
    Json(app.backend.reports().await)
}

async fn archive(
    State(app): State<App>,
    Query(query): Query<ArchiveQuery>,
) -> Result<Json<Vec<ArchivedReport>>, Failure> {
    Ok(Json(app.backend.report_archive(query).await?))
}

/// A file of the archive. It is shown in a sandbox of its own: no scripts, no network, framed only by Belfry itself.
async fn document(State(app): State<App>, Path((id, file)): Path<(String, String)>) -> Result<Response, Failure> {
    let id: i64 = id.parse().map_err(|_| BackendError::NotFound { what: "archived report", name: id.clone() })?;
    let document = app.backend.report_document(id, &file).await?;
    let mut response = document.data.into_response();
    let headers = response.headers_mut();
    let with_charset = format!("{}; charset=utf-8", document.media_type);
    if let Ok(value) = HeaderValue::from_str(&with_charset) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if document.media_type != "text/html" {
        let safe: String = file.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{safe}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'",
        ),
    );
    Ok(response)
}
