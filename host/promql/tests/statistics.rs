//! Samples by step, as Prometheus counts them (its `TestQueryStatistics`).

use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimestampMs};
use belfry_promql::workers::Alone;
use belfry_promql::{Query, QueryLimits, QueryTime};
use belfry_testkit::MemorySeries;

fn store() -> MemorySeries {
    let mut m = MemorySeries::new();
    let values: Vec<f64> = (0..=100).map(f64::from).collect();
    let mut add = |name: &str, a: &str| {
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("a", a)]);
        m.push_floats(&labels, TimestampMs(0), 10_000, &values);
    };
    add("one", "");
    ["1", "2", "3"].into_iter().for_each(|a| add("three", a));
    m
}

fn counts(text: &str, time: QueryTime) -> Vec<(i64, u64)> {
    let query = Query::parse(text, time, QueryLimits::default()).expect("a query").counting_steps();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fetched = runtime.block_on(query.fetch(&store())).expect("series");
    let (_, usage) = fetched.evaluate_measured(&Cancel::default(), &Alone).expect("an answer");
    usage.samples_per_step.into_iter().map(|(at, n)| (at.0, n)).collect()
}

#[test]
fn an_instant_query_counts_what_its_windows_hold() {
    for (text, at, n) in [
        ("\"literal\"", 21, 0),
        ("1", 21, 0),
        ("one", 21, 1),
        ("timestamp(one)", 21, 1),
        ("three", 21, 3),
        ("one[60s]", 201, 6),
        ("three[59s]", 201, 18),
        ("max_over_time(one[60s])[20s:5s]", 201, 24),
        ("max_over_time(one[60s:5s])", 201, 12),
        ("sum(max_over_time(one[60s:5s])) + sum(max_over_time(one[60s:5s]))", 201, 24),
        ("sum by (a) (max_over_time(three[60s]) > 5)", 201, 18),
        ("one @ 15", 35, 1),
        ("one[60s] @ 90", 35, 6),
    ] {
        assert_eq!(counts(text, QueryTime::Instant(TimestampMs(at * 1_000))), [(at * 1_000, n)], "{text}");
    }
}

#[test]
fn a_range_query_counts_step_by_step() {
    let range = |end: i64, step| QueryTime::Range {
        start: TimestampMs(201_000),
        end: TimestampMs(end * 1_000),
        step: Duration::from_secs(step),
    };
    let each = |n: [u64; 4]| [201_000, 206_000, 211_000, 216_000].into_iter().zip(n).collect::<Vec<_>>();
    assert_eq!(counts("one", range(220, 5)), each([1; 4]));
    assert_eq!(counts("three", range(220, 5)), each([3; 4]));
    assert_eq!(counts("max_over_time(three[60s])", range(220, 5)), each([18; 4]));
    assert_eq!(counts("max_over_time(one[60s:5s])", range(220, 5)), each([12; 4]));
    assert_eq!(counts("three @ 30 + 1", range(220, 5)), each([3; 4]));
    assert_eq!(counts("sum_over_time(one[20s] @ 5)", range(220, 5)), each([1; 4]));
    assert_eq!(counts("one", range(201, 5)), [(201_000, 1)]);
}
