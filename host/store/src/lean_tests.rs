//! What many series do not cost: samples that wait in a form of their own, an index that is read for nothing.

use std::sync::Arc;

use belfry_model::{
    Batch, Labels, Matcher, SampleBuf, SelectHints, SelectLimits, SeriesRead, SeriesRef, TimeRange, TimestampMs, Writer,
};

use crate::{RealDisk, Store, StoreConfig};

const T0: i64 = 1_700_000_000_000;
const SERIES: usize = 10;

fn open(folder: &std::path::Path) -> Arc<Store> {
    Store::open(StoreConfig::folder(folder), Arc::new(RealDisk), TimestampMs(T0)).unwrap().0
}

fn series(store: &Store, target: &str) -> Vec<SeriesRef> {
    let labels = |i| Labels::from_pairs([("__name__", format!("m{i}")), ("target", target.to_owned())]);
    (0..SERIES).map(|i| store.open(&labels(i)).unwrap()).collect()
}

fn value(i: usize, row: i64) -> f64 {
    i as f64 * 10.0 + row as f64 / 4.0
}

/// Writes a row, all of it.
fn write(runtime: &tokio::runtime::Runtime, store: &Store, refs: &[SeriesRef], row: i64) {
    let mut batch = Batch::at("test", TimestampMs(T0 + row * 1000));
    batch.refs.extend_from_slice(refs);
    batch.values.extend((0..refs.len()).map(|i| value(i, row)));
    assert_eq!(runtime.block_on(store.append(batch)).unwrap().accepted, refs.len() as u64);
}

/// Series that have samples alone.
fn alone(store: &Store) -> usize {
    store.shared.state.read().head.slots.iter().filter(|s| s.own.is_some()).count()
}

/// All series of a target have these rows and no others.
fn has(runtime: &tokio::runtime::Runtime, store: &Store, target: &str, rows: std::ops::Range<i64>) {
    let (matchers, hints) = ([Matcher::equal("target", target)], SelectHints::default());
    let found = runtime.block_on(store.select(&matchers, TimeRange::ALL, &hints, SelectLimits::default())).unwrap();
    assert_eq!(found.series.len(), SERIES);
    for (i, s) in found.series.iter().enumerate() {
        let mut buf = SampleBuf::default();
        s.samples.decode(TimeRange::ALL, &mut buf).unwrap();
        let expected = rows.clone().map(|row| (T0 + row * 1000, value(i, row)));
        assert!(buf.times.iter().copied().zip(buf.floats.iter().copied()).eq(expected), "{i}: {:?}", buf.times);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_late_sample_of_a_new_series_is_looked_for_in_no_block_that_ends_before_it() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = open(folder.path());
    let one = series(&store, "one");
    for row in 0..6 {
        write(&runtime, &store, &one, row * 10);
        store.flush().unwrap();
    }
    store.shared.state.read().blocks.iter().for_each(|b| (0..2).for_each(|_| b.rest()));
    let late = series(&store, "late");
    write(&runtime, &store, &late, 35);
    let held: Vec<bool> = store.shared.state.read().blocks.iter().map(|b| b.is_held()).collect();
    assert_eq!(held, [false, false, false, false, true, true]);
    // Behind what it has elsewhere it is late all the same.
    let known = |at: i64| {
        let mut batch = Batch::at("test", TimestampMs(T0 + at * 1000));
        (batch.refs, batch.values) = (vec![one[0]], vec![7.0]);
        let done = runtime.block_on(store.append(batch)).unwrap();
        (done.accepted, done.duplicate)
    };
    store.shared.state.write().head.doubt_blocks();
    assert_eq!([known(35), known(30), known(50)], [(1, 0), (0, 1), (0, 1)]);
    assert_eq!(store.shared.state.read().head.slots[0].newest, T0 + 50_000);
}

#[test]
fn what_came_before_a_group_was_known_waits_as_its_rows() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    {
        let store = open(folder.path());
        let (a, b) = (series(&store, "a"), series(&store, "b"));
        write(&runtime, &store, &a, 0);
        write(&runtime, &store, &b, 0);
        // One series of the second target has a sample more: its group leaves all where they are.
        write(&runtime, &store, &b[3..4], 1);
        assert_eq!(alone(&store), 2 * SERIES);
        write(&runtime, &store, &a, 1);
        assert_eq!(alone(&store), SERIES);
        write(&runtime, &store, &b, 2);
        assert_eq!(alone(&store), SERIES);
        (2..40).for_each(|row| write(&runtime, &store, &a, row));
        has(&runtime, &store, "a", 0..40);
        store.close();
    }
    // The log brings them back as they were.
    let store = open(folder.path());
    let a = series(&store, "a");
    assert_eq!(alone(&store), SERIES);
    write(&runtime, &store, &a, 40);
    assert_eq!(alone(&store), SERIES);
    has(&runtime, &store, "a", 0..41);
    store.flush().unwrap();
    write(&runtime, &store, &a, 41);
    has(&runtime, &store, "a", 0..42);
    store.close();
}

