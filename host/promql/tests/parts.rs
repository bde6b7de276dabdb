//! A query that is answered in two parts, the first by somebody who lacks the newest samples, says what it says as a whole.

use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimeRange, TimestampMs};
use belfry_promql::parts::{Division, Unshown, join, without_names};
use belfry_promql::{Answer, PointValue, Query, QueryLimits, QueryTime, QueryValue, VectorPoint};
use belfry_testkit::MemorySeries;
use proptest::prelude::*;

const EXPRESSIONS: [&str; 21] = [
    "a",
    "rate(c_total[1m])",
    "topk(1, a)",
    "avg_over_time(a[90s] offset 30s)",
    "max_over_time(sum(a)[2m:20s])",
    "a * on (x) group_left b",
    "absent(b)",
    "count_values(\"v\", a)",
    "a or b",
    "a or vector(1)",
    "time() - timestamp(a)",
    "rate(a[1m] smoothed)",
    "a @ start() + b",
    "a @ end() + b",
    "b + max_over_time(a[1m] @ end() offset 10m)",
    "sum_over_time(a[1m] offset -1m)",
    "a + range()",
    "sum_over_time(a[max_of(10s, min_of(range(), 1m))])",
    "start() + step() + a",
    "a @ 300 + b",
    "max_over_time(rate(c_total[1m])[2m:15s] offset 1m) > 0",
];

fn evaluated(query: &Query, store: &MemorySeries) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fetched = runtime.block_on(query.fetch(store)).expect("series");
    fetched.evaluate(&Cancel::default()).expect("an answer")
}

fn ask(text: &str, time: QueryTime, store: &MemorySeries) -> Answer {
    evaluated(&Query::parse(text, time, QueryLimits::default()).expect("a query"), store)
}

fn divided(text: &str, time: QueryTime, new_from: i64) -> Division {
    divided_by(text, time, &unshown(new_from, &[]))
}

fn divided_by(text: &str, time: QueryTime, unshown: &Unshown) -> Division {
    Query::divided(text, time, &QueryLimits::default(), unshown).expect("a query")
}

/// New from `from` on; never shown from the one to before the other.
fn unshown(from: i64, never: &[(i64, i64)]) -> Unshown {
    let range = |(start, end): &(i64, i64)| TimeRange::new(TimestampMs(*start), TimestampMs(*end)).expect("a range");
    Unshown { from: TimestampMs(from), never: never.iter().map(range).collect() }
}

/// As the program asks: an engine has what it shows.
fn ask_both(text: &str, time: QueryTime, unshown: &Unshown, engine: &MemorySeries, all: &MemorySeries) -> Answer {
    match divided_by(text, time, unshown) {
        Division::Old(_) => ask(text, time, engine),
        Division::New(query) => evaluated(&query, all),
        Division::Parts { old, new } => {
            let QueryTime::Range { end, .. } = old else { panic!("{old:?} is no range") };
            join(ask(text, old, engine), end, evaluated(&new, all))
        }
    }
}

/// To the bit.
fn text_of(answer: &Answer) -> String {
    let value = |at: &TimestampMs, v: &PointValue| match v {
        PointValue::Float(f) => format!(" {}:{:x}", at.0, f.to_bits()),
        PointValue::Histogram(h) => format!(" {}:{h:?}", at.0),
    };
    match &answer.value {
        QueryValue::Matrix(rows) => {
            let row =
                |points: &[(TimestampMs, PointValue)]| points.iter().map(|(t, v)| value(t, v)).collect::<String>();
            rows.iter().map(|r| format!("{}{}\n", r.labels, row(&r.points))).collect()
        }
        QueryValue::Vector(points) => {
            points.iter().map(|VectorPoint { labels, at, value: v }| format!("{labels}{}\n", value(at, v))).collect()
        }
        other => format!("{other:?}"),
    }
}

fn series(name: &str, x: u8) -> Labels {
    Labels::from_pairs([(METRIC_NAME, name.to_owned()), ("x", x.to_string())])
}

