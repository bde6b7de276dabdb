//! What floats cannot say: native histograms of every kind, exemplars, metadata. Pushed to one Belfry, shipped to the
//! engine, read back from the engine, from the Belfry that sent it and from one that has nothing of its own.

use std::collections::BTreeMap;

use belfry_e2e::{Belfry, Home, wait_until};
use belfry_model::sample::{Span, stale_nan};
use belfry_prompb::read::{LabelMatcher, Query, ReadRequest, ReadResponse};
use belfry_prompb::{
    BucketSpan, Exemplar, Histogram, MetricMetadata, Sample, TimeSeries, WriteRequest, labels, packed,
};
use belfry_remote::http::Ask;
use http::header::{CONTENT_ENCODING, HeaderValue};
use prost::Message as _;
use serde_json::Value;
use url::Url;

use crate::{ANSWER_BYTES_MAX, DELIVERED_WITHIN, Engine, UP_WITHIN, config, metric, now_ms};

/// Samples of each series, a second apart.
const ROWS: i64 = 40;
const SERIES: usize = 7;

/// A histogram as it grows: `row` 0 is the first. It starts again at row 25.
fn exponential(row: i64) -> Histogram {
    let n = (if row < 25 { row } else { row - 25 }) as u64 + 1;
    // Buckets come as it grows.
    let later = u32::from(n > 10);
    Histogram {
        count_int: Some(8 * n + n * u64::from(later)),
        zero_count_int: Some(n),
        sum: n as f64 * 3.7,
        schema: 2,
        zero_threshold: 1e-6,
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 + later }],
        // n, 2n, 2n and n.
        positive_deltas: [n as i64, n as i64, 0, -(n as i64)][..3 + later as usize].to_vec(),
        negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
        negative_deltas: vec![2 * n as i64],
        ..Histogram::default()
    }
}

fn exponential_float(row: i64) -> Histogram {
    let n = row as f64 + 0.25;
    Histogram {
        count_float: Some(7.0 * n),
        zero_count_float: Some(0.5 * n),
        sum: -1.5 * n,
        // It becomes coarser.
        schema: if row < 20 { 4 } else { 3 },
        zero_threshold: 2.938735877055719e-39,
        negative_spans: vec![BucketSpan { offset: -7, length: 3 }],
        negative_counts: vec![n, 1.5 * n, 4.0 * n],
        ..Histogram::default()
    }
}

/// It goes up and down.
fn gauge(row: i64) -> Histogram {
    let n = ((row * 7) % 11) as f64;
    Histogram {
        count_float: Some(2.0 * n),
        zero_count_float: Some(0.0),
        sum: n * 1.1,
        zero_threshold: 0.001,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_counts: vec![n, n],
        reset_hint: 3,
        ..Histogram::default()
    }
}

fn custom(row: i64) -> Histogram {
    let n = row as u64 + 1;
    Histogram {
        count_int: Some(4 * n),
        zero_count_int: Some(0),
        sum: n as f64 * 0.3,
        schema: -53,
        // The last is the one to +Inf.
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![n as i64, n as i64, -(n as i64)],
        custom_values: vec![0.1, 0.25, 1.0],
        ..Histogram::default()
    }
}

fn custom_float(row: i64) -> Histogram {
    let n = row as f64 + 0.125;
    Histogram {
        count_float: Some(3.0 * n),
        zero_count_float: Some(0.0),
        sum: n,
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        positive_counts: vec![n, 2.0 * n],
        custom_values: vec![-5.0, 0.0, 5.0],
        ..Histogram::default()
    }
}

/// It ends, and comes again.
fn ending(row: i64) -> Histogram {
    match row {
        15..20 => Histogram { count_int: Some(0), zero_count_int: Some(0), sum: stale_nan(), ..Histogram::default() },
        _ => exponential(row),
    }
}

/// The histogram of a row.
type Kind = fn(i64) -> Histogram;

