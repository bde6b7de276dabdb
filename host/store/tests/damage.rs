//! Damage as a query over many series meets it: what is damaged is left out alone, and the answer says that it is.

mod common;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use belfry_model::read::ReadError;
use belfry_model::sample::Value;
use belfry_model::{
    Labels, Matcher, Sample, SampleBuf, SelectHints, SelectLimits, SeriesRead, TimeRange, TimestampMs, WriteError,
    Writer,
};
use belfry_store::disk::{Disk, SimDisk};
use belfry_store::{Backfilled, Health, OpenError, Recovery, Store, StoreConfig};
use common::*;

const SERIES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Three chunks of a block and a bit.
const SAMPLES: i64 = 1500;
const STEP_MS: i64 = 10;

/// What one query over all series gives.
struct Answer {
    warnings: Vec<String>,
    /// In order of labels: the samples that could be read, and whether that is said to be all.
    series: Vec<(SampleBuf, Result<(), ReadError>)>,
}

impl Answer {
    fn lens(&self) -> Vec<usize> {
        self.series.iter().map(|(buf, _)| buf.len()).collect()
    }

    fn damaged(&self) -> Vec<bool> {
        self.series.iter().map(|(_, outcome)| matches!(outcome, Err(ReadError::Damaged(_)))).collect()
    }
}

fn query_in(store: &Store, range: TimeRange) -> Answer {
    let all = [Matcher::equal("job", "test")];
    let set = block_on(store.select(&all, range, &SelectHints::default(), SelectLimits::default()));
    let set = set.expect("damage fails no query");
    let decode = |s: &belfry_model::Series| {
        let mut buf = SampleBuf::default();
        let outcome = s.samples.decode(range, &mut buf);
        assert!(matches!(outcome, Ok(()) | Err(ReadError::Damaged(_))), "{outcome:?}");
        assert!(buf.times.is_sorted_by(|a, b| a < b), "{}: times ascend", s.labels);
        assert_eq!(buf.times.len(), buf.floats.len());
        for (t, v) in buf.times.iter().zip(&buf.floats) {
            assert_eq!(*v, value(*t), "{}: nothing is made up", s.labels);
        }
        (buf, outcome)
    };
    Answer { series: set.series.iter().map(decode).collect(), warnings: set.warnings }
}

fn query(store: &Store) -> Answer {
    query_in(store, TimeRange::ALL)
}

fn value(at: i64) -> f64 {
    ((at - T0) as f64).sqrt()
}

fn put_all(store: &Store, times: impl Iterator<Item = i64> + Clone) {
    for name in SERIES {
        let series = store.open(&labels(name)).unwrap();
        let points: Vec<_> = times.clone().map(|t| (series, T0 + t, value(T0 + t))).collect();
        append(store, &points).unwrap();
    }
}

/// All series in one block for each start time.
fn filled(starts: &[i64]) -> SimDisk {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for start in starts {
        put_all(&store, (0..SAMPLES).map(|i| start + i * STEP_MS));
        store.flush().unwrap();
    }
    drop(store);
    disk.killed()
}

fn files(disk: &dyn Disk, dir: &str, extension: &str) -> Vec<PathBuf> {
    let names = disk.list(Path::new(dir)).unwrap();
    let of_kind = names.iter().filter(|n| n.ends_with(extension));
    of_kind.map(|n| Path::new(dir).join(n)).collect()
}

fn blocks(disk: &SimDisk) -> Vec<PathBuf> {
    files(disk, "/data/blocks", ".block")
}

fn flip(disk: &SimDisk, file: &Path, at: usize) {
    disk.tamper(file, |b| b[at] ^= 4);
}

/// Where the index of a block begins; its last chunk ends there.
fn index_of(disk: &SimDisk, file: &Path) -> usize {
    let bytes = disk.read(file).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let footer = bytes.len() - 16 - word(bytes.len() - 16);
    word(footer + 4)
}

fn flip_last_chunk(disk: &SimDisk, file: &Path) {
    flip(disk, file, index_of(disk, file) - 4);
}

