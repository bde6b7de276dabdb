//! Blocks of version 2, with a note of what was deleted, kept in the repository: every later Belfry must read them.
//!
//! Until the first release they may be made anew after a change of the format:
//! `cargo test -p belfry-store --test golden_blocks -- --ignored`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::sample::{Histogram, Span, Value, stale_nan};
use belfry_model::{Matcher, Sample, TimeRange, TimestampMs};
use belfry_store::{RealDisk, Store, StoreConfig};
use common::*;

const ROWS: i64 = 1200;
/// Rows that are deleted from every series.
const DELETED: std::ops::Range<i64> = 100..110;
/// One series for each form of values, in the order of the forms, and one with histograms.
const SERIES: [&str; 9] = ["xor", "delta", "plain", "one", "runs", "delta2", "pco", "pco_float", "histogram"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blocks-v2")
}

fn open(folder: &Path) -> Arc<Store> {
    let config = StoreConfig { retention: None, ..StoreConfig::folder(folder) };
    let (store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    store
}

/// Spread over the range below `n`, the same everywhere.
fn noise(row: i64, n: u64) -> u64 {
    let mixed = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) % n
}

fn value(series: &str, row: i64) -> Value {
    Value::Float(match series {
        "xor" => f64::from_bits(0x3ff0_0000_0000_0000 | noise(row, 1 << 32) << 20 | noise(row + 7, 1 << 20)),
        "delta" if row == 300 => stale_nan(),
        "delta" => (row * 100) as f64 + noise(row, 3) as f64,
        "plain" => noise(row, 6) as f64 / 4.0,
        "one" => 0.25,
        "runs" => (row / 500) as f64,
        "delta2" => (row * row) as f64,
        "pco" => (noise(row, 2) * 1_000_000 + noise(row + 7, 5)) as f64 / 10.0,
        "pco_float" => (row as f64 / 50.0).sqrt(),
        _ => {
            return Value::Histogram(Arc::new(Histogram {
                schema: 1,
                count: row as f64 * 3.0,
                sum: row as f64 / 2.0,
                positive_spans: vec![Span { offset: 0, length: 2 }],
                positive_counts: vec![row as f64, row as f64 * 2.0],
                integer: true,
                ..Histogram::default()
            }));
        }
    })
}

fn sample(series: &str, row: i64) -> Sample {
    let start = (series == "delta2").then_some(TimestampMs(T0 - 9_000_000));
    Sample { at: TimestampMs(T0 + (row - ROWS) * 15_000), value: value(series, row), start }
}

#[test]
#[ignore = "makes the golden folder anew"]
fn make_the_golden_folder() {
    let _ = fs::remove_dir_all(golden());
    let store = open(&golden());
    let mut fill = store.backfill(TimestampMs(T0));
    for row in 0..ROWS {
        SERIES.iter().for_each(|s| fill.push(&labels(s), sample(s, row)).unwrap());
    }
    fill.finish().unwrap();
    let (from, to) = (sample("one", DELETED.start).at, sample("one", DELETED.end).at);
    store.delete(&[Matcher::equal("job", "test")], TimeRange::new(from, to).unwrap()).unwrap();
    drop(store);
    fs::remove_file(golden().join("LOCK")).unwrap();
    fs::remove_dir(golden().join("wal")).unwrap();
}

#[test]
fn blocks_of_version_2_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    for file in fs::read_dir(golden().join("blocks")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join("blocks").join(file.file_name())).unwrap();
    }
    let store = open(folder.path());
    assert_eq!(store.stats().block_samples, (SERIES.len() as i64 * ROWS) as u64);
    let left = || (0..ROWS).filter(|r| !DELETED.contains(r));
    for series in SERIES {
        let found = select(&store, &[&format!("__name__={series}")], TimeRange::ALL);
        let found: Vec<Sample> = (0..found[0].1.len()).filter_map(|i| found[0].1.get(i)).collect();
        // A stale marker is a NaN, which equals nothing.
        let text = |s: &Sample| match &s.value {
            Value::Float(v) => format!("{:?} {:x} {:?}", s.at, v.to_bits(), s.start),
            Value::Histogram(_) => format!("{s:?}"),
        };
        assert!(found.iter().map(text).eq(left().map(|row| text(&sample(series, row)))), "{series}");
    }
    // Merged anew, the answers are the same and what was deleted is gone.
    store.compact().unwrap();
    assert_eq!(store.stats().block_samples, SERIES.len() as u64 * left().count() as u64);
    assert_eq!(points(&store, "pco").len(), left().count());
}

#[test]
fn the_golden_block_has_every_form() {
    let file = fs::read_dir(golden().join("blocks")).unwrap().map(|f| f.unwrap().path());
    let block = file.into_iter().find(|f| f.extension().is_some_and(|e| e == "block")).unwrap();
    let forms = belfry_store::fuzz::forms(&fs::read(block).unwrap());
    assert_eq!(forms, (0..8).collect::<Vec<u8>>());
}
