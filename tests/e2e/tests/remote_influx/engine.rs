//! The engine itself: what is read is what was written, and what memory would have answered.

use std::sync::Arc;
use std::time::Duration;

use belfry_client::ClientOptions;
use belfry_e2e::{SOON, wait_until};
use belfry_model::read::{Cancel, ReadError};
use belfry_model::sample::{Span, stale_nan};
use belfry_model::{
    Histogram, Labels, METRIC_NAME, MatchOp, Matcher, Sample, SampleBuf, SelectHints, SelectLimits, SeriesRead,
    TimeRange, TimestampMs, Value,
};
use belfry_promql::{Query, QueryLimits, QueryTime};
use belfry_remote::engine::{Engine, SendError, Sent, SeriesSamples, Shipment};
use belfry_remote::influx::{Influx, InfluxConfig, Place};
use belfry_testkit::MemorySeries;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::peers::{Server, influxd, victoria_metrics};

/// 2023-11-14.
const T0: i64 = 1_700_000_000_000;

fn config(server: &Server, place: Place) -> InfluxConfig {
    let timeout = Duration::from_secs(60);
    InfluxConfig {
        url: server.url(),
        place,
        http: ClientOptions::default(),
        write_timeout: timeout,
        read_timeout: timeout,
    }
}

fn v1(server: &Server, database: &str) -> Influx {
    let place = Place::V1 { database: database.to_owned(), retention_policy: None };
    Influx::new(config(server, place)).expect("an engine")
}

fn shipment(memory: &MemorySeries) -> Shipment {
    let series = memory.iter().map(|(labels, samples)| SeriesSamples {
        labels: labels.clone(),
        samples: samples.cloned().collect(),
        ..SeriesSamples::default()
    });
    Shipment { series: series.collect(), ..Shipment::default() }
}

fn float(at: i64, value: f64) -> Sample {
    Sample { at: TimestampMs(at), value: Value::Float(value), start: None }
}

/// Series with their samples as text: NaN is not equal to itself, and its bits are shown.
async fn select(reader: &dyn SeriesRead, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
    let set = reader.select(matchers, range, &SelectHints::default(), SelectLimits::default()).await;
    let set = set.unwrap_or_else(|e| panic!("{matchers:?}: {e}"));
    assert!(set.warnings.is_empty(), "{:?}", set.warnings);
    let mut all = Vec::new();
    for series in &set.series {
        let mut samples = SampleBuf::default();
        series.samples.decode(range, &mut samples).expect("samples");
        let samples = (0..samples.len()).map(|i| {
            let sample = samples.get(i).expect("it is there");
            let value = match sample.value {
                Value::Float(v) => format!("{:016x}", v.to_bits()),
                Value::Histogram(h) => format!("{:016x} {:?}", h.sum.to_bits(), Histogram { sum: 0.0, ..(*h).clone() }),
            };
            format!("{} {value} {:?}", sample.at.0, sample.start)
        });
        all.push(format!("{} {:?}", series.labels, samples.collect::<Vec<_>>()));
    }
    all
}

/// Every character that means something somewhere, and others.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[abc]", 1 => "(\\PC|[\u{0}-\u{1f}\\\\\u{7f}␊⧵␦#,= \"'/\u{2028}]){1,12}"]
}

fn any_sample(at: i64) -> impl Strategy<Value = Sample> {
    let special =
        prop::sample::select(vec![stale_nan(), f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, f64::MAX]);
    let value = prop_oneof![any::<u64>().prop_map(f64::from_bits), special, (0..1000i32).prop_map(f64::from)];
    let start = prop::option::weighted(0.2, (1..at).prop_map(TimestampMs));
    (value, start, 0..8).prop_map(move |(v, start, kind)| {
        let value = if kind == 0 { Value::Histogram(Arc::new(histogram(v))) } else { Value::Float(v) };
        Sample { at: TimestampMs(at), value, start }
    })
}

fn histogram(sum: f64) -> Histogram {
    Histogram {
        schema: 3,
        count: 7.0,
        sum,
        zero_threshold: 1e-128,
        zero_count: 1.0,
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 5, length: 1 }],
        positive_counts: vec![1.0, 2.0, 3.0],
        integer: true,
        ..Histogram::default()
    }
}

/// The label names of the test: common ones, reserved ones, strange ones.
const NAMES: &[&str] = &["a", "b", "job", "time", "value", "special", "_field", "␦x", "with space", "q\"'\\", "täg"];

