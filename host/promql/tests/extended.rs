//! `anchored` and `smoothed`: what the samples around a range tell of its edges. And what start timestamps tell of a
//! counter.

use std::sync::Arc;

use belfry_model::read::Cancel;
use belfry_model::sample::{ResetHint, Span};
use belfry_model::{Histogram, Labels, METRIC_NAME, Sample, TimestampMs, Value};
use belfry_promql::{Answer, PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_testkit::MemorySeries;

/// A histogram with `n` observations of 1, or so.
fn histogram(n: f64, hint: ResetHint, custom: bool) -> Value {
    Value::Histogram(Arc::new(Histogram {
        schema: if custom { Histogram::CUSTOM_BOUNDS } else { 0 },
        count: n,
        sum: n,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_counts: vec![n],
        custom_bounds: if custom { vec![5.0, 10.0] } else { Vec::new() },
        reset_hint: hint,
        ..Histogram::default()
    }))
}

/// One word a sample, one every ten seconds: `5`, a gap `_`; of histograms `h5`, after a reset `r5`, gauge `g5`, with
/// custom buckets `c5`. Behind `@` the start timestamp in seconds.
fn load(series: &[(&str, &str)]) -> MemorySeries {
    let mut m = MemorySeries::new();
    for (name, words) in series {
        for (word, at) in words.split_whitespace().zip((0..).step_by(10_000)).filter(|(w, _)| *w != "_") {
            let (value, start) = word.split_once('@').map_or((word, None), |(v, s)| (v, Some(s)));
            let kind = value.trim_matches(|c: char| c.is_ascii_digit() || c == '.');
            let n: f64 = value[kind.len()..].parse().expect("a number");
            let value = match kind {
                "" => Value::Float(n),
                "r" => histogram(n, ResetHint::Reset, false),
                "g" => histogram(n, ResetHint::Gauge, false),
                kind => histogram(n, ResetHint::NotReset, kind == "c"),
            };
            let start = start.map(|s| TimestampMs((s.parse::<f64>().expect("seconds") * 1000.0) as i64));
            m.push(&Labels::from_pairs([(METRIC_NAME, *name)]), Sample { at: TimestampMs(at), value, start });
        }
    }
    m
}

async fn answer(m: &MemorySeries, text: &str, seconds: i64) -> Result<Answer, String> {
    let at = QueryTime::Instant(TimestampMs(seconds * 1000));
    let query = Query::parse(text, at, QueryLimits::default()).map_err(|e| e.to_string())?;
    let fetched = query.fetch(m).await.map_err(|e| e.to_string())?;
    fetched.evaluate(&Cancel::default()).map_err(|e| e.to_string())
}

/// A float, or how many observations there are.
fn size(v: &PointValue) -> f64 {
    let v = match v {
        PointValue::Float(f) => *f,
        PointValue::Histogram(h) => h.count,
    };
    (v * 1e6).round() / 1e6
}

/// The values of the answer, and its warnings.
async fn ask(m: &MemorySeries, text: &str, seconds: i64) -> (Vec<f64>, Vec<String>) {
    let answer = answer(m, text, seconds).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    let QueryValue::Vector(v) = answer.value else { panic!("{text}") };
    (v.iter().map(|p| size(&p.value)).collect(), answer.warnings)
}

async fn check(series: &str, text: &str, seconds: i64, want: &[f64]) {
    assert_eq!(ask(&load(&[("m", series)]), text, seconds).await, (want.to_vec(), Vec::new()), "{series}: {text}");
}

/// As they are answered: seconds and values.
async fn range(series: &str, text: &str, seconds: i64) -> Vec<(f64, f64)> {
    match answer(&load(&[("m", series)]), text, seconds).await.map(|a| a.value) {
        Ok(QueryValue::Matrix(rows)) => {
            rows.iter().flat_map(|r| &r.points).map(|(t, v)| (t.0 as f64 / 1000.0, size(v))).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_extended_range_by_itself_begins_and_ends_at_its_edges() {
    for series in ["1 2 3 4 5 6", "h1 h2 h3 h4 h5 h6"] {
        let at = range(series, "m[20s] anchored", 35).await;
        assert_eq!(at, [(15.0, 2.0), (20.0, 3.0), (30.0, 4.0), (35.0, 4.0)], "{series}");
        let at = range(series, "m[20s] smoothed", 35).await;
        assert_eq!(at, [(15.0, 2.5), (20.0, 3.0), (30.0, 4.0), (35.0, 4.5)], "{series}");
        // Samples at the edges stand once, and nothing comes of samples that are all before.
        assert_eq!(range(series, "m[10s] smoothed", 20).await, [(10.0, 2.0), (20.0, 3.0)], "{series}");
        assert_eq!(range(series, "m[10s] anchored", 70).await, [], "{series}");
    }
}

#[tokio::test]
async fn nothing_is_smoothed_of_samples_behind_the_range_alone() {
    for series in ["_ 5 6 7", "_ h5 h6 h7"] {
        check(series, "increase(m[5s] smoothed)", 5, &[]).await;
        check(series, "increase(m[10s] smoothed)", 15, &[0.5]).await;
        check(series, "increase(m[5s] smoothed)", 40, &[]).await;
    }
}

#[tokio::test]
async fn a_modifier_that_does_not_fit_its_function_is_told_of_without_data_too() {
    let m = MemorySeries::new();
    let said = answer(&m, "deriv(nothing[3m] smoothed)", 60).await.err();
    assert_eq!(
        said.as_deref(),
        Some("smoothed modifier can only be used with: delta, increase, rate - not with deriv")
    );
    assert!(answer(&m, "resets(nothing[3m] anchored)", 60).await.is_ok());
}

#[tokio::test]
async fn histograms_grow_as_floats_do() {
    for (h, f) in [("h", ""), ("c", "")] {
        for text in ["increase(m[30s] anchored)", "increase(m[30s] smoothed)", "rate(m[20s] smoothed)"] {
            for at in [5, 20, 35, 47, 60] {
                let words = |kind: &str| [1, 2, 4, 7, 11].map(|n| format!("{kind}{n}")).join(" ");
                let floats = ask(&load(&[("m", &words(f))]), text, at).await;
                let histograms = ask(&load(&[("m", &words(h))]), text, at).await;
                assert_eq!(floats, histograms, "{text} at {at}");
            }
        }
    }
}

#[tokio::test]
async fn each_reset_of_a_histogram_counts_once() {
    for (series, text, at, want) in [
        // The last sample is the one after the reset.
        ("h5 h10 r3", "increase(m[25s] anchored)", 25, 8.0),
        ("h5 r3", "increase(m[10s] anchored)", 10, 3.0),
        // The line to the start of the range crosses it; and another follows.
        ("_ h396 r110 h194", "rate(m[1s] smoothed)", 21, 8.4),
        ("h10 r5 r2 h4", "increase(m[14s] smoothed)", 15, 5.5),
        // The line to the end crosses it.
        ("h5 h10 r3", "increase(m[10s] smoothed)", 15, 4.0),
        // Both lines cross the same.
        ("h10 r5", "increase(m[5s] smoothed)", 8, 2.5),
    ] {
        check(series, text, at, &[want]).await;
    }
}

#[tokio::test]
async fn histograms_that_do_not_go_together_are_told_of() {
    let schemas = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for \
                   metric name \"m\"";
    let kinds = "PromQL warning: encountered a mix of histograms and floats for metric name \"m\"";
    for (series, text, want) in [
        ("h1 c1 h4 c1", "rate(m[20s] anchored)", format!("{schemas} (1:6)")),
        ("h1 c1 h4 c1", "rate(m[20s] smoothed)", format!("{schemas} (1:6)")),
        ("h1 c1 h4 c1", "m smoothed", format!("{schemas} (1:1)")),
        ("1 2 h3 h4", "rate(m[20s] anchored)", format!("{kinds} (1:6)")),
        ("1 2 h3 h4", "m smoothed", format!("{kinds} (1:1)")),
    ] {
        assert_eq!(ask(&load(&[("m", series)]), text, 25).await, (Vec::new(), vec![want]), "{series}: {text}");
    }
    let gauge = load(&[("m", "h1 g2 h3")]);
    let (values, warnings) = ask(&gauge, "increase(m[30s] anchored)", 20).await;
    assert_eq!((values, warnings.len()), (vec![2.0], 1));
    assert!(warnings[0].contains("this native histogram metric is not a counter"), "{warnings:?}");
}

#[tokio::test]
async fn a_histogram_is_smoothed_at_one_time() {
    check("h1 h2", "m smoothed", 7, &[1.7]).await;
    check("h1 h2", "m smoothed", 10, &[2.0]).await;
    check("h1 h2", "m smoothed", 40, &[2.0]).await;
    // A counter that was reset counts from zero; a gauge only fell.
    check("h10 r2", "m smoothed", 5, &[1.0]).await;
    check("g10 g2", "m smoothed", 5, &[6.0]).await;
}

#[tokio::test]
async fn the_newest_sample_before_the_range_is_the_anchor_whatever_it_is() {
    check("1 h2 3 h4", "changes(m[20s] anchored)", 35, &[2.0]).await;
    check("h1 2 3 3", "changes(m[20s] anchored)", 35, &[1.0]).await;
    check("1 h2 _ _", "changes(m[10s] anchored)", 35, &[]).await;
}

#[tokio::test]
async fn a_counter_was_zero_when_it_started() {
    for (series, want) in [
        // Inside the range: nothing is guessed of what was before. Even one sample is enough.
        ("_ _ 3@5 4@5 5@5", &[5.0][..]),
        ("_ _ 3@5 _ _", &[3.0]),
        // Not known, before the range, or as late as the sample, which is how OpenTelemetry says that it is not known.
        ("_ _ 3 _ _", &[]),
        ("_ _ 3@-10 _ _", &[]),
        ("_ _ 3@20 _ _", &[]),
        ("_ _ 3@21 _ _", &[]),
        // Start and resets between samples.
        ("_ _ 5@10 5@29 2@29", &[12.0]),
    ] {
        check(series, "increase(m[40s])", 40, want).await;
    }
}

#[tokio::test]
async fn resets_are_seen_by_start_timestamps() {
    check("1@-5 2@-5 3@15 4@15", "resets(m[1m])", 30, &[1.0]).await;
    // A start at the time of the sample before is a series of deltas, if that says so as well; one that is wrong is none.
    check("_ _ 1@10 1@20 1@30 1@40", "resets(m[1m])", 50, &[3.0]).await;
    check("_ 1@20 1@10", "resets(m[1m])", 30, &[0.0]).await;
    check("_ 1@10 1@20 1@30", "resets(m[1m])", 30, &[0.0]).await;
}

#[tokio::test]
async fn start_timestamps_can_be_looked_at() {
    check("_ 1@3 2@3", "start_timestamp(m)", 15, &[3.0]).await;
    check("_ 1@3 2@12", "start_timestamp((m offset 5s))", 30, &[12.0]).await;
    // Not known; and nothing of what is computed.
    check("_ 1 2", "start_timestamp(m)", 15, &[0.0]).await;
    check("h1 h2", "start_timestamp(m)", 15, &[0.0]).await;
    check("_ 1@3 2@3", "start_timestamp(m + 1)", 15, &[]).await;
    check("_ 1@3 2@3", "start_timestamp(vector(1))", 15, &[]).await;
}
