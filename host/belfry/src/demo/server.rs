//! A real MCP server: tools about the weather, and an outage now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{schemars, tool, tool_router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Up for this long …
const UP: Duration = Duration::from_secs(35);
/// … then out for this long: an alert with a hold of ten seconds fires and is resolved within two minutes of the start.
const OUT: Duration = Duration::from_secs(25);
/// How long the slow tool thinks.
const SLOW: Duration = Duration::from_millis(120);

#[derive(Clone)]
struct Weather;

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Place {
    /// Name of a town.
    town: String,
}

#[tool_router(server_handler)]
impl Weather {
    #[tool(name = "forecast", description = "Tomorrow's weather in a town")]
    fn forecast(&self, Parameters(place): Parameters<Place>) -> CallToolResult {
        if place.town.trim().is_empty() {
            return CallToolResult::error(vec![ContentBlock::text("which town?")]);
        }
        // Made of the name: the same town has the same weather.
        let degrees = place.town.bytes().map(u32::from).sum::<u32>() % 30;
        CallToolResult::success(vec![ContentBlock::text(format!("{}: {degrees} °C, some clouds", place.town))])
    }

    #[tool(name = "history", description = "Last year's weather in a town; takes its time")]
    async fn history(&self, Parameters(place): Parameters<Place>) -> CallToolResult {
        tokio::time::sleep(SLOW).await;
        CallToolResult::success(vec![ContentBlock::text(format!("{}: much like this year", place.town))])
    }

    #[tool(name = "stations", description = "How many weather stations there are")]
    fn stations(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::text("17")])
    }
}

/// Serves on `/mcp` until `stop`.
pub async fn serve(listener: TcpListener, stop: CancellationToken) {
    let out = Arc::new(AtomicBool::new(false));
    let mut config = StreamableHttpServerConfig::default();
    config.cancellation_token = stop.child_token();
    let service = StreamableHttpService::new(|| Ok(Weather), Arc::new(LocalSessionManager::default()), config);
    let app = axum::Router::new().nest_service("/mcp", service).layer(from_fn_with_state(out.clone(), unless_out));
    tokio::spawn(outages(out, stop.clone()));
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the demo's MCP server ended");
    }
}

async fn outages(out: Arc<AtomicBool>, stop: CancellationToken) {
    let mut is_out = false;
    loop {
        let pause = if is_out { OUT } else { UP };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        is_out = !is_out;
        out.store(is_out, Ordering::Relaxed);
        tracing::info!(target: "belfry::demo", out = is_out, "the weather server {}", if is_out { "goes down" } else { "is back" });
    }
}

async fn unless_out(State(out): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    if out.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "under maintenance").into_response();
    }
    next.run(request).await
}
