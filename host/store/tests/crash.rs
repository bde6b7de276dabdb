//! A crash at every disk operation, by `kill -9` and by power loss: nothing acknowledged is lost, nothing is made up,
//! and the store opens without a word of damage.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use belfry_model::{Appended, Batch, TimestampMs, WriteError, Writer};
use belfry_store::disk::SimDisk;
use belfry_store::{FsyncPolicy, Store, StoreConfig};
use common::*;

const SERIES: [&str; 3] = ["a", "b", "c"];
/// These come together.
const ROW: [&str; 8] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];

type Samples = BTreeMap<(&'static str, i64), u64>;

/// Appends, blocks, merges, and a restart in the middle. Yields what was sent and what of it was acknowledged.
fn work(disk: &SimDisk, config: &StoreConfig) -> (Samples, Samples) {
    let (mut sent, mut acknowledged) = (Samples::new(), Samples::new());
    let open = || Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0));
    let Ok((mut store, _)) = open() else { return (sent, acknowledged) };
    for i in 0..36i64 {
        for (k, name) in SERIES.iter().enumerate() {
            // Some come late.
            let at = T0 + i * 5_000 - (i % 4) * 7_000 + k as i64;
            let value = (i * 10 + k as i64) as f64 / 3.0;
            sent.insert((name, at), value.to_bits());
            if put(&store, name, at, value).is_ok() {
                acknowledged.insert((name, at), value.to_bits());
            }
        }
        let at = T0 + i * 5_000;
        let value = |k: usize| (i * (k as i64 % 4)) as f64 / 3.0;
        sent.extend((0..ROW.len()).map(|k| ((ROW[k], at), value(k).to_bits())));
        if put_row(&store, at, value).is_ok() {
            acknowledged.extend((0..ROW.len()).map(|k| ((ROW[k], at), value(k).to_bits())));
        }
        if i % 6 == 5 {
            // Errors are the crash; the store must cope with being called on.
            let _ = store.flush();
        }
        let _ = store.maintain(TimestampMs(T0 + i * 5_000));
        if i == 20 {
            drop(store);
            match open() {
                Ok((again, _)) => store = again,
                Err(_) => return (sent, acknowledged),
            }
        }
    }
    (sent, acknowledged)
}

fn put_row(store: &Store, at: i64, value: impl Fn(usize) -> f64) -> Result<Appended, WriteError> {
    let mut batch = Batch::at("rows", TimestampMs(at));
    for (k, name) in ROW.iter().enumerate() {
        batch.refs.push(store.open(&labels(name))?);
        batch.values.push(value(k));
    }
    block_on(store.append(batch))
}

fn check(disk: &SimDisk, config: &StoreConfig, sent: &Samples, acknowledged: &Samples, when: &str) {
    let opened = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0));
    let (store, recovery) = opened.unwrap_or_else(|e| panic!("{when}: {e}"));
    assert_eq!(recovery.damage, [], "{when}");
    let held = store.stats().block_samples + recovery.samples;
    assert!(held <= sent.len() as u64, "{when}: {held} samples are kept, more than were sent");
    let mut found = Samples::new();
    for name in SERIES.into_iter().chain(ROW) {
        found.extend(points(&store, name).into_iter().map(|(t, v)| ((name, t), v)));
    }
    for (key, value) in acknowledged {
        assert_eq!(found.get(key), Some(value), "{when}: {key:?} was acknowledged");
    }
    for (key, value) in &found {
        assert_eq!(sent.get(key), Some(value), "{when}: {key:?} was never sent");
    }
    // Life goes on.
    put(&store, "a", T0 + 1_000_000, 1.0).unwrap_or_else(|e| panic!("{when}: {e}"));
    store.flush().unwrap_or_else(|e| panic!("{when}: {e}"));
    assert!(points(&store, "a").contains(&(T0 + 1_000_000, 1.0f64.to_bits())), "{when}");
}

fn config_with(fsync: FsyncPolicy) -> StoreConfig {
    StoreConfig { fsync, block_span: Duration::from_secs(50), retention: None, ..config() }
}

#[test]
fn an_acknowledged_sample_survives_a_kill_at_any_disk_operation() {
    let config = config_with(FsyncPolicy::Never);
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let (sent, acknowledged) = work(&disk, &config);
        check(&disk.killed(), &config, &sent, &acknowledged, &format!("killed at operation {operation}"));
        if !disk.crashed() {
            assert_eq!(sent, acknowledged);
            assert!(operation > 150, "the work took {operation} operations");
            break;
        }
    }
}

