//! What the engine evaluates for Belfry: its series have the names of PromQL's rules, and what it cannot evaluate is answered
//! all the same.

use belfry_e2e::{Belfry, Home, Series, wait_until};
use url::form_urlencoded;

use crate::{DELIVERED_WITHIN, Engine, config, metric, now_ms};

const STEP_MS: i64 = 10_000;

/// One that has nothing of its own, and another whose samples reach back from `at`, every ten seconds, once the engine
/// shows them all.
async fn reader_and_writer(engine: &Engine, name: &str, at: i64, count: i64) -> [Belfry; 2] {
    let homes = ["a", "b"].map(|replica| Home::new(&config(&engine.url(), replica, "")));
    let (reader, writer) = (homes[0].start().await, homes[1].start().await);
    let line = |n: i64, i: i64| format!("{name}{{i=\"{i}\"}} {n}.{i} {}\n", at - (count - 1 - n) * STEP_MS);
    let text: String = (0..count).flat_map(|n| (0..3).map(move |i| line(n, i))).collect();
    writer.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
    wait_until("the engine shows them", DELIVERED_WITHIN, async || {
        let found = reader.one(&format!("sum(count_over_time({name}[1h]))")).await?;
        (found.last() == (3 * count) as f64).then_some(())
    })
    .await;
    [reader, writer]
}

async fn graph(belfry: &Belfry, expression: &str, start: i64, end: i64) -> Vec<Series> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("query", expression).append_pair("step", "10");
    query.append_pair("start", &(start / 1000).to_string()).append_pair("end", &(end / 1000).to_string());
    Series::of(&belfry.json(&format!("/api/v1/query_range?{}", query.finish())).await["data"])
}

async fn instant(belfry: &Belfry, expression: &str, at: i64) -> Vec<Series> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("query", expression).append_pair("time", &(at / 1000).to_string());
    Series::of(&belfry.json(&format!("/api/v1/query?{}", query.finish())).await["data"])
}

/// Each series is there once, with all of its steps, whoever evaluated which.
async fn names_are_as_promql_leaves_them(engine: Engine) {
    let at = now_ms() / 1000 * 1000;
    let [belfry, _writer] = reader_and_writer(&engine, "kept", at, 22).await;
    let start = at - 15 * STEP_MS;
    for (expression, count, name) in [
        ("kept", 3, Some("kept")),
        ("last_over_time(kept[1m])", 3, Some("kept")),
        ("max_over_time(kept[1m])", 3, None),
        ("avg_over_time(kept[1m])", 3, None),
        ("quantile_over_time(0.5, kept[1m])", 3, None),
        ("round(kept)", 3, None),
        ("clamp_max(kept, 5)", 3, None),
        ("predict_linear(kept[1m], 60)", 3, None),
        ("max_over_time(kept[1m:10s])", 3, None),
        ("sum by (__name__) (round(kept))", 1, None),
        ("count by (n) (label_replace(round(kept), \"n\", \"$1\", \"__name__\", \"(.*)\"))", 1, None),
    ] {
        let all = graph(&belfry, expression, start, at).await;
        let has = |s: &Series| s.labels.get("__name__").map(String::as_str) == name;
        assert!(all.len() == count && all.iter().all(has), "{expression}: {all:?}");
        assert!(all.iter().all(|s| s.samples.len() == 16), "{expression}: {all:?}");
        for at in [at - 120_000, at] {
            let then = instant(&belfry, expression, at).await;
            let labels =
                |all: &[Series]| all.iter().map(|s| s.labels.clone()).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(labels(&then), labels(&all), "{expression} at {at}");
        }
    }
    assert!(
        metric(&belfry, "belfry_engine_queries_total").await >= 18.0,
        "the first steps of each graph, and the old instants"
    );
}

#[tokio::test]
async fn names_are_as_promql_leaves_them_with_prometheus() {
    if let Some(engine) = Engine::prometheus().await {
        names_are_as_promql_leaves_them(engine).await;
    }
}

#[tokio::test]
async fn names_are_as_promql_leaves_them_with_victoria_metrics() {
    if let Some(engine) = Engine::victoria_metrics().await {
        names_are_as_promql_leaves_them(engine).await;
    }
}

const RULES: &str = "groups:
- name: g
  interval: 1s
  rules:
  - record: evaluated
    expr: vector(time())
  - record: missing
    expr: absent(last_over_time(foreign[1h]))
";

/// An engine that evaluates nothing in its time, or with its memory, can be read all the same.
async fn what_it_cannot_evaluate_is_answered_here(limit: &str) {
    let Some(engine) = Engine::prometheus_with(&[limit]).await else { return };
    let at = now_ms() / 1000 * 1000;
    let [_reader, _writer] = reader_and_writer(&engine, "foreign", at, 16).await;
    let home = Home::new(&config(&engine.url(), "c", "[rules]\nfiles = [\"r.yml\"]"));
    std::fs::write(home.path("r.yml"), RULES).expect("the rules are written");
    let belfry = home.start().await;
    wait_until("ten evaluations of the rules, and queries between them", DELIVERED_WITHIN, async || {
        let old = instant(&belfry, "max(foreign)", at - 120_000).await;
        assert!(matches!(&old[..], [one] if one.last() == 3.2), "{limit}: {old:?}");
        let all = graph(&belfry, "max(foreign)", at - 10 * STEP_MS, at).await;
        assert!(matches!(&all[..], [one] if one.samples.len() == 11 && one.last() == 15.2), "{limit}: {all:?}");
        (belfry.one("evaluated[5m]").await?.samples.len() >= 10).then_some(())
    })
    .await;
    assert_eq!(belfry.query("missing[5m]").await.len(), 0, "{limit}: no rule missed the engine's series");
    let text = belfry.get("/metrics").await.expect(200).body;
    let up = text.lines().find(|l| l.starts_with("belfry_engine_up{") && l.contains("for=\"reading\""));
    assert!(up.is_some_and(|l| l.ends_with(" 1") || l.ends_with(" 1.0")), "{limit}: {up:?}");
    assert_eq!(metric(&belfry, "belfry_engine_queries_total").await, 0.0, "{limit}: it evaluated nothing");
}

#[tokio::test]
async fn what_prometheus_cannot_evaluate_in_its_time_is_answered_here() {
    what_it_cannot_evaluate_is_answered_here("--query.timeout=0s").await;
}

#[tokio::test]
async fn what_is_too_much_for_prometheus_is_answered_here() {
    what_it_cannot_evaluate_is_answered_here("--query.max-samples=1").await;
}
