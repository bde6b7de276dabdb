//! The route of imports.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use super::http::{BODY_WITHIN, read, refuse, too_large};
use super::import::{IMPORT_BODY_BYTES_MAX, Import, Report, Wishes};
use super::outcome::Failure;
use crate::exposition::TextFormat;

/// Receivers. The server they are merged into guards them.
pub fn import_routes(import: Arc<Import>) -> Router {
    Router::new().route("/api/v1/import/prometheus", post(take)).with_state(import)
}

/// 200 when all was written; 400 when some was not, with the same report: sending it again cannot help.
pub(super) async fn take(
    State(import): State<Arc<Import>>,
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    match receive(&import, &query, request).await {
        Ok(report) if report.is_whole() => Json(report).into_response(),
        Ok(report) => (StatusCode::BAD_REQUEST, Json(report)).into_response(),
        Err(failure) => refuse(&failure),
    }
}

async fn receive(import: &Arc<Import>, query: &[(String, String)], request: Request) -> Result<Report, Failure> {
    let wishes = wishes(request.headers(), query)?;
    let _permit = import.room.try_acquire().map_err(|_| Failure::Busy)?;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > IMPORT_BODY_BYTES_MAX) {
        return Err(too_large(IMPORT_BODY_BYTES_MAX));
    }
    let mut body = Vec::new();
    let read = read(request.into_body(), &mut body, IMPORT_BODY_BYTES_MAX);
    tokio::time::timeout(BODY_WITHIN, read).await.unwrap_or(Err(Failure::TooSlow))?;
    let import = import.clone();
    let work = tokio::task::spawn_blocking(move || import.take(&body, &wishes));
    work.await.unwrap_or_else(|e| Err(Failure::Unavailable(e.to_string())))
}

fn wishes(headers: &HeaderMap, query: &[(String, String)]) -> Result<Wishes, Failure> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().trim();
    let mut wishes = Wishes::default();
    let is_openmetrics = text(header::CONTENT_TYPE).starts_with("application/openmetrics-text");
    wishes.format = is_openmetrics.then_some(TextFormat::OpenMetrics);
    // Names of codings are case-insensitive (RFC 9110, 8.4.1).
    wishes.gzip = match text(header::CONTENT_ENCODING) {
        "" => false,
        plain if plain.eq_ignore_ascii_case("identity") => false,
        packed if packed.eq_ignore_ascii_case("gzip") => true,
        other => {
            return Err(Failure::Unsupported(format!("the content encoding {other:?} is not supported; send gzip")));
        }
    };
    for (name, value) in query {
        let bad = || Failure::BadQuery(format!("{name}={value}"));
        match name.as_str() {
            "timestamp" => wishes.timestamp = Some(value.parse().map_err(|_| bad())?),
            "extra_label" => {
                let (label, text) = value.split_once('=').ok_or_else(bad)?;
                wishes.labels.push((label.to_owned(), text.to_owned()));
            }
            _ => return Err(bad()),
        }
    }
    Ok(wishes)
}
