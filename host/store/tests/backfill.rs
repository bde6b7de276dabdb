//! Backfill: any age, any order, and what was there first stays.

mod common;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::{Histogram, Span, Value};
use belfry_model::{Labels, Sample, TimeRange, TimestampMs, WriteError};
use belfry_store::disk::SimDisk;
use belfry_store::{Backfill, Backfilled, FsyncPolicy, Health, Store, StoreConfig};
use common::*;

fn float(at: i64, v: f64) -> Sample {
    Sample { at: TimestampMs(at), value: Value::Float(v), start: None }
}

fn forever(disk: &SimDisk) -> Arc<Store> {
    let config = StoreConfig { retention: None, block_span: Duration::from_secs(1800), ..config() };
    Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap().0
}

#[test]
fn samples_from_1970_on_come_in_any_order_and_survive() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    let mut fill = store.backfill(TimestampMs(T0));
    let year = 365 * 86_400_000i64;
    let mut expected = vec![(T0, 1f64.to_bits())];
    // From the newest to the oldest, one a week over 53 years.
    for i in (0..53 * 52).rev() {
        let at = i * (year / 52);
        fill.push(&labels("a"), float(at, i as f64)).unwrap();
        expected.push((at, (i as f64).to_bits()));
    }
    fill.push(&labels("a"), float(-1, 0.0)).unwrap();
    fill.push(&labels("a"), float(T0 + 1, 0.0)).unwrap();
    let done = fill.finish().unwrap();
    assert_eq!(done, Backfilled { accepted: 53 * 52, duplicate: 0, too_old: 1, too_new: 1 });
    expected.sort();
    assert_eq!(points(&store, "a"), expected);
    let store = forever(&disk.killed());
    assert_eq!(points(&store, "a"), expected);
    store.compact().unwrap();
    assert_eq!(points(&store, "a"), expected);
    assert!(store.stats().blocks <= 64);
}

#[test]
fn long_labels_and_histograms_count_towards_what_an_import_holds() {
    let (store, at) = (forever(&SimDisk::default()), TimestampMs(T0));
    let of_series = |i: u64, fill: &mut Backfill| {
        let long = Labels::from_pairs([("long", format!("{i}{}", "x".repeat(65_000)))]);
        fill.push(&long, float(T0, 1.0)).unwrap();
    };
    let of_histogram = |i: u64, fill: &mut Backfill| {
        let h = Histogram { positive_counts: vec![1.0; 10_000], ..Histogram::default() };
        let spans = vec![Span { offset: 0, length: 10_000 }];
        let value = Value::Histogram(Arc::new(Histogram { positive_spans: spans, ..h }));
        fill.push(&labels("h"), Sample { at: TimestampMs(T0 - i as i64), value, start: None }).unwrap();
    };
    for push in [&of_series as &dyn Fn(u64, &mut Backfill), &of_histogram] {
        let before = store.stats().blocks;
        let mut fill = store.backfill(at);
        // 65 and 80 MB.
        (0..1_000).for_each(|i| push(i, &mut fill));
        assert!(store.stats().blocks > before, "something is written before all is there");
        fill.finish().unwrap();
    }
}

#[test]
fn what_an_import_found_there_survives_a_power_loss_as_what_it_wrote_does() {
    for seed in 0..16 {
        let disk = SimDisk::default();
        let config = StoreConfig { fsync: FsyncPolicy::Interval, ..config() };
        let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
        put(&store, "a", T0 - 10, 1.0).unwrap();
        let mut fill = store.backfill(TimestampMs(T0));
        for at in [T0 - 10, T0 - 20] {
            fill.push(&labels("a"), float(at, 1.0)).unwrap();
        }
        assert_eq!(fill.finish().unwrap().accepted, 2);
        assert_eq!(points(&forever(&disk.power_loss(seed)), "a").len(), 2, "seed {seed}");
    }
}