fn range(start: i64, end: i64, step: i64) -> QueryTime {
    let step = Duration::from_millis(step.unsigned_abs());
    QueryTime::Range { start: TimestampMs(start), end: TimestampMs(end), step }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn both_parts_are_the_whole(
        values in prop::collection::vec((0u8..6, 0i64..1_000, -5i32..20), 1..200),
        (start, length) in (200i64..900, 0i64..600),
        step in prop::sample::select(vec![7_000i64, 15_000, 60_000]),
        new_from in 100i64..1_100,
        never in prop::collection::vec((0i64..1_000, 1i64..60), 0..3),
        instant in any::<bool>(),
    ) {
        let (mut engine, mut all) = (MemorySeries::new(), MemorySeries::new());
        let new_from = new_from * 1_000;
        let never: Vec<_> = never.into_iter().map(|(at, length)| (at * 1_000, (at + length) * 1_000)).collect();
        let unshown = unshown(new_from, &never);
        for (which, at, value) in values {
            let labels = series(["a", "c_total", "b"][usize::from(which / 2)], which % 2);
            let (at, value) = (TimestampMs(at * 1_000), [f64::from(value) / 3.0]);
            all.push_floats(&labels, at, 1, &value);
            if at.0 < new_from && !unshown.never.iter().any(|n| n.contains(at)) {
                engine.push_floats(&labels, at, 1, &value);
            }
        }
        let (start, end) = (start * 1_000, (start + length) * 1_000);
        let time = if instant { QueryTime::Instant(TimestampMs(end)) } else { range(start, end, step) };
        for text in EXPRESSIONS {
            let (got, whole) = (ask_both(text, time, &unshown, &engine, &all), ask(text, time, &all));
            prop_assert_eq!(text_of(&got), text_of(&whole), "{} {:?} without {:?}", text, time, unshown);
        }
    }
}

#[test]
fn only_the_steps_that_read_what_is_new_are_the_second_part() {
    let time = range(0, 600_000, 60_000);
    let first_new = |text: &str| match divided(text, time, 300_001) {
        Division::Old(_) => None,
        Division::New(_) => Some(0),
        Division::Parts { old: QueryTime::Range { end, .. }, .. } => Some(end.0 + 60_000),
        Division::Parts { old, .. } => panic!("{old:?} is no range"),
    };
    assert_eq!(first_new("a"), Some(360_000));
    assert_eq!(first_new("a + b offset 1m"), Some(360_000));
    assert_eq!(first_new("a offset 2m"), Some(480_000));
    assert_eq!(first_new("a offset -2m"), Some(240_000));
    assert_eq!(first_new("a offset 10m"), None);
    assert_eq!(first_new("a @ 100"), None);
    assert_eq!(first_new("a @ end()"), Some(0));
    assert_eq!(first_new("a @ start()"), None);
    assert_eq!(first_new("a + end()"), Some(0));
    assert_eq!(first_new("a offset (range() / 10)"), Some(0));
    assert_eq!(first_new("max_over_time(a[1m:min_of(range(), 10s)])"), Some(0));
    assert_eq!(first_new("a{text=\"end() range()\"}"), Some(360_000), "a text says nothing of the end");
    assert_eq!(first_new("1 + time()"), Some(0), "nobody need be asked for what reads nothing");
}

#[test]
fn an_answer_in_two_parts_says_each_warning_once_and_cuts_what_is_too_much() {
    let row = |x: u8, points: &[i64]| belfry_promql::MatrixRow {
        labels: series("a", x),
        points: points.iter().map(|t| (TimestampMs(*t), PointValue::Float(1.0))).collect(),
    };
    let answer = |rows, warnings: &[&str]| Answer {
        value: QueryValue::Matrix(rows),
        warnings: warnings.iter().map(|w| (*w).to_owned()).collect(),
        infos: Vec::new(),
        samples_read: 0,
        points_peak: 0,
    };
    // An engine that has its own order, and its own idea of where the steps end.
    let old = answer(vec![row(2, &[1, 2, 3]), row(3, &[3]), row(1, &[2])], &["w"]);
    let all = join(old, TimestampMs(2), answer(vec![row(1, &[3]), row(4, &[4])], &["w", "v"]));
    let rows = vec![row(1, &[2, 3]), row(2, &[1, 2]), row(4, &[4])];
    assert_eq!(all, answer(rows, &["w", "v"]));
}

