//! Downsampling: old blocks become coarser in the background, and what windows of whole buckets say stays the same,
//! wherever the boundaries of head, blocks and resolutions fall and whenever the process dies.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::sample::{is_stale, stale_nan};
use belfry_model::{
    Appended, Batch, Matcher, Sample, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Value,
    Writer,
};
use belfry_store::disk::SimDisk;
use belfry_store::{Backfilled, Downsample, FsyncPolicy, Store, StoreConfig};
use common::*;
use proptest::prelude::*;

const SECOND: i64 = 1_000;
const NAMES: [&str; 3] = ["a_total", "gauge", "c_total"];

fn policy(steps: &[(u64, u64)]) -> Vec<Downsample> {
    let step = |(after, resolution): &(u64, u64)| Downsample {
        after: Duration::from_secs(*after),
        resolution: Duration::from_secs(*resolution),
    };
    steps.iter().map(step).collect()
}

/// 10 s after two minutes, a minute after five.
fn small() -> StoreConfig {
    StoreConfig {
        fsync: FsyncPolicy::Always,
        block_span: Duration::from_secs(30),
        out_of_order_window: Duration::from_secs(20),
        retention: None,
        downsample: policy(&[(120, 10), (300, 60)]),
        ..config()
    }
}

fn counts(store: &Store) -> Vec<(i64, u64)> {
    store.stats().blocks_by_resolution.into_iter().collect()
}

/// Two series for so many seconds, in blocks.
fn filled(disk: &SimDisk, config: &StoreConfig, seconds: i64) -> Arc<Store> {
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    fill(&store, 0, seconds);
    store
}

fn fill(store: &Arc<Store>, from: i64, to: i64) {
    let mut fill = store.backfill(TimestampMs(T0 + to * SECOND));
    for i in from..to {
        let at = TimestampMs(T0 + i * SECOND + 300);
        for (k, name) in NAMES.iter().enumerate() {
            fill.push(&labels(name), Sample { at, value: Value::Float(value(k, i)), start: None }).unwrap();
        }
    }
    fill.finish().unwrap();
}

fn value(series: usize, i: i64) -> f64 {
    match series {
        0 => (i % 170) as f64,
        1 => (i * 37 % 11) as f64,
        _ => i as f64 * 3.0,
    }
}

fn expected(series: usize, from: i64, to: i64) -> BTreeMap<i64, f64> {
    (from..to).map(|i| (T0 + i * SECOND + 300, value(series, i))).collect()
}

fn check(store: &Store, seconds: i64, when: &str) {
    for (k, name) in NAMES.iter().enumerate() {
        let found = read(store, name, TimeRange::ALL);
        assert_eq!(buckets(&found, 60_000), buckets(&plain(&expected(k, 0, seconds)), 60_000), "{when}: {name}");
    }
}

/// As a reader sees them that knows nothing of segments: it is told what it misses.
fn plain_points(store: &Store, name: &str) -> Vec<(i64, u64)> {
    let (matchers, hints) = ([Matcher::equal("__name__", name)], SelectHints::default());
    let set = block_on(store.select(&matchers, TimeRange::ALL, &hints, SelectLimits::default())).unwrap();
    assert_eq!(set.warnings, ["some of the data is downsampled to 1m: samples between others are gone"]);
    let mut buf = SampleBuf::default();
    set.series[0].samples.decode(TimeRange::ALL, &mut buf).unwrap();
    assert!(buf.coarse.rows.is_empty());
    buf.times.into_iter().zip(buf.floats.iter().map(|v| v.to_bits())).collect()
}

