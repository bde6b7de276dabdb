//! A data folder of log version 3 and block version 2 with every kind of sample there is, in the log and in a block: native
//! histograms with whole and other counts, exponential and with bounds of their own, negative buckets, a zero bucket, hints
//! of resets, layouts that change; start timestamps; exemplars. Every later Belfry must read it.
//!
//! Until the first release it may be made anew after a change of the format:
//! `cargo test -p belfry-store --test golden_kinds -- --ignored`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belfry_model::sample::{Histogram, ResetHint, Span, stale_nan};
use belfry_model::{Batch, Exemplar, Labels, Matcher, SeriesRead, TimeRange, TimestampMs, Writer};
use belfry_store::{RealDisk, Store, StoreConfig};
use common::*;

const BLOCK_ROWS: i64 = 50;
const LOG_ROWS: i64 = 12;
/// Each with histograms, but for the last, which has floats with start timestamps.
const SERIES: [&str; 7] = ["whole", "fractions", "bounds", "bounds_fractions", "gauge", "changing", "started"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kinds-v3")
}

fn open(folder: &Path) -> Arc<Store> {
    let config = StoreConfig { retention: None, ..StoreConfig::folder(folder) };
    let (store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    store
}

fn spans(of: &[(i32, u32)]) -> Vec<Span> {
    of.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
}

/// Positive and negative buckets, a zero bucket, and what is said of resets.
fn exponential(row: i64, integer: bool) -> Histogram {
    let n = row as f64 + if integer { 1.0 } else { 1.0 / 3.0 };
    Histogram {
        schema: 3,
        count: n * 25.0,
        sum: (row as f64).sqrt() - 3.0,
        zero_threshold: 0.001,
        zero_count: n * 2.0,
        positive_spans: spans(&[(-4, 2), (3, 1), (200, 1)]),
        positive_counts: vec![n, n * 4.0, n * 2.0, n * 8.0],
        negative_spans: spans(&[(0, 1), (7, 2)]),
        negative_counts: vec![n * 3.0, n, n * 4.0],
        reset_hint: if row % 10 == 0 { ResetHint::Reset } else { ResetHint::NotReset },
        integer,
        ..Histogram::default()
    }
}

fn custom(row: i64, integer: bool) -> Histogram {
    let n = row as f64 * if integer { 2.0 } else { 0.7 };
    Histogram {
        schema: Histogram::CUSTOM_BOUNDS,
        count: n * 6.0,
        sum: n * 10.1,
        positive_spans: spans(&[(0, 2), (1, 1)]),
        positive_counts: vec![n, n * 2.0, n * 3.0],
        custom_bounds: vec![-2.5, 0.1, 1.0 / 3.0, 1e12],
        integer,
        ..Histogram::default()
    }
}

fn histogram(series: &str, row: i64) -> Option<Histogram> {
    Some(match series {
        "whole" => exponential(row, true),
        "fractions" => exponential(row, false),
        "bounds" => custom(row, true),
        "bounds_fractions" => custom(row, false),
        "gauge" => Histogram { reset_hint: ResetHint::Gauge, ..exponential(row % 7, row % 2 == 0) },
        "changing" => match row % 5 {
            // A float among them.
            0 => return None,
            1 => custom(row, true),
            2 => Histogram { schema: -4, ..exponential(row, true) },
            3 => Histogram {
                zero_threshold: 0.5,
                negative_spans: vec![],
                negative_counts: vec![],
                ..exponential(row, true)
            },
            // The end of the series.
            _ => Histogram { sum: stale_nan(), integer: true, ..Histogram::default() },
        },
        _ => return None,
    })
}

fn float(row: i64) -> f64 {
    row as f64 / 4.0
}

/// Not known, one for many rows, and another one each row.
fn start(series: &str, row: i64) -> i64 {
    match series {
        "whole" | "changing" => T0 - 500 + row / 20 * 20_000,
        "started" if row % 4 == 3 => 0,
        "started" | "bounds_fractions" => T0 + row * 1000 - 1,
        _ => 0,
    }
}

fn exemplar(at: i64) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("span_id", "ü"), ("trace_id", "abc")]),
        value: 1.0 / 7.0,
        at: TimestampMs(at),
    }
}

