//! What Belfry collected itself is committed at once where nothing stands in the way, and waits for its sync.

mod common;

use std::sync::Arc;

use belfry_model::write::Times;
use belfry_model::{Appended, Batch, Histogram, Refusal, SeriesRef, TimestampMs, WriteError, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{FsyncPolicy, Health, Store, StoreConfig};
use common::*;

fn open_with(disk: &SimDisk, fsync: FsyncPolicy) -> Arc<Store> {
    let config = StoreConfig { fsync, ..config() };
    Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).expect("the store opens").0
}

fn batch(store: &Store, name: &str, at: i64) -> Batch {
    let mut batch = Batch::at("test", TimestampMs(at));
    batch.refs = vec![store.open(&labels(name)).expect("a series")];
    batch.values = vec![1.0];
    batch
}

#[test]
fn what_is_appended_at_once_survives_a_kill_and_is_no_different_from_what_was_queued() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Interval);
    for i in 0..20 {
        let done = store.append_now(&batch(&store, "a", T0 + 2 * i));
        assert_eq!(done, Some(Ok(Appended { accepted: 1, ..Appended::default() })));
        put(&store, "a", T0 + 2 * i + 1, 1.0).unwrap();
    }
    let again = store.append_now(&batch(&store, "a", T0));
    assert_eq!(again, Some(Ok(Appended { accepted: 1, ..Appended::default() })), "the same sample is no news");
    assert_eq!(points(&store, "a").len(), 40);
    let restarted = open_with(&disk.killed(), FsyncPolicy::Interval);
    assert_eq!(points(&restarted, "a"), points(&store, "a"));
}

#[test]
fn each_refused_sample_is_named_with_its_reason_at_once_as_from_the_queue() {
    use Refusal::{Duplicate, TooOld, UnknownSeries};
    let store = open_with(&SimDisk::default(), FsyncPolicy::Interval);
    put(&store, "a", T0 + 60_000, 1.0).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| store.open(&labels(name)).unwrap());
    let histogram = |of, sum| (of, TimestampMs(T0 + 60_000), None, Arc::new(Histogram { sum, ..Histogram::default() }));
    let mixed =
        [(a, 60_000, 2.0), (b, 0, 1.0), (a, 0, 1.0), (SeriesRef(u64::MAX), 0, 1.0), (a, 1, 1.0), (a, 61_000, 1.0)];
    let batch = Batch {
        times: Times::Each(mixed.iter().map(|s| TimestampMs(T0 + s.1)).collect()),
        refs: mixed.iter().map(|s| s.0).collect(),
        values: mixed.iter().map(|s| s.2).collect(),
        histograms: vec![histogram(c, 1.0), histogram(a, 3.0), histogram(c, 2.0)],
        ..Batch::at("test", TimestampMs(T0))
    };
    let at_once = store.append_now(&batch).expect("nothing stands in its way").unwrap();
    // What was taken then is the same once more.
    let queued = block_on(store.append(batch)).unwrap();
    for done in [at_once, queued] {
        assert_eq!((done.accepted, done.duplicate, done.too_old, done.unknown_series), (3, 3, 2, 1));
        assert_eq!(done.refused.floats, [(0, Duplicate), (2, TooOld), (3, UnknownSeries), (4, TooOld)]);
        assert_eq!(done.refused.histograms, [(1, Duplicate), (2, Duplicate)]);
    }
}

#[test]
fn what_is_written_out_survives_a_kill() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Interval);
    put(&store, "c", T0, 1.0).unwrap();
    for name in ["a", "b"] {
        assert!(store.append_now(&batch(&store, name, T0)).is_some_and(|done| done.is_ok()));
        assert_eq!(points(&store, name).len(), 1, "it can be read before it is written");
    }
    let before = disk.operations();
    store.write_out();
    assert_eq!(disk.operations(), before + 1, "one write has both");
    store.write_out();
    assert_eq!(disk.operations(), before + 1, "nothing is left to write");
    let restarted = open_with(&disk.killed(), FsyncPolicy::Interval);
    assert_eq!((points(&restarted, "a").len(), points(&restarted, "b").len()), (1, 1));
}

