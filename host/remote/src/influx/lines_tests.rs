//! Lines are read here by a parser written from InfluxDB's description, not from the encoder.

use std::sync::Arc;

use belfry_model::sample::stale_nan;
use belfry_model::{Histogram, TimestampMs};
use proptest::prelude::*;

use super::*;
use crate::engine::SeriesSamples;

fn float(at: i64, value: f64) -> Sample {
    Sample { at: TimestampMs(at), value: Value::Float(value), start: None }
}

fn shipment(labels: Labels, samples: Vec<Sample>) -> Shipment {
    let series = vec![SeriesSamples { labels, samples, ..SeriesSamples::default() }];
    Shipment { series, ..Shipment::default() }
}

fn text(labels: &[(&str, &str)], samples: Vec<Sample>) -> String {
    let lines = encode(&shipment(Labels::from_pairs(labels.iter().copied()), samples), BODY_BYTES_MAX);
    assert_eq!(lines.left_out, 0);
    lines.bodies.into_iter().map(|b| b.text).collect()
}

#[test]
fn a_sample_is_a_line() {
    let up = [(METRIC_NAME, "up"), ("job", "a b"), ("x", "1,2=3")];
    assert_eq!(
        text(&up, vec![float(5, 1.0), float(6, 1e300)]),
        "up,job=a\\ b,x=1\\,2\\=3 value=1.0 5\nup,job=a\\ b,x=1\\,2\\=3 value=1e300 6\n"
    );
}

#[test]
fn special_values_have_a_field_of_their_own() {
    let up = [(METRIC_NAME, "up")];
    let samples = vec![float(1, stale_nan()), float(2, f64::INFINITY), float(-3, f64::NAN)];
    assert_eq!(text(&up, samples), "up special=\"stale\" 1\nup special=\"+Inf\" 2\nup special=\"NaN\" -3\n");
}

#[test]
fn start_timestamps_are_a_field_beside() {
    let sample = Sample { start: Some(TimestampMs(7)), ..float(9, 2.0) };
    assert_eq!(text(&[(METRIC_NAME, "c")], vec![sample]), "c value=2.0,start=7i 9\n");
}

#[test]
fn a_histogram_is_a_text() {
    let value = Value::Histogram(Arc::new(Histogram { count: 1.0, ..Histogram::default() }));
    let line = text(&[(METRIC_NAME, "h")], vec![Sample { at: TimestampMs(1), value, start: None }]);
    assert!(line.starts_with(r#"h histogram="{\"schema\":0,\"count\":1.0,"#), "{line}");
    assert!(line.ends_with("}\" 1\n"), "{line}");
}

#[test]
fn what_cannot_be_written_is_counted() {
    let long = "x".repeat(SERIES_BYTES_MAX);
    let labels = |v: &str| Labels::from_pairs([(METRIC_NAME, "m"), ("a", v)]);
    let lines = encode(&shipment(labels(&long), vec![float(1, 1.0), float(2, 1.0)]), BODY_BYTES_MAX);
    assert_eq!(lines, Lines { bodies: vec![], left_out: 2 });

    let lines = encode(&shipment(labels("1"), vec![float(i64::MIN, 1.0), float(i64::MAX, 1.0), float(0, 1.0)]), 100);
    assert_eq!((lines.left_out, lines.bodies.len()), (2, 1));

    let h = Histogram { custom_bounds: vec![f64::INFINITY], ..Histogram::default() };
    let value = Value::Histogram(Arc::new(h));
    let lines = encode(&shipment(labels("1"), vec![Sample { at: TimestampMs(0), value, start: None }]), 100);
    assert_eq!(lines.left_out, 1);
}

#[test]
fn bodies_are_bounded_and_keep_the_order() {
    let samples: Vec<_> = (0..100).map(|i| float(i, 1.0)).collect();
    let whole = text(&[(METRIC_NAME, "m")], samples.clone());
    let labels = Labels::from_pairs([(METRIC_NAME, "m")]);
    let lines = encode(&shipment(labels, samples), 64);
    assert!(lines.bodies.len() > 10);
    assert!(lines.bodies.iter().all(|b| b.text.len() <= 64 && b.text.lines().count() as u64 == b.samples));
    assert_eq!(lines.bodies.iter().map(|b| b.text.as_str()).collect::<String>(), whole);
}

/// A point as InfluxDB understands a line.
#[derive(Debug, PartialEq)]
struct Point {
    measurement: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, String)>,
    time: i64,
}

/// Up to one of `ends` that is not escaped, without the escapes.
fn token(rest: &mut &str, ends: &[char], escaped: &[char]) -> String {
    let mut out = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        if c == '\\' && chars.peek().is_some_and(|(_, next)| escaped.contains(next)) {
            out.extend(chars.next().map(|(_, c)| c));
        } else if ends.contains(&c) {
            *rest = &rest[i..];
            return out;
        } else {
            out.push(c);
        }
    }
    *rest = "";
    out
}