fn fill(store: &Store, rows: std::ops::Range<i64>) {
    for row in rows {
        let at = TimestampMs(T0 + row * 1000);
        let mut batch = Batch::at("golden", at);
        for series in SERIES {
            let (of, start) = (store.open(&labels(series)).unwrap(), start(series, row));
            match histogram(series, row) {
                Some(h) => {
                    let start = Some(TimestampMs(start)).filter(|s| s.0 != 0);
                    batch.histograms.push((of, at, start, Arc::new(h)));
                }
                None => {
                    batch.refs.push(of);
                    batch.values.push(float(row));
                    batch.starts.push(start);
                }
            }
        }
        block_on(store.append(batch)).unwrap();
    }
}

fn add_exemplar(store: &Store, series: &str, at: i64) {
    let mut batch = Batch::at("golden", TimestampMs(T0));
    batch.exemplars.push((store.open(&labels(series)).unwrap(), exemplar(at)));
    block_on(store.append(batch)).unwrap();
}

#[test]
#[ignore = "makes the golden folder anew"]
fn make_the_golden_folder() {
    let _ = fs::remove_dir_all(golden());
    let store = open(&golden());
    fill(&store, 0..BLOCK_ROWS);
    // One from before the block, which the log repeats, and one behind it.
    add_exemplar(&store, "whole", T0 + 5);
    store.flush().unwrap();
    fill(&store, BLOCK_ROWS..BLOCK_ROWS + LOG_ROWS);
    add_exemplar(&store, "started", T0 + 60_005);
    drop(store);
    fs::remove_file(golden().join("LOCK")).unwrap();
}

fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["wal", "blocks"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for file in fs::read_dir(golden().join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(part).join(file.file_name())).unwrap();
        }
    }
    folder
}

/// Of a sample: time, bits of the value, start timestamp, and the histogram with its hint.
type Told = (i64, u64, i64, Option<String>);

fn expected(series: &str, row: i64) -> Told {
    let histogram = histogram(series, row);
    let value = histogram.as_ref().map_or_else(|| float(row), |h| h.sum);
    (T0 + row * 1000, value.to_bits(), start(series, row), histogram.map(|h| format!("{h:?}")))
}

fn check(store: &Store, rows: std::ops::Range<i64>) {
    for series in SERIES {
        let found = select(store, &[&format!("__name__={series}")], TimeRange::ALL);
        let buf = &found[0].1;
        let told = |i: usize| {
            let h = buf.histograms.get(i).and_then(|h| h.as_ref()).map(|h| format!("{h:?}"));
            (buf.times[i], buf.floats[i].to_bits(), buf.starts.get(i).copied().unwrap_or(0), h)
        };
        let found: Vec<Told> = (0..buf.len()).map(told).collect();
        let expected: Vec<Told> = rows.clone().map(|row| expected(series, row)).collect();
        assert_eq!(found, expected, "{series}");
    }
}

#[test]
fn every_kind_of_sample_is_read_from_log_and_block() {
    let folder = copy();
    let store = open(folder.path());
    assert_eq!(store.stats().block_samples, (SERIES.len() as i64 * BLOCK_ROWS) as u64);
    check(&store, 0..BLOCK_ROWS + LOG_ROWS);
    for (series, at) in [("whole", T0 + 5), ("started", T0 + 60_005)] {
        let found = block_on(store.exemplars(&[Matcher::equal("__name__", series)], TimeRange::ALL)).unwrap();
        assert_eq!(found, [(labels(series), vec![exemplar(at)])]);
    }
}

#[test]
fn the_block_has_its_samples_without_the_log_and_the_log_without_the_block() {
    for (without, rows) in [("wal", 0..BLOCK_ROWS), ("blocks", BLOCK_ROWS..BLOCK_ROWS + LOG_ROWS)] {
        let folder = copy();
        fs::remove_dir_all(folder.path().join(without)).unwrap();
        check(&open(folder.path()), rows);
    }
}

#[test]
fn what_is_written_today_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, 0..BLOCK_ROWS);
    store.flush().unwrap();
    fill(&store, BLOCK_ROWS..BLOCK_ROWS + LOG_ROWS);
    drop(store);
    check(&open(folder.path()), 0..BLOCK_ROWS + LOG_ROWS);
}
