//! PromQL over a store that downsamples beside one that does not: thirty days of raw, five-minute and hourly data answer
//! as one, without gaps, and over whole hours the answers are the same.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::read::Cancel;
use belfry_model::{Labels, Sample, TimestampMs, Value};
use belfry_promql::{Answer, PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_store::disk::SimDisk;
use belfry_store::{Downsample, Store, StoreConfig};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const T0: i64 = 1_700_000_000_000 / DAY * DAY;
const DAYS: i64 = 30;

/// A counter that begins anew, a gauge, and a series that ends after twelve days.
fn value(name: &str, minute: i64) -> Option<f64> {
    match name {
        "requests_total" => Some((minute % 5_003 * 7) as f64),
        "level" => Some((minute * 37 % 101) as f64),
        _ if minute < 12 * 1_440 + 17 => Some(minute as f64),
        _ => None,
    }
}

fn filled(downsample: Vec<Downsample>) -> Arc<Store> {
    let now = TimestampMs(T0 + DAYS * DAY);
    let config = StoreConfig { retention: None, downsample, ..StoreConfig::folder("/data") };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), now).unwrap();
    let mut fill = store.backfill(now);
    for minute in 1..DAYS * 1_440 {
        for name in ["requests_total", "level", "ends"] {
            let Some(v) = value(name, minute) else { continue };
            let at = TimestampMs(T0 + minute * MINUTE - 21_000);
            let labels = Labels::from_pairs([("__name__", name), ("job", "test")]);
            fill.push(&labels, Sample { at, value: Value::Float(v), start: None }).unwrap();
        }
    }
    fill.finish().unwrap();
    store.maintain(now).unwrap();
    store
}

fn both() -> (Arc<Store>, Arc<Store>) {
    let step = |days: u64, minutes: u64| Downsample {
        after: Duration::from_secs(days * 86_400),
        resolution: Duration::from_secs(minutes * 60),
    };
    (filled(Vec::new()), filled(vec![step(7, 5), step(15, 60)]))
}

fn ask(store: &Store, query: &str, from: i64, step: i64) -> Answer {
    let (start, end) = (TimestampMs(from), TimestampMs(T0 + DAYS * DAY));
    let time = QueryTime::Range { start, end, step: Duration::from_millis(step as u64) };
    let query = Query::parse(query, time, QueryLimits::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(query.fetch(store)).unwrap().evaluate(&Cancel::default()).unwrap()
}

fn points(answer: &Answer) -> Vec<(i64, f64)> {
    let QueryValue::Matrix(rows) = &answer.value else { return Vec::new() };
    let float = |v: &PointValue| match v {
        PointValue::Float(f) => *f,
        PointValue::Histogram(_) => f64::NAN,
    };
    rows.iter().flat_map(|r| r.points.iter().map(|(t, v)| (t.0, float(v)))).collect()
}

#[test]
fn thirty_days_answer_as_one() {
    let (raw, coarse) = both();
    let resolutions: Vec<i64> = coarse.stats().blocks_by_resolution.into_keys().collect();
    assert_eq!(resolutions, [0, 5 * MINUTE, HOUR]);
    assert!(coarse.stats().block_samples * 2 < raw.stats().block_samples);
    for query in [
        "requests_total",
        "level",
        "ends",
        "rate(requests_total[1h])",
        "increase(requests_total[6h])",
        "resets(requests_total[1d])",
        "min_over_time(level[1h])",
        "max_over_time(level[2h])",
        "sum_over_time(level[1h])",
        "count_over_time(ends[1h])",
        "avg_over_time(level[3h])",
        "last_over_time(ends[1h])",
        "delta(ends[1h])",
        "sum by (job) (rate(requests_total[2h] offset 1h))",
        "max_over_time(rate(requests_total[1h])[1d:1h])",
    ] {
        let (expected, found) = (ask(&raw, query, T0 + HOUR, HOUR), ask(&coarse, query, T0 + HOUR, HOUR));
        assert_eq!(points(&found), points(&expected), "{query}");
        assert_eq!(found.warnings, Vec::<String>::new());
        assert!(found.infos.contains(&"PromQL info: some of the data is downsampled to 1h".to_owned()), "{query}");
        assert!(!expected.infos.iter().any(|i| i.contains("downsampled")));
    }
}

#[test]
fn steps_of_any_phase_meet_no_gap_and_what_ended_has_ended() {
    let (raw, coarse) = both();
    for query in ["requests_total", "level", "ends", "rate(requests_total[5m])", "max_over_time(level[10m])"] {
        for (from, step) in [(T0 + 17 * MINUTE, HOUR), (T0 + 100_001, 7 * MINUTE)] {
            let times = |store: &Store| points(&ask(store, query, from, step)).iter().map(|p| p.0).collect::<Vec<_>>();
            assert_eq!(times(&coarse), times(&raw), "{query} each {step} ms");
        }
    }
}

#[test]
fn a_selector_of_new_data_is_not_told_of_the_old() {
    let (_, coarse) = both();
    let answer = ask(&coarse, "sum_over_time(level[1h])", T0 + (DAYS - 2) * DAY, HOUR);
    assert_eq!((answer.infos, answer.warnings), (vec![], vec![]));
}
