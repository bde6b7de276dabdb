use proptest::prelude::*;
use prost::Message;

use super::wire::{
    Bucket, BucketSpan, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, Quantile, Summary, Timestamp, Untyped,
};
use super::{Event, ProtobufParser};
use crate::exposition::{fuzz_protobuf, series_labels};

/// The whole family, as an exporter would encode it.
#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

fn family(name: &str, kind: u32, metric: Vec<Metric>) -> MetricFamily {
    MetricFamily { name: name.into(), help: "Help.".into(), kind, metric, unit: String::new() }
}

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.into(), value: value.into() }
}

fn body(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(|f| f.encode_length_delimited_to_vec()).collect()
}

fn all_kinds() -> Vec<MetricFamily> {
    let exemplar = Exemplar {
        label: vec![label("trace_id", "a\"b")],
        value: 0.5,
        timestamp: Some(Timestamp { seconds: 7, nanos: 500_000_000 }),
    };
    let created = Some(Timestamp { seconds: 1, nanos: 0 });
    let bucket = |upper_bound, cumulative_count| Bucket { upper_bound, cumulative_count, ..Bucket::default() };
    vec![
        family(
            "c_total",
            0,
            vec![Metric {
                label: vec![label("a", "b\\\n"), label("x.y", "z")],
                counter: Some(Counter { value: 3.0, exemplar: Some(exemplar.clone()), created_timestamp: created }),
                timestamp_ms: 9,
                ..Metric::default()
            }],
        ),
        family("g", 1, vec![Metric { gauge: Some(Gauge { value: f64::NAN }), ..Metric::default() }]),
        family(
            "s",
            2,
            vec![Metric {
                summary: Some(Summary {
                    sample_count: 2,
                    sample_sum: 1.5,
                    quantile: vec![Quantile { quantile: 0.5, value: 4.0 }],
                    created_timestamp: None,
                }),
                ..Metric::default()
            }],
        ),
        family("ä.b", 3, vec![Metric { untyped: Some(Untyped { value: 1.0 }), ..Metric::default() }]),
        family(
            "h",
            4,
            vec![Metric {
                label: vec![label("p", "q")],
                histogram: Some(Histogram {
                    sample_count: 6,
                    sample_sum: 9.0,
                    bucket: vec![bucket(1.0, 4)],
                    schema: Some(3),
                    zero_threshold: 0.01,
                    zero_count: 1,
                    positive_span: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 3, length: 1 }],
                    positive_delta: vec![2, -1, 1],
                    exemplars: vec![exemplar],
                    ..Histogram::default()
                }),
                ..Metric::default()
            }],
        ),
        family(
            "gh",
            5,
            vec![Metric {
                histogram: Some(Histogram {
                    sample_count_float: 2.5,
                    schema: Some(0),
                    negative_span: vec![BucketSpan { offset: 1, length: 1 }],
                    negative_count: vec![2.5],
                    ..Histogram::default()
                }),
                ..Metric::default()
            }],
        ),
    ]
}

fn told(bytes: &[u8], native: bool, classic: bool) -> Vec<String> {
    let mut parser = ProtobufParser::new(bytes, native, classic);
    let mut out = Vec::new();
    loop {
        out.push(match parser.next_event() {
            Ok(None) => return out,
            Err(e) => {
                out.push(format!("error {e}"));
                return out;
            }
            Ok(Some(Event::Help { .. })) => continue,
            Ok(Some(Event::Type { metric, kind, .. })) => format!("type {metric} {}", kind.as_str()),
            Ok(Some(Event::Unit { metric, unit })) => format!("unit {metric} {unit}"),
            Ok(Some(Event::Sample(s))) => {
                series_labels(s.series).unwrap();
                let exemplar =
                    s.exemplar.map(|e| format!(" # {} {} {:?}", e.labels, e.value, e.at)).unwrap_or_default();
                format!("{} {} {:?} {:?}{exemplar}", s.series, s.value, s.at, s.start)
            }
            Ok(Some(Event::Histogram(h))) => {
                let n = &h.histogram;
                format!(
                    "{} native {} {} {:?} {:?} {:?} {}",
                    h.series,
                    n.schema,
                    n.count,
                    n.positive_counts,
                    n.negative_counts,
                    n.reset_hint,
                    h.exemplars.len()
                )
            }
        });
    }
}

