//! For those who operate Belfry: alive, ready, metrics.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
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

const OPEN_METRICS: &str = "application/openmetrics-text";

/// OpenMetrics for those who say that they read it, Prometheus' older text format for all others.
async fn metrics(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let text = app.backend.own_metrics();
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accepted.is_some_and(|a| a.contains(OPEN_METRICS)) {
        let content_type = format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8");
        return ([(header::CONTENT_TYPE, content_type)], text);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8".to_owned())], older(&text))
}

/// The older format names a counter by its samples' name, and has neither units nor an end.
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
fn older(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ").and_then(|l| l.strip_suffix(" counter"))).collect();
    let mut out = String::with_capacity(text.len() + 8 * counters.len());
    for line in text.lines() {
        let about = ["# HELP ", "# TYPE "].into_iter().find_map(|p| Some((p, line.strip_prefix(p)?.split_once(' ')?)));
        match about {
            Some((kind, (name, rest))) if counters.contains(name) => {
                out.extend([kind, name, "_total ", rest, "\n"]);
            }
            None if line == "# EOF" || line.starts_with("# UNIT ") => {}
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_as_their_samples_are_named() {
        let text = "# HELP a Things.\n# TYPE a counter\na_total{x=\"y\"} 3\n# HELP b A level.\n# TYPE b gauge\n# UNIT b seconds\n\
                    b 1\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"y\"} 3\n# HELP b A level.\n# TYPE b gauge\n\
                        b 1\n";
        assert_eq!(older(text), expected);
    }
}
