use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::{Cancel, ReadError};
use belfry_model::{Labels, Rollup, SampleBuf, SampleSource, Series, SeriesSet, TimeRange, TimestampMs};
use proptest::prelude::*;

use crate::{Fetched, PointValue, Query, QueryLimits, QueryTime, QueryValue};

const HOUR: i64 = 3_600_000;
const T0: i64 = 1_700_000_000_000 / HOUR * HOUR;

struct Held(SampleBuf);

impl SampleSource for Held {
    fn decode(&self, _: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        *into = self.0.clone();
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}

/// As the store downsamples: first and last sample of each run without a fall, within an hour.
fn downsampled(points: &[(i64, f64)]) -> SampleBuf {
    let mut out = SampleBuf::default();
    out.coarse.resolution_ms = HOUR;
    let hour = |p: &(i64, f64)| (p.0 - 1).div_euclid(HOUR);
    for run in points.chunk_by(|a, b| hour(a) == hour(b) && b.1 >= a.1 && b.0 - a.0 < 300_000) {
        let (first, last) = (run[0], run[run.len() - 1]);
        if run.len() > 1 {
            out.push_float(first.0, first.1);
            out.coarse.rows.push(Rollup { count: 0, ..Rollup::alone(first.0, first.1) });
        }
        out.push_float(last.0, last.1);
        let sum = run.iter().map(|p| p.1).sum();
        let count = run.len() as u32;
        out.coarse.rows.push(Rollup { count, since: first.0, min: first.1, max: last.1, sum });
    }
    out
}

fn plain(points: &[(i64, f64)]) -> SampleBuf {
    let mut out = SampleBuf::default();
    points.iter().for_each(|(t, v)| out.push_float(*t, *v));
    out
}

/// The points of the one series of the answer, and the infos beside.
fn ask(buf: SampleBuf, query: &str, from: i64, to: i64, step: i64) -> (Vec<(i64, f64)>, Vec<String>) {
    let (points, _, infos) = ask_all(buf, query, from, to, step);
    (points, infos)
}

/// The same with the warnings before the infos.
fn ask_all(buf: SampleBuf, query: &str, from: i64, to: i64, step: i64) -> (Vec<(i64, f64)>, Vec<String>, Vec<String>) {
    let (start, end) = (TimestampMs(from), TimestampMs(to));
    let time = QueryTime::Range { start, end, step: Duration::from_millis(step as u64) };
    let query = Query::parse(query, time, QueryLimits::default()).unwrap();
    let labels = Labels::from_pairs([("__name__", "x_total")]);
    let series = Series { labels, samples: Arc::new(Held(buf)) };
    let set = |_| crate::query::Selected::Series(SeriesSet { series: vec![series.clone()], warnings: Vec::new() });
    let sets = query.selections.iter().map(set).collect();
    let answer = Fetched { query, sets }.evaluate(&Cancel::default()).unwrap();
    let QueryValue::Matrix(rows) = answer.value else { panic!("a range query answers with a matrix") };
    let value = |v: &PointValue| match v {
        PointValue::Float(f) => *f,
        PointValue::Histogram(_) => f64::NAN,
    };
    let points = rows.first().map_or(Vec::new(), |r| r.points.iter().map(|(t, v)| (t.0, value(v))).collect());
    (points, answer.warnings, answer.infos)
}

/// A counter scraped every 15 s for two days, begun anew now and then.
fn counter() -> Vec<(i64, f64)> {
    (1..2 * 5760).map(|i| (T0 + i * 15_000 - 7_000, ((i % 1000) * 3) as f64)).collect()
}

#[test]
fn an_instant_selector_has_no_gaps_and_ends_where_the_samples_end() {
    let points = counter();
    let end = points[points.len() - 1].0;
    for step in [60_000, 7 * 60_000, HOUR] {
        let (from, to) = (T0 + 1_000_000, end + 2 * HOUR);
        let (raw, _) = ask(plain(&points), "x_total", from, to, step);
        let (coarse, infos) = ask(downsampled(&points), "x_total", from, to, step);
        assert_eq!(coarse.iter().map(|p| p.0).collect::<Vec<_>>(), raw.iter().map(|p| p.0).collect::<Vec<_>>());
        assert_eq!(infos, ["PromQL info: some of the data is downsampled to 1h"]);
    }
}

#[test]
fn a_gap_in_the_samples_stays_one() {
    let points: Vec<_> = counter().into_iter().filter(|p| !(T0 + 500_000..T0 + 2_000_000).contains(&p.0)).collect();
    let (raw, _) = ask(plain(&points), "x_total", T0, T0 + 2 * HOUR, 60_000);
    let (coarse, _) = ask(downsampled(&points), "x_total", T0, T0 + 2 * HOUR, 60_000);
    assert_eq!(coarse.iter().map(|p| p.0).collect::<Vec<_>>(), raw.iter().map(|p| p.0).collect::<Vec<_>>());
}

#[test]
fn windows_that_cut_segments_see_what_lies_on_the_line() {
    let points: Vec<_> = (1..5760).map(|i| (T0 + i * 15_000 - 7_000, 1e6 + i as f64 * 30.0)).collect();
    let (from, to) = (T0 + 3 * HOUR + 1_234_567, T0 + 20 * HOUR);
    for query in [
        "rate(x_total[5m])",
        "increase(x_total[30m])",
        "rate(x_total[3h])",
        "irate(x_total[5m])",
        "count_over_time(x_total[20m])",
        "avg_over_time(x_total[20m])",
        "sum_over_time(x_total[20m])",
        "deriv(x_total[10m])",
    ] {
        let (raw, _) = ask(plain(&points), query, from, to, 733_000);
        let (coarse, _) = ask(downsampled(&points), query, from, to, 733_000);
        assert_eq!(coarse.len(), raw.len(), "{query}");
        for (c, r) in coarse.iter().zip(&raw) {
            assert!((c.1 - r.1).abs() <= r.1.abs() * 0.03, "{query}: {c:?}, of all samples {r:?}");
        }
    }
}

const DOWNSAMPLED: &str = "PromQL info: some of the data is downsampled to 1h";

/// What beside a query of whole hours over downsampled data is said, and whether its answer is that of all samples.
fn judged(query: &str) -> (bool, Vec<String>, Vec<String>) {
    let points: Vec<_> = (1..1440).map(|i| (T0 + i * 15_000 - 7_000, (10 * i + i * i % 7) as f64)).collect();
    let (raw, of_all, _) = ask_all(plain(&points), query, T0 + 2 * HOUR, T0 + 5 * HOUR, HOUR);
    assert!(of_all.is_empty() && !raw.is_empty(), "{query}: {of_all:?}");
    let (coarse, warnings, infos) = ask_all(downsampled(&points), query, T0 + 2 * HOUR, T0 + 5 * HOUR, HOUR);
    (coarse == raw, warnings, infos)
}

#[test]
fn a_function_that_needs_the_samples_in_between_is_named_in_a_warning() {
    for (function, query) in [
        ("changes", "changes(x_total[2h])"),
        ("deriv", "deriv(x_total[1h])"),
        ("double_exponential_smoothing", "double_exponential_smoothing(x_total[1h], 0.5, 0.5)"),
        ("idelta", "idelta(x_total[1h])"),
        ("irate", "irate(x_total[1h])"),
        ("mad_over_time", "mad_over_time(x_total[1h])"),
        ("max_over_time", "max_over_time(x_total[30m] offset 10m)"),
        ("min_over_time", "min_over_time(x_total[30m] offset 10m)"),
        ("predict_linear", "predict_linear(x_total[1h], 3600)"),
        ("quantile_over_time", "sum(quantile_over_time(0.9, x_total[1h]))"),
        ("stddev_over_time", "stddev_over_time(x_total[1h])"),
        ("stdvar_over_time", "max_over_time(stdvar_over_time(x_total[1h])[2h:1h])"),
        ("ts_of_max_over_time", "ts_of_max_over_time(x_total[2h] offset 30m)"),
        ("ts_of_min_over_time", "ts_of_min_over_time(x_total[2h] offset 30m)"),
    ] {
        let (is_right, warnings, infos) = judged(query);
        let warning = format!("PromQL warning: {function} sees only some samples of downsampled data");
        assert_eq!((is_right, warnings), (false, vec![warning]), "{query}");
        assert_eq!(infos, [DOWNSAMPLED], "{query}");
    }
    let both = judged("changes(x_total[2h]) + stddev_over_time(x_total[1h])").1;
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn a_function_that_needs_none_of_them_says_an_info_alone() {
    for query in [
        "x_total",
        "rate(x_total[1h])",
        "increase(x_total[2h])",
        "delta(x_total[1h])",
        "resets(x_total[1h])",
        "count_over_time(x_total[1h])",
        "sum_over_time(x_total[1h])",
        "avg_over_time(x_total[2h])",
        "min_over_time(x_total[1h])",
        "max_over_time(x_total[1h])",
        "first_over_time(x_total[1h])",
        "last_over_time(x_total[1h])",
        "ts_of_first_over_time(x_total[1h])",
        "ts_of_last_over_time(x_total[1h])",
        "present_over_time(x_total[1h])",
        "absent_over_time(x_total[1h]) or vector(1)",
        "max_over_time(rate(x_total[1h])[2h:1h])",
        "abs(x_total)",
    ] {
        let (is_right, warnings, infos) = judged(query);
        assert_eq!((is_right, warnings, infos), (true, vec![], vec![DOWNSAMPLED.to_owned()]), "{query}");
    }
}

#[test]
fn nothing_is_said_where_all_samples_are_there() {
    let points = counter();
    let mut buf = plain(&points);
    buf.coarse.rows = points.iter().map(|p| Rollup::alone(p.0, p.1)).collect();
    let (_, warnings, infos) = ask_all(buf, "stddev_over_time(x_total[1h])", T0, T0 + HOUR, 60_000);
    assert_eq!((warnings, infos), (vec![], vec![]));
}

#[test]
fn series_of_which_all_samples_are_there_are_not_touched() {
    let points = counter();
    let mut buf = plain(&points);
    buf.coarse.rows = points.iter().map(|p| Rollup::alone(p.0, p.1)).collect();
    for query in ["x_total", "rate(x_total[5m])"] {
        let (from, to) = (T0, T0 + HOUR);
        assert_eq!(ask(buf.clone(), query, from, to, 60_000), ask(plain(&points), query, from, to, 60_000));
    }
}

fn grows() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![30 => 5i64..40, 1 => 100i64..400, 1 => 2_000i64..9_000];
    proptest::collection::vec((step, 0u32..60), 2..2_000).prop_map(|steps| {
        let (mut at, mut value) = (T0 + 100_000, 0.0);
        let point = |(step, growth): (i64, u32)| {
            at += step * 1000;
            value = if growth == 59 { 0.0 } else { value + f64::from(growth) };
            (at, value)
        };
        steps.into_iter().map(point).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn windows_of_whole_hours_say_what_they_said_of_all_samples(points in grows(), hours in 1i64..5) {
        let end = points[points.len() - 1].0 / HOUR * HOUR + 2 * HOUR;
        let range = format!("x_total[{hours}h]");
        for f in ["rate", "increase", "delta", "resets", "count_over_time", "sum_over_time", "avg_over_time",
            "min_over_time", "max_over_time", "last_over_time", "first_over_time", "present_over_time",
            "ts_of_last_over_time"]
        {
            let query = format!("{f}({range})");
            let (raw, _) = ask(plain(&points), &query, T0, end, HOUR);
            let (coarse, _) = ask(downsampled(&points), &query, T0, end, HOUR);
            prop_assert_eq!(coarse, raw, "{}", query);
        }
        let (raw, _) = ask(plain(&points), "x_total", T0, end, HOUR);
        let (coarse, _) = ask(downsampled(&points), "x_total", T0, end, HOUR);
        prop_assert_eq!(coarse, raw);
    }
}