fn flip_footer(disk: &SimDisk, file: &Path) {
    let len = disk.read(file).unwrap().len();
    flip(disk, file, len - 40);
}

fn seconds(from: i64, to: i64) -> TimeRange {
    TimeRange::new(TimestampMs(T0 + from * 1000), TimestampMs(T0 + to * 1000)).unwrap()
}

#[test]
fn a_damaged_chunk_is_missed_alone_and_its_series_says_so() {
    let disk = filled(&[0]);
    flip_last_chunk(&disk, &blocks(&disk)[0]);
    let (store, _) = open(&disk);
    let answer = query(&store);
    assert_eq!(answer.damaged(), [false, false, false, false, true]);
    assert_eq!(answer.lens()[..4], [SAMPLES as usize; 4]);
    let rest = &answer.series[4].0;
    assert!((SAMPLES as usize / 3..SAMPLES as usize).contains(&rest.len()), "{} samples", rest.len());
    assert_eq!(rest.times[0], T0, "it is the last chunk that is gone");
    // Where the chunk is not needed nothing is missed.
    assert_eq!(query_in(&store, seconds(0, 1)).damaged(), [false; 5]);
}

#[test]
fn whatever_byte_of_the_data_changes_every_series_keeps_what_is_whole() {
    let disk = filled(&[0]);
    let file = blocks(&disk)[0].clone();
    for at in (12..index_of(&disk, &file)).step_by(977) {
        let disk = disk.killed();
        flip(&disk, &file, at);
        let answer = query(&open(&disk).0);
        assert!(answer.damaged().contains(&true), "byte {at} went unnoticed");
        for (len, damaged) in answer.lens().into_iter().zip(answer.damaged()) {
            assert!(if damaged { len >= SAMPLES as usize / 3 } else { len == SAMPLES as usize }, "byte {at}: {len}");
        }
    }
}

#[test]
fn a_damaged_chunk_is_missed_alone_where_late_samples_lie_over_it() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for odd in [0, 1] {
        put_all(&store, (0..SAMPLES).map(|i| (2 * i + odd) * STEP_MS / 2));
        store.flush().unwrap();
    }
    drop(store);
    let disk = disk.killed();
    flip_last_chunk(&disk, &blocks(&disk)[0]);
    let answer = query(&open(&disk).0);
    assert_eq!(answer.damaged(), [false, false, false, false, true]);
    let rest = &answer.series[4].0;
    let of = |odd: i64| rest.times.iter().filter(|t| (**t - T0) / (STEP_MS / 2) % 2 == odd).count();
    assert_eq!(of(1), SAMPLES as usize, "all of the other block");
    assert!((SAMPLES as usize / 3..SAMPLES as usize).contains(&of(0)), "{} of the damaged one", of(0));
}

#[test]
fn an_import_brings_back_what_a_damaged_chunk_had_and_the_chunk_is_still_told_of() {
    let disk = filled(&[0]);
    let damaged = blocks(&disk)[0].clone();
    flip_last_chunk(&disk, &damaged);
    let (store, _) = open(&disk);
    let lost = SAMPLES as usize - query(&store).lens()[4];
    assert!(lost > 0);
    let mut fill = store.backfill(TimestampMs(T0 + 1_000_000));
    for name in SERIES {
        for at in (0..SAMPLES).map(|i| T0 + i * STEP_MS) {
            let sample = Sample { at: TimestampMs(at), value: Value::Float(value(at)), start: None };
            fill.push(&labels(name), sample).unwrap();
        }
    }
    let accepted = SERIES.len() as u64 * SAMPLES as u64;
    assert_eq!(fill.finish().unwrap(), Backfilled { accepted, ..Backfilled::default() });
    assert_eq!(store.stats().block_samples, accepted + lost as u64, "only what was lost is written");
    let answer = query(&store);
    assert_eq!(answer.lens(), [SAMPLES as usize; 5]);
    assert_eq!(answer.damaged(), [false, false, false, false, true]);
    assert!(blocks(&disk).contains(&damaged), "it is not deleted");
    assert_eq!(store.health(), Health::Ok);
}