#[test]
fn nothing_more_is_taken_until_what_could_not_be_written_is() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Interval);
    put(&store, "a", T0, 1.0).unwrap();
    disk.set_capacity(Some(disk.used()));
    assert!(store.append_now(&batch(&store, "a", T0 + 1)).is_some_and(|done| done.is_ok()));
    store.write_out();
    assert!(matches!(store.health(), Health::DiskFull(_)));
    let refused = store.append_now(&batch(&store, "a", T0 + 2));
    assert!(matches!(refused, Some(Err(WriteError::DiskFull(_)))), "{refused:?}");
    disk.set_capacity(None);
    assert!(store.append_now(&batch(&store, "a", T0 + 3)).is_some_and(|done| done.is_ok()));
    store.write_out();
    assert_eq!(store.health(), Health::Ok);
    let restarted = open_with(&disk.killed(), FsyncPolicy::Interval);
    assert_eq!(points(&restarted, "a").len(), 3);
}

#[test]
fn only_what_was_promised_to_somebody_owes_a_sync() {
    let store = open_with(&SimDisk::default(), FsyncPolicy::Interval);
    assert!(store.append_now(&batch(&store, "a", T0)).is_some_and(|done| done.is_ok()));
    assert!(!store.owes_sync());
    put(&store, "a", T0 + 1, 1.0).unwrap();
    assert!(store.owes_sync());
    store.sync().unwrap();
    assert!(!store.owes_sync());
}

#[test]
fn a_sync_makes_what_was_appended_at_once_survive_a_power_loss() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Interval);
    assert!(store.append_now(&batch(&store, "a", T0)).is_some_and(|done| done.is_ok()));
    store.sync().unwrap();
    let restarted = open_with(&disk.power_loss(7), FsyncPolicy::Interval);
    assert_eq!(points(&restarted, "a").len(), 1);
}

#[test]
fn a_thread_that_waits_to_sync_is_woken_by_the_first_promise() {
    let store = open_with(&SimDisk::default(), FsyncPolicy::Interval);
    let syncing = store.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        syncing.wake_to_sync(std::thread::current());
        tell.send(()).unwrap();
        // Without being woken it would wait forever.
        while !syncing.owes_sync() {
            std::thread::park();
        }
        syncing.sync().unwrap();
    });
    told.recv().unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    thread.join().unwrap();
    assert!(!store.owes_sync());
}

#[test]
fn where_each_answer_waits_for_a_sync_the_batch_is_left_to_the_queue() {
    let store = open_with(&SimDisk::default(), FsyncPolicy::Always);
    assert_eq!(store.append_now(&batch(&store, "a", T0)), None);
    store.close();
    let closed = open_with(&SimDisk::default(), FsyncPolicy::Interval);
    let batch = batch(&closed, "a", T0);
    closed.close();
    assert_eq!(closed.append_now(&batch), Some(Err(WriteError::Closed)));
}

#[test]
fn a_batch_that_asks_for_it_survives_a_power_loss_once_it_was_answered_and_others_need_not() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Interval);
    let [a, b] = ["a", "b"].map(|name| store.open(&labels(name)).unwrap());
    let batch = |of, value, durable| Batch {
        refs: vec![of],
        values: vec![value],
        durable,
        ..Batch::at("test", TimestampMs(T0 + 1000))
    };
    assert_eq!(block_on(store.append(batch(a, 1.0, true))).unwrap().accepted, 1);
    assert_eq!(block_on(store.append(batch(b, 2.0, false))).unwrap().accepted, 1);
    for seed in 0..20 {
        let restarted = open_with(&disk.power_loss(seed), FsyncPolicy::Interval);
        assert_eq!(points(&restarted, "a"), points(&store, "a"), "seed {seed}");
    }

    // A sync that fails is told to whoever asked for it alone, until a block has what came before.
    disk.set_fail_sync(true);
    assert!(matches!(block_on(store.append(batch(a, 1.0, true))), Err(WriteError::Io(_))));
    disk.set_fail_sync(false);
    assert!(
        matches!(block_on(store.append(batch(a, 1.0, true))), Err(WriteError::Io(_))),
        "nobody knows what the disk has"
    );
    assert_eq!(block_on(store.append(batch(b, 2.0, false))).unwrap().accepted, 1);
    store.maintain(TimestampMs(T0 + 2000)).unwrap();
    assert_eq!(block_on(store.append(batch(a, 1.0, true))).unwrap().accepted, 1);
    assert_eq!(store.health(), Health::Ok);
}

#[test]
fn where_nothing_is_synced_a_batch_that_asks_for_it_is_answered_all_the_same() {
    let disk = SimDisk::default();
    let store = open_with(&disk, FsyncPolicy::Never);
    let a = store.open(&labels("a")).unwrap();
    disk.set_fail_sync(true);
    let batch = Batch { refs: vec![a], values: vec![1.0], durable: true, ..Batch::at("test", TimestampMs(T0)) };
    assert_eq!(block_on(store.append(batch)).unwrap().accepted, 1);
}
