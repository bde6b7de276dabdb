//! What was just written, where the engine evaluates: rules follow upon each other, and who writes reads it.

use std::collections::BTreeMap;

use belfry_e2e::{Belfry, Home, Series, wait_until};

use crate::{DELIVERED_WITHIN, Engine, config, metric, now_ms};

const RULES: &str = "groups:
- name: g
  interval: 1s
  rules:
  - record: aa
    expr: vector(time())
  - record: bb
    expr: aa
  - record: seen
    expr: foreign
  - record: long
    expr: sum(max_over_time(aa[12h])) - sum(aa)
";

async fn samples(belfry: &Belfry, selector: &str) -> BTreeMap<i64, f64> {
    belfry.one(&format!("{selector}[5m]")).await.map(|s| s.samples.into_iter().collect()).unwrap_or_default()
}

/// `bb` is `aa` at each evaluation; another Belfry's series, which only the engine has, is seen as well.
async fn rules_see_what_was_just_written(engine: Engine) {
    let home = Home::new(&config(&engine.url(), "a", "[rules]\nfiles = [\"r.yml\"]"));
    let other = Home::new(&config(&engine.url(), "b", ""));
    std::fs::write(home.path("r.yml"), RULES).expect("the rules are written");
    let (belfry, other) = (home.start().await, other.start().await);
    wait_until("rules have seen a series of the engine's", DELIVERED_WITHIN, async || {
        let text = format!("foreign 5 {}\n", now_ms());
        other.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
        (belfry.one("seen").await?.last() == 5.0).then_some(())
    })
    .await;
    wait_until("ten evaluations", DELIVERED_WITHIN, async || (samples(&belfry, "bb").await.len() >= 10).then_some(()))
        .await;
    let (bb, aa) = (samples(&belfry, "bb").await, samples(&belfry, "aa").await);
    // The last evaluation may have written `bb` between the two.
    let differ: Vec<_> = bb.iter().filter(|(at, v)| aa.get(at) != Some(v)).collect();
    assert!(differ.is_empty(), "{differ:?} of {bb:?} are not {aa:?}");
    let long = samples(&belfry, "long").await;
    assert!(long.len() >= 9 && long.values().all(|v| *v == 0.0), "also further back than the window: {long:?}");
}

#[tokio::test]
async fn a_rule_sees_what_the_rule_before_it_wrote_with_prometheus() {
    if let Some(engine) = Engine::prometheus().await {
        rules_see_what_was_just_written(engine).await;
    }
}

#[tokio::test]
async fn a_rule_sees_what_the_rule_before_it_wrote_with_victoria_metrics() {
    if let Some(engine) = Engine::victoria_metrics().await {
        rules_see_what_was_just_written(engine).await;
    }
}

/// Each sample is asked for at once: at an instant, and as the end of a graph whose beginning the engine evaluates.
async fn who_writes_reads_it(engine: Engine) {
    let home = Home::new(&config(&engine.url(), "a", ""));
    let belfry = home.start().await;
    for i in 0..20 {
        let at = now_ms();
        let text = format!("mine{{i=\"{i}\"}} {i} {at}\n");
        belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
        let found = belfry.one(&format!("mine{{i=\"{i}\"}}")).await;
        assert_eq!(found.map(|s| s.last()), Some(f64::from(i)));
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (start, end) = (seconds(at - 600_000), seconds(at));
        let path = format!("/api/v1/query_range?query=mine%7Bi%3D%22{i}%22%7D&start={start}&end={end}&step=15");
        let graph = Series::of(&belfry.json(&path).await["data"]);
        assert!(matches!(&graph[..], [one] if one.samples == [(at, f64::from(i))]), "{graph:?}");
    }
    assert_eq!(metric(&belfry, "belfry_engine_queries_total").await, 20.0, "the first steps of each graph");
}

#[tokio::test]
async fn a_sample_that_was_just_acknowledged_is_in_the_next_answer_with_prometheus() {
    if let Some(engine) = Engine::prometheus().await {
        who_writes_reads_it(engine).await;
    }
}

#[tokio::test]
async fn a_sample_that_was_just_acknowledged_is_in_the_next_answer_with_victoria_metrics() {
    if let Some(engine) = Engine::victoria_metrics().await {
        who_writes_reads_it(engine).await;
    }
}

#[tokio::test]
async fn bounds_of_queries_hold_and_a_text_is_a_text() {
    let Some(engine) = Engine::victoria_metrics().await else { return };
    let bounds = "[queries]\nseries = 5\nsamples = 100\npoints = 1000";
    let home = Home::new(&format!("{}{bounds}\n", config(&engine.url(), "a", "")));
    let belfry = home.start().await;
    let text = belfry.json("/api/v1/query?query=%22text%22").await;
    assert_eq!((&text["data"]["resultType"], &text["data"]["result"][1]), (&"string".into(), &"text".into()));
    // So old that the engine alone has them.
    let at = now_ms() - 3_600_000;
    let samples: String = (0..50).map(|i| format!("many{{i=\"{i}\"}} 1 {at}\n")).collect();
    belfry.ask("POST", "/api/v1/import/prometheus", &[], samples).await.expect(200);
    wait_until("the engine has them", DELIVERED_WITHIN, async || {
        (engine.ask_at("count(many)", at + 1000).await["result"][0]["value"][1] == "50").then_some(())
    })
    .await;
    let asked = async |expression: &str| {
        let answer = belfry.get(&format!("/api/v1/query?query={expression}&time={}", at / 1000 + 1)).await;
        (answer.status, answer.body)
    };
    let (status, body) = asked("many").await;
    assert!(status == 422 && body.contains("selects more than 5 series"), "{status} {body}");
    let (status, body) = asked("many%7Bi%3D~%22.%22%2Ci!~%22%5B5-9%5D%22%7D").await;
    assert_eq!(status, 200, "five of them: {body}");
    assert_eq!(metric(&belfry, "belfry_engine_queries_total").await, 1.0, "what was too much is not counted");
}
