//! Bit rot: whatever bytes of whatever file change, nothing panics, nothing is made up, and what cannot be read is said.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use belfry_model::{Batch, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, Writer};
use belfry_store::disk::{Disk, SimDisk};
use belfry_store::{FsyncPolicy, OpenError, Store, StoreConfig};
use common::*;

const SERIES: [&str; 10] = ["a", "b", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
/// The first ones come alone, the others together.
const ALONE: usize = 2;
/// Of each series a block or the log has so many samples at most.
const FILE_SAMPLES_MAX: usize = 31 * SERIES.len();

/// Two blocks and a log, and what is in them.
fn filled() -> (SimDisk, BTreeMap<(&'static str, i64), u64>) {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    let mut sent = BTreeMap::new();
    for i in 0..90i64 {
        for name in &SERIES[..ALONE] {
            let value = if i % 3 == 0 { i as f64 } else { (i as f64).sqrt() };
            put(&store, name, T0 + i * 100, value).unwrap();
            sent.insert((*name, T0 + i * 100), value.to_bits());
        }
        let mut row = Batch::at("rows", TimestampMs(T0 + i * 100));
        for (k, name) in SERIES[ALONE..].iter().enumerate() {
            row.refs.push(store.open(&labels(name)).unwrap());
            row.values.push((i * (k as i64 % 4)) as f64 / 3.0);
            sent.insert((*name, T0 + i * 100), row.values[k].to_bits());
        }
        block_on(store.append(row)).unwrap();
        if i == 30 || i == 60 {
            store.flush().unwrap();
        }
    }
    drop(store);
    (disk.killed(), sent)
}

/// Opens and reads everything; yields whether something was found wrong.
fn read_all(disk: &SimDisk, sent: &BTreeMap<(&'static str, i64), u64>, when: &str) -> bool {
    let (store, recovery) = match Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0)) {
        Ok(opened) => opened,
        // A flipped bit in a version number under a right checksum does not happen; elsewhere opening succeeds.
        Err(OpenError::Version { .. }) => return true,
        Err(e) => panic!("{when}: {e}"),
    };
    let mut noticed = !recovery.damage.is_empty() || recovery.torn_bytes > 0;
    let mut found = 0;
    let mut missing: BTreeMap<_, _> = sent.iter().collect();
    for name in SERIES {
        let matcher = [Matcher::equal("__name__", name)];
        let hints = SelectHints::default();
        let select = store.select(&matcher, TimeRange::ALL, &hints, SelectLimits::default());
        let set = block_on(select).unwrap_or_else(|e| panic!("{when}: {e}"));
        noticed |= !set.warnings.is_empty();
        for s in &set.series {
            let mut buf = SampleBuf::default();
            // What can be read is there all the same.
            let is_told = s.samples.decode(TimeRange::ALL, &mut buf).is_err();
            noticed |= is_told;
            missing.retain(|(of, _), _| *of != name || !is_told);
            for (t, v) in buf.times.iter().zip(&buf.floats) {
                missing.remove(&(name, *t));
                assert_eq!(sent.get(&(name, *t)), Some(&v.to_bits()), "{when}: {name} at {t} was never sent");
            }
            found += buf.len();
        }
    }
    // An answer over nothing but the time of a sample that is not there says so, whichever it is. A torn tail is none.
    for (name, t) in missing.keys().filter(|_| recovery.torn_bytes == 0) {
        let alone = TimeRange::inclusive(TimestampMs(*t), TimestampMs(*t)).unwrap();
        assert!(!store.missing(alone).is_empty(), "{when}: {name} at {t} is missing without a word");
    }
    // Upkeep meets the damage too; it may fail, not panic.
    let _ = store.flush();
    let _ = store.maintain(TimestampMs(T0 + 100_000));
    assert!(found + FILE_SAMPLES_MAX >= sent.len(), "{when}: {found} of {} samples, other files are whole", sent.len());
    assert!(noticed || found == sent.len(), "{when}: {found} of {} samples, and not a word", sent.len());
    noticed
}

fn data_files_of(disk: &SimDisk) -> Vec<PathBuf> {
    let is_data = |f: &PathBuf| f.extension().is_some_and(|e| e == "wal" || e == "block");
    disk.files().into_iter().filter(is_data).collect()
}

fn data_files(disk: &SimDisk) -> Vec<PathBuf> {
    let files = data_files_of(disk);
    assert_eq!(files.len(), 3, "{files:?}");
    files
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_the_rest_is_read() {
    let (disk, sent) = filled();
    assert!(!read_all(&disk.killed(), &sent, "untouched"));
    for file in data_files(&disk) {
        let len = disk.read(&file).unwrap().len();
        for at in (0..len).step_by(7) {
            let disk = disk.killed();
            disk.tamper(&file, |b| b[at] ^= 1 << (at % 8));
            let when = format!("bit {} of byte {at} of {}", at % 8, file.display());
            // Only versions are not under a checksum of their own in a block; an older one reads the same.
            assert!(read_all(&disk, &sent, &when) || (8..12).contains(&at), "{when} went unnoticed");
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_noticed_and_the_rest_is_read() {
    let (disk, sent) = filled();
    for file in data_files(&disk) {
        let len = disk.read(&file).unwrap().len();
        for at in (0..len).step_by(11) {
            let disk = disk.killed();
            disk.tamper(&file, |b| b.truncate(at));
            let when = format!("{} cut to {at} bytes", file.display());
            let is_log = file.extension().is_some_and(|e| e == "wal");
            // A log that ends between two records cannot be told from one that was never longer.
            if is_log {
                let opened = Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0));
                assert!(opened.is_ok_and(|(_, r)| r.damage.is_empty()), "{when}");
            } else {
                assert!(read_all(&disk, &sent, &when), "{when} went unnoticed");
            }
        }
    }
}

#[test]
fn each_part_of_a_block_is_missed_alone_and_the_store_names_the_file() {
    let (disk, sent) = filled();
    let file = files_of(&disk, "block").remove(0);
    let bytes = disk.read(&file).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let footer = bytes.len() - 16 - word(bytes.len() - 16);
    let section = |k: usize| word(footer + 4 + k * 20) + 2;
    let parts = [
        ("the header", 3),
        ("a column of times", 17),
        ("a chunk", section(0) - 4),
        ("the symbols", section(0)),
        ("the series", section(1)),
        ("the postings", section(2)),
        ("the table of times", section(3)),
        ("the footer", footer + 1),
        ("the end", bytes.len() - 1),
    ];
    for (part, at) in parts {
        let disk = disk.killed();
        disk.tamper(&file, |b| b[at] ^= 4);
        let (store, _) = Store::open(config(), Arc::new(disk), TimestampMs(T0)).unwrap();
        let mut found = 0;
        for name in SERIES {
            let (matcher, hints) = ([Matcher::equal("__name__", name)], SelectHints::default());
            let set = block_on(store.select(&matcher, TimeRange::ALL, &hints, SelectLimits::default())).unwrap();
            for s in &set.series {
                // Piece by piece, as a query over less would: what is damaged takes nothing else with it.
                for from in (0..9_000).step_by(500) {
                    let range = TimeRange::new(TimestampMs(T0 + from), TimestampMs(T0 + from + 500)).unwrap();
                    let mut buf = SampleBuf::default();
                    if s.samples.decode(range, &mut buf).is_ok() {
                        found += buf.len();
                    }
                }
            }
        }
        assert!((110..sent.len()).contains(&found), "{part}: {found} of {}", sent.len());
        let what = store.damage().unwrap_or_default();
        assert!(what.contains(file.file_name().unwrap().to_str().unwrap()), "{part}: {what}");
        put(&store, "a", T0 + 100_000, 1.0).unwrap_or_else(|e| panic!("{part}: {e}"));
    }
}

const WIDE: usize = 8_300;
const WIDE_ROWS: i64 = 90;
/// A row that stands alone comes so often at least (docs/formats/store.md).
const WHOLE_EVERY: usize = 64;

/// The log of rows so wide that of one in which nothing changes whole sectors are zero, synced after every `sync_each`th.
fn filled_with_wide_rows(sync_each: i64) -> (SimDisk, StoreConfig) {
    let disk = SimDisk::default();
    let config = StoreConfig { fsync: FsyncPolicy::Interval, ..config() };
    let (store, _) = Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    let refs: Vec<_> = (0..WIDE).map(|k| store.open(&labels(&format!("w{k}"))).unwrap()).collect();
    for i in 0..WIDE_ROWS {
        let mut row = Batch::at("rows", TimestampMs(T0 + i * 100));
        row.refs.clone_from(&refs);
        row.values = vec![1.0; WIDE];
        block_on(store.append(row)).unwrap();
        if i % sync_each == 0 {
            store.sync().unwrap();
        }
    }
    drop(store);
    (disk.killed(), config)
}

/// Where the records of a segment begin, without notes, and how long they are.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut out) = (16, Vec::new());
    while let Some(frame) = bytes.get(at..at + 12) {
        let end = at + 12 + u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
        if frame[3] == 0x17 {
            out.push((at, end - at));
        }
        at = end;
    }
    out
}

/// The times of a series whose answer says that it lacks something.
fn readable(store: &Store, name: &str) -> Vec<i64> {
    let matcher = [Matcher::equal("__name__", name)];
    let hints = SelectHints::default();
    let set = block_on(store.select(&matcher, TimeRange::ALL, &hints, SelectLimits::default())).unwrap();
    assert_eq!(set.warnings.len(), 1, "{:?}", set.warnings);
    let mut buf = SampleBuf::default();
    set.series.iter().for_each(|s| s.samples.decode(TimeRange::ALL, &mut buf).unwrap());
    buf.times
}

#[test]
fn a_flipped_bit_in_a_wide_row_that_is_all_zeros_is_no_hole_and_costs_the_rows_that_build_on_it_at_most() {
    // Under a sync each time, and each second or so.
    for sync_each in [1, 10] {
        let (disk, config) = filled_with_wide_rows(sync_each);
        let file = data_files_of(&disk).remove(0);
        let bytes = disk.read(&file).unwrap();
        let rows = records(&bytes);
        assert_eq!(rows.len() as i64, WIDE_ROWS);
        for row in [5, 44, 79] {
            let (at, len) = rows[row];
            assert!(bytes[at..at + len].windows(1024).any(|w| w.iter().all(|b| *b == 0)), "row {row} has zero sectors");
            // Its mark, its length, its checksum, its time, its last byte.
            for byte in [0, 5, 14, len - 1] {
                let disk = disk.killed();
                disk.tamper(&file, |b| b[at + byte] ^= 1);
                let when = format!("byte {byte} of row {row}, synced every {sync_each}");
                let (store, recovery) = Store::open(config.clone(), Arc::new(disk), TimestampMs(T0)).unwrap();
                assert!(!recovery.damage.is_empty() && recovery.torn_bytes == 0, "{when}: {recovery:?}");
                let found: Vec<usize> = readable(&store, "w77").iter().map(|t| (t - T0) as usize / 100).collect();
                let lost: Vec<usize> = (0..WIDE_ROWS as usize).filter(|i| !found.contains(i)).collect();
                assert!(lost.len() < WHOLE_EVERY && lost[0] == row, "{when}: lost {lost:?}");
                assert!(lost.windows(2).all(|w| w[1] == w[0] + 1), "{when}: lost {lost:?}");
                assert!(row >= WHOLE_EVERY || found.contains(&(WIDE_ROWS as usize - 1)), "{when}: to the end");
                assert_eq!(recovery.samples, (found.len() * WIDE) as u64, "{when}");
            }
        }
    }
}
