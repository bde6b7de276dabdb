//! Queries over samples in memory: what comes out, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::{Cancel, ReadError};
use belfry_model::{
    Labels, METRIC_NAME, Matcher, SampleBuf, SampleSource, Series, SeriesRead, SeriesSet, TimeRange, TimestampMs,
};
use belfry_promql::syntax::functions::Function;
use belfry_promql::{Answer, PointValue, Query, QueryError, QueryLimits, QueryTime, QueryValue, ValueType};
use belfry_testkit::{MemorySeries, SelectOnly};
use proptest::prelude::*;

fn series(name: &str, pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([(METRIC_NAME, name)]))
}

/// A sample every 15 s for 10 minutes; `requests_total` of job `a` grows by 1/s, of `b` by 2/s.
fn store() -> MemorySeries {
    let mut m = MemorySeries::new();
    for (job, speed) in [("a", 15.0), ("b", 30.0)] {
        let values: Vec<f64> = (0..=40).map(|i| f64::from(i) * speed).collect();
        m.push_floats(&series("requests_total", &[("job", job)]), TimestampMs(0), 15_000, &values);
    }
    m.push_floats(&series("temperature", &[]), TimestampMs(0), 15_000, &[20.0, 22.0, 21.0]);
    m
}

async fn ask(text: &str, time: QueryTime, limits: QueryLimits) -> Result<Answer, QueryError> {
    let query = Query::parse(text, time, limits)?;
    query.fetch(&store()).await?.evaluate(&Cancel::default())
}

fn at(seconds: i64) -> QueryTime {
    QueryTime::Instant(TimestampMs(seconds * 1000))
}

/// Rounded: the last bits are not what these tests are about.
fn float(v: &PointValue) -> f64 {
    match v {
        PointValue::Float(f) => (f * 1e9).round() / 1e9,
        PointValue::Histogram(_) => f64::NAN,
    }
}

