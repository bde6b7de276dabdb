use belfry_prompb::{BucketSpan, Histogram, Label, Sample, TimeSeries};

use super::super::fuzz::packed;
use super::*;

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(TimestampMs(start), TimestampMs(end)).expect("a range")
}

fn series(name: &str, times: std::ops::Range<i64>) -> TimeSeries {
    TimeSeries {
        labels: vec![Label { name: "__name__".into(), value: name.into() }],
        samples: times.map(|t| Sample { value: t as f64, timestamp: t, ..Sample::default() }).collect(),
        ..TimeSeries::default()
    }
}

#[test]
fn remote_read_gives_what_is_in_the_range_in_order_of_labels() {
    let limits = SelectLimits::default();
    let set = unfold(&packed(&[series("b", 0..10), series("a", 3..5)]), range(2, 8), limits).expect("an answer");
    let names: Vec<_> = set.series.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    let mut buf = SampleBuf::default();
    set.series[1].samples.decode(range(2, 8), &mut buf).expect("samples");
    assert_eq!(buf.times, (2..8).collect::<Vec<_>>());
    buf.clear();
    set.series[1].samples.decode(range(4, 6), &mut buf).expect("samples");
    assert_eq!(buf.times, [4, 5]);
}

#[test]
fn limits_hold_while_reading() {
    let answer = packed(&[series("a", 0..10), series("b", 0..10)]);
    let with =
        |series_max, samples_max| unfold(&answer, range(0, 10), SelectLimits { series_max, samples_max }).map(drop);
    assert_eq!(with(2, 20), Ok(()));
    assert_eq!(with(1, 20), Err(ReadError::TooManySeries { limit: 1 }));
    assert_eq!(with(2, 19), Err(ReadError::TooManySamples { limit: 19 }));
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(unfold(&bomb, range(0, 10), SelectLimits::default()).is_err());
}

#[test]
fn what_is_small_in_a_message_and_large_in_memory_is_bounded() {
    let with = |s: TimeSeries, samples_max| {
        unfold(&packed(&[s]), range(0, 10), SelectLimits { samples_max, ..SelectLimits::default() }).map(drop)
    };
    let samples = TimeSeries { samples: vec![Sample::default(); 20], ..TimeSeries::default() };
    assert_eq!(with(samples.clone(), 20), Ok(()));
    assert_eq!(with(samples, 19), Err(ReadError::TooManySamples { limit: 19 }), "though all have one time");
    let histograms = TimeSeries { histograms: vec![Histogram::default(); 20], ..TimeSeries::default() };
    assert_eq!(with(histograms, 19), Err(ReadError::TooManySamples { limit: 19 }));
    let labels = TimeSeries { labels: vec![Label::default(); 1001], ..TimeSeries::default() };
    assert!(matches!(with(labels, 1), Err(ReadError::Unavailable(e)) if e.contains("too many labels")));
}

#[test]
fn histograms_whose_bounds_were_lost_are_left_out_and_told_of() {
    let custom = |timestamp, custom_values| Histogram {
        schema: -53,
        count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        positive_deltas: vec![1],
        custom_values,
        timestamp,
        ..Histogram::default()
    };
    let with = TimeSeries {
        histograms: vec![custom(1, vec![]), custom(2, vec![0.5]), custom(99, vec![])],
        ..series("a", 0..0)
    };
    let set = unfold(&packed(&[with]), range(0, 10), SelectLimits::default()).expect("an answer");
    let mut buf = SampleBuf::default();
    set.series[0].samples.decode(range(0, 10), &mut buf).expect("samples");
    assert_eq!(buf.times, [2]);
    assert!(matches!(&set.warnings[..], [one] if one.contains("bounds of 1 native histograms")), "{:?}", set.warnings);
}

#[test]
fn matchers_become_a_selector_that_asks_for_something() {
    let m = |text: &str| text.parse::<Matcher>().expect("a matcher");
    assert_eq!(selector(&[]), r#"{__name__!=""}"#);
    assert_eq!(selector(&[m(r#"a!="x""#)]), r#"{a!="x",__name__!=""}"#);
    let odd = [Matcher::equal("__name__", "up"), Matcher::equal("odd name", "a\"b\\c\nd")];
    assert_eq!(selector(&odd), r#"{__name__="up","odd name"="a\"b\\c\nd"}"#);
}

#[test]
fn times_are_said_to_the_millisecond() {
    assert_eq!(seconds(TimestampMs(1_700_000_000_007)), "1700000000.007");
    assert_eq!(seconds(TimestampMs(-1_500)), "-1.500");
}

#[test]
fn lists_of_all_time_have_a_start_that_is_not_0() {
    assert_eq!(bounds(range(0, 2_000)), ("0.001".to_owned(), "1.999".to_owned()));
    assert_eq!(bounds(range(1_500, 2_000)).0, "1.500");
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = unfold(&bytes, range(0, 10), SelectLimits::default());
        let folded = snap::raw::Encoder::new().compress_vec(&bytes).expect("packed");
        let _ = unfold(&folded, range(0, 10), SelectLimits::default());
    }
}
