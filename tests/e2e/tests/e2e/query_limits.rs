//! `[queries]`: each bound of a query ends it with an error that names the key, and the rest go on being answered.

use belfry_e2e::{Belfry, Home, SOON, wait_until};

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];
/// 2000-01-01, and a minute's samples.
const BEGIN: i64 = 946_684_800;
const SERIES: usize = 40;
const ROWS: i64 = 60;

async fn started(limit: &str) -> (Home, Belfry) {
    let home = Home::new(&format!("[storage]\nretention = \"forever\"\n[queries]\n{limit}\n"));
    let belfry = home.start().await;
    let mut text = String::new();
    for i in 0..SERIES {
        for row in 0..ROWS {
            text.push_str(&format!("t{{i=\"{i}\"}} {row} {}\n", (BEGIN + row) * 1_000));
        }
    }
    belfry.ask("POST", "/api/v1/import/prometheus", &[], text).await.expect(200);
    (home, belfry)
}

async fn ask(belfry: &Belfry, query: &str) -> belfry_e2e::Answer {
    let form = format!("time={}&query={}", BEGIN + ROWS, query.replace('+', "%2B"));
    belfry.ask("POST", "/api/v1/query", &FORM, form).await
}

async fn fails(belfry: &Belfry, query: &str, status: u16, kind: &str, words: &str) {
    let answer = ask(belfry, query).await.expect(status).json();
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(answer["errorType"] == kind && error.contains(words), "{query}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_series_samples_points_and_bytes_are_errors_that_name_the_key() {
    for (limit, refused, words, answered) in [
        (
            "series = 30",
            "count(t)",
            "more than 30 series; narrow its matchers, or raise `series` in [queries]",
            "t{i=\"1\"}",
        ),
        ("series = 60", "t + on(i) t offset 1s", "more than 60 series", "count(t)"),
        (
            "samples = 1000",
            "sum(rate(t[1m]))",
            "more than 1000 samples; narrow its range or matchers, or raise `samples` in [queries]",
            "rate(t{i=\"1\"}[1m])",
        ),
        ("points = 1000", "t[1m]", "raise `points` in [queries]", "t"),
        (
            "memory = \"8MiB\"",
            "max_over_time((t + 1)[5m:10ms])",
            "more than 8388608 bytes of memory; narrow its range or matchers, or raise `memory` in [queries]",
            "t{i=\"1\"}",
        ),
    ] {
        let (_home, belfry) = started(limit).await;
        fails(&belfry, refused, 422, "execution", words).await;
        ask(&belfry, answered).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended() {
    let (_home, belfry) = started("timeout = \"1ms\"").await;
    // Four million steps of a subquery take more than a millisecond on any machine.
    fails(
        &belfry,
        "count_over_time((t + t)[1d:1s])",
        503,
        "timeout",
        "it takes longer than 1ms (`timeout` in [queries])",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_back_is_looked_is_configured_and_a_request_may_say_otherwise() {
    let (_home, belfry) = started("lookback = \"10s\"").await;
    let count = async |more: &str| {
        let answer = belfry.json(&format!("/api/v1/query?query=count(t)&time={}{more}", BEGIN + ROWS + 20)).await;
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((count("").await, count("&lookback_delta=60").await), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_places_queries_wait_and_beyond_those_they_are_refused() {
    let (_home, belfry) = started("concurrent = 1\nwaiting = 1").await;
    let mut n = 0;
    let refused = wait_until("one is refused", SOON, async || {
        n += 1;
        // Never asked before, so that no kept answer is there, and no one of the four is quick.
        let path = format!(
            "/api/v1/query_range?start={BEGIN}&end={}&step=1&query=quantile_over_time(0.5,vector(time()%2B{n})[1d:1s])",
            BEGIN + 10_000
        );
        let ask = || belfry.get(&path);
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        let all = [a, b, c, d];
        assert!(all.iter().any(|a| a.status == 200), "one has its place");
        all.into_iter().find(|a| a.status == 503)
    })
    .await;
    assert!(refused.body.contains("1 queries wait already (`waiting` in [queries])"), "{}", refused.body);
    ask(&belfry, "count(t)").await.expect(200);
}
