//! What is measured arrives, and is the same wherever it is read.

use std::time::{Duration, Instant};

use belfry_e2e::{Answer, Belfry, Home, SOON, Series, wait_until};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::SYSTEM;

const USED: &str = r#"system_memory_usage_bytes{type="used"}"#;

const REPORT: &str = r#"
[[report]]
name = "now"
schedule = "0 0 1 1 *"
time_zone = "UTC"
period = "15m"
formats = ["json"]

[[report.section]]
plugin = "builtin:section-alerts"
title = "Alerts"
"#;

const SLO: &str = r#"
[[slo]]
name = "memory"
objective = 99.0
query = "system_memory_usage_bytes{type='used'}"
condition = "greater_than"
threshold = 0
"#;

#[tokio::test]
async fn samples_arrive_and_every_way_to_read_them_agrees() {
    let home = Home::new(SYSTEM);
    let belfry = home.start().await;
    let up = Instant::now();
    wait_until("a sample of this machine", SOON, async || belfry.one(USED).await).await;
    assert!(up.elapsed() < Duration::from_secs(5), "the first sample came after {:?}", up.elapsed());
    let kept = wait_until("samples over two seconds", SOON, async || {
        belfry.one(&format!("{USED}[1m]")).await.filter(|s| s.samples.len() > 6)
    })
    .await;
    source_is_up(&belfry).await;
    current_value_is_what_was_kept(&belfry).await;
    queries_give_what_was_kept(&belfry, &kept).await;
    buckets_are_made_of_what_was_kept(&belfry, &kept).await;
    own_metrics_are_in_the_store(&belfry).await;
}

async fn source_is_up(belfry: &Belfry) {
    let source = belfry.named("/api/sources", "system").await.expect("the source");
    assert_eq!((&source["health"], &source["kind"]), (&"up".into(), &"collector".into()), "{source}");
    assert!(source["last_samples"].as_u64() > Some(5), "{source}");
    assert_eq!(source["errors_total"], 0, "{source}");
    assert_eq!(source["labels"]["plugin"], "system");
}

async fn current_value_is_what_was_kept(belfry: &Belfry) {
    let current = belfry.json("/api/metrics?source=system&metric=system_memory_usage_bytes").await;
    let metric = &current["sources"][0]["metrics"][0];
    assert_eq!((&metric["kind"], &metric["unit"]), (&"gauge".into(), &"bytes".into()), "{metric}");
    let series = metric["series"].as_array().expect("series");
    let used = series.iter().find(|s| s["labels"]["type"] == "used").expect("used memory");
    let at = used["at_ms"].as_i64().expect("a time");
    let kept = belfry.one(&format!("{USED}[1m]")).await.expect("kept");
    let (_, value) = kept.samples.iter().find(|(t, _)| *t == at).expect("the current sample is kept");
    assert_eq!(used["value"].as_f64(), Some(*value));
}

async fn queries_give_what_was_kept(belfry: &Belfry, kept: &Series) {
    let query = "system_memory_usage_bytes%7Btype%3D%22used%22%7D";
    for (at, value) in &kept.samples {
        let seconds = *at as f64 / 1_000.0;
        let instant = belfry.json(&format!("/api/v1/query?query={query}&time={seconds}")).await;
        assert_eq!(Series::of(&instant["data"])[0].samples, [(*at, *value)]);
        let range = format!("/api/v1/query_range?query={query}&start={seconds}&end={seconds}&step=1");
        let range = belfry.json(&range).await;
        assert_eq!(range["data"]["resultType"], "matrix");
        assert_eq!(Series::of(&range["data"])[0].samples, [(*at, *value)]);
    }
}