fn everything(start: i64) -> WriteRequest {
    // The name stays where PromQL drops it.
    let named = |name: &str| labels([("__name__", name), ("job", "exact"), ("of", name)]);
    let kinds: [(&str, Kind); 6] = [
        ("exact_custom", custom),
        ("exact_custom_float", custom_float),
        ("exact_ending", ending),
        ("exact_exponential", exponential),
        ("exact_exponential_float", exponential_float),
        ("exact_gauge", gauge),
    ];
    let mut timeseries: Vec<TimeSeries> = kinds
        .into_iter()
        .map(|(name, of)| {
            let histograms = (0..ROWS).map(|row| Histogram { timestamp: start + row * 1000, ..of(row) }).collect();
            TimeSeries { labels: named(name), histograms, ..TimeSeries::default() }
        })
        .collect();
    let samples =
        (0..ROWS).map(|row| Sample { value: row as f64 / 3.0, timestamp: start + row * 1000, ..Sample::default() });
    timeseries.push(TimeSeries { labels: named("exact_total"), samples: samples.collect(), ..TimeSeries::default() });
    for (i, series) in timeseries.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
        let exemplar = |n: i64| Exemplar {
            labels: labels([("trace_id", format!("{i}-{n}")), ("span", "ä \"quoted\"".to_owned())]),
            value: n as f64 / 7.0,
            timestamp: start + n * 1000 + 123,
        };
        series.exemplars = (0..5).map(exemplar).collect();
        // Two at one time, as a histogram has them.
        series.exemplars.push(Exemplar { value: 9.0, ..exemplar(4) });
    }
    let metadata = |name: &str, kind, unit: &str| MetricMetadata {
        kind,
        metric_family_name: name.to_owned(),
        help: format!("Helps with {name}."),
        unit: unit.to_owned(),
    };
    let metadata = vec![metadata("exact_total", 1, ""), metadata("exact_exponential", 3, "seconds")];
    WriteRequest { timeseries, metadata }
}

type SeriesLabels = BTreeMap<String, String>;

/// Labels but for the external one.
fn own(series: &TimeSeries) -> SeriesLabels {
    let pairs = series.labels.iter().map(|l| (l.name.clone(), l.value.clone()));
    pairs.filter(|(name, _)| name != "replica").collect()
}

/// What a histogram says, however its buckets are laid out: engines add empty ones, and say on reading which sample is
/// known not to follow a reset.
fn said(h: &Histogram) -> String {
    let h = h.clone().into_model();
    if h.sum.to_bits() == stale_nan().to_bits() {
        return "stale".to_owned();
    }
    let filled = |spans: &[Span], counts: &[f64]| {
        let mut next = 0;
        let mut indexes = Vec::new();
        for span in spans {
            next += span.offset;
            indexes.extend(next..next + span.length as i32);
            next += span.length as i32;
        }
        assert_eq!(indexes.len(), counts.len(), "{spans:?} {counts:?}");
        indexes.into_iter().zip(counts.to_vec()).filter(|(_, count)| *count != 0.0).collect::<Vec<_>>()
    };
    let is_gauge = h.reset_hint == belfry_model::sample::ResetHint::Gauge;
    let buckets = (filled(&h.negative_spans, &h.negative_counts), filled(&h.positive_spans, &h.positive_counts));
    let zero = (h.zero_threshold, h.zero_count);
    format!("{} {} {} {} {zero:?} {buckets:?} {:?} {is_gauge}", h.integer, h.schema, h.count, h.sum, h.custom_bounds)
}

type Samples = BTreeMap<SeriesLabels, Vec<(i64, String)>>;

/// Each sample of each series as text.
fn samples(all: &[TimeSeries]) -> Samples {
    let one = |s: &TimeSeries| {
        let floats = s.samples.iter().map(|s| (s.timestamp, format!("{:016x}", s.value.to_bits())));
        let mut all: Vec<_> = floats.chain(s.histograms.iter().map(|h| (h.timestamp, said(h)))).collect();
        all.sort();
        (own(s), all)
    };
    all.iter().map(one).collect()
}