#[test]
fn an_acknowledged_sample_survives_a_power_loss_at_any_disk_operation() {
    let config = config_with(FsyncPolicy::Always);
    for operation in 0.. {
        let disk = SimDisk::crash_at(operation);
        let (sent, acknowledged) = work(&disk, &config);
        for seed in 0..4 {
            let when = format!("power lost at operation {operation}, seed {seed}");
            check(&disk.power_loss(operation * 31 + seed), &config, &sent, &acknowledged, &when);
        }
        if !disk.crashed() {
            break;
        }
    }
}

#[test]
fn what_was_synced_survives_a_power_loss_under_the_interval_policy() {
    let config = config_with(FsyncPolicy::Interval);
    let disk = SimDisk::default();
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    store.sync().unwrap();
    put(&store, "a", T0 + 1, 2.0).unwrap();
    for seed in 0..20 {
        let (store, recovery) = Store::open(config.clone(), Arc::new(disk.power_loss(seed)), TimestampMs(T0)).unwrap();
        assert_eq!(recovery.damage, []);
        assert_eq!(points(&store, "a")[0], (T0, 1.0f64.to_bits()));
    }
}

#[test]
fn of_what_was_not_synced_a_power_loss_leaves_the_first_and_no_damage_whatever_pages_it_takes() {
    let config = config_with(FsyncPolicy::Interval);
    let disk = SimDisk::default();
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    // Of a row the log has the difference to the row before: without one of them the rest says nothing.
    let value = |i: i64| move |k: usize| 1.0 / (i * 8 + k as i64 + 1) as f64;
    for i in 0..30 {
        put_row(&store, T0 + i, value(i)).unwrap();
        put(&store, "a", T0 + i, value(i)(0)).unwrap();
        if i == 9 {
            store.sync().unwrap();
        }
    }
    let open = |disk: &SimDisk| Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut disk = disk.power_loss(seed);
        let mut before = None;
        // What was cut stays cut: a later start finds the same.
        for start in 0..2 {
            let (store, recovery) = open(&disk);
            assert_eq!(recovery.damage, [], "seed {seed}, start {start}");
            let found = points(&store, "r3");
            assert!(found.len() >= 10, "seed {seed}: {} of what was synced", found.len());
            let expected: Vec<_> = (0..found.len() as i64).map(|i| (T0 + i, value(i)(3).to_bits())).collect();
            assert_eq!(found, expected, "seed {seed}, start {start}: the first, without a gap");
            lengths.insert(found.len());
            assert_eq!(*before.get_or_insert(found.len()), found.len(), "seed {seed}");
            put(&store, "later", T0 + start, 1.0).unwrap();
            disk = disk.killed();
        }
    }
    assert!(lengths.len() > 4 && lengths.contains(&30), "{lengths:?}");
}

#[test]
fn appends_go_on_while_blocks_are_written_and_a_kill_at_any_moment_loses_none() {
    let disk = SimDisk::default();
    let config = StoreConfig { retention: None, ..config_with(FsyncPolicy::Never) };
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let (written, done) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                store.flush().unwrap();
                store.maintain(TimestampMs(T0)).unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let i = written.load(SeqCst);
                put(&store, "a", T0 + i, i as f64).unwrap();
                written.store(i + 1, SeqCst);
            }
        });
        // Also when a check fails: else the other two would run for ever.
        let _end = OnDrop(|| done.store(true, SeqCst));
        // The crash points: copies of the disk while both are at work.
        for _ in 0..60 {
            let acknowledged = written.load(SeqCst) as usize;
            let (restarted, recovery) = Store::open(config.clone(), Arc::new(disk.killed()), TimestampMs(T0)).unwrap();
            assert_eq!(recovery.damage, []);
            let found = points(&restarted, "a");
            assert!(found.len() >= acknowledged, "{} of {acknowledged}", found.len());
            assert!(found.iter().enumerate().all(|(i, p)| *p == (T0 + i as i64, (i as f64).to_bits())));
            assert_eq!(points(&store, "a")[..acknowledged], found[..acknowledged], "and a reader sees the same");
        }
    });
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