#[test]
fn every_kind_comes_out_as_the_text_formats_write_it() {
    assert_eq!(
        told(&body(&all_kinds()), true, false),
        [
            "type c_total counter",
            r#"c_total{a="b\\\n","x.y"="z"} 3 Some(9) Some(1000) # {trace_id="a\"b"} 0.5 Some(7500)"#,
            "type g gauge",
            "g NaN None None",
            "type s summary",
            "s_count 2 None None",
            "s_sum 1.5 None None",
            r#"s{quantile="0.5"} 4 None None"#,
            "type ä.b unknown",
            r#"{"ä.b"} 1 None None"#,
            "type h histogram",
            r#"h{p="q"} native 3 6 [2.0, 1.0, 2.0] [] Unknown 1"#,
            "type gh gaugehistogram",
            "gh native 0 2.5 [] [2.5] Gauge 0",
        ]
    );
}

#[test]
fn a_histogram_can_come_as_classic_buckets() {
    let families = all_kinds();
    let classic =
        [r#"h_count{p="q"} 6"#, r#"h_sum{p="q"} 9"#, r#"h_bucket{p="q",le="1.0"} 4"#, r#"h_bucket{p="q",le="+Inf"} 6"#];
    let classic = classic.map(|l| format!("{l} None None"));
    assert_eq!(told(&body(&families[4..5]), false, false)[1..], classic);
    assert_eq!(told(&body(&families[4..5]), true, true)[1..5], classic);
    assert!(told(&body(&families[4..5]), true, true)[5].contains("native"));
}

#[test]
fn what_is_wrong_is_said_with_the_number_of_its_message() {
    let good = body(&all_kinds()[..1]);
    let with = |f: MetricFamily| told(&[good.clone(), body(&[f])].concat(), true, false).pop().unwrap();
    assert_eq!(with(family("", 0, vec![])), "error line 2: a metric family has no name");
    assert_eq!(with(family("x", 9, vec![])), "error line 2: `x` has the unknown type 9");
    let empty = family("x", 0, vec![Metric::default()]);
    assert_eq!(with(empty), "error line 2: a metric of `x` has no value of the family's type");
    let mut odd = all_kinds().remove(4);
    odd.metric[0].histogram.as_mut().unwrap().positive_delta.pop();
    assert_eq!(with(odd), "error line 2: `h{p=\"q\"}`: its spans have 3 buckets, its counts 2");
    assert_eq!(told(&good[..good.len() - 1], true, false), ["error line 1: the message is cut short"]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_protobuf(&bytes);
    }

    #[test]
    fn no_mutation_makes_the_parser_panic_or_stand_still(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
    ) {
        let mut bytes = body(&all_kinds());
        for (at, byte, insert) in edits {
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        }
        prop_assert!(fuzz_protobuf(&bytes) <= bytes.len() * 4);
    }
}

#[test]
fn classic_series_are_not_made_of_a_histogram_that_is_native_alone() {
    let mut families = all_kinds();
    let histogram = |f: &mut MetricFamily| f.metric[0].histogram.take().unwrap();
    let mut native = histogram(&mut families[4]);
    native.bucket.clear();
    families[4].metric[0].histogram = Some(native);
    let of = |native, classic| told(&body(&families[4..5]), native, classic).len();
    assert_eq!((of(true, false), of(true, true)), (2, 2), "help and type are told as one");
    assert_eq!(of(false, true), 4, "count, sum and the last bucket, where native ones are not asked for");
}

#[test]
fn a_histogram_that_contradicts_itself_is_refused_as_a_pushed_one_is() {
    let mut families = all_kinds();
    families[4].metric[0].histogram.as_mut().unwrap().sample_count += 1;
    let bytes = body(&families[4..5]);
    let mut parser = ProtobufParser::new(&bytes, true, false);
    let said = loop {
        match parser.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was taken"),
            Err(e) => break e,
        }
    };
    assert_eq!(said.message, r#"`h{p="q"}`: the buckets hold 6 observations, the histogram 7"#);
    assert!(said.is_sample, "it counts among what was scraped");
    assert_eq!(parser.next_event(), Ok(None), "an error ends it");
}