fn any_series() -> impl Strategy<Value = (Labels, Vec<Sample>)> {
    let metric = prop_oneof![3 => "m[123]", 1 => any_text(), 1 => Just(String::new())];
    let label = (prop::sample::select(NAMES.to_vec()), any_text());
    let samples = prop::collection::btree_set(0..100i64, 1..6)
        .prop_flat_map(|times| times.into_iter().map(|t| any_sample(T0 + t * 1000)).collect::<Vec<_>>());
    let labels = (metric, prop::collection::vec(label, 0..4));
    let labels = labels.prop_map(|(metric, pairs)| {
        let pairs = pairs.into_iter().map(|(n, v)| (n.to_owned(), v));
        Labels::from_pairs(pairs.chain([(METRIC_NAME.to_owned(), metric)]))
    });
    (labels, samples)
}

fn any_matcher(values: Vec<String>) -> impl Strategy<Value = Matcher> {
    let name = prop::sample::select([NAMES, &[METRIC_NAME, METRIC_NAME, METRIC_NAME, "absent"]].concat());
    let value = prop_oneof![4 => prop::sample::select(values), 1 => any_text(), 1 => Just(String::new())];
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let pattern = prop::sample::select(vec!["", "|", ".*", ".+", "(?i)", "|a", "|m1", "x?"]);
    (name, op, value, pattern).prop_map(|(name, op, value, pattern)| {
        let value = match op {
            MatchOp::Equal | MatchOp::NotEqual => value,
            _ if pattern == "(?i)" => format!("(?i){}", escaped(&value)),
            _ => format!("{}{pattern}", escaped(&value)),
        };
        Matcher::new(name, op, value).expect("an expression")
    })
}

fn escaped(text: &str) -> String {
    text.chars().map(|c| format!("\\x{{{:x}}}", u32::from(c))).collect()
}

fn generate<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).expect("a value").current()
}

/// Reads must be as from memory: samples, series, names, values.
async fn same_as_memory(reader: &dyn SeriesRead, memory: &MemorySeries, matchers: &[Matcher], range: TimeRange) {
    assert_eq!(select(reader, matchers, range).await, select(memory, matchers, range).await, "{matchers:?} {range:?}");
    // Lists are of all times.
    let all = TimeRange::ALL;
    let series = memory.series(matchers, all, 0).await;
    assert_eq!(reader.series(matchers, all, 0).await, series, "{matchers:?}");
    let names = memory.label_names(matchers, all, 0).await;
    assert_eq!(reader.label_names(matchers, all, 0).await, names, "{matchers:?}");
    for name in ["a", "time", "q\"'\\", METRIC_NAME, "absent"] {
        let values = memory.label_values(name, matchers, all, 0).await;
        assert_eq!(reader.label_values(name, matchers, all, 0).await, values, "{name} {matchers:?}");
    }
    let two = memory.label_values("a", matchers, all, 2).await;
    assert_eq!(reader.label_values("a", matchers, all, 2).await, two, "{matchers:?}");
}

#[tokio::test]
async fn what_was_written_is_read_back_whatever_the_labels_and_matchers_are() {
    let Some(server) = influxd().await else { return };
    let engine = v1(&server, "belfry");
    let mut runner = TestRunner::deterministic();
    let mut memory = MemorySeries::new();
    for _ in 0..400 {
        let (labels, samples) = generate(&mut runner, any_series());
        samples.into_iter().for_each(|s| memory.push(&labels, s));
    }
    assert_eq!(engine.send(&shipment(&memory)).await, Ok(Sent { left_out: 0 }));
    // At least once: the same shipment again changes nothing.
    assert_eq!(engine.send(&shipment(&memory)).await, Ok(Sent { left_out: 0 }));

    let reader = engine.reader();
    same_as_memory(&*reader, &memory, &[], TimeRange::ALL).await;
    let mut values: Vec<String> = memory.iter().flat_map(|(l, _)| l.iter().map(|l| l.value.to_string())).collect();
    values.sort();
    values.dedup();
    for _ in 0..150 {
        let matchers = generate(&mut runner, prop::collection::vec(any_matcher(values.clone()), 1..4));
        let (from, length) = generate(&mut runner, (0..100_000i64, 1..60_000i64));
        let range = TimeRange::new(TimestampMs(T0 + from), TimestampMs(T0 + from + length)).expect("a range");
        same_as_memory(&*reader, &memory, &matchers, range).await;
    }
}