thread_local! {
    static ERRORS: Cell<usize> = const { Cell::new(0) };
}

/// Counts errors in the log, of each thread on its own: other tests meet damage too.
struct Errors;

impl tracing::Subscriber for Errors {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let is_error = *event.metadata().level() == tracing::Level::ERROR;
        ERRORS.set(ERRORS.get() + usize::from(is_error));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_damaged_chunk_is_logged_once_and_counted_beside_others() {
    let disk = filled(&[0, 20_000, 40_000]);
    let files = blocks(&disk);
    files[..2].iter().for_each(|f| flip_last_chunk(&disk, f));
    flip_footer(&disk, &files[2]);
    let (store, _) = open(&disk);
    let told = store.damage().unwrap();
    assert!(told.contains("0000000003.block") && !told.contains("more"), "{told}");
    // For the whole process: one for a thread alone comes too late where another thread logged from the same place.
    tracing::subscriber::set_global_default(Errors).unwrap();
    let before = ERRORS.get();
    (0..3).for_each(|_| drop(query(&store)));
    assert_eq!(ERRORS.get() - before, 2, "one for each chunk, whoever asks again");
    let told = store.damage().unwrap();
    assert!(told.contains("0000000003.block") && told.ends_with("(and 2 more)"), "{told}");
}

#[test]
fn a_block_that_cannot_be_opened_is_told_of_where_it_may_be_missed() {
    // Where the footer is whole it tells the times; else the block may be missed anywhere.
    let whole = |warnings: &[String]| warnings.is_empty();
    let missed = |warnings: &[String]| {
        warnings.len() == 1
            && warnings[0].starts_with("samples are missing from this answer: block 1: /data/blocks/0000000001.block: ")
    };
    for (part, times_are_known) in [("header", true), ("footer", false)] {
        let disk = filled(&[0, 20_000]);
        match part {
            "header" => flip(&disk, &blocks(&disk)[0], 3),
            _ => flip_footer(&disk, &blocks(&disk)[0]),
        }
        let (store, recovery) = open(&disk);
        assert_eq!(recovery.damage.len(), 1, "{part}");
        let answer = query(&store);
        assert!(missed(&answer.warnings), "{part}: {:?}", answer.warnings);
        assert_eq!(answer.lens(), [SAMPLES as usize; 5], "{part}: the other block is read");
        assert!(missed(&query_in(&store, seconds(0, 5)).warnings), "{part}");
        assert!(missed(&store.missing(seconds(0, 5))), "{part}");
        // Beside it.
        let beside = |warnings: &[String]| if times_are_known { whole(warnings) } else { missed(warnings) };
        assert!(beside(&query_in(&store, seconds(20, 40)).warnings), "{part}");
        assert!(beside(&store.missing(seconds(20, 40))), "{part}");
        // The newest samples, which are in no block.
        put_all(&store, [60_000].into_iter());
        let newest = |range| {
            let all = [Matcher::equal("job", "test")];
            let newest = block_on(store.newest(&all, range, SelectLimits::default())).unwrap();
            newest.map(|n| (n.len(), n.warnings))
        };
        let (found, warnings) = newest(seconds(50, 70)).expect("in memory alone");
        assert!(found == 5 && beside(&warnings), "{part}: {warnings:?}");
    }
}

#[test]
fn a_damaged_index_is_told_of_for_lists_too() {
    let disk = filled(&[0]);
    let file = blocks(&disk)[0].clone();
    flip(&disk, &file, index_of(&disk, &file) + 2);
    let (store, _) = open(&disk);
    let found = block_on(store.series(&[Matcher::equal("job", "test")], TimeRange::ALL, 0)).unwrap();
    assert_eq!(found.len(), 0);
    assert_eq!(store.missing(TimeRange::ALL).len(), 1);
}

#[test]
fn deletions_that_cannot_be_read_are_told_of_and_their_block_is_read() {
    let disk = filled(&[0, 20_000]);
    let (store, _) = open(&disk);
    store.delete(&[Matcher::equal("__name__", "b")], seconds(0, 100)).unwrap();
    assert_eq!(query(&store).series.len(), 4);
    drop(store);
    let disk = disk.killed();
    let notes = files(&disk, "/data/blocks", ".gone");
    let good = disk.read(&notes[0]).unwrap();
    let last = good.len() - 1;
    flip(&disk, &notes[0], last);

    let told = |warnings: &[String]| {
        warnings.len() == 1 && warnings[0].starts_with("what was deleted may be back in this answer: block 1: ")
    };
    let (store, recovery) = open(&disk);
    assert_eq!(recovery.damage.len(), 1);
    assert!(store.damage().unwrap().contains("0000000001.gone"));
    let answer = query(&store);
    assert!(told(&answer.warnings), "{:?}", answer.warnings);
    let n = SAMPLES as usize;
    assert_eq!(answer.lens(), [2 * n, n, 2 * n, 2 * n, 2 * n], "the other block's deletions hold");
    assert_eq!(query_in(&store, seconds(20, 40)).warnings, Vec::<String>::new());

    // Neither a merge nor a further deletion makes Belfry forget; nor does a copy.
    store.delete(&[Matcher::equal("__name__", "c")], seconds(0, 100)).unwrap();
    store.maintain(TimestampMs(T0 + 50_000)).unwrap();
    store.snapshot(Path::new("/copy"), 0).unwrap();
    drop(store);
    for root in ["/data", "/copy"] {
        let config = StoreConfig { backend: belfry_store::Backend::Folder(root.into()), ..config() };
        let (store, _) = Store::open(config, Arc::new(disk.killed()), TimestampMs(T0)).unwrap();
        let answer = query(&store);
        assert!(told(&answer.warnings), "{root}: {:?}", answer.warnings);
        assert_eq!(answer.lens(), [2 * n, n, 2 * n, 2 * n], "{root}: what was deleted since is gone");
    }

    // A copy of the file, put in its place, is all that is needed; a merge is made again.
    disk.tamper(Path::new("/data/blocks/0000000001.gone.damaged"), |b| *b = good.to_vec());
    let (store, recovery) = open(&disk);
    assert_eq!((recovery.damage, store.damage()), (vec![], None));
    let answer = query(&store);
    assert_eq!((answer.warnings.len(), answer.lens()), (0, vec![2 * n; 3]));
    store.compact().unwrap();
    assert_eq!(query(&store).lens(), [2 * n; 3]);
    assert_eq!(files(&disk, "/data/blocks", ".damaged"), Vec::<PathBuf>::new());
}

#[test]
fn deletions_of_a_newer_version_are_refused_by_name_and_a_bit_of_the_version_that_went_bad_is_damage() {
    let disk = filled(&[0, 20_000]);
    let (store, _) = open(&disk);
    store.delete(&[Matcher::equal("__name__", "b")], seconds(0, 100)).unwrap();
    drop(store);
    let disk = disk.killed();
    let notes = files(&disk, "/data/blocks", ".gone")[0].clone();
    disk.tamper(&notes, |b| b[8] = 2);
    let before = disk.files();
    let refused = Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0)).map(drop).expect_err("newer");
    assert!(matches!(&refused, OpenError::Version { file, found: 2, known: 1 } if *file == notes), "{refused}");
    let kept = |disk: &SimDisk| files(disk, "/data/blocks", "");
    assert_eq!(kept(&disk), before.into_iter().filter(|f| f.starts_with("/data/blocks")).collect::<Vec<_>>());
    // The newer one finds it as it was.
    let disk = disk.killed();
    disk.tamper(&notes, |b| b[8] = 1);
    let (store, recovery) = open(&disk);
    assert_eq!((recovery.damage, query(&store).series.len()), (vec![], 4));
    drop(store);

    let disk = disk.killed();
    disk.tamper(&notes, |b| b[8] = 3);
    let (store, recovery) = open(&disk);
    assert_eq!((recovery.damage.len(), query(&store).warnings.len()), (1, 1));
}