async fn vector(text: &str, time: QueryTime) -> Vec<(String, f64)> {
    match ask(text, time, QueryLimits::default()).await.map(|a| a.value) {
        Ok(QueryValue::Vector(v)) => v.iter().map(|p| (p.labels.to_string(), float(&p.value))).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test]
async fn instant_queries() {
    let job = |j: &str, v: f64| (format!("{{job=\"{j}\"}}"), v);
    assert_eq!(vector("rate(requests_total[1m])", at(600)).await, [job("a", 1.0), job("b", 2.0)]);
    assert_eq!(vector("sum(rate(requests_total[1m]))", at(600)).await, [("{}".to_owned(), 3.0)]);
    assert_eq!(vector("sum by (job) (increase(requests_total[1m])) > 90", at(600)).await, [job("b", 120.0)]);
    assert_eq!(vector("avg_over_time(temperature[1m])", at(30)).await, [("{}".to_owned(), 21.0)]);
    assert_eq!(vector("temperature", at(30 + 299)).await, [("temperature".to_owned(), 21.0)]);
    assert_eq!(vector("temperature", at(30 + 300)).await, []);
    assert_eq!(
        vector("requests_total{job=\"b\"} / on() group_left temperature", at(15)).await,
        [job("b", 1.363636364)]
    );
}

#[tokio::test]
async fn range_queries() {
    let time = QueryTime::Range { start: TimestampMs(0), end: TimestampMs(60_000), step: Duration::from_secs(30) };
    let Ok(Answer { value: QueryValue::Matrix(rows), samples_read, .. }) =
        ask("max(requests_total) - min(requests_total)", time, QueryLimits::default()).await
    else {
        panic!("no matrix");
    };
    let values: Vec<f64> = rows[0].points.iter().map(|(_, v)| float(v)).collect();
    assert_eq!(values, [0.0, 30.0, 60.0]);
    assert!(samples_read >= 10);
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let limits = QueryLimits::default();
    let small = QueryLimits { samples_max: 3, ..QueryLimits::default() };
    let zero = QueryTime::Range { start: TimestampMs(0), end: TimestampMs(1), step: Duration::ZERO };
    let range = QueryTime::Range { start: TimestampMs(0), end: TimestampMs(9), step: Duration::from_millis(1) };
    assert!(matches!(ask("up(", at(0), limits.clone()).await, Err(QueryError::Parse(_))));
    assert!(matches!(ask("up", zero, limits.clone()).await, Err(QueryError::BadData(_))));
    assert!(matches!(ask("up[5m]", range, limits.clone()).await, Err(QueryError::BadData(_))));
    assert!(matches!(ask("requests_total[5m]", at(600), small).await, Err(QueryError::Limit(_))));
    assert!(matches!(
        ask("requests_total", at(600), QueryLimits { series_max: 1, ..limits.clone() }).await,
        Err(QueryError::Limit(_))
    ));
    let e = ask("requests_total * on() requests_total", at(600), limits).await;
    assert!(matches!(e, Err(QueryError::Execution(_))), "{e:?}");
}

#[tokio::test]
async fn a_cancelled_query_stops() {
    let Ok(query) = Query::parse("rate(requests_total[1m])", at(600), QueryLimits::default()) else { panic!() };
    let Ok(fetched) = query.fetch(&store()).await else { panic!() };
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(fetched.evaluate(&cancel), Err(QueryError::Cancelled));
}

/// Of one series the middle cannot be read, and who waited for it left while it was read.
struct Odd {
    buf: SampleBuf,
    damaged: bool,
    left: Cancel,
}

impl SampleSource for Odd {
    fn decode(&self, _: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        self.left.cancel();
        into.times.extend_from_slice(&self.buf.times);
        into.floats.extend_from_slice(&self.buf.floats);
        if self.damaged { Err(ReadError::Damaged("block 7: a chunk".to_owned())) } else { Ok(()) }
    }

    fn estimate(&self) -> u64 {
        self.buf.len() as u64
    }
}

/// A reader of these series.
fn odds(all: Vec<Arc<Odd>>) -> impl SeriesRead {
    SelectOnly(move |_: &[Matcher]| {
        let of = |(i, odd): (usize, &Arc<Odd>)| Series {
            labels: series("m", &[("i", &i.to_string())]),
            samples: odd.clone() as Arc<dyn SampleSource>,
        };
        SeriesSet { series: all.iter().enumerate().map(of).collect(), warnings: Vec::new() }
    })
}

/// A sample a second.
fn seconds(n: i64) -> SampleBuf {
    let mut buf = SampleBuf::default();
    (1..=n).for_each(|i| buf.push_float(i * 1_000, i as f64 + 0.5));
    buf
}

#[tokio::test]
async fn a_query_stops_within_the_windows_of_one_series() {
    for f in ["sum_over_time", "stddev_over_time", "quantile_over_time", "mad_over_time", "deriv"] {
        let argument = if f == "quantile_over_time" { "0.5, " } else { "" };
        let time =
            QueryTime::Range { start: TimestampMs(0), end: TimestampMs(900_000), step: Duration::from_millis(100) };
        let Ok(query) = Query::parse(&format!("{f}({argument}m[10m])"), time, QueryLimits::default()) else { panic!() };
        let left = Cancel::default();
        let odd = Odd { buf: seconds(900), damaged: false, left: left.clone() };
        let Ok(fetched) = query.fetch(&odds(vec![Arc::new(odd)])).await else { panic!() };
        assert_eq!(fetched.evaluate(&left), Err(QueryError::Cancelled), "{f}");
    }
}

#[tokio::test]
async fn an_answer_is_made_of_what_can_be_read_and_says_what_is_missing() {
    let odd = |damaged| Arc::new(Odd { buf: seconds(10), damaged, left: Cancel::default() });
    let reader = odds(vec![odd(false), odd(true), odd(true)]);
    for (text, expected) in [("count(m)", 3.0), ("sum(count_over_time(m[1m]))", 30.0), ("count(timestamp(m))", 3.0)] {
        let Ok(query) = Query::parse(text, at(10), QueryLimits::default()) else { panic!() };
        let Ok(fetched) = query.fetch(&reader).await else { panic!() };
        let Ok(answer) = fetched.evaluate(&Cancel::default()) else { panic!("{text}") };
        let QueryValue::Vector(v) = &answer.value else { panic!("{text}") };
        assert_eq!(v.iter().map(|p| float(&p.value)).collect::<Vec<_>>(), [expected], "{text}");
        assert_eq!(answer.warnings, ["samples are missing from this answer: block 7: a chunk"], "{text}");
    }
}

#[tokio::test]
async fn duplicates_are_an_error_whatever_groups_come_before() {
    let mut m = MemorySeries::new();
    for (name, job) in [("target_info", "a"), ("target_info", "b"), ("x_sum", "b"), ("x_count", "b")] {
        m.push_floats(&series(name, &[("job", job)]), TimestampMs(0), 1, &[1.0]);
    }
    let text = "target_info + {__name__=~\"x_sum|x_count|target_info\"}";
    let Ok(query) = Query::parse(text, at(0), QueryLimits::default()) else { panic!() };
    let Ok(fetched) = query.fetch(&m).await else { panic!() };
    let e = fetched.evaluate(&Cancel::default());
    assert!(matches!(&e, Err(QueryError::Execution(m)) if m.contains("found duplicate series")), "{e:?}");
}

#[tokio::test]
async fn notes_name_their_place() {
    let Ok(a) = ask("sum(rate(temperature[1m]))", at(30), QueryLimits::default()).await else { panic!() };
    assert_eq!(
        a.infos,
        [
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"temperature\" (1:10)"
        ]
    );
}

#[tokio::test]
async fn notes_point_within_brackets() {
    for (text, place) in [
        ("(rate(temperature[1m]))", "(1:7)"),
        ("sum((rate((temperature[1m]))))", "(1:12)"),
        ("-(rate(temperature[1m]))", "(1:8)"),
        ("(temperature + temperature) * rate(temperature[1m])", "(1:36)"),
        ("quantile(2, temperature)", "(1:10)"),
        ("quantile(((2)), (temperature))", "(1:12)"),
        ("quantile by (job) ((1 + 1), temperature)", "(1:21)"),
        ("quantile_over_time((2), temperature[1m])", "(1:21)"),
        ("histogram_quantile((2), (bucket_series))", "(1:21)"),
        ("limit_ratio((2), temperature)", "(1:14)"),
        ("histogram + 1", "(1:1)"),
        ("(histogram) + (1)", "(1:1)"),
        ("(histogram + 1)", "(1:2)"),
        ("((histogram) + 1) * 2", "(1:2)"),
        ("max(({__name__=~\"temperature|histogram\"}))", "(1:6)"),
    ] {
        let Ok(query) = Query::parse(text, at(30), QueryLimits::default()) else { panic!("{text}") };
        let Ok(fetched) = query.fetch(&store_with_histograms()).await else { panic!("{text}") };
        let Ok(answer) = fetched.evaluate(&Cancel::default()) else { panic!("{text}") };
        let notes = [answer.warnings, answer.infos].concat();
        assert!(!notes.is_empty() && notes.iter().all(|n| n.ends_with(place)), "{text}: {notes:?}");
    }
}

#[tokio::test]
async fn what_a_series_says_that_it_is_counts_more_than_its_name() {
    const NAME: &str = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
    const LABEL: &str =
        r#"PromQL info: metric might not be a counter, __type__ label is not set to "counter" or "histogram", got"#;
    for (name, kind, said) in [
        ("requests", "", Some(format!("{NAME} \"requests\" (1:6)"))),
        ("requests_total", "", None),
        ("requests", "counter", None),
        ("requests", "histogram", None),
        ("requests_total", "gauge", Some(format!("{LABEL} \"gauge\": \"requests_total\" (1:6)"))),
        ("latency_sum", "summary", Some(format!("{LABEL} \"summary\": \"latency_sum\" (1:6)"))),
    ] {
        let mut m = MemorySeries::new();
        m.push_floats(&series(name, &[("__type__", kind)]), TimestampMs(0), 10_000, &[1.0, 2.0, 3.0]);
        let Ok(query) = Query::parse(&format!("rate({name}[1m])"), at(30), QueryLimits::default()) else { panic!() };
        let Ok(fetched) = query.fetch(&m).await else { panic!() };
        let Ok(answer) = fetched.evaluate(&Cancel::default()) else { panic!() };
        assert_eq!(answer.infos, Vec::from_iter(said), "{name} {kind}");
    }
}

#[tokio::test]
async fn what_a_metric_is_does_not_hinder_matching() {
    let mut m = MemorySeries::new();
    let labels = |name: &str, unit: &str| series(name, &[("__type__", "gauge"), ("__unit__", unit), ("job", "a")]);
    m.push_floats(&labels("used", "bytes"), TimestampMs(0), 1, &[1.0]);
    m.push_floats(&labels("free", "blocks"), TimestampMs(0), 1, &[3.0]);
    let Ok(query) = Query::parse("used / (used + free)", at(1), QueryLimits::default()) else { panic!() };
    let Ok(fetched) = query.fetch(&m).await else { panic!() };
    let Ok(Answer { value: QueryValue::Vector(v), .. }) = fetched.evaluate(&Cancel::default()) else { panic!() };
    assert_eq!(
        v.iter().map(|p| (p.labels.to_string(), float(&p.value))).collect::<Vec<_>>(),
        [("{job=\"a\"}".to_owned(), 0.25)]
    );
}

#[tokio::test]
async fn filled_series_and_extended_ranges() {
    let v = vector("requests_total{job=\"a\"} + fill(5) requests_total{job=\"b\"}", at(15)).await;
    assert_eq!(v, [("{job=\"a\"}".to_owned(), 20.0), ("{job=\"b\"}".to_owned(), 35.0)]);
    let v = vector("increase(requests_total{job=\"a\"}[1m] smoothed)", at(95)).await;
    assert_eq!(v, [("{job=\"a\"}".to_owned(), 60.0)]);
    let v = vector("increase(requests_total{job=\"a\"}[1m] anchored)", at(95)).await;
    assert_eq!(v, [("{job=\"a\"}".to_owned(), 60.0)]);
    let v = vector("requests_total{job=\"a\"} smoothed", at(20)).await;
    assert_eq!(v, [("requests_total{job=\"a\"}".to_owned(), 20.0)]);
}

#[tokio::test]
async fn deep_expressions_fit_the_stack() {
    for text in [vec!["requests_total"; 200].join(" or "), format!("{}1{}", "-(".repeat(80), ")".repeat(80))] {
        let answer = ask(&text, at(600), QueryLimits::default()).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}

/// Expressions over what [`store`] and one histogram series hold, right and wrong ones.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "requests_total",
        "temperature",
        "{__name__=~\".+\"}",
        "histogram",
        "1",
        "NaN",
        "-Inf",
        "\"job\"",
        "time()",
        "vector(3)",
        "requests_total @ end()",
        "histogram offset -30s",
        "temperature smoothed",
        "bucket_series",
        "start()",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let functions = prop::sample::select(Function::ALL.to_vec());
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "==",
            ">",
            "!= bool",
            "and",
            "or",
            "unless",
            "</",
            ">/",
            "atan2",
            "* on(job) group_left",
            "+ on() fill(1)",
            "- ignoring(job) group_right(x) fill_left(2)",
        ]);
        let aggregate = prop::sample::select(vec![
            "sum",
            "avg by (job)",
            "count",
            "min",
            "max",
            "group",
            "stddev",
            "stdvar without (job)",
            "topk(2,",
            "bottomk(1,",
            "quantile(0.5,",
            "limitk(1,",
            "limit_ratio(-0.5,",
            "count_values(\"v\",",
        ]);
        let range = prop::sample::select(vec!["[1m]", "[5m:30s]", "[1m] anchored", "[2m] smoothed", "[3m:] offset 1m"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (aggregate, inner.clone()).prop_map(|(a, e)| match a.strip_suffix(',') {
                Some(head) => format!("{head}, {e})"),
                None => format!("{a} ({e})"),
            }),
            (functions, prop::collection::vec(inner.clone(), 6), range, 0..3usize).prop_map(
                |(f, vectors, range, more)| {
                    // Mostly of the types it wants.
                    let spec = f.spec();
                    let optional = if spec.variadic == 0 { 0 } else { more };
                    let args: Vec<String> = (0..spec.args.len() + optional)
                        .map(|i| match spec.args.get(i).or(spec.args.last()) {
                            Some(ValueType::Matrix) => {
                                format!("{}{range}", if range.contains(':') { &vectors[i] } else { "requests_total" })
                            }
                            Some(ValueType::Scalar) => format!("0.{}", i + more),
                            Some(ValueType::String) => "\"job\"".to_owned(),
                            _ => vectors[i % vectors.len()].clone(),
                        })
                        .collect();
                    format!("{}({})", spec.name, args.join(", "))
                }
            ),
            inner.prop_map(|e| format!("-{e}")),
        ]
    })
}