fn take(rest: &mut &str, c: char) -> bool {
    let found = rest.strip_prefix(c);
    *rest = found.unwrap_or(rest);
    found.is_some()
}

fn field(rest: &mut &str) -> (String, String) {
    let key = token(rest, &['='], &[',', '=', ' ']);
    assert!(take(rest, '='));
    if take(rest, '"') {
        let value = token(rest, &['"'], &['"', '\\']);
        assert!(take(rest, '"'));
        return (key, value);
    }
    (key, token(rest, &[',', ' '], &[]))
}

fn parse(line: &str) -> Point {
    let mut rest = line;
    let measurement = token(&mut rest, &[',', ' '], &[',', ' ']);
    let (mut tags, mut fields) = (Vec::new(), Vec::new());
    while take(&mut rest, ',') {
        let key = token(&mut rest, &['='], &[',', '=', ' ']);
        assert!(take(&mut rest, '='));
        tags.push((key, token(&mut rest, &[',', ' ', '='], &[',', '=', ' '])));
    }
    assert!(take(&mut rest, ' '), "{line:?}");
    fields.push(field(&mut rest));
    while take(&mut rest, ',') {
        fields.push(field(&mut rest));
    }
    assert!(take(&mut rest, ' '));
    Point { measurement, tags, fields, time: rest.parse().expect("a time") }
}

fn value_of(fields: &[(String, String)]) -> u64 {
    let of = |key: &str| fields.iter().find(|f| f.0 == key).map(|f| f.1.as_str());
    match (of("value"), of("special")) {
        (Some(v), None) => v.parse::<f64>().expect("a number").to_bits(),
        (None, Some(v)) => special::decode(v).expect("a word").to_bits(),
        both => panic!("{both:?}"),
    }
}

/// Labels with every character that means something somewhere.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    "(\\PC|[\u{0}-\u{1f}\\\\\u{7f}␊⧵␦#,= \"'/]){1,12}"
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(
        metric in any_text(),
        pairs in prop::collection::vec((any_text(), any_text()), 0..4),
        at in TIME_MIN_MS..=TIME_MAX_MS,
        bits in any::<u64>(),
        nan in any::<bool>(),
    ) {
        let bits = if nan { bits | 0x7ff0_0000_0000_0000 } else { bits };
        let pairs = pairs.into_iter().filter(|(n, _)| n != METRIC_NAME);
        let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME.to_owned(), metric)]));
        let lines = encode(&shipment(labels.clone(), vec![float(at, f64::from_bits(bits))]), BODY_BYTES_MAX);
        let line = lines.bodies[0].text.strip_suffix('\n').expect("a whole line");
        prop_assert!(!line.contains('\n') && !line.starts_with('#'));
        let point = parse(line);
        prop_assert_eq!(point.time, at);
        prop_assert_eq!(value_of(&point.fields), bits);
        let mut back = vec![(METRIC_NAME.to_owned(), names::decode_measurement(&point.measurement).into_owned())];
        for (k, v) in &point.tags {
            prop_assert!(!matches!(k.as_str(), "time" | "value" | "special" | "histogram" | "start"));
            back.push((names::decode(k).into_owned(), names::decode(v).into_owned()));
        }
        prop_assert_eq!(Labels::from_pairs(back), labels.clone());

        // A key as the server shows it is the line's beginning.
        let mut key = String::new();
        push_key(&mut key, &labels);
        prop_assert_eq!(decode_key(&key), labels);
    }

    #[test]
    fn any_key_is_read_without_fail(text in "(\\PC|[\\\\,= ]){0,24}") {
        decode_key(&text);
    }
}
