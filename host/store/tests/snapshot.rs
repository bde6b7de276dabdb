//! Snapshots: a data folder of its own, whatever the store does meanwhile and afterwards.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use belfry_model::{Matcher, TimeRange, TimestampMs};
use belfry_store::disk::{Disk, SimDisk};
use belfry_store::{Damage, RealDisk, SNAPSHOT_MARGIN_BYTES, Store, StoreConfig};
use common::*;

fn open_at(disk: &SimDisk, folder: &str) -> Arc<Store> {
    let config = StoreConfig { backend: belfry_store::Backend::Folder(folder.into()), ..config() };
    let (store, recovery) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    assert_eq!((recovery.damage, recovery.torn_bytes), (vec![], 0));
    store
}

fn times(store: &Store, name: &str) -> Vec<i64> {
    points(store, name).iter().map(|p| (p.0 - T0) / 100).collect()
}

#[test]
fn a_snapshot_holds_blocks_deletions_and_the_log_and_stays_as_it_is() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for i in 0..30 {
        put(&store, "a", T0 + i * 100, i as f64).unwrap();
        if i == 9 {
            store.flush().unwrap();
            let range = TimeRange::new(TimestampMs(T0), TimestampMs(T0 + 300)).unwrap();
            store.delete(&[Matcher::equal("__name__", "a")], range).unwrap();
        }
    }
    let done = store.snapshot(Path::new("/backup"), 0).unwrap();
    assert!(done.blocks == 1 && done.wal_bytes > 0, "{done:?}");
    put(&store, "a", T0 + 3000, 30.0).unwrap();
    store.flush().unwrap();
    store.compact().unwrap();
    store.delete(&[], TimeRange::ALL).unwrap();
    store.compact().unwrap();

    let copy = open_at(&disk, "/backup");
    assert_eq!(times(&copy, "a"), (3..30).collect::<Vec<_>>());
    put(&copy, "a", T0 + 9000, 1.0).unwrap();
    copy.flush().unwrap();
    assert_eq!(times(&store, "a"), Vec::<i64>::new(), "neither knows of the other");
    assert!(store.snapshot(Path::new("/backup"), 0).is_err(), "a folder with data is not written over");
}

#[test]
fn a_snapshot_that_returned_survives_power_loss() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for i in 0..20 {
        put(&store, "a", T0 + i * 100, i as f64).unwrap();
        if i == 9 {
            store.flush().unwrap();
        }
    }
    store.snapshot(Path::new("/backup"), 0).unwrap();
    for seed in 0..5 {
        assert_eq!(times(&open_at(&disk.power_loss(seed), "/backup"), "a").len(), 20);
    }
}

#[test]
fn each_snapshot_of_a_busy_store_holds_what_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { retention: None, ..StoreConfig::folder(folder.path().join("data")) };
    let (store, _) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    let (written, done) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let i = written.load(SeqCst);
                put(&store, "a", T0 + i, i as f64).unwrap();
                written.store(i + 1, SeqCst);
            }
        });
        scope.spawn(|| {
            while !done.load(SeqCst) {
                store.flush().unwrap();
                store.compact().unwrap();
            }
        });
        let _end = OnDrop(|| done.store(true, SeqCst));
        for n in 0..8 {
            let into = folder.path().join(format!("backup-{n}"));
            let before = written.load(SeqCst);
            store.snapshot(&into, 0).unwrap();
            let config = StoreConfig { retention: None, ..StoreConfig::folder(&into) };
            let (copy, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
            assert_eq!((recovery.damage, recovery.torn_bytes), (vec![], 0));
            let found = points(&copy, "a");
            assert!(found.len() as i64 >= before, "{} of {before} samples", found.len());
            assert!(found.iter().enumerate().all(|(i, p)| p.0 == T0 + i as i64), "without a gap");
        }
    });
}

