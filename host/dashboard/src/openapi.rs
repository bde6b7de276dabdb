//! The API's own description: `GET /api/openapi.json`.
//!
//! Invariant: it names the routes there are (a test asks each); their answers are described in [`crate::dto`].

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::App;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/openapi.json", get(document))
}

async fn document() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-cache")], Json(description()))
}

/// Method, path, needs the token always, tag, summary, parameters (name, where, needed, what), media type.
type Route = (&'static str, &'static str, bool, &'static str, &'static str, &'static [Parameter], &'static str);
type Parameter = (&'static str, &'static str, bool, &'static str);

const JSON: &str = "application/json";
const SELECTION: &[Parameter] = &[
    ("match[]", "query", false, "A series selector; may repeat."),
    ("start", "query", false, "RFC 3339 or seconds since the epoch."),
    ("end", "query", false, "RFC 3339 or seconds since the epoch."),
    ("limit", "query", false, "At most this many; 0 for all."),
];
const NAME: &[Parameter] = &[("name", "path", true, "Its name.")];

const ROUTES: &[Route] = &[
    (
        "get",
        "/api/overview",
        false,
        "state",
        "How things are: counts, notices, charts and their newest points.",
        &[],
        JSON,
    ),
    (
        "get",
        "/api/metrics",
        false,
        "state",
        "Current values by source.",
        &[("source", "query", false, "Only this source."), ("metric", "query", false, "Only this metric.")],
        JSON,
    ),
    ("get", "/api/sources", false, "state", "Sources with their health.", &[], JSON),
    (
        "get",
        "/api/timeseries",
        false,
        "state",
        "Samples in buckets.",
        &[
            ("metric", "query", true, "Name or selector, e.g. system_cpu_usage_percent{core=\"0\"}."),
            ("source", "query", false, "Only of this source."),
            ("from", "query", false, "Seconds since the epoch, RFC 3339, or -15m. Default -1h."),
            ("to", "query", false, "As from. Default now."),
            ("interval", "query", false, "Width of a bucket: 10s, 1m, or seconds."),
            ("aggregator", "query", false, "sum, avg (default), min, max or count."),
        ],
        JSON,
    ),
    ("get", "/api/alerts", false, "alerts", "Pending, firing and lately resolved alerts.", &[], JSON),
    (
        "get",
        "/api/alerts/history",
        false,
        "alerts",
        "Alerts of the past, newest first.",
        &[("limit", "query", false, "At most this many.")],
        JSON,
    ),
    ("get", "/api/rules", false, "alerts", "Rules with their last evaluation.", &[], JSON),
    ("get", "/api/channels", false, "alerts", "Channels with their last deliveries.", &[], JSON),
    ("get", "/api/plugins", false, "plugins", "All plugins.", &[], JSON),
    ("get", "/api/plugins/{name}", false, "plugins", "One plugin with its grants, limits, config and log.", NAME, JSON),
    ("post", "/api/plugins/{name}/reload", true, "plugins", "Read its component again and swap it in.", NAME, JSON),
    ("get", "/api/reports", false, "reports", "Reports with their schedule.", &[], JSON),
    (
        "get",
        "/api/reports/archive",
        false,
        "reports",
        "Finished reports, newest first.",
        &[
            ("name", "query", false, "Only of this report."),
            ("limit", "query", false, "At most this many."),
            ("before", "query", false, "Only older ones than this id."),
        ],
        JSON,
    ),
    (
        "get",
        "/api/reports/archive/{id}/{file}",
        false,
        "reports",
        "One file of a finished report.",
        &[("id", "path", true, "From the archive."), ("file", "path", true, "From the archive.")],
        "*/*",
    ),
    ("post", "/api/reports/{name}/run", true, "reports", "Make it now.", NAME, JSON),
    (
        "get",
        "/api/events",
        false,
        "state",
        "Server-sent events: overview, sources, alerts, plugins, reports.",
        &[],
        "text/event-stream",
    ),
    ("get", "/api/admin/log-level", true, "operate", "What is logged.", &[], JSON),
    (
        "put",
        "/api/admin/log-level",
        true,
        "operate",
        "Log by {\"level\": \"info,belfry_store=debug\"} from now on.",
        &[],
        JSON,
    ),
    (
        "get",
        "/api/v1/query",
        false,
        "prometheus",
        "PromQL at an instant (also POST as a form).",
        &[
            ("query", "query", true, "PromQL."),
            ("time", "query", false, "Default now."),
            ("timeout", "query", false, "Give up after this long."),
            ("limit", "query", false, "At most this many series."),
        ],
        JSON,
    ),
    (
        "get",
        "/api/v1/query_range",
        false,
        "prometheus",
        "PromQL over a range (also POST as a form).",
        &[
            ("query", "query", true, "PromQL."),
            ("start", "query", true, "First step."),
            ("end", "query", true, "Last step."),
            ("step", "query", true, "Distance of the steps."),
        ],
        JSON,
    ),
    ("get", "/api/v1/series", false, "prometheus", "Label sets (match[] is needed).", SELECTION, JSON),
    ("get", "/api/v1/labels", false, "prometheus", "Names of labels.", SELECTION, JSON),
    ("get", "/api/v1/label/{name}/values", false, "prometheus", "Values of a label.", NAME, JSON),
    (
        "get",
        "/api/v1/metadata",
        false,
        "prometheus",
        "What is known of metrics.",
        &[("metric", "query", false, "Only this one.")],
        JSON,
    ),
    ("get", "/health", false, "operate", "The process answers.", &[], JSON),
    ("get", "/ready", false, "operate", "Ready, by dependency; 503 when not.", &[], JSON),
    ("get", "/metrics", false, "operate", "Belfry's own metrics (OpenMetrics).", &[], "application/openmetrics-text"),
    ("post", "/-/reload", true, "operate", "Read the config again.", &[], JSON),
];

fn description() -> Value {
    let mut paths = serde_json::Map::new();
    for (method, path, token, tag, summary, parameters, media_type) in ROUTES {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, place, required, what)| {
                json!({"name": name, "in": place, "required": required, "description": what, "schema": {"type": "string"}})
            })
            .collect();
        let mut operation = json!({
            "summary": summary, "tags": [tag], "parameters": parameters,
            "responses": {
                "200": {"description": "Done.", "content": {*media_type: {"schema": {}}}},
                "default": {"description": "Not done.", "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}},
            },
        });
        if *token {
            operation["security"] = json!([{"token": []}]);
        }
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Belfry", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {"type": "object", "required": ["error", "message"], "properties": {
                "error": {"type": "string"}, "message": {"type": "string"}, "help": {"type": "string"},
            }}},
        },
    })
}
