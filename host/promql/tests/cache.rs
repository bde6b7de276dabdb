//! Answers with and without kept parts are the same.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, METRIC_NAME, TimestampMs};
use belfry_promql::cache::{ENTRY_AGE_MAX, ResultCache};
use belfry_promql::{Answer, PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_testkit::MemorySeries;
use proptest::prelude::*;

const EXPRESSIONS: [&str; 14] = [
    "a",
    "rate(c_total[1m])",
    "sum by (x) (rate(c_total[2m]))",
    "topk(1, a)",
    "avg_over_time(a[90s] offset 30s)",
    "max_over_time(sum(a)[2m:20s])",
    "a > 3",
    "a * on (x) group_left b",
    "absent(b)",
    "count_values(\"v\", a)",
    "a or b",
    "time() - timestamp(a)",
    "quantile(0.5, a)",
    // Never kept, and right nevertheless.
    "sum_over_time(a[1m] offset -1m) + a @ end()",
];

fn range(start: i64, steps: i64, step: i64) -> QueryTime {
    let (start, end) = (TimestampMs(start), TimestampMs(start + steps * step));
    QueryTime::Range { start, end, step: Duration::from_millis(step as u64) }
}

fn evaluate(store: &MemorySeries, text: &str, time: QueryTime) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let query = Query::parse(text, time, QueryLimits::default()).expect("a query");
    let fetched = runtime.block_on(query.fetch(store)).expect("series");
    fetched.evaluate(&Cancel::default()).expect("an answer")
}

/// As the program asks: what is known is not evaluated.
fn ask(cache: &mut ResultCache, store: &MemorySeries, text: &str, time: QueryTime, now: i64, window: i64) -> Answer {
    let now = TimestampMs(now);
    let query = Query::parse(text, time, QueryLimits::default()).expect("a query");
    let Some(key) = query.cache_key() else { return evaluate(store, text, time) };
    let answer = match cache.find(&key, time, now) {
        None => evaluate(store, text, time),
        Some(known) => match known.rest {
            None => known.alone(),
            Some(rest) => known.join(evaluate(store, text, rest)),
        },
    };
    let answer = Arc::new(answer);
    cache.keep(key, time, &answer, TimestampMs(now.0 - window), now);
    Arc::unwrap_or_clone(answer)
}

/// To the bit; how many samples were read may differ.
fn text_of(answer: &Answer) -> String {
    let QueryValue::Matrix(rows) = &answer.value else { return format!("{:?}", answer.value) };
    let mut out = format!("{:?} {:?}\n", answer.warnings, answer.infos);
    for r in rows {
        out += &r.labels.to_string();
        for (t, v) in &r.points {
            match v {
                PointValue::Float(f) => out += &format!(" {}:{:x}", t.0, f.to_bits()),
                PointValue::Histogram(h) => out += &format!(" {}:{h:?}", t.0),
            }
        }
        out.push('\n');
    }
    out
}

fn series(name: &str, x: u8) -> Labels {
    Labels::from_pairs([(METRIC_NAME, name.to_owned()), ("x", x.to_string())])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// A page that refreshes while samples arrive, some of them late, and some later than what is final.
    #[test]
    fn a_kept_answer_is_the_answer(
        values in prop::collection::vec((0u8..3, prop_oneof![4 => 0i64..40, 1 => 60i64..900], -5i32..20), 1..150),
        refreshes in prop::collection::vec((0usize..EXPRESSIONS.len(), 0i64..4, 0i64..30), 1..40),
        step in prop::sample::select(vec![10_000i64, 15_000, 60_000]),
    ) {
        const WINDOW: i64 = 60_000;
        let mut store = MemorySeries::new();
        let mut cache = ResultCache::default();
        let mut now = 600_000;
        let mut values = values.into_iter();
        for (expression, ahead, steps) in refreshes {
            for (x, late, value) in values.by_ref().take(4) {
                let at = TimestampMs(now - late * 1_000);
                store.push_floats(&series(["a", "c_total", "b"][usize::from(x)], x % 2), at, 1_000, &[f64::from(value) / 3.0]);
                if late * 1_000 >= WINDOW {
                    cache.forget_from(at);
                }
            }
            let end = now / step * step;
            let time = range(end - steps * step, steps, step);
            let text = EXPRESSIONS[expression];
            let got = ask(&mut cache, &store, text, time, now, WINDOW);
            prop_assert_eq!(text_of(&got), text_of(&evaluate(&store, text, time)), "{} {:?}", text, time);
            now += ahead * 7_000;
        }
    }
}

