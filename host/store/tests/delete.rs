//! Deletion: gone at once, gone for good, and nothing else with it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Batch, Matcher, SeriesRead, TimeRange, TimestampMs, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{DeleteError, Deleted, FsyncPolicy, Store, StoreConfig};
use common::*;

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(TimestampMs(T0 + from), TimestampMs(T0 + to)).unwrap()
}

fn named(name: &str) -> [Matcher; 1] {
    [Matcher::equal("__name__", name)]
}

/// Series `a` and `b` with a sample each 100 ms; the first half in a block, the second in the head.
fn filled(disk: &SimDisk) -> Arc<Store> {
    let (store, _) = open(disk);
    for i in 0..20 {
        for name in ["a", "b"] {
            put(&store, name, T0 + i * 100, i as f64).unwrap();
        }
        if i == 9 {
            store.flush().unwrap();
        }
    }
    store
}

fn times(store: &Store, name: &str) -> Vec<i64> {
    points(store, name).iter().map(|p| (p.0 - T0) / 100).collect()
}

#[test]
fn what_is_deleted_is_gone_at_once_after_a_restart_and_after_a_merge() {
    let disk = SimDisk::default();
    let store = filled(&disk);
    let left: Vec<i64> = (0..5).chain(15..20).collect();
    assert_eq!(store.delete(&named("a"), range(500, 1500)).unwrap(), Deleted { blocks: 2, series: 2 });
    assert_eq!(times(&store, "a"), left);
    assert_eq!(times(&store, "b"), (0..20).collect::<Vec<_>>());
    assert_eq!(store.delete(&named("a"), range(500, 1500)).unwrap(), Deleted::default(), "there is nothing left of it");

    let store = open(&disk.killed()).0;
    assert_eq!(times(&store, "a"), left);

    let before = store.stats();
    assert!(store.compact().unwrap() > 0);
    let after = store.stats();
    assert_eq!(times(&store, "a"), left);
    assert_eq!((before.block_samples, after.block_samples), (40, 30), "the bytes are gone too");
    assert_eq!(store.compact().unwrap(), 0);
}

/// A block that got its name, and whose way into the list failed, would be back with the next start.
#[test]
fn whichever_operation_of_a_merge_fails_what_is_deleted_after_it_stays_deleted() {
    let merged = |fail_at: Option<u64>| {
        let disk = SimDisk::default();
        let store = filled(&disk);
        // Blocks of which something is deleted are merged.
        store.delete(&named("a"), range(0, 100)).unwrap();
        let first = disk.operations();
        disk.set_fail_at(fail_at.map(|n| first + n));
        let outcome = store.compact();
        disk.set_fail_at(None);
        (disk.operations() - first, outcome.is_ok(), disk, store)
    };
    let (operations, ..) = merged(None);
    assert!(operations > 5, "{operations}");
    for n in 0..operations {
        let (_, ok, disk, store) = merged(Some(n));
        assert!(!ok, "operation {n} fails");
        store.delete(&named("a"), range(500, 1500)).unwrap();
        let left: Vec<i64> = (1..5).chain(15..20).collect();
        let all = (0..20).collect::<Vec<_>>();
        let is_left = |store: &Store, when: &str| {
            assert_eq!((times(store, "a"), times(store, "b")), (left.clone(), all.clone()), "operation {n}, {when}");
        };
        is_left(&store, "at once");
        is_left(&open(&disk.killed()).0, "after a kill");
        is_left(&open(&disk.power_loss(n)).0, "after a power loss");
        store.upkeep(TimestampMs(T0 + 3000)).unwrap();
        store.compact().unwrap();
        is_left(&store, "after the next merge");
        drop(store);
        is_left(&open(&disk.killed()).0, "after the next merge and a kill");
    }
}

#[test]
fn a_deleted_time_can_be_written_again() {
    let disk = SimDisk::default();
    let store = filled(&disk);
    store.delete(&named("a"), range(1000, 3000)).unwrap();
    assert_eq!(put(&store, "a", T0 + 1500, 7.0).unwrap().accepted, 1);
    assert_eq!(times(&store, "a"), (0..10).chain([15]).collect::<Vec<_>>());
    store.flush().unwrap();
    store.compact().unwrap();
    assert_eq!(points(&store, "a").last(), Some(&(T0 + 1500, 7f64.to_bits())));
}

#[test]
fn a_series_is_judged_by_what_is_left_when_samples_that_were_ahead_are_deleted() {
    for (flushed, restarted) in [(false, false), (true, false), (true, true)] {
        let disk = SimDisk::default();
        let mut store = open(&disk).0;
        let year = 365 * 86_400_000;
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        // Together, so that they are known as a group.
        let row = |store: &Store, at: i64| {
            let mut batch = Batch::at("rows", TimestampMs(T0 + at));
            for name in names {
                batch.refs.push(store.open(&labels(name)).unwrap());
                batch.values.push(at as f64);
            }
            let done = block_on(store.append(batch)).unwrap();
            (done.accepted, done.too_old)
        };
        for at in [0, 100, 200] {
            assert_eq!(row(&store, at), (10, 0));
        }
        if flushed {
            store.flush().unwrap();
        }
        for at in [year, year + 100] {
            assert_eq!(row(&store, at), (10, 0));
        }
        if restarted {
            store = open(&disk.killed()).0;
        }
        assert_eq!(row(&store, 300), (0, 10), "the clock is right again, and all are behind");
        store.delete(&[], range(50_000, 2 * year)).unwrap();
        for at in [300, 400, 500] {
            assert_eq!(row(&store, at), (10, 0), "{flushed} {restarted} {at}");
        }
        let late = |at: i64| put(&store, "a", T0 + at, 0.0).unwrap();
        assert_eq!(
            (late(500 - 30_000).accepted, late(500 - 30_001).too_old),
            (1, 1),
            "the window counts from what is left"
        );
        assert_eq!(late(200).duplicate, 1, "what a block has stands");
        assert_eq!(points(&store, "b").len(), 6);
    }
}