/// Asks with the engine's client, which is as good for a Belfry.
async fn post(engine: &Engine, url: &str, message: &impl prost::Message) -> Vec<u8> {
    let url: Url = url.parse().expect("an address");
    let body = packed(message).expect("it is short");
    let ask = Ask::post(url, "application/x-protobuf", body, UP_WITHIN, ANSWER_BYTES_MAX)
        .with(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    let answer = engine.client.ask(ask).await.expect("an answer");
    assert!(answer.status.is_success(), "{}", answer.reason());
    answer.body
}

/// Remote read, from whoever has it.
async fn read(engine: &Engine, server: &str, start: i64) -> Vec<TimeSeries> {
    let matchers = vec![LabelMatcher { kind: 2, name: "__name__".to_owned(), value: "exact_.*".to_owned() }];
    let query = Query { start_timestamp_ms: start, end_timestamp_ms: start + ROWS * 1000, matchers };
    let request = ReadRequest { queries: vec![query], ..ReadRequest::default() };
    let bytes = post(engine, &format!("{server}/api/v1/read"), &request).await;
    let bytes = snap::raw::Decoder::new().decompress_vec(&bytes).expect("it is packed");
    let mut answer = ReadResponse::decode(&*bytes).expect("a message");
    answer.results.pop().expect("one query, one result").timeseries
}

/// Exemplars: labels, value, time in milliseconds.
type Exemplars = BTreeMap<SeriesLabels, Vec<(SeriesLabels, f64, i64)>>;

fn of_json(labels: &Value) -> SeriesLabels {
    let labels = labels.as_object().expect("labels").iter();
    labels.map(|(n, v)| (n.clone(), v.as_str().expect("a text").to_owned())).filter(|(n, _)| n != "replica").collect()
}

async fn exemplars(engine: &Engine, server: &str, start: i64) -> Exemplars {
    let mut url: Url = format!("{server}/api/v1/query_exemplars").parse().expect("an address");
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    url.query_pairs_mut()
        .append_pair("query", "{__name__=~\"exact_.*\"}")
        .append_pair("start", &seconds(start))
        .append_pair("end", &seconds(start + ROWS * 1000));
    let answer = engine.client.ask(Ask::get(url, UP_WITHIN, ANSWER_BYTES_MAX)).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let one = |e: &Value| {
        let value = e["value"].as_str().and_then(|v| v.parse().ok()).expect("a value");
        (of_json(&e["labels"]), value, (e["timestamp"].as_f64().expect("a time") * 1000.0).round() as i64)
    };
    let all = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    all.map(|s| (of_json(&s["seriesLabels"]), s["exemplars"].as_array().expect("a list").iter().map(one).collect()))
        .collect()
}

fn exemplars_sent(all: &[TimeSeries]) -> Exemplars {
    let of = |e: &Exemplar| {
        let labels = e.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
        (labels, e.value, e.timestamp)
    };
    let with = all.iter().filter(|s| !s.exemplars.is_empty());
    with.map(|s| (own(s), s.exemplars.iter().map(of).collect())).collect()
}

/// An instant's values by series; the text of an odd answer.
fn values(answer: &Value) -> BTreeMap<SeriesLabels, f64> {
    let rows = answer["result"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    let value = |row: &Value| row["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{row}"));
    rows.map(|row| (of_json(&row["metric"]), value(row))).collect()
}

async fn evaluated(belfry: &Belfry, expression: &str, at: i64) -> Value {
    let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    belfry.json(&format!("/api/v1/query?query={query}&time={}", at / 1000)).await
}

/// What is asked of the histograms at the last sample.
const EXPRESSIONS: &[&str] = &[
    "histogram_count({__name__=~\"exact_.*\"})",
    "histogram_sum(rate({__name__=~\"exact_.*\",of!=\"exact_gauge\"}[30s]))",
    "histogram_quantile(0.7, rate({__name__=~\"exact_.*\",of!=\"exact_gauge\"}[30s]))",
    "histogram_fraction(-1, 1, exact_gauge)",
    "rate(exact_total[30s])",
];

fn is_custom(labels: &SeriesLabels) -> bool {
    labels["of"].contains("custom")
}

/// Sample by sample, so that a failure shows one.
fn same(who: &str, found: &Samples, expected: &Samples) {
    assert!(found.keys().eq(expected.keys()), "{who}: {:?} and {:?}", found.keys(), expected.keys());
    for ((labels, expected), found) in expected.iter().zip(found.values()) {
        let differs = expected.iter().zip(found).find(|(a, b)| a != b);
        assert_eq!((differs, found.len()), (None, expected.len()), "{who}: {labels:?}");
    }
}

async fn comes_back_as_it_went(protocol: &str) {
    let Some(engine) = Engine::prometheus_exact().await else { return };
    let sends = Home::new(&format!("{}protocol = \"{protocol}\"\n", config(&engine.url(), "a", "")));
    let reads = Home::new(&config(&engine.url(), "b", "query = \"local\""));
    let (sender, reader) = (sends.start().await, reads.start().await);
    let start = (now_ms() - 2 * ROWS * 1000) / 1000 * 1000;
    let sent = everything(start);
    post(&engine, &format!("{}/api/v1/write", sender.url()), &sent).await;

    // Version 1 cannot carry custom buckets, and Prometheus up to 3.8 does not tell their bounds.
    let carried = |labels: &SeriesLabels| protocol == "2.0" || !is_custom(labels);
    let there = sent.timeseries.iter().filter(|s| carried(&own(s))).cloned().collect::<Vec<_>>();
    let url = engine.url();
    wait_until("all samples are in the engine", DELIVERED_WITHIN, async || {
        let found = read(&engine, &url, start).await;
        let n: usize = found.iter().map(|s| s.samples.len() + s.histograms.len()).sum();
        (n == there.len() * ROWS as usize).then_some(())
    })
    .await;
    let exemplars_there = exemplars_sent(&there);
    wait_until("exemplars are in the engine", DELIVERED_WITHIN, async || {
        // Those of a series come with it.
        (exemplars(&engine, &url, start).await.len() == exemplars_there.len()).then_some(())
    })
    .await;

    let carried_series = there.len();
    let (everything, there) = (samples(&sent.timeseries), samples(&there));
    assert!(everything.len() == SERIES && everything.values().all(|s| s.len() == ROWS as usize));
    let found = samples(&read(&engine, &url, start).await);
    let tells_bounds = found.iter().all(|(labels, s)| !is_custom(labels) || s == &everything[labels]);
    let told: Samples = there.into_iter().filter(|(l, _)| tells_bounds || !is_custom(l)).collect();
    let found = found.into_iter().filter(|(l, _)| told.contains_key(l)).collect();
    same(&format!("the engine, {protocol}"), &found, &told);
    same(&format!("the sender, {protocol}"), &samples(&read(&engine, sender.url(), start).await), &everything);
    same(&format!("another, {protocol}"), &samples(&read(&engine, reader.url(), start).await), &told);
    assert_eq!(exemplars(&engine, &url, start).await, exemplars_there);
    assert_eq!(exemplars(&engine, sender.url(), start).await, exemplars_sent(&sent.timeseries));
    assert_eq!(exemplars(&engine, reader.url(), start).await, exemplars_there);
    let left_out = metric(&sender, r#"belfry_engine_samples_total{outcome="left_out"}"#).await;
    assert_eq!(left_out, ((SERIES - carried_series) as i64 * ROWS) as f64);

    let at = start + (ROWS - 1) * 1000;
    for expression in EXPRESSIONS {
        let theirs = values(&engine.ask_at(expression, at).await);
        for (belfry, has_custom) in [(&sender, true), (&reader, tells_bounds)] {
            let answer = evaluated(belfry, expression, at).await;
            let ours = values(&answer["data"]);
            let has = |l: &&SeriesLabels| has_custom || !is_custom(l);
            let keys = theirs.keys().filter(has).collect::<Vec<_>>();
            assert!(!keys.is_empty(), "{expression} finds nothing");
            for labels in keys {
                let (ours, theirs) = (ours.get(labels).copied().unwrap_or(f64::NEG_INFINITY), theirs[labels]);
                let close = (ours - theirs).abs() <= 1e-12 * theirs.abs() || ours.is_nan() && theirs.is_nan();
                assert!(close, "{expression} {labels:?}: {ours} and {theirs}");
            }
            let warned = answer["warnings"].to_string().contains("did not tell the bounds");
            let are_left_out = protocol == "2.0" && !has_custom && expression.contains("exact_.*");
            assert!(warned || !are_left_out, "{expression}: {answer}");
        }
    }
    let metadata = sender.json("/api/v1/metadata?metric=exact_exponential").await;
    let expected =
        serde_json::json!([{"type": "histogram", "unit": "seconds", "help": "Helps with exact_exponential."}]);
    assert_eq!(metadata["data"]["exact_exponential"], expected, "Prometheus keeps none of what it is sent: ours stays");
}

#[tokio::test]
async fn histograms_and_exemplars_come_back_as_they_went_by_remote_write_1() {
    comes_back_as_it_went("1.0").await;
}

#[tokio::test]
async fn histograms_and_exemplars_come_back_as_they_went_by_remote_write_2() {
    comes_back_as_it_went("2.0").await;
}

#[tokio::test]
async fn metadata_goes_to_an_engine_that_keeps_it_and_comes_back() {
    // Prometheus keeps that of its own targets only; VictoriaMetrics takes it by remote write 1.
    let Some(engine) = Engine::victoria_metrics().await else { return };
    let sends = Home::new(&config(&engine.url(), "a", ""));
    let reads = Home::new(&config(&engine.url(), "b", ""));
    let (sender, reader) = (sends.start().await, reads.start().await);
    let sent = everything((now_ms() - 2 * ROWS * 1000) / 1000 * 1000);
    post(&engine, &format!("{}/api/v1/write", sender.url()), &sent).await;
    for (metric, kind, unit) in [("exact_total", "counter", ""), ("exact_exponential", "histogram", "seconds")] {
        let expected = serde_json::json!([{"type": kind, "unit": unit, "help": format!("Helps with {metric}.")}]);
        wait_until("another Belfry knows what the metric is", DELIVERED_WITHIN, async || {
            let found = reader.json(&format!("/api/v1/metadata?metric={metric}")).await;
            (found["data"][metric] == expected).then_some(())
        })
        .await;
    }
}
