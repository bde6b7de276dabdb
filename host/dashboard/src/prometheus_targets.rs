//! Prometheus' HTTP API: what is scraped.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#targets>

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use belfry_model::{Labels, TimestampMs};
use serde_json::{Map, Value, json};

use crate::App;
use crate::prometheus::{ApiError, Parameters, success};

/// One job's targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapePool {
    /// The job.
    pub job: String,
    /// Those that are scraped.
    pub active: Vec<ScrapeTarget>,
    /// Labels of those that relabelling dropped.
    pub dropped: Vec<Labels>,
}

/// One target.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeTarget {
    /// Before relabelling.
    pub discovered_labels: Labels,
    /// On its series.
    pub labels: Labels,
    /// What is asked.
    pub url: String,
    /// Whether the last scrape worked; `None` before the first.
    pub up: Option<bool>,
    /// Why it did not.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape: Option<TimestampMs>,
    /// How long it took.
    pub last_duration: Duration,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/targets", get(targets))
        .route("/targets/metadata", get(targets_metadata))
        .route("/scrape_pools", get(scrape_pools))
}

async fn targets(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let state = p.get("state").unwrap_or("any").to_ascii_lowercase();
    let (active, dropped) = (state != "dropped", state != "active");
    let wanted = p.get("scrapePool");
    let pools: Vec<ScrapePool> =
        app.backend.scrape_pools().into_iter().filter(|pool| wanted.is_none_or(|w| w == pool.job)).collect();
    let mut counts = Map::new();
    let (mut all_active, mut all_dropped) = (Vec::new(), Vec::new());
    for pool in &pools {
        counts.insert(pool.job.clone(), pool.dropped.len().into());
        if active {
            all_active.extend(pool.active.iter().map(|t| target(&pool.job, t)));
        }
        if dropped {
            let one = |labels: &Labels| json!({"discoveredLabels": labels, "scrapePool": pool.job});
            all_dropped.extend(pool.dropped.iter().map(one));
        }
    }
    Ok(success(json!({
        "activeTargets": all_active,
        "droppedTargets": all_dropped,
        "droppedTargetCounts": counts,
    })))
}

fn target(job: &str, t: &ScrapeTarget) -> Value {
    let health = match t.up {
        None => "unknown",
        Some(true) => "up",
        Some(false) => "down",
    };
    json!({
        "discoveredLabels": t.discovered_labels,
        "labels": t.labels,
        "scrapePool": job,
        "scrapeUrl": t.url,
        "globalUrl": t.url,
        "lastError": t.last_error,
        "lastScrape": t.last_scrape.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
        "lastScrapeDuration": t.last_duration.as_secs_f64(),
        "health": health,
        "scrapeInterval": belfry_model::duration::format_duration(t.interval),
        "scrapeTimeout": belfry_model::duration::format_duration(t.timeout),
    })
}

/// Metadata is kept by metric, not by target: of a `metric` every target that is up is said to have it, and without one
/// nothing is listed.
async fn targets_metadata(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let limit = Some(p.limit()?).filter(|n| *n > 0).unwrap_or(usize::MAX);
    let matchers = match p.get("match_target") {
        None => Vec::new(),
        Some(text) => belfry_promql::parse_selector(text)
            .map_err(|e| ApiError::bad_data(format!("invalid parameter \"match_target\": {e}")))?,
    };
    let mut all = Vec::new();
    if let Some(metric) = p.get("metric") {
        let known = app.backend.reader().metadata(Some(metric)).await?;
        let pools = app.backend.scrape_pools();
        for t in pools.iter().flat_map(|pool| &pool.active).filter(|t| t.up == Some(true)) {
            if matchers.iter().all(|m| m.matches_labels(&t.labels)) {
                let of = |m: &belfry_model::MetricMetadata| json!({"target": t.labels, "type": m.kind.as_str(), "help": m.help, "unit": m.unit});
                all.extend(known.iter().map(of).take(limit - all.len().min(limit)));
            }
        }
    }
    Ok(success(all.into()))
}

async fn scrape_pools(State(app): State<App>) -> Response {
    let names: Vec<String> = app.backend.scrape_pools().into_iter().map(|pool| pool.job).collect();
    success(json!({"scrapePools": names}))
}