#[test]
fn of_two_snapshots_into_one_folder_at_once_one_is_whole_and_the_other_says_so_and_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let config = |at: &Path| StoreConfig { retention: None, ..StoreConfig::folder(at) };
    let open = |at: &Path| Store::open(config(at), Arc::new(RealDisk), TimestampMs(T0)).unwrap().0;
    let store = open(&folder.path().join("data"));
    for i in 0..20 {
        put(&store, "a", T0 + i * 100, i as f64).unwrap();
        if i == 9 {
            store.flush().unwrap();
        }
    }
    for round in 0..16 {
        let into = folder.path().join(format!("backup-{round}"));
        if round % 2 == 0 {
            std::fs::create_dir(&into).unwrap();
        }
        let ready = std::sync::Barrier::new(2);
        let copy = || {
            ready.wait();
            store.snapshot(&into, 0)
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(copy);
            (copy(), other.join().unwrap())
        });
        let refused = one.as_ref().err().or(other.as_ref().err()).expect("one is refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists, "{refused}");
        assert!(one.is_ok() != other.is_ok());
        assert_eq!(times(&open(&into), "a").len(), 20, "round {round}");
    }
}

#[test]
fn a_store_in_memory_says_that_it_has_no_snapshots() {
    let (store, _) = Store::open(StoreConfig::memory(), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(store.snapshot(Path::new("/backup"), 0).unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn a_folder_that_holds_anything_is_refused_and_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (store, _) =
        Store::open(StoreConfig::folder(home.path().join("data")), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    put(&store, "a", T0, 1.0).unwrap();
    let (other, mounted) = (home.path().join("other"), home.path().join("mounted"));
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("state.sqlite"), "somebody's").unwrap();
    let refused = store.snapshot(&other, 0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(refused.to_string().contains("holds `state.sqlite` already"), "{refused}");
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    // As a file system is when it is new.
    std::fs::create_dir_all(mounted.join("lost+found")).unwrap();
    store.snapshot(&mounted, 0).unwrap();
    store.discard_snapshot(&home.path().join("never made"));
}

#[test]
fn without_room_for_it_and_a_margin_nothing_is_made() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    let before = disk.files();
    let room = |bytes: u64| disk.set_capacity(Some(disk.used() + bytes));
    room(SNAPSHOT_MARGIN_BYTES);
    let refused = store.snapshot(Path::new("/backup"), 0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    assert!(refused.to_string().contains("no room for a copy in /backup"), "{refused}");
    assert_eq!(disk.files(), before);
    room(SNAPSHOT_MARGIN_BYTES + 4096);
    assert!(store.snapshot(Path::new("/backup"), 1 << 20).is_err(), "what goes beside it needs room too");
    store.snapshot(Path::new("/backup"), 0).unwrap();
    store.discard_snapshot(Path::new("/backup"));
    assert_eq!(disk.files(), before);
    put(&store, "a", T0 + 1, 1.0).unwrap();
}

#[test]
fn a_snapshot_that_cannot_be_finished_leaves_nothing() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put(&store, "a", T0, 1.0).unwrap();
    store.flush().unwrap();
    put(&store, "a", T0 + 1, 1.0).unwrap();
    let before = disk.files();
    disk.set_fail_sync(true);
    assert!(store.snapshot(Path::new("/backup"), 0).is_err());
    assert_eq!(disk.files(), before);
}

/// Two blocks, of the first of which something is deleted and the header is damaged, and a log.
fn with_a_block_that_cannot_be_opened() -> (SimDisk, PathBuf) {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for i in 0..25 {
        put(&store, "a", T0 + i * 100, i as f64).unwrap();
        if i == 9 {
            store.flush().unwrap();
            let range = TimeRange::new(TimestampMs(T0), TimestampMs(T0 + 300)).unwrap();
            store.delete(&[Matcher::equal("__name__", "a")], range).unwrap();
        }
        if i == 19 {
            store.flush().unwrap();
        }
    }
    drop(store);
    let disk = disk.killed();
    let file = files_of(&disk, "block").remove(0);
    disk.tamper(&file, |bytes| bytes[0] ^= 1);
    (disk, file)
}

fn open_damaged(disk: impl Disk + 'static, folder: &str) -> (Arc<Store>, Vec<Damage>) {
    let config = StoreConfig { backend: belfry_store::Backend::Folder(folder.into()), ..config() };
    let (store, recovery) = Store::open(config, Arc::new(disk), TimestampMs(T0)).expect("the rest is whole");
    (store, recovery.damage)
}

fn in_copy(file: &Path) -> PathBuf {
    Path::new("/backup/blocks").join(file.file_name().expect("a name"))
}

#[test]
fn a_block_that_cannot_be_opened_is_copied_as_it_is_and_missed_by_whoever_starts_from_the_copy() {
    let (disk, file) = with_a_block_that_cannot_be_opened();
    let (store, damage) = open_damaged(disk.clone(), "/data");
    assert_eq!(damage.len(), 1);
    let done = store.snapshot(Path::new("/backup"), 0).unwrap();
    assert_eq!((done.blocks, done.left_out), (2, vec![]));
    for extension in ["block", "gone"] {
        let (from, to) = (file.with_extension(extension), in_copy(&file).with_extension(extension));
        assert_eq!(disk.read(&to).unwrap(), disk.read(&from).unwrap(), "{extension}");
    }
    let (copy, damage) = open_damaged(disk.clone(), "/backup");
    assert_eq!(damage.iter().map(|d| &*d.file).collect::<Vec<_>>(), [in_copy(&file)]);
    let (left, warnings) = points_left(&copy, "a");
    assert_eq!((left.len(), warnings.len()), (15, 1), "{warnings:?}");
    assert_eq!(warnings[0].replace("/backup/", "/data/"), points_left(&store, "a").1[0]);

    // What is in it is not lost for whoever knows how to repair it, nor is what was deleted.
    drop(copy);
    let disk = disk.killed();
    disk.tamper(&in_copy(&file), |bytes| bytes[0] ^= 1);
    assert_eq!(times(&open_at(&disk, "/backup"), "a"), (3..25).collect::<Vec<_>>());
}

#[test]
fn a_block_that_is_gone_or_cannot_be_read_is_named_and_the_copy_misses_it() {
    let (disk, file) = with_a_block_that_cannot_be_opened();
    let (store, _) = open_damaged(disk.clone(), "/data");
    disk.remove(&file).unwrap();
    let done = store.snapshot(Path::new("/backup"), 0).unwrap();
    let [left_out] = &done.left_out[..] else { panic!("{done:?}") };
    assert!(left_out.starts_with(file.to_str().unwrap()), "{left_out}");
    let (copy, damage) = open_damaged(disk.clone(), "/backup");
    assert_eq!(damage.iter().map(|d| &*d.file).collect::<Vec<_>>(), [in_copy(&file)]);
    assert_eq!(points_left(&copy, "a").1.len(), 1);
}

#[test]
fn to_another_file_system_goes_what_the_disk_gives_of_a_file() {
    let (disk, unopened) = with_a_block_that_cannot_be_opened();
    let opened = files_of(&disk, "block").remove(1);
    for file in [unopened, opened] {
        let disk = disk.killed();
        let whole = disk.read(&file).unwrap();
        // A bad place behind the header, which keeps no block from being opened.
        let bad = BadSector { disk: disk.clone(), file: file.clone(), bad: 70..71, is_apart: true };
        let (store, damage) = open_damaged(bad, "/data");
        assert_eq!(damage.len(), 1, "{damage:?}");
        let done = store.snapshot(Path::new("/backup"), 0).unwrap();
        let [left_out] = &done.left_out[..] else { panic!("{done:?}") };
        assert!(left_out.starts_with(file.to_str().unwrap()) && left_out.contains("cannot be read"), "{left_out}");
        assert_eq!(disk.read(&in_copy(&file)).unwrap().len(), whole.len());
        let (copy, damage) = open_damaged(disk.clone(), "/backup");
        let found: Vec<_> = damage.into_iter().chain(copy.verify()).map(|d| d.file).collect();
        assert!(found.contains(&in_copy(&file)), "{found:?}");
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