/// Opens the store on a disk that does not give these bytes of its only segment.
fn open_bad(disk: &SimDisk, bad: std::ops::Range<u64>) -> (Arc<Store>, Recovery) {
    let file = files(disk, "/data/wal", ".wal").pop().unwrap();
    let disk = BadSector { disk: disk.clone(), file, bad, is_apart: false };
    Store::open(config(), Arc::new(disk), TimestampMs(T0)).expect("the start goes on")
}

#[test]
fn a_bad_place_in_the_log_takes_what_stands_there_and_the_file_is_kept() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    for round in 0..20 {
        put_all(&store, (0..50).map(|i| round * 1000 + i * STEP_MS));
    }
    drop(store);
    let disk = disk.killed();
    let file = files(&disk, "/data/wal", ".wal").pop().unwrap();
    let len = disk.read(&file).unwrap().len() as u64;
    assert!(len > 20_000, "{len}");
    let name = file.to_str().unwrap();

    // In the middle, at the end (no torn tail: it is not cut), and all of it.
    for (bad, left) in [(9_000..9_001, 3000..5000), (len - 1..len, 3000..5000), (0..len, 0..1)] {
        let disk = disk.killed();
        let (store, recovery) = open_bad(&disk, bad.clone());
        assert!(recovery.damage[0].to_string().starts_with(name), "{bad:?}: {:?}", recovery.damage);
        assert_eq!(recovery.torn_bytes, 0, "{bad:?}");
        let read: usize = query(&store).lens().into_iter().sum();
        assert!(left.contains(&read), "{bad:?}: {read} samples");
        assert_eq!(disk.read(&file).unwrap().len() as u64, len, "{bad:?}");
        put_all(&store, [30_000].into_iter());
        // The log is released, that file is kept under another name, and no later start is silent.
        store.flush().unwrap();
        store.snapshot(Path::new("/copy"), 0).unwrap();
        drop(store);
        let kept = files(&disk, "/data/wal", ".wal.unreadable");
        assert_eq!(kept.iter().map(|f| disk.read(f).unwrap().len() as u64).collect::<Vec<_>>(), [len], "{bad:?}");
        let (store, recovery) = open(&disk.killed());
        assert_eq!(recovery.damage.iter().map(|d| &d.file).collect::<Vec<_>>(), [&kept[0]], "{bad:?}");
        assert_eq!(query(&store).lens().into_iter().sum::<usize>(), read + SERIES.len(), "{bad:?}");
    }
}