async fn evaluate(reader: &dyn SeriesRead, promql: &str) -> String {
    let at = |minutes: i64| TimestampMs(T0 + minutes * 60_000);
    let time = QueryTime::Range { start: at(10), end: at(50), step: Duration::from_secs(60) };
    let query = Query::parse(promql, time, QueryLimits::default()).unwrap_or_else(|e| panic!("{promql}: {e}"));
    let fetched = query.fetch(reader).await.unwrap_or_else(|e| panic!("{promql}: {e}"));
    let answer = fetched.evaluate(&Cancel::default()).unwrap_or_else(|e| panic!("{promql}: {e}"));
    format!("{:?}", answer.value)
}

#[tokio::test]
async fn promql_over_it_gives_the_same_answers() {
    let Some(server) = influxd().await else { return };
    let engine = v1(&server, "belfry");
    let mut memory = MemorySeries::new();
    for (i, path) in ["/", "/a", "/b", "/c"].iter().enumerate() {
        for code in ["200", "500"] {
            let labels = Labels::from_pairs([(METRIC_NAME, "requests_total"), ("path", path), ("code", code)]);
            for n in 0..240 {
                // A counter that starts again, and a gap with a stale marker before it.
                let value = if (100..130).contains(&n) { continue } else { ((n * (i as i64 + 1)) % 500) as f64 + 0.1 };
                let value = if n == 99 { stale_nan() } else { value };
                memory.push(&labels, float(T0 + n * 15_000, value));
            }
        }
        let labels = Labels::from_pairs([(METRIC_NAME, "latency"), ("path", path)]);
        for n in 0..240 {
            let h = Histogram { count: 7.0 * n as f64, zero_count: n as f64, ..histogram(n as f64) };
            let positive_counts = vec![n as f64, 2.0 * n as f64, 3.0 * n as f64];
            let value = Value::Histogram(Arc::new(Histogram { positive_counts, ..h }));
            memory.push(&labels, Sample { value, ..float(T0 + n * 15_000, 0.0) });
        }
    }
    engine.send(&shipment(&memory)).await.expect("it is taken");
    for promql in [
        "sum by (path) (rate(requests_total[5m]))",
        r#"requests_total{code!="200", path=~"/.+"}"#,
        r#"count_over_time({__name__=~"requests_.*"}[2m])"#,
        "histogram_quantile(0.9, sum(rate(latency[5m])))",
        r#"sum(requests_total{absent=""}) / ignoring(absent) count(requests_total)"#,
        "absent(requests_total{code=\"404\"})",
        "resets(requests_total[30m]) + changes(requests_total[30m])",
    ] {
        let ours = evaluate(&*engine.reader(), promql).await;
        assert_eq!(ours, evaluate(&memory, promql).await, "{promql}");
        assert!(ours.len() > 40, "{promql} finds nothing: {ours}");
    }
}

#[tokio::test]
async fn limits_hold_and_long_lists_of_metrics_are_asked_in_parts() {
    let Some(server) = influxd().await else { return };
    let engine = v1(&server, "belfry");
    let mut memory = MemorySeries::new();
    for i in 0..300 {
        let labels =
            Labels::from_pairs([(METRIC_NAME.to_owned(), format!("metric_{i}")), ("i".to_owned(), i.to_string())]);
        memory.push_floats(&labels, TimestampMs(T0), 1000, &[1.0; 50]);
    }
    // More than one part of an answer for one series.
    let long = Labels::from_pairs([(METRIC_NAME, "long")]);
    memory.push_floats(&long, TimestampMs(T0), 1000, &[0.5; 25_000]);
    engine.send(&shipment(&memory)).await.expect("it is taken");
    let reader = engine.reader();
    let all = [Matcher::new(METRIC_NAME, MatchOp::Regex, "metric_.*|long").expect("an expression")];
    assert_eq!(select(&*reader, &all, TimeRange::ALL).await, select(&memory, &all, TimeRange::ALL).await);
    let values = (0..2000).map(|i| format!("v{i}")).chain(["7".to_owned()]).collect::<Vec<_>>().join("|");
    let many = [Matcher::new("i", MatchOp::Regex, values).expect("an expression")];
    assert_eq!(select(&*reader, &many, TimeRange::ALL).await.len(), 1);

    let read = async |series_max, samples_max| {
        let limits = SelectLimits { series_max, samples_max };
        reader.select(&all, TimeRange::ALL, &SelectHints::default(), limits).await.err()
    };
    assert_eq!(read(100, 1_000_000).await, Some(ReadError::TooManySeries { limit: 100 }));
    assert_eq!(read(1000, 20_000).await, Some(ReadError::TooManySamples { limit: 20_000 }));
    assert_eq!(read(301, 300 * 50 + 25_000).await, None);
}