#[test]
fn another_value_contradicts_wherever_the_first_one_stands() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    let mut fill = store.backfill(TimestampMs(T0));
    fill.push(&labels("closed"), float(T0 - 3_000_000, 1.0)).unwrap();
    fill.finish().unwrap();
    put(&store, "a", T0 - 300, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 - 200, 2.0).unwrap();
    for (name, at, has) in [("closed", -3_000_000, 1.0), ("a", -300, 1.0), ("a", -200, 2.0)] {
        assert!(!store.contradicts(&labels(name), &float(T0 + at, has)), "{name} at {at}: the same");
        assert!(store.contradicts(&labels(name), &float(T0 + at, 9.0)), "{name} at {at}: another");
        assert!(!store.contradicts(&labels(name), &float(T0 + at + 1, 9.0)), "{name} behind {at}: nothing");
        assert!(!store.contradicts(&labels("none"), &float(T0 + at, 9.0)), "another series");
    }
}

#[test]
fn the_value_that_was_there_first_stays_and_the_other_is_counted() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    put(&store, "a", T0 - 300, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 - 200, 2.0).unwrap();
    let mut fill = store.backfill(TimestampMs(T0));
    for (at, v) in [(-200, 2.0), (-300, 9.0), (-100, 3.0), (-100, 9.0), (-400, 0.5), (-100, 3.0)] {
        fill.push(&labels("a"), float(T0 + at, v)).unwrap();
    }
    assert_eq!(fill.finish().unwrap(), Backfilled { accepted: 4, duplicate: 2, too_old: 0, too_new: 0 });
    let values = |store: &Store| points(store, "a").iter().map(|p| f64::from_bits(p.1)).collect::<Vec<_>>();
    assert_eq!(values(&store), [0.5, 1.0, 2.0, 3.0]);
    // The live path knows what the import brought.
    assert_eq!(put(&store, "a", T0 - 100, 7.0).unwrap().duplicate, 1);
    assert_eq!(put(&store, "a", T0 - 100, 3.0).unwrap().accepted, 1);
    store.flush().unwrap();
    store.compact().unwrap();
    assert_eq!(values(&store), [0.5, 1.0, 2.0, 3.0]);
}

#[test]
fn imports_over_one_another_become_one_block() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    for k in 0..6i64 {
        let mut fill = store.backfill(TimestampMs(T0));
        for i in 0..500 {
            fill.push(&labels("a"), float(T0 - 3 * DAY + i * 500_000 + k, k as f64)).unwrap();
        }
        fill.finish().unwrap();
    }
    let before = (store.stats().blocks, points(&store, "a"));
    store.compact().unwrap();
    assert!(store.stats().blocks <= 2 && before.0 >= 6, "{} of {}", store.stats().blocks, before.0);
    assert_eq!(points(&store, "a"), before.1);
    assert_eq!(before.1.len(), 3000);
}

#[test]
fn what_retention_would_delete_at_once_is_refused() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: Some(Duration::from_secs(3600)), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk), TimestampMs(T0)).unwrap();
    let mut fill = store.backfill(TimestampMs(T0));
    for at in [T0 - 3_600_001, T0 - 3_600_000] {
        fill.push(&labels("a"), float(at, 1.0)).unwrap();
    }
    assert_eq!(fill.finish().unwrap(), Backfilled { accepted: 1, too_old: 1, ..Backfilled::default() });
    assert_eq!(select(&store, &["__name__=a"], TimeRange::ALL)[0].1.times, [T0 - 3_600_000]);
}

#[test]
fn a_finished_import_survives_power_loss_and_an_unfinished_one_leaves_nothing_broken() {
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let mut finished = false;
        let config = StoreConfig { retention: None, ..config() };
        if let Ok((store, _)) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)) {
            let mut fill = store.backfill(TimestampMs(T0));
            (0..20).for_each(|i| fill.push(&labels("a"), float(T0 - i * 600_000, i as f64)).unwrap());
            finished = fill.finish().is_ok();
            let _ = store.compact();
        }
        for disk in [disk.killed(), disk.power_loss(operation)] {
            let (store, recovery) = Store::open(config.clone(), Arc::new(disk), TimestampMs(T0)).unwrap();
            assert_eq!(recovery.damage, [], "operation {operation}");
            assert!(!finished || points(&store, "a").len() == 20, "operation {operation}");
        }
        if !disk.crashed() {
            assert!(finished);
            break;
        }
    }
}

