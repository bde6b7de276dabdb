//! Series come and go for days: what the head, its index and its groups hold must not grow with those that are gone.

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{
    Batch, Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, SeriesRef, TimeRange, TimestampMs, Writer,
};

use crate::{RealDisk, Store, StoreConfig};

const T0: i64 = 1_700_000_000_000;
const MINUTE_MS: i64 = 60_000;
const STEP_MINUTES: i64 = 10;
const TARGETS: i64 = 20;
const TARGET_SERIES: usize = 12;
/// A tenth.
const REPLACED_EACH_HOUR: i64 = TARGETS / 10;
const DAYS: i64 = 4;

/// Entries of each structure that has one a series, a label or a group.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    series: usize,
    slots: usize,
    symbols: usize,
    labels: usize,
    numbers: usize,
    groups: usize,
}

fn held(store: &Store) -> Held {
    let state = store.shared.state.read();
    let (labels, numbers) = state.head.index.entries();
    Held {
        series: state.head.len(),
        slots: state.head.slots.len(),
        symbols: state.head.index.symbols(),
        labels,
        numbers,
        groups: state.head.groups.end() as usize,
    }
}

/// A label of its own for each target and each series, as pods have them.
fn labels(target: i64, i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}", i % 4)),
        ("pod", format!("pod-{target}")),
        ("volume", format!("volume-{target}-{i}")),
    ])
}

fn open(store: &Store, target: i64) -> Vec<SeriesRef> {
    (0..TARGET_SERIES).map(|i| store.open(&labels(target, i)).unwrap()).collect()
}

/// Numbers are used again, and what is known of a selection is not that of those who had them before.
fn the_live_ones_are_read(runtime: &tokio::runtime::Runtime, store: &Store, targets: std::ops::Range<i64>, now: i64) {
    let live = targets.flat_map(|t| (1..TARGET_SERIES).step_by(4).map(move |i| labels(t, i)));
    let mut live: Vec<Labels> = live.collect();
    live.sort();
    let matchers = [Matcher::equal("__name__", "metric_1")];
    let range = TimeRange::inclusive(TimestampMs(now - MINUTE_MS), TimestampMs(now)).unwrap();
    let hints = SelectHints::default();
    let select = store.select(&matchers, range, &hints, SelectLimits::default());
    let found = runtime.block_on(select).unwrap().series;
    assert_eq!(found.iter().map(|s| s.labels.clone()).collect::<Vec<_>>(), live);
    for series in &found {
        let mut samples = SampleBuf::default();
        series.samples.decode(range, &mut samples).unwrap();
        assert_eq!(samples.len(), 1, "{:?}", series.labels);
    }
}

/// What is held at the end of each day. `alone`: samples come with times of their own.
fn days(alone: bool) -> Vec<Held> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = StoreConfig { retention: Some(Duration::from_secs(4 * 3600)), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    let steps_a_day = 24 * 60 / STEP_MINUTES;
    let mut found = Vec::new();
    for step in 0..DAYS * steps_a_day {
        let now = T0 + step * STEP_MINUTES * MINUTE_MS;
        let first = step * STEP_MINUTES / 60 * REPLACED_EACH_HOUR;
        for target in first..first + TARGETS {
            let mut batch = Batch::at("churn", TimestampMs(now));
            batch.refs = open(&store, target);
            batch.values = vec![step as f64; TARGET_SERIES];
            if alone {
                let times = (0..TARGET_SERIES as i64).map(|i| TimestampMs(now - i)).collect();
                batch.times = belfry_model::write::Times::Each(times);
            }
            let appended = runtime.block_on(store.append(batch)).unwrap();
            assert_eq!(appended.accepted, TARGET_SERIES as u64);
        }
        the_live_ones_are_read(&runtime, &store, first..first + TARGETS, now);
        store.maintain(TimestampMs(now)).unwrap();
        the_live_ones_are_read(&runtime, &store, first..first + TARGETS, now);
        if (step + 1) % steps_a_day == 0 {
            found.push(held(&store));
        }
    }
    assert!(store.stats().series_forgotten > 1_000, "{:?}", store.stats());
    found
}

#[test]
fn series_that_are_gone_leave_nothing_behind() {
    for alone in [false, true] {
        let days = days(alone);
        let live = TARGETS as usize * TARGET_SERIES;
        for held in &days {
            // Those of the last two hours stay a while: a fifth.
            let most = live * 3 / 2;
            assert!(held.series <= most && held.slots <= most, "{held:?}");
            assert!(held.labels <= most * 2 && held.symbols <= most * 2, "{held:?}");
            assert!(held.numbers <= most * 3, "{held:?}");
            assert!(held.groups <= TARGETS as usize * 2, "{held:?}");
        }
        assert_eq!(days[1], days[DAYS as usize - 1], "nothing grows from day to day");
    }
}

/// What is known of a selection ends with its series: their numbers go to others.
#[test]
fn a_selection_whose_series_were_replaced_is_not_answered_from_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = StoreConfig { retention: Some(Duration::from_secs(4 * 3600)), ..StoreConfig::memory() };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    let hints = SelectHints::default();
    for (name, at) in [("before", T0), ("after", T0 + 24 * 60 * MINUTE_MS)] {
        let labels = |i: i64| Labels::from_pairs([("__name__", "m".to_owned()), ("pod", format!("{name}-{i}"))]);
        let mut batch = Batch::at("churn", TimestampMs(at));
        batch.refs = (100..150).map(|i| store.open(&labels(i)).unwrap()).collect();
        batch.values = vec![1.0; 50];
        runtime.block_on(store.append(batch)).unwrap();
        for _ in 0..2 {
            let range = TimeRange::inclusive(TimestampMs(at), TimestampMs(at)).unwrap();
            let matchers = [Matcher::equal("__name__", "m")];
            let found =
                runtime.block_on(store.select(&matchers, range, &hints, SelectLimits::default())).unwrap().series;
            assert_eq!(
                found.into_iter().map(|s| s.labels).collect::<Vec<_>>(),
                (100..150).map(labels).collect::<Vec<_>>()
            );
        }
        for step in 0..20 * 6 {
            store.maintain(TimestampMs(at + step * STEP_MINUTES * MINUTE_MS)).unwrap();
        }
    }
    assert_eq!(store.stats().series_forgotten, 100, "the test is about numbers that are used again");
}