#[tokio::test]
async fn what_it_refuses_is_counted_and_what_can_be_mended_is_kept() {
    let Some(mut server) = influxd().await else { return };
    let engine = v1(&server, "belfry");
    // Another program has written a text where this engine writes a number.
    server.write("taken,a=1 value=\"text\" 1700000000000").await;
    let mut memory = MemorySeries::new();
    for metric in ["taken", "free"] {
        memory.push_floats(&Labels::from_pairs([(METRIC_NAME, metric)]), TimestampMs(T0), 1000, &[1.0; 3]);
    }
    let refused = engine.send(&shipment(&memory)).await;
    let Err(SendError::Refused { reason, samples: Some(3) }) = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("field type conflict"), "{reason}");
    let free = [Matcher::equal(METRIC_NAME, "free")];
    let reader = engine.reader();
    assert_eq!(select(&*reader, &free, TimeRange::ALL).await, select(&memory, &free, TimeRange::ALL).await);
    let hints = SelectHints::default();
    let taken = [Matcher::equal(METRIC_NAME, "taken")];
    let set = reader.select(&taken, TimeRange::ALL, &hints, SelectLimits::default()).await.expect("an answer");
    assert_eq!((set.series.len(), set.warnings.len()), (0, 1), "what others wrote is told of");

    let nowhere = v1(&server, "not there");
    let away = nowhere.send(&shipment(&memory)).await;
    let Err(SendError::Away { reason, .. }) = &away else { panic!("{away:?}") };
    assert!(reason.contains("database not found"), "{reason}");

    server.stop().await;
    assert!(matches!(engine.send(&shipment(&memory)).await, Err(SendError::Away { .. })));
    let answer = reader.select(&free, TimeRange::ALL, &hints, SelectLimits::default()).await;
    assert!(matches!(answer.err(), Some(ReadError::Unavailable(_))));
    server.start().await;
    assert_eq!(select(&*reader, &free, TimeRange::ALL).await, select(&memory, &free, TimeRange::ALL).await);
}

#[tokio::test]
async fn a_hostile_label_changes_nothing_but_its_series() {
    let Some(server) = influxd().await else { return };
    let engine = v1(&server, "belfry");
    let hostile = "'; DROP DATABASE belfry; --\"\\\n/* */ value=7 1\nevil value=1 1";
    let mut memory = MemorySeries::new();
    for (metric, name) in [(hostile, "a"), ("m", hostile)] {
        memory.push(&Labels::from_pairs([(METRIC_NAME, metric), (name, hostile)]), float(T0, 1.0));
    }
    engine.send(&shipment(&memory)).await.expect("it is taken");
    let reader = engine.reader();
    for op in [MatchOp::Equal, MatchOp::NotEqual] {
        for name in ["a", hostile, METRIC_NAME] {
            let matchers = [Matcher::new(name, op, hostile).expect("a matcher")];
            same_as_memory(&*reader, &memory, &matchers, TimeRange::ALL).await;
        }
    }
    let left = server.ask("SHOW MEASUREMENTS").await;
    assert_eq!(left["results"][0]["series"][0]["values"].as_array().map(Vec::len), Some(2), "{left}");
}

#[tokio::test]
async fn version_2_writes_arrive_at_victoria_metrics() {
    let Some(server) = victoria_metrics().await else { return };
    let place = Place::V2 { org: "o".to_owned(), bucket: "b".to_owned(), database: None };
    let engine = Influx::new(config(&server, place)).expect("an engine");
    let mut memory = MemorySeries::new();
    let labels = Labels::from_pairs([(METRIC_NAME, "requests_total"), ("path", "/a b,c=d\"'")]);
    memory.push_floats(&labels, TimestampMs(T0), 15_000, &[1.5, 2.0, 1e9]);
    assert_eq!(engine.send(&shipment(&memory)).await, Ok(Sent { left_out: 0 }));
    // What it took can be asked for a moment later.
    let found = wait_until("the samples can be read", SOON, async || {
        let pairs = [("query", "requests_total_value[1h]"), ("time", "1700000030")];
        let answer = server.get("api/v1/query", &pairs).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let series = json["data"]["result"][0].clone();
        (series["values"].as_array()?.len() == 3).then_some(series)
    })
    .await;
    assert_eq!(found["metric"]["path"], "/a b,c=d\"'");
    let values: Vec<_> = found["values"].as_array().expect("values").iter().map(|v| v[1].as_str()).collect();
    let values: Vec<f64> = values.into_iter().flatten().map(|v| v.parse().expect("a number")).collect();
    assert_eq!(values, [1.5, 2.0, 1e9]);
}