#[test]
fn an_import_that_failed_is_over_when_none_fails_for_a_round_of_upkeep() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    disk.set_capacity(Some(disk.used() + 10));
    let import = |at: i64| {
        let mut fill = store.backfill(TimestampMs(T0));
        fill.push(&labels("a"), float(at, 2.0)).unwrap();
        fill.finish()
    };
    assert!(matches!(import(T0 - 2), Err(WriteError::DiskFull(_))));
    store.upkeep(TimestampMs(T0 + 1)).unwrap();
    assert!(matches!(import(T0 - 1), Err(WriteError::DiskFull(_))));
    store.upkeep(TimestampMs(T0 + 2)).unwrap();
    assert!(matches!(store.health(), Health::Degraded(_)), "one failed in this round too");
    // Nobody tries again.
    store.upkeep(TimestampMs(T0 + 3)).unwrap();
    assert_eq!(store.health(), Health::Ok);
}

const DAY: i64 = 86_400_000;

#[test]
fn sparse_samples_of_years_end_in_few_blocks_however_often_they_are_imported() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    let at = |j: i64| T0 - 8 * 365 * DAY + j * DAY / 2;
    let samples = 8 * 365 * 2 - 2;
    for k in 0..15i64 {
        let mut fill = store.backfill(TimestampMs(T0));
        for j in 0..samples {
            fill.push(&labels(&format!("m{k}")), float(at(j), (j * 31 % 1000) as f64)).unwrap();
        }
        assert_eq!(fill.finish().unwrap().accepted, samples as u64);
        assert!(store.stats().blocks <= 512 + 64, "an import merges before there are too many");
    }
    store.compact().unwrap();
    assert!(store.stats().blocks <= 24, "{} blocks", store.stats().blocks);
    for k in 0..15 {
        let expected: Vec<_> = (0..samples).map(|j| (at(j), ((j * 31 % 1000) as f64).to_bits())).collect();
        assert_eq!(points(&store, &format!("m{k}")), expected, "series {k}");
    }
}

#[test]
fn the_number_of_blocks_is_bounded_however_far_apart_they_lie() {
    let disk = SimDisk::default();
    let store = forever(&disk);
    for i in 0..530 {
        let mut fill = store.backfill(TimestampMs(T0));
        fill.push(&labels("a"), float(T0 - i * 30 * DAY, i as f64)).unwrap();
        fill.finish().unwrap();
    }
    store.compact().unwrap();
    assert!(store.stats().blocks <= 512, "{} blocks", store.stats().blocks);
    assert_eq!(points(&store, "a").len(), 530);
}

#[test]
fn merged_blocks_are_short_beside_the_retention_that_deletes_them_whole() {
    let disk = SimDisk::default();
    let retention = Duration::from_secs(100 * 86_400);
    let config = StoreConfig { retention: Some(retention), block_span: Duration::from_secs(1800), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk), TimestampMs(T0)).unwrap();
    for k in 0..3 {
        let mut fill = store.backfill(TimestampMs(T0));
        (0..99 * 4).for_each(|i| fill.push(&labels("a"), float(T0 - i * DAY / 4 - k, 1.0)).unwrap());
        fill.finish().unwrap();
    }
    store.compact().unwrap();
    assert!(store.stats().blocks < 40, "{} blocks", store.stats().blocks);
    put(&store, "b", T0 + 50 * DAY, 1.0).unwrap();
    store.upkeep(TimestampMs(T0 + 50 * DAY)).unwrap();
    let age = (T0 - points(&store, "a")[0].0) / DAY;
    assert!((49..50 + 31).contains(&age), "{age} days");
}
