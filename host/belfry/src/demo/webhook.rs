//! A receiver of webhooks: prints one line for each, so that one sees them arrive.

use axum::Json;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves on `/` until `stop`.
pub async fn serve(listener: TcpListener, stop: CancellationToken) {
    let app = axum::Router::new().fallback_service(post(receive));
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the demo's webhook receiver ended");
    }
}

async fn receive(Json(body): Json<Value>) {
    let status = body["status"].as_str().unwrap_or("?");
    let alerts = body["alerts"].as_array().map_or(0, Vec::len);
    let name = body["groupLabels"]["alertname"].as_str().or(body["name"].as_str()).unwrap_or("?");
    tracing::info!(target: "belfry::demo", status, alerts, name, "a webhook arrived");
}
