//! What was lost of the log is said in every answer over its times, also once the log that shows it is gone.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::{Matcher, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs};
use belfry_store::disk::{Disk, SimDisk};
use belfry_store::{Backend, FsyncPolicy, OpenError, Store, StoreConfig};
use common::*;

const NOTE: &str = "/data/wal/lost";
const STEP_MS: i64 = 1000;
const SAMPLES: i64 = 60;
/// Of the sample whose record is damaged.
const LOST: i64 = 30;

fn at(i: i64) -> i64 {
    T0 + i * STEP_MS
}

fn segment(disk: &SimDisk) -> PathBuf {
    files_of(disk, "wal").remove(0)
}

/// Flips a bit in the last byte of the record that is the n-th.
fn damage(disk: &SimDisk, n: i64) -> PathBuf {
    let file = segment(disk);
    disk.tamper(&file, |b| {
        let end = |b: &[u8], place: usize| {
            place + 12 + u32::from_le_bytes(b[place + 4..place + 8].try_into().unwrap()) as usize
        };
        let last = (0..=n).fold(16, |place, _| end(b, place)) - 1;
        b[last] ^= 1;
    });
    file
}

/// A log of a sample a second, each in a record of its own, of which one is damaged.
fn damage_on(disk: &SimDisk) -> PathBuf {
    // Without a note of what was synced between the records.
    let config = StoreConfig { fsync: FsyncPolicy::Never, ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    for i in 0..SAMPLES {
        put(&store, "a", at(i), i as f64).unwrap();
    }
    drop(store);
    damage(disk, LOST)
}

fn damaged() -> (SimDisk, PathBuf) {
    let disk = SimDisk::default();
    let file = damage_on(&disk);
    (disk.killed(), file)
}

fn warnings(store: &Store, from: i64, to: i64) -> Vec<String> {
    let range = TimeRange::inclusive(TimestampMs(from), TimestampMs(to)).unwrap();
    let matcher = [Matcher::equal("__name__", "a")];
    let set = block_on(store.select(&matcher, range, &SelectHints::default(), SelectLimits::default())).unwrap();
    assert_eq!(store.missing(range), set.warnings, "lists of series warn as answers do");
    if let Some(newest) = block_on(store.newest(&matcher, range, SelectLimits::default())).unwrap() {
        assert_eq!(newest.warnings, set.warnings);
    }
    set.warnings
}

/// Answers that touch the time of what is lost warn, others do not, and the store says where it was.
fn check(store: &Store, file: &Path, when: &str) {
    for (from, to) in [(at(0), at(59)), (at(LOST), at(LOST)), (at(LOST + 1), at(59)), (at(0), at(LOST - 1))] {
        let told = warnings(store, from, to);
        assert_eq!(told.len(), 1, "{when}: {told:?}");
        assert!(
            told[0].starts_with(&format!("samples are missing from this answer: {}: damage at byte ", file.display()))
        );
    }
    for (from, to) in [(at(0), at(LOST - 2)), (at(LOST + 2), at(100))] {
        assert_eq!(warnings(store, from, to), Vec::<String>::new(), "{when}");
    }
    let damage = store.damage().unwrap_or_else(|| panic!("{when}"));
    assert!(damage.starts_with(file.to_str().unwrap()), "{when}: {damage}");
    let span = "samples between 2023-11-14T22:13:49.000Z and 2023-11-14T22:13:51.000Z may be missing";
    assert!(damage.ends_with(span) && damage.contains("a record's checksum does not match"), "{when}: {damage}");
}

#[test]
fn answers_over_the_time_of_a_damaged_record_warn_and_go_on_doing_so_when_its_log_is_gone() {
    let (disk, file) = damaged();
    let (store, recovery) = open(&disk);
    assert_eq!((recovery.damage.len(), recovery.lost_before.len()), (1, 0));
    check(&store, &file, "found");
    drop(store);
    let (store, recovery) = open(&disk.killed());
    assert_eq!((recovery.damage.len(), recovery.lost_before.len()), (1, 0), "the log still shows it");
    check(&store, &file, "found again");
    drop(store);
    let disk = disk.killed();
    let (store, _) = open(&disk);
    store.flush().unwrap();
    check(&store, &file, "in a block");
    drop(store);
    assert!(disk.read(&file).is_err(), "the log is gone");
    for restart in 0..3 {
        let (store, recovery) = open(&disk.killed());
        assert_eq!((recovery.damage, recovery.lost_before.len()), (vec![], 1));
        check(&store, &file, &format!("start {restart}"));
        put(&store, "a", at(100 + restart), 1.0).unwrap();
        store.flush().unwrap();
        store.compact().unwrap();
    }
}

#[test]
fn the_file_is_named_also_where_samples_are_lost_with_what_introduced_their_series() {
    let disk = SimDisk::default();
    damage_on(&disk);
    let file = damage(&disk, 0);
    let (store, recovery) = open(&disk.killed());
    assert_eq!(recovery.damage.len(), 3, "two records, and the samples of their series");
    let told = store.damage().expect("it is told");
    assert!(told.starts_with(file.to_str().unwrap()), "{told}");
}

#[test]
fn a_torn_tail_is_no_loss() {
    let (disk, _) = damaged();
    let file = segment(&disk);
    disk.tamper(&file, |b| b.truncate(b.len() - 3));
    let (store, recovery) = open(&disk);
    assert!(recovery.torn_bytes > 0);
    assert_eq!(warnings(&store, at(50), at(100)), Vec::<String>::new());
    let (store, recovery) = {
        drop(store);
        let whole = SimDisk::default();
        let (store, _) = open(&whole);
        for i in 0..SAMPLES {
            put(&store, "a", at(i), 1.0).unwrap();
        }
        drop(store);
        let whole = whole.killed();
        whole.tamper(&segment(&whole), |b| b.truncate(b.len() - 3));
        open(&whole)
    };
    assert!(recovery.torn_bytes > 0 && store.damage().is_none());
    assert_eq!(warnings(&store, at(0), at(100)), Vec::<String>::new());
}

#[test]
fn no_log_is_deleted_before_what_it_lacks_is_noted() {
    let (disk, file) = damaged();
    // Not a byte can be written: the start works all the same, and warns.
    disk.set_capacity(Some(disk.used()));
    let (store, _) = open(&disk);
    check(&store, &file, "unwritten");
    assert!(store.flush().is_err() && disk.read(&file).is_ok());
    drop(store);
    disk.set_capacity(None);
    // A crash at each operation of a start and of what follows: whatever the next start finds, it warns.
    let begun = {
        let disk = SimDisk::default();
        damage_on(&disk);
        disk.operations()
    };
    for crash in 0.. {
        let disk = SimDisk::crash_at(begun + crash);
        damage_on(&disk);
        let opened = Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0));
        if let Ok((store, _)) = opened {
            let _ = store.flush();
        }
        for left in [disk.killed(), disk.power_loss(crash)] {
            let (store, _) = open(&left);
            check(&store, &file, &format!("crash at operation {crash}"));
        }
        if !disk.crashed() {
            assert!(crash > 10, "{crash}");
            break;
        }
    }
}

