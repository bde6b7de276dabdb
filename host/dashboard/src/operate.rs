//! For those who operate Belfry: alive, ready, metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use crate::App;
use crate::dto::Readiness;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/health", get(alive))
        .route("/-/healthy", get(alive))
        .route("/ready", get(ready))
        .route("/health/ready", get(ready))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
}

/// The process answers. Depends on nothing, least of all on a plugin.
async fn alive() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"alive"}"#)
}

async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let readiness = app.backend.readiness().await;
    (if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.backend.own_metrics())
}