#[test]
fn a_bad_segment_that_is_in_blocks_already_is_kept_too() {
    let disk = SimDisk::default();
    let (store, _) = open(&disk);
    put_all(&store, (0..50).map(|i| i * STEP_MS));
    let segment = files(&disk, "/data/wal", ".wal").pop().unwrap();
    let bytes = disk.read(&segment).unwrap();
    store.flush().unwrap();
    drop(store);
    // As if the crash had come between the block and the end of its log.
    let disk = disk.killed();
    disk.create(&segment).unwrap().append(&bytes).unwrap();
    let bad = BadSector { disk: disk.clone(), file: segment.clone(), bad: 0..1, is_apart: false };
    let (store, recovery) = Store::open(config(), Arc::new(bad), TimestampMs(T0)).unwrap();
    assert_eq!((recovery.damage.len(), &recovery.damage[0].file), (1, &segment));
    assert_eq!(query(&store).lens(), [50; 5]);
    assert_eq!(files(&disk, "/data/wal", ".wal.unreadable").len(), 1);
}

#[test]
fn a_block_that_cannot_be_opened_takes_room_and_expires_where_its_times_are_known() {
    for (part, expires) in [("header", true), ("footer", false)] {
        let disk = filled(&[0, 20_000]);
        let bytes = |disk: &SimDisk| blocks(disk).iter().map(|f| disk.read(f).unwrap().len() as u64).sum::<u64>();
        match part {
            "header" => flip(&disk, &blocks(&disk)[0], 3),
            _ => flip_footer(&disk, &blocks(&disk)[0]),
        }
        let (store, _) = open(&disk);
        assert_eq!(store.stats().block_bytes, bytes(&disk), "{part}");
        drop(store);

        // By age.
        let aged = disk.killed();
        let retention = Some(Duration::from_secs(100));
        let config_of_age = StoreConfig { retention, ..config() };
        let (store, _) = Store::open(config_of_age, Arc::new(aged.clone()), TimestampMs(T0)).unwrap();
        // Age is judged by what is new.
        let other = store.open(&Labels::from_pairs([("__name__", "other")])).unwrap();
        append(&store, &[(other, T0 + 116_000, 1.0)]).unwrap();
        store.flush().unwrap();
        let before = blocks(&aged).len();
        store.upkeep(TimestampMs(T0 + 116_000)).unwrap();
        assert_eq!(blocks(&aged).len(), before - usize::from(expires), "{part}");
        assert_eq!((query(&store).warnings.is_empty(), store.damage().is_none()), (expires, expires), "{part}");
        assert_eq!(query(&store).lens(), [SAMPLES as usize; 5], "{part}");

        // By size: one byte less than both need. The oldest goes, and where nobody knows which that is, one that is known.
        let retention_bytes = Some(bytes(&disk) - 1);
        let config_of_size = StoreConfig { retention: None, retention_bytes, ..config() };
        let (store, _) = Store::open(config_of_size, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
        assert_eq!(store.upkeep(TimestampMs(T0 + 50_000)).unwrap().expired, 1, "{part}");
        assert_eq!(query(&store).series.len(), if expires { 5 } else { 0 }, "{part}");
    }
}

#[test]
fn a_block_that_retention_cannot_delete_is_tried_again_and_keeps_no_other_from_being_written() {
    for opens in [true, false] {
        let disk = Eventful::new(filled(&[0]));
        if !opens {
            flip(&disk.disk, &blocks(&disk.disk)[0], 3);
        }
        let config = StoreConfig { retention: Some(Duration::from_secs(100)), ..config() };
        let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
        let later = T0 + 1_000_000;
        put(&store, "a", later, 1.0).unwrap();
        disk.keeps.store(true, Ordering::Relaxed);
        let done = store.upkeep(TimestampMs(later)).unwrap();
        assert_eq!((done.expired, done.flushed, store.stats().blocks), (1, true, 1), "opens: {opens}");
        assert_eq!(blocks(&disk.disk).len(), 2, "opens: {opens}");
        assert!(matches!(store.health(), Health::Degraded(why) if why.contains("cannot be deleted")), "opens: {opens}");
        disk.keeps.store(false, Ordering::Relaxed);
        store.upkeep(TimestampMs(later)).unwrap();
        assert_eq!((blocks(&disk.disk).len(), store.health()), (1, Health::Ok), "opens: {opens}");
    }
}

#[test]
fn a_merge_without_room_is_told_apart_from_samples_that_are_not_kept() {
    let disk = filled(&[0, 20_000, 40_000, 60_000]);
    let (store, _) = open(&disk);
    disk.set_capacity(Some(disk.used() + 3_000));
    assert!(store.compact().is_err());
    let told = match store.health() {
        Health::Degraded(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(told.starts_with("blocks cannot be merged: no room"), "{told}");
    put(&store, "a", T0 + 80_000, value(T0 + 80_000)).expect("samples are taken");
    // When they are not, that is what is told.
    let full = (1..).find(|i| put(&store, "a", T0 + 80_000 + i, value(T0 + 80_000 + i)).is_err());
    assert!(full.is_some() && matches!(store.health(), Health::DiskFull(_)), "{:?}", store.health());
    disk.set_capacity(None);
    store.sync().unwrap();
    put(&store, "b", T0 + 90_000, value(T0 + 90_000)).unwrap();
    assert_eq!(store.compact().unwrap(), 1);
    assert_eq!(store.health(), Health::Ok);
}

#[test]
fn verifying_finds_every_flipped_byte_and_says_where() {
    let disk = filled(&[0, 100_000]);
    let (store, recovery) = open(&disk);
    assert_eq!((recovery.damage, store.verify()), (vec![], vec![]));
    drop(store);
    let disk = disk.killed();
    let file = blocks(&disk).remove(0);
    let (len, index) = (disk.read(&file).unwrap().len(), index_of(&disk, &file));
    for at in (0..len).step_by(241).chain(index - 8..index + 8).chain(len - 16..len) {
        let disk = disk.killed();
        flip(&disk, &file, at);
        let Ok((store, recovery)) = Store::open(config(), Arc::new(disk.clone()), TimestampMs(T0)) else {
            assert!((8..12).contains(&at), "only another version is refused: byte {at}");
            continue;
        };
        let found: Vec<_> = recovery.damage.into_iter().chain(store.verify()).collect();
        let [one] = found.as_slice() else { panic!("byte {at} of {len}: {found:?}") };
        assert!(one.file == file && one.offset <= at as u64, "byte {at} of {len}: {one}");
        if (100..index - 4).contains(&at) {
            assert!(at as u64 - one.offset < 8_000 && one.what.contains("checksum"), "byte {at}: {one}");
        }
    }
}

#[test]
fn where_no_block_can_be_written_no_more_is_taken_than_may_wait_for_one() {
    let disk = Eventful::new(SimDisk::default());
    let config = StoreConfig { wal_bytes_max: 10_000, ..config() };
    let open = |disk: &Eventful| Store::open(config.clone(), Arc::new(disk.clone()), TimestampMs(T0)).unwrap().0;
    let store = open(&disk);
    disk.refuses.store(true, Ordering::Relaxed);
    let mut taken = Vec::new();
    let refused = (0..100).find_map(|n| {
        let at = T0 + n * 1000;
        let outcome = put(&store, &format!("m{n}_{}", "x".repeat(1000)), at, n as f64);
        taken.extend(outcome.is_ok().then_some(n));
        assert!(store.upkeep(TimestampMs(at)).is_err() || n < 20, "a block is due");
        outcome.err()
    });
    assert!(matches!(&refused, Some(WriteError::Io(why)) if why.contains("no block can be written")), "{refused:?}");
    assert!((35..50).contains(&taken.len()), "four times 10,000 bytes: {}", taken.len());

    // It is all there, and it goes on once blocks can be written, also in another process.
    let restarted = open(&Eventful { disk: disk.disk.killed(), ..Eventful::default() });
    disk.refuses.store(false, Ordering::Relaxed);
    store.upkeep(TimestampMs(T0 + 1_000_000)).unwrap();
    for store in [store, restarted] {
        put(&store, "more", T0 + 1_000_000, 1.0).unwrap();
        let all = select(
            &store,
            &[r#"job="test""#],
            TimeRange::inclusive(TimestampMs(T0), TimestampMs(T0 + 2_000_000)).unwrap(),
        );
        assert_eq!(all.len(), taken.len() + 1);
    }
}

#[test]
fn a_log_that_cannot_be_deleted_is_no_reason_to_refuse_or_to_write_more_blocks() {
    let disk = Eventful::new(SimDisk::default());
    let config = StoreConfig { wal_bytes_max: 10_000, block_span: Duration::from_secs(3600), ..config() };
    let (store, _) = Store::open(config, Arc::new(disk.clone()), TimestampMs(T0)).unwrap();
    disk.keeps_log.store(true, Ordering::Relaxed);
    // About 1000 bytes each: twelve times what a block is written of, three times what may wait for one.
    for n in 0..120 {
        put(&store, &format!("m{n}_{}", "x".repeat(1000)), T0 + n * 1000, n as f64).expect("it waits for no block");
        // It says that it cannot delete them.
        let _ = store.upkeep(TimestampMs(T0 + n * 1000));
    }
    let stats = store.stats();
    assert!(stats.wal_bytes > 100_000 && (8..=15).contains(&stats.flushes), "{stats:?}");
    assert!(matches!(store.health(), Health::Degraded(_) | Health::Failing(_)), "{:?}", store.health());
    disk.keeps_log.store(false, Ordering::Relaxed);
    store.upkeep(TimestampMs(T0 + 121_000)).unwrap();
    assert!(store.stats().wal_bytes < 15_000, "{:?}", store.stats());
}