#[test]
fn a_start_takes_rows_for_rows_also_where_the_log_has_them_twice() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    for start in 0..3 {
        let store = open(folder.path());
        let a = series(&store, "a");
        (start * 20..start * 20 + 20).for_each(|row| write(&runtime, &store, &a, row));
        assert_eq!((alone(&store), store.shared.state.read().head.groups.end()), (0, 1), "start {start}");
        has(&runtime, &store, "a", 0..start * 20 + 20);
        store.close();
    }
    // As a write leaves it that failed behind its last byte, and was done again.
    let wal = folder.path().join("wal");
    std::fs::copy(wal.join("0000000002-000000.wal"), wal.join("0000000002-000001.wal")).unwrap();
    let (store, recovery) =
        Store::open(StoreConfig::folder(folder.path()), Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!((recovery.samples, recovery.damage), (60 * SERIES as u64, Vec::new()));
    assert_eq!((alone(&store), store.shared.state.read().head.groups.end()), (0, 1));
    has(&runtime, &store, "a", 0..60);
    store.flush().unwrap();
    has(&runtime, &store, "a", 0..60);
    store.close();
}

#[test]
fn a_row_that_a_block_divides_is_not_looked_up_in_the_block() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = open(folder.path());
    let (a, b) = (series(&store, "a"), series(&store, "b"));
    for row in 0..5 {
        write(&runtime, &store, &a, row);
        write(&runtime, &store, &b, row);
    }
    for row in [5, 6, 7] {
        write(&runtime, &store, &a, row);
        store.flush().unwrap();
        write(&runtime, &store, &b, row);
        assert_eq!(alone(&store), 0, "row {row}");
        let state = store.shared.state.read();
        assert!(state.blocks.iter().all(|block| !block.is_held()), "row {row}");
    }
    has(&runtime, &store, "a", 0..8);
    has(&runtime, &store, "b", 0..8);
    store.close();
}

#[test]
fn many_series_are_in_order_of_their_labels_in_a_block() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = open(folder.path());
    // More than are sorted at once, by labels that all have, some have, or that are the last one of some.
    let labels = |i: usize| {
        let mixed = i.wrapping_mul(7_919) % 40_000;
        let mut pairs = vec![("__name__", "m".to_owned()), ("a", (mixed / 20_000).to_string())];
        pairs.extend((!mixed.is_multiple_of(3)).then(|| ("b", (mixed % 5).to_string())));
        pairs.push(("c", mixed.to_string()));
        pairs.extend((!mixed.is_multiple_of(2)).then(|| ("d", "x".to_owned())));
        Labels::from_pairs(pairs)
    };
    let all: Vec<Labels> = (0..40_000).map(labels).collect();
    let refs: Vec<SeriesRef> = all.iter().map(|l| store.open(l).unwrap()).collect();
    refs.chunks(2000).for_each(|refs| write(&runtime, &store, refs, 0));
    store.flush().unwrap();
    let block = store.shared.state.read().blocks[0].clone();
    assert_eq!(block.len(), 40_000);
    assert!(all.iter().all(|l| block.find(l).unwrap().is_some()));
    let mut sorted = all;
    sorted.sort();
    let mut walk = block.walk().unwrap();
    for l in &sorted {
        assert_eq!(&walk.next().unwrap().unwrap().labels, l);
    }
    assert!(walk.next().unwrap().is_none());
    store.close();
}
