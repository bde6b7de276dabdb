//! The texts that Prometheus gives, and that nothing is lost in them.

use std::sync::Arc;

use belfry_promql::workers::Alone;
use belfry_promql::{MatrixRow, VectorPoint};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn text(value: &QueryValue) -> String {
    let mut out = Vec::new();
    write(value, usize::MAX, &Alone, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn number_text(v: f64) -> String {
    let mut out = Vec::new();
    number(v, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn numbers_are_written_as_go_writes_them() {
    for (v, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (-17.0, "-17"),
        (0.1, "0.1"),
        (0.000001, "0.000001"),
        (0.00000123, "0.00000123"),
        (123456789012345680.0, "123456789012345680"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-07"),
        (1e100, "1e+100"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(number_text(v), text);
    }
}

#[test]
fn times_have_three_places_or_none() {
    for (ms, text) in [(0, "0"), (1_700_000_000_000, "1700000000"), (1_500, "1.500"), (-1_005, "-1.005"), (7, "0.007")]
    {
        let mut out = Vec::new();
        seconds(TimestampMs(ms), &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), text);
    }
}

#[test]
fn floats_and_histograms_of_a_row_stand_apart_and_labels_are_escaped() {
    let labels = Labels::from_pairs([("__name__", "up"), ("path", "a\"b\\c\n")]);
    let h = Arc::new(Histogram { count: 2.0, sum: 1.5, zero_count: 2.0, zero_threshold: 0.5, ..Histogram::default() });
    let points = vec![
        (TimestampMs(1_000), PointValue::Float(1.0)),
        (TimestampMs(2_000), PointValue::Histogram(h)),
        (TimestampMs(2_500), PointValue::Float(0.25)),
    ];
    let value = QueryValue::Matrix(vec![MatrixRow { labels: labels.clone(), points }]);
    assert_eq!(
        text(&value),
        "[{\"metric\":{\"__name__\":\"up\",\"path\":\"a\\\"b\\\\c\\n\"},\"values\":[[1,\"1\"],[2.500,\"0.25\"]],\
         \"histograms\":[[2,{\"count\":\"2\",\"sum\":\"1.5\",\"buckets\":[[3,\"-0.5\",\"0.5\",\"2\"]]}]]}]"
    );
    let point = |n: i64| VectorPoint { labels: labels.clone(), at: TimestampMs(n), value: PointValue::Float(1.0) };
    let mut out = Vec::new();
    write(&QueryValue::Vector((0..3).map(point).collect()), 2, &Alone, &mut out);
    let read: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(read.as_array().map(Vec::len), Some(2));
    assert_eq!(read[1], json!({"metric": labels, "value": [0.001, "1"]}));
    assert_eq!(text(&QueryValue::Scalar(TimestampMs(1_000), -2.5)), "[1,\"-2.5\"]");
    assert_eq!(text(&QueryValue::String(TimestampMs(0), "a\u{1}".to_owned())), "[0,\"a\\u0001\"]");
    assert_eq!(text(&QueryValue::Vector(Vec::new())), "[]");
}

#[test]
fn a_byte_that_is_no_utf_8_is_a_replacement_character_and_other_characters_stay() {
    let token = r#""x\xffyé\U0001f389\U00100000""#;
    let raw = belfry_promql::syntax::quote::unquote(token).expect("a string");
    let expected = "x\u{fffd}y\u{e9}\u{1f389}\u{100000}";
    assert_eq!(text(&QueryValue::String(TimestampMs(0), raw.clone())), format!("[0,\"{expected}\"]"));
    let point =
        VectorPoint { labels: Labels::from_pairs([("a", raw)]), at: TimestampMs(0), value: PointValue::Float(1.0) };
    assert_eq!(
        text(&QueryValue::Vector(vec![point])),
        format!("[{{\"metric\":{{\"a\":\"{expected}\"}},\"value\":[0,\"1\"]}}]")
    );
}

#[test]
fn a_histogram_lists_its_filled_buckets_from_low_to_high() {
    let h = Histogram {
        schema: 0,
        count: 4.0,
        sum: 3.0,
        zero_threshold: 0.5,
        zero_count: 1.0,
        positive_spans: vec![belfry_model::sample::Span { offset: 0, length: 2 }],
        positive_counts: vec![1.0, 1.0],
        negative_spans: vec![belfry_model::sample::Span { offset: 0, length: 1 }],
        negative_counts: vec![1.0],
        ..Default::default()
    };
    let mut out = Vec::new();
    histogram(&h, &mut out);
    assert_eq!(
        serde_json::from_slice::<Value>(&out).expect("JSON")["buckets"],
        json!([[1, "-1", "-0.5", "1"], [3, "-0.5", "0.5", "1"], [0, "0.5", "1", "1"], [0, "1", "2", "1"]])
    );
}

/// The same answer, made of values one by one.
fn built(value: &QueryValue) -> Value {
    let at = crate::prometheus::seconds;
    let float = |v: f64| json!(crate::prometheus::number(v));
    let native = |h: &Histogram| {
        let buckets: Vec<Value> = belfry_promql::histogram_buckets(h)
            .iter()
            .map(|b| {
                let rule = match (b.lower_inclusive, b.upper_inclusive) {
                    (false, true) => 0,
                    (true, false) => 1,
                    (false, false) => 2,
                    (true, true) => 3,
                };
                json!([rule, float(b.lower), float(b.upper), float(b.count)])
            })
            .collect();
        let mut all = json!({"count": float(h.count), "sum": float(h.sum)});
        if !buckets.is_empty() {
            all["buckets"] = buckets.into();
        }
        all
    };
    let row = |row: &MatrixRow| {
        let mut all = json!({"metric": row.labels});
        for (t, v) in &row.points {
            let (member, point) = match v {
                PointValue::Float(v) => ("values", json!([at(*t), float(*v)])),
                PointValue::Histogram(h) => ("histograms", json!([at(*t), native(h)])),
            };
            match all[member].as_array_mut() {
                Some(points) => points.push(point),
                None => all[member] = json!([point]),
            }
        }
        all
    };
    match value {
        QueryValue::Scalar(t, v) => json!([at(*t), json!(belfry_promql::syntax::number(*v))]),
        QueryValue::String(t, s) => json!([at(*t), s]),
        QueryValue::Vector(points) => {
            let point = |p: &VectorPoint| match &p.value {
                PointValue::Float(v) => json!({"metric": p.labels, "value": [at(p.at), float(*v)]}),
                PointValue::Histogram(h) => json!({"metric": p.labels, "histogram": [at(p.at), native(h)]}),
            };
            points.iter().map(point).collect()
        }
        QueryValue::Matrix(rows) => rows.iter().map(row).collect(),
    }
}

fn a_float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -1e3..1e3f64, (-1000i32..1000).prop_map(f64::from), Just(f64::NAN), Just(-0.0)]
}

fn a_histogram() -> impl Strategy<Value = Histogram> {
    let counts = || prop::collection::vec(prop_oneof![Just(0.0), -5.0..5.0f64], 0..5);
    let schema = prop_oneof![-4i32..=8, Just(Histogram::CUSTOM_BOUNDS)];
    (schema, a_float(), a_float(), -2.0..2.0f64, counts(), counts(), -40i32..40).prop_map(
        |(schema, count, sum, zero_count, positive, negative, offset)| {
            let is_custom = schema == Histogram::CUSTOM_BOUNDS;
            let span =
                |offset: i32, counts: &[f64]| vec![belfry_model::sample::Span { offset, length: counts.len() as u32 }];
            Histogram {
                schema,
                count,
                sum,
                zero_threshold: 1e-3,
                zero_count: if is_custom { 0.0 } else { zero_count },
                positive_spans: span(if is_custom { 0 } else { offset }, &positive),
                negative_spans: if is_custom { Vec::new() } else { span(offset, &negative) },
                custom_bounds: if is_custom { vec![0.25, 0.5, 1.0, 2.5] } else { Vec::new() },
                positive_counts: positive,
                negative_counts: if is_custom { Vec::new() } else { negative },
                ..Histogram::default()
            }
        },
    )
}

fn a_point() -> impl Strategy<Value = PointValue> {
    prop_oneof![
        3 => a_float().prop_map(PointValue::Float),
        1 => a_histogram().prop_map(|h| PointValue::Histogram(Arc::new(h))),
    ]
}

fn an_answer() -> impl Strategy<Value = QueryValue> {
    let time = || prop_oneof![(-100_000i64..2_000_000_000_000), (0i64..2_000_000).prop_map(|s| s * 1_000)];
    let labels = || {
        prop::collection::btree_map("[a-z_]{1,4}", any::<String>(), 0..4)
            .prop_map(|pairs| Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty())))
    };
    let point = (labels(), time(), a_point());
    let points = prop::collection::vec((time(), a_point()), 0..6);
    let points = points.prop_map(|all| all.into_iter().map(|(t, v)| (TimestampMs(t), v)).collect::<Vec<_>>());
    prop_oneof![
        1 => (time(), a_float()).prop_map(|(t, v)| QueryValue::Scalar(TimestampMs(t), v)),
        1 => (time(), any::<String>()).prop_map(|(t, s)| QueryValue::String(TimestampMs(t), s)),
        4 => prop::collection::vec(point, 0..4).prop_map(|all| {
            let point = |(labels, t, value)| VectorPoint { labels, at: TimestampMs(t), value };
            QueryValue::Vector(all.into_iter().map(point).collect())
        }),
        4 => prop::collection::vec((labels(), points), 0..4).prop_map(|all| {
            QueryValue::Matrix(all.into_iter().map(|(labels, points)| MatrixRow { labels, points }).collect())
        }),
    ]
}

/// As many threads as help are lent.
struct Threads;

impl Workers for Threads {
    fn run(&self, help: &(dyn Fn() + Sync), own: &mut dyn FnMut()) {
        std::thread::scope(|scope| {
            scope.spawn(help);
            scope.spawn(help);
            own();
        });
    }
}

#[test]
fn several_threads_write_what_one_writes() {
    let rows = (0..20).map(|n| {
        let float = |i: i64| (TimestampMs((i + n % 2) * 1_500), PointValue::Float(i as f64 / 7.0));
        MatrixRow { labels: Labels::from_pairs([("n", n.to_string())]), points: (0..n * 300).map(float).collect() }
    });
    let value = QueryValue::Matrix(rows.collect());
    let mut out = Vec::new();
    write(&value, usize::MAX, &Threads, &mut out);
    assert!(out == text(&value).as_bytes());
    let read: Value = serde_json::from_slice(&out).expect("JSON");
    assert!(read == built(&value));
}

#[test]
fn of_two_shortest_texts_the_even_one_is_written() {
    // Ends in a quarter: as near to .2 as to .3.
    let value = 5_888_101_167_923_853.0 / 4.0;
    assert_eq!(number_text(value), "1472025291980963.2");
    assert_eq!(crate::prometheus::number(value), "1472025291980963.2");
}

proptest! {
    #[test]
    fn an_answer_says_the_same_as_one_that_is_built_of_values(value in an_answer()) {
        let read: Value = serde_json::from_str(&text(&value)).expect("JSON");
        prop_assert_eq!(read, built(&value));
    }

    #[test]
    fn a_number_is_the_shortest_text_that_is_read_back_the_same(bits in any::<u64>(), whole in any::<i32>()) {
        for v in [f64::from_bits(bits), f64::from(whole), f64::from(whole) / 1000.0] {
            let written = number_text(v);
            prop_assert_eq!(&written, &crate::prometheus::number(v));
            if v.is_finite() {
                prop_assert_eq!(written.parse::<f64>().ok().map(f64::to_bits), Some(v.to_bits()));
            }
        }
    }

    #[test]
    fn a_text_is_read_back_the_same(s in any::<String>()) {
        let mut out = Vec::new();
        string(&s, &mut out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(s));
    }
}