#[test]
fn old_blocks_become_coarser_and_the_answers_stay() {
    let disk = SimDisk::default();
    let store = filled(&disk, &small(), 600);
    let before = store.stats();
    assert_eq!(before.blocks_by_resolution.keys().copied().collect::<Vec<_>>(), [0]);
    // Nothing is old before somebody says what time it is.
    store.compact().unwrap();
    assert_eq!(counts(&store), [(0, store.stats().blocks)]);
    store.maintain(TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    assert!(counts(&store).iter().all(|(r, _)| *r == 60_000), "{:?}", counts(&store));
    let after = store.stats();
    assert!(after.block_samples * 5 < before.block_samples && after.downsampled > 0 && after.downsample_failed == 0);
    check(&store, 600, "downsampled");
    // A reader that knows nothing of segments gets what is left of them, all of it true.
    let left = plain_points(&store, "c_total");
    let all: BTreeMap<i64, f64> = expected(2, 0, 600);
    assert!(left.len() < 100 && left.iter().all(|(t, v)| all.get(t).map(|v| v.to_bits()) == Some(*v)));
    // Nothing more is due.
    store.maintain(TimestampMs(T0 + 2_000 * SECOND)).unwrap();
    assert_eq!(store.stats().downsampled, after.downsampled);
    drop(store);
    let (store, recovery) = Store::open(small(), Arc::new(disk.killed()), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    check(&store, 600, "opened again");
}

#[test]
fn one_read_goes_over_hours_minutes_blocks_and_the_head() {
    let config = StoreConfig { block_span: Duration::from_secs(40), ..small() };
    let (store, _) = Store::open(config, Arc::new(SimDisk::default()), TimestampMs(T0)).unwrap();
    let mut seen = BTreeMap::new();
    for i in 0..700 {
        let at = TimestampMs(T0 + i * SECOND);
        let mut batch = Batch::at("test", at);
        for (k, name) in NAMES.iter().enumerate() {
            batch.refs.push(store.open(&labels(name)).unwrap());
            batch.values.push(value(k, i));
        }
        block_on(store.append(batch)).unwrap();
        store.maintain(at).unwrap();
        for (r, n) in counts(&store) {
            seen.entry(r).and_modify(|m: &mut u64| *m = n.max(*m)).or_insert(n);
        }
    }
    assert_eq!(counts(&store).iter().map(|c| c.0).collect::<Vec<_>>(), [0, 10_000, 60_000]);
    for (k, name) in NAMES.iter().enumerate() {
        let all: BTreeMap<i64, f64> = (0..700).map(|i| (T0 + i * SECOND, value(k, i))).collect();
        assert_eq!(buckets(&read(&store, name, TimeRange::ALL), 60_000), buckets(&plain(&all), 60_000), "{name}");
        // A part: whole segments that touch it.
        let range = TimeRange::new(TimestampMs(T0 + 33_333), TimestampMs(T0 + 555_555)).unwrap();
        let part = read(&store, name, range);
        let within = |t: i64| range.contains(TimestampMs(t));
        for (t, r) in part.times.iter().zip(&part.coarse.rows).filter(|(_, r)| r.count > 0) {
            assert!(r.since < range.end().0 && *t >= range.start().0);
        }
        let whole = read(&store, name, TimeRange::ALL);
        let kept = |b: &SampleBuf| b.times.iter().copied().filter(|t| within(*t)).collect::<Vec<_>>();
        assert_eq!(kept(&part), kept(&whole));
    }
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_block_or_the_new_one() {
    let mut finished = false;
    let seconds = 130;
    let due = TimestampMs(T0 + 1_000 * SECOND);
    let before = {
        let disk = SimDisk::default();
        drop(filled(&disk, &small(), seconds));
        disk.operations()
    };
    for operation in before.. {
        let disk = SimDisk::crash_at(operation);
        let store = filled(&disk, &small(), seconds);
        // What fails is the crash.
        let _ = store.maintain(due);
        let crashed = disk.crashed();
        drop(store);
        for (disk, how) in [(disk.killed(), "killed"), (disk.power_loss(operation), "power lost")] {
            let when = format!("{how} at operation {operation}");
            let (store, recovery) = Store::open(small(), Arc::new(disk.clone()), due).unwrap();
            assert_eq!(recovery.damage, [], "{when}");
            check(&store, seconds, &when);
            store.maintain(due).unwrap();
            check(&store, seconds, &format!("{when}, and tried again"));
            assert_eq!(counts(&store).iter().map(|c| c.0).collect::<Vec<_>>(), [60_000], "{when}");
            let files = disk.files().iter().filter(|f| f.extension().is_some_and(|e| e != "wal")).count();
            assert_eq!(files as u64, store.stats().blocks, "{when}: nothing is left over");
        }
        if !crashed {
            finished = true;
            assert!(operation > before + 8, "downsampling took {} operations", operation - before);
            break;
        }
    }
    assert!(finished);
}

/// A producer that was away: samples so much older than the newest that they get a block of their own.
const AWAY: i64 = 2_000;

/// Sends what came late and the rest; `false` where the disk fails.
fn send_late(store: &Store) -> bool {
    NAMES.iter().enumerate().all(|(k, name)| {
        let series = store.open(&labels(name)).unwrap();
        let sent = |from: i64| expected(k, from, from + 130).into_iter().map(move |(at, v)| (series, at, v));
        [AWAY, 0].into_iter().all(|from| append(store, &sent(from).collect::<Vec<_>>()).is_ok())
    })
}

/// A log that is damaged behind its first records, or cut there, lacks what the block of what came late has.
fn check_damaged(disk: &SimDisk, config: &StoreConfig, when: &str) {
    for cut in [false, true] {
        let disk = disk.killed();
        for file in &files_of(&disk, "wal") {
            disk.tamper(file, |b| if cut { b.truncate(b.len() / 2) } else { b[30] ^= 1 });
        }
        let (store, recovery) = Store::open(config.clone(), Arc::new(disk), TimestampMs(T0)).unwrap();
        for name in NAMES {
            let (found, warnings) = points_left(&store, name);
            assert_eq!(warnings.is_empty(), recovery.damage.is_empty(), "{when}: {warnings:?}");
            let late = found.iter().filter(|p| p.0 < T0 + AWAY * SECOND).count();
            assert_eq!(late, 130, "{when}: the block is all there is of it");
        }
    }
}

#[test]
fn what_came_late_counts_once_wherever_a_crash_comes_between_its_block_and_that_of_the_rest() {
    let config = StoreConfig { out_of_order_window: Duration::from_secs(10_000), ..small() };
    // What came late is old enough to be downsampled, the rest is not.
    let now = TimestampMs(T0 + (AWAY + 140) * SECOND);
    let check = |store: &Store, when: &str| {
        for (k, name) in NAMES.iter().enumerate() {
            let mut sent = expected(k, 0, 130);
            sent.extend(expected(k, AWAY, AWAY + 130));
            let found = read(store, name, TimeRange::ALL);
            assert_eq!(buckets(&found, 60_000), buckets(&plain(&sent), 60_000), "{when}: {name}");
        }
    };
    let blocks = |disk: &SimDisk| files_of(disk, "block").len();
    // Until a block is begun a crash is like any other.
    let before = {
        let disk = SimDisk::default();
        assert!(send_late(&Store::open(config.clone(), Arc::new(disk.clone()), now).unwrap().0));
        disk.operations()
    };
    let mut between = 0;
    for operation in before.. {
        let disk = SimDisk::crash_at(operation);
        let store = Store::open(config.clone(), Arc::new(disk.clone()), now).unwrap().0;
        let finished = send_late(&store) && store.flush().is_ok();
        drop(store);
        for (disk, how) in [(disk.killed(), "killed"), (disk.power_loss(operation), "power lost")] {
            let when = format!("{how} at operation {operation}");
            let alone = blocks(&disk) == 1;
            let damaged = disk.killed();
            let (store, recovery) = Store::open(config.clone(), Arc::new(disk.clone()), now).unwrap();
            assert_eq!(recovery.damage, [], "{when}");
            if alone && recovery.samples > 0 {
                between += 1;
                check_damaged(&damaged, &config, &when);
            }
            check(&store, &when);
            // Downsampling comes before the next block: that is half a minute away.
            assert!(!store.upkeep(now).unwrap().flushed);
            store.compact().unwrap();
            check(&store, &format!("{when}, downsampled"));
            store.flush().unwrap();
            store.compact().unwrap();
            check(&store, &format!("{when}, in blocks"));
            assert_eq!(counts(&store).iter().map(|c| c.0).collect::<Vec<_>>(), [0, 60_000], "{when}");
            assert_eq!(blocks(&disk) as u64, store.stats().blocks, "{when}: nothing is left over");
        }
        if finished {
            break;
        }
    }
    assert!(between > 0, "one crash came between the two");
}

/// A block that got its name, failed then and cannot be removed: what is written in its place replaces it.
#[test]
fn what_a_failed_flush_leaves_counts_once_beside_the_flush_that_succeeds() {
    let config = StoreConfig { out_of_order_window: Duration::from_secs(10_000), ..small() };
    let now = TimestampMs(T0 + (AWAY + 140) * SECOND);
    let mut left_over = 0;
    for operation in 0.. {
        let disk = Eventful::new(SimDisk::default());
        let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), now).unwrap();
        assert!(send_late(&store));
        disk.keeps.store(true, Ordering::Relaxed);
        disk.disk.set_fail_at(Some(disk.disk.operations() + operation));
        let finished = store.flush().is_ok();
        disk.disk.set_fail_at(None);
        store.flush().unwrap();
        left_over += files_of(&disk.disk, "block").len() - 2;
        assert!(files_of(&disk.disk, "unfinished").is_empty(), "operation {operation}");
        let (store, recovery) = Store::open(config.clone(), Arc::new(disk.disk.killed()), now).unwrap();
        assert_eq!((recovery.damage, recovery.blocks), (vec![], 2), "operation {operation}");
        store.maintain(now).unwrap();
        for (k, name) in NAMES.iter().enumerate() {
            let mut sent = expected(k, 0, 130);
            sent.extend(expected(k, AWAY, AWAY + 130));
            let found = read(&store, name, TimeRange::ALL);
            assert_eq!(buckets(&found, 60_000), buckets(&plain(&sent), 60_000), "operation {operation}: {name}");
        }
        if finished {
            break;
        }
    }
    assert!(left_over > 1, "{left_over} blocks were left over");
}

#[test]
fn a_full_disk_keeps_every_sample_and_is_tried_again() {
    let disk = SimDisk::default();
    let store = filled(&disk, &small(), 600);
    disk.set_capacity(Some(disk.used() + 100));
    assert!(store.maintain(TimestampMs(T0 + 1_000 * SECOND)).is_err());
    assert_eq!((store.stats().downsampled, store.stats().downsample_failed), (0, 1));
    assert_ne!(store.health(), belfry_store::Health::Ok);
    check(&store, 600, "the disk is full");
    disk.set_capacity(None);
    store.maintain(TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    assert_eq!(store.health(), belfry_store::Health::Ok);
    assert!(store.stats().downsampled > 0);
    check(&store, 600, "there is room again");
}

#[test]
fn deletion_takes_whole_segments_with_it() {
    let store = filled(&SimDisk::default(), &small(), 600);
    store.maintain(TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    // Five seconds in the middle of a minute.
    let minute = (T0 + 300_000) / 60_000 * 60_000;
    let range = TimeRange::new(TimestampMs(minute + 20_000), TimestampMs(minute + 25_000)).unwrap();
    store.delete(&[Matcher::equal("__name__", "c_total")], range).unwrap();
    let mut left = expected(2, 0, 600);
    left.retain(|t, _| !(minute + 1..=minute + 60_000).contains(t));
    for when in ["deleted", "compacted"] {
        let found = read(&store, "c_total", TimeRange::ALL);
        assert_eq!(buckets(&found, 60_000), buckets(&plain(&left), 60_000), "{when}");
        store.compact().unwrap();
    }
    assert_eq!(buckets(&read(&store, "gauge", TimeRange::ALL), 60_000), buckets(&plain(&expected(1, 0, 600)), 60_000));
}

#[test]
fn what_was_downsampled_is_not_imported_again() {
    let store = filled(&SimDisk::default(), &small(), 600);
    store.maintain(TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    fill(&store, 0, 700);
    store.maintain(TimestampMs(T0 + 1_100 * SECOND)).unwrap();
    store.maintain(TimestampMs(T0 + 2_000 * SECOND)).unwrap();
    for (k, name) in NAMES.iter().enumerate() {
        let found = buckets(&read(&store, name, TimeRange::ALL), 60_000);
        let expected = buckets(&plain(&expected(k, 0, 700)), 60_000);
        let count = |b: &BTreeMap<i64, Bucket>| b.values().map(|b| b.0).sum::<u64>();
        // Between two segments of a gauge or a counter no sample is missing: nothing comes in twice.
        assert_eq!(count(&found), count(&expected), "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

/// As a sender does that was not told, or remembers more than it should.
fn send(store: &Store, name: &str, samples: &[(i64, f64)]) -> Appended {
    let series = store.open(&labels(name)).unwrap();
    append(store, &samples.iter().map(|(at, v)| (series, *at, *v)).collect::<Vec<_>>()).unwrap()
}

fn import(store: &Arc<Store>, name: &str, samples: &[(i64, f64)], now: i64) -> Backfilled {
    let mut fill = store.backfill(TimestampMs(now));
    for (at, v) in samples {
        let sample = Sample { at: TimestampMs(*at), value: Value::Float(*v), start: None };
        fill.push(&labels(name), sample).unwrap();
    }
    fill.finish().unwrap()
}

#[test]
fn what_was_downsampled_is_not_taken_live_again_however_late_a_series_may_be() {
    let config = StoreConfig { out_of_order_window: Duration::from_secs(7_200), ..small() };
    let disk = SimDisk::default();
    let mut store = filled(&disk, &config, 600);
    store.maintain(TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    let send_all = |store: &Arc<Store>, when: &str| {
        for (k, name) in NAMES.iter().enumerate() {
            let all: Vec<_> = expected(k, 0, 600).into_iter().collect();
            let done = send(store, name, &all);
            assert_eq!((done.accepted + done.too_old, done.duplicate), (600, 0), "{when}: {name}");
            assert!(done.too_old > 400, "{when}: {name}: {} are told apart", done.too_old);
            // Nor is one that was never there: nobody can say so.
            assert_eq!(send(store, name, &[(T0 + 30 * SECOND + 307, 5.0)]).too_old, 1, "{when}: {name}");
        }
        check(store, 600, when);
    };
    send_all(&store, "at once");
    store.maintain(TimestampMs(T0 + 3_000 * SECOND)).unwrap();
    assert_eq!(store.stats().series, 0, "they are forgotten");
    send_all(&store, "forgotten");
    store.flush().unwrap();
    store.compact().unwrap();
    check(&store, 600, "merged");
    store = Store::open(config, Arc::new(disk.killed()), TimestampMs(T0 + 1_000 * SECOND)).unwrap().0;
    send_all(&store, "opened again");
    // The series goes on, and what was late in it is still no news.
    assert_eq!(send(&store, "gauge", &[(T0 + 700 * SECOND, 1.0)]).accepted, 1);
    let all: Vec<_> = expected(1, 0, 600).into_iter().collect();
    assert!(send(&store, "gauge", &all).too_old > 400);
}

#[test]
fn a_late_sample_within_a_segment_lets_none_of_the_segments_own_in_again() {
    let config = StoreConfig { out_of_order_window: Duration::from_secs(7_200), ..small() };
    let disk = SimDisk::default();
    let store = filled(&disk, &config, 600);
    // It is in the head while what is around it is downsampled.
    let late = (T0 + 30 * SECOND + 307, 90.0);
    assert_eq!(send(&store, "c_total", &[late]).accepted, 1);
    store.upkeep_judging(TimestampMs(T0), TimestampMs(T0 + 1_000 * SECOND)).unwrap();
    store.compact().unwrap();
    assert_eq!(counts(&store).iter().map(|c| c.0).collect::<Vec<_>>(), [60_000]);
    let mut oracle = expected(2, 0, 600);
    let again: Vec<_> = oracle.clone().into_iter().collect();
    oracle.insert(late.0, late.1);
    for when in ["in the head", "in a block", "merged"] {
        assert_eq!(send(&store, "c_total", &[late]).duplicate, 0, "{when}");
        let live = send(&store, "c_total", &again);
        assert_eq!((live.accepted + live.too_old, live.duplicate), (600, 0), "{when}");
        let imported = import(&store, "c_total", &again, T0 + 1_000 * SECOND);
        assert_eq!((imported.accepted, imported.too_old), (live.accepted, live.too_old), "{when}: one answer for both");
        let found = read(&store, "c_total", TimeRange::ALL);
        assert_eq!(buckets(&found, 60_000), buckets(&plain(&oracle), 60_000), "{when}");
        store.flush().unwrap();
        if when == "in a block" {
            store.compact().unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Samples of all series: seconds to the one before (in tenths), and what the values come from.
    Append(Vec<(i64, u32)>),
    Pass(i64),
    Maintain,
    Restart(Option<u64>),
    /// Whole minutes before now.
    Delete(usize, i64, i64),
    /// Of what was sent to a series so much again, from a place in it on (in thousandths): live or as an import.
    Resend(usize, usize, usize, bool),
    Check,
}

fn op() -> impl Strategy<Value = Op> {
    let sample = (prop_oneof![30 => 2i64..30, 1 => 3_000i64..4_000], 0u32..40);
    prop_oneof![
        8 => proptest::collection::vec(sample, 1..80).prop_map(Op::Append),
        3 => (0i64..60).prop_map(Op::Pass),
        6 => Just(Op::Maintain),
        1 => proptest::option::of(any::<u64>()).prop_map(Op::Restart),
        1 => (0..NAMES.len(), 1i64..10, 1i64..4).prop_map(|(s, from, len)| Op::Delete(s, from, len)),
        3 => (0..NAMES.len(), 0usize..1_000, 1usize..200, any::<bool>())
            .prop_map(|(s, from, len, live)| Op::Resend(s, from, len, live)),
        2 => Just(Op::Check),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whole_minutes_say_what_the_oracle_says(ops in proptest::collection::vec(op(), 1..60)) {
        let mut disk = SimDisk::default();
        let config = StoreConfig { out_of_order_window: Duration::from_secs(1_000_000), ..small() };
        let (mut store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
        let mut oracle: Vec<BTreeMap<i64, f64>> = vec![BTreeMap::new(); NAMES.len()];
        let mut now = T0;
        let minutes = |store: &Store, oracle: &[BTreeMap<i64, f64>]| {
            for (k, name) in NAMES.iter().enumerate() {
                let found = buckets(&read(store, name, TimeRange::ALL), 60_000);
                assert_eq!(found, buckets(&plain(&oracle[k]), 60_000), "{name}");
            }
        };
        for op in ops.into_iter().chain([Op::Check, Op::Maintain, Op::Check]) {
            match op {
                Op::Append(samples) => for (step, seed) in samples {
                    now += step * 100;
                    let mut batch = Batch::at("test", TimestampMs(now));
                    for (k, name) in NAMES.iter().enumerate() {
                        let last = oracle[k].last_key_value().map_or(0.0, |(_, v)| if is_stale(*v) { 0.0 } else { *v });
                        let value = match (k, seed) {
                            (_, 39) => stale_nan(),
                            (1, _) => f64::from(seed * 7 % 13),
                            (_, 38) => 0.0,
                            _ => last + f64::from(seed),
                        };
                        batch.refs.push(store.open(&labels(name)).unwrap());
                        batch.values.push(value);
                        oracle[k].insert(now, value);
                    }
                    block_on(store.append(batch)).unwrap();
                },
                Op::Pass(seconds) => now += seconds * SECOND,
                Op::Maintain => drop(store.maintain(TimestampMs(now)).unwrap()),
                Op::Restart(seed) => {
                    disk = seed.map_or_else(|| disk.killed(), |s| disk.power_loss(s));
                    let (again, recovery) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(now)).unwrap();
                    prop_assert_eq!(recovery.damage, vec![]);
                    store = again;
                }
                Op::Delete(k, from, len) => {
                    // Buckets are open on the left.
                    let from = (now / 60_000 - from) * 60_000 + 1;
                    let to = from + len * 60_000;
                    if to > now {
                        continue;
                    }
                    let range = TimeRange::new(TimestampMs(from), TimestampMs(to)).unwrap();
                    store.delete(&[Matcher::equal("__name__", NAMES[k])], range).unwrap();
                    oracle[k].retain(|t, _| !(from..to).contains(t));
                }
                Op::Resend(k, from, len, live) => {
                    let skipped = oracle[k].len() * from / 1_000;
                    let again: Vec<(i64, f64)> = oracle[k].iter().skip(skipped).take(len).map(|(t, v)| (*t, *v)).collect();
                    let (known, duplicate) = if live {
                        let done = send(&store, NAMES[k], &again);
                        (done.accepted + done.too_old, done.duplicate)
                    } else {
                        let done = import(&store, NAMES[k], &again, now);
                        (done.accepted + done.too_old, done.duplicate)
                    };
                    prop_assert_eq!((known, duplicate), (again.len() as u64, 0));
                }
                Op::Check => minutes(&store, &oracle),
            }
        }
    }
}