#[test]
fn a_block_of_which_everything_is_deleted_leaves_no_file_and_no_name() {
    let disk = SimDisk::default();
    let store = filled(&disk);
    store.delete(&named("a"), TimeRange::ALL).unwrap();
    assert_eq!(block_on(store.label_values("__name__", &[], TimeRange::ALL, 0)).unwrap(), ["b"]);
    store.delete(&named("b"), TimeRange::ALL).unwrap();
    store.compact().unwrap();
    assert_eq!(store.stats().blocks, 0);
    let left: Vec<_> = disk.files().into_iter().filter(|f| f.starts_with("/data/blocks")).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

/// The log of what is in blocks goes with the block's birth. Where it cannot be removed then, and the block goes because all
/// of it was deleted, the next start would read it again.
#[test]
fn whichever_operation_of_a_flush_fails_what_is_deleted_after_it_stays_deleted() {
    let flushed = |fail_at: Option<u64>| {
        let disk = SimDisk::default();
        let (store, _) = open(&disk);
        for i in 0..10 {
            put(&store, "a", T0 + i * 100, i as f64).unwrap();
        }
        let first = disk.operations();
        disk.set_fail_at(fail_at.map(|n| first + n));
        let outcome = store.flush();
        disk.set_fail_at(None);
        (disk.operations() - first, outcome.is_ok(), disk, store)
    };
    let (operations, ..) = flushed(None);
    assert!(operations > 5, "{operations}");
    for n in 0..operations {
        let (_, _, disk, store) = flushed(Some(n));
        store.delete(&named("a"), TimeRange::ALL).unwrap();
        store.compact().unwrap();
        assert_eq!((times(&store, "a"), store.stats().blocks), (vec![], 0), "operation {n}");
        for (disk, how) in
            [(disk.killed(), "kill"), (disk.power_loss(n), "power loss"), (disk.power_loss(n + 99), "another")]
        {
            assert_eq!(times(&open(&disk).0, "a"), [], "operation {n}, {how}");
        }
    }
}

#[test]
fn a_deletion_says_that_it_could_not_look_into_a_block_that_cannot_be_opened() {
    let disk = SimDisk::default();
    drop(filled(&disk));
    let file = files_of(&disk, "block").remove(0);
    disk.tamper(&file, |b| b[0] ^= 1);
    let store = open(&disk.killed()).0;
    let Err(DeleteError::Damaged(why)) = store.delete(&named("a"), range(0, 1500)) else { panic!("it is told") };
    assert!(why.to_string().contains("0000000001.block"), "{why}");
    let left = select(&store, &["__name__=a"], range(1000, 3000));
    assert_eq!(left[0].1.times, (15..20).map(|i| T0 + i * 100).collect::<Vec<_>>(), "what could be deleted is");
    assert_eq!(
        store.delete(&named("a"), range(1500, 1600)).unwrap().series,
        1,
        "a block of other times has nothing of it"
    );
}

#[test]
fn a_deletion_that_was_answered_survives_a_crash_at_any_disk_operation() {
    let config = StoreConfig { fsync: FsyncPolicy::Always, block_span: Duration::from_secs(3600), ..config() };
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let mut answered = false;
        let mut sent = 0;
        if let Ok((store, _)) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)) {
            for i in 0..12 {
                for name in ["a", "b"] {
                    sent += i64::from(put(&store, name, T0 + i * 100, i as f64).is_ok());
                }
                if i % 3 == 2 {
                    let _ = store.flush();
                }
            }
            answered = store.delete(&named("a"), range(300, 900)).is_ok();
            let _ = store.compact();
        }
        for (disk, how) in [(disk.killed(), "kill"), (disk.power_loss(operation), "power loss")] {
            let (store, recovery) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
            assert_eq!(recovery.damage, [], "{how} at {operation}");
            let (a, b) = (times(&store, "a"), times(&store, "b"));
            if answered {
                assert_eq!(a, [0, 1, 2, 9, 10, 11], "{how} at {operation}");
            }
            if sent == 24 {
                assert_eq!(b, (0..12).collect::<Vec<_>>(), "{how} at {operation}");
                assert!([0, 1, 2, 9, 10, 11].iter().all(|t| a.contains(t)), "{how} at {operation}: {a:?}");
            }
            store.compact().unwrap();
            assert_eq!((times(&store, "a"), times(&store, "b")), (a, b), "{how} at {operation}");
        }
        if !disk.crashed() {
            assert!(answered && operation > 60, "{operation} operations");
            break;
        }
    }
}