#[test]
fn the_widest_read_is_the_longest_of_all_selectors() {
    let widest = |text: &str, time| match divided(text, time, 0) {
        Division::New(query) => query.widest_read().as_secs(),
        other => panic!("{other:?}"),
    };
    let instant = QueryTime::Instant(TimestampMs(90_000_000));
    assert_eq!(widest("a + rate(b[1h] offset 1d)", instant), 3600);
    assert_eq!(widest("max_over_time(rate(b[1h])[1d:1m])", instant) / 3600, 24);
    assert_eq!(widest("a @ start()", range(90_000_000, 93_600_000, 60_000)), 300);
    assert_eq!(widest("vector(1)", instant), 0);
}

#[test]
fn what_is_never_shown_is_evaluated_with_the_steps_behind_it() {
    let time = range(0, 600_000, 60_000);
    let first_new = |text: &str, never: &[(i64, i64)]| match divided_by(text, time, &unshown(480_001, never)) {
        Division::Old(_) => None,
        Division::New(_) => Some(0),
        Division::Parts { old: QueryTime::Range { end, .. }, .. } => Some(end.0 + 60_000),
        Division::Parts { old, .. } => panic!("{old:?} is no range"),
    };
    let rate = "rate(a[1m])";
    assert_eq!(first_new(rate, &[]), Some(540_000));
    assert_eq!(first_new(rate, &[(200_000, 200_001)]), Some(240_000));
    assert_eq!(first_new(rate, &[(300_000, 300_001), (200_000, 200_001)]), Some(240_000));
    assert_eq!(first_new(rate, &[(-90_000, -60_000), (500_000, 600_000)]), Some(540_000), "it reads none of these");
    assert_eq!(first_new(rate, &[(-30_000, 0)]), Some(0));
    assert_eq!(first_new("rate(a[1m] @ 100)", &[(50_000, 50_001)]), Some(0));
    assert_eq!(first_new("rate(a[1m] @ 100)", &[(150_000, 250_000)]), None);
    let instant = QueryTime::Instant(TimestampMs(400_000));
    let is_old = |never| matches!(divided_by(rate, instant, &unshown(480_001, never)), Division::Old(_));
    assert!(is_old(&[(0, 340_001), (400_001, 480_001)]));
    assert!(!is_old(&[(340_001, 340_002)]));
    assert!(!is_old(&[(400_000, 400_001)]));
}

#[test]
fn an_answer_without_names_is_one_only_where_no_two_series_become_the_same() {
    let row = |name: &str, x: u8| belfry_promql::MatrixRow {
        labels: series(name, x),
        points: vec![(TimestampMs(1), PointValue::Float(1.0))],
    };
    let point =
        |name: &str, x: u8| VectorPoint { labels: series(name, x), at: TimestampMs(1), value: PointValue::Float(1.0) };
    let (warnings, infos) = (Vec::new(), Vec::new());
    let of =
        |value| Answer { value, warnings: warnings.clone(), infos: infos.clone(), samples_read: 0, points_peak: 0 };
    let rows = |all| without_names(of(QueryValue::Matrix(all))).map(|a| text_of(&a));
    let points = |all| without_names(of(QueryValue::Vector(all))).map(|a| text_of(&a));
    let one = format!("1:{:x}\n", 1.0f64.to_bits());
    let both = |first: u8, then: u8| Some(format!("{{x=\"{first}\"}} {one}{{x=\"{then}\"}} {one}"));
    assert_eq!(rows(vec![row("a", 2), row("b", 1)]), both(1, 2), "in order of the labels that are left");
    assert_eq!(rows(vec![row("a", 1), row("b", 1)]), None);
    assert_eq!(points(vec![point("a", 2), point("b", 1)]), both(2, 1), "in the order in which they came");
    assert_eq!(points(vec![point("a", 1), point("b", 1)]), None);
}
