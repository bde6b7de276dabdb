//! Routes of service level objectives.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};

use crate::App;
use crate::dto::{SloView, Slos};
use crate::reply::Failure;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/slos", get(all)).route("/api/slos/{name}", get(one))
}

async fn all(State(app): State<App>) -> Result<Json<Slos>, Failure> {
    Ok(Json(app.backend.slos().await?))
}

async fn one(State(app): State<App>, Path(name): Path<String>) -> Result<Json<SloView>, Failure> {
    Ok(Json(app.backend.slo(&name).await?))
}