#[test]
fn what_was_lost_is_forgotten_with_what_was_around_it() {
    for of_size in [false, true] {
        let (disk, _) = damaged();
        let retention = Some(Duration::from_secs(1000)).filter(|_| !of_size);
        let open = |bytes: Option<u64>| {
            let config = StoreConfig { retention, retention_bytes: bytes, ..config() };
            Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap().0
        };
        let store = open(None);
        store.flush().unwrap();
        put(&store, "a", at(1020), 1.0).unwrap();
        store.upkeep(TimestampMs(at(1020))).unwrap();
        assert_eq!(warnings(&store, at(0), at(2000)).len(), 1, "it is not older than the retention");
        put(&store, "a", at(2000), 1.0).unwrap();
        store.flush().unwrap();
        drop(store);
        let store = open(of_size.then_some(1));
        store.upkeep(TimestampMs(at(2000))).unwrap();
        assert_eq!(warnings(&store, at(0), at(2000)), Vec::<String>::new(), "of_size: {of_size}");
        assert_eq!(store.damage(), None);
        drop(store);
        assert!(disk.read(Path::new(NOTE)).is_err(), "the note is gone, of_size: {of_size}");
    }
}

#[test]
fn a_copy_takes_what_is_known_to_be_lost_with_it() {
    let (disk, _) = damaged();
    let (store, _) = open(&disk);
    store.flush().unwrap();
    store.snapshot(Path::new("/copy"), 0).unwrap();
    drop(store);
    let config = StoreConfig { backend: Backend::Folder("/copy".into()), ..config() };
    let (store, recovery) = Store::open(config, Arc::new(disk), TimestampMs(T0)).unwrap();
    // The copy itself is whole.
    assert_eq!((recovery.damage, recovery.lost_before.len()), (vec![], 1));
    assert_eq!(warnings(&store, at(0), at(59)).len(), 1);
}

#[test]
fn a_note_that_cannot_be_read_is_told_of_until_somebody_removes_it() {
    let (disk, _) = damaged();
    let (store, _) = open(&disk);
    store.flush().unwrap();
    drop(store);
    let disk = disk.killed();
    disk.tamper(Path::new(NOTE), |b| b[20] ^= 1);
    for _ in 0..2 {
        let (store, recovery) = open(&disk);
        assert_eq!(recovery.damage[0].file, Path::new("/data/wal/lost.damaged"));
        assert_eq!(warnings(&store, at(5000), at(6000)).len(), 1, "nobody knows of which time it spoke");
        assert!(store.damage().is_some_and(|d| d.contains("lost.damaged")));
        store.flush().unwrap();
    }
    disk.remove(Path::new("/data/wal/lost.damaged")).unwrap();
    let (store, _) = open(&disk);
    assert_eq!((warnings(&store, at(0), at(6000)), store.damage()), (vec![], None));
}

#[test]
fn a_note_of_a_newer_version_is_refused_with_its_name() {
    let (disk, _) = damaged();
    drop(open(&disk));
    disk.tamper(Path::new(NOTE), |b| {
        b[8] = 2;
        let crc = crc32fast::hash(&[&b[..12], &b[16..]].concat());
        b[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = Store::open(config(), Arc::new(disk), TimestampMs(T0)).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Version { file, found: 2, known: 1 }) if file == Path::new(NOTE)));
}
