//! A data folder of each format version, kept in the repository: every later Belfry must read it.
//!
//! Version 1: log 1, block 1. Version 2: log 2 (rows, times of their own), block 2. Version 3: log 3 (notes of what was
//! synced), block 2. Until the first release the one of version 3 may be made anew after a change of the format:
//! `cargo test -p belfry-store --test golden -- --ignored`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::sample::{Histogram, Span, stale_nan};
use belfry_model::{
    Batch, Exemplar, Labels, Matcher, MetricKind, MetricMetadata, SeriesRead, TimeRange, TimestampMs, Writer,
};
use belfry_store::{RealDisk, Store, StoreConfig};
use common::*;

const BLOCK_ROWS: i64 = 600;
const LOG_ROWS: i64 = 20;

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}"))
}

fn open(folder: &Path) -> Arc<Store> {
    let config = StoreConfig { retention: None, ..StoreConfig::folder(folder) };
    let (store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    store
}

/// A counter, a gauge with gaps and stale markers, floats that are no decimals.
fn value(series: &str, row: i64) -> f64 {
    match series {
        "counter" => (row * 7 + row % 3) as f64,
        "gauge" if row % 50 == 49 => stale_nan(),
        "gauge" => (row % 11) as f64 / 100.0,
        _ => (row as f64).sqrt(),
    }
}

fn histogram(row: i64) -> Histogram {
    Histogram {
        schema: 1,
        count: row as f64 * 3.0,
        sum: row as f64 / 2.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: vec![row as f64, row as f64 * 2.0],
        integer: true,
        ..Histogram::default()
    }
}

fn fill(store: &Store, rows: std::ops::Range<i64>) {
    for row in rows {
        let at = TimestampMs(T0 + row * 1000);
        let mut batch = Batch::at("golden", at);
        for series in ["counter", "gauge", "root"] {
            batch.refs.push(store.open(&labels(series)).unwrap());
            batch.values.push(value(series, row));
            batch.starts.push(if series == "counter" { T0 } else { 0 });
        }
        let h = store.open(&labels("histogram")).unwrap();
        batch.histograms.push((h, at, None, Arc::new(histogram(row))));
        block_on(store.append(batch)).unwrap();
    }
}

/// Samples that come together: version 2 keeps them as rows.
fn fill_together(store: &Store, rows: std::ops::Range<i64>) {
    for row in rows {
        let mut batch = Batch::at("together", TimestampMs(T0 + row * 1000));
        for i in 0..10 {
            batch.refs.push(store.open(&labels(&format!("together{i}"))).unwrap());
            batch.values.push(together(i, row));
        }
        block_on(store.append(batch)).unwrap();
        // Times of their own.
        let at = |i: i64| T0 + row * 1000 + i;
        let ids = ["x", "y"].map(|n| store.open(&labels(n)).unwrap());
        append(store, &[(ids[0], at(0), row as f64 / 8.0), (ids[1], at(7), (row as f64).sqrt())]).unwrap();
    }
}

fn together(i: i64, row: i64) -> f64 {
    match i {
        0 => 7.5,
        1 if row % 5 == 4 => stale_nan(),
        _ => (row * i) as f64 / 7.0,
    }
}

fn exemplar() -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.5, at: TimestampMs(T0 + 5) }
}

fn metadata() -> MetricMetadata {
    MetricMetadata { name: "counter".into(), kind: MetricKind::Counter, unit: "s".into(), help: "Counts.".into() }
}

#[test]
#[ignore = "makes the golden folder anew"]
fn make_the_golden_folder() {
    let _ = fs::remove_dir_all(golden(3));
    let store = open(&golden(3));
    store.declare(metadata());
    fill(&store, 0..BLOCK_ROWS);
    fill_together(&store, 0..BLOCK_ROWS);
    let mut batch = Batch::at("golden", TimestampMs(T0));
    batch.exemplars.push((store.open(&labels("counter")).unwrap(), exemplar()));
    block_on(store.append(batch)).unwrap();
    store.flush().unwrap();
    fill(&store, BLOCK_ROWS..BLOCK_ROWS + LOG_ROWS);
    store.sync().unwrap();
    fill_together(&store, BLOCK_ROWS..BLOCK_ROWS + LOG_ROWS);
    drop(store);
    fs::remove_file(golden(3).join("LOCK")).unwrap();
}

#[test]
fn the_folder_of_version_1_is_read() {
    let (store, _folder) = copy_of(1);
    assert_eq!(store.stats().block_samples, 4 * BLOCK_ROWS as u64);
    check(&store);
}

#[test]
fn the_folder_of_version_2_is_read() {
    check_with_rows(2);
}

#[test]
fn the_folder_of_version_3_is_read() {
    check_with_rows(3);
    let segments: Vec<_> = fs::read_dir(golden(3).join("wal")).unwrap().map(|f| fs::read(f.unwrap().path())).collect();
    let notes = segments.iter().flatten().flat_map(|b| b.windows(4)).filter(|w| *w == [0xbe, 0x1f, 0x0a, 0x18]);
    assert!(notes.count() > 0, "its log has a note");
}

/// As version 1, together with rows and times of their own.
fn check_with_rows(version: u32) {
    let (store, _folder) = copy_of(version);
    assert_eq!(store.stats().block_samples, 16 * BLOCK_ROWS as u64);
    check(&store);
    let rows = 0..BLOCK_ROWS + LOG_ROWS;
    for i in 0..10 {
        let expected: Vec<_> = rows.clone().map(|r| (T0 + r * 1000, together(i, r).to_bits())).collect();
        assert_eq!(points(&store, &format!("together{i}")), expected, "series {i}");
    }
    let expected: Vec<_> = rows.map(|r| (T0 + r * 1000 + 7, (r as f64).sqrt().to_bits())).collect();
    assert_eq!(points(&store, "y"), expected);
}

fn copy_of(version: u32) -> (Arc<Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["wal", "blocks"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for file in fs::read_dir(golden(version).join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(part).join(file.file_name())).unwrap();
        }
    }
    (open(folder.path()), folder)
}

fn check(store: &Store) {
    let rows = 0..BLOCK_ROWS + LOG_ROWS;
    for series in ["counter", "gauge", "root"] {
        let expected: Vec<_> = rows.clone().map(|r| (T0 + r * 1000, value(series, r).to_bits())).collect();
        assert_eq!(points(store, series), expected, "{series}");
    }
    let counter = select(store, &["__name__=counter"], TimeRange::ALL);
    assert!(counter[0].1.starts.iter().all(|s| *s == T0));
    let histograms = select(store, &["__name__=histogram"], TimeRange::ALL);
    let found = histograms[0].1.histograms.iter().map(|h| h.as_deref().cloned());
    assert!(found.eq(rows.map(|r| Some(histogram(r)))));
    let exemplars = block_on(store.exemplars(&[Matcher::equal("__name__", "counter")], TimeRange::ALL)).unwrap();
    assert_eq!(exemplars, [(labels("counter"), vec![exemplar()])]);
    assert_eq!(block_on(store.metadata(None)).unwrap(), [metadata()]);
}
