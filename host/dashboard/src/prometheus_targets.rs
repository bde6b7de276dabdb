//! Prometheus' HTTP API: what is scraped.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#targets>

use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use belfry_model::{Labels, METRIC_NAME, Matcher, MetricKind, MetricMetadata, TimeRange, TimestampMs};
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

/// How far back a target's series are looked for: Prometheus forgets what ten scrapes did not bring, most often a minute
/// apart.
const HAD_LATELY: Duration = Duration::from_secs(600);

/// Metadata is kept by metric, not by target: a target has that of the metrics of which there are series with its labels.
async fn targets_metadata(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let p = Parameters::of(request).await?;
    let limit = p.count("limit")?.unwrap_or(usize::MAX);
    let matchers = match p.get("match_target") {
        None => Vec::new(),
        Some(text) => belfry_promql::parse_selector(text)
            .map_err(|e| ApiError::bad_data(format!("invalid parameter \"match_target\": {e}")))?,
    };
    let (reader, now) = (app.backend.reader(), app.backend.now());
    let metric = p.get("metric");
    let known = reader.metadata(metric).await?;
    let lately = TimeRange::inclusive(now.minus(HAD_LATELY), now)
        .ok_or_else(|| ApiError::internal("the clock stands before all time"))?;
    let mut all = Vec::new();
    let pools = app.backend.scrape_pools();
    for t in pools.iter().flat_map(|pool| &pool.active).filter(|t| matchers.iter().all(|m| m.matches_labels(&t.labels)))
    {
        if all.len() >= limit || known.is_empty() {
            break;
        }
        let of_target: Vec<Matcher> = t.labels.iter().map(|l| Matcher::equal(&*l.name, &*l.value)).collect();
        let names: HashSet<String> =
            reader.label_values(METRIC_NAME, &of_target, lately, 0).await?.into_iter().collect();
        let had = known.iter().filter(|m| has(&names, m)).take(limit - all.len());
        all.extend(had.map(|m| {
            let mut one = json!({"target": t.labels, "type": m.kind.as_str(), "help": m.help, "unit": m.unit});
            if metric.is_none() {
                one["metric"] = m.name.as_str().into();
            }
            one
        }));
    }
    Ok(success(all.into()))
}

/// Are there series of this metric among these names? Those of some kinds have endings.
fn has(names: &HashSet<String>, m: &MetricMetadata) -> bool {
    let endings: &[&str] = match m.kind {
        MetricKind::Histogram => &["", "_bucket", "_count"],
        MetricKind::Summary => &["", "_count"],
        MetricKind::Counter => &["", "_total"],
        MetricKind::Info => &["", "_info"],
        _ => &[""],
    };
    endings.iter().any(|ending| names.contains(&format!("{}{ending}", m.name)))
}

async fn scrape_pools(State(app): State<App>) -> Response {
    let names: Vec<String> = app.backend.scrape_pools().into_iter().map(|pool| pool.job).collect();
    success(json!({"scrapePools": names}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    fn fake() -> Fake {
        let mut fake = Fake::at(TimestampMs(1_700_000_000_000));
        let target = |job: &str, instance: &str| ScrapeTarget {
            discovered_labels: Labels::empty(),
            labels: Labels::from_pairs([("instance", instance), ("job", job)]),
            url: String::new(),
            up: Some(true),
            last_error: String::new(),
            last_scrape: None,
            last_duration: Duration::ZERO,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        fake.pools = vec![
            ScrapePool { job: "a".into(), active: vec![target("a", "x:1"), target("a", "x:2")], dropped: Vec::new() },
            ScrapePool { job: "b".into(), active: vec![target("b", "x:3")], dropped: Vec::new() },
        ];
        for (name, job, instance, ago) in [
            ("up", "a", "x:1", 0),
            ("up", "a", "x:2", 0),
            ("up", "b", "x:3", 0),
            ("latency_bucket", "b", "x:3", 30_000),
            ("temp", "a", "x:1", 3_600_000),
        ] {
            let labels = [("__name__", name), ("job", job), ("instance", instance), ("zone", "z")];
            fake.float(&labels, 1_700_000_000_000 - ago, 1.0);
        }
        let metadata =
            |name: &str, kind| MetricMetadata { name: name.into(), kind, unit: "u".into(), help: "H.".into() };
        fake.metadata = vec![
            metadata("latency", MetricKind::Histogram),
            metadata("temp", MetricKind::Gauge),
            metadata("up", MetricKind::Gauge),
        ];
        fake
    }

    async fn listed(query: &str) -> Vec<String> {
        let reply = fake().get(&format!("/api/v1/targets/metadata?{query}")).await;
        let entry = |e: &Value| {
            format!("{} {}", e["target"]["instance"], e.get("metric").unwrap_or(&"-".into())).replace('"', "")
        };
        reply.json()["data"].as_array().unwrap_or_else(|| panic!("{reply:?}")).iter().map(entry).collect()
    }

    #[tokio::test]
    async fn targets_list_the_metadata_of_the_metrics_they_have() {
        assert_eq!(listed("").await, ["x:1 up", "x:2 up", "x:3 latency", "x:3 up"]);
        assert_eq!(listed("match_target={job=%22b%22}").await, ["x:3 latency", "x:3 up"]);
        assert_eq!(listed("limit=2").await, ["x:1 up", "x:2 up"]);
        assert_eq!(listed("limit=-1").await.len(), 4);
        assert!(listed("limit=0").await.is_empty());
        assert_eq!(listed("metric=latency").await, ["x:3 -"]);
        assert!(listed("metric=temp").await.is_empty(), "its last series is an hour old");
    }

    #[tokio::test]
    async fn an_entry_has_the_members_that_prometheus_gives() {
        let entry = |metric: bool| {
            let mut e =
                json!({"target": {"instance": "x:3", "job": "b"}, "type": "histogram", "help": "H.", "unit": "u"});
            if metric {
                e["metric"] = "latency".into();
            }
            json!({"status": "success", "data": [e]})
        };
        let all = "/api/v1/targets/metadata?match_target={job=%22b%22}&limit=1";
        assert_eq!(fake().get(all).await.json(), entry(true));
        assert_eq!(fake().get("/api/v1/targets/metadata?metric=latency").await.json(), entry(false));
    }
}
