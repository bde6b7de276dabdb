//! A downsampled block (version 3), kept in the repository: every later Belfry must read it.
//!
//! Until the first release it may be made anew after a change of the format:
//! `cargo test -p belfry-store --test golden_downsampled -- --ignored`.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::sample::{Histogram, Value, stale_nan};
use belfry_model::{Sample, TimeRange, TimestampMs};
use belfry_store::{Downsample, RealDisk, Store, StoreConfig};
use common::*;

const ROWS: i64 = 2400;
const FIVE_MINUTES: i64 = 300_000;
const SERIES: [&str; 6] = ["requests_total", "gauge", "one", "ends", "started", "histogram"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blocks-v3")
}

fn open(folder: &Path) -> Arc<Store> {
    let day = Duration::from_secs(86_400);
    let downsample = vec![Downsample { after: day, resolution: Duration::from_secs(300) }];
    let config = StoreConfig { retention: None, downsample, ..StoreConfig::folder(folder) };
    let (store, recovery) = Store::open(config, Arc::new(RealDisk), TimestampMs(T0)).unwrap();
    assert_eq!(recovery.damage, []);
    store
}

fn value(series: &str, row: i64) -> Value {
    Value::Float(match series {
        "requests_total" => (row % 700 * 3) as f64,
        "gauge" => (row * 37 % 101) as f64 / 4.0,
        "ends" if row % 500 == 499 => stale_nan(),
        "ends" => row as f64,
        "started" => row as f64 / 2.0,
        "histogram" => {
            let count = (row % 1000) as f64;
            let h = Histogram { count, sum: count, positive_counts: vec![count], ..Histogram::default() };
            return Value::Histogram(Arc::new(h));
        }
        _ => 1.0,
    })
}

fn sample(series: &str, row: i64) -> Sample {
    let start = (series == "started").then_some(TimestampMs(T0 - if row < 1200 { 90_000_000 } else { 18_000_000 }));
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
    store.maintain(TimestampMs(T0 + 10 * 86_400_000)).unwrap();
    drop(store);
    fs::remove_file(golden().join("LOCK")).unwrap();
    fs::remove_dir_all(golden().join("wal")).unwrap();
}

#[test]
fn a_downsampled_block_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    for file in fs::read_dir(golden().join("blocks")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join("blocks").join(file.file_name())).unwrap();
    }
    let store = open(folder.path());
    let resolutions: Vec<i64> = store.stats().blocks_by_resolution.into_keys().collect();
    assert_eq!(resolutions, [FIVE_MINUTES]);
    for series in &SERIES[..5] {
        let point = |row: i64| {
            let s = sample(series, row);
            (s.at.0, if let Value::Float(v) = s.value { v } else { 0.0 })
        };
        let all: BTreeMap<i64, f64> = (0..ROWS).map(point).collect();
        let found = read(&store, series, TimeRange::ALL);
        assert_eq!(buckets(&found, FIVE_MINUTES), buckets(&plain(&all), FIVE_MINUTES), "{series}");
        assert!(found.len() < 400, "{series}: {}", found.len());
    }
    // Resets and starts are where they were.
    let found = read(&store, "requests_total", TimeRange::ALL);
    assert_eq!(found.floats.windows(2).filter(|p| p[1] < p[0]).count(), 3);
    let found = read(&store, "started", TimeRange::ALL);
    let changed: Vec<i64> =
        (1..found.len()).filter(|i| found.starts[*i] != found.starts[i - 1]).map(|i| found.times[i]).collect();
    assert_eq!(changed, [sample("started", 1200).at.0]);
    let found = read(&store, "histogram", TimeRange::ALL);
    assert_eq!(found.coarse.rows.iter().map(|r| i64::from(r.count)).sum::<i64>(), ROWS);
    assert!(found.histograms.iter().all(Option::is_some));
}