async fn buckets_are_made_of_what_was_kept(belfry: &Belfry, kept: &Series) {
    let last = kept.samples.last().expect("samples").0;
    // A whole second in the middle, with whatever fell into it.
    let start = (last / 1_000 - 1) * 1_000;
    let inside: Vec<f64> =
        kept.samples.iter().filter(|(t, _)| (start..start + 1_000).contains(t)).map(|(_, v)| *v).collect();
    assert!(!inside.is_empty(), "{kept:?}");
    let sum = inside.iter().sum::<f64>();
    for (aggregator, value) in [
        ("count", inside.len() as f64),
        ("sum", sum),
        ("avg", sum / inside.len() as f64),
        ("min", inside.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", inside.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ] {
        let path = format!(
            "/api/timeseries?metric=system_memory_usage_bytes&source=system&from={}&to={}&interval=1s&aggregator={aggregator}",
            start / 1_000,
            start / 1_000 + 1
        );
        let answer = belfry.json(&path).await;
        let series = answer["series"].as_array().expect("series");
        let used = series.iter().find(|s| s["labels"]["type"] == "used").expect("used memory");
        assert_eq!(used["points"], serde_json::json!([[start, value]]), "{aggregator} of {inside:?}");
    }
}

async fn own_metrics_are_in_the_store(belfry: &Belfry) {
    const NAME: &str = r#"belfry_ingest_samples_total{producer="system"}"#;
    let text = async || {
        let text = belfry.get("/metrics").await.expect(200).body;
        assert!(text.contains("# TYPE belfry_ingest_samples_total counter\n"), "{text}");
        let line = text.lines().find_map(|l| l.strip_prefix(NAME)).expect("the metric");
        line.trim().parse::<f64>().expect("a number")
    };
    let before = text().await;
    let kept = wait_until("the store has it too", SOON, async || {
        belfry.one(NAME).await.map(|s| s.last()).filter(|kept| *kept >= before)
    })
    .await;
    let after = text().await;
    assert!((before..=after).contains(&kept), "{before} <= {kept} <= {after}");
}

#[tokio::test]
async fn every_route_of_the_openapi_document_answers() {
    let home = Home::new(&format!("{SYSTEM}{REPORT}{SLO}"));
    let belfry = home.start().await;
    wait_until("a sample", SOON, async || belfry.one(USED).await).await;
    belfry.manage("POST", "/api/reports/now/run", "").await.expect(202);
    let archived = wait_until("the report", SOON, async || {
        belfry.json("/api/reports/archive").await.as_array().and_then(|all| all.first().cloned())
    })
    .await;
    let document = belfry.json("/api/openapi.json").await;
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{}", document["openapi"]);
    let paths = document["paths"].as_object().expect("paths");
    for path in ["/api/metrics", "/api/sources", "/api/timeseries", "/api/alerts", "/api/v1/query", "/metrics"] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for (path, methods) in paths.iter().filter(|(_, methods)| methods["get"].is_object()) {
        let asked = fill(path, &methods["get"], &archived);
        if path == "/api/events" {
            first_event(&belfry).await;
            continue;
        }
        let answer: Answer = belfry.manage("GET", &asked, "").await;
        assert_eq!(answer.status, 200, "{asked}: {}", answer.body);
        let told = answer.headers["content-type"].to_str().expect("a media type");
        let promised = methods["get"]["responses"]["200"]["content"].as_object().expect("media types");
        assert!(promised.keys().any(|m| m == "*/*" || told.starts_with(m)), "{asked}: {told}");
    }
}

/// A path with its parameters, as far as they are needed.
fn fill(path: &str, operation: &Value, archived: &Value) -> String {
    let now = archived["made_ms"].as_i64().expect("when it was made") / 1_000;
    let mut asked = path.to_owned();
    for parameter in operation["parameters"].as_array().expect("parameters") {
        let name = parameter["name"].as_str().expect("a name");
        let value = match (name, path) {
            ("name", p) if p.starts_with("/api/plugins/") => "system".to_owned(),
            ("name", p) if p.starts_with("/api/slos/") => "memory".to_owned(),
            ("name", _) => "source".to_owned(),
            ("id", _) => archived["id"].to_string(),
            ("file", _) => archived["documents"][0]["file_name"].as_str().expect("a file").to_owned(),
            ("metric" | "query", _) => "system_memory_usage_bytes".to_owned(),
            ("start", _) => (now - 60).to_string(),
            ("end", _) => now.to_string(),
            ("step", _) => "15".to_owned(),
            ("match[]", _) => "up".to_owned(),
            _ => continue,
        };
        let sign = if asked.contains('?') { '&' } else { '?' };
        match parameter["in"].as_str() {
            Some("path") => asked = asked.replace(&format!("{{{name}}}"), &value),
            _ if parameter["required"] == true || name == "match[]" => asked.push_str(&format!("{sign}{name}={value}")),
            _ => {}
        }
    }
    asked
}

async fn first_event(belfry: &Belfry) {
    let (status, headers, mut body) = belfry.open("GET", "/api/events", &[], "").await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/event-stream");
    let frame = tokio::time::timeout(SOON, body.frame()).await.expect("an event").expect("no end").expect("no error");
    let text = String::from_utf8_lossy(frame.data_ref().expect("data")).into_owned();
    assert!(text.starts_with("event:"), "{text}");
}