fn store_with_histograms() -> MemorySeries {
    use belfry_model::sample::Span;
    use belfry_model::{Histogram, Sample, Value};
    let mut m = store();
    for (i, le) in ["1", "5", "+Inf"].into_iter().enumerate() {
        let values: Vec<f64> = (0..20).map(|n| f64::from(n) * (i + 1) as f64).collect();
        m.push_floats(&series("bucket_series", &[("le", le)]), TimestampMs(0), 30_000, &values);
    }
    for n in 0..20 {
        let f = f64::from(n);
        let h = Histogram {
            schema: if n > 14 { Histogram::CUSTOM_BOUNDS } else { n % 3 },
            count: 3.0 * f,
            sum: f,
            zero_threshold: 0.001 * f,
            zero_count: f,
            positive_spans: vec![Span { offset: n % 4, length: 2 }],
            positive_counts: vec![f, f],
            custom_bounds: if n > 14 { vec![1.0, 2.0, 5.0, f] } else { Vec::new() },
            ..Histogram::default()
        };
        let value = Value::Histogram(Arc::new(h));
        m.push(
            &series("histogram", &[("job", "a")]),
            Sample { at: TimestampMs(i64::from(n) * 30_000), value, start: None },
        );
    }
    m
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_expression_panics(text in expressions(), range in any::<bool>()) {
        let time = match range {
            true => QueryTime::Range {
                start: TimestampMs(-60_000),
                end: TimestampMs(700_000),
                step: Duration::from_secs(45),
            },
            false => at(300),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(runtime) = runtime else { return Ok(()) };
        if let Ok(query) = Query::parse(&text, time, QueryLimits::default()) {
            let fetched = runtime.block_on(query.fetch(&store_with_histograms()));
            if let Ok(fetched) = fetched {
                let once = fetched.evaluate(&Cancel::default());
                prop_assert_eq!(format!("{once:?}"), format!("{:?}", fetched.evaluate(&Cancel::default())), "{}", text);
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_terms_in_a_row_are_added() {
    for (term, terms, sum) in [("temperature", 1_000, 21_000.0), ("1 + temperature", 500, 11_000.0)] {
        let text = format!("sum(vector(0) + on() ({}))", vec![term; terms].join(" + "));
        assert_eq!(vector(&text, at(30)).await, [("{}".to_owned(), sum)], "{term}");
    }
    let text = format!("vector({})", vec!["1"; 1_000].join(" + "));
    assert_eq!(vector(&text, at(30)).await, [("{}".to_owned(), 1_000.0)]);
    let minute = QueryTime::Range { start: TimestampMs(0), end: TimestampMs(60_000), step: Duration::from_secs(30) };
    let text = vec!["temperature"; 1_000].join(" + ");
    assert!(ask(&text, minute, QueryLimits::default()).await.is_ok());
}

/// Ten thousand instances have info series; one is asked about.
#[tokio::test]
async fn info_that_is_only_told_what_not_to_read_reads_all_other_info_metrics() {
    let mut m = MemorySeries::new();
    let mut add = |name: &str, pairs: &[(&str, &str)]| {
        let all: Vec<_> = pairs.iter().copied().chain([("instance", "a"), ("job", "j")]).collect();
        m.push_floats(&series(name, &all), TimestampMs(0), 1000, &[1.0]);
    };
    add("up", &[]);
    add("target_info", &[("env", "prod")]);
    add("build_info", &[("version", "1")]);
    add("other", &[("x", "y")]);
    let same = "up{instance=\"a\", job=\"j\"}";
    for (text, want) in [
        ("info(up, {__name__!=\"target_info\"})", &["up{instance=\"a\", job=\"j\", version=\"1\"}"][..]),
        ("info(up, {__name__!~\".+_info\", env=~\".*\"})", &[same]),
        ("info(up, {__name__!~\".+_info\", env=~\".+\"})", &[]),
    ] {
        let Ok(query) = Query::parse(text, at(0), QueryLimits::default()) else { panic!("{text}") };
        let Ok(fetched) = query.fetch(&m).await else { panic!("{text}") };
        let Ok(Answer { value: QueryValue::Vector(v), .. }) = fetched.evaluate(&Cancel::default()) else { panic!() };
        assert_eq!(v.iter().map(|p| p.labels.to_string()).collect::<Vec<_>>(), want, "{text}");
    }
}

#[tokio::test]
async fn info_reads_only_the_info_series_of_the_series_at_hand() {
    let mut m = MemorySeries::new();
    for i in 0..10_000 {
        let instance = format!("host-{i}");
        let pairs = [("instance", instance.as_str()), ("job", "node"), ("version", "1")];
        m.push_floats(&series("target_info", &pairs), TimestampMs(0), 15_000, &[1.0]);
        m.push_floats(&series("up", &pairs[..2]), TimestampMs(0), 15_000, &[1.0]);
    }
    let limits = QueryLimits { series_max: 10, ..QueryLimits::default() };
    for text in ["info(up{instance=\"host-7\"})", "info(max_over_time(up{instance=\"host-7\"}[1m]))"] {
        let query = Query::parse(text, at(0), limits.clone()).expect("a query");
        let fetched = query.fetch(&m).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        let answer = fetched.evaluate(&Cancel::default()).map(|a| a.value);
        let Ok(QueryValue::Vector(v)) = answer else { panic!("{answer:?}") };
        assert_eq!(v[0].labels.get("version"), Some("1"), "{text}");
    }
}

/// As Prometheus does: only what is out of bounds is a fault.
#[tokio::test]
async fn smoothing_by_a_factor_that_is_no_number_gives_none() {
    for text in ["NaN, 0.6", "0.6, NaN"] {
        let smoothed = vector(&format!("double_exponential_smoothing(temperature[1m], {text})"), at(30)).await;
        assert!(matches!(&smoothed[..], [(_, v)] if v.is_nan()), "{smoothed:?}");
    }
    for text in ["0, 0.6", "0.6, 1"] {
        let text = format!("double_exponential_smoothing(temperature[1m], {text})");
        let refused = ask(&text, at(30), QueryLimits::default()).await;
        assert!(matches!(refused, Err(QueryError::Execution(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn labels_of_values_are_numbers_as_go_writes_them() {
    let counted = vector("count_values(\"v\", vector(2 ^ -25))", at(0)).await;
    assert_eq!(counted, [("{v=\"0.000000029802322387695312\"}".to_owned(), 1.0)]);
}

/// Numbers in messages have the exponents that Go writes.
#[tokio::test]
async fn numbers_in_messages_are_written_as_go_writes_them() {
    for (text, said) in [
        ("quantile(1e6, temperature)", "between 0 and 1, got 1e+06"),
        ("quantile(123456, temperature)", "between 0 and 1, got 123456"),
        ("limit_ratio(1e7, temperature)", "got 1e+07, capping to 1"),
        ("topk(1e20, temperature)", "Scalar value 1e+20 overflows int64"),
    ] {
        let told = match ask(text, at(0), QueryLimits::default()).await {
            Ok(answer) => answer.warnings.concat(),
            Err(e) => e.to_string(),
        };
        assert!(told.contains(said), "{text}: {told}");
    }
}
