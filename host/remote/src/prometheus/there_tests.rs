use std::sync::Arc;

use belfry_model::sample::Span;
use belfry_model::sample::stale_nan;
use belfry_model::{Labels, Sample, Series};

use super::*;
use crate::samples::Samples;

fn at(at: i64, value: Value) -> Sample {
    Sample { at: TimestampMs(at), value, start: None }
}

fn series(labels: &[(&str, &str)], samples: impl IntoIterator<Item = Sample>) -> SeriesSamples {
    let labels = Labels::from_pairs(labels.iter().copied());
    SeriesSamples { labels, samples: samples.into_iter().collect(), exemplars: Vec::new() }
}

fn named(name: &str) -> SeriesSamples {
    series(&[("__name__", name)], [at(5, Value::Float(0.0))])
}

fn histogram(offset: i32, counts: &[f64]) -> Value {
    let positive_spans = vec![Span { offset, length: counts.len() as u32 }];
    let h = Histogram { count: 7.0, positive_spans, positive_counts: counts.to_vec(), ..Histogram::default() };
    Value::Histogram(Arc::new(h))
}

fn stale_histogram() -> Value {
    Value::Histogram(Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() }))
}

fn found(s: &SeriesSamples) -> Series {
    let mut buf = SampleBuf::default();
    s.samples.iter().for_each(|sample| buf.push(sample));
    Series { labels: s.labels.clone(), samples: Arc::new(Samples(buf)) }
}

#[test]
fn only_what_the_engine_gives_back_as_it_was_sent_is_dropped() {
    let quiet = f64::from_bits(f64::NAN.to_bits() ^ 1);
    let floats = |values: &[f64]| -> Vec<Sample> {
        values.iter().enumerate().map(|(i, v)| at(i as i64, Value::Float(*v))).collect()
    };
    let mut sent = [
        series(&[("__name__", "a")], floats(&[1.0, 2.0, stale_nan(), f64::NAN, f64::NAN, 0.0])),
        series(&[("__name__", "b")], floats(&[1.0])),
    ];
    let mut there = series(&[("__name__", "a")], floats(&[1.0, 2.5, stale_nan(), f64::NAN, quiet, -0.0]));
    there.samples.push(at(99, Value::Float(1.0)));
    let other = series(&[("__name__", "a"), ("of", "another")], floats(&[1.0, 2.0]));
    let range = TimeRange::new(TimestampMs(0), TimestampMs(6)).expect("a range");
    drop_those_in(&SeriesSet { series: vec![found(&there), found(&other)], warnings: Vec::new() }, range, &mut sent);
    let left: Vec<i64> = sent[0].samples.iter().map(|s| s.at.0).collect();
    assert_eq!(left, [1, 4, 5], "another value, another NaN, another zero");
    assert_eq!(sent[1].samples.len(), 1, "nothing is said of it");
}

#[test]
fn a_histogram_is_the_same_whatever_empty_buckets_it_was_given() {
    assert!(is_same(&histogram(0, &[1.0, 0.0, 6.0]), &histogram(0, &[1.0, 0.0, 6.0])));
    assert!(is_same(&histogram(-1, &[0.0, 1.0, 0.0, 6.0, 0.0]), &histogram(0, &[1.0, 0.0, 6.0])));
    assert!(!is_same(&histogram(0, &[1.0, 6.0]), &histogram(0, &[1.0, 0.0, 6.0])));
    assert!(!is_same(&histogram(0, &[2.0, 0.0, 5.0]), &histogram(0, &[1.0, 0.0, 6.0])));
    assert!(!is_same(&histogram(0, &[]), &Value::Float(0.0)));
    // Sent as a float, kept as a histogram.
    assert!(is_same(&stale_histogram(), &stale_histogram()) && is_same(&stale_histogram(), &Value::Float(stale_nan())));
    let endless =
        Histogram { positive_spans: vec![Span { offset: i32::MIN, length: u32::MAX }; 9], ..Histogram::default() };
    assert_eq!(buckets(&endless, false), []);
}

#[test]
fn a_question_is_as_narrow_as_the_labels_allow() {
    let one = |name: &str, i: &str, more: &str, time| {
        series(&[("__name__", name), ("i", i), (more, "x"), ("replica", "a")], [at(time, Value::Float(0.0))])
    };
    let (matchers, range) =
        question(&[one("a.b", "1", "p", 7), one("c", "2", "q", 9), one("c", "1", "q", 8)]).expect("one");
    assert_eq!((range.start().0, range.end().0), (7, 10));
    let matchers: Vec<String> =
        matchers.iter().map(|m| format!("{}{}{}", m.name(), m.op().as_str(), m.value())).collect();
    assert_eq!(matchers, [r"__name__=~a\.b|c", "i=~1|2", "replica=a"]);
}

#[test]
fn a_question_is_bounded_and_what_is_too_much_for_one_goes_in_two() {
    let many: Vec<SeriesSamples> = (0..1_000).map(|i| named(&format!("a_name_of_thirty_characters_{i}"))).collect();
    assert!(question(&many).is_none());
    let (matchers, _) = question(&many[..300]).expect("one");
    assert!(matchers[0].value().len() <= MATCHER_BYTES_MAX);
    assert_eq!(halves(0..3).collect::<Vec<_>>(), [1..3, 0..1]);
    assert_eq!(halves(2..3).count() + halves(2..2).count(), 0, "no end to it otherwise");
    // A label with too many values is left out: the names say enough.
    let wide = |i: usize| series(&[("__name__", "m"), ("id", &format!("{i:0100}"))], [at(5, Value::Float(0.0))]);
    let (matchers, _) = question(&(0..1_000).map(wide).collect::<Vec<_>>()).expect("one");
    assert_eq!(matchers, [Matcher::equal("__name__", "m")]);
    let same: Vec<SeriesSamples> = (0..=SERIES_MAX).map(|_| named("m")).collect();
    assert!(question(&same).is_none() && question(&same[1..]).is_some());
    assert!(question(&[series(&[("__name__", "m")], [])]).is_none(), "it has exemplars alone");
    assert!(question(&[named("m"), series(&[("no", "name")], [at(5, Value::Float(0.0))])]).is_none());
}