fn growing() -> MemorySeries {
    let mut store = MemorySeries::new();
    let values: Vec<f64> = (0..1_000).map(f64::from).collect();
    store.push_floats(&series("a", 0), TimestampMs(0), 10_000, &values);
    store
}

#[test]
fn a_refresh_reads_only_what_is_new() {
    let (store, mut cache) = (growing(), ResultCache::default());
    let now = 8_000_000;
    let first = ask(&mut cache, &store, "avg_over_time(a[1m])", range(now - 3_600_000, 360, 10_000), now, 600_000);
    let next =
        ask(&mut cache, &store, "avg_over_time( a[60s] )", range(now - 3_590_000, 360, 10_000), now + 10_000, 600_000);
    assert!(next.samples_read * 4 < first.samples_read, "{} then {}", first.samples_read, next.samples_read);
    assert_eq!((cache.counts().hits, cache.counts().misses), (1, 1));
}

#[test]
fn what_may_still_change_is_not_kept() {
    let (mut store, mut cache) = (growing(), ResultCache::default());
    let (now, time) = (8_000_000, range(7_000_000, 100, 10_000));
    ask(&mut cache, &store, "a", time, now, 600_000);
    store.push_floats(&series("a", 0), TimestampMs(7_405_000), 1, &[-1.0]);
    let got = ask(&mut cache, &store, "a", time, now, 600_000);
    assert_eq!(text_of(&got), text_of(&evaluate(&store, "a", time)));
    assert_eq!(cache.counts().hits, 1);
}

#[test]
fn what_was_changed_after_all_is_forgotten_when_told_and_after_a_while() {
    let (mut store, mut cache) = (growing(), ResultCache::default());
    let (now, time) = (8_000_000, range(7_000_000, 10, 10_000));
    ask(&mut cache, &store, "a", time, now, 600_000);
    store.push_floats(&series("a", 1), TimestampMs(7_000_000), 1, &[-1.0]);
    let (old, new) = (ask(&mut cache, &store, "a", time, now, 600_000), evaluate(&store, "a", time));
    assert_ne!(text_of(&old), text_of(&new));
    let later = now + ENTRY_AGE_MAX.as_millis() as i64 + 1;
    assert_eq!(text_of(&ask(&mut cache, &store, "a", time, later, 600_000)), text_of(&new));
    cache.forget_from(TimestampMs::MIN);
    assert_eq!(cache.counts().bytes, 0);
    assert_eq!(text_of(&ask(&mut cache, &store, "a", time, now, 600_000)), text_of(&new));
}

#[test]
fn memory_is_bounded() {
    let store = growing();
    let mut cache = ResultCache::new(4_000);
    for i in 0..20 {
        ask(&mut cache, &store, &format!("a + {i}"), range(7_000_000, 40, 10_000), 8_000_000, 0);
        assert!(cache.counts().bytes <= 4_000);
    }
    assert!(cache.counts().evicted > 10);
}

#[test]
fn queries_about_themselves_or_the_future_are_never_kept() {
    let key = |text: &str| {
        Query::parse(text, range(0, 10, 1_000), QueryLimits::default()).expect("a query").cache_key().is_some()
    };
    for text in ["a @ 5", "a @ end()", "a offset -1s", "start() + 0 * a", "rate(a[range()])", "a[1m:1s] offset -1m"] {
        let text = if text.ends_with("-1m") { "max_over_time(a[1m:1s] offset -1m)" } else { text };
        assert!(!key(text), "{text}");
    }
    assert!(!key("rate(a[1m] smoothed)"));
    assert!(key("rate(a[1m])") && key("max_over_time(a[1m:1s] offset 1m)"));
}

#[test]
fn a_late_sample_takes_only_the_steps_behind_it() {
    let (mut store, mut cache) = (growing(), ResultCache::default());
    let (now, time) = (8_000_000, range(7_000_000, 90, 10_000));
    ask(&mut cache, &store, "sum_over_time(a[1m])", time, now, 60_000);
    let before = cache.generation();
    store.push_floats(&series("a", 0), TimestampMs(7_805_000), 1, &[-1.0]);
    cache.forget_from(TimestampMs(7_805_000));
    let got = ask(&mut cache, &store, "sum_over_time(a[1m])", time, now, 60_000);
    assert_eq!(text_of(&got), text_of(&evaluate(&store, "sum_over_time(a[1m])", time)));
    assert!(got.samples_read < 150, "{} samples were read for ten steps", got.samples_read);
    assert_eq!(
        cache.changed_since(before),
        Some(TimestampMs(7_805_000)),
        "what was read before may be kept up to there"
    );
    assert_eq!(cache.changed_since(cache.generation()), None);
}
